//! Why a run failed: the first failure, with its stage and item.

use std::{fmt, io};

use crate::format::age::AgeError;
use crate::format::age::keys::KeyError;
use crate::format::zstd::{Damage, ZstdError};

use super::names::Stage;

/// The failure that ended a run.
#[derive(Debug)]
pub struct Failure {
    /// The stage where it occurred.
    pub stage: Stage,
    /// Index of the item, from 0; `None` if it concerns no item.
    pub seq: Option<u64>,
    /// Why it failed.
    pub cause: Cause,
}

/// Displays the cause; a defect of this program also shows where it occurred.
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

/// Why a stage failed.
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
    /// The age file is damaged, or no identity opens it.
    #[error(transparent)]
    Age(AgeError),
    /// The input to salvage is not an age file, and no frames are in it.
    #[error("it is neither a zstd nor an age file, and no frames are in it")]
    NoFrames,
    /// The input changed while it was read.
    #[error("it changed while it was read")]
    Changed,
    /// A range ends past the content.
    #[error("the range reaches to byte {range_end}, the content ends at byte {content_bytes}")]
    RangePastEnd {
        /// End of the range, in bytes.
        range_end: u64,
        /// Length of the content, in bytes.
        content_bytes: u64,
    },
    /// The input does not fit into memory. Only in the legacy mutex mode.
    #[error(
        "the mutex mode holds the whole input in memory: it needs {needed_bytes} bytes, {available_bytes} are available"
    )]
    Memory {
        /// Bytes needed.
        needed_bytes: u64,
        /// Bytes available.
        available_bytes: u64,
    },
    /// A buffer could not be allocated.
    #[error("no memory for a buffer of {bytes} bytes")]
    NoMemory {
        /// Its length, in bytes.
        bytes: u64,
    },
    /// The system provided no random bytes for a key.
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
    /// All stages ended, the writing one included, without a failure or a result: a defect of this program.
    #[error("internal error: the run ended before its end")]
    EndedEarly,
    /// A signal stopped the run.
    #[error("stopped by {0}")]
    Signal(Signal),
}

impl Cause {
    /// The cause of a failed read: damage of the input if the reader says so, as one that removes a layer does.
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
    /// SIGQUIT.
    Quit,
}

impl Signal {
    /// All signals that stop a run.
    pub const ALL: [Signal; 4] = [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::Quit];

    /// The system's number of the signal; the exit code is 128 plus this.
    pub fn number(self) -> i32 {
        match self {
            Signal::Hangup => 1,
            Signal::Interrupt => 2,
            Signal::Quit => 3,
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
            Signal::Quit => "SIGQUIT",
        })
    }
}

/// Why a stage stops early; `F` is the type of a failure.
#[derive(Debug)]
pub enum Stop<F = Cause> {
    /// A neighbouring stage is gone, and reports why itself.
    Closed,
    /// The run is being stopped.
    Cancelled,
    /// This stage failed.
    Failed(F),
}

impl Stop {
    /// Adds the stage, and the item `seq`, to a failure.
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

/// An error in the frame that begins at `offset`.
pub(super) fn damaged_frame(frame_index: u64, offset: u64, damage: Damage) -> Cause {
    Cause::Zstd(ZstdError::Damaged { frame_index, offset, damage })
}
