//! Why a run failed: the first failure, with the stage and the item it was seen at.

use std::{fmt, io};

use crate::format::age::AgeError;
use crate::format::age::keys::KeyError;
use crate::format::zstd::{Damage, ZstdError};

use super::names::Stage;

/// The failure that ended a run.
#[derive(Debug)]
pub struct Failure {
    /// The stage that saw it.
    pub stage: Stage,
    /// The item it worked on, counted from 0; `None` where it worked on none.
    pub seq: Option<u64>,
    /// What it was.
    pub cause: Cause,
}

/// Speaks as its cause does; a defect of this program also says where it was seen.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        match (&self.cause, self.seq) {
            (Cause::Panicked(_) | Cause::EndedEarly, Some(seq)) => write!(f, " (stage {}, item {seq})", self.stage),
            (Cause::Panicked(_) | Cause::EndedEarly | Cause::Spawn(_), _) => write!(f, " (stage {})", self.stage),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

/// What a stage can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The input could not be read.
    #[error("cannot read")]
    Read(#[source] io::Error),
    /// The output could not be written.
    #[error("cannot write")]
    Write(#[source] io::Error),
    /// The compressed stream is damaged or beyond a limit, or libzstd failed.
    #[error(transparent)]
    Zstd(ZstdError),
    /// The age file is damaged, or nobody here can open it.
    #[error(transparent)]
    Age(AgeError),
    /// A range ends behind the content.
    #[error("the range reaches to byte {range_end}, the content ends at byte {content_bytes}")]
    RangePastEnd {
        /// Where the range ends.
        range_end: u64,
        /// Length of the content.
        content_bytes: u64,
    },
    /// The input does not fit into memory, which only the legacy mutex mode asks for.
    #[error(
        "the mutex mode holds the whole input in memory: it needs {needed_bytes} bytes, {available_bytes} are available"
    )]
    Memory {
        /// Bytes that would be held.
        needed_bytes: u64,
        /// Bytes at hand.
        available_bytes: u64,
    },
    /// There is no memory for a buffer.
    #[error("no memory for a buffer of {bytes} bytes")]
    NoMemory {
        /// Its length.
        bytes: u64,
    },
    /// The system gave no random bytes for a key.
    #[error("cannot get random bytes")]
    Random(#[source] io::Error),
    /// A file key could not be wrapped for the recipients.
    #[error(transparent)]
    Wrap(KeyError),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Spawn(#[source] io::Error),
    /// A thread panicked: a defect of this program.
    #[error("internal error: {0}")]
    Panicked(String),
    /// All stages ended, the one that writes among them, and none said why: a defect of this program.
    #[error("internal error: the run ended before its end")]
    EndedEarly,
    /// The run was asked to stop.
    #[error("stopped by {0}")]
    Signal(Signal),
}

impl Cause {
    /// A read that failed: the input's own damage where the reader says so, as one does that takes a layer off.
    pub fn of_read(error: io::Error) -> Cause {
        error.downcast::<AgeError>().map_or_else(Cause::Read, Cause::Age)
    }
}

impl From<ZstdError> for Cause {
    fn from(error: ZstdError) -> Cause {
        Cause::Zstd(error)
    }
}

/// A signal that stops a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP.
    Hangup,
}

impl Signal {
    /// All that a run can be stopped by.
    pub const ALL: [Signal; 3] = [Signal::Interrupt, Signal::Terminate, Signal::Hangup];

    /// The number that the system knows it by; an exit code is 128 and this.
    pub fn number(self) -> i32 {
        match self {
            Signal::Hangup => 1,
            Signal::Interrupt => 2,
            Signal::Terminate => 15,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Interrupt => "SIGINT",
            Signal::Terminate => "SIGTERM",
            Signal::Hangup => "SIGHUP",
        })
    }
}

/// Why a stage stops before its end; `F` says how much is known of a failure.
#[derive(Debug)]
pub enum Stop<F = Cause> {
    /// A neighbour is gone, and reports why itself.
    Closed,
    /// The run is being ended.
    Cancelled,
    /// This stage failed.
    Failed(F),
}

impl Stop {
    /// The same of a stage, at the item `seq`.
    pub(super) fn at(self, stage: Stage, seq: Option<u64>) -> Stop<Failure> {
        match self {
            Stop::Closed => Stop::Closed,
            Stop::Cancelled => Stop::Cancelled,
            Stop::Failed(cause) => Stop::Failed(Failure { stage, seq, cause }),
        }
    }
}

impl From<Cause> for Stop {
    fn from(cause: Cause) -> Stop {
        Stop::Failed(cause)
    }
}

impl From<ZstdError> for Stop {
    fn from(error: ZstdError) -> Stop {
        Stop::Failed(Cause::Zstd(error))
    }
}

/// An error about the frame that begins at `offset`.
pub(super) fn damaged_frame(frame_index: u64, offset: u64, damage: Damage) -> Cause {
    Cause::Zstd(ZstdError::Damaged { frame_index, offset, damage })
}
