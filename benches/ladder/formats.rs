//! Benchmarks of the formats alone, on one thread.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use pipeline::format::age::stream::{PayloadKey, Place, SEALED_LEN, SEGMENT_LEN, SegmentCipher};
use pipeline::format::zstd::codec::{Compressor, Decompressor, Level};
use pipeline::format::zstd::scan::FrameScanner;

use crate::{CHUNK, WHOLE, compressed, content};

pub fn codec(c: &mut Criterion) {
    let content = content(CHUNK);
    let mut frame = vec![0; Compressor::frame_len_bound(CHUNK)];
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    for level in [1, 3, 9] {
        let mut compressor = Compressor::new(Level::new(level).unwrap()).unwrap();
        group.bench_function(BenchmarkId::new("compress", level), |b| {
            b.iter(|| compressor.compress(black_box(&content), &mut frame).unwrap());
        });
    }
    let len = Compressor::new(Level::DEFAULT).unwrap().compress(&content, &mut frame).unwrap();
    let (mut decompressor, mut back) = (Decompressor::new().unwrap(), vec![0; CHUNK]);
    group.bench_function("decompress", |b| {
        b.iter(|| decompressor.decompress(black_box(&frame[..len]), &mut back).unwrap())
    });
    group.finish();
}

pub fn segment(c: &mut Criterion) {
    let cipher = SegmentCipher::new(&PayloadKey::take(&mut [7; 32]));
    let mut group = c.benchmark_group("segment");
    group.throughput(Throughput::Bytes(SEGMENT_LEN as u64));
    let mut segment = vec![7; SEALED_LEN];
    group.bench_function("seal", |b| b.iter(|| cipher.seal(1, Place::Inner, black_box(&mut segment))));
    cipher.seal(1, Place::Inner, &mut segment);
    // Opening works in place, so each round copies the segment first: a twentieth of the time.
    let mut copy = segment.clone();
    group.bench_function("open", |b| {
        b.iter(|| {
            copy.copy_from_slice(&segment);
            assert!(cipher.open(1, black_box(&mut copy)).is_some());
        });
    });
    group.finish();
}

pub fn scan(c: &mut Criterion) {
    let stream = compressed(&content(WHOLE));
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    group.bench_function("headers", |b| {
        b.iter(|| {
            let (mut scanner, mut rest) = (FrameScanner::new(1 << 27), &stream[..]);
            while let (len, Some(edge)) = scanner.advance(rest).unwrap() {
                black_box(edge);
                rest = &rest[len..];
            }
        });
    });
    group.finish();
}
