//! `pipeline verify`: decodes one file completely without writing it, and compares it with an original if one is given.

use std::path::Path;

use crate::cli::args::{ProgressArg, Typed, VerifyArgs};
use crate::cli::problem::{Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::pipeline::memory::restore_bytes;
use crate::store::input::Input;
use crate::store::reserved::{INPUT, ReservedPath};
use crate::task::keys::IdentitySources;
use crate::task::open::{ReadOptions, open};
use crate::task::verify::{VerifySpec, verify};
use crate::task::{self, Produced, Verb};

/// Runs the command.
pub fn run(args: VerifyArgs, typed: &Typed, settings: &Settings) -> anyhow::Result<Exit> {
    if args.input != Path::new("-") && args.input.is_dir() {
        return super::batch::verify::run(args, typed, settings);
    }
    typed.refuse_batch_flags()?;
    let report = resolve::report_options(&args.report, settings, ProgressArg::Auto)?;
    let identities = resolve::identities(&args.identities, settings)?;
    resolve::check_sources(&args.input, &args.identities.passphrases, &[("--identity", &identities.files)])?;
    let width = resolve::width(&args.width, settings)?;
    let spec = VerifySpec {
        width: resolve::fitted(width, &args.width, settings, restore_bytes)?,
        window_log_max: resolve::window_log_max(args.limits.window_log_max, settings)?,
        foreign: args.foreign,
        digest: false,
    };
    let stdin = Path::new("-");
    if args.input == stdin && args.against.as_deref() == Some(stdin) {
        return Err(Problem::usage("standard input cannot be both IN and ORIGINAL").into());
    }
    let mut session = Session::start(&report)?;
    let mut taken = vec![ReservedPath::In(INPUT, &args.input)];
    taken.extend(args.against.as_deref().map(|path| ReservedPath::In("ORIGINAL", path)));
    taken.extend(super::taken_keys(&identities));
    taken.extend(settings.file().map(|path| ReservedPath::In("--config", path)));
    super::with_reports((Verb::Verify, &report), &taken, &mut session, |session, reports| {
        let (input, produced) = carry_out(&args, &spec, identities.clone(), session)?;
        Ok(super::tell(produced, reports, &input))
    })
}

fn carry_out(
    args: &VerifyArgs,
    spec: &VerifySpec,
    identities: IdentitySources,
    session: &mut Session,
) -> anyhow::Result<(Input, Produced)> {
    let input = session.open(&args.input)?;
    let wake = session.wake.clone();
    let options = ReadOptions { wake: wake.clone(), rate_limit: resolve::rate_limit(&args.pace, &wake)?, digest: true };
    let keys = session.keys(identities);
    let opened = open(session, &input, &keys, &options).map_err(task::at(Verb::Verify, &input, None))?;
    let original = args.against.as_deref().map(|path| session.open(path)).transpose()?;
    let produced = verify(session, spec, &input, opened, original.as_ref(), &wake).map_err(task::at(
        Verb::Verify,
        &input,
        None,
    ))?;
    Ok((input, produced))
}
