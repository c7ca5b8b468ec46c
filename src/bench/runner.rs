//! Runs the cases of a bench in rounds, and measures memory against the length of the input.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::cases::{Case, Choice, Places, Setting, Task, ours};
use super::measure::{self, Run};
use super::results::{Measured, MemoryPoint, Results};
use crate::pipeline::plan::EngineKind;
use crate::pipeline::shutdown::Cancel;
use crate::report::say;
use crate::store::sys::{self, WakeUp};

/// The divisors of the input's length at which memory is measured.
const MEMORY_PARTS: [u64; 4] = [8, 4, 2, 1];

/// The shift of the first case from round to round.
const ROUND_STEP: usize = 7;

/// The number of CPUs that this process may use.
pub fn cpu_count() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

/// All cases and rounds to run.
pub struct Bench {
    /// The cases.
    pub cases: Vec<Case>,
    /// The requested settings.
    pub choice: Choice,
    /// Paths.
    pub places: Places,
    /// Runs per case.
    pub round_count: u32,
    /// Interrupts the wait for a command.
    pub wake: WakeUp,
    /// The name of the input, as shown.
    pub input_name: String,
    /// The length of the input, in bytes.
    pub input_bytes: u64,
    /// Show no progress.
    pub is_quiet: bool,
}

impl Bench {
    /// Runs all rounds until cancelled.
    pub fn run(self, cancel: &Cancel) -> anyhow::Result<Results> {
        let bar = self.bar();
        self.make_sources(&bar)?;
        let mut measured: Vec<Measured> =
            self.cases.iter().map(|case| Measured { case: case.clone(), runs: Vec::new() }).collect();
        let mut failed = Vec::new();
        for round in 0..self.round_count {
            self.round(round, &mut measured, &mut failed, &bar, cancel)?;
        }
        let memory = self.memory(&bar, cancel)?;
        bar.finish_and_clear();
        failed.iter().for_each(|failure| say::warn(failure));
        Ok(Results {
            input_name: self.input_name,
            input_bytes: self.input_bytes,
            cpu_count: cpu_count(),
            cpu_name: sys::cpu_name().unwrap_or_else(|| "CPU unknown".to_owned()),
            round_count: self.round_count,
            main: self.choice.main(),
            measured,
            memory,
            failed,
        })
    }

    /// Runs each case of `measured` once. A case that fails is dropped and added to `failed`.
    fn round(
        &self,
        round: u32,
        measured: &mut Vec<Measured>,
        failed: &mut Vec<String>,
        bar: &ProgressBar,
        cancel: &Cancel,
    ) -> anyhow::Result<()> {
        // Each round begins with another case, so that no case always follows the same one.
        let count = measured.len();
        for at in (0..count).map(|i| (i + round as usize * ROUND_STEP) % count) {
            let Measured { case, runs } = &mut measured[at];
            bar.set_message(case.name.clone());
            match self.measure(case) {
                Ok(run) => runs.push(run),
                Err(error) if cancel.is_set() => return Err(error),
                Err(error) => failed.push(format!("{}: {}: {error:#}", case.task.title(), case.name)),
            }
            bar.inc(1);
        }
        measured.retain(|measured| measured.runs.len() == round as usize + 1);
        Ok(())
    }

    /// Runs `case` once and removes its output.
    fn measure(&self, case: &Case) -> anyhow::Result<Run> {
        let run = measure::run(&case.pipe, &self.places, &self.wake);
        if let Some(output) = &case.pipe.output {
            let _ = std::fs::remove_file(output);
        }
        run
    }

    /// Makes the inputs of decompression and decryption; this also brings the input into the page cache.
    fn make_sources(&self, bar: &ProgressBar) -> anyhow::Result<()> {
        let level = self.choice.levels.first().copied();
        for (task, back) in
            [(Task::Process, Task::Restore), (Task::Compress, Task::Decompress), (Task::Encrypt, Task::Decrypt)]
        {
            let case =
                ours(task, level.filter(|_| task != Task::Encrypt), self.main_channels(), &self.choice, &self.places);
            bar.set_message(format!("to begin with: {}", task.title()));
            measure::run(&case.pipe, &self.places, &self.wake)?;
            std::fs::rename(self.places.output(), self.places.source(back)).context("cannot write to --dir")?;
        }
        Ok(())
    }

    /// Measures peak memory on parts of the input and on all of it.
    fn memory(&self, bar: &ProgressBar, cancel: &Cancel) -> anyhow::Result<Vec<MemoryPoint>> {
        let (mut points, part) = (Vec::new(), self.places.folder.join("part"));
        for divisor in MEMORY_PARTS {
            let input_bytes = self.input_bytes / divisor;
            let mut places = self.places.clone();
            if divisor > 1 {
                copy_part(&self.places.input, &part, input_bytes)?;
                places.input.clone_from(&part);
            }
            for engine in &self.choice.engines {
                bar.set_message(format!("memory, {}", engine.word()));
                let setting = Setting { engine: *engine, ..self.choice.main() };
                let case = ours(Task::Process, self.choice.levels.first().copied(), setting, &self.choice, &places);
                match self.measure(&case) {
                    Ok(run) => points.push(MemoryPoint { engine: *engine, input_bytes, peak_bytes: run.peak_bytes }),
                    Err(error) if cancel.is_set() => return Err(error),
                    // The mutex mode refuses inputs larger than memory; such a point is missing.
                    Err(_) => {}
                }
            }
        }
        let _ = std::fs::remove_file(part);
        Ok(points)
    }

    fn main_channels(&self) -> Setting {
        Setting { engine: EngineKind::Channels, ..self.choice.main() }
    }

    fn bar(&self) -> ProgressBar {
        let target = if self.is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(4) };
        let bar = ProgressBar::with_draw_target(Some(u64::from(self.round_count) * self.cases.len() as u64), target);
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len} runs, {elapsed}, {eta} left  {msg}");
        bar.with_style(style.expect("the template is a constant"))
    }
}

fn copy_part(from: &Path, to: &PathBuf, bytes: u64) -> anyhow::Result<()> {
    let copied = File::open(from).and_then(|from| io::copy(&mut from.take(bytes), &mut File::create(to)?));
    copied.map(drop).context("cannot write to --dir")
}
