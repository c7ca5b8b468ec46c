//! Seekable zstd files: frames of known content, followed by their seek table.

use pipeline::format::zstd::codec::{Compressor, Level};
use pipeline::format::zstd::seek_table::{Entry, TableBuilder};

use crate::choices::Choices;
use crate::content;

/// The bound on a frame's content length: many small frames find more than few large ones.
const CHUNK_LEN_MAX: usize = 3000;
/// The bound on the number of frames in a file.
const FRAME_COUNT_MAX: usize = 7;

/// The parts of a file.
pub struct Seekable {
    /// The frames as pipeline writes them.
    pub frames: Vec<Vec<u8>>,
    /// The table entries of the frames.
    pub entries: Vec<Entry>,
    /// The content of all frames.
    pub content: Vec<u8>,
}

impl Seekable {
    /// Makes a file with fewer than seven frames from `choices`.
    pub fn choose(choices: &mut Choices<'_>) -> Seekable {
        let lens: Vec<usize> =
            (0..choices.below(FRAME_COUNT_MAX)).map(|_| usize::from(choices.u16()) % CHUNK_LEN_MAX).collect();
        Seekable::new(&content::either(lens.iter().sum(), choices.byte()), &lens)
    }

    /// Cuts `content` into chunks of the lengths `lens` and compresses each.
    pub fn new(content: &[u8], lens: &[usize]) -> Seekable {
        let mut compressor = Compressor::new(Level::new(1).expect("a level")).expect("memory");
        let mut whole = Seekable { frames: Vec::new(), entries: Vec::new(), content: content.to_vec() };
        let mut rest = content;
        for len in lens {
            let (chunk, behind) = rest.split_at(*len);
            rest = behind;
            let mut frame = vec![0; Compressor::frame_len_bound(chunk.len())];
            let frame_len = compressor.compress(chunk, &mut frame).expect("a frame fits its bound");
            frame.truncate(frame_len);
            let checksum = u32::from_le_bytes(*frame.last_chunk().expect("a frame ends with a checksum"));
            whole.entries.push(Entry { compressed_len: as_u32(frame_len), content_len: as_u32(*len), checksum });
            whole.frames.push(frame);
        }
        whole
    }

    /// The whole file: frames and table.
    pub fn bytes(&self) -> Vec<u8> {
        [self.frames.concat(), table(&self.entries)].concat()
    }
}

/// The bytes of a seek table with `entries`, which may be wrong.
pub fn table(entries: &[Entry]) -> Vec<u8> {
    let mut builder = TableBuilder::default();
    assert!(entries.iter().all(|entry| builder.push(*entry)), "the table is full");
    let (header, entries, footer) = builder.finish();
    [&header[..], entries, &footer].concat()
}

fn as_u32(len: usize) -> u32 {
    u32::try_from(len).expect("chunks are small")
}
