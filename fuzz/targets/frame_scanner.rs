//! Fuzzes the frame scanner with arbitrary bytes.
//!
//! Any cutting gives the same edges, offsets and end, even if block bodies are skipped unread. Frames are contiguous and never extend past
//! the input.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::format::zstd::ZstdError;
use pipeline::format::zstd::scan::{Edge, FrameScanner, SKIPPABLE_HEADER_LEN};
use pipeline_fuzz::choices::Choices;
use pipeline_fuzz::pieces::pieces;

const WINDOW_BYTES_MAX: u64 = 1 << 27;

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    let seed = choices.byte();
    let stream = choices.rest();
    let whole = walk([stream].into_iter());
    assert!(walk(pieces(stream, seed)) == whole, "in pieces it differs");
    assert!(walk_passing_over(stream) == whole, "passed over it differs");
    check(&whole, stream.len() as u64);
});

/// Each edge with the offset after it, the offset where the walk stopped, and whether the stream may end there.
type Walk = (Vec<(u64, Edge)>, u64, Result<(), ZstdError>);

fn walk<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Walk {
    let (mut scanner, mut edges) = (FrameScanner::new(WINDOW_BYTES_MAX), Vec::new());
    for mut piece in pieces {
        loop {
            match scanner.advance(piece) {
                Err(error) => return (edges, scanner.offset(), Err(error)),
                Ok((len, Some(edge))) => {
                    piece = &piece[len..];
                    edges.push((scanner.offset(), edge));
                }
                Ok((len, None)) => {
                    assert_eq!(len, piece.len(), "it left bytes without an edge");
                    break;
                }
            }
        }
    }
    let end = scanner.finish();
    (edges, scanner.offset(), end)
}

/// The walk as `inspect` does it, which skips block bodies.
fn walk_passing_over(stream: &[u8]) -> Walk {
    let (mut scanner, mut edges, mut at) = (FrameScanner::new(WINDOW_BYTES_MAX), Vec::new(), 0);
    while at < stream.len() {
        let end = stream.len().min(at + 5);
        loop {
            match scanner.advance(&stream[at..end]) {
                Err(error) => return (edges, scanner.offset(), Err(error)),
                Ok((len, Some(edge))) => {
                    at += len;
                    edges.push((scanner.offset(), edge));
                }
                Ok((_, None)) => break,
            }
        }
        let behind = u32::try_from(stream.len() - end).expect("inputs are small");
        let passed = scanner.body_bytes_left().saturating_sub(1).min(behind);
        scanner.skip_body(passed);
        at = end + passed as usize;
    }
    let end = scanner.finish();
    (edges, scanner.offset(), end)
}

fn check((edges, stopped_at, end): &Walk, stream_bytes: u64) {
    assert!(*stopped_at <= stream_bytes && (end.is_err() || *stopped_at == stream_bytes));
    let (mut start, mut body_bytes, mut frame_count) = (0, 0, 0);
    for (offset, edge) in edges {
        assert!(*offset <= stream_bytes, "an edge behind the end");
        match edge {
            Edge::FrameStart => assert_eq!(*offset, start + 4),
            Edge::FrameEnd(frame) => {
                assert_eq!((frame.offset, frame.index), (start, frame_count));
                assert_eq!(frame.offset + frame.compressed_bytes, *offset);
                assert_eq!(frame.header.has_checksum, frame.checksum.is_some());
                assert!(frame.header.window_bytes <= WINDOW_BYTES_MAX && frame.block_count > 0);
                assert!(
                    frame.content_bytes_bound() <= frame.block_count * (128 << 10),
                    "more than the blocks can hold"
                );
                (start, frame_count) = (*offset, frame_count + 1);
            }
            Edge::SkippableStart { content_bytes, .. } => {
                assert_eq!(*offset, start + SKIPPABLE_HEADER_LEN as u64);
                body_bytes = u64::from(*content_bytes);
            }
            Edge::SkippableEnd => {
                assert_eq!(*offset, start + SKIPPABLE_HEADER_LEN as u64 + body_bytes);
                start = *offset;
            }
        }
    }
    assert!(end.is_err() || start == stream_bytes, "the stream ends inside a frame");
}
