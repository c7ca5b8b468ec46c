//! A reference decoder: libzstd decodes a stream frame by frame, without scanner, batches or threads.

use pipeline::format::zstd::codec::StreamDecompressor;
use pipeline::format::zstd::scan::{SKIPPABLE_HEADER_LEN, SKIPPABLE_MAGIC_FIRST, SKIPPABLE_MAGIC_MASK, ZSTD_MAGIC};

use crate::engine::{OUTPUT_LEN_MAX, WINDOW_LOG_MAX};

/// The result of decoding a stream.
pub struct Decoded {
    /// The content, up to the first error.
    pub content: Vec<u8>,
    /// Whether the whole stream was decoded.
    pub is_whole: bool,
}

/// Decodes `stream` to its end, to the first error, or until the content exceeds what an output takes.
pub fn decode(mut stream: &[u8]) -> Decoded {
    let mut content = Vec::new();
    while !stream.is_empty() {
        let Some(rest) = decode_frame(stream, &mut content) else {
            return Decoded { content, is_whole: false };
        };
        stream = rest;
    }
    Decoded { content, is_whole: true }
}

/// Decodes the first frame of `stream` and returns the bytes after it; `None` on an error.
fn decode_frame<'a>(mut stream: &'a [u8], content: &mut Vec<u8>) -> Option<&'a [u8]> {
    let magic = u32::from_le_bytes(*stream.first_chunk()?);
    if magic & SKIPPABLE_MAGIC_MASK == SKIPPABLE_MAGIC_FIRST {
        let body_len = u32::from_le_bytes(*stream.get(4..)?.first_chunk()?) as usize;
        return stream.get(SKIPPABLE_HEADER_LEN + body_len..);
    }
    if magic != ZSTD_MAGIC {
        return None;
    }
    let mut decompressor = StreamDecompressor::new(WINDOW_LOG_MAX).expect("memory");
    let mut room = vec![0; 128 * 1024];
    loop {
        let streamed = decompressor.decompress(stream, &mut room).ok()?;
        content.extend_from_slice(&room[..streamed.produced_len]);
        stream = &stream[streamed.consumed_len..];
        if streamed.is_frame_end {
            return Some(stream);
        }
        let is_stuck = streamed.consumed_len == 0 && streamed.produced_len == 0;
        if is_stuck || content.len() > 2 * OUTPUT_LEN_MAX {
            return None;
        }
    }
}
