//! The threads of one run: starts them, joins their stages by channels, and collects how each ended.
//!
//! Every thread reports its end, even after a panic; the [supervisor](super::supervisor) waits for these reports.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use super::batching_sink::run_gathering_sink;
use super::buffer::check_room;
use super::error::{Cause, Failure, Stop};
use super::gauges::{BusyGauge, Gauges};
use super::metrics::Figures;
use super::names::{Channel, Names, Stage};
use super::queue::{QueueReceiver, QueueSender, queue};
use super::shutdown::Cancel;
use super::stage::{Ending, Inlet, Outlet, Step, run_serial, run_sink, run_source, run_worker};
use super::window::{Gate, Window};

/// Bytes of a thread's stack: Rust's default, named since the room for it is checked.
const STACK_LEN: usize = 2 * 1024 * 1024;

/// The width of the parallel stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Workers in each parallel stage.
    pub workers: NonZeroUsize,
    /// Capacity of each bounded channel, in items.
    pub channel_depth: NonZeroUsize,
}

impl Concurrency {
    /// Most items in flight across one parallel stage: one per worker, and both channels full.
    pub fn token_count(&self) -> usize {
        self.workers.get().saturating_add(self.channel_depth.get().saturating_mul(2))
    }
}

/// A thread's report of its end.
pub(super) struct Ended {
    pub ending: Ending,
    pub figures: Figures,
    /// Whether its end completes the run.
    pub is_finisher: bool,
}

/// The state of a stage, returned when the stage ends in any way but a panic.
pub struct StageResult<T>(Box<dyn FnOnce() -> Option<T> + Send>);

impl<T: Send + 'static> StageResult<T> {
    fn new() -> (SyncSender<T>, StageResult<T>) {
        let (give, given) = sync_channel(1);
        (give, StageResult(Box::new(move || given.try_recv().ok())))
    }

    /// The result. `None` if the stage panicked or still works; call it after the supervisor has returned.
    pub fn take(self) -> Option<T> {
        self.0()
    }

    /// Applies `map` to the result.
    pub fn map<U: 'static>(self, map: impl FnOnce(T) -> U + Send + 'static) -> StageResult<U> {
        StageResult(Box::new(move || self.0().map(map)))
    }
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
    /// A run without threads yet, which `cancel` stops.
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

    /// Starts the workers of a parallel stage. Calls `make` on each worker's thread, with its index, to create the worker's step. Returns
    /// the outlet for the serial stage before and the inlet for the one after.
    pub fn parallel<I, O, S>(
        &mut self,
        Names { before, stage, behind }: Names,
        width: Concurrency,
        window: Window,
        make: impl Fn(usize) -> Result<S, Cause> + Send + Sync + 'static,
    ) -> (Outlet<I>, Inlet<O>)
    where
        I: Send + 'static,
        O: Send + 'static,
        S: Step<I, O>,
    {
        let (to_workers, at_workers) = self.channel(before, stage, width.channel_depth);
        let (from_workers, behind_workers) = self.channel(stage, behind, width.channel_depth);
        self.gates.push(window.gate());
        let make = Arc::new(make);
        for index in 0..width.workers.get() {
            let (source, sink, make) = (at_workers.another(), from_workers.another(), Arc::clone(&make));
            self.spawn(stage, false, move |gauge| match make(index) {
                Ok(step) => run_worker(gauge, source, sink, step),
                Err(cause) => (Err(Stop::Failed(Failure { stage, seq: None, cause })), Figures::default()),
            });
        }
        (Outlet::new(window, to_workers), Inlet::new(behind, behind_workers))
    }

    /// Joins two serial stages, so that one reads while the other writes.
    pub fn direct<T: Send + 'static>(
        &mut self,
        before: Stage,
        behind: Stage,
        depth: NonZeroUsize,
        window: Window,
    ) -> (Outlet<T>, Inlet<T>) {
        let (sender, receiver) = self.channel(before, behind, depth);
        self.gates.push(window.gate());
        (Outlet::new(window, sender), Inlet::new(behind, receiver))
    }

    fn channel<T: Send + 'static>(
        &mut self,
        from: Stage,
        to: Stage,
        depth: NonZeroUsize,
    ) -> (QueueSender<T>, QueueReceiver<T>) {
        let (sender, receiver) = queue(Channel { from, to }, depth.get());
        self.gauges.channel(receiver.gauge());
        (sender, receiver)
    }

    /// Starts the source: calls `body` with `state` until it ends.
    pub fn source<S: Send + 'static, T: Send + 'static>(
        &mut self,
        stage: Stage,
        outlet: Outlet<T>,
        state: S,
        body: impl FnMut(&mut S, &mut Outlet<T>) -> Result<ControlFlow<()>, Stop> + Send + 'static,
    ) -> StageResult<S> {
        let cancel = self.cancel.clone();
        self.spawn_with_result(stage, false, move |gauge| run_source(gauge, &cancel, outlet, state, body))
    }

    /// Starts a serial stage between two parallel ones: calls `body` with `state` and each item in order, then with `None`.
    pub fn serial<S: Send + 'static, I: Send + 'static, O: Send + 'static>(
        &mut self,
        stage: Stage,
        inlet: Inlet<I>,
        outlet: Outlet<O>,
        state: S,
        body: impl FnMut(&mut S, Option<I>, &mut Outlet<O>) -> Result<(), Stop> + Send + 'static,
    ) -> StageResult<S> {
        let cancel = self.cancel.clone();
        self.spawn_with_result(stage, false, move |gauge| run_serial(gauge, &cancel, inlet, outlet, state, body))
    }

    /// Starts the sink: calls `body` with `state` and each item in order, then with `None`. Its end completes the run.
    pub fn sink<S: Send + 'static, T: Send + 'static>(
        &mut self,
        stage: Stage,
        inlet: Inlet<T>,
        state: S,
        body: impl FnMut(&mut S, Option<T>) -> Result<ControlFlow<()>, Stop> + Send + 'static,
    ) -> StageResult<S> {
        let cancel = self.cancel.clone();
        self.spawn_with_result(stage, true, move |gauge| run_sink(gauge, &cancel, inlet, state, body))
    }

    /// Starts a sink that takes items in any order: calls `body` with `state` and the items that have arrived, at most `count_max`, until all
    /// have arrived or it needs no more. Its end completes the run.
    pub fn gathering_sink<S: Send + 'static, T: Send + 'static>(
        &mut self,
        stage: Stage,
        inlet: Inlet<T>,
        count_max: usize,
        state: S,
        body: impl FnMut(&mut S, Vec<T>) -> Result<ControlFlow<()>, Stop> + Send + 'static,
    ) -> StageResult<S> {
        let (cancel, queue) = (self.cancel.clone(), inlet.into_queue());
        self.spawn_with_result(stage, true, move |gauge| {
            run_gathering_sink(gauge, &cancel, queue, count_max, state, body)
        })
    }

    /// Registers another window, to close it when the run fails.
    pub fn gate(&mut self, window: &Window) {
        self.gates.push(window.gate());
    }

    /// Starts a run of a single thread; `body` returns its figures and its result.
    pub fn alone<T: Send + 'static>(
        &mut self,
        stage: Stage,
        body: impl FnOnce(&Cancel) -> Result<(Figures, T), Stop> + Send + 'static,
    ) -> StageResult<T> {
        let cancel = self.cancel.clone();
        let (give, result) = StageResult::new();
        self.spawn(stage, true, move |gauge| {
            // It counts as busy throughout.
            gauge.begin(Instant::now());
            match body(&cancel) {
                Ok((figures, value)) => {
                    let _ = give.try_send(value);
                    (Ok(()), figures)
                }
                Err(stop) => (Err(stop.at(stage, None)), Figures::default()),
            }
        });
        result
    }

    fn spawn_with_result<S: Send + 'static>(
        &mut self,
        stage: Stage,
        is_finisher: bool,
        body: impl FnOnce(BusyGauge) -> (Ending, Figures, S) + Send + 'static,
    ) -> StageResult<S> {
        let (give, result) = StageResult::new();
        self.spawn(stage, is_finisher, move |gauge| {
            let (ending, figures, state) = body(gauge);
            // The channel has room; the receiver may be gone.
            let _ = give.try_send(state);
            (ending, figures)
        });
        result
    }

    /// After a thread could not be started, no other is: the run has failed, and what was made for them is dropped, which closes their channels.
    fn spawn(
        &mut self,
        stage: Stage,
        is_finisher: bool,
        body: impl FnOnce(BusyGauge) -> (Ending, Figures) + Send + 'static,
    ) {
        if self.spawn_failure.is_some() {
            return;
        }
        let (say_ended, gauge) = (self.say_ended.clone(), self.gauges.thread(stage));
        let thread = move || {
            tracing::debug!(%stage, "a thread starts");
            let (ending, figures) = catch_unwind(AssertUnwindSafe(|| body(gauge))).unwrap_or_else(|panic| {
                let cause = Cause::Panicked(panic_text(panic.as_ref()));
                (Err(Stop::Failed(Failure { stage, seq: None, cause })), Figures::default())
            });
            tracing::debug!(%stage, ?ending, "a thread ends");
            // The supervisor listens until all have ended; if it is gone, so is the run.
            let _ = say_ended.try_send(Ended { ending, figures, is_finisher });
        };
        let builder = std::thread::Builder::new().name(stage.name().into()).stack_size(STACK_LEN);
        match check_room(STACK_LEN).and_then(|()| builder.spawn(thread).map_err(Cause::Spawn)) {
            Ok(handle) => self.threads.push(handle),
            Err(cause) => self.spawn_failure = Some(Failure { stage, seq: None, cause }),
        }
    }
}

/// The message of a panic.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned());
    text.trim_start_matches("internal error: ").to_owned()
}
