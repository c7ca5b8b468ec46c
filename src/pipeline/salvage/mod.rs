//! What can be saved of a damaged file: everything that is intact, and of an age payload authentic; and where something is lost.
//!
//! One thread, front to back: what matters here is that nothing wrong comes out. A segment that does not open yields nothing, and any
//! frame that touches it is lost; a frame comes out whole, its checksum right, or not at all. Lost content whose length is
//! known is filled with zeros, so that what follows keeps its place; elsewhere it is left out, and that is said.

pub mod frames;

pub mod segments;

use std::io::{self, Write};
use std::ops::Range;

use super::error::Cause;

/// A part of the content that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// These bytes of the content are zeros now.
    Filled {
        /// Which.
        content: Range<u64>,
        /// That it was so many is told by something that is whole; otherwise by the header of the very frame that is damaged.
        is_len_sure: bool,
    },
    /// These bytes of the content are whole frames, but not the ones that the seek table lists there.
    Unlisted(Range<u64>),
    /// At this byte of what was written something is missing: what the bytes `source` held. How much that was nobody can tell.
    LeftOut {
        /// Where in what was written.
        at: u64,
        /// Bytes of the compressed stream, or of the payload.
        source: Range<u64>,
    },
}

/// What became of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Bytes written, zeros included.
    pub written_bytes: u64,
    /// Zeros in the place of what is lost.
    pub filled_bytes: u64,
    /// Places where something of unknown length is left out.
    pub left_out_count: u64,
    /// Frames that are right in themselves, and not what the seek table lists.
    pub unlisted_count: u64,
    /// Frames that came out and have no checksum, here or in a table: whether they are right cannot be told.
    pub unchecked_count: u64,
}

impl Salvaged {
    /// Whether nothing was wrong.
    pub fn is_whole(&self) -> bool {
        let Salvaged { filled_bytes, left_out_count, unlisted_count, .. } = self;
        filled_bytes + left_out_count + unlisted_count == 0
    }
}

/// Zeros that are written at once.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Where what is saved goes, and losses are told.
pub struct Rescue<'a> {
    output: &'a mut dyn Write,
    on_loss: &'a mut dyn FnMut(&Loss),
    is_cancelled: &'a dyn Fn() -> bool,
    /// Zeros that are told once it is seen where they end, and whether their number is sure.
    filled: Option<(Range<u64>, bool)>,
    salvaged: Salvaged,
}

impl<'a> Rescue<'a> {
    /// Writes to `output`, tells each loss to `on_loss`, in order, and stops when `is_cancelled` says so.
    pub fn new(
        output: &'a mut dyn Write,
        on_loss: &'a mut dyn FnMut(&Loss),
        is_cancelled: &'a dyn Fn() -> bool,
    ) -> Rescue<'a> {
        Rescue { output, on_loss, is_cancelled, filled: None, salvaged: Salvaged::default() }
    }

    /// Flushes, and gives what became of the file.
    pub fn finish(mut self) -> Result<Salvaged, Cause> {
        self.tell_filled();
        self.output.flush().map_err(Cause::Write)?;
        Ok(self.salvaged)
    }

    /// Fails if the run was stopped: to be asked between two parts.
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

    /// `bytes` of the content are lost. `is_len_sure` as in [`Loss::Filled`].
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

    /// What `source` held is lost, and nobody knows how much that was.
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

    /// The last `bytes` that were written are not what the seek table lists.
    fn tell_unlisted(&mut self, bytes: u64) {
        self.salvaged.unlisted_count += 1;
        let end = self.salvaged.written_bytes;
        (self.on_loss)(&Loss::Unlisted(end - bytes..end));
    }
}
