//! The ladder: each rung adds one layer, so that a slow run names its layer.
//!
//! ```text
//! codec       compress and decompress a chunk, one thread, nothing else
//! scan        walk the headers of a compressed stream
//! reorder     put items back in order
//! queue       hand an item from one thread to another
//! engine      source, workers, sink, with a step that does nothing
//! whole       process and restore, memory to memory, both engines
//! ```

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::io::{Cursor, sink};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pipeline::format::zstd::codec::{Compressor, Decompressor, Level};
use pipeline::format::zstd::scan::FrameScanner;
use pipeline::pipeline::crew::{Crew, Names, Width};
use pipeline::pipeline::ends::Ends;
use pipeline::pipeline::plan::{
    Compress, Content, ContentRange, Decompress, Engine, Expect, Plan, Process, Restore, Start, Work,
};
use pipeline::pipeline::queue::queue;
use pipeline::pipeline::reorder::Reorder;
use pipeline::pipeline::shutdown::Cancel;
use pipeline::pipeline::stage::Flow;
use pipeline::pipeline::supervisor::{Supervisor, Watch};
use pipeline::pipeline::window::Window;

const CHUNK: usize = 4 << 20;
const WHOLE: usize = 16 * CHUNK;

/// Text of sorts, about a third when compressed.
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

fn width(workers: usize, depth: usize) -> Width {
    Width { workers: NonZeroUsize::new(workers).unwrap(), channel_depth: NonZeroUsize::new(depth).unwrap() }
}

fn codec(c: &mut Criterion) {
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

fn scan(c: &mut Criterion) {
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

fn reorder(c: &mut Criterion) {
    let mut group = c.benchmark_group("reorder");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("pairs swapped", |b| {
        b.iter(|| {
            let mut reorder = Reorder::default();
            for seq in 0..1000u64 {
                reorder.insert(seq ^ 1, seq);
                while let Some(item) = reorder.pop() {
                    black_box(item);
                }
            }
        });
    });
    group.finish();
}

fn hand_over(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue");
    group.throughput(Throughput::Elements(10_000));
    for depth in [1, 4, 64] {
        group.bench_function(BenchmarkId::new("hand over", depth), |b| {
            b.iter(|| {
                let (mut sender, mut receiver) = queue("bench", depth);
                let thread = std::thread::spawn(move || while receiver.recv().is_ok() {});
                (0..10_000).for_each(|item| sender.send(item).unwrap());
                drop(sender);
                thread.join().unwrap();
            });
        });
    }
    group.finish();
}

fn supervise(supervisor: &mut Supervisor, crew: Crew) {
    supervisor.run(crew, &mut Watch { tick_every: Duration::from_secs(1), on_tick: &mut |_| () }).unwrap();
}

fn empty_step(c: &mut Criterion) {
    const ITEMS: u64 = 20_000;
    const NAMES: Names = Names { stage: "step", before: "source>step", behind: "step>sink", next: "sink" };
    let mut supervisor = Supervisor::new([]).unwrap();
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(ITEMS)).sample_size(10);
    for depth in [1, 4, 64] {
        for workers in [1, 2] {
            group.bench_function(BenchmarkId::new(format!("empty step, {workers} workers"), depth), |b| {
                b.iter(|| {
                    let width = width(workers, depth);
                    let mut crew = Crew::new(Cancel::default());
                    let window = Window::of_items("step", width.token_count());
                    let (outlet, inlet) = crew.parallel(NAMES, width, window, |_| Ok(Ok::<u64, _>));
                    crew.source("source", outlet, |outlet| {
                        let seq = outlet.next_seq();
                        outlet.reserve(1)?.send(seq)?;
                        Ok(if seq + 1 == ITEMS { Flow::End } else { Flow::More })
                    });
                    crew.sink("sink", inlet, |item| {
                        black_box(item);
                        Ok(Flow::More)
                    });
                    supervise(&mut supervisor, crew);
                });
            });
        }
    }
    group.finish();
}

fn run(
    supervisor: &mut Supervisor,
    engine: Engine,
    workers: usize,
    work: Work,
    input: Vec<u8>,
    output: Box<dyn std::io::Write + Send>,
) {
    let plan = Plan { width: width(workers, 4), engine, work };
    let ends = Ends {
        input: Box::new(Cursor::new(input)),
        input_bytes: None,
        output,
        cancel: Cancel::default(),
        progress: Arc::default(),
    };
    let watch = &mut Watch { tick_every: Duration::from_secs(1), on_tick: &mut |_| () };
    pipeline::pipeline::run(&plan, ends, supervisor, watch).unwrap();
}

/// The content in frames of a chunk each.
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

fn whole(c: &mut Criterion) {
    let mut supervisor = Supervisor::new([]).unwrap();
    let content = content(WHOLE);
    let stream = compressed(&content);
    let compress = Some(Compress { chunk_len: CHUNK, level: Level::DEFAULT });
    let process = Work::Process(Process { compress, seal: None });
    let frames = Content::Frames(Decompress {
        window_log_max: 27,
        start: Start::default(),
        range: ContentRange::All,
        expect: Expect::Tables,
    });
    let restore = Work::Restore(Restore { open: None, content: frames });
    let mut group = c.benchmark_group("whole");
    group.throughput(Throughput::Bytes(WHOLE as u64)).sample_size(10);
    for (name, work, input) in [("process", process, &content), ("restore", restore, &stream)] {
        for (engine_name, engine) in
            [("channels", Engine::Channels), ("mutex", Engine::Mutex { available_bytes: u64::MAX })]
        {
            for workers in [1, 2] {
                group.bench_function(BenchmarkId::new(format!("{name}, {engine_name}"), workers), |b| {
                    b.iter(|| run(&mut supervisor, engine, workers, work.clone(), input.clone(), Box::new(sink())));
                });
            }
        }
    }
    group.finish();
}

criterion_group! {
    name = ladder;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = codec, scan, reorder, hand_over, empty_step, whole
}
criterion_main!(ladder);
