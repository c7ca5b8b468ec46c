//! The interface between a task and the threads that execute it: a command's, a batch worker's or the library's.

use std::io::{Read, Write};

use crate::pipeline::error::Failure;
use crate::pipeline::names::Stage;
use crate::pipeline::plan::Plan;
use crate::pipeline::report::Report;
use crate::pipeline::shutdown::Cancel;
use crate::pipeline::write::Summary;

/// Input and output of a run.
pub struct RunEnds {
    /// The input, from the first frame or segment on.
    pub input: Box<dyn Read + Send>,
    /// Its length in bytes, if known.
    pub input_bytes: Option<u64>,
    /// The output.
    pub output: Box<dyn Write + Send>,
    /// Whether its bytes count as progress; those of a verification do not.
    pub is_counted: bool,
}

/// The result of a run.
pub struct RunOutcome {
    /// The summary of the writing stage.
    pub summary: Summary,
    /// The figures; `None` from a batch worker, which adds them to its own.
    pub report: Option<Report>,
}

/// Executes the steps of a task.
pub trait Executor {
    /// Moves the bytes between `ends` according to `plan`.
    fn run(&mut self, plan: &Plan, ends: RunEnds) -> Result<RunOutcome, Failure>;

    /// Runs `step`, which may block on a disk, a pipe or a person. A signal interrupts it.
    fn wait<T: Send + 'static>(
        &mut self,
        name: &'static str,
        step: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Failure>;

    /// Runs `step`, which uses CPU time.
    fn compute<T: Send + 'static>(
        &mut self,
        stage: Stage,
        step: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Failure>;
}
