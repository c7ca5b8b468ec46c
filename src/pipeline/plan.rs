//! What a run is to do, settled before it starts. One `match` on [`Work`] chooses the recipe; below it nobody asks again.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use crate::format::age::cut::RUN_LEN;
use crate::format::age::stream::PayloadKey;
use crate::format::zstd::codec::Level;
use crate::format::zstd::seek_table::SeekTable;

use super::threads::Concurrency;

/// Everything that a run needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Workers and channel depth.
    pub width: Concurrency,
    /// Execution engine.
    pub engine: Engine,
    /// What is done to them.
    pub work: Work,
}

impl Plan {
    /// The same plan without workers that an input of `input_bytes` has no items for, and without room for more in a chunk than there is.
    /// The output stays the same.
    pub fn narrowed_to(mut self, input_bytes: Option<u64>) -> Plan {
        if let (Work::Process(Process { compress: Some(compress), .. }), Some(bytes)) = (&mut self.work, input_bytes) {
            // Not to the byte: with room left over, the first read tells that nothing follows.
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

/// Chunks are whole age segments, so that both layers cut at the same places.
pub const CHUNK_GRAIN: usize = 64 * 1024;

/// The largest chunk; what other decoders limit is the window, which stays at 8 MiB.
pub const CHUNK_MAX: usize = 64 * 1024 * 1024;

/// Items that each bounded channel holds, unless something else is asked for: enough for the jitter between stages. ARCHITECTURE.md gives its
/// cost in memory.
pub const CHANNEL_DEPTH_DEFAULT: NonZeroUsize = NonZeroUsize::new(4).expect("4 is not 0");

/// The largest window accepted unless something else is asked for, as its logarithm to base 2: 128 MiB, as `zstd` has it.
pub const WINDOW_LOG_MAX_DEFAULT: u32 = 27;

/// The largest scrypt work factor accepted unless something else is asked for: a second on a fast machine, and a gibibyte of memory.
pub const WORK_FACTOR_MAX_DEFAULT: u8 = 20;

/// The level from which chunks are larger by default: each cut costs more ratio there, and time is spent anyway.
const LEVEL_HIGH: i32 = 9;

/// Bytes of a chunk at `level`, unless something else is asked for: 4 MiB, and 8 MiB from level 9 on.
pub fn chunk_len_default(level: Level) -> usize {
    if level.get() >= LEVEL_HIGH { 8 * 1024 * 1024 } else { 4 * 1024 * 1024 }
}

/// Compressed bytes for which another worker of a restore is started. Few, since four mebibytes of zeros are a frame of
/// 151 bytes.
const RESTORE_BYTES_A_WORKER: u64 = 1024;

/// Execution engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Stages over bounded channels.
    Channels,
    /// The legacy mutex mode. It restores and compresses; ranges always take the channels.
    Mutex {
        /// Memory at hand: a larger input is refused.
        available_bytes: u64,
    },
}

impl Engine {
    /// Which engine it is.
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

/// An engine, by name.
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

/// What is done.
#[derive(Clone, Debug)]
pub enum Work {
    /// The input into zstd frames and a seek table, or as it is; then into the segments of an age payload, or not.
    Process(Process),
    /// The way back.
    Restore(Restore),
}

impl Work {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Work::Process(_) => "process",
            Work::Restore(_) => "restore",
        }
    }
}

/// Which layers are put on. At least one is.
#[derive(Clone, Debug)]
pub struct Process {
    /// The inner layer.
    pub compress: Option<Compress>,
    /// The outer one.
    pub seal: Option<Seal>,
}

/// How the input is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compress {
    /// Bytes of a chunk, from 64 KiB to 64 MiB.
    pub chunk_len: usize,
    /// The level of compression.
    pub level: Level,
}

/// How what is written is encrypted.
#[derive(Clone, Debug)]
pub struct Seal {
    /// The key of this payload, and of no other.
    pub key: PayloadKey,
    /// What stands in front of the payload: header and nonce.
    pub prefix: Vec<u8>,
}

/// Which layers are taken off. At least one is.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The outer layer: the input then begins with the first segment.
    pub open: Option<PayloadKey>,
    /// The inner one.
    pub content: Content,
}

/// What is inside.
#[derive(Clone, Debug)]
pub enum Content {
    /// zstd frames, which are decoded.
    Frames(Decompress),
    /// Anything, written as it is.
    Plain(ContentRange),
}

/// What is decoded, and how much of it is written.
#[derive(Clone, Debug)]
pub struct Decompress {
    /// The largest window accepted, as its logarithm to base 2.
    pub window_log_max: u32,
    /// Where in the compressed stream the input begins.
    pub start: Start,
    /// Which bytes of the content are written.
    pub range: ContentRange,
    /// What the frames are held against.
    pub expect: Expect,
}

/// Where in the compressed stream the input begins: all zeros for the whole of it.
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
    /// All there are.
    All,
    /// Those from a byte on; it is an error if there are fewer.
    From(u64),
    /// Those in between; it is an error if there are fewer.
    Within(Range<u64>),
}

/// What the frames are held against.
#[derive(Clone, Debug)]
pub enum Expect {
    /// Seek tables that come by; what became of them is told at the end.
    Tables,
    /// A table read before, from an entry on. Nothing of a frame that differs is written, but for one that is streamed.
    Entries {
        /// The table.
        table: Arc<SeekTable>,
        /// The entry of the first frame of this input.
        first_index: u64,
    },
}
