//! Stateless parsers for the headers of frames and blocks (RFC 8878 sections 3.1.1.1 and 3.1.1.2).

/// Longest Frame_Header, without the descriptor byte: window, dictionary, content size.
pub(super) const FIELDS_LEN_MAX: usize = 13;
/// Length of a Block_Header.
pub(super) const BLOCK_HEADER_LEN: usize = 3;
/// Upper limit of Block_Maximum_Size.
const BLOCK_BYTES_MAX: u64 = 128 * 1024;

/// The fields of a frame header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// Frame_Content_Size, if declared.
    pub content_bytes: Option<u64>,
    /// Memory that decoding needs, in bytes: Window_Size, or the content size of a single-segment frame.
    pub window_bytes: u64,
    /// Whether a Content_Checksum follows the blocks.
    pub has_checksum: bool,
    /// Dictionary_ID; 0 if none is needed.
    pub dictionary_id: u32,
}

/// Frame_Header_Descriptor: which fields follow, and their lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor(u8);

impl Descriptor {
    /// `None` if the reserved bit is set. The unused bit is ignored.
    pub(super) fn parse(byte: u8) -> Option<Descriptor> {
        (byte & 0b0000_1000 == 0).then_some(Descriptor(byte))
    }

    /// Length of the fields between the descriptor and the first block.
    pub(super) fn fields_len(self) -> usize {
        usize::from(!self.is_single_segment()) + self.dictionary_id_len() + self.content_size_len()
    }

    fn is_single_segment(self) -> bool {
        self.0 & 0b0010_0000 != 0
    }

    fn dictionary_id_len(self) -> usize {
        [0, 1, 2, 4][usize::from(self.0 & 3)]
    }

    fn content_size_len(self) -> usize {
        match self.0 >> 6 {
            0 => usize::from(self.is_single_segment()),
            flag => 1 << flag,
        }
    }
}

impl FrameHeader {
    /// Parses `fields`, which are [`fields_len`](Descriptor::fields_len) bytes long.
    pub(super) fn parse(descriptor: Descriptor, fields: &[u8]) -> FrameHeader {
        let (window, fields) = fields.split_at(usize::from(!descriptor.is_single_segment()));
        let (dictionary_id, content_size) = fields.split_at(descriptor.dictionary_id_len());
        let content_bytes = match content_size.len() {
            0 => None,
            2 => Some(little_endian(content_size) + 256),
            _ => Some(little_endian(content_size)),
        };
        FrameHeader {
            content_bytes,
            window_bytes: window.first().map_or(content_bytes.unwrap_or(0), |window| window_bytes(*window)),
            has_checksum: descriptor.0 & 0b0000_0100 != 0,
            dictionary_id: u32::try_from(little_endian(dictionary_id)).expect("four bytes at most"),
        }
    }

    /// Block_Maximum_Size.
    pub(super) fn block_bytes_max(&self) -> u64 {
        self.window_bytes.min(BLOCK_BYTES_MAX)
    }
}

/// Window_Size from Window_Descriptor: an exponent and eighths.
fn window_bytes(descriptor: u8) -> u64 {
    let base = 1u64 << (10 + (descriptor >> 3));
    base + base / 8 * u64::from(descriptor & 7)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) is_last: bool,
    pub(super) kind: BlockKind,
    /// Block_Size.
    pub(super) bytes: u32,
}

/// Block_Type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    Raw,
    Rle,
    Compressed,
    Reserved,
}

impl BlockHeader {
    pub(super) fn parse(bytes: &[u8]) -> BlockHeader {
        let header = u32::try_from(little_endian(bytes)).expect("three bytes");
        let kind = match (header >> 1) & 3 {
            0 => BlockKind::Raw,
            1 => BlockKind::Rle,
            2 => BlockKind::Compressed,
            _ => BlockKind::Reserved,
        };
        BlockHeader { is_last: header & 1 != 0, kind, bytes: header >> 3 }
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_the_example_of_the_specification() {
        assert_eq!([0, 1, 8, 0xFF].map(window_bytes), [1024, 1152, 2048, (1 << 41) + (7 << 38)]);
    }

    #[test]
    fn fields_are_as_long_as_the_descriptor_says() {
        let len = |byte| Descriptor::parse(byte).map(Descriptor::fields_len);
        assert_eq!(len(0x00), Some(1), "a window alone");
        assert_eq!(len(0x20), Some(1), "a single segment always declares its size");
        assert_eq!(len(0xC3), Some(1 + 4 + 8));
        assert!((0..=255).filter_map(len).all(|len| (1..=FIELDS_LEN_MAX).contains(&len)));
        assert_eq!(len(0x08), None, "the reserved bit");
        assert!(len(0x10).is_some(), "the unused bit");
    }

    #[test]
    fn two_byte_sizes_start_at_256() {
        let header = FrameHeader::parse(Descriptor::parse(0x60).unwrap(), &[0, 0]);
        assert_eq!((header.content_bytes, header.window_bytes), (Some(256), 256));
    }
}
