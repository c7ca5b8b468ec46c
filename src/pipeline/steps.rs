//! The steps of workers on one item, for both engines: compress a chunk, decode a batch of frames.

use crate::format::zstd::Damage;
use crate::format::zstd::codec::{Compressor, Decompressor, content_checksum};
use crate::format::zstd::seek_table::Entry;

use super::buffer::{Buffer, BufferPool};
use super::error::{Cause, damaged_frame};
use super::frame_splitter::{Batch, FrameRecord, Piece, Record};

/// One frame and its entry in the seek table.
pub struct CompressedChunk {
    /// The frame's bytes.
    pub frame: Buffer,
    /// Its seek table entry.
    pub entry: Entry,
}

/// Compresses one chunk into one frame.
pub fn compress_chunk(compressor: &mut Compressor, pool: &BufferPool, chunk: Buffer) -> Result<CompressedChunk, Cause> {
    // A chunk's buffer has room for its frame, so all buffers of a run are alike.
    let mut frame = pool.take(chunk.capacity())?;
    let len = compressor.compress(&chunk, frame.room())?;
    frame.extend_len(len);
    // The frame ends with the checksum that its entry needs.
    let checksum = u32::from_le_bytes(*frame.last_chunk::<4>().expect("a frame is longer than its checksum"));
    let entry = Entry { compressed_len: to_u32(len), content_len: to_u32(chunk.len()), checksum };
    Ok(CompressedChunk { frame, entry })
}

/// Decodes the frames of a batch and completes their records. If one frame is damaged, none comes out.
pub fn decompress_batch(decompressor: &mut Decompressor, pool: &BufferPool, batch: Batch) -> Result<Piece, Cause> {
    let Batch { frames, content_len_bound, mut records } = batch;
    let mut content = pool.take(content_len_bound)?;
    let mut rest = &*frames;
    for record in &mut records {
        let Record::Frame(FrameRecord { frame, content_bytes, checksum }) = record else {
            continue;
        };
        let len = usize::try_from(frame.compressed_bytes).expect("a gathered frame is in memory");
        let (bytes, behind) = rest.split_at(len);
        rest = behind;
        let bound = usize::try_from(frame.content_bytes_bound()).expect("a batch is bounded by memory");
        let damaged = |damage| damaged_frame(frame.index, frame.offset, damage);
        let content_len = decompressor.decompress(bytes, &mut content.room()[..bound]).map_err(damaged)?;
        *content_bytes = content_len as u64;
        if let Some(declared_bytes) = frame.header.content_bytes.filter(|declared| declared != content_bytes) {
            return Err(damaged(Damage::ContentSize { declared_bytes, decoded_bytes: *content_bytes }));
        }
        *checksum = frame.checksum.unwrap_or_else(|| content_checksum(&content.room()[..content_len]));
        content.extend_len(content_len);
    }
    Ok(Piece { content, records })
}

fn to_u32(len: usize) -> u32 {
    u32::try_from(len).expect("chunks are at most 64 MiB")
}
