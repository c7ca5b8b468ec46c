//! `pipeline process`: a file into a seekable zstd file.

use anyhow::Context;

use super::environment;
use crate::cli::args::{ProcessArgs, StatsForm};
use crate::cli::input::Input;
use crate::cli::output::{Manner, Output};
use crate::cli::session::{Session, name_the_output, refuse_terminal};
use crate::cli::sys::WakeUp;
use crate::cli::{report, resolve};
use crate::pipeline::plan::{Plan, Work};

/// Runs the command.
pub fn run(args: ProcessArgs) -> anyhow::Result<()> {
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

    let what = || format!("process {}", input.name);
    let wake = WakeUp::new().context("cannot start")?;
    let (reader, writer) = (input.reader(&wake)?, output.writer(&wake)?);
    let plan = plan.narrowed_to(input.bytes());
    let report = session
        .run(&plan, reader, input.bytes(), writer, &wake)
        .map_err(|failure| name_the_output(failure, &output))
        .with_context(what)?;
    super::finish(&mut session, &args.files, &input, output, &names)?;
    report::show(&report, report::Verb::Processed, &args.talk, StatsForm::Text)
}
