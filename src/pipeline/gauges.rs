//! The live gauges of a run: how busy each stage is, how full each channel.
//!
//! A thread writes its own gauge, with plain stores, twice per item; no other thread writes it or blocks on it. A reading may lag by an
//! item. The figures on exit come from [`metrics`](super::metrics).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::names::Stage;
use super::queue::{ChannelReading, DepthGauge};

/// One thread's working time.
#[derive(Clone, Debug)]
pub struct BusyGauge {
    stage: Stage,
    started_at: Instant,
    cell: Arc<Cell>,
}

/// Written by one thread, read by any. In its own cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cell {
    /// Time of finished work.
    done_ns: AtomicU64,
    /// Start of the current work, in nanoseconds from the run's start, plus one; 0 while idle.
    since_ns: AtomicU64,
}

impl BusyGauge {
    /// The stage of the thread.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Work begins.
    pub(super) fn begin(&self, at: Instant) {
        let since_ns = nanoseconds(at.saturating_duration_since(self.started_at));
        self.cell.since_ns.store(since_ns.saturating_add(1), Ordering::Relaxed);
    }

    /// Work that took `service_ns` is done.
    pub(super) fn end(&self, service_ns: u64) {
        let done_ns = self.cell.done_ns.load(Ordering::Relaxed);
        self.cell.since_ns.store(0, Ordering::Relaxed);
        // A reader that sees this store also sees the one above, so no work counts twice.
        self.cell.done_ns.store(done_ns + service_ns, Ordering::Release);
    }

    fn busy_ns(&self, now_ns: u64) -> u64 {
        let done_ns = self.cell.done_ns.load(Ordering::Acquire);
        let since_ns = match self.cell.since_ns.load(Ordering::Relaxed) {
            0 => now_ns,
            since_ns => since_ns - 1,
        };
        done_ns + now_ns.saturating_sub(since_ns)
    }
}

/// The gauges of a run.
#[derive(Debug)]
pub struct Gauges {
    started_at: Instant,
    threads: Vec<BusyGauge>,
    channels: Vec<DepthGauge>,
}

/// What the gauges showed at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Time since the run began.
    pub elapsed: Duration,
    /// One entry per stage, in the order in which threads were started.
    pub stages: Vec<StageReading>,
    /// Channels that still have receivers.
    pub channels: Vec<ChannelReading>,
}

/// The reading of all threads of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageReading {
    /// The stage.
    pub name: Stage,
    /// Number of its threads.
    pub threads: u64,
    /// Their total working time so far, in nanoseconds.
    pub busy_ns: u64,
}

impl Gauges {
    pub(super) fn new(started_at: Instant) -> Gauges {
        Gauges { started_at, threads: Vec::new(), channels: Vec::new() }
    }

    /// A gauge for another thread of `stage`.
    pub(super) fn thread(&mut self, stage: Stage) -> BusyGauge {
        let gauge = BusyGauge { stage, started_at: self.started_at, cell: Arc::default() };
        self.threads.push(gauge.clone());
        gauge
    }

    pub(super) fn channel(&mut self, gauge: DepthGauge) {
        self.channels.push(gauge);
    }

    /// Reads all gauges.
    pub fn read(&self) -> Reading {
        let elapsed = self.started_at.elapsed();
        let now_ns = nanoseconds(elapsed);
        let mut stages: Vec<StageReading> = Vec::new();
        for gauge in &self.threads {
            let busy_ns = gauge.busy_ns(now_ns);
            match stages.iter_mut().find(|known| known.name == gauge.stage) {
                Some(known) => {
                    known.threads += 1;
                    known.busy_ns += busy_ns;
                }
                None => stages.push(StageReading { name: gauge.stage, threads: 1, busy_ns }),
            }
        }
        Reading { elapsed, stages, channels: self.channels.iter().filter_map(DepthGauge::read).collect() }
    }
}

impl Reading {
    /// Share of its threads' time that each stage worked since `before`, from 0 to 1.
    pub fn busy_shares_since<'a>(&'a self, before: Option<&'a Reading>) -> impl Iterator<Item = (Stage, f64)> + 'a {
        let elapsed_ns = nanoseconds(self.elapsed - before.map_or(Duration::ZERO, |before| before.elapsed)).max(1);
        self.stages.iter().map(move |stage| {
            let known = before.iter().flat_map(|before| &before.stages).find(|known| known.name == stage.name);
            let worked_ns = stage.busy_ns.saturating_sub(known.map_or(0, |known| known.busy_ns));
            (stage.name, (worked_ns as f64 / (elapsed_ns * stage.threads) as f64).min(1.0))
        })
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_while_it_is_done_and_after() {
        let started_at = Instant::now();
        let mut gauges = Gauges::new(started_at);
        let (gauge, idle) = (gauges.thread(Stage::Read), gauges.thread(Stage::Read));
        assert_eq!(gauge.busy_ns(1_000), 0);
        gauge.begin(started_at + Duration::from_nanos(400));
        assert_eq!(gauge.busy_ns(1_000), 600);
        gauge.end(700);
        assert_eq!((gauge.busy_ns(5_000), idle.busy_ns(5_000)), (700, 0));
        let stages = gauges.read().stages;
        assert_eq!(stages, [StageReading { name: Stage::Read, threads: 2, busy_ns: 700 }]);
    }

    #[test]
    fn a_share_is_of_what_passed_since() {
        let reading = |elapsed_ns, busy_ns| Reading {
            elapsed: Duration::from_nanos(elapsed_ns),
            stages: vec![StageReading { name: Stage::Read, threads: 2, busy_ns }],
            channels: Vec::new(),
        };
        let (before, after) = (reading(100, 100), reading(200, 250));
        assert_eq!(after.busy_shares_since(Some(&before)).collect::<Vec<_>>(), [(Stage::Read, 0.75)]);
        assert_eq!(before.busy_shares_since(None).collect::<Vec<_>>(), [(Stage::Read, 0.5)]);
    }
}
