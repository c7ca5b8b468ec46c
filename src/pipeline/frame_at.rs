//! Finds the end of one frame in a file by walking its block headers and skipping the block bodies: a few small reads.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use crate::format::zstd::ZstdError;
use crate::format::zstd::scan::{Edge, FRAME_HEADER_LEN_MAX, Frame, FrameScanner};
use crate::format::zstd::seek_table::TABLE_MAGIC;

/// What is at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A frame.
    Frame(Frame),
    /// A skippable frame: its user data, and whether its magic number is that of seek tables.
    Skippable {
        /// Range of the user data in the file.
        content: Range<u64>,
        /// Judged by the magic number alone.
        is_table: bool,
    },
}

impl Record {
    /// Offset of its end in the file.
    pub fn end(&self) -> u64 {
        match self {
            Record::Frame(frame) => frame.offset + frame.compressed_bytes,
            Record::Skippable { content, .. } => content.end,
        }
    }
}

/// Why a walk did not reach the end of a frame.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// There is no frame, or it is truncated.
    #[error(transparent)]
    Damaged(#[from] ZstdError),
    /// Reading it failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Most reads that it takes to walk a frame of `bytes`: each gets at least a frame's header, but for the last.
pub fn steps_max(bytes: u64) -> u64 {
    bytes / FRAME_HEADER_LEN_MAX as u64 + 1
}

/// Walks the frame that begins at `offset` of `file` and has `frame_index`.
pub fn walk(file: &mut (impl Read + Seek), offset: u64, frame_index: u64) -> Result<Record, WalkError> {
    let record = walk_within(file, offset, frame_index, &mut { u64::MAX })?;
    Ok(record.expect("internal error: a walk took 2^64 steps"))
}

/// Like [`walk`], in at most `steps_left` reads, which are counted down. `None` if they were too few.
pub fn walk_within(
    file: &mut (impl Read + Seek),
    offset: u64,
    frame_index: u64,
    steps_left: &mut u64,
) -> Result<Option<Record>, WalkError> {
    let mut scanner = FrameScanner::starting_at(offset, frame_index, u64::MAX);
    let (mut piece, mut is_table, mut content_start) = ([0; FRAME_HEADER_LEN_MAX], false, offset);
    while *steps_left > 0 {
        *steps_left -= 1;
        file.seek(SeekFrom::Start(scanner.offset()))?;
        let len = read(file, &mut piece)?;
        if len == 0 {
            scanner.finish()?;
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut rest = &piece[..len];
        loop {
            let (taken_len, edge) = scanner.advance(rest)?;
            rest = &rest[taken_len..];
            match edge {
                Some(Edge::FrameStart) => {}
                Some(Edge::FrameEnd(frame)) => return Ok(Some(Record::Frame(frame))),
                Some(Edge::SkippableStart { magic, .. }) => {
                    (is_table, content_start) = (magic == TABLE_MAGIC, scanner.offset());
                }
                Some(Edge::SkippableEnd) => {
                    return Ok(Some(Record::Skippable { content: content_start..scanner.offset(), is_table }));
                }
                None => break,
            }
        }
        // The last byte of a body is always read, so a body past the end of the file is noticed.
        scanner.skip_body(scanner.body_bytes_left().saturating_sub(1));
    }
    Ok(None)
}

/// Reads, and retries when a signal interrupts.
pub(super) fn read(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
