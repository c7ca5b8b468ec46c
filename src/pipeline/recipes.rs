//! The wiring of the channel engine, a function a diagram.
//!
//! ```text
//! compress    read -> [compress xN] -> reorder, write, seek table
//! decompress  read, find frames -> [decompress xN] -> reorder, check against tables, write
//! ```
//!
//! Memory in flight. Compressing: as many buffers of a chunk as there are tokens (an item is a chunk or, later, its frame), one more
//! at each worker while it has both, one with the writer. Decompressing: the window's bytes, a batch being gathered, a piece
//! being written. ARCHITECTURE.md gives the formula with all its terms.

use std::sync::{Arc, OnceLock};

use crate::format::zstd::codec::{Compressor, Decompressor, Level};

use super::buffer::BufferPool;
use super::crew::{Crew, Names, Width};
use super::ends::Ends;
use super::find::{Found, FrameFinder, Limits};
use super::plan::Decompress;
use super::stage::Flow;
use super::steps::{compress_chunk, decompress_batch};
use super::window::Window;
use super::write::{ContentWriter, FrameWriter, Summary};

/// Bytes that a restore reads at once: they stay in a core's cache until they are gathered.
pub(super) const READ_LEN: usize = 256 * 1024;

/// Window bytes a worker of a restore: a frame of 8 MiB of content that did not compress at all.
const WINDOW_BYTES_A_WORKER: usize = 16 * 1024 * 1024;

/// Window bytes a place in a channel of a restore.
const WINDOW_BYTES_A_PLACE: usize = 1024 * 1024;

/// Where the sink leaves what it has to say.
pub(super) type SummarySlot = Arc<OnceLock<Summary>>;

const COMPRESS: Names = Names { stage: "compress", before: "read>compress", behind: "compress>write", next: "write" };

const DECOMPRESS: Names =
    Names { stage: "decompress", before: "find>decompress", behind: "decompress>write", next: "write" };

/// Buffers that a compressing run has in use at most, each of a frame's length.
pub fn compress_buffer_count(width: Width) -> usize {
    width.token_count() + width.workers.get() + 1
}

/// Starts the threads that compress `ends.input` in chunks of `chunk_len` bytes.
pub(super) fn compress(
    crew: &mut Crew,
    pool: &BufferPool,
    width: Width,
    chunk_len: usize,
    level: Level,
    ends: Ends,
) -> SummarySlot {
    let window = Window::of_items("compress", width.token_count());
    let worker_pool = pool.clone();
    let (mut source, output) = ends.split();
    let (chunks, frames) = crew.parallel(COMPRESS, width, window, move |_| {
        let (mut compressor, pool) = (Compressor::new(level)?, worker_pool.clone());
        Ok(move |chunk| compress_chunk(&mut compressor, &pool, chunk))
    });

    let pool = pool.clone();
    crew.source("read", chunks, move |chunks| {
        let is_first = chunks.next_seq() == 0;
        let slot = chunks.reserve(1)?;
        let mut chunk = pool.take(Compressor::frame_len_bound(chunk_len));
        let len = source.fill(&mut chunk.room()[..chunk_len])?;
        chunk.extend_len(len);
        // Input of no bytes is one empty frame, so that the file has one to begin with.
        if len == 0 && !is_first {
            return Ok(Flow::End);
        }
        slot.send(chunk)?;
        Ok(if len < chunk_len { Flow::End } else { Flow::More })
    });

    let mut writer = FrameWriter::new(output);
    let (summary, slot) = summary_slot();
    crew.sink("write", frames, move |frame| match frame {
        Some(frame) => writer.push(&frame).map(|()| Flow::More),
        None => {
            let _ = slot.set(writer.finish()?);
            Ok(Flow::End)
        }
    });
    summary
}

/// What a restore may have in flight, in bytes.
pub fn decompress_window_bytes(width: Width) -> usize {
    width.workers.get() * WINDOW_BYTES_A_WORKER + width.channel_depth.get() * WINDOW_BYTES_A_PLACE
}

/// What bounds the finding stage of a restore: two of the heaviest batches fit the window.
pub(super) fn find_limits(width: Width, window_log_max: u32) -> Limits {
    Limits { window_log_max, batch_bytes_max: decompress_window_bytes(width) as u64 / 2 }
}

/// Starts the threads that decode `ends.input`.
pub(super) fn decompress(
    crew: &mut Crew,
    pool: &BufferPool,
    width: Width,
    work: &Decompress,
    ends: Ends,
) -> SummarySlot {
    let window = Window::of_weight("decompress", decompress_window_bytes(width) as u64, width.token_count());
    let worker_pool = pool.clone();
    let (mut source, output) = ends.split();
    let (found, pieces) = crew.parallel(DECOMPRESS, width, window, move |_| {
        let (mut decompressor, pool) = (Decompressor::new()?, worker_pool.clone());
        Ok(move |found| match found {
            Found::Batch(batch) => decompress_batch(&mut decompressor, &pool, batch),
            Found::Piece(piece) => Ok(piece),
        })
    });

    let mut finder = FrameFinder::new(work.start, find_limits(width, work.window_log_max), pool.clone());
    let mut piece = pool.take(READ_LEN);
    crew.source("find", found, move |found| {
        let len = source.read(&mut piece.room()[..READ_LEN])?;
        let emit = &mut |weight, item| found.reserve(weight)?.send(item);
        if len == 0 {
            finder.finish(emit)?;
            return Ok(Flow::End);
        }
        finder.push(&piece.room()[..len], emit)?;
        Ok(Flow::More)
    });

    let mut writer = ContentWriter::new(output, work);
    let (summary, slot) = summary_slot();
    crew.sink("write", pieces, move |piece| {
        let flow = match piece {
            Some(piece) => writer.push(&piece)?,
            None => {
                writer.finish()?;
                Flow::End
            }
        };
        if flow == Flow::End {
            let _ = slot.set(writer.summary());
        }
        Ok(flow)
    });
    summary
}

fn summary_slot() -> (SummarySlot, SummarySlot) {
    let slot = SummarySlot::default();
    (Arc::clone(&slot), slot)
}
