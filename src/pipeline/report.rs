//! The figures on exit, and the sentence that names the bottleneck. How they are shown is the command line's business.

use std::time::Duration;

use super::buffer::PoolFigures;
use super::metrics::{Figures, Progress};
use super::plan::{Engine, Plan};
use super::supervisor::Ran;
use super::write::Summary;

/// What a run did and where its time went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who moved the items.
    pub engine: Engine,
    /// Workers in each parallel stage.
    pub workers: usize,
    /// Items that each channel held at most.
    pub channel_depth: usize,
    /// Bytes read from the input.
    pub read_bytes: u64,
    /// Bytes written to the output.
    pub written_bytes: u64,
    /// From the start of the first thread to the end of the last.
    pub wall: Duration,
    /// What the stage that writes has to say.
    pub summary: Summary,
    /// What the threads measured.
    pub figures: Figures,
}

/// What held a run up most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bottleneck {
    /// The stage.
    pub stage: &'static str,
    /// Whether the stage is parallel.
    pub is_parallel: bool,
    /// Share of the run that its threads were at work, from 0 to 1.
    pub busy_share: f64,
}

impl Report {
    pub(super) fn new(plan: &Plan, ran: Ran, summary: Summary, progress: &Progress, buffers: PoolFigures) -> Report {
        Report {
            engine: plan.engine,
            workers: plan.width.workers.get(),
            channel_depth: plan.width.channel_depth.get(),
            read_bytes: progress.read_bytes(),
            written_bytes: progress.written_bytes(),
            wall: ran.wall,
            summary,
            figures: Figures { buffers, ..ran.figures },
        }
    }

    /// The stage whose threads were busiest; `None` where no stage worked.
    pub fn bottleneck(&self) -> Option<Bottleneck> {
        let busiest =
            self.figures.stages.iter().max_by(|a, b| a.busy_share(self.wall).total_cmp(&b.busy_share(self.wall)))?;
        Some(Bottleneck {
            stage: busiest.name,
            is_parallel: busiest.is_parallel,
            busy_share: busiest.busy_share(self.wall),
        })
    }

    /// One sentence: what held the run up, and what would help.
    pub fn advice(&self) -> String {
        let Some(Bottleneck { stage, is_parallel, busy_share }) = self.bottleneck() else {
            return "nothing was done".to_owned();
        };
        if let Engine::Mutex { .. } = self.engine {
            let shares = self
                .figures
                .stages
                .iter()
                .map(|stage| format!("{} {:.0} %", stage.name, stage.busy_share(self.wall) * 100.0));
            let shares = shares.collect::<Vec<_>>().join(", then ");
            return format!("the phases follow one another ({shares} of the time): --engine channels overlaps them");
        }
        let percent = busy_share * 100.0;
        let workers = self.workers;
        match (stage, is_parallel) {
            _ if busy_share < 0.5 => {
                format!(
                    "no stage was busy even half of the time ({stage} most, {percent:.0} %): the input was too short, or the machine had other work"
                )
            }
            (_, true) => format!(
                "{stage} held it up, its {workers} worker{} busy {percent:.0} % of the time: more workers would help where there are more cores",
                if workers == 1 { "" } else { "s" }
            ),
            ("read", _) => format!(
                "read held it up, busy {percent:.0} % of the time: a faster input would help, fewer workers would do"
            ),
            ("find", _) => format!(
                "find held it up, busy {percent:.0} % of the time: it walks headers, and decodes frames too large for the workers, on one core; more workers would not help"
            ),
            ("cut", _) => format!(
                "cut held it up, busy {percent:.0} % of the time: it reads and lays out segments on one core; fewer workers would do"
            ),
            _ => format!(
                "write held it up, busy {percent:.0} % of the time: a faster output would help, fewer workers would do"
            ),
        }
    }
}
