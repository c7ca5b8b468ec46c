//! The loops of the engine: serial stages, which see items in order on one thread, and the workers of parallel ones.
//!
//! ```text
//! source -> [worker xN] -> serial -> [worker xN] -> sink
//!        Outlet         Inlet    Outlet          Inlet
//! ```
//!
//! An [`Outlet`] takes a token, numbers the item and sends it; an [`Inlet`] receives items in any order, puts them in order and
//! frees the token of each when the next one is asked for. The bodies, what is done to an item, are given by the recipes; these loops know nothing of it.
//!
//! Two rules hold everywhere:
//!
//! - **The end is said.** Behind the last item a source sends how many there were. A stage that has seen so many passes the word
//!   on. A channel that closes without it means that somebody died, and nobody behind may take it for the end.
//! - **Failures keep their place.** What fails on an item travels on as that item, so that everything before it still comes
//!   out, and the failure that is reported is the first in order, not the first in time. Only a panic, and what fails on
//!   no item, is reported by the thread itself.

use std::time::Instant;

use super::error::{Cause, Failure, Stop};
use super::gauges::BusyGauge;
use super::metrics::{Figures, ReorderFigures, StageFigures, elapsed_ns, histogram};
use super::queue::{QueueReceiver, QueueSender};
use super::reorder::Reorder;
use super::shutdown::Cancel;
use super::window::{Token, Window};

/// What travels between stages.
pub(super) enum Message<T> {
    Item {
        seq: u64,
        token: Token,
        item: Result<T, Failure>,
    },
    /// There were `count` items, the one before this being the last.
    End {
        count: u64,
    },
}

/// Whether a source or sink wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// There is more to do.
    More,
    /// A source has come to the end of its input; a sink needs nothing more.
    End,
}

/// How a thread of a stage ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Everything was done.
    Done,
    /// A neighbour was gone.
    Closed,
    /// The run was told to stop.
    Cancelled,
    /// The thread failed.
    Failed(Failure),
}

/// Where a serial stage hands on items to the workers behind it.
pub struct Outlet<T> {
    window: Window,
    queue: QueueSender<Message<T>>,
    next_seq: u64,
    /// What was waited for elsewhere.
    waited_elsewhere_ns: u64,
}

/// The right to send one item. The token is taken before the item is made, so that items being made are bounded too.
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

    /// Waits for something else, which is no work either.
    pub fn wait<R>(&mut self, wait: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = wait();
        self.waited_elsewhere_ns += elapsed_ns(start);
        result
    }

    /// The number that the next item gets: how many were sent.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    fn end(&mut self) -> Result<(), Stop> {
        self.queue.send(Message::End { count: self.next_seq }).map_err(|_| Stop::Closed)
    }

    /// Sends a failure on in the place of an item. Where nobody takes it, the run has already ended for another reason,
    /// and only the first failure counts.
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
    /// Sends `item` on, waiting while the channel is full.
    pub fn send(self, item: T) -> Result<(), Stop> {
        let seq = self.outlet.next_seq;
        self.outlet.next_seq += 1;
        self.outlet.queue.send(Message::Item { seq, token: self.token, item: Ok(item) }).map_err(|_| Stop::Closed)
    }
}

/// Where a serial stage receives items from the workers in front of it, in order.
pub struct Inlet<T> {
    queue: QueueReceiver<Message<T>>,
    reorder: Reorder<Held<T>>,
    item_count: Option<u64>,
    /// Of the item that was given out last, which is still being used.
    in_hand: Option<Token>,
    figures: ReorderFigures,
}

struct Held<T> {
    item: Result<T, Failure>,
    token: Token,
    since: Instant,
}

impl<T> Inlet<T> {
    pub(super) fn new(name: &'static str, queue: QueueReceiver<Message<T>>) -> Inlet<T> {
        let figures = ReorderFigures { name, depth: histogram(), wait_ns: histogram() };
        Inlet { queue, reorder: Reorder::default(), item_count: None, in_hand: None, figures }
    }

    /// The next item in order with its number; `None` behind the last one. Asking for it says that the one before is done with,
    /// which gives its token back.
    fn next(&mut self) -> Result<Option<(u64, T)>, Outcome> {
        self.in_hand = None;
        loop {
            if let Some((seq, Held { item, token, since })) = self.reorder.pop() {
                self.in_hand = Some(token);
                self.figures.wait_ns.saturating_record(elapsed_ns(since));
                return item.map(|item| Some((seq, item))).map_err(Outcome::Failed);
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
                Err(_) => return Err(Outcome::Closed),
            }
        }
    }

    /// The channel alone, for a sink that takes items as they come.
    pub(super) fn into_queue(self) -> QueueReceiver<Message<T>> {
        self.queue
    }

    fn finish(self, figures: &mut Figures) {
        figures.channels.push(self.queue.finish());
        figures.reorders.push(self.figures);
    }
}

/// Runs a source: calls `body` until it has come to the end of its input.
pub(super) fn run_source<T>(
    gauge: BusyGauge,
    cancel: &Cancel,
    mut outlet: Outlet<T>,
    mut body: impl FnMut(&mut Outlet<T>) -> Result<Flow, Stop>,
) -> (Outcome, Figures) {
    let name = gauge.stage();
    let mut meter = Meter::new(gauge, false);
    let ended = loop {
        if cancel.is_set() {
            break Err(Stop::Cancelled);
        }
        match meter.time_with(&mut outlet, &mut body) {
            Ok(Flow::More) => {}
            Ok(Flow::End) => break outlet.end(),
            Err(stop) => break Err(stop),
        }
    };
    let seq = outlet.next_seq;
    let outcome = hand_on(&mut outlet, ended.map_err(|stop| outcome_of(name, Some(seq), stop)));
    outlet.finish(&mut meter.figures);
    (outcome, meter.finish())
}

/// Runs a serial stage between two pools: calls `body` with each item in order, and at the end with `None`.
pub(super) fn run_serial<I, O>(
    gauge: BusyGauge,
    cancel: &Cancel,
    mut inlet: Inlet<I>,
    mut outlet: Outlet<O>,
    mut body: impl FnMut(Option<I>, &mut Outlet<O>) -> Result<(), Stop>,
) -> (Outcome, Figures) {
    let name = gauge.stage();
    let mut meter = Meter::new(gauge, false);
    let ended = loop {
        if cancel.is_set() {
            break Err(Outcome::Cancelled);
        }
        let (seq, item) = match inlet.next() {
            Ok(next) => next.map_or((None, None), |(seq, item)| (Some(seq), Some(item))),
            Err(outcome) => break Err(outcome),
        };
        let is_end = item.is_none();
        if let Err(stop) = meter.time_with(&mut outlet, |outlet| body(item, outlet)) {
            break Err(outcome_of(name, seq, stop));
        }
        if is_end {
            break outlet.end().map_err(|stop| outcome_of(name, None, stop));
        }
    };
    let outcome = hand_on(&mut outlet, ended);
    inlet.finish(&mut meter.figures);
    outlet.finish(&mut meter.figures);
    (outcome, meter.finish())
}

/// Runs the sink: calls `body` with each item in order, and at the end with `None`.
pub(super) fn run_sink<T>(
    gauge: BusyGauge,
    cancel: &Cancel,
    mut inlet: Inlet<T>,
    mut body: impl FnMut(Option<T>) -> Result<Flow, Stop>,
) -> (Outcome, Figures) {
    let name = gauge.stage();
    let mut meter = Meter::new(gauge, false);
    let outcome = loop {
        if cancel.is_set() {
            break Outcome::Cancelled;
        }
        let (seq, item) = match inlet.next() {
            Ok(next) => next.map_or((None, None), |(seq, item)| (Some(seq), Some(item))),
            Err(outcome) => break outcome,
        };
        let is_end = item.is_none();
        match meter.time(|| body(item)) {
            Ok(Flow::End) => break Outcome::Done,
            Ok(Flow::More) if is_end => break Outcome::Done,
            Ok(Flow::More) => {}
            Err(stop) => break outcome_of(name, seq, stop),
        }
    };
    inlet.finish(&mut meter.figures);
    (outcome, meter.finish())
}

/// Runs one worker: `step` on whatever comes, with its number kept.
pub(super) fn run_worker<I, O>(
    gauge: BusyGauge,
    mut source: QueueReceiver<Message<I>>,
    mut sink: QueueSender<Message<O>>,
    mut step: impl FnMut(I) -> Result<O, Cause>,
) -> (Outcome, Figures) {
    let name = gauge.stage();
    let mut meter = Meter::new(gauge, true);
    let outcome = loop {
        let message = match source.recv() {
            Ok(Message::Item { seq, token, item }) => {
                let mut step = |item| step(item).map_err(|cause| Failure { stage: name, seq: Some(seq), cause });
                let item = item.and_then(|item| meter.time(|| step(item)));
                Message::Item { seq, token, item }
            }
            Ok(Message::End { count }) => Message::End { count },
            Err(_) => break Outcome::Done,
        };
        if sink.send(message).is_err() {
            break Outcome::Closed;
        }
    };
    meter.figures.channels.push(source.finish());
    meter.figures.channels.push(sink.finish());
    (outcome, meter.finish())
}

/// A failure goes on in its place instead of being this thread's own.
fn hand_on<T>(outlet: &mut Outlet<T>, ended: Result<(), Outcome>) -> Outcome {
    match ended {
        Ok(()) => Outcome::Done,
        Err(Outcome::Failed(failure)) => {
            outlet.fail(failure);
            Outcome::Closed
        }
        Err(outcome) => outcome,
    }
}

pub(super) fn outcome_of(stage: &'static str, seq: Option<u64>, stop: Stop) -> Outcome {
    match stop {
        Stop::Closed => Outcome::Closed,
        Stop::Cancelled => Outcome::Cancelled,
        Stop::Failed(cause) => Outcome::Failed(Failure { stage, seq, cause }),
    }
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

    /// Calls `body` and counts the time it worked.
    pub(super) fn time<R>(&mut self, body: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        self.gauge.begin(start);
        let result = body();
        self.record(elapsed_ns(start));
        result
    }

    /// The same for a body that may wait at `outlet`, which is not work. The gauge shows it when it is done: before, nobody can tell the two
    /// apart.
    fn time_with<T, R>(&mut self, outlet: &mut Outlet<T>, body: impl FnOnce(&mut Outlet<T>) -> R) -> R {
        let (start, waited_before_ns) = (Instant::now(), outlet.waited_ns());
        let result = body(outlet);
        let waited_ns = outlet.waited_ns() - waited_before_ns;
        self.record(elapsed_ns(start).saturating_sub(waited_ns));
        result
    }

    fn record(&mut self, service_ns: u64) {
        self.gauge.end(service_ns);
        tracing::trace!(stage = self.stage.name, service_ns, "an item");
        self.stage.record(service_ns);
    }

    pub(super) fn finish(mut self) -> Figures {
        self.figures.stages.push(self.stage);
        self.figures
    }
}
