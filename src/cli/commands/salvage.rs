//! `pipeline restore --salvage`: recovers the intact parts of one damaged file.

use std::sync::Arc;

use crate::cli::args::{RestoreArgs, Typed};
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve::{self, Names};
use crate::cli::session::{Session, refuse_terminal, tell};
use crate::cli::settings::Settings;
use crate::pipeline::kind::Kind;
use crate::pipeline::salvage::Loss;
use crate::report::notice;
use crate::report::options::ReportOptions;
use crate::store::output::{Origin, OutputOptions};
use crate::store::reserved::{INPUT, ReservedPath, refuse_overwriting};
use crate::task::error::Notice;
use crate::task::error::SalvageOutcome;
use crate::task::keys::IdentitySources;
use crate::task::open::position;
use crate::task::salvage::{SalvageSpec, open, salvage};
use crate::task::{self, Verb};

/// Flags that a salvage of one file does not use: it runs on one thread and makes no report.
const UNUSED: [&str; 10] = [
    "workers",
    "channel_depth",
    "memory",
    "engine",
    "stats",
    "stats_file",
    "prometheus",
    "hdr_log",
    "progress",
    "size_hint",
];

/// Runs the command on `names`.
pub fn run(
    args: &RestoreArgs,
    typed: &Typed,
    names: &Names,
    identities: IdentitySources,
    report: &ReportOptions,
    settings: &Settings,
) -> anyhow::Result<Exit> {
    if args.files.out.is_none() && args.files.output.is_none() {
        return Err(Problem::usage("--salvage needs OUT to be given").into());
    }
    refuse_contradictions(args)?;
    typed.refuse(&UNUSED, "--salvage of one file is one thread and makes no report")?;
    let sparse = resolve::sparse(args.sparse, settings)?;
    let window_log_max = resolve::window_log_max(args.limits.window_log_max, settings)?;
    let mut taken = vec![ReservedPath::In(INPUT, &names.input), ReservedPath::Out(&names.output)];
    taken.extend(super::taken_keys(&identities));
    taken.extend(settings.file().map(|path| ReservedPath::In("--config", path)));
    refuse_overwriting(&taken)?;
    let mut session = Session::start(report)?;
    let input = session.open(&names.input)?;
    if !input.metadata.is_file() || position(&input)? != 0 {
        return Err(Problem::usage(format!("--salvage seeks in IN, and {} is no regular file", input.name)).into());
    }
    let keys = session.keys(identities);
    let wake = session.wake.clone();
    let damaged = open(&mut session, &input, &keys).map_err(task::at(Verb::Restore, &input, None))?;
    let output_options = OutputOptions { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let output = super::prepare(&names.output, &[&input], output_options)?;
    refuse_terminal(&output, args.files.force)?;
    super::check_preserve(args.files.preserve, &input, &output)?;
    let spec = SalvageSpec {
        decompress: !args.no_decompress,
        window_log_max,
        sparse,
        rate_limit: resolve::rate_limit(&args.pace, &wake)?,
        digest: false,
        on_loss: Arc::new(|lost: &Loss| problem::tell(&notice::loss(lost, None))),
        tell,
    };
    let salvaged = salvage(&mut session, &spec, damaged, (&input, &output), &wake);
    let (produced, outcome) = salvaged.map_err(task::at(Verb::Restore, &input, Some(&output)))?;
    let name = output.name().to_owned();
    let origin = Origin { attributes: input.attributes(args.files.preserve)?, must_replace: None };
    let changed = produced.input_state.is_none().then(|| Notice::Changed(input.name.clone()));
    let warnings = Vec::from_iter(super::publish(&mut session, output, origin)?.into_iter().chain(changed));
    warnings.iter().for_each(tell);
    match judge(outcome, (&input.name, name), report.quiet)? {
        Exit::Done if !warnings.is_empty() => Ok(Exit::Warned),
        exit => Ok(exit),
    }
}

/// Says what became of the file; (input, output) are shown names.
fn judge(outcome: SalvageOutcome, (input, output): (&str, String), quiet: bool) -> anyhow::Result<Exit> {
    if !quiet {
        notice::doubts(input, &outcome).iter().for_each(|doubt| problem::warn(doubt));
    }
    if outcome.is_whole() {
        if !quiet {
            let bytes = outcome.salvaged.written_bytes;
            problem::tell(&format!("salvaged: no damage seen in {input}, {bytes} bytes are in {output}\n"));
        }
        return Ok(Exit::Done);
    }
    let salvaged = Notice::Salvaged { input: input.to_owned(), output, outcome };
    let hint = "a frame is saved whole or not at all; 'restore IN -' gives what is in front of the first damage";
    Err(Problem::new(Kind::Salvaged, notice::text(&salvaged)).hint(hint).into())
}

/// Refuses flags that do not go with `--salvage`.
pub(super) fn refuse_contradictions(args: &RestoreArgs) -> Result<(), Problem> {
    match args.files.rm || args.require_table || args.ignore_table {
        true => Err(Problem::usage(
            "--salvage is for damaged files: --rm, --require-table and --ignore-table do not go with it",
        )),
        false => Ok(()),
    }
}
