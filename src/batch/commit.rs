//! The end of each file: made durable, noted in the journal, given its name. What came of each is kept, and told when the batch ends.
//!
//! As many files as have come are taken at once, in this order:
//!
//! ```text
//! begin writing back, all -> fsync each -> records to the journal, fsync -> rename each -> fsync each directory once -> delete inputs, if asked
//! ```
//!
//! So the disk is waited for once for many files, where it groups what comes close together, and still each output is on the disk before it
//! gets its name, and its record before that. A file whose sync fails is not tried again, and gets no name.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Conduct;
use super::journal::{Fate, Journal, Record};
use super::plan::Plan;
use super::policy::OnError;
use super::work::Made;
use crate::cli::problem::{self, Exit, Problem, quoted};
use crate::pipeline::error::Stop;
use crate::pipeline::stage::Flow;
use crate::store::digest::Digest;
use crate::store::file_id::Identity;
use crate::store::output::{Output, Temporary};
use crate::store::sys::{self, Directory};

/// What came of one file, on its way here.
pub struct Arrived {
    /// Which of the plan's items.
    pub index: usize,
    /// What came of it.
    pub result: Result<Came, anyhow::Error>,
    /// How long it was worked on.
    pub took: Duration,
    /// How often it was tried.
    pub tries: u32,
}

/// What a file came to.
pub enum Came {
    /// An output, or a look at the input.
    Made {
        /// What was made.
        made: Box<Made>,
        /// An older output is replaced.
        is_again: bool,
    },
    /// It was done before. Its input may be to be deleted all the same.
    Unchanged(Option<Box<ToDelete>>),
}

/// An input that an earlier run did not come to delete.
pub struct ToDelete {
    /// Where its output is.
    pub directory: Arc<Directory>,
    /// The output's name there.
    pub name: OsString,
    /// What is known of the output.
    pub record: Record,
    /// What the input was when it was looked at.
    pub input: Identity,
}

/// What became of one file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which of the plan's items.
    pub index: usize,
    /// How it ended.
    pub ended: Ended,
    /// Bytes read, written, and of content.
    pub bytes: [u64; 3],
    /// Frames, whichever way they went.
    pub frame_count: u64,
    /// How long it was worked on.
    pub took: Duration,
    /// How often it was tried.
    pub tries: u32,
}

/// How a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There was no output, and now there is.
    Done,
    /// The output was of an older input or of other settings, and is replaced.
    Redone,
    /// There was nothing to do.
    Unchanged,
    /// The output is there, and something speaks against it.
    Warned {
        /// What.
        message: String,
    },
    /// There is no new output.
    Failed {
        /// Why.
        message: String,
        /// Advice, where there is any.
        hint: Option<String>,
        /// What a run for this file alone would have ended with.
        exit: Exit,
    },
}

/// What is kept of a batch.
#[derive(Default)]
pub struct Ledger {
    /// In the order in which files ended.
    pub entries: Vec<Entry>,
    /// How many of them failed.
    pub failed_count: u64,
    /// Why the batch stopped before its end.
    pub stopped: Option<String>,
    /// The failure of a file that the batch stopped for.
    pub stopped_by: Option<usize>,
}

/// What is done with what arrives.
pub struct Commit {
    plan: Arc<Plan>,
    /// Where records go; nowhere where nothing is written.
    journal: Option<Journal>,
    conduct: Conduct,
    ledger: Ledger,
    /// Takes the ledger when this goes.
    give: async_channel::Sender<Ledger>,
}

/// A file on its way through the steps.
struct Step {
    arrived: Arrived,
    /// Why it stops.
    failure: Option<anyhow::Error>,
}

impl Step {
    /// What was made, and the output, where there is one and nothing has failed.
    fn output(&self) -> Option<(&Temporary, &Made)> {
        match (&self.failure, &self.arrived.result) {
            (None, Ok(Came::Made { made, .. })) => match &made.output {
                Some(Output::Temporary(temporary)) => Some((temporary, made)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Takes a step, unless an earlier one failed.
    fn take(&mut self, step: impl FnOnce(&Temporary, &Made) -> Result<(), Problem>) {
        if let Some(Err(problem)) = self.output().map(|(temporary, made)| step(temporary, made)) {
            self.failure = Some(problem.into());
        }
    }
}

impl Commit {
    /// Takes files of `plan`, notes outputs in `journal`, and leaves what became of all with `give`.
    pub fn new(
        plan: &Arc<Plan>,
        journal: Option<Journal>,
        conduct: Conduct,
        give: async_channel::Sender<Ledger>,
    ) -> Commit {
        Commit { plan: Arc::clone(plan), journal, conduct, ledger: Ledger::default(), give }
    }

    /// Takes what has arrived through the steps.
    pub fn take(&mut self, arrived: Vec<Arrived>) -> Result<Flow, Stop> {
        let mut steps: Vec<Step> = arrived.into_iter().map(|arrived| Step { arrived, failure: None }).collect();
        for step in &mut steps {
            step.take(|temporary, made| temporary.copy_mode_and_times(Some(&made.source)));
            if let (true, Some((temporary, _))) = (self.conduct.manner.sync, step.output()) {
                sys::start_writing_back(temporary.parts().0);
            }
        }
        steps.iter_mut().for_each(|step| step.take(|temporary, _| temporary.sync()));
        self.note(&mut steps);
        for step in &mut steps {
            step.take(|temporary, made| match made.replaces {
                Some(identity) if !temporary.would_replace(identity) => {
                    Err(Problem::failed("it changed meanwhile, and stays as it is"))
                }
                _ => temporary.rename(),
            });
        }
        self.sync_directories(&mut steps);
        for step in steps {
            self.end(step);
        }
        Ok(if self.ledger.stopped.is_some() { Flow::End } else { Flow::More })
    }

    /// Puts a record of each output into the journal. Without one the next run would not know the output for ours, so it gets no name.
    fn note(&mut self, steps: &mut [Step]) {
        let Some(journal) = &mut self.journal else { return };
        let mut records = Vec::with_capacity(steps.len());
        for step in steps.iter_mut() {
            let Some((temporary, made)) = step.output() else { continue };
            match temporary.parts().0.metadata() {
                Ok(output) => records.push(Record {
                    place: self.plan.items[step.arrived.index].place.clone(),
                    output: Identity::of(&output),
                    output_hash: made.output_hash,
                    settings: made.settings,
                    fate: match made.may_delete {
                        true if self.conduct.rm => Fate::Deleted,
                        true => Fate::Stays,
                        false => Fate::Needed,
                    },
                    input: made.input_record,
                }),
                Err(error) => step.failure = Some(anyhow::Error::new(error).context("cannot look at what was written")),
            }
        }
        if records.is_empty() {
            return;
        }
        if let Err(error) = journal.append(&records, self.conduct.manner.sync) {
            // What a failed sync left behind nobody knows: nothing is appended any more.
            self.journal = None;
            self.ledger.stopped = Some("without a journal nothing more can be done".to_owned());
            for step in steps.iter_mut().filter(|step| step.output().is_some()) {
                step.failure = Some(Problem::failed(format!("cannot write the journal: {error}")).into());
            }
        }
    }

    /// Each directory once, however many names it got: of one that fails all fail, since a second try would tell nothing.
    fn sync_directories(&self, steps: &mut [Step]) {
        let mut synced: Vec<(*const Directory, Result<(), String>)> = Vec::new();
        for step in steps.iter_mut() {
            step.take(|temporary, _| {
                let directory = Arc::as_ptr(temporary.parts().1);
                if let Some((_, known)) = synced.iter().find(|(known, _)| *known == directory) {
                    return known.clone().map_err(Problem::failed);
                }
                let result = temporary.sync_directory();
                synced.push((directory, result.as_ref().copied().map_err(ToString::to_string)));
                result
            });
        }
    }

    /// Deletes the input if asked, keeps what became of the file, and judges whether the batch goes on.
    fn end(&mut self, step: Step) {
        let Step { arrived: Arrived { index, result, took, tries }, failure } = step;
        let result = failure.map_or(result, Err);
        let mut entry = Entry { index, ended: Ended::Unchanged, bytes: [0; 3], frame_count: 0, took, tries };
        match result {
            Ok(Came::Unchanged(None)) => {}
            Ok(Came::Unchanged(Some(to_delete))) => {
                if let Err(error) = self.delete_late(index, *to_delete) {
                    let source = quoted(&self.plan.items[index].source);
                    entry.ended = Ended::Warned { message: format!("{source} is kept: {error}") };
                }
            }
            Ok(Came::Made { made, is_again }) => {
                entry.bytes = [made.source.len(), made.written_bytes, made.content_bytes];
                entry.frame_count = made.frame_count;
                entry.ended = match (made.warnings.is_empty(), is_again) {
                    (false, _) => Ended::Warned { message: made.warnings.join("; ") },
                    (true, true) => Ended::Redone,
                    (true, false) => Ended::Done,
                };
                if !self.conduct.quiet {
                    made.notes.iter().for_each(|note| problem::warn(note));
                }
                if self.conduct.rm
                    && made.may_delete
                    && let Err(error) = self.delete(index, Identity::of(&made.source))
                {
                    let source = quoted(&self.plan.items[index].source);
                    let message = format!("{source}: its output is complete, but it cannot be deleted: {error}");
                    entry.ended = Ended::Warned { message };
                }
            }
            Err(error) => entry.ended = failed(&error),
        }
        if let Ended::Failed { .. } = entry.ended {
            self.ledger.failed_count += 1;
        }
        self.ledger.entries.push(entry);
        self.judge(index);
    }

    /// Deletes an input whose output is on the disk, if it is still the file `identity`.
    fn delete(&self, index: usize, identity: Identity) -> io::Result<()> {
        let (top, inside) = self.plan.items[index].way();
        match Directory::open_to_pass(top)?.unlink_below(inside, |there| Identity::of(there) == identity)? {
            true => Ok(()),
            false => Err(io::Error::other("it is another file by now")),
        }
    }

    /// The same for an input whose output is of an earlier run, which may have been stopped, or not have waited for the disk: the output is
    /// synced, read from the disk, and held against what was written; that it is all there is stands in the journal before.
    fn delete_late(&mut self, index: usize, to_delete: ToDelete) -> io::Result<()> {
        let ToDelete { directory, name, mut record, input } = to_delete;
        let output = directory.open_file(&name)?.ok_or_else(|| io::Error::other("its output is gone"))?;
        if !record.output.is_same_there(&Identity::of(&output.metadata()?)) {
            return Err(io::Error::other("its output is another file by now"));
        }
        output.sync_all()?;
        directory.sync()?;
        sys::forget_cached(&output);
        let digest = Digest::of(&output, || true)?;
        if (digest.bytes, digest.hash) != (record.output.bytes, record.output_hash) {
            return Err(io::Error::other("its output is not what was written"));
        }
        record.fate = Fate::Deleted;
        let journal = self.journal.as_mut().ok_or_else(|| io::Error::other("there is no journal to note it in"))?;
        journal.append(&[record], true)?;
        self.delete(index, input)
    }

    fn judge(&mut self, index: usize) {
        let Ledger { entries, failed_count, stopped, stopped_by } = &mut self.ledger;
        let ended_count = entries.len() as u64;
        let is_failure = matches!(entries.last().map(|entry| &entry.ended), Some(Ended::Failed { .. }));
        if !is_failure || stopped.is_some() {
            return;
        }
        if self.conduct.on_error == OnError::Stop {
            *stopped = Some("it stops at the first failure, as --on-error asks".to_owned());
            *stopped_by = Some(index);
        } else if self.conduct.breaker.trips(*failed_count, ended_count) {
            let message = format!("{failed_count} of {ended_count} files failed, and --max-failures ends it there");
            *stopped = Some(message);
        }
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        // There is room for one, and nobody may want it any more.
        let _ = self.give.try_send(std::mem::take(&mut self.ledger));
    }
}

fn failed(error: &anyhow::Error) -> Ended {
    let (exit, hint) = problem::judge(error);
    Ended::Failed { message: format!("{error:#}"), hint, exit }
}
