//! Range reads: finds the frames that hold a range of the content by seek table, so that only they are read.
//!
//! Nothing authenticates the seek table of a bare compressed file. If it lies about a frame before the range, the wrong bytes are found;
//! so the headers of those frames are read too and compared with it.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use crate::format::zstd::scan::SKIPPABLE_HEADER_LEN;
use crate::format::zstd::seek_table::{FOOTER_LEN, Footer, Located, SeekTable, TableError};
use crate::format::zstd::{Damage, ZstdError};

use super::error::Cause;
use super::frame_at::{Record, WalkError, walk};
use super::plan::{ContentRange, Decompress, Expect, Start};

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

/// Reads the seek table at the end of `file`. Allocates only once the file is seen to hold a table of that size.
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
    let table_offset = file_bytes.checked_sub(footer.table_bytes()).ok_or(wrong_size.clone())?;
    let mut header = [0; SKIPPABLE_HEADER_LEN];
    file.seek(SeekFrom::Start(table_offset))?;
    file.read_exact(&mut header)?;
    SeekTable::check_header(footer, header, file_bytes)?;
    let entries_bytes = footer.table_bytes() - (SKIPPABLE_HEADER_LEN + FOOTER_LEN) as u64;
    let entries_len = usize::try_from(entries_bytes).map_err(|_| wrong_size)?;
    let mut entries = Vec::new();
    entries.try_reserve_exact(entries_len).map_err(io::Error::other)?;
    entries.resize(entries_len, 0);
    file.read_exact(&mut entries)?;
    Ok(SeekTable::parse(footer, entries, file_bytes)?)
}

/// Which part of a file to decode for a range of its content.
#[derive(Clone, Debug)]
pub struct RangePlan {
    /// Byte range of the file that holds the frames.
    pub file_range: Range<u64>,
    /// How to decode them.
    pub work: Decompress,
}

/// Finds the frames that hold `range`. Fails if the range ends past the content. An open range takes all frames up to the table,
/// whatever the table says of their content: only decoding proves that there is no more.
pub fn locate(table: &Arc<SeekTable>, range: &ContentRange, window_log_max: u32) -> Result<RangePlan, Cause> {
    let content_bytes = table.content_bytes();
    let (wanted, is_open) = match range {
        ContentRange::All => (0..content_bytes, true),
        ContentRange::From(start) => (*start..content_bytes.max(*start), true),
        ContentRange::Within(range) => (range.clone(), false),
    };
    if wanted.end > content_bytes {
        return Err(Cause::RangePastEnd { range_end: wanted.end, content_bytes });
    }
    let is_needed = |frame: &Located| {
        let content = frame.content_range();
        let is_within = !wanted.is_empty() && content.start < wanted.end && wanted.start < content.end;
        // The frame that ends where the range begins may hold more than the table says.
        is_within || (is_open && wanted.start <= content.end)
    };
    let mut needed = table.frames().filter(is_needed);
    let first = needed.next();
    let last = needed.last().or(first);
    let (start, file_range) = match (first, last) {
        (Some(first), Some(last)) => {
            let Located { index: frame_index, offset, content_offset, .. } = first;
            (Start { frame_index, offset, content_offset }, offset..last.offset + u64::from(last.entry.compressed_len))
        }
        // An empty range needs no frame; its start counts as reached.
        _ => (Start { content_offset: wanted.start, ..Start::default() }, 0..0),
    };
    let expect = Expect::Entries { table: Arc::clone(table), first_index: start.frame_index };
    let range = if is_open { ContentRange::From(wanted.start) } else { ContentRange::Within(wanted) };
    Ok(RangePlan { file_range, work: Decompress { window_log_max, start, range, expect } })
}

/// Compares the frames before `offset` with the table. Each must begin and end where the table says, or an entry could hide the next frame,
/// and must declare the listed content size. Reads headers of frames and blocks, and skips bodies. A frame that declares no content size
/// leaves the table unproven. Calls `is_cancelled` before each frame.
pub fn check_headers_before(
    file: &mut (impl Read + Seek),
    table: &SeekTable,
    offset: u64,
    is_cancelled: impl Fn() -> bool,
) -> Result<(), RangeError> {
    for frame in table.frames().take_while(|frame| frame.offset < offset) {
        if is_cancelled() {
            return Err(io::Error::other("stopped").into());
        }
        let found = walk(file, frame.offset, frame.index)?;
        let declared_bytes = match &found {
            Record::Frame(found) => found.header.content_bytes,
            Record::Skippable { .. } => Some(0),
        };
        let differs = match declared_bytes {
            _ if found.end() != frame.offset + u64::from(frame.entry.compressed_len) => "it gives another length",
            None => return Err(TableError::Unproven(frame.index).into()),
            Some(declared) if declared == u64::from(frame.entry.content_len) => continue,
            Some(_) => "it gives another content length",
        };
        let damage = Damage::SeekTable(differs);
        return Err(ZstdError::Damaged { frame_index: frame.index, offset: frame.offset, damage }.into());
    }
    Ok(())
}
