//! `pipeline process`: a file into a seekable zstd file.

use anyhow::Context;

use super::environment;
use crate::cli::args::ProcessArgs;
use crate::cli::input::Input;
use crate::cli::output::{Manner, Output};
use crate::cli::problem::Exit;
use crate::cli::session::{Session, name_the_output, refuse_terminal};
use crate::cli::sys::WakeUp;
use crate::cli::{report, resolve};
use crate::pipeline::plan::{Plan, Work};

/// Runs the command.
pub fn run(args: ProcessArgs) -> anyhow::Result<Exit> {
    let names = resolve::names(&args.files, resolve::compressed_name)?;
    let level = resolve::level(args.level, &environment())?;
    let chunk_len = resolve::chunk_len(args.chunk_size, level, &environment())?;
    let width = resolve::width(&args.width, &environment())?;
    let plan = Plan { width, engine: resolve::engine(args.engine), work: Work::Compress { chunk_len, level } };

    let mut session = Session::start(&args.talk)?;
    let input = Input::open(&names.input)?;
    let manner = Manner { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let output = Output::prepare(&names.output, &[&input], manner)?;
    refuse_terminal(&output, args.files.force)?;
    let report_file = super::prepare(&args.files, &args.talk, &names, &input, &output)?;

    let what = || format!("process {}", input.name);
    let wake = WakeUp::new().context("cannot start")?;
    let (reader, writer) = (input.reader(&wake)?, output.writer(&wake)?);
    let plan = plan.narrowed_to(input.bytes());
    let report = session
        .run(&plan, reader, input.bytes(), writer, &wake)
        .map_err(|failure| name_the_output(failure, &output))
        .with_context(what)?;
    super::finish(&mut session, &input, output)?;
    let exit = super::tell(&report, report::Verb::Processed, report_file, &args.talk, &input);
    super::delete_if_asked(&args.files, &input, &names, exit)
}
