//! Splits a compressed stream into batches of whole frames for the workers of a restore.
//!
//! A frame is gathered until its end is found. Small frames share a batch, so that a file of a million tiny ones does not pay for a
//! million items. A frame too heavy for the window, such as the single one that stock `zstd` writes, is decoded here as a stream and sent
//! on in pieces with ordinary sequence numbers. Memory: one batch, at most [`Limits::batch_bytes_max`] of compressed bytes and content
//! bound together, plus the window of a streamed frame.

use std::hash::Hasher;

use twox_hash::XxHash64;

use crate::format::zstd::Damage;
use crate::format::zstd::codec::{Compressor, StreamDecompressor, content_checksum_of};
use crate::format::zstd::scan::{Edge, Frame, FrameScanner, SKIPPABLE_HEADER_LEN, ZSTD_MAGIC};
use crate::format::zstd::seek_table::{TABLE_MAGIC, TableReader, TableSummary};

use super::buffer::{Buffer, BufferPool};
use super::error::{Stop, damaged_frame};
use super::plan::Start;

/// Weight at which a batch goes to the workers: decoding it takes ten times as long as handing it over, and a file of a few small frames
/// still has work for several workers.
const BATCH_BYTES: u64 = 256 * 1024;

/// Most records in a batch, so that empty frames cannot make it grow.
const BATCH_RECORDS_MAX: usize = 1024;

/// Bytes of content in a piece of a streamed frame.
const PIECE_LEN: usize = 1024 * 1024;

/// Whole frames, in order.
pub struct Batch {
    /// Their bytes, without skippable frames.
    pub frames: Buffer,
    /// Upper bound on their content, in bytes.
    pub content_len_bound: usize,
    /// Their records, in order; these include skippable frames.
    pub records: Vec<Record>,
}

/// Content, and the frames that end in it.
pub struct Piece {
    /// Decoded bytes.
    pub content: Buffer,
    /// The frames whose last byte is in it, in order.
    pub records: Vec<Record>,
}

/// What the finding stage sends on.
pub enum Found {
    /// Frames to decode.
    Batch(Batch),
    /// Content decoded here.
    Piece(Piece),
}

/// A part of the compressed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A frame.
    Frame(FrameRecord),
    /// A skippable frame that is not a seek table.
    Skippable {
        /// Its length, including the header.
        compressed_bytes: u64,
    },
    /// A seek table.
    Table(TableSummary),
}

/// A frame and the result of decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRecord {
    /// The frame as scanned.
    pub frame: Frame,
    /// Length of its content, once decoded.
    pub content_bytes: u64,
    /// Low 32 bits of XXH64 of its content, once decoded.
    pub checksum: u32,
}

/// Memory limits of the finding stage.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest window accepted, as log2.
    pub window_log_max: u32,
    /// Most weight of a batch: compressed bytes plus content bound.
    pub batch_bytes_max: u64,
}

/// What happens to the current bytes.
enum Mode {
    /// Between frames: magic numbers and headers of skippable frames, which the scanner handles.
    Between,
    /// A frame, gathered at the end of the batch.
    Gather,
    /// A frame, decoded as it arrives.
    Stream(Streaming),
    /// A skippable frame, dropped.
    Skip { compressed_bytes: u64 },
    /// A skippable frame, read as a seek table.
    Table { compressed_bytes: u64, reader: TableReader },
}

struct Streaming {
    frame_index: u64,
    offset: u64,
    piece: Buffer,
    content_bytes: u64,
    /// For frames without a checksum of their own; libzstd verifies the others.
    checksum: Option<XxHash64>,
    is_ended: bool,
}

/// Takes a found item and its weight: compressed bytes plus content bound.
pub type Emit<'a> = dyn FnMut(u64, Found) -> Result<(), Stop> + 'a;

/// Finds frames in a compressed stream that arrives in pieces of any length.
pub struct FrameFinder {
    scanner: FrameScanner,
    limits: Limits,
    /// For gathered frames.
    batches: BufferPool,
    /// For content decoded here.
    pieces: BufferPool,
    mode: Mode,
    batch: Batch,
    /// Bytes and content bound of the whole frames in `batch`.
    batch_bytes: u64,
    /// Length of the whole frames in `batch`; the rest belongs to the current frame.
    whole_len: usize,
    /// Created for the first streamed frame.
    streamer: Option<StreamDecompressor>,
}

impl FrameFinder {
    /// A finder for a stream whose first byte is at `start`, with pools for gathered frames and for content decoded here.
    pub fn new(start: Start, limits: Limits, batches: BufferPool, pieces: BufferPool) -> FrameFinder {
        let scanner = FrameScanner::starting_at(start.offset, start.frame_index, 1 << limits.window_log_max);
        let batch = Batch { frames: batches.nothing(), content_len_bound: 0, records: Vec::new() };
        let mode = Mode::Between;
        FrameFinder { scanner, limits, batches, pieces, mode, batch, batch_bytes: 0, whole_len: 0, streamer: None }
    }

    /// Takes the next piece of the stream. `emit` receives what was found, with its weight.
    pub fn push(&mut self, mut piece: &[u8], emit: &mut Emit<'_>) -> Result<(), Stop> {
        loop {
            let (len, edge) = match self.scanner.advance(piece) {
                Ok(advanced) => advanced,
                Err(error) => return self.give_up(error.into(), emit),
            };
            let (taken, rest) = piece.split_at(len);
            piece = rest;
            self.take(taken, emit)?;
            match edge {
                Some(Edge::FrameStart) => {
                    self.gather(&ZSTD_MAGIC.to_le_bytes())?;
                    self.mode = Mode::Gather;
                }
                Some(Edge::SkippableStart { magic, content_bytes }) => {
                    let compressed_bytes = SKIPPABLE_HEADER_LEN as u64 + u64::from(content_bytes);
                    self.mode = match magic {
                        TABLE_MAGIC => Mode::Table { compressed_bytes, reader: TableReader::new(content_bytes) },
                        _ => Mode::Skip { compressed_bytes },
                    };
                }
                Some(Edge::FrameEnd(frame)) => {
                    self.lighten(&frame, emit)?;
                    self.end_frame(frame, emit)?;
                }
                Some(Edge::SkippableEnd) => self.end_skippable(emit)?,
                None => {
                    let frame = *self.scanner.frame();
                    return self.lighten(&frame, emit);
                }
            }
        }
    }

    /// Ends the stream: sends on what is left, and fails if that is inside a frame.
    pub fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), Stop> {
        self.emit_gathered(emit)?;
        Ok(self.scanner.finish()?)
    }

    /// Ends the stream early for `stop`: sends on the whole frames before it, and returns `stop`.
    pub fn give_up(&mut self, stop: Stop, emit: &mut Emit<'_>) -> Result<(), Stop> {
        self.emit_gathered(emit)?;
        Err(stop)
    }

    fn take(&mut self, bytes: &[u8], emit: &mut Emit<'_>) -> Result<(), Stop> {
        match &mut self.mode {
            Mode::Between | Mode::Skip { .. } => {}
            Mode::Gather => self.gather(bytes)?,
            Mode::Table { reader, .. } => reader.push(bytes),
            Mode::Stream(_) => self.stream(bytes, emit)?,
        }
        Ok(())
    }

    /// Appends bytes of the current frame. Its declared size only limits the doubling: a buffer of twice the frame's length would take
    /// another huge page for its last few bytes.
    fn gather(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let declared = self.scanner.frame().header.content_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let frame_len_bound = declared.map_or(0, Compressor::frame_len_bound);
        Ok(self.batch.frames.append(bytes, self.whole_len.saturating_add(frame_len_bound))?)
    }

    /// Keeps gathered bytes within the limit: first sends on the whole frames before the current one, then decodes that one as a stream.
    fn lighten(&mut self, at_hand: &Frame, emit: &mut Emit<'_>) -> Result<(), Stop> {
        let weight = at_hand.compressed_bytes + at_hand.content_bytes_bound();
        if !matches!(self.mode, Mode::Gather) || self.batch_bytes + weight <= self.limits.batch_bytes_max {
            return Ok(());
        }
        self.emit_gathered(emit)?;
        if weight > self.limits.batch_bytes_max {
            self.start_stream(at_hand, emit)?;
        }
        Ok(())
    }

    fn start_stream(&mut self, at_hand: &Frame, emit: &mut Emit<'_>) -> Result<(), Stop> {
        match &mut self.streamer {
            Some(streamer) => streamer.reset()?,
            none => *none = Some(StreamDecompressor::new(self.limits.window_log_max)?),
        }
        self.mode = Mode::Stream(Streaming {
            frame_index: at_hand.index,
            offset: at_hand.offset,
            piece: self.pieces.take(PIECE_LEN)?,
            content_bytes: 0,
            checksum: (!at_hand.header.has_checksum).then(|| XxHash64::with_seed(0)),
            is_ended: false,
        });
        let gathered = std::mem::replace(&mut self.batch.frames, self.batches.nothing());
        self.take(&gathered, emit)
    }

    /// Decodes `bytes` of the current frame and sends on full pieces.
    fn stream(&mut self, mut bytes: &[u8], emit: &mut Emit<'_>) -> Result<(), Stop> {
        let (Mode::Stream(streaming), Some(streamer)) = (&mut self.mode, &mut self.streamer) else {
            unreachable!("internal error: bytes of no streamed frame");
        };
        while !streaming.is_ended {
            let room_len = PIECE_LEN - streaming.piece.len();
            let room = &mut streaming.piece.room()[..room_len];
            let streamed = streamer
                .decompress(bytes, room)
                .map_err(|damage| damaged_frame(streaming.frame_index, streaming.offset, damage))?;
            if let Some(checksum) = &mut streaming.checksum {
                checksum.write(&room[..streamed.produced_len]);
            }
            streaming.piece.extend_len(streamed.produced_len);
            streaming.content_bytes += streamed.produced_len as u64;
            streaming.is_ended = streamed.is_frame_end;
            bytes = &bytes[streamed.consumed_len..];
            let is_full = streaming.piece.len() == PIECE_LEN;
            if is_full {
                let content = std::mem::replace(&mut streaming.piece, self.pieces.take(PIECE_LEN)?);
                emit(PIECE_LEN as u64, Found::Piece(Piece { content, records: Vec::new() }))?;
            }
            // With room left, libzstd has no more output.
            if bytes.is_empty() && !is_full {
                break;
            }
        }
        Ok(())
    }

    fn end_frame(&mut self, frame: Frame, emit: &mut Emit<'_>) -> Result<(), Stop> {
        match std::mem::replace(&mut self.mode, Mode::Between) {
            Mode::Stream(streaming) => self.end_stream(frame, streaming, emit),
            _ => {
                let content_len_bound = usize::try_from(frame.content_bytes_bound());
                self.batch.content_len_bound += content_len_bound.expect("lighten streams what does not fit");
                self.batch_bytes += frame.compressed_bytes + frame.content_bytes_bound();
                self.whole_len = self.batch.frames.len();
                self.note(Record::Frame(FrameRecord { frame, content_bytes: 0, checksum: 0 }), emit)
            }
        }
    }

    fn end_stream(&mut self, frame: Frame, streaming: Streaming, emit: &mut Emit<'_>) -> Result<(), Stop> {
        if !streaming.is_ended {
            let damage = Damage::Decode("the frame's blocks end before its content does");
            return Err(damaged_frame(frame.index, frame.offset, damage).into());
        }
        let computed = streaming.checksum.map(|checksum| content_checksum_of(&checksum));
        let checksum = frame.checksum.or(computed).unwrap_or_default();
        let record = Record::Frame(FrameRecord { frame, content_bytes: streaming.content_bytes, checksum });
        let piece = Piece { content: streaming.piece, records: vec![record] };
        emit(PIECE_LEN as u64, Found::Piece(piece))
    }

    fn end_skippable(&mut self, emit: &mut Emit<'_>) -> Result<(), Stop> {
        let record = match std::mem::replace(&mut self.mode, Mode::Between) {
            Mode::Table { compressed_bytes, reader } => {
                reader.finish().map_or(Record::Skippable { compressed_bytes }, Record::Table)
            }
            Mode::Skip { compressed_bytes } => Record::Skippable { compressed_bytes },
            _ => unreachable!("internal error: a skippable frame ended that had not begun"),
        };
        self.note(record, emit)
    }

    fn note(&mut self, record: Record, emit: &mut Emit<'_>) -> Result<(), Stop> {
        self.batch.records.push(record);
        if self.batch_bytes >= BATCH_BYTES || self.batch.records.len() == BATCH_RECORDS_MAX {
            self.emit_gathered(emit)?;
        }
        Ok(())
    }

    /// Sends on the whole frames gathered so far; the start of the next one moves to a new buffer.
    fn emit_gathered(&mut self, emit: &mut Emit<'_>) -> Result<(), Stop> {
        if self.batch.records.is_empty() {
            return Ok(());
        }
        let mut frames = self.batches.take(self.batch.frames.len() - self.whole_len)?;
        frames.append(&self.batch.frames[self.whole_len..], 0)?;
        let mut batch = std::mem::replace(&mut self.batch, Batch { frames, content_len_bound: 0, records: Vec::new() });
        batch.frames.truncate(self.whole_len);
        self.whole_len = 0;
        emit(std::mem::take(&mut self.batch_bytes), Found::Batch(batch))
    }
}
