//! Names of stages and of the channels that join them.

use std::fmt;

/// A stage of a run, or a step outside the engine. Reports and failures name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Reads chunks, or runs of segments.
    Read,
    /// Reads a compressed stream, or takes opened segments, and splits it into frames.
    Find,
    /// Lays out frames, or the input, as runs of segments.
    Cut,
    /// Compresses chunks.
    Compress,
    /// Seals runs of segments.
    Seal,
    /// Opens runs of segments.
    Open,
    /// Decompresses frames.
    Decompress,
    /// Checks and writes in order.
    Write,
    /// The whole run of the legacy mutex mode.
    Mutex,
    /// A batch's schedule of files.
    List,
    /// A batch's workers.
    Files,
    /// A batch's commit.
    Commit,
    /// Wraps a file key for recipients.
    Wrap,
    /// Unwraps a file key with an identity.
    Unwrap,
    /// Copies a payload under a new header.
    Rekey,
    /// Recovers the intact parts of a damaged file.
    Salvage,
    /// Supervises the threads.
    Supervisor,
    /// A step outside the engine, by name.
    Step(&'static str),
}

impl Stage {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Read => "read",
            Stage::Find => "find",
            Stage::Cut => "cut",
            Stage::Compress => "compress",
            Stage::Seal => "seal",
            Stage::Open => "open",
            Stage::Decompress => "decompress",
            Stage::Write => "write",
            Stage::Mutex => "mutex",
            Stage::List => "list",
            Stage::Files => "files",
            Stage::Commit => "commit",
            Stage::Wrap => "wrap",
            Stage::Unwrap => "unwrap",
            Stage::Rekey => "rekey",
            Stage::Salvage => "salvage",
            Stage::Supervisor => "supervisor",
            Stage::Step(name) => name,
        }
    }

    /// Whether its work keeps a CPU busy, and so needs a CPU slot.
    pub const fn is_computing(self) -> bool {
        matches!(
            self,
            Stage::Compress
                | Stage::Seal
                | Stage::Open
                | Stage::Decompress
                | Stage::Wrap
                | Stage::Unwrap
                | Stage::Rekey
                | Stage::Salvage
        )
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A channel, by the stages it joins; shown as `from>to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Channel {
    /// The stage that sends.
    pub from: Stage,
    /// The stage that receives.
    pub to: Stage,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}>{}", self.from, self.to))
    }
}

/// A parallel stage between two serial ones.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The serial stage before it.
    pub before: Stage,
    /// The parallel stage.
    pub stage: Stage,
    /// The serial stage after it, which owns the reorder ring.
    pub behind: Stage,
}
