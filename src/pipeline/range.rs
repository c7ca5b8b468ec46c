//! Range reads: finds the frames that hold a range of the content by seek table, so that only they are read.
//!
//! Nothing authenticates the seek table of a bare compressed file. If it lies about a frame before the range, the wrong bytes are found;
//! so the headers of those frames are read too and compared with it.

use std::io::{self, Read, Seek};
use std::ops::Range;

use crate::format::zstd::seek_table::{Located, TableError};
use crate::format::zstd::{Damage, ZstdError};

use super::error::Cause;
use super::frame_at::{Record, walk};
use super::plan::{ContentRange, Decompress, Expect, Start};
use super::table::{RangeError, Reopen, SeekTable};

/// Which part of a file to decode for a range of its content.
#[derive(Clone, Debug)]
pub struct RangePlan {
    /// Byte range of the file that holds the frames.
    pub file_range: Range<u64>,
    /// How to decode them.
    pub work: Decompress,
}

/// Finds the frames that hold `range`, by the `table` in `file`; while they are decoded, their entries are read from `stream`. Fails if the
/// range ends past the content. An open range takes all frames up to the table, whatever the table says of their content: only decoding
/// proves that there is no more.
pub fn locate(
    file: &mut (impl Read + Seek),
    table: &SeekTable,
    range: &ContentRange,
    window_log_max: u32,
    stream: Reopen,
) -> Result<RangePlan, Cause> {
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
    let (mut frames, mut needed) = (table.frames(), None);
    while let Some(frame) = frames.next(file)? {
        if is_needed(&frame) {
            let (first, _) = needed.unwrap_or((frame, frame));
            needed = Some((first, frame));
        } else if needed.is_some() {
            break;
        }
    }
    let (start, file_range, frames) = match needed {
        Some((first, last)) => {
            let Located { index: frame_index, offset, content_offset, .. } = first;
            let file_range = offset..last.offset + u64::from(last.entry.compressed_len);
            (Start { frame_index, offset, content_offset }, file_range, table.frames().from(first))
        }
        // An empty range needs no frame; its start counts as reached.
        None => (Start { content_offset: wanted.start, ..Start::default() }, 0..0, table.frames()),
    };
    let expect = Expect::Entries { frames, stream };
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
    let mut frames = table.frames();
    while let Some(frame) = frames.next(file)?.filter(|frame| frame.offset < offset) {
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
