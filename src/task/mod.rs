//! One operation on one input with one output.
//!
//! A command runs one task, a batch runs many, the library runs one between a reader and a writer. Each operation
//! has a driver ([`process`], [`restore`], [`verify`], [`rekey`], [`salvage`], [`read_range`]), which runs its
//! steps through an [`executor`]. A driver opens layers ([`open`]), runs the pipeline and returns the result as a
//! value; the output is renamed afterwards ([`publish`] for one file, the commit stage of a batch for many).
//!
//! Nothing here reads arguments or the environment, or writes messages: errors are typed ([`error`]), and notices for the user are
//! [`Notice`](error::Notice) values.

mod verb;

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

pub mod unchanged;

pub use verb::Verb;

use error::{FailedOutput, TaskError, TaskFailure};

use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::report::Report;
use crate::store::digest::Digest;
use crate::store::file_id::FileState;
use crate::store::input::Input;
use crate::store::output::Output;

/// The result of a driver: the output is complete but not renamed.
#[derive(Debug, Default)]
pub struct Produced {
    /// The figures of the run, if the executor returns them per run.
    pub report: Option<Report>,
    /// Digest of the bytes read, if requested.
    pub read: Option<Digest>,
    /// Digest of the bytes written, if requested.
    pub written: Option<Digest>,
    /// Bytes of content: before compression or after decompression.
    pub content_bytes: u64,
    /// zstd frames written or decoded.
    pub frame_count: u64,
    /// Length of the verified output in bytes, if verification was requested.
    pub verified_bytes: Option<u64>,
    /// Notices for the user.
    pub notices: Vec<error::Notice>,
    /// Notices that make the run end with a warning.
    pub warnings: Vec<error::Notice>,
    /// The content begins like a zstd file and got a zstd layer that was not asked for.
    pub is_layered: bool,
    /// The state in which the input is what was read of it; `None` if it changed while it was read.
    pub input_state: Option<FileState>,
    /// The output may lack part of the input, so the input must not be deleted.
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

/// Adds the operation and `input` to an error, and `output` if that is what failed.
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
