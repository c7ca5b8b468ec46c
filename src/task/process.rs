//! Compresses an input, encrypts it, or both.

use std::io::{self, Cursor, Read};

use super::error::TaskError;
use super::executor::{Executor, RunEnds};
use super::unchanged::{digest_again, has_digest, state_as_read};
use super::wrap::armored;
use super::{Produced, verify_output};
use crate::format::detect::{Layer, detect};
use crate::pipeline::age_header::read_failure;
use crate::pipeline::kind::Kind;
use crate::pipeline::plan::{Compress, Engine, Plan, Process, Seal, Work, layer_of_zstd};
use crate::pipeline::threads::Concurrency;
use crate::store::digest::{digest_reader, digest_writer};
use crate::store::input::Input;
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
    /// The compression layer, if any. Content that begins like a zstd file gets one in any case: [`layer_of_zstd`].
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
pub struct Source<'a> {
    /// The input itself.
    pub input: &'a Input,
    /// Its bytes. A blocked read must fail when the run is stopped.
    pub reader: Box<dyn Read + Send>,
    /// Its length in bytes, if known.
    pub bytes: Option<u64>,
}

impl ProcessSpec {
    /// The same, with the layer of content that begins like a zstd file if `is_layered` and no other is asked for.
    pub fn layered(&self, is_layered: bool) -> ProcessSpec {
        let compress = self.compress.or_else(|| is_layered.then(layer_of_zstd));
        ProcessSpec { compress, ..self.clone() }
    }

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
    source: Source<'_>,
    output: &Output,
    wake: &WakeUp,
) -> Result<Produced, TaskError> {
    let (source_reader, is_layered) = match spec.compress {
        Some(_) => (source.reader, false),
        None => executor.wait("detect", move |_| peek_zstd(source.reader))?.map_err(read_failure)?,
    };
    let spec = spec.layered(is_layered);
    let plan = spec.plan(seal, source.bytes);
    let (reader, read) = digest_reader(source_reader, spec.digest || spec.is_verified);
    let reader = paced(reader, spec.rate_limit.as_ref());
    let (writer, written) = digest_writer(output.writer(wake)?, spec.digest);
    let output_writer = armored(writer, spec.is_armored);
    let ends = RunEnds { input: reader, input_bytes: source.bytes, output: output_writer, is_counted: true };
    let mut produced = Produced { is_layered, ..Produced::of(executor.run(&plan, ends)?) };
    produced.read = read.map(|read| read.digest());
    produced.written = written.map(|written| written.digest());
    let input = source.input;
    produced.input_state = state_as_read(executor, input, |executor| match produced.read {
        Some(read) => has_digest(executor, input, read),
        None => is_content_again(executor, input, output, &plan, spec.is_armored),
    })?;
    if let (true, Some(read)) = (spec.is_verified, produced.read) {
        let verified = verify_output::verify(executor, output, &plan, spec.is_armored, read);
        produced.verified_bytes = Some(verified.map_err(of_reading_back)?);
    }
    Ok(produced)
}

/// Whether `input`, read again, is the content of `output`, written by `plan`.
fn is_content_again<E: Executor>(
    executor: &mut E,
    input: &Input,
    output: &Output,
    plan: &Plan,
    is_armored: bool,
) -> Result<bool, TaskError> {
    let Some(again) = digest_again(executor, input)?.filter(|_| output.is_regular_file()) else { return Ok(false) };
    match verify_output::verify(executor, output, plan, is_armored, again) {
        Ok(_) => Ok(true),
        Err(TaskError::WrongContent | TaskError::WrongLength { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `input` begins with the magic number of zstd, or of a skippable frame.
pub fn begins_like_zstd(input: impl Read + Send + 'static) -> io::Result<bool> {
    peek_zstd(Box::new(input)).map(|(_, is_zstd)| is_zstd)
}

/// The bytes of a magic number (RFC 8878 section 3.1).
const MAGIC_LEN: usize = 4;

/// A reader of all of `input`, and whether it begins like a zstd file.
pub fn peek_zstd(mut input: Box<dyn Read + Send>) -> io::Result<(Box<dyn Read + Send>, bool)> {
    let mut head = Vec::with_capacity(MAGIC_LEN);
    input.by_ref().take(MAGIC_LEN as u64).read_to_end(&mut head)?;
    let is_zstd = detect(&head) == Layer::Zstd;
    Ok((Box::new(Cursor::new(head).chain(input)), is_zstd))
}

/// The failure of a verification: what was written is wrong, unless there was no memory or thread to tell.
fn of_reading_back(error: TaskError) -> TaskError {
    match error.kind() {
        Kind::CannotStart | Kind::NoMemory | Kind::Stopped => error,
        _ => TaskError::ReadBack(Box::new(error)),
    }
}
