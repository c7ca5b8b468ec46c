//! Errors of a batch and of its files.

use std::io;

use super::journal::JournalError;
use crate::pipeline::error::Failure;
use crate::pipeline::kind::Kind;
use crate::store::error::StoreError;
use crate::task::error::{TaskError, TaskFailure};

/// An error of one file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The task failed.
    #[error(transparent)]
    Task(Box<TaskFailure>),
    /// A step before or after the task failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output was restored completely from an earlier version of the input; salvage would replace it by less.
    #[error("{0} was restored whole, from what has changed since")]
    RestoredBefore(String),
    /// The output may be the only copy of an input that `--rm` deleted.
    #[error("{0} already exists, and may be all there is of an input that --rm deleted")]
    OnlyCopy(String),
    /// The output exists, but not as an earlier run wrote it.
    #[error("{0} already exists and was not written by an earlier run, or has changed since")]
    NotOurs(String),
    /// The input changed while it was read, and the output would have replaced it.
    #[error("it changed while it was read, and stays as it is")]
    Changed,
    /// The journal could not record the output, so it was not renamed.
    #[error("cannot write the journal: {0}")]
    Journal(io::Error),
    /// The file differs from its record in the journal.
    #[error("{0}: it is not what the journal says was written")]
    NotAsWritten(String),
    /// The file's content differs from its input's.
    #[error("{0}: its content is not what was read")]
    NotAsRead(String),
}

impl From<TaskFailure> for FileError {
    fn from(failure: TaskFailure) -> FileError {
        FileError::Task(Box::new(failure))
    }
}

impl FileError {
    /// The failure's kind.
    pub fn kind(&self) -> Kind {
        match self {
            FileError::Task(failure) => failure.error.kind(),
            FileError::Store(error) => error.kind(),
            FileError::RestoredBefore(_) | FileError::OnlyCopy(_) | FileError::NotOurs(_) => Kind::WouldOverwrite,
            FileError::Changed => Kind::Changed,
            FileError::Journal(_) => Kind::JournalUnusable,
            FileError::NotAsWritten(_) | FileError::NotAsRead(_) => Kind::JournalDiffers,
        }
    }

    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            FileError::Task(failure) => failure.error.is_transient(),
            FileError::Store(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// Why an input that is not a file of the plan, such as an unreadable directory, was skipped or failed.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// It is a special file, which is skipped.
    #[error("it is {0}")]
    Special(&'static str),
    /// A killed run left it.
    #[error("a run that was killed while it replaced a file left it; it may be newer than what has its place now")]
    LeftSwap,
    /// Its output would have a reserved name, so it is skipped.
    #[error("its output would have a name that journals or temporaries have")]
    ReservedName,
    /// Its metadata cannot be read.
    #[error("cannot look at it: {0}")]
    LookAt(io::Error),
    /// A walk cannot read it.
    #[error("cannot read it: {}", walk_reason(.0))]
    Walk(ignore::Error),
    /// It is a followed link to a directory above it.
    #[error("it leads back to a directory that it is in")]
    Loop,
    /// Its directory cannot be created.
    #[error("cannot make it in {tree}: {source}")]
    Directory {
        /// The output directory, as messages show it.
        tree: String,
        /// The system's error.
        source: io::Error,
    },
    /// Its link cannot be created.
    #[error("cannot make the link in {tree}: {source}")]
    Link {
        /// The output directory, as messages show it.
        tree: String,
        /// The system's error.
        source: io::Error,
    },
    /// A directory cannot be flushed to disk.
    #[error("cannot sync it: {0}")]
    Sync(io::Error),
    /// A directory's mode and times cannot be set.
    #[error("cannot set mode and times: {0}")]
    ModeAndTimes(io::Error),
    /// An output that the journal knows does not exist.
    #[error("it is missing: the journal knows it")]
    Missing,
    /// An output does not exist, and `--rm` deleted its input.
    #[error("it is missing, and --rm had deleted its input; --force forgets it")]
    Lost,
}

/// The reason of a walk's error, without the path, which its text repeats.
fn walk_reason(error: &ignore::Error) -> String {
    error.io_error().map_or_else(|| error.to_string(), |error| error.kind().to_string())
}

impl EntryError {
    /// The failure's kind; `None` for an input that is skipped.
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            EntryError::Special(_) | EntryError::ReservedName | EntryError::LeftSwap => return None,
            EntryError::LookAt(error) => Kind::of_io(error, Kind::Read),
            EntryError::Walk(error) => error.io_error().map_or(Kind::Read, |error| Kind::of_io(error, Kind::Read)),
            EntryError::Loop => Kind::Read,
            EntryError::Directory { source, .. } | EntryError::Link { source, .. } => Kind::of_io(source, Kind::Write),
            EntryError::ModeAndTimes(error) => Kind::of_io(error, Kind::Write),
            EntryError::Sync(_) => Kind::Sync,
            EntryError::Missing | EntryError::Lost => Kind::JournalDiffers,
        })
    }

    /// Whether the input was skipped, not failed.
    pub fn is_skip(&self) -> bool {
        self.kind().is_none()
    }
}

/// An error that prevents or ends a batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A step on its own thread was stopped or could not be started.
    #[error(transparent)]
    Run(#[from] Failure),
    /// A file or directory failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Keys or passphrases could not be read.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A glob is invalid.
    #[error("{flag} {glob}: {error}")]
    Glob {
        /// The flag.
        flag: &'static str,
        /// Its value, as messages show it.
        glob: String,
        /// The error.
        error: String,
    },
    /// A list of names is unreadable.
    #[error("{list}")]
    List {
        /// The list, as messages show it.
        list: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A list of names exceeds the limit.
    #[error("{0} is longer than a list may be")]
    ListTooLong(String),
    /// A listed name would lead out of the output.
    #[error("the list names {0}, which would lead out of the output")]
    LeadsOut(String),
    /// The output would be in an input directory.
    #[error("the output, {0}, would be in a directory that is read")]
    OutputInInput(String),
    /// Two inputs would be written to one output.
    #[error("{first} and {second} would both be written to {output}")]
    Collision {
        /// An input.
        first: String,
        /// The other input.
        second: String,
        /// The output of both.
        output: String,
    },
    /// An output is an input.
    #[error("{output}, the output of {input}, is an input")]
    OutputIsInput {
        /// The output.
        output: String,
        /// Its input.
        input: String,
    },
    /// The output directory cannot be opened or created.
    #[error("cannot write to {path}")]
    Tree {
        /// The directory.
        path: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The output exists and is not a directory.
    #[error("cannot write to {0}: {0} is no directory")]
    NotADirectory(String),
    /// The mode of the output directory cannot be set.
    #[error("cannot set the mode of {path}")]
    TreeMode {
        /// The directory.
        path: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A tree's journal is unusable.
    #[error("{tree}: {error}")]
    Journal {
        /// The tree, as messages show it.
        tree: String,
        /// The cause.
        error: JournalError,
    },
    /// A tree's journal cannot be opened.
    #[error("cannot open the journal of {tree}: {error}")]
    JournalIo {
        /// The tree, as messages show it.
        tree: String,
        /// The system's error.
        error: io::Error,
    },
    /// The journal cannot be written.
    #[error("cannot write the journal")]
    JournalWrite(#[source] io::Error),
}

impl BatchError {
    /// The failure's kind.
    pub fn kind(&self) -> Kind {
        match self {
            BatchError::Run(failure) => failure.cause.kind(),
            BatchError::Store(error) => error.kind(),
            BatchError::Task(error) => error.kind(),
            BatchError::Glob { .. }
            | BatchError::LeadsOut(_)
            | BatchError::OutputInInput(_)
            | BatchError::Collision { .. }
            | BatchError::OutputIsInput { .. } => Kind::Usage,
            BatchError::List { source, .. } => Kind::of_io(source, Kind::Read),
            BatchError::ListTooLong(_) => Kind::Read,
            BatchError::Tree { source, .. } | BatchError::TreeMode { source, .. } => Kind::of_io(source, Kind::Write),
            BatchError::NotADirectory(_) => Kind::WrongFileType,
            BatchError::Journal { error: JournalError::Locked, .. } => Kind::JournalLocked,
            BatchError::Journal { error: JournalError::Newer { .. }, .. } => Kind::JournalNewer,
            BatchError::Journal { .. } | BatchError::JournalIo { .. } | BatchError::JournalWrite(_) => {
                Kind::JournalUnusable
            }
        }
    }
}
