//! Runs the trials of `pipeline tune` in memory, on a sample of a file.

use std::fs::File;
use std::io::{self, Cursor};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::tune::{Choice, Step, Trial, Vary, decide};
use crate::pipeline::memory;
use crate::pipeline::plan::{Engine, Plan, Process, Work};
use crate::pipeline::report::Report;
use crate::task::executor::{Executor, RunEnds};

/// Places that a sample is taken from, since the beginning of a file, such as a tar, is not typical.
const PLACES: u64 = 16;

/// Levels above the first that takes longer than this for the sample are not tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lengths of the input and of the sample.
#[derive(Clone, Copy)]
pub struct SampleLens {
    /// The length of the input, in bytes.
    pub input_bytes: u64,
    /// Length of the sample.
    pub sample_bytes: u64,
}

/// A part of a file, shared by the readers of all trials.
#[derive(Clone)]
pub struct Sample(Arc<Vec<u8>>);

impl Sample {
    /// The length in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

impl AsRef<[u8]> for Sample {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads about `sample_bytes` of `file`, from places spread over it.
pub fn sample(file: &File, SampleLens { input_bytes, sample_bytes }: SampleLens) -> anyhow::Result<Sample> {
    let places = if input_bytes <= sample_bytes || sample_bytes < PLACES { 1 } else { PLACES };
    let place_len = usize::try_from(sample_bytes.min(input_bytes) / places).context("the sample is too large")?;
    let mut sample = Vec::new();
    let sample_len = usize::try_from(places).ok().and_then(|places| place_len.checked_mul(places));
    sample.try_reserve_exact(sample_len.unwrap_or(usize::MAX)).context("there is no memory for the sample")?;
    for place in 0..places {
        // The first place is at the start of the file, the last at its end.
        let offset = (input_bytes - place_len as u64) / (places - 1).max(1) * place;
        let start = sample.len();
        sample.resize(start + place_len, 0);
        file.read_exact_at(&mut sample[start..], offset).context("cannot read")?;
    }
    Ok(Sample(Arc::new(sample)))
}

/// Runs trials and shows progress.
pub struct Trials<E> {
    /// The supervisor of the runs.
    pub executor: E,
    /// The sample.
    pub sample: Sample,
    /// The memory that a trial may take in a container that limits it, in bytes.
    pub memory_left: Option<u64>,
    /// The number of runs of each choice.
    pub round_count: u32,
    /// Shows progress.
    pub bar: ProgressBar,
}

impl<E: Executor> Trials<E> {
    /// Tries the choices of `vary`, round by round, so that a slow phase of the machine affects all alike.
    pub fn step(
        &mut self,
        vary: Vary,
        base: Choice,
        cpu_count: NonZeroUsize,
        rate_min: Option<u64>,
    ) -> anyhow::Result<Step> {
        let mut choices = vary.choices(base, cpu_count, self.sample.0.len());
        let needed = |choice: &Choice| memory::process_bytes(choice.width, Some(choice.compress), false) as u64;
        choices.retain(|choice| *choice == base || self.memory_left.is_none_or(|left| needed(choice) <= left));
        let trial = |choice| Trial { choice, walls: Vec::new(), written_bytes: 0 };
        let mut trials: Vec<Trial> = choices.into_iter().map(trial).collect();
        let base_index = trials.iter().position(|trial| trial.choice == base).unwrap_or(0);
        let round_count = if vary == Vary::Level { 1 } else { self.round_count };
        for _ in 0..round_count {
            for i in 0..trials.len() {
                self.bar.set_message(vary.word());
                let report = self.once(trials[i].choice)?;
                trials[i].walls.push(report.wall);
                trials[i].written_bytes = report.written_bytes;
                self.bar.inc(1);
                if vary == Vary::Level && report.wall > PATIENCE && i >= base_index {
                    trials.truncate(i + 1);
                    break;
                }
            }
        }
        let chosen = decide(vary, &trials, base, self.sample.0.len() as u64, rate_min);
        Ok(Step { vary, trials, chosen })
    }

    fn once(&mut self, Choice { width, compress }: Choice) -> anyhow::Result<Report> {
        let work = Work::Process(Process { compress: Some(compress), seal: None });
        let plan = Plan { width, engine: Engine::Channels, work };
        let reader = Box::new(Cursor::new(self.sample.clone()));
        let (input_bytes, output) = (Some(self.sample.0.len() as u64), Box::new(io::sink()));
        let ends = RunEnds { input: reader, input_bytes, output, is_counted: true };
        let outcome = self.executor.run(&plan, ends).context("tune")?;
        Ok(outcome.report.expect("internal error: trials are run by an executor that reports each run"))
    }
}

/// Shows finished trials.
pub fn bar(is_quiet: bool) -> ProgressBar {
    let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(4) };
    let style = ProgressStyle::with_template("{spinner} {pos} runs, {elapsed}, trying {msg}");
    ProgressBar::with_draw_target(None, target).with_style(style.expect("the template is a constant"))
}
