//! The stage that says what is to do: which files, where their outputs go, and when there is memory for them.

use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::Conduct;
use super::commit::{Arrived, Came, ToDelete};
use super::journal::{Fate, Known};
use super::plan::{Item, Plan};
use super::tree::Tree;
use super::work::{Target, Verdict, Work};
use crate::cli::problem::{Problem, quoted};
use crate::pipeline::crew::Crew;
use crate::pipeline::error::Stop;
use crate::pipeline::stage::{Flow, Outlet};
use crate::pipeline::window::{Token, Window};
use crate::store::digest::Digest;
use crate::store::file_id::Identity;
use crate::store::output::Manner;

/// Bytes of files that travel together: some milliseconds of work.
const BUNDLE_BYTES: u64 = 512 * 1024;

/// What processes may have nearly everywhere, and so all that is reckoned with.
const DESCRIPTORS_MAX: usize = 1024;

/// Files that travel together at most.
const BUNDLE_FILES_MAX: usize = 16;

/// Files on their way to a hand. Small ones travel together, so that a tree of a million tiny files does not pay for a million hand-overs.
pub struct Bundle {
    /// Them, at least one.
    pub files: Vec<Job>,
    /// What the largest takes of the memory, until all are done: one is worked on at a time.
    pub token: Option<Token>,
}

/// A file on its way to a hand.
pub enum Job {
    /// It is to be worked on.
    Work(Box<Todo>),
    /// Nothing has to be done.
    Ended(Arrived),
}

/// What is to be done with a file.
pub struct Todo {
    /// Which of the plan's items.
    pub index: usize,
    /// Where its output goes; nowhere where nothing is written.
    pub target: Option<Target>,
    /// An older output is replaced.
    pub is_again: bool,
    /// Where the input comes to this digest, nothing has changed.
    pub unless: Option<Digest>,
}

/// What is to be done with a file.
enum Decision {
    /// Its output is there. See [`Came::Unchanged`].
    Unchanged(Option<Box<ToDelete>>),
    /// It is to be worked on.
    Work(Todo),
}

/// The stage that says what is to do: one file after the other, as the memory admits them.
pub struct Lister {
    plan: Arc<Plan>,
    conduct: Conduct,
    work: Arc<dyn Work>,
    known: Arc<Known>,
    tree: Option<Tree>,
    /// Takes the tree at the end.
    give_tree: async_channel::Sender<Tree>,
    /// What all files in flight take together.
    memory: Window,
    /// Files that travel together at most.
    bundle_files: usize,
    /// See [`Plan::solo_bytes_max`].
    solo_bytes_max: u64,
    next_index: usize,
}

impl Lister {
    /// Lists the files of `plan` that `known` does not tell to be done, and gives `tree` to `give_tree` at the end. Bundles are so
    /// large that with `depth` of them in each channel half of the `descriptors` do.
    pub fn new(
        plan: &Arc<Plan>,
        conduct: Conduct,
        work: &Arc<dyn Work>,
        known: Arc<Known>,
        (tree, give_tree): (Option<Tree>, async_channel::Sender<Tree>),
        (depth, descriptors): (NonZeroUsize, usize),
    ) -> Lister {
        // Files wait in the channel with what they will take, so that no hand waits for this.
        let waiting = conduct.jobs.get() + depth.get();
        let memory = Window::of_weight("memory", conduct.budget_bytes.max(waiting as u64), waiting);
        // Each file that is not committed may hold two descriptors, its own and its directory's, and one that waits the latter.
        let held = 2 * (waiting + depth.get()) + depth.get();
        let bundle_files = (descriptors.min(DESCRIPTORS_MAX) / 4 * 3 / held).clamp(1, BUNDLE_FILES_MAX);
        let solo_bytes_max = plan.solo_bytes_max(conduct.jobs);
        let (plan, work) = (Arc::clone(plan), Arc::clone(work));
        Lister { plan, conduct, work, known, tree, give_tree, memory, bundle_files, solo_bytes_max, next_index: 0 }
    }

    /// Starts it in `crew`; what it lists goes to `jobs`.
    pub fn start(mut self, crew: &mut Crew, jobs: Outlet<Bundle>) {
        crew.gate(&self.memory);
        crew.source("list", jobs, move |jobs| {
            let (files, weight) = self.bundle();
            if files.is_empty() {
                // There is room for the one tree.
                self.tree.take().into_iter().for_each(|tree| drop(self.give_tree.try_send(tree)));
                return Ok(Flow::End);
            }
            let token = match weight {
                0 => None,
                weight => Some(jobs.wait(|| self.memory.take(weight)).map_err(|_| Stop::Cancelled)?),
            };
            jobs.reserve(1)?.send(Bundle { files, token }).map(|()| Flow::More)
        });
    }

    /// The next files, and what the largest of them takes in memory. None at the end.
    fn bundle(&mut self) -> (Vec<Job>, u64) {
        let (plan, mut files, mut bytes, mut weight) = (Arc::clone(&self.plan), Vec::new(), 0, 0);
        while let Some(item) = plan.items.get(self.next_index) {
            bytes += item.identity.bytes;
            if !files.is_empty() && (bytes > BUNDLE_BYTES || files.len() == self.bundle_files) {
                break;
            }
            let index = self.next_index;
            self.next_index += 1;
            files.push(match self.decide(item, index) {
                Ok(Decision::Unchanged(delete)) => Job::Ended(ended(index, Ok(Came::Unchanged(delete)))),
                Ok(Decision::Work(todo)) => {
                    let is_solo = item.identity.bytes <= self.solo_bytes_max;
                    weight = weight.max(self.work.weight(item, is_solo));
                    Job::Work(Box::new(todo))
                }
                Err(error) => Job::Ended(ended(index, Err(error))),
            });
        }
        (files, weight)
    }

    /// What is to be done with a file.
    fn decide(&mut self, item: &Item, index: usize) -> anyhow::Result<Decision> {
        let Some(tree) = &mut self.tree else {
            return Ok(Decision::Work(Todo { index, target: None, is_again: false, unless: None }));
        };
        let path = tree.path.join(&item.place);
        let shown = || quoted(&path);
        let there = match std::fs::symlink_metadata(&path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", shown())),
        };
        let record = there.as_ref().and_then(|there| self.known.record(&item.place, &Identity::of(there)));
        let unless = match record.map(|record| self.work.judge(item, record, self.conduct.checksum)) {
            Some(Verdict::Done) if self.conduct.rm && record.is_some_and(|record| record.fate != Fate::Needed) => {
                let directory =
                    tree.directory_of(&item.place).with_context(|| format!("cannot look at {}", shown()))?;
                let name = item.place.file_name().unwrap_or_default().to_owned();
                let to_delete =
                    record.cloned().map(|record| ToDelete { directory, name, record, input: item.identity });
                return Ok(Decision::Unchanged(to_delete.map(Box::new)));
            }
            Some(Verdict::Done) => return Ok(Decision::Unchanged(None)),
            Some(Verdict::Kept) if !self.conduct.manner.force => {
                let message = format!("{} was restored whole, from what has changed since", shown());
                return Err(Problem::failed(message).hint("--force puts there what can be saved now").into());
            }
            Some(Verdict::DoneIf(digest)) => Some(digest),
            Some(Verdict::Stale | Verdict::Kept) | None => None,
        };
        let Manner { force, .. } = self.conduct.manner;
        match &there {
            Some(there) if there.is_dir() => {
                return Err(Problem::failed(format!("cannot write {}: it is a directory", shown())).into());
            }
            Some(_) if record.is_some_and(|record| record.fate == Fate::Deleted) && !force => {
                let message =
                    format!("{} exists already, and may be all there is of an input that --rm deleted", shown());
                return Err(Problem::failed(message).hint("--force overwrites it").into());
            }
            Some(_) if record.is_none() && !force => {
                let problem =
                    Problem::failed(format!("{} exists already, and the journal does not know it as it is", shown()));
                return Err(problem.hint("--force overwrites it").into());
            }
            _ => {}
        }
        let directory = tree.directory_of(&item.place).with_context(|| format!("cannot write {}", shown()))?;
        // What is ours is replaced; of anything that comes into being meanwhile the rename keeps off.
        let manner = Manner { force: force || record.is_some(), ..self.conduct.manner };
        let name = item.place.file_name().unwrap_or_default().to_owned();
        let old_mode = there.as_ref().map(MetadataExt::mode);
        let is_again = record.is_some();
        let target = Some(Target { directory, name, shown: shown(), old_mode, manner });
        Ok(Decision::Work(Todo { index, target, is_again, unless }))
    }
}

/// A file that nobody has to work on.
fn ended(index: usize, result: anyhow::Result<Came>) -> Arrived {
    Arrived { index, result, took: Duration::ZERO, tries: 0 }
}
