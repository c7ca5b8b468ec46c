//! The writing stages: they write frames with their seek table, or a range of content.

use std::ops::ControlFlow;

use crate::format::zstd::seek_table::{Entry, FRAME_COUNT_MAX, TableBuilder, TableCheck, TableStatus};
use crate::format::zstd::{Damage, ZstdError};

use super::endpoints::Output;
use super::error::{Cause, Stop, damaged_frame};
use super::frame_splitter::{FrameRecord, Piece, Record};
use super::plan::{ContentRange, Decompress, Expect};
use super::stage::{END, MORE};
use super::steps::CompressedChunk;
use super::table::{Frames, ReadSeek, Reopen};

/// What a run did, as the writing stage saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Frames written or decoded.
    pub frame_count: u64,
    /// Bytes of content.
    pub content_bytes: u64,
    /// Verdict on the seek tables of a decoded stream; `None` if frames were compared with entries.
    pub table: Option<TableStatus>,
}

impl Summary {
    /// A summary of `content_bytes` without frames.
    pub fn of_bytes(content_bytes: u64) -> Summary {
        Summary { frame_count: 0, content_bytes, table: None }
    }
}

/// Takes the bytes of a layer: the output, or the layer around it.
pub type Put<'a> = dyn FnMut(&[u8]) -> Result<(), Stop> + 'a;

/// Writes frames, and the seek table after the last one.
#[derive(Default)]
pub struct FrameWriter {
    table: TableBuilder,
    content_bytes: u64,
}

impl FrameWriter {
    /// Writes the next frame.
    pub fn push(&mut self, chunk: &CompressedChunk, put: &mut Put<'_>) -> Result<(), Stop> {
        if !self.table.push(chunk.entry) {
            return Err(ZstdError::TooManyFrames(FRAME_COUNT_MAX).into());
        }
        self.content_bytes += u64::from(chunk.entry.content_len);
        put(&chunk.frame)
    }

    /// Writes the seek table. Call it only once the end of the input was announced.
    pub fn finish(&mut self, put: &mut Put<'_>) -> Result<(), Stop> {
        let (header, entries, footer) = self.table.finish();
        put(&header)?;
        put(entries)?;
        put(&footer)
    }

    /// Summary of what was written.
    pub fn summary(&self) -> Summary {
        let frame_count = u64::from(self.table.frame_count());
        Summary { frame_count, content_bytes: self.content_bytes, table: None }
    }
}

/// Writes the requested range of a content that arrives in order.
pub struct RangeWriter {
    output: Output,
    range: ContentRange,
    /// Offset of the next byte in the content.
    position: u64,
    content_bytes: u64,
}

impl RangeWriter {
    /// Writes `range` to `output`; the first byte to arrive is at `position`.
    pub fn new(output: Output, range: ContentRange, position: u64) -> RangeWriter {
        RangeWriter { output, range, position, content_bytes: 0 }
    }

    /// Takes the next bytes of content, and writes those in the range.
    pub fn push(&mut self, content: &[u8]) -> Result<(), Stop> {
        let wanted = self.wanted(content.len());
        if !wanted.is_empty() {
            self.output.write(&content[wanted])?;
        }
        self.position += content.len() as u64;
        self.content_bytes += content.len() as u64;
        Ok(())
    }

    /// Whether no more content is needed.
    pub fn is_done(&self) -> bool {
        matches!(&self.range, ContentRange::Within(range) if self.position >= range.end)
    }

    /// Summary of content without frames.
    pub fn summary(&self) -> Summary {
        Summary::of_bytes(self.content_bytes)
    }

    /// Ends the content, or what is needed of it. Fails if it ended before the range did.
    pub fn finish(&mut self) -> Result<(), Stop> {
        let range_end = match self.range {
            ContentRange::All => 0,
            ContentRange::From(start) => start,
            ContentRange::Within(ref range) => range.end,
        };
        if range_end > self.position {
            return Err(Cause::RangePastEnd { range_end, content_bytes: self.position }.into());
        }
        self.output.flush()
    }

    /// Which of the next `len` bytes are in the range.
    fn wanted(&self, len: usize) -> std::ops::Range<usize> {
        let within = |offset: u64| usize::try_from(offset.saturating_sub(self.position)).map_or(len, |at| at.min(len));
        match self.range {
            ContentRange::All => 0..len,
            ContentRange::From(start) => within(start)..len,
            ContentRange::Within(ref range) => within(range.start)..within(range.end),
        }
    }
}

/// Writes the content of frames after checking them against tables or entries.
pub struct ContentWriter {
    output: RangeWriter,
    frame_count: u64,
    check: Check,
    /// Frames behind the range are checked too.
    reads_all: bool,
}

enum Check {
    Tables(Box<TableCheck>),
    Entries(Box<EntryCheck>),
}

impl ContentWriter {
    /// Writes to `output` what `work` asks for.
    pub fn new(output: Output, work: &Decompress) -> ContentWriter {
        let check = match &work.expect {
            Expect::Tables | Expect::AllTables => Check::Tables(Box::default()),
            Expect::Entries { frames, stream } => {
                Check::Entries(Box::new(EntryCheck { frames: frames.clone(), reopen: stream.clone(), stream: None }))
            }
        };
        let output = RangeWriter::new(output, work.range.clone(), work.start.content_offset);
        ContentWriter { output, frame_count: 0, check, reads_all: matches!(work.expect, Expect::AllTables) }
    }

    /// Checks the frames that end with `piece`, and writes what is in the range. `Break` when no more is needed.
    pub fn push(&mut self, piece: &Piece) -> Result<ControlFlow<()>, Stop> {
        for record in &piece.records {
            self.check.record(record)?;
            self.frame_count += u64::from(matches!(record, Record::Frame(_)));
        }
        self.output.push(&piece.content)?;
        // A streamed frame's content may precede its checksum: go on to the end of the frame.
        let is_at_frame_edge = !piece.records.is_empty();
        Ok(if is_at_frame_edge && self.output.is_done() && !self.reads_all { END } else { MORE })
    }

    /// Ends the content, or what is needed of it. Fails if it ended before the range did.
    pub fn finish(&mut self) -> Result<(), Stop> {
        self.output.finish()
    }

    /// Summary of what was written and checked.
    pub fn summary(&self) -> Summary {
        let table = match &self.check {
            Check::Tables(tables) => Some(tables.finish()),
            Check::Entries(_) => None,
        };
        Summary { frame_count: self.frame_count, table, ..self.output.summary() }
    }
}

impl Check {
    fn record(&mut self, record: &Record) -> Result<(), Stop> {
        match (self, record) {
            (Check::Tables(tables), Record::Frame(record)) => {
                tables.frame(record.frame.compressed_bytes, record.content_bytes, record.checksum);
                Ok(())
            }
            (Check::Tables(tables), Record::Skippable { compressed_bytes }) => {
                tables.skippable(*compressed_bytes);
                Ok(())
            }
            (Check::Tables(tables), Record::Table(table)) => {
                tables.table(*table);
                Ok(())
            }
            (Check::Entries(entries), record) => {
                let entry = entries.next()?;
                match record {
                    Record::Frame(record) => hold_against(entry, entries.frames.has_checksums(), record),
                    Record::Skippable { .. } | Record::Table(_) => Ok(()),
                }
            }
        }
    }
}

/// Reads the entries of the frames that arrive.
struct EntryCheck {
    frames: Frames,
    reopen: Reopen,
    /// Opened for the first entry.
    stream: Option<Box<dyn ReadSeek>>,
}

impl EntryCheck {
    /// The entry of the next frame; `None` if the table lists no more.
    fn next(&mut self) -> Result<Option<Entry>, Cause> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            unopened @ None => unopened.insert(self.reopen.open().map_err(Cause::of_read)?),
        };
        Ok(self.frames.next(&mut **stream)?.map(|frame| frame.entry))
    }
}

fn hold_against(entry: Option<Entry>, has_checksum: bool, record: &FrameRecord) -> Result<(), Stop> {
    let FrameRecord { frame, content_bytes, checksum } = record;
    let differs = match entry {
        None => "it lists no such frame",
        Some(entry) if u64::from(entry.compressed_len) != frame.compressed_bytes => "it gives another length",
        Some(entry) if u64::from(entry.content_len) != *content_bytes => "it gives another content length",
        Some(entry) if has_checksum && entry.checksum != *checksum => "it gives another checksum",
        Some(_) => return Ok(()),
    };
    Err(damaged_frame(frame.index, frame.offset, Damage::SeekTable(differs)).into())
}
