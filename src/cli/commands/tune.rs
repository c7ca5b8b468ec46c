//! `pipeline tune`: tries workers, depths, chunks and levels on a sample of a file, and prints the command line to use.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;

use crate::bench::trials::{SampleLens, Trials, bar, sample};
use crate::bench::tune::{Choice, Tuned, Vary};
use crate::cli::args::TuneArgs;
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::pipeline::plan::{CHANNEL_DEPTH_DEFAULT, Compress};
use crate::store::sys;
use crate::task::executor::Executor;

/// Runs the command.
pub fn run(args: TuneArgs, settings: &Settings) -> anyhow::Result<Exit> {
    let level = resolve::level(args.level, settings)?;
    let chunk_len = resolve::chunk_len(None, level, settings)?;
    let cpu_count = std::thread::available_parallelism().context("cannot tell how many CPUs there are")?;
    let channel_depth = CHANNEL_DEPTH_DEFAULT;
    let width = resolve::width_of(0, channel_depth);
    let mut session = Session::start_quiet()?;
    let input = session.open(&args.input)?;
    if !input.metadata.is_file() || args.input == Path::new("-") {
        return Err(Problem::usage(format!("{} is sampled, so it has to be a regular file", input.name)).into());
    }
    let input_bytes = input.metadata.len();
    if input_bytes == 0 || args.sample == 0 {
        return Err(Problem::usage(format!("there is nothing to try: {} or the sample is empty", input.name)).into());
    }
    let file = input.file.try_clone().context("cannot read")?;
    let lens = SampleLens { input_bytes, sample_bytes: args.sample };
    let started_at = Instant::now();
    let sample = session.wait("sample", move |_| sample(&file, lens))?;
    let sample = sample.with_context(|| format!("tune {}", input.name))?;
    let read_wall = started_at.elapsed();

    let memory_bytes = sys::memory_limit_bytes().map(|bytes| bytes / 8 * 7);
    let memory_left = memory_bytes.map(|bytes| bytes.saturating_sub(sample.bytes()));
    let mut trials = Trials { executor: session, sample, memory_left, round_count: args.rounds, bar: bar(args.quiet) };
    let mut choice = Choice { width, compress: Compress { chunk_len, level } };
    let mut steps = Vec::new();
    for vary in [Vary::Workers, Vary::ChannelDepth, Vary::ChunkSize, Vary::Level] {
        let step = trials.step(vary, choice, cpu_count, args.at_least)?;
        choice = step.trials[step.chosen].choice;
        steps.push(step);
    }
    trials.bar.finish_and_clear();
    let sample_bytes = trials.sample.bytes();
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
