//! A scanner that finds where frames end by walking frame and block headers (RFC 8878 section 3.1); it decodes no block.
//!
//! It accepts the stream in pieces of any length; the result does not depend on the cuts. It keeps a few numbers about the current
//! frame and no content, so its memory is constant. It does not look into blocks, verify checksums or remember ended frames.

use super::error::{Damage, ZstdError};
use super::header::{BLOCK_HEADER_LEN, BlockHeader, BlockKind, Descriptor, FIELDS_LEN_MAX, FrameHeader};

/// Magic_Number of a zstd frame.
pub const ZSTD_MAGIC: u32 = 0xFD2F_B528;
/// First of the sixteen magic numbers of skippable frames.
pub const SKIPPABLE_MAGIC_FIRST: u32 = 0x184D_2A50;
/// Mask of the bits that the sixteen magic numbers share.
pub const SKIPPABLE_MAGIC_MASK: u32 = 0xFFFF_FFF0;
/// Length of a skippable frame's magic number and Frame_Size.
pub const SKIPPABLE_HEADER_LEN: usize = 8;
/// Longest Magic_Number and Frame_Header.
pub const FRAME_HEADER_LEN_MAX: usize = 4 + 1 + FIELDS_LEN_MAX;

/// A frame that has ended or is being walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Index of the frame; skippable frames are not counted.
    pub index: u64,
    /// Offset of its magic number in the stream, in bytes.
    pub offset: u64,
    /// Bytes walked so far, including the magic number.
    pub compressed_bytes: u64,
    /// Its header; all zeros until parsed.
    pub header: FrameHeader,
    /// Upper bound on the content of the blocks walked so far, whatever the header declares.
    pub block_content_bytes: u64,
    /// Block headers parsed.
    pub block_count: u64,
    /// Content_Checksum, once read.
    pub checksum: Option<u32>,
}

impl Frame {
    /// Upper bound on the content walked so far. Never taken from the header alone.
    pub fn content_bytes_bound(&self) -> u64 {
        self.header.content_bytes.map_or(self.block_content_bytes, |declared| declared.min(self.block_content_bytes))
    }
}

/// Where [`FrameScanner::advance`] stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The magic number of a frame was consumed; its header follows.
    FrameStart,
    /// The last byte of a frame was consumed.
    FrameEnd(Frame),
    /// Magic number and Frame_Size of a skippable frame were consumed; `content_bytes` of user data follow.
    SkippableStart {
        /// One of the sixteen magic numbers.
        magic: u32,
        /// Frame_Size: bytes after the eight of the header.
        content_bytes: u32,
    },
    /// The last byte of a skippable frame was consumed.
    SkippableEnd,
}

/// The next part of the stream. Bodies are skipped; every other part is collected as a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Magic,
    SkippableLen { magic: u32 },
    SkippableBody { bytes_left: u32 },
    Descriptor,
    Fields { descriptor: Descriptor },
    BlockHeader,
    BlockBody { bytes_left: u32, is_last: bool },
    Checksum,
}

/// Walks the frames of one stream.
#[derive(Debug)]
pub struct FrameScanner {
    offset: u64,
    state: State,
    field: Field,
    frame: Frame,
    window_bytes_max: u64,
}

impl FrameScanner {
    /// A scanner at the start of a stream; it rejects frames with windows above `window_bytes_max`.
    pub fn new(window_bytes_max: u64) -> FrameScanner {
        FrameScanner::starting_at(0, 0, window_bytes_max)
    }

    /// A scanner that starts at `offset` of a stream, where the frame with `frame_index` begins.
    pub fn starting_at(offset: u64, frame_index: u64, window_bytes_max: u64) -> FrameScanner {
        let frame = Frame { index: frame_index, offset, ..Frame::default() };
        FrameScanner { offset, state: State::Magic, field: Field::default(), frame, window_bytes_max }
    }

    /// Consumes `input` up to the next edge, or all of it if it holds none. Returns the number of bytes consumed and the edge. Fails on
    /// malformed input, on windows above the limit and on frames that need a dictionary.
    pub fn advance(&mut self, input: &[u8]) -> Result<(usize, Option<Edge>), ZstdError> {
        let mut taken_len = 0;
        loop {
            let (len, is_whole) = self.take(&input[taken_len..]);
            taken_len += len;
            self.count(len as u64);
            if !is_whole {
                return Ok((taken_len, None));
            }
            if let Some(edge) = self.settle()? {
                return Ok((taken_len, Some(edge)));
            }
        }
    }

    /// Bytes left in the body of the current block or skippable frame.
    pub fn body_bytes_left(&self) -> u32 {
        match self.state {
            State::SkippableBody { bytes_left } | State::BlockBody { bytes_left, .. } => bytes_left,
            _ => 0,
        }
    }

    /// Skips `bytes` of the body unread: 0, or fewer than [`body_bytes_left`](FrameScanner::body_bytes_left), so that
    /// [`advance`](FrameScanner::advance) always sees the body's end.
    pub fn skip_body(&mut self, bytes: u32) {
        assert!(bytes == 0 || bytes < self.body_bytes_left(), "internal error: a scanner was told to skip past a body");
        if let State::SkippableBody { bytes_left } | State::BlockBody { bytes_left, .. } = &mut self.state {
            *bytes_left -= bytes;
        }
        self.count(u64::from(bytes));
    }

    /// Checks that the stream may end here: only after a whole frame.
    pub fn finish(&self) -> Result<(), ZstdError> {
        match self.state {
            State::Magic if self.field.bytes().is_empty() => Ok(()),
            State::Magic if !could_begin_a_frame(self.field.bytes()) => Err(self.unknown_magic(self.field.bytes())),
            _ => Err(self.damaged(Damage::Truncated(self.offset))),
        }
    }

    /// The current frame as far as it was walked; blank between frames.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Offset of the scanner in the stream, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Consumes bytes of the current part. Returns how many, and whether the part is complete.
    fn take(&mut self, input: &[u8]) -> (usize, bool) {
        let field_len = match &mut self.state {
            State::SkippableBody { bytes_left } | State::BlockBody { bytes_left, .. } => {
                let len = input.len().min(*bytes_left as usize);
                *bytes_left -= u32::try_from(len).expect("at most bytes_left");
                return (len, *bytes_left == 0);
            }
            State::Magic | State::SkippableLen { .. } | State::Checksum => 4,
            State::Descriptor => 1,
            State::Fields { descriptor } => descriptor.fields_len(),
            State::BlockHeader => BLOCK_HEADER_LEN,
        };
        self.field.fill(input, field_len)
    }

    fn count(&mut self, bytes: u64) {
        self.offset += bytes;
        self.frame.compressed_bytes += bytes;
    }

    /// Moves past a complete part; returns the edge if that is one.
    fn settle(&mut self) -> Result<Option<Edge>, ZstdError> {
        let field = std::mem::take(&mut self.field);
        match self.state {
            State::Magic => return self.start_frame(field.bytes()),
            State::SkippableLen { magic } => {
                let content_bytes = field.to_u32();
                self.state = State::SkippableBody { bytes_left: content_bytes };
                return Ok(Some(Edge::SkippableStart { magic, content_bytes }));
            }
            State::SkippableBody { .. } => {
                self.next_frame(self.frame.index);
                return Ok(Some(Edge::SkippableEnd));
            }
            State::Descriptor => {
                let descriptor = Descriptor::parse(field.bytes()[0]);
                self.state = State::Fields { descriptor: descriptor.ok_or_else(|| self.damaged(Damage::ReservedBit))? };
            }
            State::Fields { descriptor } => self.start_blocks(FrameHeader::parse(descriptor, field.bytes()))?,
            State::BlockHeader => self.start_block(BlockHeader::parse(field.bytes()))?,
            State::BlockBody { is_last: false, .. } => self.state = State::BlockHeader,
            State::BlockBody { .. } if self.frame.header.has_checksum => self.state = State::Checksum,
            State::BlockBody { .. } => return Ok(Some(self.end_frame())),
            State::Checksum => {
                self.frame.checksum = Some(field.to_u32());
                return Ok(Some(self.end_frame()));
            }
        }
        Ok(None)
    }

    fn start_frame(&mut self, magic: &[u8]) -> Result<Option<Edge>, ZstdError> {
        match u32::from_le_bytes(*magic.first_chunk().expect("the field is whole")) {
            ZSTD_MAGIC => {
                self.state = State::Descriptor;
                Ok(Some(Edge::FrameStart))
            }
            magic if magic & SKIPPABLE_MAGIC_MASK == SKIPPABLE_MAGIC_FIRST => {
                self.state = State::SkippableLen { magic };
                Ok(None)
            }
            _ => Err(self.unknown_magic(magic)),
        }
    }

    fn start_blocks(&mut self, header: FrameHeader) -> Result<(), ZstdError> {
        let Frame { index: frame_index, offset, .. } = self.frame;
        let FrameHeader { dictionary_id, window_bytes, .. } = header;
        if dictionary_id != 0 {
            return Err(ZstdError::NeedsDictionary { frame_index, offset, dictionary_id });
        }
        if window_bytes > self.window_bytes_max {
            let window_bytes_max = self.window_bytes_max;
            return Err(ZstdError::WindowTooLarge { frame_index, offset, window_bytes, window_bytes_max });
        }
        self.frame.header = header;
        self.state = State::BlockHeader;
        Ok(())
    }

    fn start_block(&mut self, block: BlockHeader) -> Result<(), ZstdError> {
        let (block_bytes, block_bytes_max) = (block.bytes, self.frame.header.block_bytes_max());
        if block.kind == BlockKind::Reserved {
            return Err(self.damaged(Damage::ReservedBlock(self.frame.block_count)));
        }
        if u64::from(block_bytes) > block_bytes_max {
            let block_index = self.frame.block_count;
            return Err(self.damaged(Damage::BlockTooLarge { block_index, block_bytes, block_bytes_max }));
        }
        // libzstd accepts it as an empty block in a stream, and rejects it in a whole frame.
        if block.kind == BlockKind::Compressed && block_bytes == 0 {
            return Err(self.damaged(Damage::Decode("a compressed block holds no bytes")));
        }
        let (bytes_left, content_bytes) = match block.kind {
            BlockKind::Rle => (1, u64::from(block_bytes)),
            BlockKind::Compressed => (block_bytes, block_bytes_max),
            BlockKind::Raw | BlockKind::Reserved => (block_bytes, u64::from(block_bytes)),
        };
        self.frame.block_count += 1;
        self.frame.block_content_bytes = self.frame.block_content_bytes.saturating_add(content_bytes);
        self.state = State::BlockBody { bytes_left, is_last: block.is_last };
        Ok(())
    }

    fn end_frame(&mut self) -> Edge {
        let frame = self.frame;
        self.next_frame(frame.index + 1);
        Edge::FrameEnd(frame)
    }

    fn next_frame(&mut self, index: u64) {
        self.state = State::Magic;
        self.frame = Frame { index, offset: self.offset, ..Frame::default() };
    }

    fn damaged(&self, damage: Damage) -> ZstdError {
        ZstdError::Damaged { frame_index: self.frame.index, offset: self.frame.offset, damage }
    }

    fn unknown_magic(&self, bytes: &[u8]) -> ZstdError {
        let found = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        match self.frame.offset {
            0 => ZstdError::NotZstd(found),
            _ => self.damaged(Damage::TrailingGarbage(found)),
        }
    }
}

/// Whether a frame can begin with `bytes`, which are fewer than four.
fn could_begin_a_frame(bytes: &[u8]) -> bool {
    let [first, rest @ ..] = SKIPPABLE_MAGIC_FIRST.to_le_bytes();
    let is_skippable = bytes.first().is_some_and(|byte| byte & 0xF0 == first) && rest.starts_with(&bytes[1..]);
    is_skippable || ZSTD_MAGIC.to_le_bytes().starts_with(bytes)
}

/// A magic number or header, collected across pieces of input.
#[derive(Debug, Default)]
struct Field {
    bytes: [u8; FIELDS_LEN_MAX],
    filled_len: usize,
}

impl Field {
    /// Fills up to `len` bytes. Returns how many were consumed, and whether all are there.
    fn fill(&mut self, input: &[u8], len: usize) -> (usize, bool) {
        let taken_len = input.len().min(len - self.filled_len);
        self.bytes[self.filled_len..][..taken_len].copy_from_slice(&input[..taken_len]);
        self.filled_len += taken_len;
        (taken_len, self.filled_len == len)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled_len]
    }

    fn to_u32(&self) -> u32 {
        u32::from_le_bytes(*self.bytes.first_chunk().expect("a field holds thirteen bytes"))
    }
}
