//! The only interface to libzstd: contexts that compress a chunk into a frame and decode frames.
//!
//! No two threads use one context at once. Nothing here decides how a stream is cut into frames.

use std::hash::Hasher;

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

use super::error::{Damage, ZstdError};
use crate::format::zeros::are_zeros;

/// A compression level that libzstd accepts: 1 to 22, or negative for speed. 0 is rejected, because libzstd reads it as "default".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(i32);

impl Level {
    /// The default level of the `zstd` tool.
    pub const DEFAULT: Level = Level(3);

    /// The fastest of the levels from 1 to 22.
    pub const FASTEST: Level = Level(1);

    /// Accepts 1..=22 and negative levels down to libzstd's limit; returns `None` for any other.
    pub fn new(level: i32) -> Option<Level> {
        let known = (zstd_safe::min_c_level()..=zstd_safe::max_c_level()).contains(&level);
        (known && level != 0).then_some(Level(level))
    }

    /// The level as libzstd takes it.
    pub fn get(self) -> i32 {
        self.0
    }
}

/// The version that the linked libzstd reports, such as `1.5.7`.
pub fn library_version() -> &'static str {
    zstd_safe::version_string()
}

/// The largest windowLog written: RFC 8878 (section 3.1.1.1.2) recommends that decoders accept 8 MiB.
pub const WINDOW_LOG_MAX_WRITTEN: u32 = 23;

/// From this level on, libzstd's own window can exceed [`WINDOW_LOG_MAX_WRITTEN`], so it is set explicitly.
/// Below, an explicit 8 MiB would enlarge libzstd's window.
const LEVEL_WITH_LARGE_WINDOWS: i32 = 20;

/// The largest windowLog that libzstd decodes on a 64-bit machine.
pub const WINDOW_LOG_MAX_DECODED: u32 = 31;

/// The low 32 bits of XXH64 of `content`, as in a frame's Content_Checksum and a seek table's entry.
pub fn content_checksum(content: &[u8]) -> u32 {
    low_32_bits(twox_hash::XxHash64::oneshot(0, content))
}

/// [`content_checksum`] of content hashed in pieces.
pub fn content_checksum_of(content: &twox_hash::XxHash64) -> u32 {
    low_32_bits(content.finish())
}

fn low_32_bits(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).expect("masked to 32 bits")
}

/// Compresses chunks, each into an independent frame with content size and checksum.
pub struct Compressor {
    context: CCtx<'static>,
    /// The length of the chunk of zeros that was compressed last, and its frame, which is copied for the next one: a sparse file is full of them.
    zeros: Option<(usize, Box<[u8]>)>,
}

impl Compressor {
    /// A context for `level`. Fails when libzstd cannot allocate it.
    pub fn new(level: Level) -> Result<Compressor, ZstdError> {
        let mut context = CCtx::try_create().ok_or(ZstdError::Codec("no memory for a compression context"))?;
        let mut set = |parameter| context.set_parameter(parameter).map(drop).map_err(codec_error);
        set(CParameter::CompressionLevel(level.get()))?;
        set(CParameter::ContentSizeFlag(true))?;
        set(CParameter::ChecksumFlag(true))?;
        if level.get() >= LEVEL_WITH_LARGE_WINDOWS {
            set(CParameter::WindowLog(WINDOW_LOG_MAX_WRITTEN))?;
        }
        Ok(Compressor { context, zeros: None })
    }

    /// An upper bound on the length of a frame of `content_len` bytes of content.
    pub fn frame_len_bound(content_len: usize) -> usize {
        zstd_safe::compress_bound(content_len)
    }

    /// An upper bound on the memory of a context for `level`, in bytes: libzstd's own figure for contents of 8 MiB and more. It does not
    /// depend on the content.
    pub fn context_bytes(level: Level) -> usize {
        let mebibytes = match level.get() {
            ..=2 => 1,
            3..=4 => 2,
            5..=6 => 3,
            7..=8 => 6,
            9 => 11,
            10..=11 => 21,
            12 => 41,
            13..=15 => 65,
            16..=18 => 66,
            19 => 82,
            20..=21 => 98,
            _ => 130,
        };
        mebibytes << 20
    }

    /// Writes the frame of `content` to the start of `frame` and returns its length. `frame` must hold
    /// [`frame_len_bound`](Compressor::frame_len_bound) bytes. The result depends only on content and level.
    pub fn compress(&mut self, content: &[u8], frame: &mut [u8]) -> Result<usize, ZstdError> {
        let is_zeros = are_zeros(content);
        if let Some((_, zeros)) = self.zeros.as_ref().filter(|(len, _)| is_zeros && *len == content.len()) {
            frame[..zeros.len()].copy_from_slice(zeros);
            return Ok(zeros.len());
        }
        let len = self.context.compress2(frame, content).map_err(codec_error)?;
        if is_zeros {
            self.zeros = Some((content.len(), frame[..len].into()));
        }
        Ok(len)
    }
}

/// Decodes whole frames from memory to memory.
pub struct Decompressor {
    context: DCtx<'static>,
}

impl Decompressor {
    /// Fails when libzstd cannot allocate a context.
    pub fn new() -> Result<Decompressor, ZstdError> {
        let context = DCtx::try_create().ok_or(ZstdError::Codec("no memory for a decompression context"))?;
        Ok(Decompressor { context })
    }

    /// Decodes the single frame in `frame` to the start of `content` and returns the content's length. Verifies the checksum if the
    /// frame has one.
    pub fn decompress(&mut self, frame: &[u8], content: &mut [u8]) -> Result<usize, Damage> {
        self.context.decompress(content, frame).map_err(damage)
    }
}

/// Decodes one frame piece by piece; memory is bounded by its window.
pub struct StreamDecompressor {
    context: DCtx<'static>,
}

/// The result of one call of [`StreamDecompressor::decompress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// Bytes consumed from the frame.
    pub consumed_len: usize,
    /// Bytes of content written.
    pub produced_len: usize,
    /// The frame has ended and its checksum matched.
    pub is_frame_end: bool,
}

impl StreamDecompressor {
    /// A context that accepts windows of up to `1 << window_log_max` bytes. Fails when libzstd cannot allocate it.
    pub fn new(window_log_max: u32) -> Result<StreamDecompressor, ZstdError> {
        let mut context = DCtx::try_create().ok_or(ZstdError::Codec("no memory for a decompression context"))?;
        context.set_parameter(DParameter::WindowLogMax(window_log_max)).map_err(codec_error)?;
        Ok(StreamDecompressor { context })
    }

    /// Prepares for another frame, even after an error.
    pub fn reset(&mut self) -> Result<(), ZstdError> {
        self.context.reset(ResetDirective::SessionOnly).map(drop).map_err(codec_error)
    }

    /// Decodes as much of `frame` as fits into `content`.
    pub fn decompress(&mut self, frame: &[u8], content: &mut [u8]) -> Result<Streamed, Damage> {
        let mut input = InBuffer::around(frame);
        let mut output = OutBuffer::around(content);
        let hint = self.context.decompress_stream(&mut output, &mut input).map_err(damage)?;
        Ok(Streamed { consumed_len: input.pos(), produced_len: output.pos(), is_frame_end: hint == 0 })
    }
}

fn codec_error(code: usize) -> ZstdError {
    ZstdError::Codec(get_error_name(code))
}

/// libzstd's name for a content checksum mismatch. The safe binding returns names, not the error enum; a test checks this name
/// against the linked library.
const CHECKSUM_ERROR_NAME: &str = "Restored data doesn't match checksum";

/// libzstd's name for an output buffer that is too small.
const ROOM_ERROR_NAME: &str = "Destination buffer is too small";

/// libzstd's name for a failed allocation.
const MEMORY_ERROR_NAME: &str = "Allocation error : not enough memory";

fn damage(code: usize) -> Damage {
    match get_error_name(code) {
        CHECKSUM_ERROR_NAME => Damage::Checksum,
        // The output buffer is sized by the header, or by the most that the blocks can hold.
        ROOM_ERROR_NAME => Damage::Decode("the blocks hold more content than the frame declares"),
        MEMORY_ERROR_NAME => Damage::NoMemory,
        name => Damage::Decode(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(content: &[u8], level: i32) -> Vec<u8> {
        let mut frame = vec![0; Compressor::frame_len_bound(content.len())];
        let len = Compressor::new(Level::new(level).unwrap()).unwrap().compress(content, &mut frame).unwrap();
        frame.truncate(len);
        frame
    }

    #[test]
    fn zero_and_unknown_levels_are_refused() {
        assert_eq!([0, 23, i32::MIN].map(Level::new), [None; 3]);
        assert!([1, 22, -1, -7].iter().all(|level| Level::new(*level).is_some()));
    }

    #[test]
    fn a_frame_ends_with_the_checksum_of_its_content() {
        let content = b"some content, some more content".repeat(100);
        let frame = frame(&content, 3);
        assert_eq!(frame[frame.len() - 4..], content_checksum(&content).to_le_bytes());
    }

    #[test]
    fn a_wrong_checksum_is_told_apart_from_other_damage() {
        let mut bytes = frame(b"content", 3);
        *bytes.last_mut().unwrap() ^= 1;
        let mut content = [0; 16];
        assert_eq!(Decompressor::new().unwrap().decompress(&bytes, &mut content), Err(Damage::Checksum));
        assert!(matches!(Decompressor::new().unwrap().decompress(&bytes[1..], &mut content), Err(Damage::Decode(_))));
        let more = Damage::Decode("the blocks hold more content than the frame declares");
        assert_eq!(Decompressor::new().unwrap().decompress(&frame(b"content", 3), &mut content[..6]), Err(more));
    }

    #[test]
    fn a_chunk_of_zeros_is_compressed_once_and_its_frame_is_copied_for_the_next() {
        let mut compressor = Compressor::new(Level::DEFAULT).unwrap();
        let compress = |compressor: &mut Compressor, content: &[u8]| {
            let mut bytes = vec![7; Compressor::frame_len_bound(content.len())];
            let len = compressor.compress(content, &mut bytes).unwrap();
            bytes.truncate(len);
            bytes
        };
        let (zeros, mut nearly) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        nearly[(1 << 20) - 1] = 1;
        for content in [&zeros[..], &zeros, &nearly, &zeros, &zeros[1..], &zeros[1..], &zeros, b"text", b"", &zeros] {
            assert_eq!(compress(&mut compressor, content), frame(content, 3), "{} bytes", content.len());
        }
        // A mark in the frame that is kept shows that it is a copy that comes out.
        compressor.zeros.as_mut().unwrap().1[20] ^= 0xFF;
        let differs = |(a, b): (&u8, &u8)| a != b;
        let marked = compress(&mut compressor, &zeros);
        assert_eq!(marked.iter().zip(&frame(&zeros, 3)).filter(|pair| differs(*pair)).count(), 1);
        assert_eq!(compress(&mut compressor, &nearly), frame(&nearly, 3));
    }

    #[test]
    fn a_reused_context_writes_the_bytes_of_a_new_one() {
        let chunks: Vec<Vec<u8>> = (1..6).map(|seed| (0..70_000u32).map(|i| (i * seed / 7) as u8).collect()).collect();
        let mut reused = Compressor::new(Level::DEFAULT).unwrap();
        for chunk in &chunks {
            let mut bytes = vec![0; Compressor::frame_len_bound(chunk.len())];
            let len = reused.compress(chunk, &mut bytes).unwrap();
            assert_eq!(bytes[..len], frame(chunk, 3));
        }
    }
}
