//! Decodes an input completely without writing, and compares the content with an original if given.

use std::io::{self, Read, Write};

use super::Produced;
use super::error::TaskError;
use super::executor::{Executor, RunEnds};
use super::open::{Opened, restore_work};
use super::unchanged::{has_digest, state_as_read};
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::plan::{ContentRange, Engine, Plan, Work};
use crate::pipeline::threads::Concurrency;
use crate::store::digest::digest_writer;
use crate::store::input::Input;
use crate::store::sys::WakeUp;

/// How to verify inputs; shared by all files of a batch.
#[derive(Clone)]
pub struct VerifySpec {
    /// Workers and channel depth.
    pub width: Concurrency,
    /// The largest window accepted, as its logarithm to base 2.
    pub window_log_max: u32,
    /// A bare file without a seek table, or with more frames than it lists, is accepted.
    pub foreign: bool,
    /// The content is digested.
    pub digest: bool,
}

/// Decodes `opened`, from `input`, and compares the content with `original`.
pub fn verify(
    executor: &mut impl Executor,
    spec: &VerifySpec,
    input: &Input,
    opened: Opened,
    original: Option<&Input>,
    wake: &WakeUp,
) -> Result<Produced, TaskError> {
    let writer: Box<dyn Write + Send> = match original {
        Some(original) => Box::new(Comparer { original: original.reader(wake)?, position: 0, bytes: Vec::new() }),
        None => Box::new(io::sink()),
    };
    let (writer, content) = digest_writer(writer, spec.digest);
    let work = restore_work(&opened, ContentRange::All, spec.window_log_max, true);
    let is_bare = opened.open.is_none();
    let plan = Plan { width: spec.width, engine: Engine::Channels, work: Work::Restore(work) };
    let ends = RunEnds { input: opened.reader, input_bytes: input.bytes(), output: writer, is_counted: true };
    let outcome = executor.run(&plan.narrowed_to(input.bytes()), ends);
    let outcome = outcome.map_err(|failure| mismatch(failure, original))?;
    match &outcome.summary.table {
        Some(TableStatus::Unusable(error)) if error.is_contradiction() => {
            return Err(TaskError::TableContradicts(error.clone()));
        }
        Some(TableStatus::Unusable(error)) if is_bare && !spec.foreign => {
            return Err(TaskError::TableMissing(error.clone()));
        }
        _ => {}
    }
    let read = opened.read.map(|read| read.digest());
    let written = content.map(|content| content.digest());
    let input_state = state_as_read(executor, input, |executor| match read {
        Some(read) => has_digest(executor, input, read),
        None => Ok(false),
    })?;
    Ok(Produced { read, written, input_state, ..Produced::of(outcome) })
}

/// A writer that compares the content with the original.
struct Comparer {
    original: Box<dyn Read + Send>,
    position: u64,
    bytes: Vec<u8>,
}

/// Why a comparison failed.
#[derive(Debug, thiserror::Error)]
enum Mismatch {
    #[error("differs from the content at byte {0}")]
    Differs(u64),
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
}

impl Comparer {
    /// Reads up to `len` bytes of the original into `bytes`.
    fn read_original(&mut self, len: usize) -> io::Result<()> {
        self.bytes.resize(len.max(self.bytes.len()), 0);
        let mut filled_len = 0;
        while filled_len < len {
            match self.original.read(&mut self.bytes[filled_len..len]) {
                Ok(0) => break,
                Ok(read_len) => filled_len += read_len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io::Error::other(Mismatch::Unreadable(error))),
            }
        }
        self.bytes.truncate(filled_len);
        Ok(())
    }
}

impl Write for Comparer {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.read_original(content.len())?;
        if self.bytes != content {
            let same_len = self.bytes.iter().zip(content).take_while(|(a, b)| a == b).count();
            return Err(io::Error::other(Mismatch::Differs(self.position + same_len as u64)));
        }
        self.position += content.len() as u64;
        Ok(content.len())
    }

    /// Fails unless the original ends here too.
    fn flush(&mut self) -> io::Result<()> {
        self.read_original(1)?;
        match self.bytes.len() {
            0 => Ok(()),
            _ => Err(io::Error::other(Mismatch::Differs(self.position))),
        }
    }
}

/// Separates a mismatch from the writing stage's other failures.
fn mismatch(failure: Failure, original: Option<&Input>) -> TaskError {
    let Failure { stage, seq, cause } = failure;
    let (cause, original) = match (cause, original) {
        (Cause::Write(error), Some(original)) => (error, original.name.clone()),
        (cause, _) => return Failure { stage, seq, cause }.into(),
    };
    match cause.downcast::<Mismatch>() {
        Ok(Mismatch::Differs(at)) => TaskError::OriginalDiffers { original, at },
        Ok(Mismatch::Unreadable(source)) => TaskError::OriginalUnreadable { original, source },
        Err(error) => Failure { stage, seq, cause: Cause::Write(error) }.into(),
    }
}
