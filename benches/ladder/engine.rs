//! Benchmarks of the engine: the reorder ring, a channel, and a complete engine with an empty step.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use pipeline::pipeline::names::{Channel, Names, Stage};
use pipeline::pipeline::queue;
use pipeline::pipeline::reorder::Reorder;
use pipeline::pipeline::shutdown::Cancel;
use pipeline::pipeline::stage::{END, MORE};
use pipeline::pipeline::supervisor::{Supervisor, Watch};
use pipeline::pipeline::threads::Threads;
use pipeline::pipeline::window::Window;

use crate::width;

pub fn reorder(c: &mut Criterion) {
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

pub fn queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue");
    group.throughput(Throughput::Elements(10_000));
    for depth in [1, 4, 64] {
        group.bench_function(BenchmarkId::new("hand over", depth), |b| {
            b.iter(|| {
                let (mut sender, mut receiver) = queue::queue(Channel { from: Stage::Read, to: Stage::Write }, depth);
                let thread = std::thread::spawn(move || while receiver.recv().is_ok() {});
                (0..10_000).for_each(|item| sender.send(item).unwrap());
                drop(sender);
                thread.join().unwrap();
            });
        });
    }
    group.finish();
}

pub fn empty_step(c: &mut Criterion) {
    const ITEMS: u64 = 20_000;
    const NAMES: Names = Names { before: Stage::Read, stage: Stage::Compress, behind: Stage::Write };
    let mut supervisor = Supervisor::new([]).unwrap();
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(ITEMS)).sample_size(10);
    for depth in [1, 4, 64] {
        for workers in [1, 2] {
            group.bench_function(BenchmarkId::new(format!("empty step, {workers} workers"), depth), |b| {
                b.iter(|| {
                    let width = width(workers, depth);
                    let mut threads = Threads::new(Cancel::default());
                    let window = Window::of_items(Stage::Compress, width.token_count());
                    let (outlet, inlet) = threads.parallel(NAMES, width, window, |_| Ok(Ok::<u64, _>));
                    threads.source(Stage::Read, outlet, (), |(), outlet| {
                        let seq = outlet.next_seq();
                        outlet.reserve(1)?.send(seq)?;
                        Ok(if seq + 1 == ITEMS { END } else { MORE })
                    });
                    threads.sink(Stage::Write, inlet, (), |(), item| {
                        black_box(item);
                        Ok(MORE)
                    });
                    supervise(&mut supervisor, threads);
                });
            });
        }
    }
    group.finish();
}

fn supervise(supervisor: &mut Supervisor, threads: Threads) {
    supervisor.run(threads, &mut Watch { tick_every: Duration::from_secs(1), on_tick: &mut |_, _| () }).unwrap();
}
