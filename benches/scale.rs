//! A benchmark of how the engine scales. Its workers wait instead of computing, so that two cores can measure 64
//! workers. It also measures the latency of an item that needs no work. Prints tables; `cargo bench --bench scale`.
//!
//! A worker waits as long as level 3 takes for a chunk, and as long as sealing takes for a run. Serial stages do real
//! work: the source copies a chunk as a read from the page cache does, the stage between the pools copies frames into
//! runs, the sink copies the sealed runs. The tables show the cost of loops and channels, the number of workers at
//! which the single reader becomes the limit, and how far the stages after it are from theirs.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use pipeline::pipeline::buffer::{Buffer, BufferPool};
use pipeline::pipeline::metrics::{elapsed_ns, histogram};
use pipeline::pipeline::names::{Names, Stage};
use pipeline::pipeline::shutdown::Cancel;
use pipeline::pipeline::stage::{END, MORE};
use pipeline::pipeline::supervisor::{Ran, Supervisor, Watch};
use pipeline::pipeline::threads::{Concurrency, Threads};
use pipeline::pipeline::window::Window;

const CHUNK_LEN: usize = 4 << 20;
/// A third of the chunk, as for source text.
const FRAME_LEN: usize = CHUNK_LEN / 3;
const RUN_LEN: usize = 384 << 10;
/// Level 3 at 400 MB/s per core.
const COMPRESS: Duration = Duration::from_micros(10_500);
/// Sealing at 1.1 GB/s per core.
const SEAL: Duration = Duration::from_micros(360);
const WORKERS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const DEPTH: usize = 4;

const FIRST: Names = Names { before: Stage::Read, stage: Stage::Compress, behind: Stage::Cut };
const SECOND: Names = Names { before: Stage::Cut, stage: Stage::Seal, behind: Stage::Write };

fn main() {
    let mut supervisor = Supervisor::new([]).unwrap();
    println!(
        "an item with nothing to do on it, from source to sink, 2 workers, metrics on; medians of 5 runs of 100,000\n"
    );
    println!("{:>6} {:>12} {:>10} {:>10} {:>10}", "depth", "items/s", "p50 us", "p95 us", "p99 us");
    [1, 4, 16, 64].into_iter().for_each(|depth| latency(&mut supervisor, depth));

    println!("\nworkers that wait, serial stages that do nothing: the loops and channels alone\n");
    scale(&mut supervisor, false);
    println!("\nworkers that wait, serial stages that move every byte\n");
    scale(&mut supervisor, true);
}

fn width(workers: usize, depth: usize) -> Concurrency {
    Concurrency { workers: NonZeroUsize::new(workers).unwrap(), channel_depth: NonZeroUsize::new(depth).unwrap() }
}

fn supervise(supervisor: &mut Supervisor, threads: Threads) -> Ran {
    supervisor.run(threads, &mut Watch { tick_every: Duration::from_secs(1), on_tick: &mut |_, _| () }).unwrap()
}

fn latency(supervisor: &mut Supervisor, depth: usize) {
    const ITEMS: u64 = 100_000;
    let mut runs: Vec<[f64; 4]> = (0..5)
        .map(|_| {
            let mut threads = Threads::new(Cancel::default());
            let width = width(2, depth);
            let window = Window::of_items(Stage::Compress, width.token_count());
            let (outlet, inlet) = threads.parallel(FIRST, width, window, |_| Ok(Ok::<Instant, _>));
            threads.source(Stage::Read, outlet, (), |(), outlet| {
                let is_last = outlet.next_seq() + 1 == ITEMS;
                outlet.reserve(1)?.send(Instant::now())?;
                Ok(if is_last { END } else { MORE })
            });
            let latency_ns = threads.sink(Stage::Cut, inlet, histogram(), |latency_ns, sent_at| {
                sent_at.into_iter().for_each(|sent_at| latency_ns.saturating_record(elapsed_ns(sent_at)));
                Ok(MORE)
            });
            let ran = supervise(supervisor, threads);
            let latency_ns = latency_ns.take().unwrap();
            let us = |quantile| latency_ns.value_at_quantile(quantile) as f64 / 1e3;
            [ITEMS as f64 / ran.wall.as_secs_f64(), us(0.5), us(0.95), us(0.99)]
        })
        .collect();
    let mut median = |column: usize| {
        runs.sort_by(|a, b| a[column].total_cmp(&b[column]));
        runs[runs.len() / 2][column]
    };
    let [rate, p50, p95, p99] = [0, 1, 2, 3].map(&mut median);
    println!("{depth:>6} {rate:>12.0} {p50:>10.1} {p95:>10.1} {p99:>10.1}");
}

/// An item; it has a buffer only in the run that moves bytes.
struct Item(Option<Buffer>);

fn scale(supervisor: &mut Supervisor, is_moving: bool) {
    println!("{:>7} {:>9} {:>7} {:>10} {:>24}", "workers", "chunks/s", "GB/s", "of ideal", "read  cut  write busy, %");
    for workers in WORKERS {
        // About a second for each run.
        let chunk_count = (workers as f64 / COMPRESS.as_secs_f64()) as u64 + 8;
        let ran = run(supervisor, workers, chunk_count, is_moving);
        let rate = chunk_count as f64 / ran.wall.as_secs_f64();
        let ideal = workers as f64 / COMPRESS.as_secs_f64();
        let busy = [Stage::Read, Stage::Cut, Stage::Write].map(|name| {
            let stage = ran.figures.stages.iter().find(|stage| stage.name == name);
            stage.map_or(0.0, |stage| stage.busy_share(ran.wall) * 100.0)
        });
        let gigabytes = rate * CHUNK_LEN as f64 / 1e9;
        let [read, cut, write] = busy;
        println!(
            "{workers:>7} {rate:>9.0} {gigabytes:>7.2} {:>8.0} % {read:>12.0} {cut:>4.0} {write:>6.0}",
            100.0 * rate / ideal
        );
    }
}

/// Runs both layers: read, compress, cut into runs, seal, write.
fn run(supervisor: &mut Supervisor, workers: usize, chunk_count: u64, is_moving: bool) -> Ran {
    let width = width(workers, DEPTH);
    let pool = |len: usize| {
        let count = width.token_count() + workers + 2;
        BufferPool::new(len * count, count)
    };
    let (chunks, runs) = (pool(CHUNK_LEN), pool(RUN_LEN));
    let mut threads = Threads::new(Cancel::default());
    let window = |name| Window::of_items(name, width.token_count());
    let (to_first, from_first) = threads.parallel(FIRST, width, window(Stage::Compress), |_| {
        Ok(|item: Item| {
            std::thread::sleep(COMPRESS);
            Ok(item)
        })
    });
    let (to_second, from_second) = threads.parallel(SECOND, width, window(Stage::Seal), |_| {
        Ok(|item: Item| {
            std::thread::sleep(SEAL);
            Ok(item)
        })
    });
    // Larger than a core's cache.
    let input = vec![7u8; 16 * CHUNK_LEN];
    threads.source(Stage::Read, to_first, (), move |(), outlet| {
        let seq = outlet.next_seq();
        let slot = outlet.reserve(1)?;
        let chunk = is_moving.then(|| {
            let at = seq as usize % 16 * CHUNK_LEN;
            filled(&chunks, CHUNK_LEN, &input[at..at + CHUNK_LEN])
        });
        slot.send(Item(chunk))?;
        Ok(if seq + 1 == chunk_count { END } else { MORE })
    });
    threads.serial(Stage::Cut, from_first, to_second, (), move |(), item: Option<Item>, outlet| {
        let Some(Item(chunk)) = item else { return Ok(()) };
        for start in (0..FRAME_LEN).step_by(RUN_LEN) {
            let bytes = chunk.as_ref().map(|chunk| &chunk[start..FRAME_LEN.min(start + RUN_LEN)]);
            outlet.reserve(1)?.send(Item(bytes.map(|bytes| filled(&runs, RUN_LEN, bytes))))?;
        }
        Ok(())
    });
    threads.sink(Stage::Write, from_second, vec![0u8; RUN_LEN], |output, item: Option<Item>| {
        if let Some(Item(Some(run))) = item {
            output[..run.len()].copy_from_slice(&run);
            black_box(output);
        }
        Ok(MORE)
    });
    supervise(supervisor, threads)
}

fn filled(pool: &BufferPool, capacity: usize, bytes: &[u8]) -> Buffer {
    let mut buffer = pool.take(capacity).unwrap();
    buffer.append(bytes, 0).unwrap();
    buffer
}
