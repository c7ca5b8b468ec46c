//! A benchmark of the codecs alone, the floor of any run: one file, one core, nothing around them.
//! `PIPELINE_BENCH_FILE=FILE cargo bench --bench floor`; without the variable it uses a generated tar of text.
//!
//! The file is in memory before the clock starts. The benchmark compresses chunks of 4 MiB at level 3 into a warm
//! buffer, seals the frames in segments, and reverses both steps. It prints medians of three, in CPU seconds and in
//! bytes of content per second.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use pipeline::format::age::stream::{PayloadKey, Place, SEALED_LEN, SEGMENT_LEN, SegmentCipher};
use pipeline::format::zstd::codec::{Compressor, Decompressor, Level};

const CHUNK_LEN: usize = 4 << 20;
const MADE_UP_LEN: usize = 256 << 20;

fn main() {
    let content = match std::env::var_os("PIPELINE_BENCH_FILE") {
        Some(path) => std::fs::read(path).unwrap(),
        None => (0u32..)
            .flat_map(|i| format!("line {} of {i}\n", i.wrapping_mul(2_654_435_761) >> 20).into_bytes())
            .take(MADE_UP_LEN)
            .collect(),
    };
    let (mut compressor, mut decompressor) = (Compressor::new(Level::DEFAULT).unwrap(), Decompressor::new().unwrap());
    let cipher = SegmentCipher::new(&PayloadKey::take(&mut [7; 32]));
    let mut frame = vec![0; Compressor::frame_len_bound(CHUNK_LEN)];
    let frames: Vec<Vec<u8>> = content
        .chunks(CHUNK_LEN)
        .map(|chunk| {
            let len = compressor.compress(chunk, &mut frame).unwrap();
            frame[..len].to_vec()
        })
        .collect();
    let compress = seconds(|| {
        for chunk in content.chunks(CHUNK_LEN) {
            black_box(compressor.compress(chunk, &mut frame).unwrap());
        }
    });
    let compressed_len: usize = frames.iter().map(Vec::len).sum();
    let mut segment = vec![0; SEALED_LEN];
    let segment_count = compressed_len.div_ceil(SEGMENT_LEN) as u64;
    let seal =
        seconds(|| (0..segment_count).for_each(|index| cipher.seal(index, Place::Inner, black_box(&mut segment))));
    // A segment must be authentic to be decrypted. Each round therefore seals and opens a segment, and the time of
    // sealing is subtracted.
    let both = seconds(|| {
        (0..segment_count).for_each(|index| {
            cipher.seal(index, Place::Inner, black_box(&mut segment));
            assert!(cipher.open(index, &mut segment).is_some());
        });
    });
    let mut back = vec![0; CHUNK_LEN];
    let decompress = seconds(|| {
        for frame in &frames {
            black_box(decompressor.decompress(frame, &mut back).unwrap());
        }
    });
    println!("{} bytes, {compressed_len} compressed", content.len());
    let rate = |seconds: f64| content.len() as f64 / seconds / 1e6;
    for (name, seconds) in [
        ("compress", compress),
        ("seal the frames", seal),
        ("both", compress + seal),
        ("open the frames", both - seal),
        ("decompress", decompress),
        ("both, back", both - seal + decompress),
    ] {
        println!("{name:<16} {seconds:>7.3} s {:>8.0} MB/s of content", rate(seconds));
    }
}

/// The median time of three calls of `work`, in seconds.
fn seconds(mut work: impl FnMut()) -> f64 {
    let mut times = [0; 3].map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    times.sort_by(f64::total_cmp);
    times[1]
}
