//! `pipeline tune`: tries workers, depths, chunks and levels on a sample of a file, in memory, and prints the command line to use.

use std::fs::File;
use std::io::{self, Cursor};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::bench::tune::{Choice, Step, Trial, Tuned, Vary, decide};
use crate::cli::args::TuneArgs;
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::pipeline::memory;
use crate::pipeline::plan::{Compress, Engine, Plan, Process, Work};
use crate::pipeline::report::Report;
use crate::store::input::Input;
use crate::store::sys::{self, WakeUp};

/// Places that a sample is taken from: a tar, say, does not begin as it goes on.
const PLACES: u64 = 16;

/// Levels that take longer than this for the sample are not tried beyond the first of them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command.
pub fn run(args: TuneArgs, settings: &Settings) -> anyhow::Result<Exit> {
    let level = resolve::level(args.level, settings)?;
    let chunk_len = resolve::chunk_len(None, level, settings)?;
    let cpu_count = std::thread::available_parallelism().context("cannot tell how many CPUs there are")?;
    let channel_depth = resolve::CHANNEL_DEPTH_DEFAULT;
    let width = resolve::width_of(0, channel_depth);
    let mut session = Session::start_quiet()?;
    let input = Input::open(&args.input)?;
    if !input.metadata.is_file() || args.input == Path::new("-") {
        return Err(Problem::usage(format!("{} is sampled, so it has to be a regular file", input.name)).into());
    }
    let input_bytes = input.metadata.len();
    if input_bytes == 0 || args.sample == 0 {
        return Err(Problem::usage(format!("there is nothing to try: {} or the sample is empty", input.name)).into());
    }
    let wake = WakeUp::new().context("cannot start")?;
    let file = input.file.try_clone().context("cannot read")?;
    let lens = SampleLens { input_bytes, sample_bytes: args.sample };
    let started_at = Instant::now();
    let sample = session.task("sample", wake.cancel(), move |_| Ok(sample(&file, lens)))?;
    let sample = sample.with_context(|| format!("tune {}", input.name))?;
    let read_wall = started_at.elapsed();

    let memory_bytes = sys::memory_limit_bytes().map(|bytes| bytes / 8 * 7);
    let memory_left = memory_bytes.map(|bytes| bytes.saturating_sub(sample.0.len() as u64));
    let mut trials = Trials { session, wake, sample, memory_left, round_count: args.rounds, bar: bar(args.quiet) };
    let mut choice = Choice { width, compress: Compress { chunk_len, level } };
    let mut steps = Vec::new();
    for vary in [Vary::Workers, Vary::ChannelDepth, Vary::ChunkSize, Vary::Level] {
        let step = trials.step(vary, choice, cpu_count, args.at_least)?;
        choice = step.trials[step.chosen].choice;
        steps.push(step);
    }
    trials.bar.finish_and_clear();
    let sample_bytes = trials.sample.0.len() as u64;
    let round_count = args.rounds;
    let fastest = steps.last().map(|step| step.trials[step.chosen].rate(sample_bytes));
    let is_missed = args.at_least.zip(fastest).is_some_and(|(wanted, rate)| rate < wanted as f64);
    let input = args.input.into_os_string();
    let tuned = Tuned { input, input_bytes, sample_bytes, read_wall, cpu_count, round_count, steps, choice };
    let text = if args.json { format!("{:#}\n", tuned.to_json()) } else { tuned.to_text() };
    problem::print(&text)?;
    if is_missed {
        problem::warn("no level that was tried gets through as many bytes a second as --at-least asks for");
        return Ok(Exit::Warned);
    }
    Ok(Exit::Done)
}

/// How long the input is, and how much of it is wanted.
#[derive(Clone, Copy)]
struct SampleLens {
    input_bytes: u64,
    sample_bytes: u64,
}

/// Part of a file, shared by the readers of all trials.
#[derive(Clone)]
struct Sample(Arc<Vec<u8>>);

impl AsRef<[u8]> for Sample {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// About `sample_bytes` of `file`, from places all over it.
fn sample(file: &File, SampleLens { input_bytes, sample_bytes }: SampleLens) -> anyhow::Result<Sample> {
    let places = if input_bytes <= sample_bytes || sample_bytes < PLACES { 1 } else { PLACES };
    let place_len = usize::try_from(sample_bytes.min(input_bytes) / places).context("the sample is too large")?;
    let mut sample = Vec::new();
    let sample_len = usize::try_from(places).ok().and_then(|places| place_len.checked_mul(places));
    sample
        .try_reserve_exact(sample_len.unwrap_or(usize::MAX))
        .map_err(|_| Problem::failed("there is no memory for the sample"))?;
    for place in 0..places {
        // The first begins at the start, the last ends at the end.
        let offset = (input_bytes - place_len as u64) / (places - 1).max(1) * place;
        let start = sample.len();
        sample.resize(start + place_len, 0);
        file.read_exact_at(&mut sample[start..], offset).context("cannot read")?;
    }
    Ok(Sample(Arc::new(sample)))
}

/// Runs trials, and shows how far it has come.
struct Trials {
    session: Session,
    wake: WakeUp,
    sample: Sample,
    /// What a trial may hold in a container that limits it.
    memory_left: Option<u64>,
    round_count: u32,
    bar: ProgressBar,
}

impl Trials {
    /// Tries the choices of `vary`, round by round, so that what slows the machine down for a while hits all alike.
    fn step(
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
        let report =
            self.session.run(&plan, reader, Some(self.sample.0.len() as u64), Box::new(io::sink()), &self.wake);
        report.context("tune")
    }
}

fn bar(is_quiet: bool) -> ProgressBar {
    let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(4) };
    let style = ProgressStyle::with_template("{spinner} {pos} runs, {elapsed}, trying {msg}");
    ProgressBar::with_draw_target(None, target).with_style(style.expect("the template is a constant"))
}
