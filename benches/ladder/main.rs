//! The benchmark ladder: each rung adds one layer, so that a slow run names its layer.
//!
//! ```text
//! codec       compress and decompress a chunk, one thread, nothing else
//! segment     seal and open a segment, one thread, nothing else
//! scan        walk the headers of a compressed stream
//! reorder     put items back in order
//! queue       hand an item from one thread to another
//! engine      source, workers, sink, with an empty step
//! whole       process and restore, each layer and both, memory to memory, both engines
//! ```
//!
//! For what criterion cannot measure, the latency of an item and scaling with workers that wait, see
//! `benches/scale.rs`.

#![allow(missing_docs, clippy::unwrap_used)]

mod engine;
mod formats;
mod whole;

use std::num::NonZeroUsize;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pipeline::format::zstd::codec::{Compressor, Level};
use pipeline::pipeline::threads::Concurrency;

/// The default chunk length.
const CHUNK: usize = 4 << 20;
/// The content length of a whole run.
const WHOLE: usize = 32 * CHUNK;

/// Text-like content; it compresses to about a third.
fn content(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut content = Vec::with_capacity(len + 64);
    while content.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        content.extend_from_slice(format!("{:x} line {} of text\n", state >> 52, state >> 60).as_bytes());
    }
    content.truncate(len);
    content
}

fn width(workers: usize, depth: usize) -> Concurrency {
    Concurrency { workers: NonZeroUsize::new(workers).unwrap(), channel_depth: NonZeroUsize::new(depth).unwrap() }
}

/// The content in frames of one chunk each.
fn compressed(content: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(Level::DEFAULT).unwrap();
    let mut stream = Vec::new();
    for chunk in content.chunks(CHUNK) {
        let mut frame = vec![0; Compressor::frame_len_bound(chunk.len())];
        let len = compressor.compress(chunk, &mut frame).unwrap();
        stream.extend_from_slice(&frame[..len]);
    }
    stream
}

criterion_group! {
    name = ladder;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = formats::codec, formats::segment, formats::scan, engine::reorder, engine::queue, engine::empty_step, whole::whole
}
criterion_main!(ladder);
