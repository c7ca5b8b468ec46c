//! `pipeline restore`: restores one file from a zstd or age file.

use std::ffi::OsStr;
use std::path::Path;

use crate::cli::args::{ProgressArg, RestoreArgs, Typed};
use crate::cli::problem::{self, Exit};
use crate::cli::resolve::{self, Names};
use crate::cli::session::{Session, tell};
use crate::cli::settings::Settings;
use crate::pipeline::memory::restore_bytes;
use crate::report::options::ReportOptions;
use crate::store::input::Input;
use crate::store::output::{Origin, OutputOptions};
use crate::store::reserved::{INPUT, ReservedPath};
use crate::task::keys::IdentitySources;
use crate::task::open::{ReadOptions, open};
use crate::task::restore::{RestoreSpec, restore};
use crate::task::{self, Produced, Verb};

/// The resolved request.
struct Request {
    names: Names,
    spec: RestoreSpec,
    identities: IdentitySources,
    report: ReportOptions,
}

/// Runs the command.
pub fn run(args: RestoreArgs, typed: &Typed, settings: &Settings) -> anyhow::Result<Exit> {
    if let Some(names) = super::batch::names(&args.files, &args.list)? {
        return super::batch::restore::run(args, typed, &names, settings);
    }
    typed.refuse_batch_flags()?;
    let mut report = resolve::report_options(&args.report, settings, ProgressArg::Auto)?;
    report.force = args.files.force;
    let identities = resolve::identities(&args.identities, settings)?;
    let input = args.files.input.as_deref().unwrap_or(Path::new(""));
    resolve::check_sources(input, &args.identities.passphrases, &[("--identity", &identities.files)])?;
    let decompress = !args.no_decompress;
    let names = resolve::names(&args.files, |name: &OsStr| resolve::restored_name(name, decompress))?;
    if args.salvage {
        return super::salvage::run(&args, typed, &names, identities, &report, settings);
    }
    let width = resolve::width(&args.width, settings)?;
    let spec = RestoreSpec {
        width: resolve::fitted(width, &args.width, settings, restore_bytes)?,
        engine: resolve::engine(args.engine),
        window_log_max: resolve::window_log_max(args.limits.window_log_max, settings)?,
        decompress,
        table: resolve::table_rule(&args),
        sparse: resolve::sparse(args.sparse, settings)?,
        digest: false,
    };
    let request = Request { names, spec, identities, report };
    let mut session = Session::start(&request.report)?;
    let mut taken = vec![ReservedPath::In(INPUT, &request.names.input), ReservedPath::Out(&request.names.output)];
    taken.extend(args.files.rm.then_some(ReservedPath::Deleted(&request.names.input)));
    taken.extend(super::taken_keys(&request.identities));
    taken.extend(settings.file().map(|path| ReservedPath::In("--config", path)));
    super::with_reports((Verb::Restore, &request.report), &taken, &mut session, |session, reports| {
        let (input, mut produced) = carry_out(&args, &request, session)?;
        let notices = std::mem::take(&mut produced.notices);
        if !request.report.quiet {
            notices.iter().for_each(tell);
        }
        let (is_input_needed, state) = (produced.is_input_needed, produced.input_state);
        let exit = super::tell(produced, reports, &input);
        if args.files.rm && is_input_needed {
            problem::warn(&format!("{} is kept, since it cannot be told whether it was whole", input.name));
            return Ok(Exit::Warned);
        }
        Ok(super::delete_if_asked(&args.files, &request.names, state, exit))
    })
}

/// Writes and publishes the output.
fn carry_out(args: &RestoreArgs, request: &Request, session: &mut Session) -> anyhow::Result<(Input, Produced)> {
    let Request { names, spec, identities, .. } = request;
    let input = session.open(&names.input)?;
    let wake = session.wake.clone();
    let keys = session.keys(identities.clone());
    let options =
        ReadOptions { wake: wake.clone(), rate_limit: resolve::rate_limit(&args.pace, &wake)?, digest: false };
    let opened = open(session, &input, &keys, &options).map_err(task::at(Verb::Restore, &input, None))?;
    spec.check(&opened).map_err(task::at(Verb::Restore, &input, None))?;
    let output_options = OutputOptions { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let output = super::prepare(&names.output, &[&input], output_options)?;
    super::check_rm(&args.files, names, &input, &output)?;
    super::check_preserve(args.files.preserve, &input, &output)?;
    let mut produced = restore(session, spec, &input, opened, &output, &wake).map_err(task::at(
        Verb::Restore,
        &input,
        Some(&output),
    ))?;
    let origin = Origin { attributes: input.attributes(args.files.preserve)?, must_replace: None };
    produced.warnings.extend(super::publish(session, output, origin)?);
    Ok((input, produced))
}
