//! The commit stage of a batch: syncs each output, records it in the journal and renames it; collects the results.
//!
//! It takes all files that are complete as one group, in this order:
//!
//! ```text
//! start writeback, all -> fsync each -> records to the journal, fsync -> rename each -> fsync each directory once -> delete inputs, if asked
//! ```
//!
//! A group waits for the disk once, and the disk can merge its writes. Still, each output is on disk before its record, and each record before the
//! rename. A file whose sync fails is neither retried nor renamed.

use std::fs::Metadata;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::error::FileError;
use super::journal::{InputFate, Journal, OutputSpec, Record};
use super::messages::{BatchResults, CompletedFile, Ended, Entry, FileResult, LateDelete, Stopped, Warning, Written};
use super::options::BatchOptions;
use super::plan::BatchPlan;
use super::policy::OnError;
use crate::pipeline::error::Stop;
use crate::pipeline::stage::{END, MORE};
use crate::store::digest::Digest;
use crate::store::error::{Doing, StoreError};
use crate::store::file_id::{FileId, FileState};
use crate::store::output::{Output, Temporary};
use crate::store::sys::{self, Directory};
use crate::task::error::Notice;
use crate::task::publish::delete_input;

/// The commit stage.
pub struct Commit {
    plan: Arc<BatchPlan>,
    /// Receives the records; `None` if nothing is written.
    journal: Option<Journal>,
    options: BatchOptions,
    /// Receives the notices of a file when it ends.
    tell: fn(&Notice),
    results: BatchResults,
}

/// A file in the commit steps.
struct Step {
    completed: CompletedFile,
    /// Set by the first step that fails; later steps are skipped.
    failure: Option<FileError>,
}

impl Step {
    /// The output, its description for the journal and the rest, unless there is none or a step failed.
    fn output(&self) -> Option<(&Temporary, &OutputSpec, &Written)> {
        match (&self.failure, &self.completed.result) {
            (None, Ok(FileResult::Worked { written, .. })) => match &written.output {
                Some((Output::Temporary(temporary), spec)) => Some((temporary, spec, written)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Gives the output the attributes of its input; what cannot be kept is a warning.
    fn set_attributes(&mut self) {
        let mut unkept = Vec::new();
        self.take(|temporary, written| {
            temporary.give_name()?;
            unkept = temporary.set_attributes(&written.origin)?;
            Ok::<_, StoreError>(())
        });
        if let (Ok(FileResult::Worked { written, .. }), false) = (&mut self.completed.result, unkept.is_empty()) {
            let output = written.output.as_ref().map_or_else(String::new, |(output, _)| output.name().to_owned());
            written.warnings.push(Notice::Unkept { output, unkept });
        }
    }

    /// Runs `step` unless an earlier one failed.
    fn take<E: Into<FileError>>(&mut self, step: impl FnOnce(&Temporary, &Written) -> Result<(), E>) {
        if let Some(Err(error)) = self.output().map(|(temporary, _, written)| step(temporary, written)) {
            self.failure = Some(error.into());
        }
    }
}

impl Commit {
    /// Commits files of `plan` and records their outputs in `journal`.
    pub fn new(plan: &Arc<BatchPlan>, journal: Option<Journal>, options: BatchOptions, tell: fn(&Notice)) -> Commit {
        Commit { plan: Arc::clone(plan), journal, options, tell, results: BatchResults::default() }
    }

    /// The results of the files.
    pub fn into_results(self) -> BatchResults {
        self.results
    }

    /// Commits a group of completed files.
    pub fn take(&mut self, completed: Vec<CompletedFile>) -> Result<ControlFlow<()>, Stop> {
        let mut steps: Vec<Step> = completed.into_iter().map(|completed| Step { completed, failure: None }).collect();
        for step in &mut steps {
            step.set_attributes();
            if let (true, Some((temporary, ..))) = (self.options.output.sync, step.output()) {
                sys::start_writing_back(temporary.parts().0);
            }
        }
        steps.iter_mut().for_each(|step| step.take(|temporary, _| temporary.sync()));
        self.note(&mut steps);
        for step in &mut steps {
            step.take(|temporary, written| temporary.rename(written.origin.must_replace));
        }
        sync_directories(&mut steps);
        for step in steps {
            self.end(step);
        }
        Ok(if self.results.stopped.is_some() { END } else { MORE })
    }

    /// Records each output in the journal. An output without a record is not renamed: the next run would not recognize it as its own.
    fn note(&mut self, steps: &mut [Step]) {
        let Some(journal) = &mut self.journal else { return };
        let mut records = Vec::with_capacity(steps.len());
        for step in steps.iter_mut() {
            let Some((temporary, spec, written)) = step.output() else { continue };
            match temporary.parts().0.metadata() {
                Ok(output) => records.push(Record {
                    place: self.plan.items[step.completed.index].place.clone(),
                    output: FileId::of(&output),
                    output_hash: written.output_hash,
                    spec: spec.clone(),
                    fate: match written.may_delete {
                        true if self.options.rm => InputFate::Deleted,
                        true => InputFate::Stays,
                        false => InputFate::Needed,
                    },
                    input: written.input_record,
                }),
                Err(error) => step.failure = Some(Doing::LookAt.failed("what was written")(error).into()),
            }
        }
        if records.is_empty() {
            return;
        }
        if let Err(error) = journal.append(&records, self.options.output.sync) {
            // The state after a failed sync is unknown: append nothing more.
            self.journal = None;
            self.results.stopped = Some(Stopped::WithoutJournal);
            for step in steps.iter_mut().filter(|step| step.output().is_some()) {
                step.failure = Some(FileError::Journal(copy_of(&error)));
            }
        }
    }

    /// Deletes the input if requested, records the result, and decides whether the batch goes on.
    fn end(&mut self, step: Step) {
        let Step { completed: CompletedFile { index, result, took, tries }, failure } = step;
        let result = failure.map_or(result, Err);
        let mut entry = Entry { index, ended: Ended::Unchanged, bytes: [0; 3], frame_count: 0, took, tries };
        match result {
            Ok(FileResult::Unchanged(None)) => {}
            Ok(FileResult::Unchanged(Some(late))) => {
                if let Err(error) = self.delete_late(index, *late) {
                    entry.ended = Ended::Warned(vec![Warning::Kept(error)]);
                }
            }
            Ok(FileResult::Worked { written, replaces }) => {
                let Written { source, input_state, written_bytes, content_bytes, frame_count, warnings, .. } = *written;
                entry.bytes = [source.len(), written_bytes, content_bytes];
                entry.frame_count = frame_count;
                entry.ended = match (warnings.is_empty(), replaces) {
                    (false, _) => Ended::Warned(warnings.into_iter().map(Warning::Notice).collect()),
                    (true, true) => Ended::Redone,
                    (true, false) => Ended::Done,
                };
                written.notices.iter().for_each(self.tell);
                if self.options.rm
                    && written.may_delete
                    && let Err(error) = self.delete(index, |there| Some(FileState::of(there)) == input_state)
                {
                    entry.ended = Ended::Warned(vec![Warning::NotDeleted(error)]);
                }
            }
            Err(error) => {
                entry.ended = Ended::Failed(error);
                self.results.failed_count += 1;
            }
        }
        self.results.entries.push(entry);
        self.judge(index);
    }

    /// Deletes an input whose output is on disk, if `is_same` accepts its metadata.
    fn delete(&self, index: usize, is_same: impl Fn(&Metadata) -> bool) -> io::Result<()> {
        let (top, inside) = self.plan.items[index].way();
        delete_input(top, inside, is_same)
    }

    /// Deletes an input whose output is from an earlier run, which may have been stopped or not have synced: syncs the output, re-reads it from the
    /// disk, compares it with its record, and first records in the journal that the output may be the only copy.
    fn delete_late(&mut self, index: usize, late: LateDelete) -> io::Result<()> {
        let LateDelete { directory, name, mut record, input } = late;
        let output = directory.open_file(&name)?.ok_or_else(|| io::Error::other("its output is gone"))?;
        if !record.output.is_same_there(&FileId::of(&output.metadata()?)) {
            return Err(io::Error::other("its output is another file by now"));
        }
        output.sync_all()?;
        directory.sync()?;
        sys::forget_cached(&output);
        let digest = Digest::of(&output, || true)?;
        if (digest.bytes, digest.hash) != (record.output.bytes, record.output_hash) {
            return Err(io::Error::other("its output is not what was written"));
        }
        record.fate = InputFate::Deleted;
        let journal = self.journal.as_mut().ok_or_else(|| io::Error::other("there is no journal to note it in"))?;
        journal.append(&[record], true)?;
        self.delete(index, |there| FileId::of(there) == input)
    }

    fn judge(&mut self, index: usize) {
        let BatchResults { entries, failed_count, stopped } = &mut self.results;
        let (failed_count, ended_count) = (*failed_count, entries.len() as u64);
        let is_failure = matches!(entries.last().map(|entry| &entry.ended), Some(Ended::Failed(_)));
        if !is_failure || stopped.is_some() {
            return;
        }
        if self.options.on_error == OnError::Stop {
            *stopped = Some(Stopped::AtFailure(index));
        } else if self.options.breaker.trips(failed_count, ended_count) {
            *stopped = Some(Stopped::TooManyFailed { failed_count, ended_count });
        }
    }
}

/// Syncs each directory once; a failure applies to all its outputs, since a second fsync would prove nothing.
fn sync_directories(steps: &mut [Step]) {
    let mut synced: Vec<(*const Directory, Option<io::Error>)> = Vec::new();
    for step in steps.iter_mut() {
        step.take(|temporary, _| {
            let directory = Arc::as_ptr(temporary.parts().1);
            if let Some((_, failed)) = synced.iter().find(|(known, _)| *known == directory) {
                let failed = failed.as_ref().map(copy_of);
                return failed.map_or(Ok(()), |error| Err(Doing::SyncDirectory.failed(temporary.name())(error)));
            }
            let result = temporary.sync_directory();
            let failed = match &result {
                Err(StoreError::Io { source, .. }) => Some(copy_of(source)),
                _ => None,
            };
            synced.push((directory, failed));
            result
        });
    }
}

/// A copy of `error` for another file.
fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}
