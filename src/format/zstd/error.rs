//! Errors of compressed streams, as detailed as callers and tests need.

/// Why a stream cannot be compressed or decoded, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZstdError {
    /// The stream begins with neither a zstd nor a skippable frame: it is another kind of file.
    #[error("not a zstd file: it begins with {0}")]
    NotZstd(String),
    /// The stream violates its format, or its bytes were changed.
    #[error("frame {frame_index} at offset {offset}: {damage}")]
    Damaged {
        /// Index of the damaged frame; skippable frames are not counted.
        frame_index: u64,
        /// Offset of the damaged frame in the compressed stream, in bytes.
        offset: u64,
        /// Kind of damage.
        damage: Damage,
    },
    /// The frame needs a larger window than allowed.
    #[error(
        "frame {frame_index} at offset {offset}: needs a window of {window_bytes} bytes, more than the {window_bytes_max} allowed"
    )]
    WindowTooLarge {
        /// Index of the frame; skippable frames are not counted.
        frame_index: u64,
        /// Offset of the frame in the compressed stream, in bytes.
        offset: u64,
        /// The window in the frame header, in bytes.
        window_bytes: u64,
        /// The largest window allowed, in bytes.
        window_bytes_max: u64,
    },
    /// The frame was compressed with a dictionary, which is not supported.
    #[error(
        "frame {frame_index} at offset {offset}: needs the dictionary {dictionary_id}; dictionaries are not supported"
    )]
    NeedsDictionary {
        /// Index of the frame; skippable frames are not counted.
        frame_index: u64,
        /// Offset of the frame in the compressed stream, in bytes.
        offset: u64,
        /// Dictionary_ID in the frame header.
        dictionary_id: u32,
    },
    /// libzstd failed to compress or to create a context.
    #[error("libzstd: {0}")]
    Codec(&'static str),
    /// The output needs more frames than a seek table can list.
    #[error("a seek table holds at most {0} frames; choose larger chunks")]
    TooManyFrames(u32),
}

impl ZstdError {
    /// Whether the bytes are damaged, as opposed to another kind of file or beyond a limit.
    pub fn is_damage(&self) -> bool {
        matches!(self, ZstdError::Damaged { damage, .. } if *damage != Damage::NoMemory)
    }
}

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The input ends at this offset, inside the frame.
    #[error("truncated: the input ends at offset {0}, inside the frame")]
    Truncated(u64),
    /// The bytes after a frame begin neither a frame nor a skippable frame.
    #[error("trailing garbage: neither a zstd frame nor a skippable frame begins here, but {0}")]
    TrailingGarbage(String),
    /// A reserved bit of the frame header is set.
    #[error("the frame header sets a reserved bit")]
    ReservedBit,
    /// The block at this index has the reserved type.
    #[error("block {0} is of the reserved type")]
    ReservedBlock(u64),
    /// A block is larger than the frame's Block_Maximum_Size.
    #[error("block {block_index} says it holds {block_bytes} bytes, more than the {block_bytes_max} its frame allows")]
    BlockTooLarge {
        /// Index of the block in its frame.
        block_index: u64,
        /// The block's Block_Size.
        block_bytes: u32,
        /// The smaller of the window and 128 KiB, in bytes.
        block_bytes_max: u64,
    },
    /// The declared and the decoded content length differ.
    #[error("the header declares {declared_bytes} bytes of content, the blocks hold {decoded_bytes}")]
    ContentSize {
        /// Frame_Content_Size.
        declared_bytes: u64,
        /// Bytes decoded.
        decoded_bytes: u64,
    },
    /// The content does not match its stored checksum.
    #[error("checksum mismatch: the content is not what was compressed")]
    Checksum,
    /// The frame differs from its entry in the seek table.
    #[error("does not agree with the seek table: {0}")]
    SeekTable(&'static str),
    /// Allocating the frame's window failed; the frame may be intact.
    #[error("not enough memory to decode it")]
    NoMemory,
    /// libzstd rejects the frame's blocks.
    #[error("{0}")]
    Decode(&'static str),
}
