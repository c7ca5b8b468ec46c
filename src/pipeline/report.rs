//! The report of a run: its figures, and what limited it. Other modules print it.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::buffer::PoolFigures;
use super::metrics::{Figures, Progress, StageFigures};
use super::names::Stage;
use super::plan::{Engine, Plan};
use super::supervisor::Ran;
use super::write::Summary;

/// What a run did and where its time went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The engine of the run.
    pub engine: Engine,
    /// Workers in each parallel stage.
    pub workers: usize,
    /// Capacity of each channel, in items.
    pub channel_depth: usize,
    /// CPUs that this process may use.
    pub cpu_count: NonZeroUsize,
    /// Bytes read from the input.
    pub read_bytes: u64,
    /// Bytes written to the output.
    pub written_bytes: u64,
    /// From the start of the first thread to the end of the last.
    pub wall: Duration,
    /// Summary of the writing stage.
    pub summary: Summary,
    /// What the threads measured.
    pub figures: Figures,
}

/// What limited a run most, and what would come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bottleneck {
    /// The limiting stage.
    pub stage: Stage,
    /// Whether the stage is parallel.
    pub is_parallel: bool,
    /// Share of the run that its threads worked, from 0 to 1.
    pub busy_share: f64,
    /// How many workers suffice: for a parallel stage, the number at which the busiest serial stage becomes the limit; for a serial one, the
    /// number that keeps up with it. `None` if the serial stages hardly work, so that no number suffices, and without a pool.
    pub workers_enough: Option<usize>,
    /// How many times as fast the run would be with that many; 1 for a serial stage.
    pub speedup_max: Option<f64>,
}

/// Shares below this are too small to calculate with.
const SHARE_MIN: f64 = 0.01;

impl Report {
    pub(super) fn new(plan: &Plan, ran: Ran, summary: Summary, progress: &Progress, buffers: PoolFigures) -> Report {
        Report {
            engine: plan.engine,
            workers: plan.width.workers.get(),
            channel_depth: plan.width.channel_depth.get(),
            cpu_count: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            read_bytes: progress.read_bytes(),
            written_bytes: progress.written_bytes(),
            wall: ran.wall,
            summary,
            figures: Figures { buffers, ..ran.figures },
        }
    }

    /// The report of a task of one step on one thread; bytes are those read, written, and of content.
    pub fn of_one_step(stage: Stage, wall: Duration, [read_bytes, written_bytes, content_bytes]: [u64; 3]) -> Report {
        let mut figures = StageFigures::new(stage, false);
        figures.record(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX));
        Report {
            engine: Engine::Channels,
            workers: 1,
            channel_depth: 1,
            cpu_count: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            read_bytes,
            written_bytes,
            wall,
            summary: Summary { frame_count: 0, content_bytes, table: None },
            figures: Figures { stages: vec![figures], ..Figures::default() },
        }
    }

    /// The stage with the busiest threads; `None` if no stage worked.
    pub fn bottleneck(&self) -> Option<Bottleneck> {
        let share = |stage: &StageFigures| stage.busy_share(self.wall);
        let busiest = |is_parallel: bool| {
            let stages = self.figures.stages.iter().filter(move |stage| stage.is_parallel == is_parallel);
            stages.max_by(|a, b| share(a).total_cmp(&share(b)))
        };
        let (parallel, serial) = (busiest(true), busiest(false));
        let stage = parallel.into_iter().chain(serial).max_by(|a, b| share(a).total_cmp(&share(b)))?;
        let workers_share = |limit: &StageFigures| {
            // Threads of the pool that would always be busy if the limit were.
            let busy_count = parallel.map(|pool| share(pool) * pool.items_by_thread.len() as f64)?;
            (share(limit) > SHARE_MIN).then(|| busy_count / share(limit))
        };
        let enough = serial.and_then(workers_share);
        let speedup_max = match (stage.is_parallel, serial) {
            (true, Some(serial)) => (share(serial) > SHARE_MIN).then(|| share(stage) / share(serial)),
            (true, None) => None,
            (false, _) => Some(1.0),
        };
        Some(Bottleneck {
            stage: stage.name,
            is_parallel: stage.is_parallel,
            busy_share: share(stage),
            workers_enough: enough.map(|count| (count.ceil() as usize).max(1)),
            speedup_max,
        })
    }
}
