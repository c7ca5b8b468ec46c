//! The messages between the stages of a batch: jobs for the workers, completed files for the commit, and the results that the commit collects.

use std::ffi::OsString;
use std::fs::Metadata;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::{EntryError, FileError};
use super::journal::{InputRecord, OutputSpec, Record};
use crate::pipeline::window::Token;
use crate::store::digest::Digest;
use crate::store::error::StoreError;
use crate::store::file_id::{FileId, FileState};
use crate::store::input::Input;
use crate::store::output::{Origin, Output, OutputOptions, Temporary};
use crate::store::sys::Directory;
use crate::task::Produced;
use crate::task::error::Notice;

/// Files sent to a worker together. Small files share a bundle, so that a million tiny files do not cost a million channel sends.
pub struct Bundle {
    /// The files, at least one.
    pub files: Vec<Job>,
    /// Memory for the largest file, held until all are done: the worker processes one at a time.
    pub token: Option<Token>,
}

/// A file sent to a worker.
pub enum Job {
    /// A file to process.
    Work(Box<FileJob>),
    /// A file that needs no work.
    Completed(CompletedFile),
}

/// A file to process, and how.
pub struct FileJob {
    /// Index in the plan.
    pub index: usize,
    /// One thread does it without a pipeline. The schedule decides this when it reserves memory.
    pub is_inline: bool,
    /// The output's target; `None` if nothing is written.
    pub target: Option<Target>,
    /// The output replaces an earlier run's.
    pub replaces: bool,
    /// Skip the file if its input has this digest.
    pub skip_if: Option<Digest>,
}

/// The target of an output.
#[derive(Clone)]
pub struct Target {
    /// The open parent directory.
    pub directory: Arc<Directory>,
    /// The file name.
    pub name: OsString,
    /// Its path, as messages show it.
    pub shown: String,
    /// The file to replace.
    pub there: Option<Metadata>,
    /// How to create the output.
    pub output_options: OutputOptions,
}

impl Target {
    /// Creates a temporary for the target.
    pub fn create(self) -> Result<Output, StoreError> {
        let Target { directory, name, shown, there, output_options } = self;
        Ok(Output::Temporary(Temporary::create_in(shown, directory, &name, there.as_ref(), output_options)?))
    }
}

/// A file that left its worker.
pub struct CompletedFile {
    /// Index in the plan.
    pub index: usize,
    /// The result.
    pub result: Result<FileResult, FileError>,
    /// Processing time, including retries.
    pub took: Duration,
    /// Number of attempts.
    pub tries: u32,
}

impl CompletedFile {
    /// A file that needs no worker.
    pub fn untouched(index: usize, result: Result<FileResult, FileError>) -> CompletedFile {
        CompletedFile { index, result, took: Duration::ZERO, tries: 0 }
    }
}

/// The result of a file that did not fail.
pub enum FileResult {
    /// The file was processed.
    Worked {
        /// The output and its description.
        written: Box<Written>,
        /// The output replaces an earlier run's.
        replaces: bool,
    },
    /// An earlier run processed it. Its input may still have to be deleted.
    Unchanged(Option<Box<LateDelete>>),
}

/// A worker's output for one file.
pub struct Written {
    /// The output, complete but not renamed, and its description for the journal; `None` if nothing is written.
    pub output: Option<(Output, OutputSpec)>,
    /// The input's metadata when it was opened.
    pub source: Metadata,
    /// The state in which the input is what was read of it.
    pub input_state: Option<FileState>,
    /// What the output takes over from the input.
    pub origin: Origin,
    /// The input, for the journal.
    pub input_record: Option<InputRecord>,
    /// XXH64 (seed 0) of the bytes written.
    pub output_hash: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes of content: before compression or after decompression.
    pub content_bytes: u64,
    /// zstd frames written or decoded.
    pub frame_count: u64,
    /// Notices that make the file end with a warning.
    pub warnings: Vec<Notice>,
    /// Notices that are only shown.
    pub notices: Vec<Notice>,
    /// The input may be deleted, if requested.
    pub may_delete: bool,
}

impl Written {
    /// Describes the output for `input`, which was read completely. Needs both digests in `produced`. An output that `is_in_place` replaces its
    /// input, which must not have changed.
    pub fn new(
        input: Input,
        output: Option<(Output, OutputSpec)>,
        produced: Produced,
        is_in_place: bool,
    ) -> Result<Written, FileError> {
        let input_state = produced.input_state;
        let changed = input_state.is_none().then(|| Notice::Changed(input.name.clone()));
        let attributes = output.as_ref().map(|_| input.attributes(is_in_place)).transpose()?.flatten();
        let must_replace = if is_in_place { Some(input_state.ok_or(FileError::Changed)?) } else { None };
        let (read, written) = (produced.read, produced.written.unwrap_or_default());
        Ok(Written {
            output,
            input_state,
            origin: Origin { attributes, must_replace },
            input_record: read.map(|read| InputRecord { identity: FileId::of(&input.metadata), hash: read.hash }),
            source: input.metadata,
            output_hash: written.hash,
            written_bytes: written.bytes,
            content_bytes: produced.content_bytes,
            frame_count: produced.frame_count,
            may_delete: changed.is_none() && !produced.is_input_needed,
            warnings: Vec::from_iter(changed),
            notices: produced.notices,
        })
    }
}

/// An input that an earlier run was stopped before deleting.
pub struct LateDelete {
    /// The output's open parent directory.
    pub directory: Arc<Directory>,
    /// The output's file name.
    pub name: OsString,
    /// The output's record.
    pub record: Record,
    /// The input's identity at the scan.
    pub input: FileId,
}

/// The result of one file, kept until the end.
#[derive(Debug)]
pub struct Entry {
    /// Index in the plan.
    pub index: usize,
    /// How it ended.
    pub ended: Ended,
    /// Bytes read, bytes written, bytes of content.
    pub bytes: [u64; 3],
    /// zstd frames written or decoded.
    pub frame_count: u64,
    /// Processing time, including retries.
    pub took: Duration,
    /// Number of attempts.
    pub tries: u32,
}

/// How a file ended.
#[derive(Debug)]
pub enum Ended {
    /// The output is new.
    Done,
    /// The output replaces one of an older input or other settings.
    Redone,
    /// The file needed no work.
    Unchanged,
    /// The output exists, with warnings.
    Warned(Vec<Warning>),
    /// There is no new output.
    Failed(FileError),
}

/// A warning about an output that exists.
#[derive(Debug)]
pub enum Warning {
    /// A notice of the task.
    Notice(Notice),
    /// The output is complete, but its input cannot be deleted.
    NotDeleted(std::io::Error),
    /// An earlier run's output failed verification, so the input that the run should have deleted is kept.
    Kept(std::io::Error),
}

/// An input that is not a file of the plan.
#[derive(Debug)]
pub struct Other {
    /// Its path.
    pub path: PathBuf,
    /// Why it was skipped or failed.
    pub error: EntryError,
}

/// The collected results of a batch.
#[derive(Debug, Default)]
pub struct BatchResults {
    /// In the order in which files ended.
    pub entries: Vec<Entry>,
    /// Number of failed files.
    pub failed_count: u64,
    /// Why the batch stopped early, if it did.
    pub stopped: Option<Stopped>,
}

/// Why a batch stopped early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The file with this index failed, and the batch stops at the first failure.
    AtFailure(usize),
    /// Too many files failed.
    TooManyFailed {
        /// Failed files.
        failed_count: u64,
        /// Ended files.
        ended_count: u64,
    },
    /// The journal cannot be written.
    WithoutJournal,
}
