//! `pipeline bench`: compares this program's settings and other tools on one file and this machine.

use std::io::Write;
use std::path::Path;

use age::secrecy::ExposeSecret;
use anyhow::Context;

use crate::bench::cases::{Choice, Places, cases};
use crate::bench::runner::{Bench, cpu_count};
use crate::bench::{page, table};
use crate::cli::args::BenchArgs;
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::session::Session;
use crate::store::output::{Origin, Output, OutputOptions};
use crate::store::sys;
use crate::task::executor::Executor;
use crate::task::publish::publish;

/// Runs the command.
pub fn run(args: BenchArgs) -> anyhow::Result<Exit> {
    let choice = choice(&args);
    let mut session = Session::start_quiet()?;
    let input = session.open(&args.input)?;
    if !input.metadata.is_file() || args.input == Path::new("-") {
        let problem = Problem::usage(format!("{} is read many times, so it has to be a regular file", input.name));
        return Err(problem.into());
    }
    let output_options = OutputOptions { force: args.force, sync: true, umask: session.umask };
    let html = args.html.as_deref().map(|path| Output::prepare(path, &[&input], output_options)).transpose()?;
    let folder =
        tempfile::Builder::new().prefix("pipeline-bench-").tempdir_in(args.dir.unwrap_or_else(std::env::temp_dir));
    let folder = folder.context("cannot make a directory in --dir")?;
    let places = places(&args.input, folder.path())?;

    let wake = session.wake.clone();
    let bench = Bench {
        cases: cases(&choice, &places),
        choice,
        places,
        round_count: args.rounds,
        wake: wake.clone(),
        input_name: input.name.clone(),
        input_bytes: input.metadata.len(),
        is_quiet: args.quiet,
    };
    let results = session.wait("bench", move |cancel| bench.run(cancel))??;
    let text = if args.json { format!("{:#}\n", results.to_json()) } else { table::table(&results) };
    problem::print(&text)?;
    if let Some(html) = html {
        let mut writer = html.writer(&wake)?;
        writer.write_all(page::page(&results)?.as_bytes()).with_context(|| format!("cannot write {}", html.name()))?;
        publish(&mut session, html, Origin::default())?;
    }
    Ok(if results.failed.is_empty() { Exit::Done } else { Exit::Warned })
}

/// The settings to compare, from the arguments.
fn choice(args: &BenchArgs) -> Choice {
    let cpu_count = cpu_count();
    let mut workers = match args.workers.is_empty() {
        false => args.workers.clone(),
        true => (0..).map(|power| 1 << power).take_while(|count| *count < cpu_count).chain([cpu_count]).collect(),
    };
    workers.iter_mut().filter(|count| **count == 0).for_each(|count| *count = cpu_count);
    Choice {
        engines: args.engine.iter().map(|engine| (*engine).into()).collect(),
        workers,
        channel_depths: args.channel_depth.clone(),
        levels: args.level.iter().map(|level| level.get()).collect(),
        chunk_bytes: args.chunk_size,
        with_peers: !args.no_peers,
    }
}

/// The paths of the bench, with a new identity that is deleted with `folder`.
fn places(input: &Path, folder: &Path) -> anyhow::Result<Places> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let input = std::path::absolute(input).context("cannot tell where IN is")?;
    let key = age::x25519::Identity::generate();
    let recipient = key.to_public().to_string();
    let places = Places { program, input, folder: folder.to_owned(), recipient };
    let mut file = sys::create_private(&places.identity()).context("cannot write to --dir")?;
    writeln!(file, "{}", key.to_string().expose_secret()).context("cannot write to --dir")?;
    Ok(places)
}
