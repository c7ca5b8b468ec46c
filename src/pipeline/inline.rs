//! Runs a plan on the calling thread, with the same output: no channels, tokens or other threads. Meant for inputs too small to be worth
//! starting threads, it accepts any length. Its steps and bodies are those of the stages.
//!
//! ```text
//! chunk, compress, frame -> cut -> seal -> write        and back:        run, open -> find -> decompress, check -> write
//! ```

use std::time::Instant;

use crate::format::age::stream::SegmentCipher;
use crate::format::zstd::codec::{Compressor, Level};

use super::buffer::{Buffer, BufferPool};
use super::cpu_slots::{CodecContexts, CpuSlots, SlotHandle};
use super::endpoints::{Endpoints, Output, Source};
use super::error::{Cause, Stop};
use super::frame_splitter::{Found, FrameFinder};
use super::memory::{Pools, SOLO_WIDTH, find_limits};
use super::metrics::{Figures, StageFigures, elapsed_ns};
use super::names::Stage;
use super::plan::{Compress, Content, ContentRange, Decompress, Process, Restore, Seal, Work};
use super::recipes::READ_LEN;
use super::seal::{PlainRun, RunCheck, RunCutter, RunReader, open_run, seal_run};
use super::shutdown::Cancel;
use super::stage::{END, MORE};
use super::steps::{CompressedChunk, compress_chunk, decompress_batch};
use super::write::{ContentWriter, FrameWriter, RangeWriter, Summary};

/// Pools that parallel threads share. Clones share one state.
#[derive(Clone)]
pub struct InlinePools {
    chunks: BufferPool,
    slots: CpuSlots,
}

impl InlinePools {
    /// Pools for `count` threads, which compute with `slots`; keeps at most `budget_bytes` of idle buffers.
    pub fn new(count: usize, budget_bytes: usize, slots: CpuSlots) -> InlinePools {
        InlinePools { chunks: BufferPool::new(budget_bytes, 2 * count), slots }
    }
}

/// A thread that does one piece of work after another, and what it keeps in between.
pub struct Inline {
    pools: Pools,
    desk: Desk,
    /// Buffer for reads of a compressed stream.
    piece: Vec<u8>,
}

impl Inline {
    /// A thread that shares `pools` with others.
    pub fn new(pools: &InlinePools) -> Inline {
        let InlinePools { chunks, slots } = pools.clone();
        let desk = Desk { slot: slots.slot(), stages: Vec::new() };
        Inline { pools: Pools::new(chunks, slots, SOLO_WIDTH), desk, piece: Vec::new() }
    }

    /// Does `work` on the bytes between `ends`. Returns the first failure.
    pub fn run(&mut self, work: &Work, ends: Endpoints) -> Result<Summary, Stop> {
        let cancel = ends.cancel.clone();
        let (source, output) = ends.split();
        match work {
            Work::Process(Process { compress: Some(compress), seal: None }) => {
                self.compress(*compress, &cancel, source, output)
            }
            Work::Process(Process { compress: Some(compress), seal: Some(seal) }) => {
                self.compress_and_seal(*compress, seal, &cancel, source, output)
            }
            Work::Process(Process { compress: None, seal: Some(seal) }) => self.seal(seal, &cancel, source, output),
            Work::Restore(Restore { open: None, content: Content::Frames(frames) }) => {
                self.decompress(frames, &cancel, source, output)
            }
            Work::Restore(Restore { open: Some(key), content: Content::Frames(frames) }) => {
                self.open_and_decompress(&SegmentCipher::new(key), frames, &cancel, source, output)
            }
            Work::Restore(Restore { open: Some(key), content: Content::Plain(range) }) => {
                self.open(&SegmentCipher::new(key), range, &cancel, source, output)
            }
            Work::Process(Process { compress: None, seal: None })
            | Work::Restore(Restore { open: None, content: Content::Plain(_) }) => {
                unreachable!("internal error: a plan without a layer")
            }
        }
    }

    /// Runs `step`, which is outside the pipeline, in a CPU slot, as `stage`.
    pub fn compute<R>(&mut self, stage: Stage, step: impl FnOnce() -> R) -> R {
        self.desk.step(stage, |_| step())
    }

    /// Figures of the steps.
    pub fn finish(self) -> Figures {
        Figures { stages: self.desk.stages, ..Figures::default() }
    }

    fn compress(
        &mut self,
        compress: Compress,
        cancel: &Cancel,
        mut source: Source,
        mut output: Output,
    ) -> Result<Summary, Stop> {
        let Inline { pools, desk, .. } = self;
        let (mut frames, mut chunks) = (FrameWriter::default(), Chunks::new(&pools.chunks, compress));
        let put = &mut |bytes: &[u8]| output.write(bytes);
        while let Some(chunk) = chunks.next(cancel, &mut source)? {
            let frame = desk.compress(pools, compress.level, chunk)?;
            frames.push(&frame, put)?;
        }
        frames.finish(put)?;
        output.flush().map(|()| frames.summary())
    }

    fn compress_and_seal(
        &mut self,
        compress: Compress,
        seal: &Seal,
        cancel: &Cancel,
        mut source: Source,
        mut output: Output,
    ) -> Result<Summary, Stop> {
        let Inline { pools, desk, .. } = self;
        let (mut frames, mut chunks) = (FrameWriter::default(), Chunks::new(&pools.chunks, compress));
        let (mut cutter, mut sealer) = (RunCutter::new(pools.runs.clone()), Sealer::new(seal, &mut output)?);
        while let Some(chunk) = chunks.next(cancel, &mut source)? {
            let frame = desk.compress(pools, compress.level, chunk)?;
            frames.push(&frame, &mut |bytes| cutter.push(bytes, &mut |run| sealer.write(desk, run)))?;
        }
        frames.finish(&mut |bytes| cutter.push(bytes, &mut |run| sealer.write(desk, run)))?;
        cutter.finish(&mut |run| sealer.write(desk, run))?;
        output.flush().map(|()| frames.summary())
    }

    fn seal(&mut self, seal: &Seal, cancel: &Cancel, mut source: Source, mut output: Output) -> Result<Summary, Stop> {
        let Inline { pools, desk, .. } = self;
        let (mut cutter, mut sealer) = (RunCutter::new(pools.runs.clone()), Sealer::new(seal, &mut output)?);
        let (emit, mut content_bytes) = (&mut |run| sealer.write(desk, run), 0);
        loop {
            unless_cancelled(cancel)?;
            match cutter.read(&mut source, emit)? {
                0 => break,
                len => content_bytes += len as u64,
            }
        }
        cutter.finish(emit)?;
        output.flush().map(|()| Summary::of_bytes(content_bytes))
    }

    fn decompress(
        &mut self,
        work: &Decompress,
        cancel: &Cancel,
        mut source: Source,
        output: Output,
    ) -> Result<Summary, Stop> {
        let Inline { pools, desk, piece } = self;
        let mut frames = Frames::new(pools, work, output);
        piece.resize(READ_LEN, 0);
        loop {
            unless_cancelled(cancel)?;
            match source.read(piece)? {
                0 => break,
                len => frames.push(desk, &piece[..len])?,
            }
        }
        frames.finish(desk)
    }

    fn open_and_decompress(
        &mut self,
        cipher: &SegmentCipher,
        work: &Decompress,
        cancel: &Cancel,
        mut source: Source,
        output: Output,
    ) -> Result<Summary, Stop> {
        let Inline { pools, desk, .. } = self;
        let mut frames = Frames::new(pools, work, output);
        open_runs(pools, desk, cipher, cancel, &mut source, &mut |desk, text| frames.push(desk, text))?;
        frames.finish(desk)
    }

    fn open(
        &mut self,
        cipher: &SegmentCipher,
        range: &ContentRange,
        cancel: &Cancel,
        mut source: Source,
        output: Output,
    ) -> Result<Summary, Stop> {
        let Inline { pools, desk, .. } = self;
        let mut writer = RangeWriter::new(output, range.clone(), 0);
        open_runs(pools, desk, cipher, cancel, &mut source, &mut |_, text| writer.push(text))?;
        writer.finish()?;
        Ok(writer.summary())
    }
}

/// The CPU slot of the steps, and their figures.
struct Desk {
    slot: SlotHandle,
    stages: Vec<StageFigures>,
}

impl Desk {
    /// Runs `step` in a CPU slot, as `stage`. Waiting for the slot is not work.
    fn step<R>(&mut self, stage: Stage, step: impl FnOnce(&mut CodecContexts) -> R) -> R {
        let known = self.stages.iter().position(|known| known.name == stage).unwrap_or_else(|| {
            self.stages.push(StageFigures::new(stage, true));
            self.stages.len() - 1
        });
        let figures = &mut self.stages[known];
        self.slot.with(|contexts| {
            let start = Instant::now();
            let result = step(contexts);
            figures.record(elapsed_ns(start));
            result
        })
    }

    fn compress(&mut self, pools: &Pools, level: Level, chunk: Buffer) -> Result<CompressedChunk, Cause> {
        self.step(Stage::Compress, |contexts| compress_chunk(contexts.compressor(level)?, &pools.chunks, chunk))
    }
}

/// The chunks of an input, in order. Empty input is one empty chunk.
struct Chunks<'a> {
    pool: &'a BufferPool,
    chunk_len: usize,
    is_ended: bool,
    is_first: bool,
}

impl Chunks<'_> {
    fn new(pool: &BufferPool, Compress { chunk_len, .. }: Compress) -> Chunks<'_> {
        Chunks { pool, chunk_len, is_ended: false, is_first: true }
    }

    fn next(&mut self, cancel: &Cancel, source: &mut Source) -> Result<Option<Buffer>, Stop> {
        unless_cancelled(cancel)?;
        if self.is_ended {
            return Ok(None);
        }
        let mut chunk = self.pool.take(Compressor::frame_len_bound(self.chunk_len))?;
        let len = source.fill(&mut chunk.room()[..self.chunk_len])?;
        chunk.extend_len(len);
        self.is_ended = len < self.chunk_len;
        let is_wanted = len > 0 || self.is_first;
        self.is_first = false;
        Ok(is_wanted.then_some(chunk))
    }
}

/// Seals runs and writes them after the header.
struct Sealer<'a> {
    cipher: SegmentCipher,
    output: &'a mut Output,
}

impl Sealer<'_> {
    fn new<'a>(seal: &Seal, output: &'a mut Output) -> Result<Sealer<'a>, Stop> {
        output.write(&seal.prefix)?;
        Ok(Sealer { cipher: SegmentCipher::new(&seal.key), output })
    }

    fn write(&mut self, desk: &mut Desk, run: PlainRun) -> Result<(), Stop> {
        let sealed = desk.step(Stage::Seal, |_| seal_run(&self.cipher, run));
        self.output.write(&sealed)
    }
}

/// Takes plaintext, and the desk for the next steps.
type PutText<'a> = dyn FnMut(&mut Desk, &[u8]) -> Result<(), Stop> + 'a;

/// Opens the segments of a payload and checks that all are there. `put` receives their plaintext.
fn open_runs(
    pools: &Pools,
    desk: &mut Desk,
    cipher: &SegmentCipher,
    cancel: &Cancel,
    source: &mut Source,
    put: &mut PutText<'_>,
) -> Result<(), Stop> {
    let (mut reader, mut check) = (RunReader::new(pools.runs.clone()), RunCheck::default());
    loop {
        unless_cancelled(cancel)?;
        let Some(run) = reader.read(source)? else {
            return check.finish();
        };
        let run = desk.step(Stage::Open, |_| open_run(cipher, run));
        check.before(&run)?;
        run.texts().try_for_each(|text| put(desk, text))?;
        check.behind(&run)?;
    }
}

/// Finds frames, decodes them and writes their content.
struct Frames<'a> {
    finder: FrameFinder,
    writer: ContentWriter,
    pools: &'a Pools,
}

impl Frames<'_> {
    fn new<'a>(pools: &'a Pools, work: &Decompress, output: Output) -> Frames<'a> {
        let limits = find_limits(SOLO_WIDTH, work.window_log_max);
        let finder = FrameFinder::new(work.start, limits, pools.batches.clone(), pools.chunks.clone());
        Frames { finder, writer: ContentWriter::new(output, work), pools }
    }

    fn push(&mut self, desk: &mut Desk, bytes: &[u8]) -> Result<(), Stop> {
        let Frames { finder, writer, pools } = self;
        finder.push(bytes, &mut |_, found| write_found(desk, pools, writer, found))
    }

    fn finish(self, desk: &mut Desk) -> Result<Summary, Stop> {
        let Frames { mut finder, mut writer, pools } = self;
        finder.finish(&mut |_, found| write_found(desk, pools, &mut writer, found))?;
        writer.finish()?;
        Ok(writer.summary())
    }
}

fn write_found(desk: &mut Desk, pools: &Pools, writer: &mut ContentWriter, found: Found) -> Result<(), Stop> {
    let piece = match found {
        Found::Batch(batch) => {
            desk.step(Stage::Decompress, |contexts| decompress_batch(contexts.decompressor()?, &pools.chunks, batch))?
        }
        Found::Piece(piece) => piece,
    };
    // END matters only to ranges; a whole file is read to its end, which proves it whole.
    let (MORE | END) = writer.push(&piece)?;
    Ok(())
}

fn unless_cancelled(cancel: &Cancel) -> Result<(), Stop> {
    if cancel.is_set() { Err(Stop::Cancelled) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use super::*;
    use crate::format::age::stream::PayloadKey;
    use crate::pipeline::metrics::Progress;
    use crate::pipeline::plan::{Engine, Expect, Plan, Start};
    use crate::pipeline::supervisor::{Supervisor, Watch};

    const CHUNK_LEN: usize = 64 * 1024;

    /// Sends on flush what was written.
    struct Sent(Vec<u8>, Sender<Vec<u8>>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            self.1.send(std::mem::take(&mut self.0)).map_err(std::io::Error::other)
        }
    }

    fn ends(input: &[u8]) -> (Endpoints, std::sync::mpsc::Receiver<Vec<u8>>) {
        let (give, given) = channel();
        let input = Box::new(Cursor::new(input.to_vec()));
        let output = Box::new(Sent(Vec::new(), give));
        let (cancel, progress) = (Cancel::default(), Arc::new(Progress::default()));
        (Endpoints { input, input_bytes: None, output, cancel, progress }, given)
    }

    fn alone(inline: &mut Inline, work: &Work, input: &[u8]) -> (Vec<u8>, Summary) {
        let (ends, given) = ends(input);
        let summary = inline.run(work, ends).unwrap();
        (given.try_recv().unwrap(), summary)
    }

    fn by_a_crew(work: &Work, input: &[u8]) -> (Vec<u8>, Summary) {
        let (ends, given) = ends(input);
        let count = NonZeroUsize::new(2).unwrap();
        let width = crate::pipeline::threads::Concurrency { workers: count, channel_depth: count };
        let plan = Plan { width, engine: Engine::Channels, work: work.clone() };
        let watch = &mut Watch { tick_every: Duration::from_secs(60), on_tick: &mut |_, _| () };
        let mut supervisor = Supervisor::without_signals().unwrap();
        let report = crate::pipeline::run(&plan, &CpuSlots::default(), ends, &mut supervisor, watch).unwrap();
        (given.try_recv().unwrap(), report.summary)
    }

    fn works() -> Vec<(Work, Work)> {
        let key = PayloadKey::take(&mut [7; 32]);
        let seal = Seal { key: key.clone(), prefix: Vec::new() };
        let compress = Compress { chunk_len: CHUNK_LEN, level: Level::DEFAULT };
        let frames = Decompress {
            window_log_max: 27,
            start: Start::default(),
            range: ContentRange::All,
            expect: Expect::Tables,
        };
        let process = |compress, seal| Work::Process(Process { compress, seal });
        let restore = |open, content| Work::Restore(Restore { open, content });
        vec![
            (process(Some(compress), None), restore(None, Content::Frames(frames.clone()))),
            (process(Some(compress), Some(seal.clone())), restore(Some(key.clone()), Content::Frames(frames))),
            (process(None, Some(seal)), restore(Some(key), Content::Plain(ContentRange::All))),
        ]
    }

    #[test]
    fn one_thread_gives_the_bytes_that_a_crew_gives_whatever_the_length() {
        let mut inline = Inline::new(&InlinePools::new(1, 1 << 20, CpuSlots::default()));
        for (process, restore) in works() {
            for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 10 * CHUNK_LEN + 7] {
                let input: Vec<u8> = (0..len).map(|i| (i * i / 977) as u8).collect();
                let (made, summary) = alone(&mut inline, &process, &input);
                assert_eq!(
                    (&made, &summary),
                    (&by_a_crew(&process, &input).0, &by_a_crew(&process, &input).1),
                    "{len}"
                );
                let (back, summary) = alone(&mut inline, &restore, &made);
                assert_eq!(back, input, "{len}");
                assert_eq!(summary, by_a_crew(&restore, &made).1, "{len}");
            }
        }
        let names: Vec<&str> = inline.finish().stages.iter().map(|stage| stage.name.name()).collect();
        assert_eq!(names, ["compress", "decompress", "seal", "open"]);
    }

    #[test]
    fn damage_is_a_failure_and_a_cut_payload_too() {
        let mut inline = Inline::new(&InlinePools::new(1, 1 << 20, CpuSlots::default()));
        for (process, restore) in works() {
            let (mut made, _) = alone(&mut inline, &process, &[b'x'; 1000]);
            made[9] ^= 1;
            assert!(matches!(inline.run(&restore, ends(&made).0), Err(Stop::Failed(_))));
            made[9] ^= 1;
            made.truncate(made.len() / 2);
            assert!(matches!(inline.run(&restore, ends(&made).0), Err(Stop::Failed(_))));
        }
    }

    #[test]
    fn a_run_that_is_told_to_stop_stops() {
        let mut inline = Inline::new(&InlinePools::new(1, 1 << 20, CpuSlots::default()));
        for (process, _) in works() {
            let (ends, _given) = ends(&[0; 1000]);
            ends.cancel.cancel();
            assert!(matches!(inline.run(&process, ends), Err(Stop::Cancelled)));
        }
    }
}
