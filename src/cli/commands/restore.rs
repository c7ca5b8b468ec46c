//! `pipeline restore`: the way back, from any zstd or age file.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Context;

use crate::batch::start;
use crate::cli::args::RestoreArgs;
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve::{self, Names};
use crate::cli::session::{Session, name_the_output};
use crate::cli::settings::Settings;
use crate::format::detect::DETECT_LEN;
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::crew::Width;
use crate::pipeline::memory::restore_bytes;
use crate::pipeline::plan::{ContentRange, Plan, Work};
use crate::report::{Reports, Taken, Verb};
use crate::store::input::Input;
use crate::store::output::{Manner, Output};
use crate::store::rate_limit::{Pace, paced};
use crate::store::sys::WakeUp;
use crate::task::keys;
use crate::task::layers;

/// Runs the command.
pub fn run(mut args: RestoreArgs, settings: &Settings) -> anyhow::Result<Exit> {
    if let Some(names) = start::names(&args.files, &args.list)? {
        return super::batch::restore::run(args, &names, settings);
    }
    resolve::talk(&mut args.talk, settings)?;
    resolve::identities(&mut args.identities, settings)?;
    keys::check_sources(
        args.files.input.as_deref().unwrap_or(Path::new("")),
        &args.identities.passphrases,
        &[("--identity", &args.identities.identity)],
    )?;
    let decompress = !args.no_decompress;
    let names = resolve::names(&args.files, |name: &OsStr| resolve::restored_name(name, decompress))?;
    if args.salvage {
        return super::salvage::run(&args, &names, settings);
    }
    let width = resolve::width(&args.width, settings)?;
    let width = resolve::fitted(width, &args.width, settings, restore_bytes)?;
    let window_log_max = resolve::window_log_max(args.limits.window_log_max, settings)?;

    let limits = Limits { width, window_log_max };
    let mut session = Session::start(&args.talk)?;
    let mut taken = vec![Taken::In("IN", &names.input), Taken::Out(&names.output)];
    taken.extend(super::taken_keys(&args.identities));
    taken.extend(settings.file().map(|path| Taken::In("--config", path)));
    super::with_reports((Verb::Restored, &args.talk), &taken, &mut session, |session, reports| {
        restore(&args, &names, limits, session, reports)
    })
}

/// What the work is kept within.
#[derive(Clone, Copy)]
struct Limits {
    width: Width,
    window_log_max: u32,
}

fn restore(
    args: &RestoreArgs,
    names: &Names,
    Limits { width, window_log_max }: Limits,
    session: &mut Session,
    reports: &mut Reports<'_>,
) -> anyhow::Result<Exit> {
    let decompress = !args.no_decompress;
    let input = Input::open(&names.input)?;
    let what = || format!("restore {}", input.name);
    let head = session.head(&input, DETECT_LEN).with_context(what)?;
    let wake = WakeUp::new().context("cannot start")?;
    let pace = Pace::of(&args.pace, &wake)?;
    let reader = paced(input.reader(&wake)?, pace.as_ref());
    let layers = layers::open_layers(session, &wake, head, reader, &args.identities).with_context(what)?;
    if args.no_decompress && layers.open.is_none() {
        return Err(
            Problem::usage(format!("--no-decompress takes off an age layer, and {} has none", input.name)).into()
        );
    }
    let manner = Manner { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let output = Output::prepare(&names.output, &[&input], manner)?;
    super::check_rm(&args.files, names, &input, &output)?;

    let work = layers::restore_work(&layers, ContentRange::All, window_log_max, decompress);
    let is_bare = layers.open.is_none();
    let plan = Plan { width, engine: resolve::engine(args.engine), work: Work::Restore(work) };
    let plan = plan.narrowed_to(input.bytes());
    let writer = output.writer(&wake)?;
    let report = session
        .run(&plan, layers.reader, input.bytes(), writer, &wake)
        .map_err(|failure| name_the_output(failure, &output))
        .with_context(what)?;
    // Inside age the final segment protects: what lacks a table there was written without one.
    let table = report.summary.table.as_ref().filter(|_| is_bare);
    let is_table_valid = judge_table(&input.name, table, args.require_table, args.talk.quiet)?;
    super::finish(session, &input, output)?;
    let exit = super::tell(report, reports, &input);
    if args.files.rm && !is_table_valid {
        // What would be missing could then be had nowhere.
        problem::warn(&format!("{} is kept, since it cannot be told whether it was whole", input.name));
        return Ok(Exit::Warned);
    }
    super::delete_if_asked(&args.files, &input, names, exit)
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
        problem::warn(&layers::table_warning(name, error));
    }
    Ok(false)
}
