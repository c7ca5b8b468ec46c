//! Finds where frames end by walking frame and block headers (RFC 8878 section 3.1), without decoding a block.
//!
//! The scanner takes the stream in pieces of any length and gives the same answer for any cutting. It keeps a few numbers
//! about the frame at hand and no content, so its memory does not depend on the input. What it does not do: look into
//! blocks, check checksums, remember frames that have ended.

use super::error::{Damage, ZstdError};
use super::header::{BLOCK_HEADER_LEN, BlockHeader, BlockKind, Descriptor, FIELDS_LEN_MAX, FrameHeader};

/// Magic_Number of a zstd frame.
pub const ZSTD_MAGIC: u32 = 0xFD2F_B528;
/// The first of the sixteen magic numbers of skippable frames.
pub const SKIPPABLE_MAGIC_FIRST: u32 = 0x184D_2A50;
/// What the sixteen magic numbers of skippable frames have in common.
pub const SKIPPABLE_MAGIC_MASK: u32 = 0xFFFF_FFF0;
/// Magic number and Frame_Size of a skippable frame.
pub const SKIPPABLE_HEADER_LEN: usize = 8;
/// Magic_Number and Frame_Header at their longest.
pub const FRAME_HEADER_LEN_MAX: usize = 4 + 1 + FIELDS_LEN_MAX;

/// A frame that has ended, or that is being walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Frames before this one, skippable frames not counted.
    pub index: u64,
    /// Where its magic number begins, in bytes from the start of the stream.
    pub offset: u64,
    /// Its length from the magic number on, as far as it was walked.
    pub compressed_bytes: u64,
    /// Its header; all zeros until that has been read.
    pub header: FrameHeader,
    /// What its blocks, as far as they were walked, hold at most, whatever the header declares.
    pub block_content_bytes: u64,
    /// Blocks whose header was read.
    pub block_count: u64,
    /// Content_Checksum, once it has been read.
    pub checksum: Option<u32>,
}

impl Frame {
    /// What the content, as far as the frame was walked, comes to at most. Never taken from the header alone.
    pub fn content_bytes_bound(&self) -> u64 {
        self.header.content_bytes.map_or(self.block_content_bytes, |declared| declared.min(self.block_content_bytes))
    }
}

/// What [`FrameScanner::advance`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The magic number of a frame was taken: its header comes next.
    FrameStart,
    /// The last byte of a frame was taken.
    FrameEnd(Frame),
    /// Magic number and Frame_Size of a skippable frame were taken: `content_bytes` of user data come next.
    SkippableStart {
        /// Which of the sixteen.
        magic: u32,
        /// Frame_Size: bytes behind the eight of the header.
        content_bytes: u32,
    },
    /// The last byte of a skippable frame was taken.
    SkippableEnd,
}

/// The part of the stream that comes next. Bodies are passed over, everything else is gathered as a field.
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
    /// A scanner at the start of a stream that refuses frames with windows above `window_bytes_max`.
    pub fn new(window_bytes_max: u64) -> FrameScanner {
        FrameScanner::starting_at(0, 0, window_bytes_max)
    }

    /// A scanner that is handed a stream from `offset` on, where the frame with `frame_index` begins.
    pub fn starting_at(offset: u64, frame_index: u64, window_bytes_max: u64) -> FrameScanner {
        let frame = Frame { index: frame_index, offset, ..Frame::default() };
        FrameScanner { offset, state: State::Magic, field: Field::default(), frame, window_bytes_max }
    }

    /// Takes bytes of `input` up to the next edge, or all of them if it holds none. Gives how many were taken and the
    /// edge. Fails on what no zstd stream holds, on windows above the limit and on frames that need a dictionary.
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

    /// How many bytes of the block or skippable frame at hand may be passed over unseen.
    pub fn body_bytes_left(&self) -> u32 {
        match self.state {
            State::SkippableBody { bytes_left } | State::BlockBody { bytes_left, .. } => bytes_left,
            _ => 0,
        }
    }

    /// Passes over `bytes`, fewer than [`body_bytes_left`](FrameScanner::body_bytes_left), so that the body's end is always
    /// seen by [`advance`](FrameScanner::advance); or none.
    pub fn skip_body(&mut self, bytes: u32) {
        assert!(bytes == 0 || bytes < self.body_bytes_left(), "internal error: a scanner was told to skip past a body");
        if let State::SkippableBody { bytes_left } | State::BlockBody { bytes_left, .. } = &mut self.state {
            *bytes_left -= bytes;
        }
        self.count(u64::from(bytes));
    }

    /// Says whether the stream may end here: only behind a whole frame.
    pub fn finish(&self) -> Result<(), ZstdError> {
        match self.state {
            State::Magic if self.field.bytes().is_empty() => Ok(()),
            State::Magic if !could_begin_a_frame(self.field.bytes()) => Err(self.unknown_magic(self.field.bytes())),
            _ => Err(self.damaged(Damage::Truncated(self.offset))),
        }
    }

    /// The frame at hand as far as it was walked; between frames, a blank one.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Where in the stream the scanner stands, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes what belongs to the part at hand. Gives how many bytes that were, and whether the part is whole.
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

    /// Goes on behind a part that is whole, and gives the edge where that is one.
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
        // libzstd takes it for an empty block when it decodes a stream, and for damage when it decodes a whole frame.
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

/// Whether some frame begins with `bytes`, fewer than a magic number has.
fn could_begin_a_frame(bytes: &[u8]) -> bool {
    let [first, rest @ ..] = SKIPPABLE_MAGIC_FIRST.to_le_bytes();
    let is_skippable = bytes.first().is_some_and(|byte| byte & 0xF0 == first) && rest.starts_with(&bytes[1..]);
    is_skippable || ZSTD_MAGIC.to_le_bytes().starts_with(bytes)
}

/// A magic number or header, gathered over as many pieces of input as it takes.
#[derive(Debug, Default)]
struct Field {
    bytes: [u8; FIELDS_LEN_MAX],
    filled_len: usize,
}

impl Field {
    /// Fills up to `len` bytes. Gives how many were taken, and whether they are all there.
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
