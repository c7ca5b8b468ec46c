//! Salvage of a damaged file: recovers what is intact (in an age payload: authentic), and reports each loss.
//!
//! One thread, front to back: what matters is that nothing wrong comes out. A segment that does not open yields nothing, and any frame that
//! touches it is lost. A frame comes out whole, with any checksum right, or not at all. Lost content of known length is filled with zeros,
//! so that what follows keeps its place; otherwise it is left out, and that is reported.

pub mod frames;

pub mod segments;

mod nearby;

use std::io::{self, Write};
use std::ops::Range;

use super::error::Cause;

/// A lost part of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// These bytes of what was written are zeros.
    Filled {
        /// Their range.
        content: Range<u64>,
        /// Whether something intact gives their number; otherwise the header of the damaged frame itself does.
        is_len_sure: bool,
    },
    /// These bytes are intact frames, but not those that the seek table lists there.
    Unlisted(Range<u64>),
    /// Content is missing here: that of `source`, of unknown length.
    LeftOut {
        /// Offset in what was written, in bytes.
        at: u64,
        /// Range in the compressed stream or the payload.
        source: Range<u64>,
    },
}

/// The result of a salvage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Bytes written, zeros included.
    pub written_bytes: u64,
    /// Zeros in place of lost content.
    pub filled_bytes: u64,
    /// Places where content of unknown length is left out.
    pub left_out_count: u64,
    /// Frames that are intact, but not those that the seek table lists.
    pub unlisted_count: u64,
    /// Frames written without a checksum, their own or a table's: nothing verifies them.
    pub unchecked_count: u64,
}

impl Salvaged {
    /// Whether nothing was lost or unlisted.
    pub fn is_whole(&self) -> bool {
        let Salvaged { filled_bytes, left_out_count, unlisted_count, .. } = self;
        filled_bytes + left_out_count + unlisted_count == 0
    }
}

/// Zeros written at once.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Writes what is saved and reports losses.
pub struct Rescue<'a> {
    output: &'a mut dyn Write,
    on_loss: &'a mut dyn FnMut(&Loss),
    is_cancelled: &'a dyn Fn() -> bool,
    /// Zeros to report once their end is known, and whether their number is sure.
    filled: Option<(Range<u64>, bool)>,
    salvaged: Salvaged,
}

impl<'a> Rescue<'a> {
    /// Writes to `output`, reports each loss to `on_loss`, in order, and stops when `is_cancelled` returns true.
    pub fn new(
        output: &'a mut dyn Write,
        on_loss: &'a mut dyn FnMut(&Loss),
        is_cancelled: &'a dyn Fn() -> bool,
    ) -> Rescue<'a> {
        Rescue { output, on_loss, is_cancelled, filled: None, salvaged: Salvaged::default() }
    }

    /// Flushes, and returns the result.
    pub fn finish(mut self) -> Result<Salvaged, Cause> {
        self.tell_filled();
        self.output.flush().map_err(Cause::Write)?;
        Ok(self.salvaged)
    }

    /// Fails if the run was stopped; call it between two parts.
    fn check(&self) -> Result<(), Cause> {
        if (self.is_cancelled)() { Err(Cause::Read(io::Error::other("stopped"))) } else { Ok(()) }
    }

    fn write(&mut self, content: &[u8]) -> Result<(), Cause> {
        if !content.is_empty() {
            self.tell_filled();
        }
        self.output.write_all(content).map_err(Cause::Write)?;
        self.salvaged.written_bytes += content.len() as u64;
        Ok(())
    }

    /// Writes zeros for `bytes` of lost content. `is_len_sure` as in [`Loss::Filled`].
    fn fill(&mut self, bytes: u64, is_len_sure: bool) -> Result<(), Cause> {
        if bytes == 0 {
            return Ok(());
        }
        if self.filled.as_ref().is_some_and(|(_, is_sure)| *is_sure != is_len_sure) {
            self.tell_filled();
        }
        let start = self.filled.as_ref().map_or(self.salvaged.written_bytes, |(filled, _)| filled.start);
        let mut bytes_left = bytes;
        while bytes_left > 0 {
            self.check()?;
            let len = usize::try_from(bytes_left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.output.write_all(&ZEROS[..len]).map_err(Cause::Write)?;
            bytes_left -= len as u64;
        }
        self.salvaged.written_bytes += bytes;
        self.salvaged.filled_bytes += bytes;
        self.filled = Some((start..self.salvaged.written_bytes, is_len_sure));
        Ok(())
    }

    /// Reports that the content of `source` is lost, of unknown length.
    fn leave_out(&mut self, source: Range<u64>) {
        self.tell_filled();
        self.salvaged.left_out_count += 1;
        (self.on_loss)(&Loss::LeftOut { at: self.salvaged.written_bytes, source });
    }

    fn tell_filled(&mut self) {
        if let Some((content, is_len_sure)) = self.filled.take() {
            (self.on_loss)(&Loss::Filled { content, is_len_sure });
        }
    }

    /// Reports that the last `bytes` written are not what the seek table lists.
    fn tell_unlisted(&mut self, bytes: u64) {
        self.salvaged.unlisted_count += 1;
        let end = self.salvaged.written_bytes;
        (self.on_loss)(&Loss::Unlisted(end - bytes..end));
    }
}
