//! `pipeline cat`: a range of the content to stdout, by seek table where there is one.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::Context;

use super::{environment, require_zstd};
use crate::cli::args::{CatArgs, StatsForm};
use crate::cli::input::Input;
use crate::cli::output::{Manner, Output};
use crate::cli::session::{Session, name_the_output};
use crate::cli::sys::WakeUp;
use crate::cli::{problem, report, resolve};
use crate::format::detect::DETECT_LEN;
use crate::pipeline::error::Failure;
use crate::pipeline::plan::{ContentRange, Decompress, Engine, Plan, Work};
use crate::pipeline::range::{RangeError, RangePlan, check_headers_before, locate, read_table};

/// Runs the command.
pub fn run(args: CatArgs) -> anyhow::Result<()> {
    let width = resolve::width(&args.width, &environment())?;
    let window_log_max = resolve::window_log_max(&args.limits)?;

    let mut session = Session::start(&args.talk)?;
    let input = Input::open(&args.input)?;
    let what = || format!("cat {}", input.name);
    let manner = Manner { force: args.force, sync: true, umask: session.umask };
    let output = Output::prepare(Path::new("-"), &[&input], manner)?;
    let start = if input.is_seekable() { (&input.file).stream_position().with_context(what)? } else { 0 };
    let head = session.head(&input, DETECT_LEN).with_context(what)?;
    require_zstd(&input, &head)?;

    let wake = WakeUp::new().context("cannot start")?;
    let reader = input.reader(&wake)?;
    let behind_head = start + head.len() as u64;
    let is_whole_file = input.is_seekable() && start == 0;
    let by_table = match is_whole_file {
        true => plan_by_table(&input, &args, window_log_max, behind_head).with_context(what)?,
        false => None,
    };
    let (reader, work): (Box<dyn Read + Send>, Decompress) = match by_table {
        Some(RangePlan { file_range, work }) => {
            (&input.file).seek(SeekFrom::Start(file_range.start)).with_context(what)?;
            (Box::new(reader.take(file_range.end - file_range.start)), work)
        }
        None => {
            let work = Decompress { range: args.range.clone(), ..super::restore::everything(window_log_max) };
            (Box::new(Cursor::new(head).chain(reader)), work)
        }
    };
    let plan = Plan { width, engine: Engine::Channels, work: Work::Decompress(work) };
    let writer = output.writer(&wake)?;
    let report = session
        .run(&plan, reader, None, writer, &wake)
        .map_err(|failure| name_the_output(failure, &output))
        .with_context(what)?;
    super::commit(&mut session, output, &input)?;
    report::show(&report, report::Verb::Read, &args.talk, StatsForm::None)
}

/// What the seek table says of the range; `None` where there is no table that can be used, and a warning that says so.
/// The file is then left where the head ended.
fn plan_by_table(
    input: &Input,
    args: &CatArgs,
    window_log_max: u32,
    behind_head: u64,
) -> anyhow::Result<Option<RangePlan>> {
    let mut file = &input.file;
    let located = read_table(&mut file).map(|table| {
        let plan = locate(&table, &args.range, window_log_max)?;
        check_headers_before(&mut file, &table, plan.file_range.start)?;
        Ok(plan)
    });
    match located {
        Ok(plan) => plan.map(Some).map_err(|cause| Failure { stage: "locate", seq: None, cause }.into()),
        Err(RangeError::Io(error)) => Err(error).context("cannot read"),
        Err(RangeError::NoTable(error)) => {
            if args.range != ContentRange::All && !args.talk.quiet {
                problem::warn(&format!("{}: {error}: decoding from the start to find the range", input.name));
            }
            (&input.file).seek(SeekFrom::Start(behind_head)).context("cannot read")?;
            Ok(None)
        }
    }
}
