//! Compresses an input, encrypts it, or both.

use std::io::Read;

use super::error::TaskError;
use super::executor::{Executor, RunEnds};
use super::wrap::armored;
use super::{Produced, verify_output};
use crate::pipeline::plan::{Compress, Engine, Plan, Process, Seal, Work};
use crate::pipeline::threads::Concurrency;
use crate::store::digest::{digest_reader, digest_writer};
use crate::store::output::Output;
use crate::store::rate_limit::{RateLimit, paced};
use crate::store::sys::WakeUp;

/// How inputs are processed; the same for all files of a batch.
#[derive(Clone)]
pub struct ProcessSpec {
    /// Workers and channel depth.
    pub width: Concurrency,
    /// Execution engine.
    pub engine: Engine,
    /// The inner layer.
    pub compress: Option<Compress>,
    /// The outer layer is text.
    pub is_armored: bool,
    /// The output is read back and compared with what was read.
    pub is_verified: bool,
    /// What is read and written is summed up.
    pub digest: bool,
    /// How fast is read at most.
    pub rate_limit: Option<RateLimit>,
}

/// An input that can be read once, from front to back.
pub struct Source {
    /// Its bytes. When the run is stopped, a read that waits has to fail.
    pub reader: Box<dyn Read + Send>,
    /// How many they are, where that is known.
    pub bytes: Option<u64>,
}

impl ProcessSpec {
    /// The plan for an input of `bytes`, sealed with `seal`.
    pub fn plan(&self, seal: Option<Seal>, bytes: Option<u64>) -> Plan {
        let work = Work::Process(Process { compress: self.compress, seal });
        Plan { width: self.width, engine: self.engine, work }.narrowed_to(bytes)
    }
}

/// Writes `source`, processed as `spec` says, to `output`. `seal` is the header and key of the outer layer, for this output alone.
pub fn process(
    executor: &mut impl Executor,
    spec: &ProcessSpec,
    seal: Option<Seal>,
    source: Source,
    output: &Output,
    wake: &WakeUp,
) -> Result<Produced, TaskError> {
    let plan = spec.plan(seal, source.bytes);
    let (reader, read) = digest_reader(source.reader, spec.digest || spec.is_verified);
    let reader = paced(reader, spec.rate_limit.as_ref());
    let (writer, written) = digest_writer(output.writer(wake)?, spec.digest);
    let output_writer = armored(writer, spec.is_armored);
    let ends = RunEnds { input: reader, input_bytes: source.bytes, output: output_writer, is_counted: true };
    let mut produced = Produced::of(executor.run(&plan, ends)?);
    produced.read = read.map(|read| read.digest());
    produced.written = written.map(|written| written.digest());
    if let (true, Some(read)) = (spec.is_verified, produced.read) {
        let verified = verify_output::verify(executor, output, &plan, spec.is_armored, read);
        produced.verified_bytes = Some(verified.map_err(|error| TaskError::ReadBack(Box::new(error)))?);
    }
    Ok(produced)
}
