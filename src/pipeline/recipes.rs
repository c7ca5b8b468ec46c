//! The wiring of the channel engine, a function a diagram.
//!
//! ```text
//! compress         read -> [compress xN] -> reorder, write, seek table
//! both             read -> [compress xN] -> reorder, cut into runs -> [seal xN] -> reorder, write
//! encrypt          read, cut into runs -> [seal xN] -> reorder, write
//! decompress       read, find frames -> [decompress xN] -> reorder, check against tables, write
//! both, back       read runs -> [open xN] -> reorder, find frames -> [decompress xN] -> reorder, check, write
//! decrypt          read runs -> [open xN] -> reorder, write
//! decrypt a range  read (and open) -> [hand on] -> write
//! ```
//!
//! The serial stage between two pools moves bytes and cuts runs, nothing else. While it waits for a token of the second window it
//! holds one of the first, that of the item at hand.
//!
//! Memory in flight: as many buffers of a chunk as there are tokens (an item is a chunk or its frame), one more at each worker
//! while it has both; as many runs as there are tokens. Decompressing: the window's bytes and a batch being
//! gathered. ARCHITECTURE.md gives the formula with all its terms.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use crate::format::age::cut::RUN_LEN;
use crate::format::age::stream::{PayloadKey, SegmentCipher};
use crate::format::zstd::codec::Compressor;

use super::buffer::Buffer;
use super::endpoints::{Endpoints, Output, Source};
use super::frame_splitter::{Found, FrameFinder, Piece};
use super::memory::{Pools, decompress_window_bytes, find_limits};
use super::plan::{Compress, Content, ContentRange, Decompress, Process, Restore, Seal};
use super::seal::{OpenedRun, PlainRun, RunCheck, RunCutter, RunReader, SealedRun, open_run, seal_run};
use super::stage::{Flow, Inlet, Outlet};
use super::steps::{CompressedChunk, compress_chunk, decompress_batch};
use super::threads::{Concurrency, Names, Threads};
use super::window::Window;
use super::write::{ContentWriter, FrameWriter, RangeWriter, Summary};

/// Bytes that a restore reads at once: they stay in a core's cache until they are gathered.
pub(super) const READ_LEN: usize = 256 * 1024;

/// Where the sink leaves what it has to say.
pub(super) type SummarySlot = Arc<OnceLock<Summary>>;

/// Starts the threads of `work`.
pub(super) fn process(
    threads: &mut Threads,
    pools: &Pools,
    width: Concurrency,
    work: &Process,
    ends: Endpoints,
) -> SummarySlot {
    let summary = SummarySlot::default();
    let (source, output) = ends.split();
    match (work.compress, &work.seal) {
        (Some(compress), None) => {
            let (chunks, frames) = compressors(threads, pools, width, compress, "write");
            read_chunks(threads, pools, compress, source, chunks);
            write_frames(threads, frames, output, &summary);
        }
        (Some(compress), Some(seal)) => {
            let (chunks, frames) = compressors(threads, pools, width, compress, "cut");
            let (runs, sealed) = sealers(threads, pools, width, &seal.key);
            read_chunks(threads, pools, compress, source, chunks);
            cut_frames(threads, pools, frames, runs, &summary);
            write_sealed(threads, sealed, seal, output);
        }
        (None, Some(seal)) => {
            let (runs, sealed) = sealers(threads, pools, width, &seal.key);
            cut_input(threads, pools, source, runs, &summary);
            write_sealed(threads, sealed, seal, output);
        }
        (None, None) => unreachable!("internal error: a plan without a layer"),
    }
    summary
}

/// Starts the threads of `work`.
pub(super) fn restore(
    threads: &mut Threads,
    pools: &Pools,
    width: Concurrency,
    work: &Restore,
    ends: Endpoints,
) -> SummarySlot {
    let summary = SummarySlot::default();
    let (source, output) = ends.split();
    match (&work.open, &work.content) {
        (None, Content::Frames(frames)) => {
            let (found, pieces) = decompressors(threads, pools, width);
            find_in_input(threads, pools, width, frames, source, found);
            write_content(threads, frames, pieces, output, &summary);
        }
        (Some(key), Content::Frames(frames)) => {
            let (sealed, opened) = openers(threads, pools, width, key, "find");
            let (found, pieces) = decompressors(threads, pools, width);
            read_runs(threads, pools, source, sealed);
            find_in_runs(threads, pools, width, frames, opened, found);
            write_content(threads, frames, pieces, output, &summary);
        }
        (Some(key), Content::Plain(range)) => {
            let (sealed, opened) = openers(threads, pools, width, key, "write");
            read_runs(threads, pools, source, sealed);
            write_plain(threads, range, opened, output, &summary);
        }
        (None, Content::Plain(range)) => copy(threads, pools, width, range, source, output, &summary),
    }
    summary
}

fn compressors(
    threads: &mut Threads,
    pools: &Pools,
    width: Concurrency,
    Compress { level, .. }: Compress,
    next: &'static str,
) -> (Outlet<Buffer>, Inlet<CompressedChunk>) {
    let behind = if next == "cut" { "compress>cut" } else { "compress>write" };
    let names = Names { stage: "compress", before: "read>compress", behind, next };
    let window = Window::of_items("compress", width.token_count());
    let (pool, cores) = (pools.chunks.clone(), pools.cores.clone());
    threads.parallel(names, width, window, move |_| {
        let (mut seat, pool) = (cores.seat(), pool.clone());
        Ok(move |chunk| seat.with(|core| compress_chunk(core.compressor(level)?, &pool, chunk)))
    })
}

fn sealers(
    threads: &mut Threads,
    pools: &Pools,
    width: Concurrency,
    key: &PayloadKey,
) -> (Outlet<PlainRun>, Inlet<Buffer>) {
    let names = Names { stage: "seal", before: "cut>seal", behind: "seal>write", next: "write" };
    let window = Window::of_items("seal", width.token_count());
    let (key, cores) = (key.clone(), pools.cores.clone());
    threads.parallel(names, width, window, move |_| {
        let (mut seat, cipher) = (cores.seat(), SegmentCipher::new(&key));
        Ok(move |run| Ok(seat.with(|_| seal_run(&cipher, run))))
    })
}

fn openers(
    threads: &mut Threads,
    pools: &Pools,
    width: Concurrency,
    key: &PayloadKey,
    next: &'static str,
) -> (Outlet<SealedRun>, Inlet<OpenedRun>) {
    let behind = if next == "find" { "open>find" } else { "open>write" };
    let names = Names { stage: "open", before: "read>open", behind, next };
    let window = Window::of_items("open", width.token_count());
    let (key, cores) = (key.clone(), pools.cores.clone());
    threads.parallel(names, width, window, move |_| {
        let (mut seat, cipher) = (cores.seat(), SegmentCipher::new(&key));
        Ok(move |run| Ok(seat.with(|_| open_run(&cipher, run))))
    })
}

fn decompressors(threads: &mut Threads, pools: &Pools, width: Concurrency) -> (Outlet<Found>, Inlet<Piece>) {
    let names = Names { stage: "decompress", before: "find>decompress", behind: "decompress>write", next: "write" };
    let window = Window::of_weight("decompress", decompress_window_bytes(width) as u64, width.token_count());
    let (pool, cores) = (pools.chunks.clone(), pools.cores.clone());
    threads.parallel(names, width, window, move |_| {
        let (mut seat, pool) = (cores.seat(), pool.clone());
        Ok(move |found| match found {
            Found::Batch(batch) => seat.with(|core| decompress_batch(core.decompressor()?, &pool, batch)),
            Found::Piece(piece) => Ok(piece),
        })
    })
}

fn read_chunks(threads: &mut Threads, pools: &Pools, compress: Compress, mut source: Source, chunks: Outlet<Buffer>) {
    let (pool, chunk_len) = (pools.chunks.clone(), compress.chunk_len);
    threads.source("read", chunks, move |chunks| {
        let is_first = chunks.next_seq() == 0;
        let slot = chunks.reserve(1)?;
        let mut chunk = pool.take(Compressor::frame_len_bound(chunk_len))?;
        let len = source.fill(&mut chunk.room()[..chunk_len])?;
        chunk.extend_len(len);
        // Input of no bytes is one empty frame, so that the file has one to begin with.
        if len == 0 && !is_first {
            return Ok(Flow::End);
        }
        slot.send(chunk)?;
        Ok(if len < chunk_len { Flow::End } else { Flow::More })
    });
}

fn write_frames(threads: &mut Threads, frames: Inlet<CompressedChunk>, mut output: Output, summary: &SummarySlot) {
    let (mut writer, summary) = (FrameWriter::default(), Arc::clone(summary));
    threads.sink("write", frames, move |frame| {
        let put = &mut |bytes: &[u8]| output.write(bytes);
        match frame {
            Some(frame) => writer.push(&frame, put)?,
            None => {
                let _ = summary.set(writer.finish(put)?);
                output.flush()?;
            }
        }
        Ok(Flow::More)
    });
}

fn cut_frames(
    threads: &mut Threads,
    pools: &Pools,
    frames: Inlet<CompressedChunk>,
    runs: Outlet<PlainRun>,
    summary: &SummarySlot,
) {
    let (mut writer, mut cutter) = (FrameWriter::default(), RunCutter::new(pools.runs.clone()));
    let summary = Arc::clone(summary);
    threads.serial("cut", frames, runs, move |frame, runs| {
        let emit = &mut |run| runs.reserve(1)?.send(run);
        match frame {
            Some(frame) => writer.push(&frame, &mut |bytes| cutter.push(bytes, emit)),
            None => {
                let _ = summary.set(writer.finish(&mut |bytes| cutter.push(bytes, emit))?);
                cutter.finish(emit)
            }
        }
    });
}

fn cut_input(threads: &mut Threads, pools: &Pools, mut source: Source, runs: Outlet<PlainRun>, summary: &SummarySlot) {
    let mut cutter = RunCutter::new(pools.runs.clone());
    let (summary, mut content_bytes) = (Arc::clone(summary), 0);
    threads.source("cut", runs, move |runs| {
        let emit = &mut |run| runs.reserve(1)?.send(run);
        let len = cutter.read(&mut source, emit)?;
        content_bytes += len as u64;
        if len > 0 {
            return Ok(Flow::More);
        }
        let _ = summary.set(Summary { frame_count: 0, content_bytes, table: None });
        cutter.finish(emit).map(|()| Flow::End)
    });
}

fn write_sealed(threads: &mut Threads, sealed: Inlet<Buffer>, seal: &Seal, mut output: Output) {
    let mut prefix = Some(seal.prefix.clone());
    threads.sink("write", sealed, move |run| {
        if let Some(prefix) = prefix.take() {
            output.write(&prefix)?;
        }
        match run {
            Some(run) => output.write(&run)?,
            None => output.flush()?,
        }
        Ok(Flow::More)
    });
}

/// What a range read of an age file does whose reader opens the few segments itself: read -> [hand on] -> write.
fn copy(
    threads: &mut Threads,
    pools: &Pools,
    width: Concurrency,
    range: &ContentRange,
    mut source: Source,
    output: Output,
    summary: &SummarySlot,
) {
    let names = Names { stage: "hand on", before: "read>hand on", behind: "hand on>write", next: "write" };
    let width = Concurrency { workers: NonZeroUsize::MIN, ..width };
    let window = Window::of_items("hand on", width.token_count());
    let (pieces, at_write) = threads.parallel(names, width, window, |_| Ok(Ok::<Buffer, _>));
    let (pool, summary) = (pools.runs.clone(), Arc::clone(summary));
    threads.source("read", pieces, move |pieces| {
        let slot = pieces.reserve(1)?;
        let mut piece = pool.take(RUN_LEN)?;
        let len = source.read(piece.room())?;
        piece.extend_len(len);
        if len == 0 { Ok(Flow::End) } else { slot.send(piece).map(|()| Flow::More) }
    });
    let mut writer = RangeWriter::new(output, range.clone(), 0);
    threads.sink("write", at_write, move |piece| {
        if let Some(piece) = &piece {
            writer.push(piece)?;
            return Ok(Flow::More);
        }
        writer.finish()?;
        let _ = summary.set(Summary { frame_count: 0, content_bytes: writer.content_bytes(), table: None });
        Ok(Flow::End)
    });
}

fn find_in_input(
    threads: &mut Threads,
    pools: &Pools,
    width: Concurrency,
    work: &Decompress,
    mut source: Source,
    found: Outlet<Found>,
) {
    let limits = find_limits(width, work.window_log_max);
    let mut finder = FrameFinder::new(work.start, limits, pools.batches.clone(), pools.chunks.clone());
    let mut piece = vec![0; READ_LEN];
    threads.source("find", found, move |found| {
        let len = source.read(&mut piece)?;
        let emit = &mut |weight, item| found.reserve(weight)?.send(item);
        if len == 0 {
            finder.finish(emit)?;
            return Ok(Flow::End);
        }
        finder.push(&piece[..len], emit)?;
        Ok(Flow::More)
    });
}

fn read_runs(threads: &mut Threads, pools: &Pools, mut source: Source, sealed: Outlet<SealedRun>) {
    let mut reader = RunReader::new(pools.runs.clone());
    threads.source("read", sealed, move |sealed| {
        let slot = sealed.reserve(1)?;
        match reader.read(&mut source)? {
            Some(run) => slot.send(run).map(|()| Flow::More),
            None => Ok(Flow::End),
        }
    });
}

fn find_in_runs(
    threads: &mut Threads,
    pools: &Pools,
    width: Concurrency,
    work: &Decompress,
    opened: Inlet<OpenedRun>,
    found: Outlet<Found>,
) {
    let limits = find_limits(width, work.window_log_max);
    let mut finder = FrameFinder::new(work.start, limits, pools.batches.clone(), pools.chunks.clone());
    let mut check = RunCheck::default();
    threads.serial("find", opened, found, move |run, found| {
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
    threads: &mut Threads,
    work: &Decompress,
    pieces: Inlet<Piece>,
    output: Output,
    summary: &SummarySlot,
) {
    let (mut writer, summary) = (ContentWriter::new(output, work), Arc::clone(summary));
    threads.sink("write", pieces, move |piece| {
        let flow = piece.map_or(Ok(Flow::End), |piece| writer.push(&piece))?;
        if flow == Flow::End {
            let _ = summary.set(writer.finish()?);
        }
        Ok(flow)
    });
}

fn write_plain(
    threads: &mut Threads,
    range: &ContentRange,
    opened: Inlet<OpenedRun>,
    output: Output,
    summary: &SummarySlot,
) {
    let (mut writer, mut check) = (RangeWriter::new(output, range.clone(), 0), RunCheck::default());
    let summary = Arc::clone(summary);
    threads.sink("write", opened, move |run| {
        if let Some(run) = &run {
            check.before(run)?;
            run.texts().try_for_each(|text| writer.push(text))?;
            check.behind(run)?;
        } else {
            check.finish()?;
        }
        let flow = if run.is_none() || writer.is_done() { Flow::End } else { Flow::More };
        if flow == Flow::End {
            writer.finish()?;
            let _ = summary.set(Summary { frame_count: 0, content_bytes: writer.content_bytes(), table: None });
        }
        Ok(flow)
    });
}
