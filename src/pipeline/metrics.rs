//! The figures of a run: what each thread measures on its own, and how figures are added up.
//!
//! Only three places measure: the channel ([`queue`](super::queue)), the loops of the stages ([`stage`](super::stage)) and the
//! reorder ring's driver there. Every thread fills its own histograms and returns them when it ends. So there is no lock, and an item's
//! path shares only the two counters of [`Progress`] and the thread's own gauge ([`gauges`](super::gauges)).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::buffer::PoolFigures;
use super::names::{Channel, Stage};

/// Counts of values with two significant digits: 18 KiB each; three digits would take 264 KiB.
pub type Histogram = hdrhistogram::Histogram<u64>;

const SIGNIFICANT_DIGITS: u8 = 2;

/// The longest time distinguished, an hour; longer ones count as an hour.
const NS_MAX: u64 = 3_600_000_000_000;

/// An empty histogram for times in nanoseconds and for depths.
pub fn histogram() -> Histogram {
    Histogram::new_with_bounds(1, NS_MAX, SIGNIFICANT_DIGITS)
        .expect("the bounds are constants that hdrhistogram accepts")
}

/// Nanoseconds since `start`.
pub fn elapsed_ns(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes moved so far, for progress. Written by the stages that read and write, read by any thread.
#[derive(Debug, Default)]
pub struct Progress {
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

impl Progress {
    pub(super) fn add_read(&self, len: usize) {
        self.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
    }

    pub(super) fn add_written(&self, len: usize) {
        self.written_bytes.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// Bytes read from the input.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Bytes written to the output.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }
}

/// One end of a channel, or all its ends added up.
#[derive(Clone, Debug)]
pub struct ChannelFigures {
    /// The channel.
    pub name: Channel,
    /// Its capacity, in items.
    pub capacity: usize,
    /// Items in the channel when another arrives.
    pub depth: Histogram,
    /// Time from the offer of an item to its receipt, in nanoseconds.
    pub wait_ns: Histogram,
    /// Time that senders waited for room.
    pub blocked_ns: u64,
    /// Time that receivers waited for an item.
    pub idle_ns: u64,
}

impl ChannelFigures {
    pub(crate) fn new(name: Channel, capacity: usize) -> ChannelFigures {
        ChannelFigures { name, capacity, depth: histogram(), wait_ns: histogram(), blocked_ns: 0, idle_ns: 0 }
    }

    pub(super) fn blank(&self) -> ChannelFigures {
        ChannelFigures::new(self.name, self.capacity)
    }

    fn add(&mut self, other: &ChannelFigures) {
        merge(&mut self.depth, &other.depth);
        merge(&mut self.wait_ns, &other.wait_ns);
        self.blocked_ns += other.blocked_ns;
        self.idle_ns += other.idle_ns;
    }
}

/// One thread of a stage, or all of them added up.
#[derive(Clone, Debug)]
pub struct StageFigures {
    /// The stage.
    pub name: Stage,
    /// Whether more workers can share its work.
    pub is_parallel: bool,
    /// Working time per call, without waits for tokens and channels, in nanoseconds.
    pub service_ns: Histogram,
    /// Total working time.
    pub busy_ns: u64,
    /// Items that each thread worked on.
    pub items_by_thread: Vec<u64>,
}

impl StageFigures {
    pub(crate) fn new(name: Stage, is_parallel: bool) -> StageFigures {
        StageFigures { name, is_parallel, service_ns: histogram(), busy_ns: 0, items_by_thread: vec![0] }
    }

    pub(super) fn record(&mut self, service_ns: u64) {
        self.service_ns.saturating_record(service_ns);
        self.busy_ns += service_ns;
        self.items_by_thread[0] += 1;
    }

    /// Share of `wall` that the stage's threads worked, from 0 to 1.
    pub fn busy_share(&self, wall: Duration) -> f64 {
        self.busy_ns as f64 / (wall.as_nanos().max(1) as f64 * self.items_by_thread.len() as f64)
    }

    fn add(&mut self, other: &StageFigures) {
        merge(&mut self.service_ns, &other.service_ns);
        self.busy_ns += other.busy_ns;
        self.items_by_thread.extend(&other.items_by_thread);
    }
}

/// A reorder ring.
#[derive(Clone, Debug)]
pub struct ReorderFigures {
    /// The stage that owns it.
    pub name: Stage,
    /// Items in the ring when another arrives.
    pub depth: Histogram,
    /// Time that items waited for earlier ones, in nanoseconds.
    pub wait_ns: Histogram,
}

/// A window of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowFigures {
    /// The stage whose items it bounds.
    pub name: Stage,
    /// Most total weight of items in flight: their number, or bytes.
    pub weight_max: u64,
    /// Most items in flight.
    pub item_count_max: usize,
    /// Largest weight that was in flight.
    pub weight_in_flight_max: u64,
    /// Time that the stage before the pool waited for tokens.
    pub wait_ns: u64,
}

/// A wait of the legacy mutex mode, which has no channels.
#[derive(Clone, Debug)]
pub struct WaitFigures {
    /// What the tasks waited for.
    pub name: &'static str,
    /// Waiting times, in nanoseconds.
    pub wait_ns: Histogram,
}

/// Everything that one thread measured, or all threads together.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// One entry per stage, in the order in which threads ended.
    pub stages: Vec<StageFigures>,
    /// One entry per channel.
    pub channels: Vec<ChannelFigures>,
    /// One entry per reorder ring.
    pub reorders: Vec<ReorderFigures>,
    /// One entry per window.
    pub windows: Vec<WindowFigures>,
    /// One entry per kind of wait.
    pub waits: Vec<WaitFigures>,
    /// Allocations of the buffer pool.
    pub buffers: PoolFigures,
}

impl Figures {
    /// Adds another thread's figures; stages, channels and waits of the same name are merged.
    pub fn add(&mut self, other: Figures) {
        for stage in other.stages {
            match self.stages.iter_mut().find(|known| known.name == stage.name) {
                Some(known) => known.add(&stage),
                None => self.stages.push(stage),
            }
        }
        for channel in other.channels {
            match self.channels.iter_mut().find(|known| known.name == channel.name) {
                Some(known) => known.add(&channel),
                None => self.channels.push(channel),
            }
        }
        self.reorders.extend(other.reorders);
        self.windows.extend(other.windows);
        for wait in other.waits {
            match self.waits.iter_mut().find(|known| known.name == wait.name) {
                Some(known) => merge(&mut known.wait_ns, &wait.wait_ns),
                None => self.waits.push(wait),
            }
        }
    }
}

fn merge(sum: &mut Histogram, part: &Histogram) {
    sum.add(part).expect("all histograms have the same bounds");
}
