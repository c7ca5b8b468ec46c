//! Why a batch cannot begin, and why one of its files failed.

use std::io;

use super::journal::JournalError;
use crate::pipeline::error::Failure;
use crate::pipeline::kind::Kind;
use crate::store::error::StoreError;
use crate::task::error::{TaskError, TaskFailure};

/// Why one file of a batch failed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The task failed.
    #[error(transparent)]
    Task(Box<TaskFailure>),
    /// A step before or after the task failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output was restored completely from an input that has changed since, and salvage would replace it by less.
    #[error("{0} was restored whole, from what has changed since")]
    RestoredBefore(String),
    /// The output may be all there is of an input that `--rm` deleted.
    #[error("{0} already exists, and may be all there is of an input that --rm deleted")]
    OnlyCopy(String),
    /// The output exists and no earlier run wrote it as it is.
    #[error("{0} already exists and was not written by an earlier run, or has changed since")]
    NotOurs(String),
    /// The output that would be replaced is another file by now.
    #[error("it changed meanwhile, and stays as it is")]
    Replaced,
    /// The record of the output could not be written, so the output got no name.
    #[error("cannot write the journal: {0}")]
    Journal(io::Error),
    /// The file is not the one that the journal describes.
    #[error("{0}: it is not what the journal says was written")]
    NotAsWritten(String),
    /// The file's content is not what its input held.
    #[error("{0}: its content is not what was read")]
    NotAsRead(String),
}

impl From<TaskFailure> for FileError {
    fn from(failure: TaskFailure) -> FileError {
        FileError::Task(Box::new(failure))
    }
}

impl FileError {
    /// The kind of failure.
    pub fn kind(&self) -> Kind {
        match self {
            FileError::Task(failure) => failure.error.kind(),
            FileError::Store(error) => error.kind(),
            FileError::RestoredBefore(_) | FileError::OnlyCopy(_) | FileError::NotOurs(_) => Kind::WouldOverwrite,
            FileError::Replaced => Kind::Changed,
            FileError::Journal(_) => Kind::JournalUnusable,
            FileError::NotAsWritten(_) | FileError::NotAsRead(_) => Kind::JournalDiffers,
        }
    }

    /// Whether another try may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            FileError::Task(failure) => failure.error.is_transient(),
            FileError::Store(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// Why a batch cannot begin, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A step on a thread of its own was stopped, or could not be started.
    #[error(transparent)]
    Run(#[from] Failure),
    /// A file or directory failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Keys could not be read.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A glob is not valid.
    #[error("{flag} {glob}: {error}")]
    Glob {
        /// The flag.
        flag: &'static str,
        /// Its value, as messages show it.
        glob: String,
        /// What is wrong.
        error: String,
    },
    /// A list of names cannot be read.
    #[error("{list}")]
    List {
        /// The list, as messages show it.
        list: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A list of names is longer than a list may be.
    #[error("{0} is longer than a list may be")]
    ListTooLong(String),
    /// A listed name would lead out of the output.
    #[error("the list names {0}, which would lead out of the output")]
    LeadsOut(String),
    /// The output would be in a directory that is read.
    #[error("the output, {0}, would be in a directory that is read")]
    OutputInInput(String),
    /// Two inputs would be written to one output.
    #[error("{first} and {second} would both be written to {output}")]
    Collision {
        /// An input.
        first: String,
        /// The other one.
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
    /// The directory of all outputs cannot be opened or made.
    #[error("cannot write to {path}")]
    Tree {
        /// The directory.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What should be the directory of all outputs is something else.
    #[error("cannot write to {0}: {0} is no directory")]
    NotADirectory(String),
    /// The mode of the directory of all outputs cannot be set.
    #[error("cannot set the mode of {path}")]
    TreeMode {
        /// The directory.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The journal of a tree cannot be used.
    #[error("{tree}: {error}")]
    Journal {
        /// The tree, as messages show it.
        tree: String,
        /// Why.
        error: JournalError,
    },
    /// The journal of a tree cannot be opened.
    #[error("cannot open the journal of {tree}: {error}")]
    JournalIo {
        /// The tree, as messages show it.
        tree: String,
        /// What the system said.
        error: io::Error,
    },
    /// The journal cannot be written.
    #[error("cannot write the journal")]
    JournalWrite(#[source] io::Error),
}

impl BatchError {
    /// The kind of failure.
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
