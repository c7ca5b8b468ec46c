//! Restores the content of a zstd or age file.

use std::io::{self, Read};

use super::Produced;
use super::error::{Notice, TaskError};
use super::executor::{Executor, RunEnds};
use super::open::{Opened, restore_work};
use super::unchanged::{has_digest, state_as_read};
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::age_header::DearmorReader;
use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::plan::{ContentRange, Engine, Plan, Work};
use crate::pipeline::threads::Concurrency;
use crate::store::digest::{Digest, DigestWriter, digest_writer};
use crate::store::error::StoreError;
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
    let layer = AgeLayer { is_armored: opened.is_armored, payload_offset: opened.payload_offset };
    let ends = RunEnds { input: opened.reader, input_bytes: input.bytes(), output: writer, is_counted: true };
    let outcome = executor.run(&plan, ends)?;
    let table = outcome.summary.table.clone();
    let mut produced = Produced::of(outcome);
    produced.read = opened.read.map(|read| read.digest());
    produced.written = written.map(|written| written.digest());
    produced.input_state = state_as_read(executor, input, |executor| match produced.read {
        Some(read) => has_digest(executor, input, read),
        None => gives_content_again(executor, &plan, input, layer, output),
    })?;
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

/// Where the payload of an age file begins; 0 without an age layer.
#[derive(Clone, Copy)]
struct AgeLayer {
    is_armored: bool,
    payload_offset: u64,
}

/// Whether `input`, read and restored again by `plan`, gives the content of `output`.
fn gives_content_again(
    executor: &mut impl Executor,
    plan: &Plan,
    input: &Input,
    layer: AgeLayer,
    output: &Output,
) -> Result<bool, TaskError> {
    if !output.is_regular_file() {
        return Ok(false);
    }
    let mut reader: Box<dyn Read + Send> = Box::new(input.again());
    if layer.is_armored {
        reader = Box::new(DearmorReader::new(reader));
    }
    if io::copy(&mut reader.by_ref().take(layer.payload_offset), &mut io::sink()).is_err() {
        return Ok(false);
    }
    let (writer, content) = DigestWriter::new(Box::new(io::sink()));
    let ends = RunEnds { input: reader, input_bytes: input.bytes(), output: Box::new(writer), is_counted: false };
    match executor.run(plan, ends) {
        Ok(_) => {}
        Err(failure @ Failure { cause: Cause::Signal(_), .. }) => return Err(failure.into()),
        Err(_) => return Ok(false),
    }
    let reopen = output.reopener()?;
    let written = executor.wait("read back", move |cancel| {
        let (file, _) = reopen()?;
        Ok::<_, StoreError>(Digest::of(file, || !cancel.is_set()).ok())
    })??;
    Ok(written == Some(content.digest()))
}
