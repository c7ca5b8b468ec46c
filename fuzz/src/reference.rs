//! libzstd's own word: what a stream of frames decodes to, one frame behind the other, without scanner, batches or threads.

use pipeline::format::zstd::codec::StreamDecompressor;
use pipeline::format::zstd::scan::{SKIPPABLE_HEADER_LEN, SKIPPABLE_MAGIC_FIRST, SKIPPABLE_MAGIC_MASK, ZSTD_MAGIC};

use crate::engine::{OUTPUT_LEN_MAX, WINDOW_LOG_MAX};

/// What libzstd makes of a stream.
pub struct Decoded {
    /// Its content, up to what is wrong with it.
    pub content: Vec<u8>,
    /// Nothing is wrong with it.
    pub is_whole: bool,
}

/// Decodes `stream` up to its end, to what is wrong with it, or to more than an output takes.
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

/// Decodes the frame that `stream` begins with and gives what is behind it.
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
