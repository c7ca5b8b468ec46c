//! Processes many files: a plan of files, and workers that share the CPU slots and memory of one run.
//!
//! ```text
//! schedule (selects files and targets) -> [files xN: the operation] -> commit (groups of files synced, recorded, renamed)
//! ```
//!
//! Read in this order: [`scan`] finds the inputs, [`plan`] and [`output_tree`] name the outputs, [`journal`] knows earlier runs, [`schedule`] picks
//! the files to do, a [`worker`] carries out the [`operation`] on each, [`commit`] publishes the outputs, and [`policy`] decides about retries
//! and stopping. [`live`] shows progress, [`results`] collects the outcomes, and [`messages`] defines what the stages send each other.
//!
//! Files complete in any order. The schedule admits files by the memory that they need, with tokens of the engine's window, so that all files in
//! flight fit in the memory of one run; a file that needs all of it runs alone.

pub mod scan;

pub mod plan;

pub mod output_tree;

pub mod journal;

mod options;

pub mod setup;

pub mod schedule;

pub mod messages;

pub mod operation;

pub mod worker;

pub mod attempts;

pub mod commit;

pub mod policy;

pub mod live;

pub mod results;

pub mod error;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::pipeline::cpu_slots::CpuSlots;
use crate::pipeline::error::{Cause, Failure, Signal};
use crate::pipeline::inline::InlinePools;
use crate::pipeline::metrics::{Figures, Progress};
use crate::pipeline::names::{Names, Stage};
use crate::pipeline::shutdown::Cancel;
use crate::pipeline::stage::{Inlet, Outlet, Step};
use crate::pipeline::supervisor::Ran;
use crate::pipeline::threads::{Concurrency, StageResult, Threads};
use crate::pipeline::window::Window;
use crate::store::sys::{self, WakeUp};
use crate::task::error::Notice;
pub use options::BatchOptions;

use attempts::work_on;
use commit::Commit;
use journal::{History, Journal};
use live::Live;
use messages::{BatchResults, Bundle, CompletedFile, Job};
use operation::Operation;
use output_tree::OutputTree;
use plan::BatchPlan;
use policy::Retry;
use schedule::Scheduler;
use worker::{Shared, Worker};

/// Bundles per channel and per commit: 16 times 16 files, so that disk syncs are rare. Fewer if descriptors are scarce.
const BUNDLES_WAITING_MAX: usize = 16;

/// A batch that is ready to run.
pub struct Batch {
    /// The files.
    pub plan: Arc<BatchPlan>,
    /// The options.
    pub options: BatchOptions,
    /// The output tree; `None` if nothing is written.
    pub tree: Option<OutputTree>,
    /// The journal of outputs.
    pub journal: Option<Journal>,
    /// Records of earlier runs.
    pub history: Arc<History>,
    /// Receives the notices of a file when it ends.
    pub tell: fn(&Notice),
    /// Interrupts blocked reads and waits when the batch is cancelled.
    pub wake: WakeUp,
}

/// The result of a batch.
pub struct RanBatch {
    /// Results of the files.
    pub results: BatchResults,
    /// The output tree, for [`OutputTree::finish`].
    pub tree: Option<OutputTree>,
    /// The measurements.
    pub figures: Figures,
    /// Wall-clock time.
    pub wall: Duration,
    /// Byte counters of all files.
    pub progress: Arc<Progress>,
    /// Why the batch failed, if it did.
    pub failure: Option<Failure>,
}

/// Supervises the threads of a batch: receives the threads, the progress counters and the files in progress.
pub type Supervise<'a> = dyn FnOnce(Threads, &Progress, &Arc<Live>) -> Result<Ran, Failure> + 'a;

/// Runs the batch; `supervise` waits for the threads.
pub fn run(batch: Batch, operation: Arc<dyn Operation>, supervise: Box<Supervise<'_>>) -> RanBatch {
    let Batch { plan, options, tree, journal, history, tell, wake } = batch;
    let descriptors = sys::raise_descriptor_limit();
    let depth = NonZeroUsize::new((descriptors / 8).min(BUNDLES_WAITING_MAX)).unwrap_or(NonZeroUsize::MIN);
    let jobs = options.jobs.get();
    let progress = Arc::new(Progress::default());
    let live = Arc::new(Live::new(Arc::clone(&plan), jobs));
    let (lead, led): (Vec<_>, Vec<_>) = (0..jobs).map(|_| async_channel::bounded(1)).unzip();
    let cancel = cancel(&wake, lead);
    let mut threads = Threads::new(cancel.clone());

    let slots = CpuSlots::shared(options.cores);
    let budget_len = usize::try_from(options.budget_bytes).unwrap_or(usize::MAX);
    let pools = InlinePools::new(jobs, budget_len, slots.clone());
    let shared =
        Shared { slots, pools, progress: Arc::clone(&progress), failed_in_a_row: Arc::default(), cancel, wake };
    let workers = Workers {
        plan: Arc::clone(&plan),
        operation: Arc::clone(&operation),
        live: Arc::clone(&live),
        retry: options.retry,
        make: Box::new(move |index: usize| Worker::new(shared.clone(), led[index].clone())),
    };
    let (jobs_out, completed_in) =
        workers.start(&mut threads, Concurrency { workers: options.jobs, channel_depth: depth });
    let scheduler = Scheduler::new(&plan, options, &operation, history, tree, (depth, descriptors));
    let tree = scheduler.start(&mut threads, jobs_out);
    let commit = Commit::new(&plan, journal, options, tell);
    let results = start_commit(&mut threads, completed_in, depth, commit, Arc::clone(&live));

    let (figures, wall, failure) = match supervise(threads, &progress, &live) {
        Ok(ran) => (ran.figures, ran.wall, None),
        Err(failure) => (Figures::default(), Duration::ZERO, Some(failure)),
    };
    let results = results.take().unwrap_or_default();
    RanBatch { results, tree: tree.take().flatten(), figures, wall, progress, failure }
}

/// The cancellation of a batch: wakes reads and waits, and terminates the workers' pipelines.
fn cancel(wake: &WakeUp, lead: Vec<async_channel::Sender<Signal>>) -> Cancel {
    let wake = wake.cancel();
    Cancel::new(move || {
        wake.cancel();
        // Each channel has room for one signal.
        for lead in &lead {
            let _ = lead.try_send(Signal::Terminate);
        }
    })
}

/// The parallel stage of a batch.
struct Workers {
    plan: Arc<BatchPlan>,
    operation: Arc<dyn Operation>,
    live: Arc<Live>,
    retry: Retry,
    make: Box<dyn Fn(usize) -> Worker + Send + Sync>,
}

impl Workers {
    fn start(self, threads: &mut Threads, width: Concurrency) -> (Outlet<Bundle>, Inlet<Vec<CompletedFile>>) {
        let names = Names { before: Stage::List, stage: Stage::Files, behind: Stage::Commit };
        let window = Window::of_items(Stage::Files, width.token_count());
        let workers = Arc::new(self);
        threads.parallel(names, width, window, move |index| {
            Ok(FileStep { workers: Arc::clone(&workers), index, worker: (workers.make)(index) })
        })
    }

    /// Processes a bundle one file at a time. On cancellation the next run does the rest.
    fn work_off(&self, index: usize, worker: &mut Worker, Bundle { files, token }: Bundle) -> Vec<CompletedFile> {
        let mut completed = Vec::with_capacity(files.len());
        for job in files {
            match job {
                Job::Completed(file) => completed.push(file),
                Job::Work(_) if worker.is_cancelled() => break,
                Job::Work(job) => {
                    self.live.set(index, Some(job.index));
                    let file = work_on(worker, &*self.operation, &self.plan, self.retry, *job);
                    // A cancelled file's error does not concern the file.
                    if file.result.is_err() && worker.is_cancelled() {
                        break;
                    }
                    completed.push(file);
                }
            }
        }
        self.live.set(index, None);
        drop(token);
        completed
    }
}

/// One worker of the parallel stage.
struct FileStep {
    workers: Arc<Workers>,
    index: usize,
    worker: Worker,
}

impl Step<Bundle, Vec<CompletedFile>> for FileStep {
    fn apply(&mut self, bundle: Bundle) -> Result<Vec<CompletedFile>, Cause> {
        Ok(self.workers.work_off(self.index, &mut self.worker, bundle))
    }

    fn finish(self) -> Figures {
        self.worker.into_figures()
    }
}

fn start_commit(
    threads: &mut Threads,
    completed: Inlet<Vec<CompletedFile>>,
    depth: NonZeroUsize,
    commit: Commit,
    live: Arc<Live>,
) -> StageResult<BatchResults> {
    let result = threads.gathering_sink(Stage::Commit, completed, depth.get(), commit, move |commit, bundles| {
        let completed: Vec<CompletedFile> = bundles.into_iter().flatten().collect();
        live.add_ended(completed.len());
        commit.take(completed)
    });
    result.map(Commit::into_results)
}
