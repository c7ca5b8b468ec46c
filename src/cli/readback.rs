//! `--verify`: what was written is read back from the disk, before it gets its name, and held against what was read.
//!
//! The input is summed up where it is read, so that what goes wrong behind that, in memory too, is found. The key is the one it
//! was sealed with: this proves the header's bytes and the payload, and not that anybody's identity fits.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::Context;
use twox_hash::XxHash64;

use super::output::Output;
use super::problem::Problem;
use super::session::Session;
use super::sys::WakeUp;
use crate::format::zstd::codec::WINDOW_LOG_MAX_DECODED;
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::peel::{DearmorReader, read_failure};
use crate::pipeline::plan::{
    Content, ContentRange, Decompress, Engine, Expect, Plan, Process, Restore, Seal, Start, Work,
};

/// Length and XXH64 of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    bytes: u64,
    hash: u64,
}

/// Sums up what goes by.
#[derive(Default)]
struct Digester {
    bytes: u64,
    hash: XxHash64,
}

impl Digester {
    fn push(&mut self, bytes: &[u8]) {
        std::hash::Hasher::write(&mut self.hash, bytes);
        self.bytes += bytes.len() as u64;
    }

    fn digest(&self) -> Digest {
        Digest { bytes: self.bytes, hash: std::hash::Hasher::finish(&self.hash) }
    }
}

/// Where the sum of an input comes out, once that has ended.
pub type Expected = Receiver<Digest>;

/// Reads an input and sums it up; the sum is said at its end.
pub struct DigestReader {
    input: Box<dyn Read + Send>,
    digester: Digester,
    said: SyncSender<Digest>,
}

impl DigestReader {
    /// The reader, and where the sum comes out.
    pub fn new(input: Box<dyn Read + Send>) -> (DigestReader, Expected) {
        let (said, heard) = sync_channel(1);
        (DigestReader { input, digester: Digester::default(), said }, heard)
    }
}

impl Read for DigestReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(bytes)?;
        self.digester.push(&bytes[..len]);
        if len == 0 {
            // Said once; an end that is read again is the same.
            let _ = self.said.try_send(self.digester.digest());
        }
        Ok(len)
    }
}

/// Sums up what is decoded instead of writing it.
struct DigestWriter {
    digester: Digester,
    said: SyncSender<Digest>,
}

impl Write for DigestWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.digester.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.said.try_send(self.digester.digest());
        Ok(())
    }
}

/// Decodes what was written to `output` by `plan`, and wants it to come to `expected`. Gives its length in the file, in bytes.
pub fn read_back(
    session: &mut Session,
    output: &Output,
    plan: &Plan,
    is_armored: bool,
    expected: &Expected,
) -> anyhow::Result<u64> {
    let Work::Process(Process { compress, seal }) = &plan.work else {
        unreachable!("internal error: only what was processed is read back");
    };
    let wake = WakeUp::new().context("cannot start")?;
    let reopen = output.reopener()?;
    let (file, file_bytes) = session.task("sync", wake.cancel(), move |_| Ok(reopen()))??;
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
    let (said, decoded) = sync_channel(1);
    let writer = Box::new(DigestWriter { digester: Digester::default(), said });
    let report = session.run(&plan, reader, Some(file_bytes), writer, &wake)?;
    if let Some(TableStatus::Unusable(error)) = report.summary.table {
        return Err(Problem::damaged(error.to_string()).into());
    }
    match (expected.try_recv(), decoded.try_recv()) {
        (Ok(expected), Ok(decoded)) if expected == decoded => Ok(file_bytes),
        (Ok(expected), Ok(decoded)) if expected.bytes != decoded.bytes => {
            let message = format!("it holds {} bytes of content, {} were read", decoded.bytes, expected.bytes);
            Err(Problem::damaged(message).into())
        }
        _ => Err(Problem::damaged("its content is not what was read").into()),
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
