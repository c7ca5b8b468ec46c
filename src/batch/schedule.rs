//! The schedule stage: decides which files to process and where their outputs go, and reserves memory for them.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::error::FileError;
use super::journal::{History, InputFate};
use super::messages::{Bundle, CompletedFile, FileJob, FileResult, Job, LateDelete, Target};
use super::operation::{Operation, Verdict};
use super::options::BatchOptions;
use super::output_tree::OutputTree;
use super::plan::{BatchPlan, Item};
use crate::pipeline::error::Stop;
use crate::pipeline::names::Stage;
use crate::pipeline::stage::{END, MORE, Outlet};
use crate::pipeline::threads::{StageResult, Threads};
use crate::pipeline::window::Window;
use crate::store::digest::Digest;
use crate::store::error::{Doing, StoreError};
use crate::store::file_id::FileId;
use crate::store::name::quoted;
use crate::store::output::OutputOptions;

/// Maximum bytes per bundle: some milliseconds of work.
const BUNDLE_BYTES: u64 = 512 * 1024;

/// The usual descriptor limit; a higher one is not used.
const DESCRIPTORS_MAX: usize = 1024;

/// Maximum files per bundle.
const BUNDLE_FILES_MAX: usize = 16;

/// Whether a file needs work.
enum Decision {
    /// Its output is up to date; see [`FileResult::Unchanged`].
    Unchanged(Option<Box<LateDelete>>),
    /// It must be processed.
    Work(Box<FileJob>),
}

/// Decides about each file in turn and admits it by memory.
pub struct Scheduler {
    plan: Arc<BatchPlan>,
    options: BatchOptions,
    operation: Arc<dyn Operation>,
    history: Arc<History>,
    tree: Option<OutputTree>,
    /// Memory of all files in flight.
    memory: Window,
    /// Maximum files per bundle.
    bundle_files: usize,
    /// The longest inline file; see [`BatchPlan::inline_bytes_max`].
    inline_bytes_max: u64,
    next_index: usize,
}

impl Scheduler {
    /// Schedules the files of `plan` that `history` does not show as done; outputs go to `tree`. Bundles are sized so that `depth` of them in each
    /// channel need at most three quarters of the `descriptors`.
    pub fn new(
        plan: &Arc<BatchPlan>,
        options: BatchOptions,
        operation: &Arc<dyn Operation>,
        history: Arc<History>,
        tree: Option<OutputTree>,
        (depth, descriptors): (NonZeroUsize, usize),
    ) -> Scheduler {
        // Files wait in the channel with reserved memory, so that workers never wait for it.
        let waiting = options.jobs.get() + depth.get();
        let memory = Window::of_weight(Stage::Files, options.budget_bytes.max(waiting as u64), waiting);
        // An uncommitted file may hold two descriptors, its own and its directory's; one that waits for a worker holds only the latter.
        let held = 2 * (waiting + depth.get()) + depth.get();
        let bundle_files = (descriptors.min(DESCRIPTORS_MAX) / 4 * 3 / held).clamp(1, BUNDLE_FILES_MAX);
        let inline_bytes_max = plan.inline_bytes_max(options.jobs);
        let (plan, operation) = (Arc::clone(plan), Arc::clone(operation));
        Scheduler { plan, options, operation, history, tree, memory, bundle_files, inline_bytes_max, next_index: 0 }
    }

    /// Starts the schedule in `threads`; jobs go to `jobs`. Returns the tree at the end.
    pub fn start(self, threads: &mut Threads, jobs: Outlet<Bundle>) -> StageResult<Option<OutputTree>> {
        threads.gate(&self.memory);
        let result = threads.source(Stage::List, jobs, self, |scheduler, jobs| {
            let (files, weight) = scheduler.bundle();
            if files.is_empty() {
                return Ok(END);
            }
            let token = match weight {
                0 => None,
                weight => Some(jobs.wait(|| scheduler.memory.take(weight)).map_err(|_| Stop::Cancelled)?),
            };
            jobs.reserve(1)?.send(Bundle { files, token }).map(|()| MORE)
        });
        result.map(|scheduler| scheduler.tree)
    }

    /// The next files, and the memory of the largest. Empty at the end.
    fn bundle(&mut self) -> (Vec<Job>, u64) {
        let (plan, mut files, mut bytes, mut weight) = (Arc::clone(&self.plan), Vec::new(), 0, 0);
        while let Some(item) = plan.items.get(self.next_index) {
            bytes += item.identity.bytes;
            if !files.is_empty() && (bytes > BUNDLE_BYTES || files.len() == self.bundle_files) {
                break;
            }
            let index = self.next_index;
            self.next_index += 1;
            let untouched = |result| Job::Completed(CompletedFile::untouched(index, result));
            files.push(match self.decide(item, index) {
                Ok(Decision::Unchanged(delete)) => untouched(Ok(FileResult::Unchanged(delete))),
                Ok(Decision::Work(job)) => {
                    weight = weight.max(self.operation.weight(item, job.is_inline));
                    Job::Work(job)
                }
                Err(error) => untouched(Err(error)),
            });
        }
        (files, weight)
    }

    /// Decides whether a file needs work.
    fn decide(&mut self, item: &Item, index: usize) -> Result<Decision, FileError> {
        let is_inline = item.identity.bytes <= self.inline_bytes_max;
        let Some(tree) = &mut self.tree else {
            let job = FileJob { index, is_inline, target: None, replaces: false, skip_if: None };
            return Ok(Decision::Work(Box::new(job)));
        };
        let path = tree.path.join(&item.place);
        let shown = || quoted(&path);
        let there = match std::fs::symlink_metadata(&path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Doing::Write.failed(&shown())(error).into()),
        };
        if there.is_some() {
            // Finds what killed runs left there, even beside outputs that need no work. Whether it can be opened matters only for those that do.
            let _ = tree.directory_of(&item.place);
        }
        let record = there.as_ref().and_then(|there| self.history.record(&item.place, &FileId::of(there)));
        let OutputOptions { force, .. } = self.options.output;
        let skip_if: Option<Digest> =
            match record.map(|record| (record, self.operation.judge(item, record, self.options.checksum))) {
                Some((record, Verdict::Done)) if self.options.rm && record.fate != InputFate::Needed => {
                    let directory = tree.directory_of(&item.place).map_err(Doing::LookAt.failed(&shown()))?;
                    let name = item.place.file_name().unwrap_or_default().to_owned();
                    let late = LateDelete { directory, name, record: record.clone(), input: item.identity };
                    return Ok(Decision::Unchanged(Some(Box::new(late))));
                }
                Some((_, Verdict::Done)) => return Ok(Decision::Unchanged(None)),
                Some((_, Verdict::Kept)) if !force => return Err(FileError::RestoredBefore(shown())),
                Some((_, Verdict::DoneIf(digest))) => Some(digest),
                Some((_, Verdict::Stale | Verdict::Kept)) | None => None,
            };
        match &there {
            Some(there) if there.is_dir() => return Err(StoreError::OutputIsDirectory(shown()).into()),
            Some(_) if record.is_some_and(|record| record.fate == InputFate::Deleted) && !force => {
                return Err(FileError::OnlyCopy(shown()));
            }
            Some(_) if record.is_none() && !force => return Err(FileError::NotOurs(shown())),
            _ => {}
        }
        let directory = tree.directory_of(&item.place).map_err(Doing::Write.failed(&shown()))?;
        // Replace an earlier run's output, but never a file created meanwhile.
        let output_options = OutputOptions { force: force || record.is_some(), ..self.options.output };
        let name = item.place.file_name().unwrap_or_default().to_owned();
        let target = Some(Target { directory, name, shown: shown(), there, output_options });
        Ok(Decision::Work(Box::new(FileJob { index, is_inline, target, replaces: record.is_some(), skip_if })))
    }
}
