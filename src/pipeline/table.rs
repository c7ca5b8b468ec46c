//! The seek table at the end of a file, read a piece at a time: whatever number of frames it claims, it takes constant memory.
//!
//! A table is untrusted. It is walked once to see that it adds up, and again by each of its users, who find its entries in the file. A claim
//! that the file cannot hold is refused at the first entry that shows it.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::format::zstd::ZstdError;
use crate::format::zstd::scan::SKIPPABLE_HEADER_LEN;
use crate::format::zstd::seek_table::{Entry, FOOTER_LEN, FRAME_BYTES_MIN, Footer, Located, TableError};

use super::error::Cause;
use super::frame_at::WalkError;

/// Bytes of entries read at once: whole entries, with and without checksums.
const PIECE_LEN: usize = 96 * 1024;

/// Why a range cannot be read by seek table.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// There is no usable table: the frames must be walked from the start.
    #[error(transparent)]
    NoTable(#[from] TableError),
    /// The table and a frame contradict each other.
    #[error(transparent)]
    Damaged(#[from] ZstdError),
    /// Reading the file failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<WalkError> for RangeError {
    fn from(error: WalkError) -> RangeError {
        match error {
            WalkError::Damaged(error) => RangeError::Damaged(error),
            WalkError::Io(error) => RangeError::Io(error),
        }
    }
}

/// The failure of a walk over a table that was read before.
impl From<RangeError> for Cause {
    fn from(error: RangeError) -> Cause {
        match error {
            RangeError::NoTable(_) => Cause::Changed,
            RangeError::Damaged(error) => Cause::Zstd(error),
            RangeError::Io(error) => Cause::of_read(error),
        }
    }
}

/// A seek table whose sums match the file. Its entries stay there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeekTable {
    footer: Footer,
    /// Where it begins, which is where the frames end.
    offset: u64,
    content_bytes: u64,
}

/// Reads the seek table at the end of `file`, and checks that it adds up to the file.
pub fn read_table(file: &mut (impl Read + Seek)) -> Result<SeekTable, RangeError> {
    let file_bytes = file.seek(SeekFrom::End(0))?;
    if file_bytes < (SKIPPABLE_HEADER_LEN + FOOTER_LEN) as u64 {
        return Err(TableError::Missing.into());
    }
    let mut footer = [0; FOOTER_LEN];
    file.seek(SeekFrom::Start(file_bytes - FOOTER_LEN as u64))?;
    file.read_exact(&mut footer)?;
    let footer = Footer::parse(&footer)?;
    let wrong_size = TableError::WrongSize(footer.frame_count);
    let offset = file_bytes.checked_sub(footer.table_bytes()).ok_or(wrong_size)?;
    let mut header = [0; SKIPPABLE_HEADER_LEN];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut header)?;
    footer.check_header(header, file_bytes)?;
    let mut frames = SeekTable { footer, offset, content_bytes: 0 }.frames();
    while frames.next(file)?.is_some() {}
    if frames.offset != offset {
        return Err(TableError::WrongSum { table_bytes: frames.offset, file_bytes: offset }.into());
    }
    Ok(SeekTable { footer, offset, content_bytes: frames.content_offset })
}

impl SeekTable {
    /// Length of the whole content, in bytes.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Whether entries hold checksums.
    pub fn has_checksums(&self) -> bool {
        self.footer.has_checksums
    }

    /// A walk over all frames, in order.
    pub fn frames(&self) -> Frames {
        Frames { table: *self, index: 0, offset: 0, content_offset: 0, piece: Vec::new(), taken_len: 0 }
    }
}

/// A walk over the frames that a table lists.
#[derive(Clone, Debug)]
pub struct Frames {
    table: SeekTable,
    /// Of the next frame.
    index: u64,
    offset: u64,
    content_offset: u64,
    /// Entries read, and how much of them was taken.
    piece: Vec<u8>,
    taken_len: usize,
}

impl Frames {
    /// A walk over the same table that begins with `frame`.
    pub fn from(self, frame: Located) -> Frames {
        let Located { index, offset, content_offset, .. } = frame;
        Frames { index, offset, content_offset, piece: Vec::new(), taken_len: 0, ..self }
    }

    /// Whether entries hold checksums.
    pub fn has_checksums(&self) -> bool {
        self.table.has_checksums()
    }

    /// The next frame, read from `file`, which may stand anywhere; `None` after the last. Fails if no frame is as short as the table says.
    pub fn next(&mut self, file: &mut (impl Read + Seek + ?Sized)) -> Result<Option<Located>, RangeError> {
        let Frames { index, offset, content_offset, .. } = *self;
        if index == u64::from(self.table.footer.frame_count) {
            return Ok(None);
        }
        if self.taken_len == self.piece.len() {
            self.read(file)?;
        }
        let end = self.taken_len + self.table.footer.entry_len();
        let entry = Entry::parse(&self.piece[self.taken_len..end]);
        if u64::from(entry.compressed_len) < FRAME_BYTES_MIN {
            return Err(TableError::ShortFrame(index).into());
        }
        // At most 2^27 entries of less than 2^32 bytes each: the sums fit a u64.
        self.index += 1;
        self.offset += u64::from(entry.compressed_len);
        self.content_offset += u64::from(entry.content_len);
        self.taken_len = end;
        Ok(Some(Located { index, offset, content_offset, entry }))
    }

    /// Reads the next entries.
    fn read(&mut self, file: &mut (impl Read + Seek + ?Sized)) -> io::Result<()> {
        let Footer { frame_count, .. } = self.table.footer;
        let entry_bytes = self.table.footer.entry_len() as u64;
        let bytes_left = (u64::from(frame_count) - self.index) * entry_bytes;
        self.piece.resize(usize::try_from(bytes_left).map_or(PIECE_LEN, |left| left.min(PIECE_LEN)), 0);
        self.taken_len = self.piece.len();
        let entries_offset = self.table.offset + SKIPPABLE_HEADER_LEN as u64;
        file.seek(SeekFrom::Start(entries_offset + self.index * entry_bytes))?;
        file.read_exact(&mut self.piece)?;
        self.taken_len = 0;
        Ok(())
    }
}

/// A stream that can be read anywhere.
pub trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// Opens the stream that holds a table once more, with a position of its own, so that the table is read while its frames are decoded.
#[derive(Clone)]
pub struct Reopen(Arc<dyn Fn() -> io::Result<Box<dyn ReadSeek>> + Send + Sync>);

impl Reopen {
    /// `open` returns a reader that shares its position with no other.
    pub fn new<R: ReadSeek + 'static>(open: impl Fn() -> io::Result<R> + Send + Sync + 'static) -> Reopen {
        Reopen(Arc::new(move || Ok(Box::new(open()?))))
    }

    /// Opens it.
    pub fn open(&self) -> io::Result<Box<dyn ReadSeek>> {
        (self.0)()
    }
}

impl fmt::Debug for Reopen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reopen")
    }
}
