//! `pipeline cat`: a range of the content to stdout, by seek table where there is one.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use super::{environment, require_zstd};
use crate::cli::args::CatArgs;
use crate::cli::input::Input;
use crate::cli::output::{Manner, Output};
use crate::cli::problem::{self, Exit};
use crate::cli::session::{Session, name_the_output};
use crate::cli::sys::WakeUp;
use crate::cli::{report, resolve};
use crate::format::detect::DETECT_LEN;
use crate::pipeline::error::Failure;
use crate::pipeline::plan::{ContentRange, Decompress, Engine, Plan, Work};
use crate::pipeline::range::{RangeError, RangePlan, check_headers_before, locate, read_table};
use crate::pipeline::shutdown::Cancel;

/// Runs the command.
pub fn run(args: CatArgs) -> anyhow::Result<Exit> {
    let width = resolve::width(&args.width, &environment())?;
    let window_log_max = resolve::window_log_max(&args.limits)?;

    let mut session = Session::start(&args.talk)?;
    let input = Input::open(&args.input)?;
    let what = || format!("cat {}", input.name);
    let manner = Manner { force: args.force, sync: true, umask: session.umask };
    let output = Output::prepare(Path::new("-"), &[&input], manner)?;
    let report_file = report::ReportFile::prepare(&args.talk, &[&input], Some(&output))?;
    let start = if input.is_seekable() { (&input.file).stream_position().with_context(what)? } else { 0 };
    let head = session.head(&input, DETECT_LEN).with_context(what)?;
    require_zstd(&input, &head)?;

    let wake = WakeUp::new().context("cannot start")?;
    let reader = input.reader(&wake)?;
    let behind_head = start + head.len() as u64;
    let is_whole_file = input.is_seekable() && start == 0;
    let by_table = match is_whole_file {
        true => plan_by_table(&mut session, &input, &args, window_log_max, behind_head).with_context(what)?,
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
    super::finish(&mut session, &input, output)?;
    Ok(super::tell(&report, report::Verb::Read, report_file, &args.talk, &input))
}

/// What the seek table says of the range; `None` where there is no table that can be used, and a warning that says so.
/// The file is then left where the head ended.
fn plan_by_table(
    session: &mut Session,
    input: &Input,
    args: &CatArgs,
    window_log_max: u32,
    behind_head: u64,
) -> anyhow::Result<Option<RangePlan>> {
    let (mut file, range) = (input.file.try_clone().context("cannot read")?, args.range.clone());
    let planned = session.task("locate", Cancel::default(), move |cancel| {
        Ok(read_table(&mut file).and_then(|table| {
            let table = Arc::new(table);
            let plan = match locate(&table, &range, window_log_max) {
                Ok(plan) => plan,
                Err(cause) => return Ok(Err(cause)),
            };
            check_headers_before(&mut file, &table, plan.file_range.start, || cancel.is_set())?;
            Ok(Ok(plan))
        })?)
    });
    match planned {
        Ok(plan) => plan.map(Some).map_err(|cause| Failure { stage: "locate", seq: None, cause }.into()),
        Err(failure) => match failure.into_task_error::<RangeError>()? {
            RangeError::NoTable(error) => {
                if args.range != ContentRange::All && !args.talk.quiet {
                    problem::warn(&format!("{}: {error}: decoding from the start to find the range", input.name));
                }
                (&input.file).seek(SeekFrom::Start(behind_head)).context("cannot read")?;
                Ok(None)
            }
            RangeError::Damaged(error) => Err(Failure { stage: "locate", seq: None, cause: error.into() }.into()),
            RangeError::Io(error) => Err(error).context("cannot read"),
        },
    }
}
