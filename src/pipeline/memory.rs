//! How much a run may hold in memory: buffers, windows, batches. ARCHITECTURE.md adds it all up.

use crate::format::age::cut::RUN_LEN;
use crate::format::zstd::codec::Compressor;

use super::buffer::BufferPool;
use super::crew::Width;
use super::find::Limits;
use super::plan::{Plan, Process, Work};

/// Window bytes a worker of a restore: a frame of 4 MiB of content that did not compress at all, and half of the next.
const WINDOW_BYTES_A_WORKER: usize = 12 * 1024 * 1024;

/// Window bytes a place in a channel of a restore.
const WINDOW_BYTES_A_PLACE: usize = 1024 * 1024;

/// The buffers of a run.
pub(super) struct Pools {
    /// Chunks of input and what they become, or content on the way back.
    pub chunks: BufferPool,
    /// Frames on the way back, which are mostly shorter than their content.
    pub batches: BufferPool,
    /// Runs of segments.
    pub runs: BufferPool,
}

impl Pools {
    pub(super) fn new(chunks: BufferPool, width: Width) -> Pools {
        let run_count = width.token_count() + 2;
        let batches = chunks.beside(width.token_count() + 2);
        Pools { chunks, batches, runs: BufferPool::new(run_count * RUN_LEN, run_count) }
    }
}

/// Buffers that a compressing run has in use at most, each of a frame's length.
pub fn compress_buffer_count(width: Width) -> usize {
    width.token_count() + width.workers.get()
}

/// What a restore may have in flight, in bytes.
pub fn decompress_window_bytes(width: Width) -> usize {
    width.workers.get() * WINDOW_BYTES_A_WORKER + width.channel_depth.get() * WINDOW_BYTES_A_PLACE
}

/// What bounds the finding stage of a restore. With two workers or more a frame of 8 MiB of content that did not compress at all,
/// the default from level 9 on, still goes to one of them.
pub(super) fn find_limits(width: Width, window_log_max: u32) -> Limits {
    Limits { window_log_max, batch_bytes_max: decompress_window_bytes(width) as u64 / 3 * 2 }
}

/// A pool that keeps what the run has in flight when it is warm.
pub(super) fn pool_for(plan: &Plan) -> BufferPool {
    match &plan.work {
        Work::Process(Process { compress: Some(compress), .. }) => {
            let buffer_count = compress_buffer_count(plan.width);
            let frame_len = Compressor::frame_len_bound(compress.chunk_len);
            BufferPool::new(buffer_count.saturating_mul(frame_len), buffer_count)
        }
        Work::Process(_) => BufferPool::new(0, 1),
        Work::Restore(_) => BufferPool::new(decompress_window_bytes(plan.width), plan.width.token_count() + 2),
    }
}
