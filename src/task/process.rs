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

/// How to process inputs; shared by all files of a batch.
#[derive(Clone)]
pub struct ProcessSpec {
    /// Workers and channel depth.
    pub width: Concurrency,
    /// Execution engine.
    pub engine: Engine,
    /// The compression layer, if any.
    pub compress: Option<Compress>,
    /// The age layer is armored.
    pub is_armored: bool,
    /// The output is verified by re-reading it.
    pub is_verified: bool,
    /// Input and output are digested.
    pub digest: bool,
    /// Limits the read rate.
    pub rate_limit: Option<RateLimit>,
}

/// An input stream that can be read once.
pub struct Source {
    /// Its bytes. A blocked read must fail when the run is stopped.
    pub reader: Box<dyn Read + Send>,
    /// Its length in bytes, if known.
    pub bytes: Option<u64>,
}

impl ProcessSpec {
    /// The plan for an input of `bytes`, sealed with `seal`.
    pub fn plan(&self, seal: Option<Seal>, bytes: Option<u64>) -> Plan {
        let work = Work::Process(Process { compress: self.compress, seal });
        Plan { width: self.width, engine: self.engine, work }.narrowed_to(bytes)
    }
}

/// Processes `source` to `output`. `seal` holds the age header and payload key, for this output alone.
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
