//! The legacy mutex mode: the design that the channel engine replaces, kept faithful for comparison.
//!
//! It reads the whole input first. Every chunk becomes a task; N threads take the tasks from a queue under a mutex, so a thread that takes
//! one is the permit to work on it. A second mutex guards the ordered writer, and early results wait in a map under it.
//!
//! The threads are scoped: whatever fails, also the start of one of them, the queue is emptied and all are joined.
//!
//! It shares the steps and the writers with the channel engine, so its output is identical. Nothing else depends on this file: without
//! it and the arm that calls it, the rest still works.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use crate::format::age::stream::SegmentCipher;
use crate::format::zstd::codec::{Compressor, Decompressor};

use super::endpoints::{Endpoints, Output, Source};
use super::error::{Cause, Stop};
use super::frame_splitter::{Found, FrameFinder};
use super::memory::{Pools, find_limits};
use super::metrics::{Figures, StageFigures, WaitFigures, elapsed_ns, histogram};
use super::names::Stage;
use super::plan::{Compress, Content, Process, Restore, Seal, Work};
use super::recipes::READ_LEN;
use super::seal::{RunCheck, RunCutter, RunReader, open_run, seal_run};
use super::shutdown::Cancel;
use super::steps::{compress_chunk, decompress_batch};
use super::threads::{Concurrency, StageResult, Threads, panic_text};
use super::write::{ContentWriter, FrameWriter, RangeWriter, Summary};

/// Starts the thread that does `work`. Fails if the input needs more than `available_bytes` of memory.
pub(super) fn start(
    threads: &mut Threads,
    pools: Pools,
    width: Concurrency,
    work: &Work,
    available_bytes: u64,
    ends: Endpoints,
) -> StageResult<Summary> {
    let work = work.clone();
    let input_bytes = ends.input_bytes.unwrap_or(0);
    let (source, output) = ends.split();
    threads.alone(Stage::Mutex, move |cancel| {
        let mut memory = Memory { available_bytes, needed_bytes: 0 };
        memory.check(input_bytes)?;
        let tasks = Tasks { width, cancel: cancel.clone() };
        match work {
            Work::Process(work) => process(&tasks, &pools, &work, &mut memory, source, output),
            Work::Restore(work) => restore(&tasks, &pools, &work, &mut memory, source, output),
        }
    })
}

/// Bytes held in memory, and the limit.
struct Memory {
    available_bytes: u64,
    needed_bytes: u64,
}

impl Memory {
    fn need(&mut self, bytes: u64) -> Result<(), Stop> {
        self.needed_bytes = self.needed_bytes.saturating_add(bytes);
        self.check(self.needed_bytes)
    }

    /// Fails if `needed_bytes` exceed the limit.
    fn check(&self, needed_bytes: u64) -> Result<(), Stop> {
        match self.available_bytes {
            available_bytes if needed_bytes > available_bytes => {
                Err(Cause::Memory { needed_bytes, available_bytes }.into())
            }
            _ => Ok(()),
        }
    }
}

fn process(
    tasks: &Tasks,
    pools: &Pools,
    work: &Process,
    memory: &mut Memory,
    mut source: Source,
    output: Output,
) -> Result<(Figures, Summary), Stop> {
    let (reading_since, mut chunks) = (Instant::now(), Vec::new());
    let chunk_len = work.compress.map_or(READ_LEN, |compress| compress.chunk_len);
    loop {
        let mut chunk = pools.chunks.take(Compressor::frame_len_bound(chunk_len))?;
        let len = source.fill(&mut chunk.room()[..chunk_len])?;
        memory.need(len as u64)?;
        chunk.extend_len(len);
        if len > 0 || chunks.is_empty() {
            chunks.push(chunk);
        }
        if len < chunk_len {
            break;
        }
    }
    let reading = reading_figures(reading_since);
    let mut sealed = SealedOutput::new(output, work.seal.as_ref(), pools)?;
    let (mut figures, summary) = match work.compress {
        Some(Compress { level, .. }) => {
            let pool = pools.chunks.clone();
            let step = move |chunk| compress_chunk(&mut Compressor::new(level)?, &pool, chunk);
            let writer = (FrameWriter::default(), sealed);
            let (figures, (mut frames, mut sealed)) =
                tasks.run(Stage::Compress, chunks, step, writer, |(frames, sealed), frame| {
                    frames.push(&frame, &mut |bytes| sealed.write(bytes))
                })?;
            frames.finish(&mut |bytes| sealed.write(bytes))?;
            sealed.finish()?;
            (figures, frames.summary())
        }
        None => {
            let content_bytes = memory.needed_bytes;
            chunks.iter().try_for_each(|chunk| sealed.write(chunk))?;
            sealed.finish()?;
            (Figures::default(), Summary::of_bytes(content_bytes))
        }
    };
    figures.stages.insert(0, reading);
    Ok((figures, summary))
}

/// The ordered output, sealed if requested: under the lock, one segment after another.
struct SealedOutput {
    output: Output,
    seal: Option<(RunCutter, SegmentCipher)>,
}

impl SealedOutput {
    fn new(mut output: Output, seal: Option<&Seal>, pools: &Pools) -> Result<SealedOutput, Stop> {
        if let Some(seal) = seal {
            output.write(&seal.prefix)?;
        }
        let seal = seal.map(|seal| (RunCutter::new(pools.runs.clone()), SegmentCipher::new(&seal.key)));
        Ok(SealedOutput { output, seal })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        match &mut self.seal {
            None => self.output.write(bytes),
            Some((cutter, cipher)) => cutter.push(bytes, &mut |run| self.output.write(&seal_run(cipher, run))),
        }
    }

    fn finish(&mut self) -> Result<(), Stop> {
        if let Some((cutter, cipher)) = &mut self.seal {
            cutter.finish(&mut |run| self.output.write(&seal_run(cipher, run)))?;
        }
        self.output.flush()
    }
}

fn restore(
    tasks: &Tasks,
    pools: &Pools,
    work: &Restore,
    memory: &mut Memory,
    mut source: Source,
    output: Output,
) -> Result<(Figures, Summary), Stop> {
    let reading_since = Instant::now();
    let frames = match &work.content {
        Content::Frames(frames) => frames,
        Content::Plain(range) => {
            let mut writer = RangeWriter::new(output, range.clone(), 0);
            read_all(work, pools, &mut source, &mut |text| writer.push(text))?;
            writer.finish()?;
            let figures = Figures { stages: vec![reading_figures(reading_since)], ..Figures::default() };
            return Ok((figures, writer.summary()));
        }
    };
    let limits = find_limits(tasks.width, frames.window_log_max);
    let mut finder = FrameFinder::new(frames.start, limits, pools.batches.clone(), pools.chunks.clone());
    let mut found = Vec::new();
    let mut emit = |weight, item| {
        memory.need(weight)?;
        found.push(item);
        Ok(())
    };
    read_all(work, pools, &mut source, &mut |text| finder.push(text, &mut emit))?;
    finder.finish(&mut emit)?;
    let reading = reading_figures(reading_since);
    let (pool, writer) = (pools.chunks.clone(), ContentWriter::new(output, frames));
    let step = move |found| match found {
        Found::Batch(batch) => decompress_batch(&mut Decompressor::new()?, &pool, batch),
        Found::Piece(piece) => Ok(piece),
    };
    let (mut figures, mut writer) =
        tasks.run(Stage::Decompress, found, step, writer, |writer, piece| writer.push(&piece).map(drop))?;
    writer.finish()?;
    figures.stages.insert(0, reading);
    Ok((figures, writer.summary()))
}

/// Reads the input to its end, opened if sealed; `take` receives it.
fn read_all(
    work: &Restore,
    pools: &Pools,
    source: &mut Source,
    take: &mut impl FnMut(&[u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let Some(key) = &work.open else {
        let mut piece = vec![0; READ_LEN];
        loop {
            match source.read(&mut piece)? {
                0 => return Ok(()),
                len => take(&piece[..len])?,
            }
        }
    };
    let (mut reader, cipher) = (RunReader::new(pools.runs.clone()), SegmentCipher::new(key));
    let mut check = RunCheck::default();
    while let Some(sealed) = reader.read(source)? {
        let run = open_run(&cipher, sealed);
        check.before(&run)?;
        run.texts().try_for_each(&mut *take)?;
        check.behind(&run)?;
    }
    check.finish()
}

/// The reading phase, as a stage of one item.
fn reading_figures(since: Instant) -> StageFigures {
    let mut figures = StageFigures::new(Stage::Read, false);
    figures.record(elapsed_ns(since));
    figures
}

/// Runs a task for every item, N at a time.
struct Tasks {
    width: Concurrency,
    cancel: Cancel,
}

/// The ordered writer, and the early results.
struct Ordered<O, W> {
    writer: W,
    next_seq: u64,
    early: BTreeMap<u64, O>,
}

/// What one task measured.
struct TaskFigures {
    permit_wait_ns: u64,
    lock_wait_ns: u64,
    service_ns: u64,
}

impl Tasks {
    fn run<I: Send, O: Send, W: Send>(
        &self,
        stage: Stage,
        items: Vec<I>,
        step: impl Fn(I) -> Result<O, Cause> + Sync,
        writer: W,
        write: fn(&mut W, O) -> Result<(), Stop>,
    ) -> Result<(Figures, W), Stop> {
        let workers = self.width.workers.get();
        let shared = Shared {
            queue: Mutex::new((0..).zip(items).collect()),
            offered_at: Instant::now(),
            cancel: &self.cancel,
            step,
            ordered: Mutex::new(Ordered { writer, next_seq: 0, early: BTreeMap::new() }),
            write,
        };
        let tasks = thread::scope(|scope| {
            let start = |_| thread::Builder::new().name(stage.name().into()).spawn_scoped(scope, || shared.work());
            let threads: Vec<_> = (0..workers).map(start).collect();
            if threads.iter().any(Result::is_err) {
                shared.give_up();
            }
            let join = |thread: Result<thread::ScopedJoinHandle<'_, _>, _>| {
                thread.map_err(Cause::Spawn)?.join().expect("the work of a thread catches its panics")
            };
            first_failure(threads.into_iter().map(join).collect())
        })?;
        let ordered = shared.ordered.into_inner().map_err(|_| Stop::Closed)?;
        assert!(ordered.early.is_empty(), "internal error: results were left behind");
        Ok((add_up(stage, workers, &tasks), ordered.writer))
    }
}

/// What the threads of one phase share.
struct Shared<'a, I, O, W, S> {
    /// Items that no thread has taken yet, with their sequence numbers.
    queue: Mutex<VecDeque<(u64, I)>>,
    offered_at: Instant,
    cancel: &'a Cancel,
    step: S,
    ordered: Mutex<Ordered<O, W>>,
    write: fn(&mut W, O) -> Result<(), Stop>,
}

impl<I, O, W, S: Fn(I) -> Result<O, Cause>> Shared<'_, I, O, W, S> {
    /// The body of a thread: works on one item after another until there are none. After a failure or a panic no thread takes another item.
    fn work(&self) -> Result<Vec<TaskFigures>, Stop> {
        let work = || std::iter::from_fn(|| self.next()).map(|(seq, item)| self.task(seq, item)).collect();
        let worked = catch_unwind(AssertUnwindSafe(work));
        let worked = worked.unwrap_or_else(|panic| Err(Cause::Panicked(panic_text(panic.as_ref())).into()));
        worked.inspect_err(|_| self.give_up())
    }

    /// The next item. `None` also if the lock is poisoned: the thread that panicked reports that.
    fn next(&self) -> Option<(u64, I)> {
        self.queue.lock().ok()?.pop_front()
    }

    fn give_up(&self) {
        if let Ok(mut queue) = self.queue.lock() {
            queue.clear();
        }
    }

    fn task(&self, seq: u64, item: I) -> Result<TaskFigures, Stop> {
        let permit_wait_ns = elapsed_ns(self.offered_at);
        if self.cancel.is_set() {
            return Err(Stop::Cancelled);
        }
        let working_since = Instant::now();
        let result = (self.step)(item)?;
        let service_ns = elapsed_ns(working_since);
        let lock_wait_ns = self.put_in_order(seq, result)?;
        Ok(TaskFigures { permit_wait_ns, lock_wait_ns, service_ns })
    }

    /// Writes `result` if it is next, and all that waited for it. Returns the nanoseconds spent waiting for the lock.
    fn put_in_order(&self, seq: u64, result: O) -> Result<u64, Stop> {
        let asked_at = Instant::now();
        // A poisoned lock means that another task panicked; that task reports it.
        let mut ordered = self.ordered.lock().map_err(|_| Stop::Closed)?;
        let lock_wait_ns = elapsed_ns(asked_at);
        ordered.early.insert(seq, result);
        loop {
            let next_seq = ordered.next_seq;
            let Some(next) = ordered.early.remove(&next_seq) else {
                return Ok(lock_wait_ns);
            };
            (self.write)(&mut ordered.writer, next)?;
            ordered.next_seq += 1;
        }
    }
}

/// What all threads measured, or the first of their failures. A thread that stopped because of another's failure reports none.
fn first_failure(ended: Vec<Result<Vec<TaskFigures>, Stop>>) -> Result<Vec<TaskFigures>, Stop> {
    let mut tasks = Vec::new();
    let mut stopped = None;
    for thread in ended {
        match thread {
            Ok(measured) => tasks.extend(measured),
            Err(Stop::Failed(cause)) => return Err(cause.into()),
            Err(stop) => stopped = Some(stop),
        }
    }
    stopped.map_or(Ok(tasks), Err)
}

/// Adds up what the tasks measured.
fn add_up(stage: Stage, workers: usize, tasks: &[TaskFigures]) -> Figures {
    let mut figures = StageFigures { items_by_thread: vec![0; workers], ..StageFigures::new(stage, true) };
    let mut waits = ["permit", "lock"].map(|name| WaitFigures { name, wait_ns: histogram() });
    for task in tasks {
        figures.record(task.service_ns);
        waits[0].wait_ns.saturating_record(task.permit_wait_ns);
        waits[1].wait_ns.saturating_record(task.lock_wait_ns);
    }
    Figures { stages: vec![figures], waits: waits.into(), ..Figures::default() }
}
