//! The wiring of the channel engine: one function per diagram.
//!
//! ```text
//! compress         read -> [compress xN] -> reorder, write, seek table
//! both             read -> [compress xN] -> reorder, cut into runs -> [seal xN] -> reorder, write
//! encrypt          read, cut into runs -> [seal xN] -> reorder, write
//! decompress       read, find frames -> [decompress xN] -> reorder, check against tables, write
//! both, back       read runs -> [open xN] -> reorder, find frames -> [decompress xN] -> reorder, check, write
//! decrypt          read runs -> [open xN] -> reorder, write
//! decrypt a range  read (and open) -> write
//! ```
//!
//! The serial stage between two pools only moves bytes and cuts runs. While it waits for a token of the second window it holds one of
//! the first, that of its current item.
//!
//! Memory in flight: one chunk buffer per token (an item is a chunk or its frame), one more per worker while it has both; one run per
//! token. When decompressing: the window's bytes and the batch being gathered. ARCHITECTURE.md gives the formula with all its terms.

use crate::format::age::cut::RUN_LEN;
use crate::format::age::stream::{PayloadKey, SegmentCipher};
use crate::format::zstd::codec::Compressor;

use super::buffer::Buffer;
use super::endpoints::{Endpoints, Output, Source};
use super::frame_splitter::{Found, FrameFinder, Piece};
use super::memory::{Pools, decompress_window_bytes, find_limits};
use super::names::{Names, Stage};
use super::plan::{Compress, Content, ContentRange, Decompress, Process, Restore, Seal};
use super::seal::{OpenedRun, PlainRun, RunCheck, RunCutter, RunReader, SealedRun, open_run, seal_run};
use super::stage::{END, Inlet, MORE, Outlet};
use super::steps::{CompressedChunk, compress_chunk, decompress_batch};
use super::threads::{Concurrency, StageResult, Threads};
use super::window::Window;
use super::write::{ContentWriter, FrameWriter, RangeWriter, Summary};

/// Bytes that a restore reads at once: few enough to stay in a core's cache until gathered.
pub(super) const READ_LEN: usize = 256 * 1024;

/// What the recipes wire stages with.
pub(super) struct Wiring<'a> {
    /// The threads of the run, to which stages are added.
    pub threads: &'a mut Threads,
    /// Its buffers and codec contexts.
    pub pools: &'a Pools,
    /// Workers and channel depth.
    pub width: Concurrency,
}

/// Starts the threads of `work`.
pub(super) fn process(wiring: &mut Wiring<'_>, work: &Process, ends: Endpoints) -> StageResult<Summary> {
    let (source, output) = ends.split();
    match (work.compress, &work.seal) {
        (Some(compress), None) => {
            let (chunks, frames) = compressors(wiring, compress, Stage::Write);
            read_chunks(wiring, compress, source, chunks);
            write_frames(wiring, frames, output)
        }
        (Some(compress), Some(seal)) => {
            let (chunks, frames) = compressors(wiring, compress, Stage::Cut);
            let (runs, sealed) = sealers(wiring, &seal.key);
            read_chunks(wiring, compress, source, chunks);
            write_sealed(wiring, sealed, seal, output);
            cut_frames(wiring, frames, runs)
        }
        (None, Some(seal)) => {
            let (runs, sealed) = sealers(wiring, &seal.key);
            write_sealed(wiring, sealed, seal, output);
            cut_input(wiring, source, runs)
        }
        (None, None) => unreachable!("internal error: a plan without a layer"),
    }
}

/// Starts the threads of `work`.
pub(super) fn restore(wiring: &mut Wiring<'_>, work: &Restore, ends: Endpoints) -> StageResult<Summary> {
    let (source, output) = ends.split();
    match (&work.open, &work.content) {
        (None, Content::Frames(frames)) => {
            let (found, pieces) = decompressors(wiring);
            find_in_input(wiring, frames, source, found);
            write_content(wiring, frames, pieces, output)
        }
        (Some(key), Content::Frames(frames)) => {
            let (sealed, opened) = openers(wiring, key, Stage::Find);
            let (found, pieces) = decompressors(wiring);
            read_runs(wiring, source, sealed);
            find_in_runs(wiring, frames, opened, found);
            write_content(wiring, frames, pieces, output)
        }
        (Some(key), Content::Plain(range)) => {
            let (sealed, opened) = openers(wiring, key, Stage::Write);
            read_runs(wiring, source, sealed);
            write_plain(wiring, range, opened, output)
        }
        (None, Content::Plain(range)) => copy(wiring, range, source, output),
    }
}

fn compressors(
    wiring: &mut Wiring<'_>,
    Compress { level, .. }: Compress,
    behind: Stage,
) -> (Outlet<Buffer>, Inlet<CompressedChunk>) {
    let names = Names { before: Stage::Read, stage: Stage::Compress, behind };
    let window = Window::of_items(Stage::Compress, wiring.width.token_count());
    let (pool, slots) = (wiring.pools.chunks.clone(), wiring.pools.slots.clone());
    wiring.threads.parallel(names, wiring.width, window, move |_| {
        let (mut slot, pool) = (slots.slot(), pool.clone());
        Ok(move |chunk| slot.with(|contexts| compress_chunk(contexts.compressor(level)?, &pool, chunk)))
    })
}

fn sealers(wiring: &mut Wiring<'_>, key: &PayloadKey) -> (Outlet<PlainRun>, Inlet<Buffer>) {
    let names = Names { before: Stage::Cut, stage: Stage::Seal, behind: Stage::Write };
    let window = Window::of_items(Stage::Seal, wiring.width.token_count());
    let (key, slots) = (key.clone(), wiring.pools.slots.clone());
    wiring.threads.parallel(names, wiring.width, window, move |_| {
        let (mut slot, cipher) = (slots.slot(), SegmentCipher::new(&key));
        Ok(move |run| Ok(slot.with(|_| seal_run(&cipher, run))))
    })
}

fn openers(wiring: &mut Wiring<'_>, key: &PayloadKey, behind: Stage) -> (Outlet<SealedRun>, Inlet<OpenedRun>) {
    let names = Names { before: Stage::Read, stage: Stage::Open, behind };
    let window = Window::of_items(Stage::Open, wiring.width.token_count());
    let (key, slots) = (key.clone(), wiring.pools.slots.clone());
    wiring.threads.parallel(names, wiring.width, window, move |_| {
        let (mut slot, cipher) = (slots.slot(), SegmentCipher::new(&key));
        Ok(move |run| Ok(slot.with(|_| open_run(&cipher, run))))
    })
}

fn decompressors(wiring: &mut Wiring<'_>) -> (Outlet<Found>, Inlet<Piece>) {
    let names = Names { before: Stage::Find, stage: Stage::Decompress, behind: Stage::Write };
    let window =
        Window::of_weight(Stage::Decompress, decompress_window_bytes(wiring.width) as u64, wiring.width.token_count());
    let (pool, slots) = (wiring.pools.chunks.clone(), wiring.pools.slots.clone());
    wiring.threads.parallel(names, wiring.width, window, move |_| {
        let (mut slot, pool) = (slots.slot(), pool.clone());
        Ok(move |found| match found {
            Found::Batch(batch) => slot.with(|contexts| decompress_batch(contexts.decompressor()?, &pool, batch)),
            Found::Piece(piece) => Ok(piece),
        })
    })
}

fn read_chunks(wiring: &mut Wiring<'_>, compress: Compress, source: Source, chunks: Outlet<Buffer>) {
    let (pool, chunk_len) = (wiring.pools.chunks.clone(), compress.chunk_len);
    wiring.threads.source(Stage::Read, chunks, source, move |source, chunks| {
        let is_first = chunks.next_seq() == 0;
        let slot = chunks.reserve(1)?;
        let mut chunk = pool.take(Compressor::frame_len_bound(chunk_len))?;
        let len = source.fill(&mut chunk.room()[..chunk_len])?;
        chunk.extend_len(len);
        // Empty input becomes one empty frame, so that the file begins with a frame.
        if len == 0 && !is_first {
            return Ok(END);
        }
        slot.send(chunk)?;
        Ok(if len < chunk_len { END } else { MORE })
    });
}

fn write_frames(wiring: &mut Wiring<'_>, frames: Inlet<CompressedChunk>, mut output: Output) -> StageResult<Summary> {
    let result = wiring.threads.sink(Stage::Write, frames, FrameWriter::default(), move |writer, frame| {
        let put = &mut |bytes: &[u8]| output.write(bytes);
        match frame {
            Some(frame) => writer.push(&frame, put)?,
            None => writer.finish(put).and_then(|()| output.flush())?,
        }
        Ok(MORE)
    });
    result.map(|writer| writer.summary())
}

fn cut_frames(wiring: &mut Wiring<'_>, frames: Inlet<CompressedChunk>, runs: Outlet<PlainRun>) -> StageResult<Summary> {
    let mut cutter = RunCutter::new(wiring.pools.runs.clone());
    let result = wiring.threads.serial(Stage::Cut, frames, runs, FrameWriter::default(), move |writer, frame, runs| {
        let emit = &mut |run| runs.reserve(1)?.send(run);
        match frame {
            Some(frame) => writer.push(&frame, &mut |bytes| cutter.push(bytes, emit)),
            None => {
                writer.finish(&mut |bytes| cutter.push(bytes, emit))?;
                cutter.finish(emit)
            }
        }
    });
    result.map(|writer| writer.summary())
}

fn cut_input(wiring: &mut Wiring<'_>, mut source: Source, runs: Outlet<PlainRun>) -> StageResult<Summary> {
    let mut cutter = RunCutter::new(wiring.pools.runs.clone());
    let result = wiring.threads.source(Stage::Cut, runs, 0, move |content_bytes, runs| {
        let emit = &mut |run| runs.reserve(1)?.send(run);
        let len = cutter.read(&mut source, emit)?;
        *content_bytes += len as u64;
        if len > 0 { Ok(MORE) } else { cutter.finish(emit).map(|()| END) }
    });
    result.map(Summary::of_bytes)
}

fn write_sealed(wiring: &mut Wiring<'_>, sealed: Inlet<Buffer>, seal: &Seal, output: Output) {
    let mut prefix = Some(seal.prefix.clone());
    wiring.threads.sink(Stage::Write, sealed, output, move |output, run| {
        if let Some(prefix) = prefix.take() {
            output.write(&prefix)?;
        }
        match run {
            Some(run) => output.write(&run)?,
            None => output.flush()?,
        }
        Ok(MORE)
    });
}

/// A range read of an age file, whose reader opens the few segments itself: read -> write.
fn copy(wiring: &mut Wiring<'_>, range: &ContentRange, source: Source, output: Output) -> StageResult<Summary> {
    let depth = wiring.width.channel_depth;
    let window = Window::of_items(Stage::Write, depth.get().saturating_add(1));
    let (pieces, at_write) = wiring.threads.direct(Stage::Read, Stage::Write, depth, window);
    let pool = wiring.pools.runs.clone();
    wiring.threads.source(Stage::Read, pieces, source, move |source, pieces| {
        let slot = pieces.reserve(1)?;
        let mut piece: Buffer = pool.take(RUN_LEN)?;
        let len = source.read(piece.room())?;
        piece.extend_len(len);
        if len == 0 { Ok(END) } else { slot.send(piece).map(|()| MORE) }
    });
    let writer = RangeWriter::new(output, range.clone(), 0);
    let result = wiring.threads.sink(Stage::Write, at_write, writer, move |writer, piece| match piece {
        Some(piece) => writer.push(&piece).map(|()| MORE),
        None => writer.finish().map(|()| END),
    });
    result.map(|writer| writer.summary())
}

fn find_in_input(wiring: &mut Wiring<'_>, work: &Decompress, mut source: Source, found: Outlet<Found>) {
    let limits = find_limits(wiring.width, work.window_log_max);
    let finder = FrameFinder::new(work.start, limits, wiring.pools.batches.clone(), wiring.pools.chunks.clone());
    let mut piece = vec![0; READ_LEN];
    wiring.threads.source(Stage::Find, found, finder, move |finder, found| {
        let len = source.read(&mut piece)?;
        let emit = &mut |weight, item| found.reserve(weight)?.send(item);
        if len == 0 { finder.finish(emit).map(|()| END) } else { finder.push(&piece[..len], emit).map(|()| MORE) }
    });
}

fn read_runs(wiring: &mut Wiring<'_>, mut source: Source, sealed: Outlet<SealedRun>) {
    let reader = RunReader::new(wiring.pools.runs.clone());
    wiring.threads.source(Stage::Read, sealed, reader, move |reader, sealed| {
        let slot = sealed.reserve(1)?;
        match reader.read(&mut source)? {
            Some(run) => slot.send(run).map(|()| MORE),
            None => Ok(END),
        }
    });
}

fn find_in_runs(wiring: &mut Wiring<'_>, work: &Decompress, opened: Inlet<OpenedRun>, found: Outlet<Found>) {
    let limits = find_limits(wiring.width, work.window_log_max);
    let finder = FrameFinder::new(work.start, limits, wiring.pools.batches.clone(), wiring.pools.chunks.clone());
    let mut check = RunCheck::default();
    wiring.threads.serial(Stage::Find, opened, found, finder, move |finder, run, found| {
        let emit = &mut |weight, item| found.reserve(weight)?.send(item);
        let Some(run) = run else {
            check.finish().and_then(|()| finder.finish(emit)).or_else(|stop| finder.give_up(stop, emit))?;
            return Ok(());
        };
        check.before(&run).or_else(|stop| finder.give_up(stop, emit))?;
        run.texts().try_for_each(|text| finder.push(text, emit))?;
        check.behind(&run).or_else(|stop| finder.give_up(stop, emit))
    });
}

fn write_content(
    wiring: &mut Wiring<'_>,
    work: &Decompress,
    pieces: Inlet<Piece>,
    output: Output,
) -> StageResult<Summary> {
    let writer = ContentWriter::new(output, work);
    let result = wiring.threads.sink(Stage::Write, pieces, writer, |writer, piece| {
        let flow = piece.map_or(Ok(END), |piece| writer.push(&piece))?;
        if flow == END { writer.finish().map(|()| END) } else { Ok(MORE) }
    });
    result.map(|writer| writer.summary())
}

fn write_plain(
    wiring: &mut Wiring<'_>,
    range: &ContentRange,
    opened: Inlet<OpenedRun>,
    output: Output,
) -> StageResult<Summary> {
    let (writer, mut check) = (RangeWriter::new(output, range.clone(), 0), RunCheck::default());
    let result = wiring.threads.sink(Stage::Write, opened, writer, move |writer, run| {
        if let Some(run) = &run {
            check.before(run)?;
            run.texts().try_for_each(|text| writer.push(text))?;
            check.behind(run)?;
        } else {
            check.finish()?;
        }
        if run.is_none() || writer.is_done() { writer.finish().map(|()| END) } else { Ok(MORE) }
    });
    result.map(|writer| writer.summary())
}
