//! Restores the content of a zstd or age file.

use super::Produced;
use super::error::{Notice, TaskError};
use super::executor::{Executor, RunEnds};
use super::open::{Opened, restore_work};
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::plan::{ContentRange, Engine, Plan, Work};
use crate::pipeline::threads::Concurrency;
use crate::store::digest::digest_writer;
use crate::store::input::Input;
use crate::store::output::{Output, Sparse};
use crate::store::sys::WakeUp;

/// What seek tables have to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableRule {
    /// A bare file has one, and it lists the frames.
    Required,
    /// Those that are there do not contradict the frames.
    Checked,
    /// Nothing: a contradiction is a notice.
    Ignored,
}

/// How to restore inputs; shared by all files of a batch.
#[derive(Clone)]
pub struct RestoreSpec {
    /// Workers and channel depth.
    pub width: Concurrency,
    /// Execution engine.
    pub engine: Engine,
    /// The largest window accepted, as its logarithm to base 2.
    pub window_log_max: u32,
    /// Frames inside an age layer are decoded.
    pub decompress: bool,
    /// What seek tables have to show.
    pub table: TableRule,
    /// When content of zeros becomes a hole of the output.
    pub sparse: Sparse,
    /// The output is digested.
    pub digest: bool,
}

impl RestoreSpec {
    /// Refuses an input without an age layer if only that is to be removed.
    pub fn check(&self, opened: &Opened) -> Result<(), TaskError> {
        if !self.decompress && opened.open.is_none() { Err(TaskError::NoAgeLayer) } else { Ok(()) }
    }
}

/// Writes the content of `opened`, from `input`, to `output`.
pub fn restore(
    executor: &mut impl Executor,
    spec: &RestoreSpec,
    input: &Input,
    opened: Opened,
    output: &Output,
    wake: &WakeUp,
) -> Result<Produced, TaskError> {
    spec.check(&opened)?;
    let work = restore_work(&opened, ContentRange::All, spec.window_log_max, spec.decompress);
    let is_bare = opened.open.is_none();
    let plan = Plan { width: spec.width, engine: spec.engine, work: Work::Restore(work) };
    let plan = plan.narrowed_to(input.bytes());
    let (writer, written) = digest_writer(output.content_writer(wake, spec.sparse)?, spec.digest);
    let ends = RunEnds { input: opened.reader, input_bytes: input.bytes(), output: writer, is_counted: true };
    let outcome = executor.run(&plan, ends)?;
    let table = outcome.summary.table.clone();
    let mut produced = Produced::of(outcome);
    produced.read = opened.read.map(|read| read.digest());
    produced.written = written.map(|written| written.digest());
    let Some(TableStatus::Unusable(error)) = table else { return Ok(produced) };
    let is_contradicted = error.is_contradiction();
    match spec.table {
        TableRule::Required if is_bare => return Err(TaskError::TableRequired(error)),
        TableRule::Required | TableRule::Checked if is_contradicted => return Err(TaskError::TableContradicts(error)),
        _ => {}
    }
    // An age payload needs no table: its final segment proves that it is complete.
    if is_bare || is_contradicted {
        // The input is the only source of frames that may be missing.
        produced.is_input_needed = true;
        produced.notices.push(Notice::NoTable { input: input.name.clone(), error });
    }
    Ok(produced)
}
