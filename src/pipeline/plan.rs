//! The plan of a run, fixed before it starts. One `match` on [`Work`] chooses the recipe; the code below it never checks again.

use std::num::NonZeroUsize;
use std::ops::Range;

use crate::format::age::cut::RUN_LEN;
use crate::format::age::stream::PayloadKey;
use crate::format::zstd::codec::Level;

use super::table::{Frames, Reopen};
use super::threads::Concurrency;

/// Everything that a run needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Workers and channel depth.
    pub width: Concurrency,
    /// Execution engine.
    pub engine: Engine,
    /// Layers to add or remove.
    pub work: Work,
}

impl Plan {
    /// The same plan with no more workers and no larger chunks than an input of `input_bytes` needs. The output stays the same.
    pub fn narrowed_to(mut self, input_bytes: Option<u64>) -> Plan {
        if let (Work::Process(Process { compress: Some(compress), .. }), Some(bytes)) = (&mut self.work, input_bytes) {
            // Not to the byte: with room left over, the first read shows that nothing follows.
            let needed_len = usize::try_from(bytes)
                .map_or(usize::MAX, |bytes| (bytes / CHUNK_GRAIN + 1).saturating_mul(CHUNK_GRAIN));
            compress.chunk_len = compress.chunk_len.min(needed_len);
        }
        let item_bytes = match &self.work {
            Work::Process(Process { compress: Some(compress), .. }) => compress.chunk_len as u64,
            Work::Process(_) => RUN_LEN as u64,
            Work::Restore(_) => RESTORE_BYTES_A_WORKER,
        };
        if let Some(bytes) = input_bytes {
            let items = usize::try_from(bytes.div_ceil(item_bytes)).unwrap_or(usize::MAX);
            let workers = self.width.workers.min(NonZeroUsize::new(items).unwrap_or(NonZeroUsize::MIN));
            self.width.workers = workers;
        }
        self
    }
}

/// Chunks are multiples of this, an age segment, so that both layers cut at the same places.
pub const CHUNK_GRAIN: usize = 64 * 1024;

/// Largest chunk, in bytes. Other decoders limit the window, which stays at 8 MiB.
pub const CHUNK_MAX: usize = 64 * 1024 * 1024;

/// Default capacity of each bounded channel, in items: enough for the jitter between stages. ARCHITECTURE.md gives its cost in memory.
pub const CHANNEL_DEPTH_DEFAULT: NonZeroUsize = NonZeroUsize::new(4).expect("4 is not 0");

/// Default limit on windows, as log2: 128 MiB, as in `zstd`.
pub const WINDOW_LOG_MAX_DEFAULT: u32 = 27;

/// Default limit on the scrypt work factor: a second on a fast machine, and a gibibyte of memory.
pub const WORK_FACTOR_MAX_DEFAULT: u8 = 20;

/// The level from which default chunks are larger: each cut costs more ratio there, and compression is slow anyway.
const LEVEL_HIGH: i32 = 9;

/// Default bytes of a chunk at `level`: 4 MiB, and 8 MiB from level 9 on.
pub fn chunk_len_default(level: Level) -> usize {
    if level.get() >= LEVEL_HIGH { 8 * 1024 * 1024 } else { 4 * 1024 * 1024 }
}

/// The zstd layer of content that is only to be encrypted and begins like a zstd file. Without it `restore`, which tells layers by their first
/// bytes, would decode the content itself.
pub fn layer_of_zstd() -> Compress {
    let level = Level::FASTEST;
    Compress { chunk_len: chunk_len_default(level), level }
}

/// Compressed bytes per worker of a restore. Few, since four mebibytes of zeros are a frame of 151 bytes.
const RESTORE_BYTES_A_WORKER: u64 = 1024;

/// Execution engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Stages over bounded channels.
    Channels,
    /// The legacy mutex mode. It restores and compresses; ranges always use the channels.
    Mutex {
        /// Available memory, in bytes; a larger input fails.
        available_bytes: u64,
    },
}

impl Engine {
    /// The engine without its parameters.
    pub fn kind(self) -> EngineKind {
        match self {
            Engine::Channels => EngineKind::Channels,
            Engine::Mutex { .. } => EngineKind::Mutex,
        }
    }

    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        self.kind().word()
    }
}

/// An engine without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// Stages over bounded channels.
    Channels,
    /// The legacy mutex mode.
    Mutex,
}

impl EngineKind {
    /// The name used on the command line.
    pub fn word(self) -> &'static str {
        match self {
            EngineKind::Channels => "channels",
            EngineKind::Mutex => "mutex",
        }
    }
}

/// What a run does to its input.
#[derive(Clone, Debug)]
pub enum Work {
    /// Compresses the input into zstd frames with a seek table, or encrypts it into an age payload, or both.
    Process(Process),
    /// Opens, decodes, or both.
    Restore(Restore),
}

impl Work {
    /// Name in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Work::Process(_) => "process",
            Work::Restore(_) => "restore",
        }
    }
}

/// Layers to add; at least one.
#[derive(Clone, Debug)]
pub struct Process {
    /// The inner layer: compression.
    pub compress: Option<Compress>,
    /// The outer layer: encryption.
    pub seal: Option<Seal>,
}

/// How the input is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compress {
    /// Chunk length in bytes, from 64 KiB to 64 MiB.
    pub chunk_len: usize,
    /// Compression level.
    pub level: Level,
}

/// How the output is encrypted.
#[derive(Clone, Debug)]
pub struct Seal {
    /// The key of this payload only.
    pub key: PayloadKey,
    /// The bytes before the payload: header and nonce.
    pub prefix: Vec<u8>,
}

/// Layers to remove.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The key of the outer layer; the input then begins with the first segment.
    pub open: Option<PayloadKey>,
    /// The inner layer.
    pub content: Content,
}

/// What the outer layer holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// zstd frames, which are decoded.
    Frames(Decompress),
    /// Anything, written unchanged.
    Plain(ContentRange),
}

/// What is decoded, and which part of it is written.
#[derive(Clone, Debug)]
pub struct Decompress {
    /// The largest window accepted, as log2.
    pub window_log_max: u32,
    /// Where in the compressed stream the input begins.
    pub start: Start,
    /// Which bytes of the content are written.
    pub range: ContentRange,
    /// What the frames are compared with.
    pub expect: Expect,
}

/// Where in the compressed stream the input begins; all zeros for the whole stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Frames before it.
    pub frame_index: u64,
    /// Bytes before it.
    pub offset: u64,
    /// Bytes of content before it.
    pub content_offset: u64,
}

/// Which bytes of the content are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentRange {
    /// All bytes.
    All,
    /// From this byte on; fewer bytes are an error.
    From(u64),
    /// The bytes in this range; fewer are an error.
    Within(Range<u64>),
}

/// What the frames are compared with.
#[derive(Clone, Debug)]
pub enum Expect {
    /// Seek tables in the stream; the verdict comes at the end.
    Tables,
    /// The same, and all of the stream is decoded for it, even if only a range of the content is wanted.
    AllTables,
    /// A table read before, from an entry on. A frame that differs is not written, unless it is streamed.
    Entries {
        /// The frames that it lists, from this input's first on.
        frames: Frames,
        /// The stream that holds the table.
        stream: Reopen,
    },
}
