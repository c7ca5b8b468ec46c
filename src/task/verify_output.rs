//! `--verify`: what was written is read back from the disk, before it gets its name, and held against what was read.
//!
//! The input is summed up where it is read, so that what goes wrong behind that, in memory too, is found. The key is the one it
//! was sealed with: this proves the header's bytes and the payload, and not that anybody's identity fits.

use std::fs::File;
use std::io::{self, Read, Write};

use anyhow::Context;

use crate::cli::problem::Problem;
use crate::cli::session::Session;
use crate::format::zstd::codec::WINDOW_LOG_MAX_DECODED;
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::error::Failure;
use crate::pipeline::peel::{DearmorReader, read_failure};
use crate::pipeline::plan::{
    Content, ContentRange, Decompress, Engine, Expect, Plan, Process, Restore, Seal, Start, Work,
};
use crate::pipeline::write::Summary;
use crate::store::digest::{Digest, DigestWriter};
use crate::store::output::Output;
use crate::store::sys::WakeUp;

/// Decodes what was written to `output` by `plan`, and wants it to come to `expected`. Gives its length in the file, in bytes.
pub fn read_back(
    session: &mut Session,
    output: &Output,
    plan: &Plan,
    is_armored: bool,
    expected: Digest,
) -> anyhow::Result<u64> {
    let wake = WakeUp::new().context("cannot start")?;
    let reopen = output.reopener()?;
    let (file, file_bytes) = session.task("sync", wake.cancel(), move |_| Ok(reopen()))??;
    decode(file, plan, is_armored, expected, |plan, reader, writer| {
        session.run(plan, reader, Some(file_bytes), writer, &wake).map(|report| report.summary)
    })?;
    Ok(file_bytes)
}

/// Decodes `file`, written by `plan`, from its beginning, by way of `run`, and wants it to come to `expected`.
pub fn decode(
    file: File,
    plan: &Plan,
    is_armored: bool,
    expected: Digest,
    run: impl FnOnce(&Plan, Box<dyn Read + Send>, Box<dyn Write + Send>) -> Result<Summary, Failure>,
) -> anyhow::Result<()> {
    let Work::Process(Process { compress, seal }) = &plan.work else {
        unreachable!("internal error: only what was processed is read back");
    };
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
    let summary = run(&plan, reader, Box::new(writer))?;
    if let Some(TableStatus::Unusable(error)) = summary.table {
        return Err(Problem::damaged(error.to_string()).into());
    }
    let decoded = decoded.digest()?;
    if decoded.bytes != expected.bytes {
        let message = format!("it holds {} bytes of content, {} were read", decoded.bytes, expected.bytes);
        return Err(Problem::damaged(message).into());
    }
    match decoded == expected {
        true => Ok(()),
        false => Err(Problem::damaged("its content is not what was read").into()),
    }
}

/// The header and the nonce in front of the payload.
fn check_prefix(reader: &mut impl Read, seal: &Seal) -> anyhow::Result<()> {
    let mut prefix = vec![0; seal.prefix.len()];
    reader.read_exact(&mut prefix).map_err(read_failure)?;
    match prefix == seal.prefix {
        true => Ok(()),
        false => Err(Problem::damaged("its header is not what was written").into()),
    }
}
