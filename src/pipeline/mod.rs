//! The engine that moves items, and the recipes that wire it.
//!
//! Read in this order: a run's plan and endpoints ([`plan`], [`endpoints`]); its wiring ([`recipes`], with the steps of the workers and
//! the bodies of the serial stages); the loops and what joins them ([`names`], [`stage`], [`queue`], [`window`], [`reorder`],
//! [`buffer`]); the threads and their supervision ([`threads`], [`supervisor`], [`shutdown`]).

pub mod plan;

pub mod endpoints;

pub mod recipes;

pub mod memory;

pub mod cpu_slots;

pub mod inline;

pub mod steps;

pub mod frame_splitter;

pub mod write;

pub mod seal;

pub mod sealed;

pub mod age_header;

pub mod frame_at;

pub mod table;

pub mod range;

pub mod names;

pub mod stage;

mod batching_sink;

pub mod queue;

pub mod window;

pub mod reorder;

pub mod buffer;

pub mod threads;

pub mod supervisor;

pub mod shutdown;

pub mod metrics;

pub mod gauges;

pub mod report;

pub mod salvage;

pub mod error;

pub mod kind;

pub mod legacy;

use std::sync::Arc;

use cpu_slots::CpuSlots;
use endpoints::Endpoints;
use error::Failure;
use memory::Pools;
use plan::{Engine, Plan, Work};
use recipes::Wiring;
use report::Report;
use supervisor::{Supervisor, Watch};
use threads::{Concurrency, Threads};

/// Runs `plan` on the bytes between `ends`. Workers compute with `slots`. Returns the report, or the first failure; the caller keeps or
/// discards what was written by then.
pub fn run(
    plan: &Plan,
    slots: &CpuSlots,
    ends: Endpoints,
    supervisor: &mut Supervisor,
    watch: &mut Watch<'_>,
) -> Result<Report, Failure> {
    let progress = Arc::clone(&ends.progress);
    let mut threads = Threads::new(ends.cancel.clone());
    let (width, pool) = (plan.width, memory::pool_for(plan));
    let (engine, Concurrency { workers, channel_depth }) = (plan.engine.name(), width);
    tracing::info!(engine, workers, channel_depth, work = plan.work.name(), "a run begins");
    let pools = Pools::new(pool.clone(), slots.clone(), width);
    let summary = match plan.engine {
        Engine::Channels => {
            let mut wiring = Wiring { threads: &mut threads, pools: &pools, width };
            match &plan.work {
                Work::Process(work) => recipes::process(&mut wiring, work, ends),
                Work::Restore(work) => recipes::restore(&mut wiring, work, ends),
            }
        }
        Engine::Mutex { available_bytes } => {
            legacy::start(&mut threads, pools, width, &plan.work, available_bytes, ends)
        }
    };
    let ran = supervisor.run(threads, watch)?;
    tracing::info!(wall = ?ran.wall, read_bytes = progress.read_bytes(), written_bytes = progress.written_bytes(), "a run ends");
    let summary = summary.take().expect("internal error: a run ended well without a summary");
    Ok(Report::new(plan, ran, summary, &progress, pool.figures()))
}
