//! `pipeline restore`: the way back, from any zstd file.

use std::io::{Cursor, Read};

use anyhow::Context;

use super::{environment, require_zstd};
use crate::cli::args::RestoreArgs;
use crate::cli::input::Input;
use crate::cli::output::{Manner, Output};
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::session::{Session, name_the_output};
use crate::cli::sys::WakeUp;
use crate::cli::{report, resolve};
use crate::format::detect::DETECT_LEN;
use crate::format::zstd::seek_table::{TableError, TableStatus};
use crate::pipeline::plan::{ContentRange, Decompress, Expect, Plan, Start, Work};

/// Runs the command.
pub fn run(args: RestoreArgs) -> anyhow::Result<Exit> {
    let names = resolve::names(&args.files, resolve::restored_name)?;
    let width = resolve::width(&args.width, &environment())?;
    let work = everything(resolve::window_log_max(&args.limits)?);
    let plan = Plan { width, engine: resolve::engine(args.engine), work: Work::Decompress(work) };

    let mut session = Session::start(&args.talk)?;
    let input = Input::open(&names.input)?;
    let what = || format!("restore {}", input.name);
    let head = session.head(&input, DETECT_LEN).with_context(what)?;
    require_zstd(&input, &head)?;
    let manner = Manner { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let output = Output::prepare(&names.output, &[&input], manner)?;
    let report_file = super::prepare(&args.files, &args.talk, &names, &input, &output)?;

    let wake = WakeUp::new().context("cannot start")?;
    let reader = Box::new(Cursor::new(head).chain(input.reader(&wake)?));
    let writer = output.writer(&wake)?;
    let plan = plan.narrowed_to(input.bytes());
    let report = session
        .run(&plan, reader, input.bytes(), writer, &wake)
        .map_err(|failure| name_the_output(failure, &output))
        .with_context(what)?;
    let is_table_valid = judge_table(&input.name, report.summary.table.as_ref(), args.require_table, args.talk.quiet)?;
    super::finish(&mut session, &input, output)?;
    let exit = super::tell(&report, report::Verb::Restored, report_file, &args.talk, &input);
    if args.files.rm && !is_table_valid {
        // What would be missing could then be had nowhere.
        problem::warn(&format!("{} is kept, since it cannot be told whether it was whole", input.name));
        return Ok(Exit::Warned);
    }
    super::delete_if_asked(&args.files, &input, &names, exit)
}

/// All of a stream, held against the tables in it.
pub(super) fn everything(window_log_max: u32) -> Decompress {
    Decompress { window_log_max, start: Start::default(), range: ContentRange::All, expect: Expect::Tables }
}

/// A cut at a frame edge is a valid zstd file; only a seek table shows it. Gives whether there is one that does.
fn judge_table(name: &str, table: Option<&TableStatus>, require_table: bool, quiet: bool) -> Result<bool, Problem> {
    let Some(TableStatus::Unusable(error)) = table else {
        return Ok(true);
    };
    if require_table {
        return Err(Problem::damaged(format!("restore {name}: {error}")).hint("without --require-table it is restored"));
    }
    if !quiet {
        let consequence = match error {
            TableError::Missing => "whether frames are missing at the end cannot be told",
            _ => "frames may be missing, or not those that were written",
        };
        problem::warn(&format!("{name}: {error}: {consequence}"));
    }
    Ok(false)
}
