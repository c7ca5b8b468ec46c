//! The exit code of a run, and the description of a failure.

use std::error::Error;
use std::io::ErrorKind;

use super::file::ReportError;
use super::notice;
use crate::batch::error::{BatchError, FileError};
use crate::pipeline::error::{Cause, Failure, Signal};
use crate::pipeline::kind::{Kind, Location};
use crate::store::error::StoreError;
use crate::task::error::{KeySourceError, TaskError, TaskFailure};

/// The result of the program, which gives its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success; the output is durable, unless `--no-sync` was given.
    Done,
    /// An I/O error, or any failure without its own code.
    Failed,
    /// Wrong usage.
    Usage,
    /// Done, with a warning.
    Warned,
    /// The data is damaged, truncated or not authentic.
    Damaged,
    /// No identity matches, the passphrase is wrong, or a plugin failed.
    NoKey,
    /// Stopped by a signal.
    Stopped(Signal),
    /// The reader of standard output closed the pipe.
    ReaderGone,
}

impl Exit {
    /// The exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Warned => 3,
            Exit::Damaged => 4,
            Exit::NoKey => 5,
            Exit::ReaderGone => 141,
            Exit::Stopped(signal) => 128 + signal.number().unsigned_abs() as u8,
        }
    }
}

impl Exit {
    /// The exit for a failure of `kind`. For signals see [`Exit::of`].
    pub fn of_kind(kind: Kind) -> Exit {
        match kind {
            Kind::Usage | Kind::BadKey => Exit::Usage,
            Kind::Empty
            | Kind::DamagedFrame
            | Kind::TruncatedFrame
            | Kind::TrailingGarbage
            | Kind::TableContradicts
            | Kind::TableMissing
            | Kind::DamagedHeader
            | Kind::HeaderMac
            | Kind::DamagedArmor
            | Kind::DamagedSegment
            | Kind::TruncatedPayload
            | Kind::TrailingSegment
            | Kind::WorkFactorTooLarge
            | Kind::JournalDiffers
            | Kind::Salvaged => Exit::Damaged,
            Kind::NoMatch | Kind::WrongPassphrase | Kind::Plugin => Exit::NoKey,
            Kind::ReaderGone => Exit::ReaderGone,
            _ => Exit::Failed,
        }
    }

    /// The exit for `error`.
    pub fn of(error: &(dyn Error + 'static)) -> Exit {
        Known::of(error).exit
    }
}

/// The findings of all errors in a chain.
struct Known {
    kind: Kind,
    exit: Exit,
    path: Option<String>,
    location: Location,
}

impl Known {
    fn of(error: &(dyn Error + 'static)) -> Known {
        let (mut path, mut is_stdout, mut is_wrong) = (None, false, false);
        for error in notice::errors(error) {
            if let Some(failure) = error.downcast_ref::<TaskFailure>() {
                let output = failure.output.as_ref();
                is_stdout = output.is_some_and(|output| output.is_stdout);
                is_wrong = output.is_some_and(|output| output.is_wrong);
                path = Some(output.map_or(&failure.input, |output| &output.name).clone());
            }
            let (kind, location) = match known_of(error) {
                Some(known) => known,
                None => continue,
            };
            path = store_error_in(error).and_then(StoreError::path).map(str::to_owned).or(path);
            let exit = match failure_in(error).map(|failure| &failure.cause) {
                Some(Cause::Signal(signal)) => Exit::Stopped(*signal),
                Some(Cause::Write(error)) if is_stdout && error.kind() == ErrorKind::BrokenPipe => {
                    return Known { kind: Kind::ReaderGone, exit: Exit::ReaderGone, path, location };
                }
                // An output that differs when read back counts as damaged.
                _ if is_wrong && kind == Kind::ContentDiffers => Exit::Damaged,
                _ => Exit::of_kind(kind),
            };
            return Known { kind, exit, path, location };
        }
        Known { kind: Kind::Other, exit: Exit::Failed, path, location: Location::default() }
    }
}

/// The run's failure in `error`, if any.
fn failure_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Failure> {
    match error.downcast_ref::<TaskError>() {
        Some(TaskError::Run(failure)) => Some(failure),
        _ => match error.downcast_ref::<BatchError>() {
            Some(BatchError::Run(failure)) => Some(failure),
            _ => error.downcast_ref::<Failure>(),
        },
    }
}

/// The error of a file in `error`, if any.
fn store_error_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a StoreError> {
    match (error.downcast_ref::<TaskError>(), error.downcast_ref::<BatchError>()) {
        (Some(TaskError::Store(error)), _) | (_, Some(BatchError::Store(error))) => Some(error),
        _ => error.downcast_ref::<StoreError>(),
    }
}

/// The kind of `error` and its location; `None` if it has none, or its source is more precise.
fn known_of(error: &(dyn Error + 'static)) -> Option<(Kind, Location)> {
    if let Some(failure) = failure_in(error) {
        return Some((failure.cause.kind(), failure.location()));
    }
    if let Some(error) = error.downcast_ref::<FileError>() {
        return match error {
            FileError::Task(_) | FileError::Store(_) => None,
            error => Some((error.kind(), Location::default())),
        };
    }
    let kind = None
        .or_else(|| error.downcast_ref().map(TaskError::kind))
        .or_else(|| error.downcast_ref().map(StoreError::kind))
        .or_else(|| error.downcast_ref().map(KeySourceError::kind))
        .or_else(|| error.downcast_ref().map(BatchError::kind))
        .or_else(|| error.downcast_ref().map(ReportError::kind));
    kind.map(|kind| (kind, Location::default()))
}

/// The description of a failed run.
#[derive(Clone, Debug)]
pub struct FailedRun {
    /// The kind of failure: a stable word.
    pub kind: &'static str,
    /// The message on standard error, without the program's name.
    pub message: String,
    /// The affected file.
    pub path: Option<String>,
    /// The offset in the file, in bytes.
    pub offset: Option<u64>,
    /// The zstd frame, counted from 0.
    pub frame: Option<u64>,
    /// The age segment, counted from 0.
    pub segment: Option<u64>,
    /// The exit of the program.
    pub exit: Exit,
}

/// Describes a run that failed with `error`.
pub fn describe(error: &(dyn Error + 'static)) -> FailedRun {
    let Known { kind, exit, path, location } = Known::of(error);
    let Location { offset, frame, segment } = location;
    FailedRun { kind: kind.word(), message: notice::chain(error), path, offset, frame, segment, exit }
}
