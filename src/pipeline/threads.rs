//! The threads of one run: starts them, joins their stages by channels, and hears how each ended.
//!
//! A thread that ends in whatever way, a panic included, says so; that is what the [supervisor](super::supervisor) listens to.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use super::batching_sink::run_gathering_sink;
use super::error::{Cause, Failure, Stop};
use super::gauges::{BusyGauge, Gauges};
use super::metrics::Figures;
use super::queue::queue;
use super::shutdown::Cancel;
use super::stage::{Flow, Inlet, Outcome, Outlet, run_serial, run_sink, run_source, run_worker};
use super::window::{Gate, Window};

/// How wide a parallel stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Workers in each parallel stage.
    pub workers: NonZeroUsize,
    /// Items that each bounded channel holds.
    pub channel_depth: NonZeroUsize,
}

impl Concurrency {
    /// Items in flight across one parallel stage: one at each worker, and both its channels full.
    pub fn token_count(&self) -> usize {
        self.workers.get().saturating_add(self.channel_depth.get().saturating_mul(2))
    }
}

/// The names of a parallel stage and of the channels on both its sides.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The stage.
    pub stage: &'static str,
    /// The channel in front of it.
    pub before: &'static str,
    /// The channel behind it.
    pub behind: &'static str,
    /// The serial stage behind it, which owns the reorder ring.
    pub next: &'static str,
}

/// What a thread says when it ends.
pub(super) struct Ended {
    pub outcome: Outcome,
    pub figures: Figures,
    /// The thread whose end completes the run.
    pub is_finisher: bool,
}

/// The threads of one run.
pub struct Threads {
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) ended: async_channel::Receiver<Ended>,
    pub(super) cancel: Cancel,
    pub(super) gates: Vec<Gate>,
    pub(super) spawn_failure: Option<Failure>,
    pub(super) started_at: Instant,
    pub(super) gauges: Gauges,
    say_ended: async_channel::Sender<Ended>,
}

impl Threads {
    /// A run without threads yet, that `cancel` stops.
    pub fn new(cancel: Cancel) -> Threads {
        let (say_ended, ended) = async_channel::unbounded();
        let started_at = Instant::now();
        Threads {
            threads: Vec::new(),
            ended,
            cancel,
            gates: Vec::new(),
            spawn_failure: None,
            started_at,
            gauges: Gauges::new(started_at),
            say_ended,
        }
    }

    /// Starts the workers of a parallel stage. `make` is called on each worker's thread, with its index, to make the step that
    /// this worker applies to items. Gives the outlet for the serial stage in front and the inlet for the one behind.
    pub fn parallel<I, O, S>(
        &mut self,
        names: Names,
        width: Concurrency,
        window: Window,
        make: impl Fn(usize) -> Result<S, Cause> + Send + Sync + 'static,
    ) -> (Outlet<I>, Inlet<O>)
    where
        I: Send + 'static,
        O: Send + 'static,
        S: FnMut(I) -> Result<O, Cause>,
    {
        let (to_workers, at_workers) = queue(names.before, width.channel_depth.get());
        let (from_workers, behind_workers) = queue(names.behind, width.channel_depth.get());
        self.gates.push(window.gate());
        self.gauges.channel(at_workers.gauge());
        self.gauges.channel(behind_workers.gauge());
        let make = Arc::new(make);
        for index in 0..width.workers.get() {
            let (source, sink, make) = (at_workers.another(), from_workers.another(), Arc::clone(&make));
            self.spawn(names.stage, false, move |gauge| match make(index) {
                Ok(step) => run_worker(gauge, source, sink, step),
                Err(cause) => (Outcome::Failed(Failure { stage: names.stage, seq: None, cause }), Figures::default()),
            });
        }
        (Outlet::new(window, to_workers), Inlet::new(names.next, behind_workers))
    }

    /// Starts the stage that makes items: `body` is called until it ends.
    pub fn source<T: Send + 'static>(
        &mut self,
        name: &'static str,
        outlet: Outlet<T>,
        body: impl FnMut(&mut Outlet<T>) -> Result<Flow, Stop> + Send + 'static,
    ) {
        let cancel = self.cancel.clone();
        self.spawn(name, false, move |gauge| run_source(gauge, &cancel, outlet, body));
    }

    /// Starts a serial stage between two parallel ones: `body` gets each item in order, and `None` at the end.
    pub fn serial<I: Send + 'static, O: Send + 'static>(
        &mut self,
        name: &'static str,
        inlet: Inlet<I>,
        outlet: Outlet<O>,
        body: impl FnMut(Option<I>, &mut Outlet<O>) -> Result<(), Stop> + Send + 'static,
    ) {
        let cancel = self.cancel.clone();
        self.spawn(name, false, move |gauge| run_serial(gauge, &cancel, inlet, outlet, body));
    }

    /// Starts the stage that uses up items: `body` gets each in order, and `None` at the end. When it is done, so is the run.
    pub fn sink<T: Send + 'static>(
        &mut self,
        name: &'static str,
        inlet: Inlet<T>,
        body: impl FnMut(Option<T>) -> Result<Flow, Stop> + Send + 'static,
    ) {
        let cancel = self.cancel.clone();
        self.spawn(name, true, move |gauge| run_sink(gauge, &cancel, inlet, body));
    }

    /// Starts a stage that uses up items as they come: `body` gets what there is, at most `count_max` items, until it wants no
    /// more or there are none. Then it is done, and so is the run.
    pub fn gathering_sink<T: Send + 'static>(
        &mut self,
        name: &'static str,
        inlet: Inlet<T>,
        count_max: usize,
        body: impl FnMut(Vec<T>) -> Result<Flow, Stop> + Send + 'static,
    ) {
        let (cancel, queue) = (self.cancel.clone(), inlet.into_queue());
        self.spawn(name, true, move |gauge| run_gathering_sink(gauge, &cancel, queue, count_max, body));
    }

    /// Another window that a stage waits at, to be closed when the run fails.
    pub fn gate(&mut self, window: &Window) {
        self.gates.push(window.gate());
    }

    /// Starts a run that is a single thread.
    pub fn alone(&mut self, name: &'static str, body: impl FnOnce(&Cancel) -> Result<Figures, Stop> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.spawn(name, true, move |gauge| {
            // It works from its start to its end.
            gauge.begin(Instant::now());
            match body(&cancel) {
                Ok(figures) => (Outcome::Done, figures),
                Err(Stop::Cancelled | Stop::Closed) => (Outcome::Cancelled, Figures::default()),
                Err(Stop::Failed(cause)) => {
                    (Outcome::Failed(Failure { stage: name, seq: None, cause }), Figures::default())
                }
            }
        });
    }

    /// Once a thread could not be started no other is: the run has failed, and what was made for them is dropped, which
    /// closes their channels.
    fn spawn(
        &mut self,
        stage: &'static str,
        is_finisher: bool,
        body: impl FnOnce(BusyGauge) -> (Outcome, Figures) + Send + 'static,
    ) {
        if self.spawn_failure.is_some() {
            return;
        }
        let (say_ended, gauge) = (self.say_ended.clone(), self.gauges.thread(stage));
        let thread = move || {
            tracing::debug!(stage, "a thread starts");
            let (outcome, figures) = catch_unwind(AssertUnwindSafe(|| body(gauge))).unwrap_or_else(|panic| {
                let cause = Cause::Panicked(panic_text(panic.as_ref()));
                (Outcome::Failed(Failure { stage, seq: None, cause }), Figures::default())
            });
            tracing::debug!(stage, ?outcome, "a thread ends");
            // The supervisor listens until all have ended; if it is gone, so is the run.
            let _ = say_ended.try_send(Ended { outcome, figures, is_finisher });
        };
        match std::thread::Builder::new().name(stage.into()).spawn(thread) {
            Ok(handle) => self.threads.push(handle),
            Err(error) => self.spawn_failure = Some(Failure { stage, seq: None, cause: Cause::Spawn(error) }),
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned());
    text.trim_start_matches("internal error: ").to_owned()
}
