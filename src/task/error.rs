//! Why a task failed: a typed error, with what was being done to which input.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::format::age::keys::KeyError;
use crate::format::zstd::seek_table::TableError;
use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::kind::Kind;
use crate::store::error::StoreError;
use crate::store::producer::CommandFailed;

use super::Verb;

/// What a task can fail with.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A run of the pipeline, or a step beside it, failed.
    #[error(transparent)]
    Run(Failure),
    /// A file, a stream or the terminal failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A recipient, an identity or a passphrase cannot be used.
    #[error(transparent)]
    Key(#[from] KeySourceError),
    /// The process could not get what a task needs to start: descriptors, or the right to turn core dumps off.
    #[error("cannot {0}")]
    Start(&'static str, #[source] io::Error),
    /// The recipients could not be encrypted to.
    #[error(transparent)]
    Wrap(KeyError),
    /// The command whose output is the input failed.
    #[error("the command failed, {0}")]
    CommandFailed(ExitStatus),
    /// The input is neither a zstd nor an age file.
    #[error("it is neither a zstd nor an age file: it begins with {0}")]
    Unrecognized(String),
    /// The input is empty.
    #[error("it is empty: it has neither an age header nor a zstd frame")]
    Empty,
    /// The input has to be an age file, and is something else.
    #[error("it is not an age file")]
    NotAge,
    /// Only the age layer was to be removed, and there is none.
    #[error("--no-decompress takes off an age layer, and it has none")]
    NoAgeLayer,
    /// Salvage seeks in the payload, which armor does not allow.
    #[error("--salvage reads binary age files, this one is in armor")]
    SalvageArmored,
    /// A valid seek table is required, and the file has none.
    #[error("{0}")]
    TableRequired(TableError),
    /// A bare compressed file has no valid seek table, so a cut between frames cannot be excluded.
    #[error("{0}, so frames that are missing would not be noticed")]
    TableMissing(TableError),
    /// The output was written, and reading it back showed that it is wrong.
    #[error("what was written is not right")]
    ReadBack(#[source] Box<TaskError>),
    /// The output's seek table does not describe the frames that were written.
    #[error("{0}")]
    TableWrong(TableError),
    /// The output holds another amount of content than was read.
    #[error("it holds {decoded_bytes} bytes of content, {read_bytes} were read")]
    WrongLength {
        /// Bytes in the output.
        decoded_bytes: u64,
        /// Bytes read from the input.
        read_bytes: u64,
    },
    /// The output holds other content than was read.
    #[error("its content is not what was read")]
    WrongContent,
    /// The output's age header is not the one that was written.
    #[error("its header is not what was written")]
    WrongHeader,
    /// The original that the content is compared with differs.
    #[error("{original} differs from the content at byte {at}")]
    OriginalDiffers {
        /// Its name.
        original: String,
        /// The first byte that differs.
        at: u64,
    },
    /// The original that the content is compared with cannot be read.
    #[error("{original} cannot be read: {source}")]
    OriginalUnreadable {
        /// Its name.
        original: String,
        /// Why.
        source: io::Error,
    },
    /// The input changed while it was read, and the output would have replaced it.
    #[error("it changed while it was read, and stays as it is")]
    Changed,
}

/// Why a source of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    /// It cannot be read.
    #[error("{what}")]
    Io {
        /// The source, with its name.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A recipient in it is not valid.
    #[error("{place}: {error}")]
    Recipient {
        /// The flag, or the file and line.
        place: String,
        /// What is wrong.
        error: KeyError,
        /// The flag's value is the name of a file that exists.
        is_file: bool,
    },
    /// An identity in it is not valid.
    #[error("{place}: {error}")]
    Identity {
        /// The file and line.
        place: String,
        /// What is wrong.
        error: KeyError,
    },
    /// It holds no recipient.
    #[error("{0} holds no recipient")]
    NoRecipient(String),
    /// It holds no identity.
    #[error("{0} holds no identity")]
    NoIdentity(String),
    /// It is not UTF-8.
    #[error("{0} is no text")]
    NotText(String),
    /// A passphrase is not UTF-8.
    #[error("{0}: the passphrase is no text")]
    PassphraseNotText(String),
    /// A passphrase is empty.
    #[error("{0}: the passphrase is empty")]
    PassphraseEmpty(String),
    /// A variable that should name a descriptor does not.
    #[error("AGE_PASSPHRASE_FD is no number")]
    NotADescriptor,
    /// It is itself encrypted and could not be opened.
    #[error("{what}")]
    Locked {
        /// The source, with its name.
        what: String,
        /// Why.
        #[source]
        source: Box<TaskError>,
    },
}

impl KeySourceError {
    /// The kind of failure.
    pub fn kind(&self) -> Kind {
        match self {
            KeySourceError::Io { source, .. } => Kind::of_io(source, Kind::Read),
            KeySourceError::Locked { source, .. } => source.kind(),
            KeySourceError::Recipient { .. }
            | KeySourceError::Identity { .. }
            | KeySourceError::NoRecipient(_)
            | KeySourceError::NoIdentity(_)
            | KeySourceError::NotText(_)
            | KeySourceError::PassphraseNotText(_)
            | KeySourceError::PassphraseEmpty(_)
            | KeySourceError::NotADescriptor => Kind::BadKey,
        }
    }
}

impl From<Failure> for TaskError {
    /// The reading stage reports a command that failed as an unreadable input; this conversion finds the command's exit status.
    fn from(failure: Failure) -> TaskError {
        let failed = match &failure.cause {
            Cause::Read(error) => error.get_ref().and_then(|inner| inner.downcast_ref::<CommandFailed>()),
            _ => None,
        };
        match failed {
            Some(CommandFailed(status)) => TaskError::CommandFailed(*status),
            None => TaskError::Run(failure),
        }
    }
}

impl TaskError {
    /// The kind of failure.
    pub fn kind(&self) -> Kind {
        match self {
            TaskError::Run(failure) => failure.cause.kind(),
            TaskError::Store(error) => error.kind(),
            TaskError::Key(error) => error.kind(),
            TaskError::Start(..) => Kind::CannotStart,
            TaskError::Wrap(KeyError::MixedRecipients | KeyError::NoRecipient) | TaskError::NoAgeLayer => Kind::Usage,
            TaskError::Wrap(error) => error.kind(),
            TaskError::CommandFailed(_) => Kind::CommandFailed,
            TaskError::Unrecognized(_) => Kind::Unrecognized,
            TaskError::Empty => Kind::Empty,
            TaskError::NotAge | TaskError::SalvageArmored => Kind::NotAge,
            TaskError::TableRequired(error) | TaskError::TableMissing(error) | TaskError::TableWrong(error) => {
                error.kind()
            }
            TaskError::ReadBack(error) => error.kind(),
            TaskError::WrongLength { .. }
            | TaskError::WrongContent
            | TaskError::WrongHeader
            | TaskError::OriginalDiffers { .. } => Kind::ContentDiffers,
            TaskError::OriginalUnreadable { source, .. } => Kind::of_io(source, Kind::Read),
            TaskError::Changed => Kind::Changed,
        }
    }

    /// Whether another try may succeed: see [`StoreError::is_transient`].
    pub fn is_transient(&self) -> bool {
        match self {
            TaskError::Store(error) => error.is_transient(),
            TaskError::Run(Failure {
                cause: Cause::Read(error) | Cause::Write(error) | Cause::Spawn(error), ..
            }) => crate::store::error::is_transient(error),
            TaskError::Start(_, error) => crate::store::error::is_transient(error),
            _ => false,
        }
    }
}

/// A task's error with its place: what was being done to which input, and the output where writing it failed.
#[derive(Debug)]
pub struct TaskFailure {
    /// What was being done.
    pub verb: Verb,
    /// The input, as messages show it.
    pub input: String,
    /// The output that could not be written.
    pub output: Option<FailedOutput>,
    /// What was wrong with it.
    pub error: TaskError,
}

/// An output that could not be written.
#[derive(Clone, Debug)]
pub struct FailedOutput {
    /// As messages show it.
    pub name: String,
    /// It is standard output, whose reader may have closed the pipe.
    pub is_stdout: bool,
    /// It was written completely, and reading it back showed that it is wrong.
    pub is_wrong: bool,
}

impl std::fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.output {
            Some(output) if output.is_wrong => write!(f, "what was written to {} is not right", output.name),
            Some(output) => write!(f, "{} {}: {}", self.verb.command(), self.input, output.name),
            None => write!(f, "{} {}", self.verb.command(), self.input),
        }
    }
}

impl std::error::Error for TaskFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Something that a person should know and that is no failure.
#[derive(Debug)]
pub enum Notice {
    /// An identity file can be read by others than its owner.
    IdentityFileNotPrivate(PathBuf),
    /// A bare compressed file has no valid seek table, so that a cut between frames cannot be excluded.
    NoTable {
        /// The file, as messages show it.
        input: String,
        /// Why there is none.
        error: TableError,
    },
    /// A range is found by decoding from the start, since there is no seek table to use.
    NoTableForRange {
        /// The file, as messages show it.
        input: String,
        /// Why there is none.
        error: TableError,
    },
    /// The input changed while it was read.
    Changed(String),
    /// A file that is rekeyed in place has other names, which keep the old recipients.
    OtherNames {
        /// The file, as messages show it.
        input: String,
        /// How many names it has.
        name_count: u64,
    },
    /// The first segment of a damaged payload is lost, so the format of the content is detected from the segments that follow.
    FirstSegmentLost {
        /// Frames follow, so they are decoded.
        is_compressed: bool,
    },
    /// What was salvaged is not all of the file.
    Salvaged {
        /// The file, as messages show it.
        input: String,
        /// The output, as messages show it.
        output: String,
        /// What became of it.
        outcome: super::salvage::Outcome,
    },
}
