//! Limits on the memory of a run: buffers, windows, batches. ARCHITECTURE.md adds them up.

use std::num::NonZeroUsize;

use crate::format::age::cut::RUN_LEN;
use crate::format::zstd::codec::Compressor;

use super::buffer::BufferPool;
use super::cpu_slots::CpuSlots;
use super::frame_splitter::Limits;
use super::plan::{Compress, Plan, Process, Work};
use super::threads::Concurrency;

/// Window bytes per worker of a restore: an incompressible frame of 4 MiB of content, and half of the next.
const WINDOW_BYTES_A_WORKER: usize = 12 * 1024 * 1024;

/// Window bytes per place in a channel of a restore.
const WINDOW_BYTES_A_PLACE: usize = 1024 * 1024;

/// The decompression context of a worker.
const DECOMPRESSOR_BYTES: usize = 256 * 1024;

/// Memory of every run: the program, stacks, histograms, the runtime.
pub const BASE_BYTES: usize = 7 * 1024 * 1024;

/// Buffers and CPU slots of a run.
pub(super) struct Pools {
    /// Chunks of input and their frames, or restored content.
    pub chunks: BufferPool,
    /// Compressed frames of a restore, mostly shorter than their content.
    pub batches: BufferPool,
    /// Runs of segments.
    pub runs: BufferPool,
    /// CPU slots of the workers.
    pub slots: CpuSlots,
}

impl Pools {
    pub(super) fn new(chunks: BufferPool, slots: CpuSlots, width: Concurrency) -> Pools {
        let run_count = width.token_count() + 2;
        let batches = chunks.beside(width.token_count() + 2);
        Pools { chunks, batches, runs: BufferPool::new(run_count * RUN_LEN, run_count), slots }
    }
}

/// Most buffers that a compressing run uses, each of a frame's length.
pub fn compress_buffer_count(width: Concurrency) -> usize {
    width.token_count() + width.workers.get()
}

/// Most bytes that a restore has in flight.
pub fn decompress_window_bytes(width: Concurrency) -> usize {
    width.workers.get() * WINDOW_BYTES_A_WORKER + width.channel_depth.get() * WINDOW_BYTES_A_PLACE
}

/// Limits of the finding stage of a restore. With two workers or more, an incompressible frame of 8 MiB of content, the default from
/// level 9 on, still goes to a worker.
pub(super) fn find_limits(width: Concurrency, window_log_max: u32) -> Limits {
    Limits { window_log_max, batch_bytes_max: batch_bytes_max(width) as u64 }
}

/// Most weight of a batch.
fn batch_bytes_max(width: Concurrency) -> usize {
    decompress_window_bytes(width) / 3 * 2
}

/// Most bytes in all buffers of a restore: those in flight, and the batch being gathered.
fn decompress_buffer_bytes(width: Concurrency) -> usize {
    decompress_window_bytes(width) + batch_bytes_max(width)
}

/// A pool that keeps what a warm run has in flight.
pub(super) fn pool_for(plan: &Plan) -> BufferPool {
    match &plan.work {
        Work::Process(Process { compress: Some(compress), .. }) => {
            let buffer_count = compress_buffer_count(plan.width);
            let frame_len = Compressor::frame_len_bound(compress.chunk_len);
            BufferPool::new(buffer_count.saturating_mul(frame_len), buffer_count)
        }
        Work::Process(_) => BufferPool::new(0, 1),
        Work::Restore(_) => {
            // The content of the batch being gathered is not there yet: half of its weight, if incompressible.
            let kept_bytes = decompress_window_bytes(plan.width) + batch_bytes_max(plan.width) / 2;
            BufferPool::new(kept_bytes, plan.width.token_count() + 2)
        }
    }
}

/// Most memory of compressing, and of sealing if `is_sealed`, in bytes: the formula of ARCHITECTURE.md without the seek table's 12 bytes per
/// frame. The legacy mutex mode holds its input on top.
pub fn process_bytes(width: Concurrency, compress: Option<Compress>, is_sealed: bool) -> usize {
    let compress_bytes = compress.map_or(0, |compress| {
        let frame_len = Compressor::frame_len_bound(compress.chunk_len);
        let contexts_bytes = width.workers.get() * Compressor::context_bytes(compress.level);
        compress_buffer_count(width).saturating_mul(frame_len).saturating_add(contexts_bytes)
    });
    compress_bytes.saturating_add(if is_sealed { runs_bytes(width) } else { 0 }).saturating_add(BASE_BYTES)
}

/// Most memory of opening and decompressing, in bytes, without the window of a streamed frame.
pub fn restore_bytes(width: Concurrency) -> usize {
    decompress_buffer_bytes(width) + width.workers.get() * DECOMPRESSOR_BYTES + runs_bytes(width) + BASE_BYTES
}

/// Most memory of one thread that compresses or seals inline, without contexts: a chunk and its frame, two runs.
pub fn inline_process_bytes(compress: Option<Compress>, is_sealed: bool) -> usize {
    let frame_len = compress.map_or(0, |compress| Compressor::frame_len_bound(compress.chunk_len));
    2 * frame_len + if is_sealed { 2 * RUN_LEN } else { 0 }
}

/// Most memory of one thread that opens or decompresses inline, without the window of a streamed frame: a batch, which counts compressed
/// bytes and content, and a run.
pub fn inline_restore_bytes() -> usize {
    batch_bytes_max(SOLO_WIDTH) + RUN_LEN
}

/// Inline runs use the batches of the narrowest run with threads.
pub(super) const SOLO_WIDTH: Concurrency = Concurrency { workers: NonZeroUsize::MIN, channel_depth: NonZeroUsize::MIN };

fn runs_bytes(width: Concurrency) -> usize {
    (width.token_count() + 2) * RUN_LEN
}

/// The widest width, at most `width`, whose `needed` bytes fit `bytes`: first reduces channel depth, then workers. The output stays the
/// same. Fails with the need of the narrowest width.
pub fn fit(mut width: Concurrency, bytes: usize, needed: impl Fn(Concurrency) -> usize) -> Result<Concurrency, usize> {
    loop {
        let needed_bytes = needed(width);
        let less = |count: NonZeroUsize| NonZeroUsize::new(count.get() - 1);
        match (less(width.channel_depth), less(width.workers)) {
            _ if needed_bytes <= bytes => return Ok(width),
            (Some(channel_depth), _) => width.channel_depth = channel_depth,
            (None, Some(workers)) => width.workers = workers,
            (None, None) => return Err(needed_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::zstd::codec::Level;

    fn width(workers: usize, channel_depth: usize) -> Concurrency {
        let count = |count| NonZeroUsize::new(count).unwrap();
        Concurrency { workers: count(workers), channel_depth: count(channel_depth) }
    }

    #[test]
    fn depth_goes_before_workers_and_the_narrowest_is_the_limit() {
        let compress = Some(Compress { chunk_len: 4 << 20, level: Level::DEFAULT });
        let needed = |width| process_bytes(width, compress, false);
        let fitted = |mebibytes: usize| fit(width(2, 4), mebibytes << 20, needed).ok();
        let pair = |width: Concurrency| (width.workers.get(), width.channel_depth.get());
        assert_eq!(fitted(64).map(pair), Some((2, 4)));
        assert_eq!(fitted(50).map(pair), Some((2, 2)));
        assert_eq!(fitted(27).map(pair), Some((1, 1)));
        assert_eq!(fitted(20), None);
        assert!(process_bytes(width(2, 4), compress, true) <= 64 << 20, "the default fits what is promised");
        assert!(restore_bytes(width(2, 4)) <= 64 << 20, "both ways");
    }
}
