//! Fuzzes the two ways to decode a frame against each other: gathered whole, and streamed because it is too heavy to be gathered.
//!
//! With pieces of any length and any limit on gathering, a stream gives the same content and records, or fails both ways. Output before
//! an error is always correct, and no batch weighs more than its limit.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::format::zstd::codec::Decompressor;
use pipeline::pipeline::buffer::BufferPool;
use pipeline::pipeline::error::{Cause, Stop};
use pipeline::pipeline::frame_splitter::{Found, FrameFinder, Limits, Piece, Record};
use pipeline::pipeline::plan::Start;
use pipeline::pipeline::steps::decompress_batch;
use pipeline_fuzz::choices::Choices;
use pipeline_fuzz::pieces::pieces;

/// A limit under which nearly every frame of a small input is gathered.
const LARGE_BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// The content length after which decoding stops.
const CONTENT_LEN_MAX: usize = 2 * 1024 * 1024;

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    let (seed, small) = (choices.byte(), 16 << (choices.byte() % 14));
    let stream = choices.rest();
    let gathered = find([stream].into_iter(), LARGE_BATCH_BYTES);
    let streamed = find(pieces(stream, seed), small);
    let len = gathered.content.len().min(streamed.content.len());
    assert!(gathered.content[..len] == streamed.content[..len], "other bytes came out");
    if !gathered.is_cut_short && !streamed.is_cut_short {
        assert_eq!(gathered.error.is_none(), streamed.error.is_none(), "{gathered:?} {streamed:?}");
        if gathered.error.is_none() {
            assert!(gathered.content.len() == streamed.content.len() && gathered.records == streamed.records);
        }
    }
});

/// The result of a finder and a worker after it.
#[derive(Default)]
struct Outcome {
    content: Vec<u8>,
    records: Vec<Record>,
    error: Option<Cause>,
    is_cut_short: bool,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} bytes, {} frames, {:?}]", self.content.len(), self.records.len(), self.error)
    }
}

fn find<'a>(mut pieces: impl Iterator<Item = &'a [u8]>, batch_bytes_max: u64) -> Outcome {
    let pool = BufferPool::new(0, 1);
    let limits = Limits { window_log_max: 20, batch_bytes_max };
    let mut finder = FrameFinder::new(Start::default(), limits, pool.clone(), pool.clone());
    let mut decompressor = Decompressor::new().expect("memory");
    let mut outcome = Outcome::default();
    let emit = &mut |weight: u64, found| {
        let Piece { content, records } = match found {
            Found::Piece(piece) => piece,
            Found::Batch(batch) => {
                assert!(weight <= batch_bytes_max, "a batch of {weight}");
                assert!(weight == batch.frames.len() as u64 + batch.content_len_bound as u64);
                decompress_batch(&mut decompressor, &pool, batch)?
            }
        };
        outcome.content.extend_from_slice(&content);
        outcome.records.extend(records);
        outcome.is_cut_short = outcome.content.len() > CONTENT_LEN_MAX;
        if outcome.is_cut_short { Err(Stop::Cancelled) } else { Ok(()) }
    };
    let ended = pieces.try_for_each(|piece| finder.push(piece, emit)).and_then(|()| finder.finish(emit));
    if let Err(Stop::Failed(cause)) = ended {
        outcome.error = Some(cause);
    }
    outcome
}
