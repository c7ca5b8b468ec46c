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

/// Nobody watches a single file's run, so it is seldom woken for that.
const TICK: Duration = Duration::from_secs(60);

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    /// Permits to compute.
    pub slots: CpuSlots,
    /// Buffers of the files that are done inline.
    pub pools: InlinePools,
    /// Bytes of all files.
    pub progress: Arc<Progress>,
    /// Files in a row that failed for a transient reason.
    pub failed_in_a_row: Arc<AtomicU32>,
    /// Ends the batch.
    pub cancel: Cancel,
    /// Wakes reads and waits when it ends.
    pub wake: WakeUp,
}

/// One of the threads.
pub struct Worker {
    shared: Shared,
    inline: Inline,
    /// The file at hand is done inline.
    is_inline: bool,
    /// The directory that the last file was below of, as it was named.
    top: Option<(PathBuf, Directory)>,
    /// Made for the first large file.
    supervisor: Option<Supervisor>,
    /// How the end of the batch reaches a pipeline that runs here.
    signals: async_channel::Receiver<Signal>,
    figures: Figures,
}

impl Worker {
    /// A worker that hears of the end by `signals`.
    pub fn new(shared: Shared, signals: async_channel::Receiver<Signal>) -> Worker {
        let inline = Inline::new(&shared.pools);
        Worker { shared, inline, is_inline: true, top: None, supervisor: None, signals, figures: Figures::default() }
    }

    /// What its files took, inline and in pipelines.
    pub fn into_figures(self) -> Figures {
        let mut figures = self.figures;
        figures.add(self.inline.finish());
        of_one_thread(figures)
    }

    /// What all workers share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Takes the next file on; `is_inline` says that this thread does it alone.
    pub fn begin(&mut self, is_inline: bool) {
        self.is_inline = is_inline;
    }

    /// Whether the batch is being ended.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancel.is_set()
    }

    /// Opens the input of a file: see [`Item::open`].
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
        // A cancel of its own: when this file fails, the others go on.
        let report = crate::pipeline::run(plan, &self.shared.slots, ends(Cancel::default()), supervisor, watch)?;
        self.figures.add(of_one_thread(report.figures));
        Ok(RunOutcome { summary: report.summary, report: None })
    }

    /// On this thread, without a CPU slot.
    fn wait<T: Send + 'static>(
        &mut self,
        _: &'static str,
        step: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        Ok(step(&self.shared.cancel))
    }

    /// On this thread, with a CPU slot.
    fn compute<T: Send + 'static>(
        &mut self,
        stage: Stage,
        step: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let cancel = self.shared.cancel.clone();
        Ok(self.inline.compute(stage, || step(&cancel)))
    }
}

/// The steps of a run as this worker's own: threads come and go with every file, and only workers can be counted.
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
