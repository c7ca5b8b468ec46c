//! Errors of files, streams, commands and the terminal.

use std::fmt;
use std::io;

use crate::pipeline::kind::Kind;

/// An error of `store`. Names are quoted, as messages show them.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call failed.
    #[error("cannot {}", .doing.to(.name))]
    Io {
        /// The operation that failed.
        doing: Doing,
        /// The quoted file name.
        name: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The input is a directory, where a file is expected.
    #[error("{0} is a directory")]
    InputIsDirectory(String),
    /// The output is a directory, where a file is expected.
    #[error("cannot write {0}: it is a directory")]
    OutputIsDirectory(String),
    /// The output exists and `--force` was not given.
    #[error("{0} already exists")]
    Exists(String),
    /// A file appeared at the destination, or the one to replace was changed or replaced; it stays as it is.
    #[error("{0} was made, changed or replaced by another program meanwhile, and stays as it is")]
    OutputChanged(String),
    /// Another program replaced the destination twice, or exchanging names back failed.
    #[error(
        "{output} was replaced by another program meanwhile; what it put there is {swap} now, in the same directory"
    )]
    Displaced {
        /// The output.
        output: String,
        /// The name of the other file.
        swap: String,
    },
    /// Another program removed or replaced the temporary.
    #[error("the temporary file of {0} was removed or replaced by another program")]
    TemporaryGone(String),
    /// The file system has no way to publish a new file without replacing one that appears meanwhile.
    #[error("cannot write {0}: its file system can neither rename without replacing nor make hard links")]
    CannotPublish(String),
    /// The output is the input, perhaps under another name.
    #[error("{input} and {output} are the same file")]
    SameFile {
        /// The input.
        input: String,
        /// The output.
        output: String,
    },
    /// A file that would be replaced or deleted is read for something else.
    #[error("{path} cannot be replaced or deleted: it is the file of {by}")]
    InUse {
        /// The file.
        path: String,
        /// The flag that names it.
        by: &'static str,
    },
    /// The output is a block device and `--force` was not given.
    #[error("{0} is a block device")]
    BlockDevice(String),
    /// The output's path does not end with a file name.
    #[error("cannot write {0}: not a file name")]
    NotAFileName(String),
    /// The output is a stream, which cannot be read back.
    #[error("{0} is no file that can be read back")]
    NotReadable(String),
    /// An input was a regular file when it was scanned and is not one now.
    #[error("{0} is no regular file any more")]
    NotRegular(String),
    /// The run was stopped before the output was renamed.
    #[error("stopped")]
    Stopped,
    /// There is no terminal, or the prompt got no answer.
    #[error("cannot ask for the {prompt}: {source}")]
    NoAnswer {
        /// The prompt's text.
        prompt: String,
        /// The cause.
        source: io::Error,
    },
    /// An empty passphrase was typed.
    #[error("{0}: the passphrase is empty")]
    EmptyPassphrase(String),
    /// The two entries of a new passphrase differ.
    #[error("the two passphrases differ")]
    PassphrasesDiffer,
}

/// An operation on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Open it for reading.
    Open,
    /// Read its metadata.
    LookAt,
    /// Read it.
    Read,
    /// Create its temporary.
    Create,
    /// Write it.
    Write,
    /// Read it back after writing.
    ReadBack,
    /// Set its mode and times.
    SetModeAndTimes,
    /// Flush it to disk.
    Sync,
    /// Replace it.
    Replace,
    /// Remove it after an output took its place.
    RemoveReplaced,
    /// Rename the temporary to it.
    Name,
    /// Flush its directory to disk.
    SyncDirectory,
    /// Start it as a command.
    Run,
}

impl Doing {
    /// The operation on `name` in words.
    fn to(self, name: &str) -> impl fmt::Display {
        let (verb, rest) = match self {
            Doing::Open => ("open", ""),
            Doing::LookAt => ("look at", ""),
            Doing::Read => ("read", ""),
            Doing::Create => ("create", ""),
            Doing::Write => ("write", ""),
            Doing::ReadBack => ("read", " back"),
            Doing::SetModeAndTimes => ("set mode and times of", ""),
            Doing::Sync => ("sync", ""),
            Doing::Replace => ("replace", ""),
            Doing::RemoveReplaced => ("remove", ", the file that was replaced: the output is complete"),
            Doing::Name => ("name", ""),
            Doing::SyncDirectory => ("sync the directory of", ", which is complete but may not survive a power cut"),
            Doing::Run => ("run", ""),
        };
        format!("{verb} {name}{rest}")
    }

    /// Converts a system error to the failure of this operation on `name`.
    pub fn failed(self, name: &str) -> impl FnOnce(io::Error) -> StoreError {
        move |source| StoreError::Io { doing: self, name: name.to_owned(), source }
    }
}

impl StoreError {
    /// The failure's kind.
    pub fn kind(&self) -> Kind {
        match self {
            StoreError::Io { doing: Doing::Sync | Doing::SyncDirectory, .. } => Kind::Sync,
            StoreError::Io { doing: Doing::Run, .. } => Kind::CommandFailed,
            StoreError::Io { doing: Doing::Open | Doing::LookAt | Doing::Read, source, .. } => {
                Kind::of_io(source, Kind::Read)
            }
            StoreError::Io { source, .. } => Kind::of_io(source, Kind::Write),
            StoreError::InputIsDirectory(_) | StoreError::OutputIsDirectory(_) | StoreError::NotRegular(_) => {
                Kind::WrongFileType
            }
            StoreError::Exists(_) | StoreError::BlockDevice(_) => Kind::WouldOverwrite,
            StoreError::OutputChanged(_) | StoreError::Displaced { .. } | StoreError::TemporaryGone(_) => Kind::Changed,
            StoreError::CannotPublish(_) => Kind::Write,
            StoreError::SameFile { .. } | StoreError::InUse { .. } => Kind::SameFile,
            StoreError::NotAFileName(_) => Kind::Write,
            StoreError::NotReadable(_) | StoreError::EmptyPassphrase(_) => Kind::Usage,
            StoreError::Stopped => Kind::Stopped,
            StoreError::NoAnswer { .. } => Kind::NoAnswer,
            StoreError::PassphrasesDiffer => Kind::NoAnswer,
        }
    }

    /// The file concerned, as messages show it.
    pub fn path(&self) -> Option<&str> {
        match self {
            StoreError::Io { name, .. }
            | StoreError::InputIsDirectory(name)
            | StoreError::OutputIsDirectory(name)
            | StoreError::Exists(name)
            | StoreError::OutputChanged(name)
            | StoreError::Displaced { output: name, .. }
            | StoreError::TemporaryGone(name)
            | StoreError::CannotPublish(name)
            | StoreError::SameFile { output: name, .. }
            | StoreError::InUse { path: name, .. }
            | StoreError::BlockDevice(name)
            | StoreError::NotAFileName(name)
            | StoreError::NotReadable(name)
            | StoreError::NotRegular(name) => Some(name),
            _ => None,
        }
    }

    /// Whether a retry may succeed: opening, reading, creating or writing failed for a
    /// transient reason. Never a sync: after a failed one, earlier writes may be lost.
    pub fn is_transient(&self) -> bool {
        match self {
            StoreError::Io { doing, source, .. } => match doing {
                Doing::Open | Doing::LookAt | Doing::Read | Doing::Create | Doing::Write | Doing::ReadBack => {
                    is_transient(source)
                }
                Doing::SetModeAndTimes
                | Doing::Sync
                | Doing::Replace
                | Doing::RemoveReplaced
                | Doing::Name
                | Doing::SyncDirectory
                | Doing::Run => false,
            },
            _ => false,
        }
    }
}

/// Whether `error` is transient: a slow network or disk, or a limit that other processes exhaust.
pub fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;

    // EIO, ENFILE, EMFILE, ENOBUFS, EREMOTEIO on Linux; the first three are the same on every Unix.
    let numbers = [5, 23, 24, 105, 121];
    let kinds = [
        Kind::Interrupted,
        Kind::WouldBlock,
        Kind::TimedOut,
        Kind::ResourceBusy,
        Kind::StaleNetworkFileHandle,
        Kind::ConnectionReset,
        Kind::ConnectionAborted,
        Kind::HostUnreachable,
        Kind::NetworkUnreachable,
        Kind::NetworkDown,
        Kind::OutOfMemory,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error().is_some_and(|number| numbers.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_transient_and_a_failed_sync_never_is() {
        let failed = |doing: Doing, number| doing.failed("'x'")(io::Error::from_raw_os_error(number)).is_transient();
        let [eio, enoent, enospc, timed_out] = [5, 2, 28, 110].map(|number| failed(Doing::Write, number));
        assert!(eio && !enoent && !enospc && timed_out);
        assert!(!failed(Doing::Sync, 5) && !failed(Doing::SyncDirectory, 5));
    }

    #[test]
    fn a_failure_says_what_was_being_done_to_which_file() {
        let said = |doing: Doing| doing.failed("'x'")(io::Error::from_raw_os_error(2)).to_string();
        assert_eq!([said(Doing::Open), said(Doing::ReadBack)], ["cannot open 'x'", "cannot read 'x' back"]);
    }
}
