//! A batch worker: one thread that does small files inline, and large ones in a pipeline that shares the CPU slots of all workers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::error::FileError;
use super::messages::{CompletedFile, FileJob, FileResult, Target, Written};
use super::operation::Operation;
use super::plan::{BatchPlan, Item};
use super::policy::Retry;
use crate::pipeline::cpu_slots::CpuSlots;
use crate::pipeline::endpoints::Endpoints;
use crate::pipeline::error::{Cause, Failure, Signal, Stop};
use crate::pipeline::inline::{Inline, InlinePools};
use crate::pipeline::metrics::{Figures, Progress};
use crate::pipeline::names::Stage;
use crate::pipeline::plan::Plan;
use crate::pipeline::shutdown::Cancel;
use crate::pipeline::supervisor::{Supervisor, Watch};
use crate::store::digest::Digest;
use crate::store::error::{Doing, StoreError};
use crate::store::input::Input;
use crate::store::name::quoted;
use crate::store::sys::{self, Directory, WakeUp};
use crate::task::executor::{Executor, RunEnds, RunOutcome};

/// After this many consecutive transient failures, retries included, the cause counts as permanent and workers stop retrying.
const HOPELESS_COUNT: u32 = 8;

/// A single file's run has no watcher, so ticks are rare.
const TICK: Duration = Duration::from_secs(60);

/// State that all workers share.
#[derive(Clone)]
pub struct Shared {
    /// CPU slots.
    pub slots: CpuSlots,
    /// Buffers of inline files.
    pub pools: InlinePools,
    /// Byte counters of all files.
    pub progress: Arc<Progress>,
    /// Consecutive files that failed with a transient error.
    pub failed_in_a_row: Arc<AtomicU32>,
    /// Cancels the batch.
    pub cancel: Cancel,
    /// Interrupts blocked reads and waits on cancellation.
    pub wake: WakeUp,
}

/// A worker thread.
pub struct Worker {
    shared: Shared,
    inline: Inline,
    /// The current file is inline.
    is_inline: bool,
    /// The last named directory, kept open, with its path.
    top: Option<(PathBuf, Directory)>,
    /// Created for the first large file.
    supervisor: Option<Supervisor>,
    /// Delivers the cancellation to a pipeline of this worker.
    signals: async_channel::Receiver<Signal>,
    figures: Figures,
}

impl Worker {
    /// A worker whose pipelines `signals` terminates.
    pub fn new(shared: Shared, signals: async_channel::Receiver<Signal>) -> Worker {
        let inline = Inline::new(&shared.pools);
        Worker { shared, inline, is_inline: true, top: None, supervisor: None, signals, figures: Figures::default() }
    }

    /// The figures of its files, inline and in pipelines.
    pub fn into_figures(self) -> Figures {
        let mut figures = self.figures;
        figures.add(self.inline.finish());
        of_one_thread(figures)
    }

    /// State that all workers share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether the batch is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancel.is_set()
    }

    /// Opens the input of `item`; see [`Item::open`].
    pub fn open(&mut self, item: &Item) -> Result<Input, StoreError> {
        item.open(&mut self.top)
    }
}

impl Executor for Worker {
    fn run(&mut self, plan: &Plan, ends: RunEnds) -> Result<RunOutcome, Failure> {
        let RunEnds { input, input_bytes, output, is_counted } = ends;
        let progress = if is_counted { Arc::clone(&self.shared.progress) } else { Arc::default() };
        let ends = |cancel| Endpoints { input, input_bytes, output, cancel, progress };
        if self.is_inline {
            let ends = ends(self.shared.cancel.clone());
            let summary = self.inline.run(&plan.work, ends).map_err(failure_of)?;
            return Ok(RunOutcome { summary, report: None });
        }
        let supervisor = match &mut self.supervisor {
            Some(supervisor) => supervisor,
            none => {
                let led = Supervisor::with_signals_from(self.signals.clone());
                none.insert(led.map_err(|error| failure_of(Stop::Failed(Cause::Spawn(error))))?)
            }
        };
        let watch = &mut Watch { tick_every: TICK, on_tick: &mut |_, _| () };
        // Its own cancellation: a failure of this file must not stop the others.
        let report = crate::pipeline::run(plan, &self.shared.slots, ends(Cancel::default()), supervisor, watch)?;
        self.figures.add(of_one_thread(report.figures));
        Ok(RunOutcome { summary: report.summary, report: None })
    }

    /// Runs on this thread, without a CPU slot.
    fn wait<T: Send + 'static>(
        &mut self,
        _: &'static str,
        step: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        Ok(step(&self.shared.cancel))
    }

    /// Runs on this thread, with a CPU slot.
    fn compute<T: Send + 'static>(
        &mut self,
        stage: Stage,
        step: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let cancel = self.shared.cancel.clone();
        Ok(self.inline.compute(stage, || step(&cancel)))
    }
}

/// Merges the threads of each stage into one: threads change with every file, and only workers can be counted.
fn of_one_thread(figures: Figures) -> Figures {
    let stages = figures.stages.into_iter().map(|mut stage| {
        stage.items_by_thread = vec![stage.items_by_thread.iter().sum()];
        stage
    });
    Figures { stages: stages.collect(), ..Figures::default() }
}

fn failure_of(stop: Stop) -> Failure {
    let cause = match stop {
        Stop::Failed(cause) => cause,
        Stop::Cancelled | Stop::Closed => Cause::Signal(Signal::Terminate),
    };
    Failure { stage: Stage::Step("file"), seq: None, cause }
}

/// Processes a file; retries it after a transient failure.
pub fn work_on(
    worker: &mut Worker,
    operation: &dyn Operation,
    plan: &BatchPlan,
    retry: Retry,
    job: FileJob,
) -> CompletedFile {
    let FileJob { index, is_inline, target, replaces, skip_if } = job;
    let (item, started_at, mut tries) = (&plan.items[index], Instant::now(), 0);
    worker.is_inline = is_inline;
    let failed_in_a_row = Arc::clone(&worker.shared.failed_in_a_row);
    let result = loop {
        tries += 1;
        let error = match try_once(worker, operation, item, target.clone(), skip_if) {
            Ok(None) => break Ok(FileResult::Unchanged(None)),
            Ok(Some(written)) => break Ok(FileResult::Worked { written: Box::new(written), replaces }),
            Err(error) => error,
        };
        let is_hopeless = failed_in_a_row.load(Ordering::Relaxed) >= HOPELESS_COUNT;
        if worker.is_cancelled() || tries > retry.count || is_hopeless || !error.is_transient() {
            break Err(error);
        }
        let wait = retry.backoff(tries, sys::random_u64().unwrap_or_default());
        tracing::info!(source = %quoted(&item.source), tries, ?wait, %error, "tried again");
        if worker.shared().wake.pause_for(wait).is_err() {
            break Err(error);
        }
    };
    match &result {
        Ok(_) => failed_in_a_row.store(0, Ordering::Relaxed),
        Err(error) if error.is_transient() => drop(failed_in_a_row.fetch_add(1, Ordering::Relaxed)),
        Err(_) => {}
    }
    CompletedFile { index, result, took: started_at.elapsed(), tries }
}

/// Processes a file once. `None` if its input has the digest `skip_if`.
fn try_once(
    worker: &mut Worker,
    operation: &dyn Operation,
    item: &Item,
    target: Option<Target>,
    skip_if: Option<Digest>,
) -> Result<Option<Written>, FileError> {
    if let Some(expected) = skip_if.filter(|expected| expected.bytes == item.identity.bytes) {
        let input = worker.open(item)?;
        let digest = Digest::of(&*input.file, || !worker.is_cancelled()).map_err(Doing::Read.failed(&input.name))?;
        if digest == expected {
            return Ok(None);
        }
    }
    operation.carry_out(worker, item, target).map(Some)
}
