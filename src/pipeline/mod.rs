//! Moves items: the engine, and the recipes that wire it.
//!
//! Read in this order: what a run is told ([`plan`], [`ends`]), how its diagrams are wired ([`recipes`], with the steps of the
//! workers and the bodies of the serial stages), the loops and what joins them ([`stage`], [`queue`], [`window`], [`reorder`],
//! [`buffer`]), and who watches over the threads ([`crew`], [`supervisor`], [`shutdown`]).

pub mod plan;

pub mod ends;

pub mod recipes;

pub mod memory;

pub mod cores;

pub mod solo;

pub mod steps;

pub mod find;

pub mod write;

pub mod seal;

pub mod sealed;

pub mod peel;

pub mod walk;

pub mod range;

pub mod stage;

mod gather;

pub mod queue;

pub mod window;

pub mod reorder;

pub mod buffer;

pub mod crew;

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

use cores::Cores;
use crew::{Crew, Width};
use ends::Ends;
use error::Failure;
use memory::Pools;
use plan::{Engine, Plan, Work};
use report::Report;
use supervisor::{Supervisor, Watch};

/// Does what `plan` says with the bytes between `ends`, and returns when all threads have ended. Workers compute with `cores`. Gives the
/// report, or the first failure. What was written by then is for the caller to keep or throw away.
pub fn run(
    plan: &Plan,
    cores: &Cores,
    ends: Ends,
    supervisor: &mut Supervisor,
    watch: &mut Watch<'_>,
) -> Result<Report, Failure> {
    let progress = Arc::clone(&ends.progress);
    let mut crew = Crew::new(ends.cancel.clone());
    let (width, pool) = (plan.width, memory::pool_for(plan));
    let (engine, Width { workers, channel_depth }) = (plan.engine.name(), width);
    tracing::info!(engine, workers, channel_depth, work = plan.work.name(), "a run begins");
    let pools = Pools::new(pool.clone(), cores.clone(), width);
    let summary = match (&plan.work, plan.engine) {
        (Work::Process(work), Engine::Channels) => recipes::process(&mut crew, &pools, width, work, ends),
        (Work::Restore(work), Engine::Channels) => recipes::restore(&mut crew, &pools, width, work, ends),
        (work, Engine::Mutex { available_bytes }) => {
            legacy::start(&mut crew, pools, width, work, available_bytes, ends)
        }
    };
    let ran = supervisor.run(crew, watch)?;
    tracing::info!(wall = ?ran.wall, read_bytes = progress.read_bytes(), written_bytes = progress.written_bytes(), "a run ends");
    let summary = summary.get().expect("internal error: the sink was done without a summary").clone();
    Ok(Report::new(plan, ran, summary, &progress, pool.figures()))
}
