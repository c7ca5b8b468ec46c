//! Who carries a task out, and on which threads: a command for its one file, a worker of a batch for one of many, the library.

use std::io::{Read, Write};

use crate::pipeline::error::Failure;
use crate::pipeline::names::Stage;
use crate::pipeline::plan::Plan;
use crate::pipeline::report::Report;
use crate::pipeline::shutdown::Cancel;
use crate::pipeline::write::Summary;

/// The two ends of a run.
pub struct RunEnds {
    /// The input, from the first frame or segment on.
    pub input: Box<dyn Read + Send>,
    /// Its length in bytes, where that is known.
    pub input_bytes: Option<u64>,
    /// The output.
    pub output: Box<dyn Write + Send>,
    /// Whether its bytes count as progress: reading an output back does not.
    pub is_counted: bool,
}

/// What a run did.
pub struct RunOutcome {
    /// What the stage that writes tells.
    pub summary: Summary,
    /// The figures, where this executor gives them for each run; a worker adds them to its own.
    pub report: Option<Report>,
}

/// Carries out the steps of a task.
pub trait Executor {
    /// Moves the bytes between `ends` as `plan` says.
    fn run(&mut self, plan: &Plan, ends: RunEnds) -> Result<RunOutcome, Failure>;

    /// Does `step`, which may wait for somebody: a disk, a pipe, a person at a terminal. A signal ends the waiting.
    fn wait<T: Send + 'static>(
        &mut self,
        name: &'static str,
        step: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Failure>;

    /// Does `step`, which keeps a CPU busy.
    fn compute<T: Send + 'static>(
        &mut self,
        stage: Stage,
        step: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Failure>;
}
