//! Task errors, and the operation and input that they concern.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::format::age::keys::KeyError;
use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::kind::Kind;
use crate::store::attributes::Unkept;
use crate::store::error::StoreError;
use crate::store::producer::CommandFailed;

use super::verb::Verb;
use crate::format::zstd::seek_table::{TableError, TableStatus};
use crate::pipeline::salvage::Salvaged;

/// An error of a task.
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
    /// The process could not get random bytes or disable core dumps.
    #[error("cannot {0}")]
    Start(&'static str, #[source] io::Error),
    /// The file key could not be wrapped for the recipients.
    #[error(transparent)]
    Wrap(KeyError),
    /// The command whose output is the input failed.
    #[error("the command failed, {0}")]
    CommandFailed(ExitStatus),
    /// The input is neither a zstd nor an age file.
    #[error("it is neither a zstd nor an age file: it begins with {0}")]
    Unrecognized(String),
    /// The input is a zstd file of a format before version 1 (0.2 to 0.7).
    #[error("it is a zstd file of the old format 0.{0}, which is not supported")]
    OldZstd(u8),
    /// The input ends within the magic number of a zstd frame.
    #[error("it is cut short: it ends inside zstd's magic number")]
    CutMagic,
    /// The input ends within the first line of an age file.
    #[error("it is cut short: it ends inside age's first line")]
    CutAgeLine,
    /// The input is empty.
    #[error("it is empty: it has neither an age header nor a zstd frame")]
    Empty,
    /// The input must be an age file and is not.
    #[error("it is not an age file")]
    NotAge,
    /// `--no-decompress` was given, but the input has no age layer.
    #[error("--no-decompress takes off an age layer, and it has none")]
    NoAgeLayer,
    /// Salvage seeks in the payload, which armor does not allow.
    #[error("--salvage reads binary age files, this one is in armor")]
    SalvageArmored,
    /// A valid seek table is required, and the file has none.
    #[error("{0}")]
    TableRequired(TableError),
    /// The seek table contradicts the frames.
    #[error("{0}: a frame is damaged, or frames are missing")]
    TableContradicts(TableError),
    /// A bare compressed file has no valid seek table, so a cut between frames cannot be excluded.
    #[error("{0}, so frames that are missing would not be noticed")]
    TableMissing(TableError),
    /// Verifying the output by re-reading it failed.
    #[error("what was written is not right")]
    ReadBack(#[source] Box<TaskError>),
    /// The output's seek table does not describe its frames.
    #[error("{0}")]
    TableWrong(TableError),
    /// The length of the output's content differs from the input's.
    #[error("it holds {decoded_bytes} bytes of content, {read_bytes} were read")]
    WrongLength {
        /// Bytes of content in the output.
        decoded_bytes: u64,
        /// Bytes read from the input.
        read_bytes: u64,
    },
    /// The output's content differs from the input's.
    #[error("its content is not what was read")]
    WrongContent,
    /// The output's age header is not the one that was written.
    #[error("its header is not what was written")]
    WrongHeader,
    /// The content differs from the original.
    #[error("{original} differs from the content at byte {at}")]
    OriginalDiffers {
        /// The original's name.
        original: String,
        /// Offset of the first byte that differs.
        at: u64,
    },
    /// The original that the content is compared with cannot be read.
    #[error("{original} cannot be read: {source}")]
    OriginalUnreadable {
        /// The original's name.
        original: String,
        /// The cause.
        source: io::Error,
    },
    /// The input changed while it was read, and the output would have replaced it.
    #[error("it changed while it was read, and stays as it is")]
    Changed,
}

/// Why a key source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    /// It cannot be read.
    #[error("{what}")]
    Io {
        /// The source and its name.
        what: String,
        /// The system's error.
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
        /// The flag's value is the name of an existing file.
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
    /// Both variables for a passphrase are set.
    #[error("AGE_PASSPHRASE and AGE_PASSPHRASE_FD are both set")]
    TwoVariables,
    /// `AGE_PASSPHRASE_FD` is not a number.
    #[error("AGE_PASSPHRASE_FD is no number")]
    NotADescriptor,
    /// It is encrypted and could not be opened.
    #[error("{what}")]
    Locked {
        /// The source and its name.
        what: String,
        /// The cause.
        #[source]
        source: Box<TaskError>,
    },
}

impl KeySourceError {
    /// The failure's kind.
    pub fn kind(&self) -> Kind {
        match self {
            KeySourceError::Io { source, .. } => Kind::of_io(source, Kind::Read),
            KeySourceError::Locked { source, .. } => source.kind(),
            KeySourceError::TwoVariables => Kind::Usage,
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
    /// Extracts the exit status of a failed command, which the reading stage reports as an unreadable input.
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
    /// The failure's kind.
    pub fn kind(&self) -> Kind {
        match self {
            TaskError::Run(failure) => failure.cause.kind(),
            TaskError::Store(error) => error.kind(),
            TaskError::Key(error) => error.kind(),
            TaskError::Start(..) => Kind::CannotStart,
            TaskError::Wrap(KeyError::MixedRecipients | KeyError::NoRecipient) | TaskError::NoAgeLayer => Kind::Usage,
            TaskError::Wrap(error) => error.kind(),
            TaskError::CommandFailed(_) => Kind::CommandFailed,
            TaskError::Unrecognized(_) | TaskError::OldZstd(_) => Kind::Unrecognized,
            TaskError::CutMagic => Kind::TruncatedFrame,
            TaskError::CutAgeLine => Kind::DamagedHeader,
            TaskError::Empty => Kind::Empty,
            TaskError::NotAge | TaskError::SalvageArmored => Kind::NotAge,
            TaskError::TableRequired(error)
            | TaskError::TableContradicts(error)
            | TaskError::TableMissing(error)
            | TaskError::TableWrong(error) => error.kind(),
            TaskError::ReadBack(error) => error.kind(),
            TaskError::WrongLength { .. }
            | TaskError::WrongContent
            | TaskError::WrongHeader
            | TaskError::OriginalDiffers { .. } => Kind::ContentDiffers,
            TaskError::OriginalUnreadable { source, .. } => Kind::of_io(source, Kind::Read),
            TaskError::Changed => Kind::Changed,
        }
    }

    /// Whether a retry may succeed; see [`StoreError::is_transient`].
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

/// A task's error with its operation and input, and the output if writing it failed.
#[derive(Debug)]
pub struct TaskFailure {
    /// The operation.
    pub verb: Verb,
    /// The input, as messages show it.
    pub input: String,
    /// The output that could not be written.
    pub output: Option<FailedOutput>,
    /// The error.
    pub error: TaskError,
}

/// An output that could not be written.
#[derive(Clone, Debug)]
pub struct FailedOutput {
    /// Its name as messages show it.
    pub name: String,
    /// It is standard output, whose reader may have closed the pipe.
    pub is_stdout: bool,
    /// It was written completely, but failed verification.
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

/// The result of a salvage.
#[derive(Clone, Debug)]
pub struct SalvageOutcome {
    /// What was written and what is lost.
    pub salvaged: Salvaged,
    /// Status of the seek tables; `None` for a layer without them.
    pub table: Option<TableStatus>,
}

impl SalvageOutcome {
    /// Whether the seek tables contradict the frames, so that some may be missing.
    pub fn is_contradicted(&self) -> bool {
        !matches!(self.table, None | Some(TableStatus::Valid | TableStatus::Unusable(TableError::Missing)))
    }

    /// Whether no damage was found.
    pub fn is_whole(&self) -> bool {
        self.salvaged.is_whole() && !self.is_contradicted()
    }
}

/// A notice for the user that is not a failure.
#[derive(Debug)]
pub enum Notice {
    /// Others than its owner can read an identity file.
    IdentityFileNotPrivate(PathBuf),
    /// A bare compressed file has no valid seek table, so a cut between frames cannot be excluded.
    NoTable {
        /// The file, as messages show it.
        input: String,
        /// Why the table is unusable.
        error: TableError,
    },
    /// A range is found by decoding from the start, for lack of a usable seek table.
    NoTableForRange {
        /// The file, as messages show it.
        input: String,
        /// Why the table is unusable.
        error: TableError,
    },
    /// The input changed while it was read.
    Changed(String),
    /// An output could not get all attributes of its source.
    Unkept {
        /// The output, as messages show it.
        output: String,
        /// What it did not get.
        unkept: Vec<Unkept>,
    },
    /// A killed run left a file that it replaced, or was about to replace another with.
    LeftSwap {
        /// The file, as messages show it.
        swap: String,
        /// The output, as messages show it.
        output: String,
    },
    /// A file that is rekeyed in place has more hard links, which keep the old recipients.
    OtherNames {
        /// The file, as messages show it.
        input: String,
        /// Number of hard links.
        name_count: u64,
    },
    /// The first segment of a damaged payload is lost; later segments determine the content's format.
    FirstSegmentLost {
        /// They hold frames, which are decoded.
        is_compressed: bool,
    },
    /// The salvaged output lacks part of the file.
    Salvaged {
        /// The file, as messages show it.
        input: String,
        /// The output, as messages show it.
        output: String,
        /// What was salvaged and lost.
        outcome: SalvageOutcome,
    },
}
