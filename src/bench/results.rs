//! Results of a comparison: medians, spreads and ratios, also as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::cases::{Case, Setting, Task};
use super::measure::Run;
use crate::pipeline::plan::EngineKind;

/// The version of the JSON object; it increases when a field is removed or changes its meaning.
const JSON_VERSION: u32 = 1;

/// A case with its runs, one per round.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The case.
    pub case: Case,
    /// Its runs, in the order of the rounds.
    pub runs: Vec<Run>,
}

impl Measured {
    /// The median wall time.
    pub fn wall(&self) -> Duration {
        Duration::from_secs_f64(median(self.runs.iter().map(|run| run.wall.as_secs_f64())))
    }

    /// The median of the CPU time.
    pub fn cpu(&self) -> Duration {
        Duration::from_secs_f64(median(self.runs.iter().map(|run| run.cpu.as_secs_f64())))
    }

    /// The spread from fastest to slowest run, as a share of the median.
    pub fn spread(&self) -> f64 {
        let walls = || self.runs.iter().map(|run| run.wall.as_secs_f64());
        (walls().fold(0.0, f64::max) - walls().fold(f64::INFINITY, f64::min)) / self.wall().as_secs_f64().max(1e-9)
    }

    /// The highest memory peak of all runs, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.peak_bytes).max().unwrap_or(0)
    }

    /// The length of the last run's output, in bytes.
    pub fn output_bytes(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.output_bytes)
    }

    /// The rate at the median wall time, in bytes of content a second.
    pub fn rate(&self, content_bytes: u64) -> f64 {
        content_bytes as f64 / self.wall().as_secs_f64().max(1e-9)
    }
}

/// The peak memory for an input length.
#[derive(Clone, Copy, Debug)]
pub struct MemoryPoint {
    /// The tool.
    pub engine: EngineKind,
    /// The length of the input, in bytes.
    pub input_bytes: u64,
    /// The peak memory, in bytes.
    pub peak_bytes: u64,
}

/// All results.
#[derive(Clone, Debug)]
pub struct Results {
    /// The name of the input, as shown.
    pub input_name: String,
    /// The length of the input, in bytes.
    pub input_bytes: u64,
    /// The number of CPUs that this process may use.
    pub cpu_count: u32,
    /// The CPU's model name.
    pub cpu_name: String,
    /// Runs per case.
    pub round_count: u32,
    /// The setting compared with peers.
    pub main: Setting,
    /// The cases, task by task.
    pub measured: Vec<Measured>,
    /// Peak memory for several lengths of the input.
    pub memory: Vec<MemoryPoint>,
    /// Messages about the cases that failed.
    pub failed: Vec<String>,
}

impl Results {
    /// The groups of comparable cases: of one task, at one level.
    pub fn groups(&self) -> Vec<(Task, Option<i32>, Vec<&Measured>)> {
        let mut groups: Vec<(Task, Option<i32>, Vec<&Measured>)> = Vec::new();
        for measured in &self.measured {
            let Case { task, level, .. } = measured.case;
            match groups.iter_mut().find(|(known, at, _)| (*known, *at) == (task, level)) {
                Some((_, _, group)) => group.push(measured),
                None => groups.push((task, level, vec![measured])),
            }
        }
        groups
    }

    /// The reference of `group`: the peer that users run today.
    pub fn reference<'a>(group: &[&'a Measured]) -> Option<&'a Measured> {
        group.iter().find(|measured| measured.case.is_reference).copied()
    }

    /// The wall time of `measured` as a share of that of `reference`: the median over the rounds.
    pub fn ratio(measured: &Measured, reference: &Measured) -> f64 {
        let pairs = measured.runs.iter().zip(&reference.runs);
        median(pairs.map(|(ours, theirs)| ours.wall.as_secs_f64() / theirs.wall.as_secs_f64().max(1e-9)))
    }

    /// This program's main case of `task`, at the first level.
    pub fn main_case(&self, task: Task) -> Option<&Measured> {
        self.measured.iter().find(|measured| measured.case.task == task && measured.case.setting == Some(self.main))
    }

    /// The results as JSON. Times in nanoseconds, lengths in bytes.
    pub fn to_json(&self) -> Value {
        let groups = self.groups();
        let cases = groups.iter().flat_map(|(_, _, group)| {
            let reference = Results::reference(group);
            group.iter().map(move |measured| self.case_json(measured, reference))
        });
        json!({
            "version": JSON_VERSION,
            "input": { "name": self.input_name, "bytes": self.input_bytes },
            "machine": { "cpu_count": self.cpu_count, "cpu_name": self.cpu_name },
            "round_count": self.round_count,
            "cases": cases.collect::<Vec<_>>(),
            "memory": self.memory.iter().map(|point| json!({
                "engine": point.engine.word(),
                "input_bytes": point.input_bytes,
                "peak_memory_bytes": point.peak_bytes,
            })).collect::<Vec<_>>(),
            "failed": self.failed,
        })
    }

    fn case_json(&self, measured: &Measured, reference: Option<&Measured>) -> Value {
        let Measured { case, runs } = measured;
        json!({
            "task": case.task.word(),
            "level": case.level,
            "name": case.name,
            "is_ours": case.setting.is_some(),
            "engine": case.setting.map(|setting| setting.engine.word()),
            "workers": case.setting.map(|setting| setting.workers),
            "channel_depth": case.setting.map(|setting| setting.channel_depth),
            "wall_ns": ns(measured.wall()),
            "wall_ns_by_round": runs.iter().map(|run| ns(run.wall)).collect::<Vec<_>>(),
            "cpu_ns": ns(measured.cpu()),
            "peak_memory_bytes": measured.peak_bytes(),
            "output_bytes": measured.output_bytes(),
            "bytes_per_second": measured.rate(self.input_bytes),
            "reference": reference.map(|reference| reference.case.name.as_str()),
            "wall_ratio": reference.map(|reference| Results::ratio(measured, reference)),
            "report": runs.last().and_then(|run| run.report.as_ref()),
        })
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The median; 0 without values.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len => f64::midpoint(values[(len - 1) / 2], values[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
