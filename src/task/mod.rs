//! One input, one operation, one output.
//!
//! A command runs one task, a batch runs many, the library runs one between a reader and a writer. Each operation has one driver here
//! ([`process`], [`restore`], [`verify`], [`rekey`], [`salvage`], [`read_range`]), which works through an [`executor`]: it says on which
//! threads the steps run. A driver opens layers ([`open`]), runs the pipeline and gives back what was produced, as a value; the output gets
//! its name afterwards ([`publish`] for one file, the commit stage of a batch for many).
//!
//! Nothing here reads arguments or the environment, and nothing writes words for people: errors are typed ([`error`]), and what a person
//! should know is a [`Notice`](error::Notice).

pub mod error;

pub mod executor;

pub mod keys;

pub mod wrap;

pub mod open;

pub mod process;

pub mod verify_output;

pub mod restore;

pub mod verify;

pub mod read_range;

pub mod rekey;

pub mod salvage;

pub mod inspect;

pub mod publish;

use error::{FailedOutput, TaskError, TaskFailure};

use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::report::Report;
use crate::store::digest::Digest;
use crate::store::input::Input;
use crate::store::output::Output;

/// An operation, by the name of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Compress, encrypt, or both.
    Process,
    /// The way back.
    Restore,
    /// Decode and write nothing.
    Verify,
    /// Read a range.
    Cat,
    /// Change recipients.
    Rekey,
    /// Tell what a file holds.
    Inspect,
}

impl Verb {
    /// The command's name.
    pub fn command(self) -> &'static str {
        match self {
            Verb::Process => "process",
            Verb::Restore => "restore",
            Verb::Verify => "verify",
            Verb::Cat => "cat",
            Verb::Rekey => "rekey",
            Verb::Inspect => "inspect",
        }
    }
}

/// What a driver produced: the output is complete, and has no name yet.
#[derive(Debug, Default)]
pub struct Produced {
    /// The figures of the run, where the executor gives them for each.
    pub report: Option<Report>,
    /// Length and hash of what was read, if asked for.
    pub read: Option<Digest>,
    /// Length and hash of what was written, if asked for.
    pub written: Option<Digest>,
    /// Bytes of content: before compression, or after decompression.
    pub content_bytes: u64,
    /// zstd frames written or decoded.
    pub frame_count: u64,
    /// The length of the output that was read back and found right, if that was asked for.
    pub verified_bytes: Option<u64>,
    /// What a person should know.
    pub notices: Vec<error::Notice>,
    /// Nothing shows that the output is all of the input, so the input must not be deleted.
    pub is_input_needed: bool,
}

impl Produced {
    fn of(outcome: executor::RunOutcome) -> Produced {
        let executor::RunOutcome { summary, report } = outcome;
        Produced {
            report,
            content_bytes: summary.content_bytes,
            frame_count: summary.frame_count,
            ..Produced::default()
        }
    }
}

/// Names what a task was doing when it failed: `verb` with `input`, and `output` where that is what failed.
pub fn at<'a>(verb: Verb, input: &'a Input, output: Option<&'a Output>) -> impl Fn(TaskError) -> TaskFailure + use<'a> {
    move |error| {
        let (error, is_wrong) = match error {
            TaskError::ReadBack(error) => (*error, true),
            error => (error, false),
        };
        let is_writing = matches!(&error, TaskError::Run(Failure { cause: Cause::Write(_), .. }));
        let failed = output.filter(|_| is_writing || is_wrong).map(|output| FailedOutput {
            name: output.name().to_owned(),
            is_stdout: output.is_stdout(),
            is_wrong,
        });
        TaskFailure { verb, input: input.name.clone(), output: failed, error }
    }
}
