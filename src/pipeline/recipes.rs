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

/// What every function here wires stages with.
pub(super) struct Wiring<'a> {
    /// The threads of the run; stages are added to them.
    pub threads: &'a mut Threads,
    /// Its buffers and codec contexts.
    pub pools: &'a Pools,
    /// Workers and channel depth.
    pub width: Concurrency,
    /// Where the sink leaves what it has to say.
    pub summary: SummarySlot,
}

/// Starts the threads of `work`.
pub(super) fn process(wiring: &mut Wiring<'_>, work: &Process, ends: Endpoints) {
    let (source, output) = ends.split();
    match (work.compress, &work.seal) {
        (Some(compress), None) => {
            let (chunks, frames) = compressors(wiring, compress, "write");
            read_chunks(wiring, compress, source, chunks);
            write_frames(wiring, frames, output);
        }
        (Some(compress), Some(seal)) => {
            let (chunks, frames) = compressors(wiring, compress, "cut");
            let (runs, sealed) = sealers(wiring, &seal.key);
            read_chunks(wiring, compress, source, chunks);
            cut_frames(wiring, frames, runs);
            write_sealed(wiring, sealed, seal, output);
        }
        (None, Some(seal)) => {
            let (runs, sealed) = sealers(wiring, &seal.key);
            cut_input(wiring, source, runs);
            write_sealed(wiring, sealed, seal, output);
        }
        (None, None) => unreachable!("internal error: a plan without a layer"),
    }
}

/// Starts the threads of `work`.
pub(super) fn restore(wiring: &mut Wiring<'_>, work: &Restore, ends: Endpoints) {
    let (source, output) = ends.split();
    match (&work.open, &work.content) {
        (None, Content::Frames(frames)) => {
            let (found, pieces) = decompressors(wiring);
            find_in_input(wiring, frames, source, found);
            write_content(wiring, frames, pieces, output);
        }
        (Some(key), Content::Frames(frames)) => {
            let (sealed, opened) = openers(wiring, key, "find");
            let (found, pieces) = decompressors(wiring);
            read_runs(wiring, source, sealed);
            find_in_runs(wiring, frames, opened, found);
            write_content(wiring, frames, pieces, output);
        }
        (Some(key), Content::Plain(range)) => {
            let (sealed, opened) = openers(wiring, key, "write");
            read_runs(wiring, source, sealed);
            write_plain(wiring, range, opened, output);
        }
        (None, Content::Plain(range)) => copy(wiring, range, source, output),
    }
}

fn compressors(
    wiring: &mut Wiring<'_>,
    Compress { level, .. }: Compress,
    next: &'static str,
) -> (Outlet<Buffer>, Inlet<CompressedChunk>) {
    let behind = if next == "cut" { "compress>cut" } else { "compress>write" };
    let names = Names { stage: "compress", before: "read>compress", behind, next };
    let window = Window::of_items("compress", wiring.width.token_count());
    let (pool, cores) = (wiring.pools.chunks.clone(), wiring.pools.cores.clone());
    wiring.threads.parallel(names, wiring.width, window, move |_| {
        let (mut seat, pool) = (cores.seat(), pool.clone());
        Ok(move |chunk| seat.with(|core| compress_chunk(core.compressor(level)?, &pool, chunk)))
    })
}

fn sealers(wiring: &mut Wiring<'_>, key: &PayloadKey) -> (Outlet<PlainRun>, Inlet<Buffer>) {
    let names = Names { stage: "seal", before: "cut>seal", behind: "seal>write", next: "write" };
    let window = Window::of_items("seal", wiring.width.token_count());
    let (key, cores) = (key.clone(), wiring.pools.cores.clone());
    wiring.threads.parallel(names, wiring.width, window, move |_| {
        let (mut seat, cipher) = (cores.seat(), SegmentCipher::new(&key));
        Ok(move |run| Ok(seat.with(|_| seal_run(&cipher, run))))
    })
}

fn openers(wiring: &mut Wiring<'_>, key: &PayloadKey, next: &'static str) -> (Outlet<SealedRun>, Inlet<OpenedRun>) {
    let behind = if next == "find" { "open>find" } else { "open>write" };
    let names = Names { stage: "open", before: "read>open", behind, next };
    let window = Window::of_items("open", wiring.width.token_count());
    let (key, cores) = (key.clone(), wiring.pools.cores.clone());
    wiring.threads.parallel(names, wiring.width, window, move |_| {
        let (mut seat, cipher) = (cores.seat(), SegmentCipher::new(&key));
        Ok(move |run| Ok(seat.with(|_| open_run(&cipher, run))))
    })
}

fn decompressors(wiring: &mut Wiring<'_>) -> (Outlet<Found>, Inlet<Piece>) {
    let names = Names { stage: "decompress", before: "find>decompress", behind: "decompress>write", next: "write" };
    let window =
        Window::of_weight("decompress", decompress_window_bytes(wiring.width) as u64, wiring.width.token_count());
    let (pool, cores) = (wiring.pools.chunks.clone(), wiring.pools.cores.clone());
    wiring.threads.parallel(names, wiring.width, window, move |_| {
        let (mut seat, pool) = (cores.seat(), pool.clone());
        Ok(move |found| match found {
            Found::Batch(batch) => seat.with(|core| decompress_batch(core.decompressor()?, &pool, batch)),
            Found::Piece(piece) => Ok(piece),
        })
    })
}

fn read_chunks(wiring: &mut Wiring<'_>, compress: Compress, mut source: Source, chunks: Outlet<Buffer>) {
    let (pool, chunk_len) = (wiring.pools.chunks.clone(), compress.chunk_len);
    wiring.threads.source("read", chunks, move |chunks| {
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

fn write_frames(wiring: &mut Wiring<'_>, frames: Inlet<CompressedChunk>, mut output: Output) {
    let (mut writer, summary) = (FrameWriter::default(), Arc::clone(&wiring.summary));
    wiring.threads.sink("write", frames, move |frame| {
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

fn cut_frames(wiring: &mut Wiring<'_>, frames: Inlet<CompressedChunk>, runs: Outlet<PlainRun>) {
    let (mut writer, mut cutter) = (FrameWriter::default(), RunCutter::new(wiring.pools.runs.clone()));
    let summary = Arc::clone(&wiring.summary);
    wiring.threads.serial("cut", frames, runs, move |frame, runs| {
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

fn cut_input(wiring: &mut Wiring<'_>, mut source: Source, runs: Outlet<PlainRun>) {
    let mut cutter = RunCutter::new(wiring.pools.runs.clone());
    let (summary, mut content_bytes) = (Arc::clone(&wiring.summary), 0);
    wiring.threads.source("cut", runs, move |runs| {
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

fn write_sealed(wiring: &mut Wiring<'_>, sealed: Inlet<Buffer>, seal: &Seal, mut output: Output) {
    let mut prefix = Some(seal.prefix.clone());
    wiring.threads.sink("write", sealed, move |run| {
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
fn copy(wiring: &mut Wiring<'_>, range: &ContentRange, mut source: Source, output: Output) {
    let names = Names { stage: "hand on", before: "read>hand on", behind: "hand on>write", next: "write" };
    let width = Concurrency { workers: NonZeroUsize::MIN, ..wiring.width };
    let window = Window::of_items("hand on", width.token_count());
    let (pieces, at_write) = wiring.threads.parallel(names, width, window, |_| Ok(Ok::<Buffer, _>));
    let (pool, summary) = (wiring.pools.runs.clone(), Arc::clone(&wiring.summary));
    wiring.threads.source("read", pieces, move |pieces| {
        let slot = pieces.reserve(1)?;
        let mut piece = pool.take(RUN_LEN)?;
        let len = source.read(piece.room())?;
        piece.extend_len(len);
        if len == 0 { Ok(Flow::End) } else { slot.send(piece).map(|()| Flow::More) }
    });
    let mut writer = RangeWriter::new(output, range.clone(), 0);
    wiring.threads.sink("write", at_write, move |piece| {
        if let Some(piece) = &piece {
            writer.push(piece)?;
            return Ok(Flow::More);
        }
        writer.finish()?;
        let _ = summary.set(Summary { frame_count: 0, content_bytes: writer.content_bytes(), table: None });
        Ok(Flow::End)
    });
}

fn find_in_input(wiring: &mut Wiring<'_>, work: &Decompress, mut source: Source, found: Outlet<Found>) {
    let limits = find_limits(wiring.width, work.window_log_max);
    let mut finder = FrameFinder::new(work.start, limits, wiring.pools.batches.clone(), wiring.pools.chunks.clone());
    let mut piece = vec![0; READ_LEN];
    wiring.threads.source("find", found, move |found| {
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

fn read_runs(wiring: &mut Wiring<'_>, mut source: Source, sealed: Outlet<SealedRun>) {
    let mut reader = RunReader::new(wiring.pools.runs.clone());
    wiring.threads.source("read", sealed, move |sealed| {
        let slot = sealed.reserve(1)?;
        match reader.read(&mut source)? {
            Some(run) => slot.send(run).map(|()| Flow::More),
            None => Ok(Flow::End),
        }
    });
}

fn find_in_runs(wiring: &mut Wiring<'_>, work: &Decompress, opened: Inlet<OpenedRun>, found: Outlet<Found>) {
    let limits = find_limits(wiring.width, work.window_log_max);
    let mut finder = FrameFinder::new(work.start, limits, wiring.pools.batches.clone(), wiring.pools.chunks.clone());
    let mut check = RunCheck::default();
    wiring.threads.serial("find", opened, found, move |run, found| {
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

fn write_content(wiring: &mut Wiring<'_>, work: &Decompress, pieces: Inlet<Piece>, output: Output) {
    let (mut writer, summary) = (ContentWriter::new(output, work), Arc::clone(&wiring.summary));
    wiring.threads.sink("write", pieces, move |piece| {
        let flow = piece.map_or(Ok(Flow::End), |piece| writer.push(&piece))?;
        if flow == Flow::End {
            let _ = summary.set(writer.finish()?);
        }
        Ok(flow)
    });
}

fn write_plain(wiring: &mut Wiring<'_>, range: &ContentRange, opened: Inlet<OpenedRun>, output: Output) {
    let (mut writer, mut check) = (RangeWriter::new(output, range.clone(), 0), RunCheck::default());
    let summary = Arc::clone(&wiring.summary);
    wiring.threads.sink("write", opened, move |run| {
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
