//! Verifies an output by re-reading it from the disk before it is renamed.
//!
//! The digest of the input is taken as it is read, so that any later error is found, even one in memory. The payload is opened with the key that
//! sealed it: this verifies header and payload bytes, not that any identity fits.

use std::io::{self, Read};

use super::error::TaskError;
use super::executor::{Executor, RunEnds};
use crate::format::zstd::codec::WINDOW_LOG_MAX_DECODED;
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::age_header::{DearmorReader, read_failure};
use crate::pipeline::plan::{
    Content, ContentRange, Decompress, Engine, Expect, Plan, Process, Restore, Seal, Start, Work,
};
use crate::store::digest::{Digest, DigestWriter};
use crate::store::output::Output;

/// Decodes `output`, written by `plan`, and compares it with `expected`, the digest of the input. Returns the output's length in bytes. Fails with
/// [`TaskError::WrongContent`] or a similar error if they differ.
pub fn verify(
    executor: &mut impl Executor,
    output: &Output,
    plan: &Plan,
    is_armored: bool,
    expected: Digest,
) -> Result<u64, TaskError> {
    let Work::Process(Process { compress, seal }) = &plan.work else {
        unreachable!("internal error: only what was processed is read back");
    };
    let reopen = output.reopener()?;
    let (file, file_bytes) = executor.wait("sync", move |_| reopen())??;
    let mut reader: Box<dyn Read + Send> = if is_armored { Box::new(DearmorReader::new(file)) } else { Box::new(file) };
    if let Some(seal) = seal {
        check_prefix(&mut reader, seal)?;
    }
    let frames = Decompress {
        window_log_max: WINDOW_LOG_MAX_DECODED,
        start: Start::default(),
        range: ContentRange::All,
        expect: Expect::Tables,
    };
    let content = if compress.is_some() { Content::Frames(frames) } else { Content::Plain(ContentRange::All) };
    let restore = Restore { open: seal.as_ref().map(|seal| seal.key.clone()), content };
    let plan = Plan { width: plan.width, engine: Engine::Channels, work: Work::Restore(restore) };
    let (writer, decoded) = DigestWriter::new(Box::new(io::sink()));
    let ends = RunEnds { input: reader, input_bytes: Some(file_bytes), output: Box::new(writer), is_counted: false };
    let outcome = executor.run(&plan, ends)?;
    if let Some(TableStatus::Unusable(error)) = outcome.summary.table {
        return Err(TaskError::TableWrong(error));
    }
    let decoded = decoded.digest();
    match decoded {
        _ if decoded.bytes != expected.bytes => {
            Err(TaskError::WrongLength { decoded_bytes: decoded.bytes, read_bytes: expected.bytes })
        }
        _ if decoded != expected => Err(TaskError::WrongContent),
        _ => Ok(file_bytes),
    }
}

/// Compares header and nonce with those that were written.
fn check_prefix(reader: &mut impl Read, seal: &Seal) -> Result<(), TaskError> {
    let mut prefix = vec![0; seal.prefix.len()];
    reader.read_exact(&mut prefix).map_err(read_failure)?;
    if prefix == seal.prefix { Ok(()) } else { Err(TaskError::WrongHeader) }
}
