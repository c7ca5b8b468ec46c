//! What can be wrong with a compressed stream, told apart as far as a caller or a test needs it.

/// A compressed stream that can not be decoded, with the place where this was seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZstdError {
    /// The stream does not begin with a zstd or skippable frame: it is a file of another kind.
    #[error("not a zstd file: it begins with {0}")]
    NotZstd(String),
    /// The stream breaks its format, or its bytes are not those that were written.
    #[error("frame {frame_index} at offset {offset}: {damage}")]
    Damaged {
        /// Frames before the damaged one, skippable frames not counted.
        frame_index: u64,
        /// Where the damaged frame begins in the compressed stream, in bytes.
        offset: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// The frame asks its decoder for a larger window than allowed.
    #[error(
        "frame {frame_index} at offset {offset}: needs a window of {window_bytes} bytes, more than the {window_bytes_max} allowed"
    )]
    WindowTooLarge {
        /// Frames before this one, skippable frames not counted.
        frame_index: u64,
        /// Where the frame begins in the compressed stream, in bytes.
        offset: u64,
        /// The window that the frame header asks for.
        window_bytes: u64,
        /// The largest window allowed.
        window_bytes_max: u64,
    },
    /// The frame was compressed with a dictionary, which this project does not offer.
    #[error(
        "frame {frame_index} at offset {offset}: needs the dictionary {dictionary_id}; dictionaries are not supported"
    )]
    NeedsDictionary {
        /// Frames before this one, skippable frames not counted.
        frame_index: u64,
        /// Where the frame begins in the compressed stream, in bytes.
        offset: u64,
        /// The dictionary's identifier.
        dictionary_id: u32,
    },
    /// libzstd could not compress, or could not be set up.
    #[error("libzstd: {0}")]
    Codec(&'static str),
    /// The seekable format can not describe that many frames.
    #[error("a seek table holds at most {0} frames; choose larger chunks")]
    TooManyFrames(u32),
}

impl ZstdError {
    /// Whether this says that the bytes are damaged (as against: of another kind, or beyond a limit).
    pub fn is_damage(&self) -> bool {
        matches!(self, ZstdError::Damaged { damage, .. } if *damage != Damage::NoMemory)
    }
}

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The input ends inside the frame.
    #[error("truncated: the input ends at offset {0}, inside the frame")]
    Truncated(u64),
    /// The bytes behind a frame begin neither a frame nor a skippable frame.
    #[error("trailing garbage: neither a zstd frame nor a skippable frame begins here, but {0}")]
    TrailingGarbage(String),
    /// A reserved bit of the frame header is set.
    #[error("the frame header sets a reserved bit")]
    ReservedBit,
    /// A block is of the reserved type.
    #[error("block {0} is of the reserved type")]
    ReservedBlock(u64),
    /// A block is larger than the frame's Block_Maximum_Size.
    #[error("block {block_index} says it holds {block_bytes} bytes, more than the {block_bytes_max} its frame allows")]
    BlockTooLarge {
        /// Blocks before this one in the frame.
        block_index: u64,
        /// The block's Block_Size.
        block_bytes: u32,
        /// The smaller of the window and 128 KiB.
        block_bytes_max: u64,
    },
    /// The content declared by the frame header and the content decoded differ in length.
    #[error("the header declares {declared_bytes} bytes of content, the blocks hold {decoded_bytes}")]
    ContentSize {
        /// Frame_Content_Size.
        declared_bytes: u64,
        /// Bytes decoded.
        decoded_bytes: u64,
    },
    /// The content does not have the checksum that was stored with it.
    #[error("checksum mismatch: the content is not what was compressed")]
    Checksum,
    /// The frame is not the one that the seek table tells of.
    #[error("does not agree with the seek table: {0}")]
    SeekTable(&'static str),
    /// There is no memory for the frame's window. Not the frame's fault.
    #[error("not enough memory to decode it")]
    NoMemory,
    /// libzstd refuses the frame's blocks.
    #[error("{0}")]
    Decode(&'static str),
}
