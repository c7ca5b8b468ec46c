//! Runs of the pipeline from memory to memory, for tests that need thousands of them.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its own part, and a test may panic")]

use std::io::{self, Cursor, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipeline::format::zstd::codec::{Compressor, Level};
use pipeline::format::zstd::seek_table::{Entry, TableBuilder};
use pipeline::pipeline::endpoints::Endpoints;
use pipeline::pipeline::error::Failure;
use pipeline::pipeline::plan::{Content, ContentRange, Decompress, Engine, Expect, Plan, Restore, Start, Work};
use pipeline::pipeline::report::Report;
use pipeline::pipeline::shutdown::Cancel;
use pipeline::pipeline::supervisor::{Supervisor, Watch};
use pipeline::pipeline::threads::Concurrency;

/// An output that a test can read after the run.
#[derive(Clone, Default)]
pub struct Collected(pub Arc<Mutex<Vec<u8>>>);

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `work` on `input`. Returns the result and the output, which a failed run has as well.
pub fn run(
    supervisor: &mut Supervisor,
    work: Work,
    input: Box<dyn io::Read + Send>,
) -> (Result<Report, Failure>, Vec<u8>) {
    let two = NonZeroUsize::new(2).unwrap();
    let plan = Plan { width: Concurrency { workers: two, channel_depth: two }, engine: Engine::Channels, work };
    let taken = Collected::default();
    let ends = Endpoints {
        input,
        input_bytes: None,
        output: Box::new(taken.clone()),
        cancel: Cancel::default(),
        progress: Arc::default(),
    };
    let watch = &mut Watch { tick_every: Duration::from_secs(1), on_tick: &mut |_, _| () };
    let report = pipeline::pipeline::run(&plan, &Default::default(), ends, supervisor, watch);
    let out = std::mem::take(&mut *taken.0.lock().unwrap());
    (report, out)
}

pub fn decompress(range: ContentRange) -> Work {
    let frames = Decompress { window_log_max: 27, start: Start::default(), range, expect: Expect::Tables };
    Work::Restore(Restore { open: None, content: Content::Frames(frames) })
}

/// Decodes all of `bytes`.
pub fn restore(supervisor: &mut Supervisor, bytes: &[u8]) -> (Result<Report, Failure>, Vec<u8>) {
    run(supervisor, decompress(ContentRange::All), Box::new(Cursor::new(bytes.to_vec())))
}

/// A frame as `Compressor` writes it.
pub fn frame(content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; Compressor::frame_len_bound(content.len())];
    let len = Compressor::new(Level::DEFAULT).unwrap().compress(content, &mut frame).unwrap();
    frame.truncate(len);
    frame
}

/// The seek table entry of a frame that `Compressor` wrote.
pub fn entry(frame: &[u8], content_len: usize) -> Entry {
    Entry {
        compressed_len: u32::try_from(frame.len()).unwrap(),
        content_len: u32::try_from(content_len).unwrap(),
        checksum: u32::from_le_bytes(*frame.last_chunk().unwrap()),
    }
}

/// The bytes of a seek table.
pub fn table(entries: &[Entry]) -> Vec<u8> {
    let mut builder = TableBuilder::default();
    assert!(entries.iter().all(|entry| builder.push(*entry)));
    let (header, entries, footer) = builder.finish();
    [&header[..], entries, &footer].concat()
}

/// A seekable file with one frame for each of `contents`, and the offset at which each frame ends.
pub fn seekable(contents: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
    let frames: Vec<Vec<u8>> = contents.iter().map(|content| frame(content)).collect();
    let entries: Vec<Entry> = frames.iter().zip(contents).map(|(frame, content)| entry(frame, content.len())).collect();
    let mut file = Vec::new();
    let edges = frames
        .iter()
        .map(|frame| {
            file.extend_from_slice(frame);
            file.len()
        })
        .collect();
    file.extend(table(&entries));
    (file, edges)
}
