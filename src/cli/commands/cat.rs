//! `pipeline cat`: writes a range of the content to standard output.

use std::path::Path;

use crate::cli::args::{CatArgs, ProgressArg};
use crate::cli::problem::Exit;
use crate::cli::resolve;
use crate::cli::session::{Session, tell};
use crate::cli::settings::Settings;
use crate::pipeline::memory::restore_bytes;
use crate::store::input::Input;
use crate::store::output::{Origin, Output, OutputOptions};
use crate::store::reserved::{INPUT, ReservedPath};
use crate::task::keys::IdentitySources;
use crate::task::open::{ReadOptions, open, position};
use crate::task::read_range::{RangeSpec, read_range};
use crate::task::{self, Produced, Verb};

/// Runs the command.
pub fn run(args: CatArgs, settings: &Settings) -> anyhow::Result<Exit> {
    // The content often goes to a terminal, so that progress is shown only if a flag requests it.
    let mut report = resolve::report_options(&args.report, settings, ProgressArg::Never)?;
    report.force = args.force;
    report.form = args.report.stats.map(Into::into);
    report.progress = args.report.progress.unwrap_or(ProgressArg::Never).into();
    let identities = resolve::identities(&args.identities, settings)?;
    resolve::check_sources(&args.input, &args.identities.passphrases, &[("--identity", &identities.files)])?;
    let width = resolve::width(&args.width, settings)?;
    let spec = RangeSpec {
        width: resolve::fitted(width, &args.width, settings, restore_bytes)?,
        window_log_max: resolve::window_log_max(args.limits.window_log_max, settings)?,
        range: args.range.clone(),
        tell: if report.quiet { |_| () } else { tell },
    };
    let mut session = Session::start(&report)?;
    let mut taken = vec![ReservedPath::In(INPUT, &args.input), ReservedPath::Out(Path::new("-"))];
    taken.extend(super::taken_keys(&identities));
    taken.extend(settings.file().map(|path| ReservedPath::In("--config", path)));
    super::with_reports((Verb::Cat, &report), &taken, &mut session, |session, reports| {
        let (input, produced) = carry_out(&args, &spec, identities.clone(), session)?;
        Ok(super::tell(produced, reports, &input))
    })
}

fn carry_out(
    args: &CatArgs,
    spec: &RangeSpec,
    identities: IdentitySources,
    session: &mut Session,
) -> anyhow::Result<(Input, Produced)> {
    let input = session.open(&args.input)?;
    let output_options = OutputOptions { force: args.force, sync: true, umask: session.umask };
    let output = Output::prepare(Path::new("-"), &[&input], output_options)?;
    let at = task::at(Verb::Cat, &input, Some(&output));
    let start = position(&input).map_err(&at)?;
    let wake = session.wake.clone();
    let options = ReadOptions { wake: wake.clone(), rate_limit: None, digest: false };
    let keys = session.keys(identities);
    let opened = open(session, &input, &keys, &options).map_err(&at)?;
    let produced = read_range(session, spec, (&input, start), opened, &output, &wake).map_err(&at)?;
    drop(at);
    super::publish(session, output, Origin::default())?;
    Ok((input, produced))
}
