//! The loops of the engine: serial stages, which see items in order on one thread, and the workers of parallel stages.
//!
//! ```text
//! source -> [worker xN] -> serial -> [worker xN] -> sink
//!        Outlet         Inlet    Outlet          Inlet
//! ```
//!
//! An [`Outlet`] takes a token, numbers the item and sends it. An [`Inlet`] receives items in any order, yields them in order, and frees
//! the token of each when the next one is requested. The recipes supply the bodies, which process an item.
//!
//! Two rules hold everywhere:
//!
//! - **The end is announced.** After the last item a source sends the item count. A stage that has seen that many items passes it on. A
//!   channel that closes without it means that a stage died; no later stage may take that for the end.
//! - **Failures keep their place.** A failure on an item travels on in its place, so that everything before it still comes out and the
//!   reported failure is the first in order, not in time. Only a panic, or a failure on no item, is reported by the thread itself.

use std::ops::ControlFlow;
use std::time::Instant;

use super::error::{Cause, Failure, Stop};
use super::gauges::BusyGauge;
use super::metrics::{Figures, ReorderFigures, StageFigures, elapsed_ns, histogram};
use super::names::Stage;
use super::queue::{QueueReceiver, QueueSender};
use super::reorder::Reorder;
use super::shutdown::Cancel;
use super::window::{Token, Window};

/// A message between stages.
pub(super) enum Message<T> {
    Item {
        seq: u64,
        token: Token,
        item: Result<T, Failure>,
    },
    /// The source sent `count` items in all.
    End {
        count: u64,
    },
}

/// Returned by a body that wants another call.
pub const MORE: ControlFlow<()> = ControlFlow::Continue(());

/// Returned by a source at the end of its input, and by a sink that needs no more.
pub const END: ControlFlow<()> = ControlFlow::Break(());

/// How a thread of a stage ended.
pub(super) type Ending = Result<(), Stop<Failure>>;

/// The step of a worker: what it does to each item.
pub trait Step<I, O> {
    /// Processes one item.
    fn apply(&mut self, item: I) -> Result<O, Cause>;

    /// Extra figures, once there are no more items.
    fn finish(self) -> Figures
    where
        Self: Sized,
    {
        Figures::default()
    }
}

impl<I, O, F: FnMut(I) -> Result<O, Cause>> Step<I, O> for F {
    fn apply(&mut self, item: I) -> Result<O, Cause> {
        self(item)
    }
}

/// The sending end of a serial stage, towards the workers after it.
pub struct Outlet<T> {
    window: Window,
    queue: QueueSender<Message<T>>,
    next_seq: u64,
    /// Time spent in [`Outlet::wait`].
    waited_elsewhere_ns: u64,
}

/// Permission to send one item. Its token is taken before the item is made, which bounds items in the making too.
pub struct Slot<'a, T> {
    outlet: &'a mut Outlet<T>,
    token: Token,
}

impl<T> Outlet<T> {
    pub(super) fn new(window: Window, queue: QueueSender<Message<T>>) -> Outlet<T> {
        Outlet { window, queue, next_seq: 0, waited_elsewhere_ns: 0 }
    }

    /// Waits for a token of `weight`.
    pub fn reserve(&mut self, weight: u64) -> Result<Slot<'_, T>, Stop> {
        let token = self.window.take(weight).map_err(|_| Stop::Cancelled)?;
        Ok(Slot { outlet: self, token })
    }

    /// Calls `wait`, whose time does not count as work.
    pub fn wait<R>(&mut self, wait: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = wait();
        self.waited_elsewhere_ns += elapsed_ns(start);
        result
    }

    /// The number of the next item: how many were sent.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    fn end(&mut self) -> Result<(), Stop> {
        self.queue.send(Message::End { count: self.next_seq }).map_err(|_| Stop::Closed)
    }

    /// Sends a failure in place of an item. If nobody receives it, the run has already ended for another reason, and only the first failure
    /// counts.
    fn fail(&mut self, failure: Failure) {
        if let Ok(token) = self.window.take(1) {
            let message = Message::Item { seq: self.next_seq, token, item: Err(failure) };
            let _ = self.queue.send(message);
        }
    }

    fn waited_ns(&self) -> u64 {
        self.window.figures().wait_ns + self.queue.blocked_ns() + self.waited_elsewhere_ns
    }

    fn finish(self, figures: &mut Figures) {
        figures.windows.push(self.window.figures());
        figures.channels.push(self.queue.finish());
    }
}

impl<T> Slot<'_, T> {
    /// Sends `item`; blocks while the channel is full.
    pub fn send(self, item: T) -> Result<(), Stop> {
        let seq = self.outlet.next_seq;
        self.outlet.next_seq += 1;
        self.outlet.queue.send(Message::Item { seq, token: self.token, item: Ok(item) }).map_err(|_| Stop::Closed)
    }
}

/// The receiving end of a serial stage: yields the items of the workers before it in order.
pub struct Inlet<T> {
    queue: QueueReceiver<Message<T>>,
    reorder: Reorder<Held<T>>,
    item_count: Option<u64>,
    /// Token of the item yielded last, which is still in use.
    in_hand: Option<Token>,
    figures: ReorderFigures,
}

struct Held<T> {
    item: Result<T, Failure>,
    token: Token,
    since: Instant,
}

impl<T> Inlet<T> {
    pub(super) fn new(name: Stage, queue: QueueReceiver<Message<T>>) -> Inlet<T> {
        let figures = ReorderFigures { name, depth: histogram(), wait_ns: histogram() };
        Inlet { queue, reorder: Reorder::default(), item_count: None, in_hand: None, figures }
    }

    /// The next item in order with its number; `None` after the last. The call frees the token of the previous item.
    fn next(&mut self) -> Result<Option<(u64, T)>, Stop<Failure>> {
        self.in_hand = None;
        loop {
            if let Some((seq, Held { item, token, since })) = self.reorder.pop() {
                self.in_hand = Some(token);
                self.figures.wait_ns.saturating_record(elapsed_ns(since));
                return item.map(|item| Some((seq, item))).map_err(Stop::Failed);
            }
            if self.item_count == Some(self.reorder.next_seq()) {
                return Ok(None);
            }
            match self.queue.recv() {
                Ok(Message::Item { seq, token, item }) => {
                    self.figures.depth.saturating_record(self.reorder.held_count() as u64);
                    self.reorder.insert(seq, Held { item, token, since: Instant::now() });
                }
                Ok(Message::End { count }) => self.item_count = Some(count),
                Err(_) => return Err(Stop::Closed),
            }
        }
    }

    /// The channel alone, for a sink that takes items in any order.
    pub(super) fn into_queue(self) -> QueueReceiver<Message<T>> {
        self.queue
    }

    fn finish(self, figures: &mut Figures) {
        figures.channels.push(self.queue.finish());
        figures.reorders.push(self.figures);
    }
}

/// Runs a source: calls `body` with `state` until the input ends. Returns the state.
pub(super) fn run_source<S, T>(
    gauge: BusyGauge,
    cancel: &Cancel,
    mut outlet: Outlet<T>,
    mut state: S,
    mut body: impl FnMut(&mut S, &mut Outlet<T>) -> Result<ControlFlow<()>, Stop>,
) -> (Ending, Figures, S) {
    let stage = gauge.stage();
    let mut meter = Meter::new(gauge, false);
    let ended = loop {
        if cancel.is_set() {
            break Err(Stop::Cancelled);
        }
        match meter.time_with(&mut outlet, |outlet| body(&mut state, outlet)) {
            Ok(MORE) => {}
            Ok(END) => break outlet.end(),
            Err(stop) => break Err(stop),
        }
    };
    let seq = outlet.next_seq;
    let ending = hand_on(&mut outlet, ended.map_err(|stop| stop.at(stage, Some(seq))));
    outlet.finish(&mut meter.figures);
    (ending, meter.finish(), state)
}

/// Runs a serial stage between two pools: calls `body` with `state` and each item in order, then with `None`.
pub(super) fn run_serial<S, I, O>(
    gauge: BusyGauge,
    cancel: &Cancel,
    mut inlet: Inlet<I>,
    mut outlet: Outlet<O>,
    mut state: S,
    mut body: impl FnMut(&mut S, Option<I>, &mut Outlet<O>) -> Result<(), Stop>,
) -> (Ending, Figures, S) {
    let stage = gauge.stage();
    let mut meter = Meter::new(gauge, false);
    let ended = loop {
        if cancel.is_set() {
            break Err(Stop::Cancelled);
        }
        let (seq, item) = match inlet.next() {
            Ok(next) => next.unzip(),
            Err(stop) => break Err(stop),
        };
        let is_end = item.is_none();
        if let Err(stop) = meter.time_with(&mut outlet, |outlet| body(&mut state, item, outlet)) {
            break Err(stop.at(stage, seq));
        }
        if is_end {
            break outlet.end().map_err(|stop| stop.at(stage, None));
        }
    };
    let ending = hand_on(&mut outlet, ended);
    inlet.finish(&mut meter.figures);
    outlet.finish(&mut meter.figures);
    (ending, meter.finish(), state)
}

/// Runs the sink: calls `body` with `state` and each item in order, then with `None`.
pub(super) fn run_sink<S, T>(
    gauge: BusyGauge,
    cancel: &Cancel,
    mut inlet: Inlet<T>,
    mut state: S,
    mut body: impl FnMut(&mut S, Option<T>) -> Result<ControlFlow<()>, Stop>,
) -> (Ending, Figures, S) {
    let stage = gauge.stage();
    let mut meter = Meter::new(gauge, false);
    let ending = loop {
        if cancel.is_set() {
            break Err(Stop::Cancelled);
        }
        let (seq, item) = match inlet.next() {
            Ok(next) => next.unzip(),
            Err(stop) => break Err(stop),
        };
        let is_end = item.is_none();
        match meter.time(|| body(&mut state, item)) {
            Ok(END) => break Ok(()),
            Ok(MORE) if is_end => break Ok(()),
            Ok(MORE) => {}
            Err(stop) => break Err(stop.at(stage, seq)),
        }
    };
    inlet.finish(&mut meter.figures);
    (ending, meter.finish(), state)
}

/// Runs one worker: applies `step` to each item and keeps its number.
pub(super) fn run_worker<I, O>(
    gauge: BusyGauge,
    mut source: QueueReceiver<Message<I>>,
    mut sink: QueueSender<Message<O>>,
    mut step: impl Step<I, O>,
) -> (Ending, Figures) {
    let stage = gauge.stage();
    let mut meter = Meter::new(gauge, true);
    let ending = loop {
        let message = match source.recv() {
            Ok(Message::Item { seq, token, item }) => {
                let mut step = |item| step.apply(item).map_err(|cause| Failure { stage, seq: Some(seq), cause });
                let item = item.and_then(|item| meter.time(|| step(item)));
                Message::Item { seq, token, item }
            }
            Ok(Message::End { count }) => Message::End { count },
            Err(_) => break Ok(()),
        };
        if sink.send(message).is_err() {
            break Err(Stop::Closed);
        }
    };
    meter.figures.channels.push(source.finish());
    meter.figures.channels.push(sink.finish());
    let mut figures = meter.finish();
    figures.add(step.finish());
    (ending, figures)
}

/// Sends a failure on in its place; this thread then does not report it.
fn hand_on<T>(outlet: &mut Outlet<T>, ended: Ending) -> Ending {
    ended.map_err(|stop| match stop {
        Stop::Failed(failure) => {
            outlet.fail(failure);
            Stop::Closed
        }
        stop => stop,
    })
}

/// Times the body of a stage, call by call.
pub(super) struct Meter {
    gauge: BusyGauge,
    stage: StageFigures,
    pub(super) figures: Figures,
}

impl Meter {
    pub(super) fn new(gauge: BusyGauge, is_parallel: bool) -> Meter {
        let stage = StageFigures::new(gauge.stage(), is_parallel);
        Meter { gauge, stage, figures: Figures::default() }
    }

    /// Calls `body` and counts its time as work.
    pub(super) fn time<R>(&mut self, body: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        self.gauge.begin(start);
        let result = body();
        self.record(elapsed_ns(start));
        result
    }

    /// The same for a body that may wait at `outlet`, which is not work. The gauge is updated after the call, when the two are known.
    fn time_with<T, R>(&mut self, outlet: &mut Outlet<T>, body: impl FnOnce(&mut Outlet<T>) -> R) -> R {
        let (start, waited_before_ns) = (Instant::now(), outlet.waited_ns());
        let result = body(outlet);
        let waited_ns = outlet.waited_ns() - waited_before_ns;
        self.record(elapsed_ns(start).saturating_sub(waited_ns));
        result
    }

    fn record(&mut self, service_ns: u64) {
        self.gauge.end(service_ns);
        tracing::trace!(stage = %self.stage.name, service_ns, "an item");
        self.stage.record(service_ns);
    }

    pub(super) fn finish(mut self) -> Figures {
        self.figures.stages.push(self.stage);
        self.figures
    }
}
