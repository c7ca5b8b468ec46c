//! A batch worker: one thread that does small files inline, and large ones in a pipeline that shares the CPU slots of all workers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::plan::Item;
use crate::pipeline::cpu_slots::CpuSlots;
use crate::pipeline::endpoints::Endpoints;
use crate::pipeline::error::{Cause, Failure, Signal, Stop};
use crate::pipeline::inline::{Inline, InlinePools};
use crate::pipeline::metrics::{Figures, Progress};
use crate::pipeline::names::Stage;
use crate::pipeline::plan::Plan;
use crate::pipeline::shutdown::Cancel;
use crate::pipeline::supervisor::{Supervisor, Watch};
use crate::store::error::StoreError;
use crate::store::input::Input;
use crate::store::sys::{Directory, WakeUp};
use crate::task::executor::{Executor, RunEnds, RunOutcome};

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

    /// Takes the next file on; `is_inline` says that this thread does it alone.
    pub fn begin(&mut self, is_inline: bool) {
        self.is_inline = is_inline;
    }

    /// Whether the batch is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancel.is_set()
    }

    /// Opens the input of `item`; see [`Item::open`].
    pub fn open(&mut self, item: &Item) -> Result<Input, StoreError> {
        item.open(&mut self.top, &self.shared.wake)
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
