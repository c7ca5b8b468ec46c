//! What the stages of a batch hand each other: jobs from the schedule to the workers, completed files from the workers to the commit, and
//! the results that the commit keeps.

use std::ffi::OsString;
use std::fs::Metadata;
use std::sync::Arc;
use std::time::Duration;

use super::error::FileError;
use super::journal::{InputRecord, OutputSpec, Record};
use crate::pipeline::window::Token;
use crate::store::digest::Digest;
use crate::store::error::StoreError;
use crate::store::file_id::FileId;
use crate::store::input::Input;
use crate::store::output::{Output, OutputOptions, Temporary};
use crate::store::sys::Directory;
use crate::task::Produced;
use crate::task::error::Notice;

/// Files on their way to a worker. Small ones travel together, so that a tree of a million tiny files does not pay for a million hand-overs.
pub struct Bundle {
    /// The files, at least one.
    pub files: Vec<Job>,
    /// The memory of the largest, held until all are done: one is worked on at a time.
    pub token: Option<Token>,
}

/// A file on its way to a worker.
pub enum Job {
    /// It has to be worked on.
    Work(Box<FileJob>),
    /// Nothing has to be done.
    Completed(CompletedFile),
}

/// What has to be done with a file.
pub struct FileJob {
    /// The index in the plan.
    pub index: usize,
    /// One thread does it alone, without a pipeline. Decided where its memory is reserved.
    pub is_inline: bool,
    /// Where its output goes; `None` where nothing is written.
    pub target: Option<Target>,
    /// The output replaces one of an earlier run.
    pub replaces: bool,
    /// Nothing has to be done if the input has this digest.
    pub skip_if: Option<Digest>,
}

/// Where an output goes.
#[derive(Clone)]
pub struct Target {
    /// The directory that it is in.
    pub directory: Arc<Directory>,
    /// Its name there.
    pub name: OsString,
    /// Its path, as messages show it.
    pub shown: String,
    /// Permission bits of the file that it replaces.
    pub old_mode: Option<u32>,
    /// How it is treated.
    pub output_options: OutputOptions,
}

impl Target {
    /// A temporary that will get the name.
    pub fn create(self) -> Result<Output, StoreError> {
        let Target { directory, name, shown, old_mode, output_options } = self;
        Ok(Output::Temporary(Temporary::create_in(shown, directory, &name, old_mode, output_options)?))
    }
}

/// A file that a worker is done with.
pub struct CompletedFile {
    /// The index in the plan.
    pub index: usize,
    /// What became of it.
    pub result: Result<FileResult, FileError>,
    /// How long it was worked on.
    pub took: Duration,
    /// How often it was tried.
    pub tries: u32,
}

impl CompletedFile {
    /// A file that no worker has to touch.
    pub fn untouched(index: usize, result: Result<FileResult, FileError>) -> CompletedFile {
        CompletedFile { index, result, took: Duration::ZERO, tries: 0 }
    }
}

/// What became of a file that did not fail.
pub enum FileResult {
    /// It was worked on.
    Worked {
        /// What was produced.
        written: Box<Written>,
        /// The output replaces one of an earlier run.
        replaces: bool,
    },
    /// It was done before. Its input may have to be deleted all the same.
    Unchanged(Option<Box<LateDelete>>),
}

/// What a worker produced of one file.
pub struct Written {
    /// The output, complete but for its name; `None` where nothing is written.
    pub output: Option<Output>,
    /// The input's metadata when it was opened.
    pub source: Metadata,
    /// What the output is made of, for the journal.
    pub input_record: Option<InputRecord>,
    /// How it was made, for the journal.
    pub spec: OutputSpec,
    /// XXH64 (seed 0) of the bytes written.
    pub output_hash: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes of content: before compression, or after decompression.
    pub content_bytes: u64,
    /// zstd frames written or decoded.
    pub frame_count: u64,
    /// What speaks against the output although it is there.
    pub warnings: Vec<Notice>,
    /// What has to be said, and is no more than that.
    pub notices: Vec<Notice>,
    /// The file that the output replaces has to be this one still.
    pub must_replace: Option<FileId>,
    /// The input may be deleted, if that is asked for.
    pub may_delete: bool,
}

impl Written {
    /// What `produced` says of `input`, which is read completely. A batch asks for both digests.
    pub fn new(input: Input, output: Option<Output>, spec: OutputSpec, produced: Produced) -> Written {
        let changed = input.has_changed().then(|| Notice::Changed(input.name.clone()));
        let (read, written) = (produced.read, produced.written.unwrap_or_default());
        Written {
            output,
            input_record: read.map(|read| InputRecord { identity: FileId::of(&input.metadata), hash: read.hash }),
            source: input.metadata,
            spec,
            output_hash: written.hash,
            written_bytes: written.bytes,
            content_bytes: produced.content_bytes,
            frame_count: produced.frame_count,
            must_replace: None,
            may_delete: changed.is_none() && !produced.is_input_needed,
            warnings: Vec::from_iter(changed),
            notices: produced.notices,
        }
    }
}

/// An input that an earlier run was stopped before it deleted.
pub struct LateDelete {
    /// The directory of its output.
    pub directory: Arc<Directory>,
    /// The output's name there.
    pub name: OsString,
    /// The output's record.
    pub record: Record,
    /// The input when it was scanned.
    pub input: FileId,
}

/// What became of one file, as it is kept until the end.
#[derive(Debug)]
pub struct Entry {
    /// The index in the plan.
    pub index: usize,
    /// How it ended.
    pub ended: Ended,
    /// Bytes read, written, and of content.
    pub bytes: [u64; 3],
    /// zstd frames written or decoded.
    pub frame_count: u64,
    /// How long it was worked on.
    pub took: Duration,
    /// How often it was tried.
    pub tries: u32,
}

/// How a file ended.
#[derive(Debug)]
pub enum Ended {
    /// There was no output, and now there is.
    Done,
    /// The output was of an older input or of other settings, and is replaced.
    Redone,
    /// There was nothing to do.
    Unchanged,
    /// The output is there, and something speaks against it.
    Warned(Vec<Warning>),
    /// There is no new output.
    Failed(FileError),
}

/// What speaks against an output that is there.
#[derive(Debug)]
pub enum Warning {
    /// The task found it.
    Notice(Notice),
    /// The output is complete, and its input cannot be deleted.
    NotDeleted(std::io::Error),
    /// The output of an earlier run cannot be proven, so the input that the run should have deleted is kept.
    Kept(std::io::Error),
}

/// What is kept of a batch.
#[derive(Debug, Default)]
pub struct BatchResults {
    /// In the order in which files ended.
    pub entries: Vec<Entry>,
    /// How many of them failed.
    pub failed_count: u64,
    /// Why the batch stopped before its end.
    pub stopped: Option<Stopped>,
}

/// Why a batch stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The file of this index failed, and the first failure was to stop the batch.
    AtFailure(usize),
    /// Too many files failed.
    TooManyFailed {
        /// So many.
        failed_count: u64,
        /// Of so many.
        ended_count: u64,
    },
    /// The journal cannot be written any more.
    WithoutJournal,
}
