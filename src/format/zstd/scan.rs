//! Finds where frames end by walking frame and block headers (RFC 8878 section 3.1), without decoding a block.
//!
//! The scanner takes the stream in pieces of any length and gives the same answer for any cutting. It keeps a few numbers
//! about the frame at hand and no content, so its memory does not depend on the input. What it does not do: look into
//! blocks, check checksums, remember frames that have ended.

use super::error::{Damage, ZstdError};

/// Magic_Number of a zstd frame.
pub const ZSTD_MAGIC: u32 = 0xFD2F_B528;
/// The first of the sixteen magic numbers of skippable frames.
pub const SKIPPABLE_MAGIC_FIRST: u32 = 0x184D_2A50;
/// What the sixteen magic numbers of skippable frames have in common.
pub const SKIPPABLE_MAGIC_MASK: u32 = 0xFFFF_FFF0;
/// Magic number and Frame_Size of a skippable frame.
pub const SKIPPABLE_HEADER_LEN: usize = 8;
/// The upper limit of Block_Maximum_Size.
pub const BLOCK_BYTES_MAX: u64 = 128 * 1024;
/// Magic_Number, Frame_Header at its longest.
pub const FRAME_HEADER_LEN_MAX: usize = 18;

/// What a frame says of itself before its first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Frame_Content_Size, where the frame declares it.
    pub content_bytes: Option<u64>,
    /// The memory that decoding needs: Window_Size, or the content's size in a frame of a single segment.
    pub window_bytes: u64,
    /// A Content_Checksum follows the blocks.
    pub has_checksum: bool,
}

/// A frame that has ended, or that is being walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Magic,
    SkippableLen { magic: u32 },
    SkippableBody { bytes_left: u32 },
    Descriptor,
    Header { descriptor: u8 },
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
        let frame = blank_frame(frame_index, offset);
        FrameScanner { offset, state: State::Magic, field: Field::default(), frame, window_bytes_max }
    }

    /// Takes bytes of `input` up to the next edge, or all of them if it holds none. Gives how many were taken and the
    /// edge. Fails on what no zstd stream holds, on windows above the limit and on frames that need a dictionary.
    pub fn advance(&mut self, input: &[u8]) -> Result<(usize, Option<Edge>), ZstdError> {
        let mut rest = input;
        loop {
            let before = rest.len();
            let edge = self.take(&mut rest)?;
            let taken = (before - rest.len()) as u64;
            self.offset += taken;
            let done = self.settle(edge, taken)?;
            if done.is_some() || (rest.is_empty() && !self.can_go_on_without_input()) {
                return Ok((input.len() - rest.len(), done));
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

    /// Passes over `bytes`, at most [`body_bytes_left`](FrameScanner::body_bytes_left) less one, so that the body's end is
    /// always seen by [`advance`](FrameScanner::advance).
    pub fn skip_body(&mut self, bytes: u32) {
        match &mut self.state {
            State::SkippableBody { bytes_left } | State::BlockBody { bytes_left, .. } => {
                assert!(bytes < *bytes_left, "internal error: a scanner was told to skip past the end of a body");
                *bytes_left -= bytes;
            }
            _ => assert_eq!(bytes, 0, "internal error: a scanner was told to skip a header"),
        }
        self.offset += u64::from(bytes);
        self.frame.compressed_bytes += u64::from(bytes);
    }

    /// Says whether the stream may end here: only behind a whole frame.
    pub fn finish(&self) -> Result<(), ZstdError> {
        match self.state {
            State::Magic if self.field.is_empty() => Ok(()),
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

    /// An error at the frame at hand.
    pub fn damaged(&self, damage: Damage) -> ZstdError {
        ZstdError::Damaged { frame_index: self.frame.index, offset: self.frame.offset, damage }
    }

    /// A body of no bytes ends without input.
    fn can_go_on_without_input(&self) -> bool {
        matches!(self.state, State::SkippableBody { bytes_left: 0 } | State::BlockBody { bytes_left: 0, .. })
    }

    /// Takes bytes within one state; tells what was completed.
    fn take(&mut self, rest: &mut &[u8]) -> Result<Taken, ZstdError> {
        match self.state {
            State::Magic => Ok(self.field.fill(rest, 4).map_or(Taken::Part, |()| Taken::Magic)),
            State::SkippableLen { magic } => {
                Ok(self.field.fill(rest, 4).map_or(Taken::Part, |()| Taken::SkippableLen { magic }))
            }
            State::SkippableBody { mut bytes_left } => {
                skip(rest, &mut bytes_left);
                self.state = State::SkippableBody { bytes_left };
                Ok(if bytes_left == 0 { Taken::SkippableBody } else { Taken::Part })
            }
            State::Descriptor => Ok(self.field.fill(rest, 1).map_or(Taken::Part, |()| Taken::Descriptor)),
            State::Header { descriptor } => {
                let len = header_fields_len(descriptor);
                Ok(self.field.fill(rest, len).map_or(Taken::Part, |()| Taken::Header { descriptor }))
            }
            State::BlockHeader => Ok(self.field.fill(rest, 3).map_or(Taken::Part, |()| Taken::BlockHeader)),
            State::BlockBody { mut bytes_left, is_last } => {
                skip(rest, &mut bytes_left);
                self.state = State::BlockBody { bytes_left, is_last };
                Ok(if bytes_left == 0 { Taken::BlockBody { is_last } } else { Taken::Part })
            }
            State::Checksum => Ok(self.field.fill(rest, 4).map_or(Taken::Part, |()| Taken::Checksum)),
        }
    }

    /// Goes on to the next state after what was completed, and gives the edge where that is one.
    fn settle(&mut self, taken: Taken, taken_bytes: u64) -> Result<Option<Edge>, ZstdError> {
        self.frame.compressed_bytes += taken_bytes;
        match taken {
            Taken::Part => Ok(None),
            Taken::Magic => self.start_frame(),
            Taken::SkippableLen { magic } => {
                let content_bytes = self.field.take_u32();
                self.state = State::SkippableBody { bytes_left: content_bytes };
                Ok(Some(Edge::SkippableStart { magic, content_bytes }))
            }
            Taken::SkippableBody => {
                self.next_frame(self.frame.index);
                Ok(Some(Edge::SkippableEnd))
            }
            Taken::Descriptor => {
                let descriptor = self.field.take_u8();
                if descriptor & DESCRIPTOR_RESERVED != 0 {
                    return Err(self.damaged(Damage::ReservedBit));
                }
                self.state = State::Header { descriptor };
                Ok(None)
            }
            Taken::Header { descriptor } => {
                self.parse_header(descriptor)?;
                self.state = State::BlockHeader;
                Ok(None)
            }
            Taken::BlockHeader => self.parse_block_header().map(|()| None),
            Taken::BlockBody { is_last: false } => {
                self.state = State::BlockHeader;
                Ok(None)
            }
            Taken::BlockBody { is_last: true } if self.frame.header.has_checksum => {
                self.state = State::Checksum;
                Ok(None)
            }
            Taken::BlockBody { is_last: true } => Ok(Some(self.end_frame())),
            Taken::Checksum => {
                self.frame.checksum = Some(self.field.take_u32());
                Ok(Some(self.end_frame()))
            }
        }
    }

    fn start_frame(&mut self) -> Result<Option<Edge>, ZstdError> {
        let bytes = self.field.take::<4>();
        match u32::from_le_bytes(bytes) {
            ZSTD_MAGIC => {
                self.state = State::Descriptor;
                Ok(Some(Edge::FrameStart))
            }
            magic if magic & SKIPPABLE_MAGIC_MASK == SKIPPABLE_MAGIC_FIRST => {
                self.state = State::SkippableLen { magic };
                Ok(None)
            }
            _ => Err(self.unknown_magic(&bytes)),
        }
    }

    fn end_frame(&mut self) -> Edge {
        let frame = self.frame;
        self.next_frame(frame.index + 1);
        Edge::FrameEnd(frame)
    }

    fn next_frame(&mut self, index: u64) {
        self.state = State::Magic;
        self.frame = blank_frame(index, self.offset);
    }

    /// Window_Descriptor, Dictionary_ID, Frame_Content_Size (RFC 8878 section 3.1.1.1).
    fn parse_header(&mut self, descriptor: u8) -> Result<(), ZstdError> {
        let is_single_segment = descriptor & DESCRIPTOR_SINGLE_SEGMENT != 0;
        let window_descriptor = if is_single_segment { None } else { Some(self.field.take_u8()) };
        let dictionary_id = self.field.take_le(dictionary_id_len(descriptor));
        let content_len = content_size_len(descriptor);
        let content_bytes = match (content_len, self.field.take_le(content_len)) {
            (0, _) => None,
            (2, value) => Some(value + 256),
            (_, value) => Some(value),
        };
        if let Ok(dictionary_id @ 1..) = u32::try_from(dictionary_id) {
            let Frame { index: frame_index, offset, .. } = self.frame;
            return Err(ZstdError::NeedsDictionary { frame_index, offset, dictionary_id });
        }
        let window_bytes = window_descriptor.map_or(content_bytes.unwrap_or(0), window_bytes);
        if window_bytes > self.window_bytes_max {
            let Frame { index: frame_index, offset, .. } = self.frame;
            let window_bytes_max = self.window_bytes_max;
            return Err(ZstdError::WindowTooLarge { frame_index, offset, window_bytes, window_bytes_max });
        }
        let has_checksum = descriptor & DESCRIPTOR_CHECKSUM != 0;
        self.frame.header = FrameHeader { content_bytes, window_bytes, has_checksum };
        Ok(())
    }

    /// Last_Block, Block_Type, Block_Size (RFC 8878 section 3.1.1.2).
    fn parse_block_header(&mut self) -> Result<(), ZstdError> {
        let header = self.field.take_le(3);
        let is_last = header & 1 != 0;
        let block_bytes = u32::try_from(header >> 3).expect("21 bits");
        let block_bytes_max = self.frame.header.window_bytes.min(BLOCK_BYTES_MAX);
        let (bytes_left, bytes_bound) = match (header >> 1) & 3 {
            0 => (block_bytes, u64::from(block_bytes)),
            1 => (1, u64::from(block_bytes)),
            2 => (block_bytes, block_bytes_max),
            _ => return Err(self.damaged(Damage::ReservedBlock(self.frame.block_count))),
        };
        if u64::from(block_bytes) > block_bytes_max {
            let block_index = self.frame.block_count;
            return Err(self.damaged(Damage::BlockTooLarge { block_index, block_bytes, block_bytes_max }));
        }
        self.frame.block_count += 1;
        self.frame.block_content_bytes = self.frame.block_content_bytes.saturating_add(bytes_bound);
        self.state = State::BlockBody { bytes_left, is_last };
        Ok(())
    }

    fn unknown_magic(&self, bytes: &[u8]) -> ZstdError {
        let found = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        match self.frame.offset {
            0 => ZstdError::NotZstd(found),
            _ => self.damaged(Damage::TrailingGarbage(found)),
        }
    }
}

/// What [`FrameScanner::take`] completed.
enum Taken {
    Part,
    Magic,
    SkippableLen { magic: u32 },
    SkippableBody,
    Descriptor,
    Header { descriptor: u8 },
    BlockHeader,
    BlockBody { is_last: bool },
    Checksum,
}

const DESCRIPTOR_SINGLE_SEGMENT: u8 = 0b0010_0000;
const DESCRIPTOR_RESERVED: u8 = 0b0000_1000;
const DESCRIPTOR_CHECKSUM: u8 = 0b0000_0100;

fn header_fields_len(descriptor: u8) -> usize {
    let window_len = usize::from(descriptor & DESCRIPTOR_SINGLE_SEGMENT == 0);
    window_len + dictionary_id_len(descriptor) + content_size_len(descriptor)
}

fn dictionary_id_len(descriptor: u8) -> usize {
    [0, 1, 2, 4][usize::from(descriptor & 3)]
}

fn content_size_len(descriptor: u8) -> usize {
    match descriptor >> 6 {
        0 => usize::from(descriptor & DESCRIPTOR_SINGLE_SEGMENT != 0),
        flag => 1 << flag,
    }
}

fn window_bytes(window_descriptor: u8) -> u64 {
    let base = 1u64 << (10 + (window_descriptor >> 3));
    base + base / 8 * u64::from(window_descriptor & 7)
}

fn could_begin_a_frame(bytes: &[u8]) -> bool {
    let skippable = SKIPPABLE_MAGIC_FIRST.to_le_bytes();
    let is_skippable = bytes.iter().zip(skippable).enumerate().all(|(i, (byte, magic))| match i {
        0 => byte & 0xF0 == magic,
        _ => *byte == magic,
    });
    is_skippable || ZSTD_MAGIC.to_le_bytes().starts_with(bytes)
}

fn blank_frame(index: u64, offset: u64) -> Frame {
    let header = FrameHeader { content_bytes: None, window_bytes: 0, has_checksum: false };
    Frame { index, offset, compressed_bytes: 0, header, block_content_bytes: 0, block_count: 0, checksum: None }
}

fn skip(rest: &mut &[u8], bytes_left: &mut u32) {
    let len = rest.len().min(*bytes_left as usize);
    *rest = &rest[len..];
    *bytes_left -= u32::try_from(len).expect("at most bytes_left");
}

/// A header field, gathered over as many pieces of input as it takes.
#[derive(Debug, Default)]
struct Field {
    bytes: [u8; FRAME_HEADER_LEN_MAX],
    filled_len: usize,
    taken_len: usize,
}

impl Field {
    /// Fills up to `len` bytes; `Some` when they are all there.
    fn fill(&mut self, rest: &mut &[u8], len: usize) -> Option<()> {
        let part_len = rest.len().min(len - self.filled_len);
        let (part, after) = rest.split_at(part_len);
        self.bytes[self.filled_len..][..part_len].copy_from_slice(part);
        self.filled_len += part_len;
        *rest = after;
        (self.filled_len == len).then_some(())
    }

    fn is_empty(&self) -> bool {
        self.filled_len == 0
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled_len]
    }

    fn take_le(&mut self, len: usize) -> u64 {
        let mut value = [0; 8];
        value[..len].copy_from_slice(&self.bytes[self.taken_len..][..len]);
        self.taken_len += len;
        if self.taken_len == self.filled_len {
            (self.taken_len, self.filled_len) = (0, 0);
        }
        u64::from_le_bytes(value)
    }

    fn take_u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn take_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take::<4>())
    }

    fn take<const LEN: usize>(&mut self) -> [u8; LEN] {
        let value = self.take_le(LEN).to_le_bytes();
        *value.first_chunk::<LEN>().expect("fields are at most eight bytes")
    }
}
