//! `pipeline restore` on many files, with or without `--salvage`.

use std::ffi::OsStr;
use std::sync::Arc;

use super::{BatchNames, Request, carry_out, keyring, list_input, options, plan, refuse_flags, taken_lists};
use crate::batch::BatchOptions;
use crate::batch::operation::{Operation, RestoreFiles, SalvageFiles};
use crate::batch::setup::JournalKind;
use crate::cli::args::{ProgressArg, RestoreArgs, Typed};
use crate::cli::commands::{salvage, taken_keys, with_reports};
use crate::cli::problem::{self, Exit};
use crate::cli::resolve;
use crate::cli::session::{Session, tell};
use crate::cli::settings::Settings;
use crate::pipeline::memory::restore_bytes;
use crate::pipeline::plan::Engine;
use crate::report::notice;
use crate::store::output::OutputOptions;
use crate::store::reserved::ReservedPath;
use crate::task::Verb;
use crate::task::open::{Keys, ReadOptions};
use crate::task::restore::RestoreSpec;
use crate::task::salvage::SalvageSpec;

/// Restores the files of `names`.
pub fn run(args: RestoreArgs, typed: &Typed, names: &BatchNames, settings: &Settings) -> anyhow::Result<Exit> {
    typed.refuse_single_file_flags()?;
    let mut report = resolve::report_options(&args.report, settings, ProgressArg::Auto)?;
    report.force = args.files.force;
    let identities = resolve::identities(&args.identities, settings)?;
    let files = [("--identity", identities.files.as_slice())];
    resolve::check_sources(list_input(&args.list), &args.identities.passphrases, &files)?;
    refuse_flags(&args.files, &args.list, args.engine)?;
    if args.salvage {
        salvage::refuse_contradictions(&args)?;
    }
    let width = resolve::width(&args.width, settings)?;
    let width = resolve::fitted(width, &args.width, settings, restore_bytes)?;
    let sparse = resolve::sparse(args.sparse, settings)?;
    let window_log_max = resolve::window_log_max(args.limits.window_log_max, settings)?;

    let mut session = Session::start(&report)?;
    let output_options = OutputOptions { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let options =
        BatchOptions { rm: args.files.rm, ..options(&args.batch, width, restore_bytes(width), output_options) };
    let mut taken: Vec<ReservedPath<'_>> = taken_keys(&identities).collect();
    taken.extend(taken_lists(&args.list));
    taken.extend(settings.file().map(|path| ReservedPath::In("--config", path)));
    with_reports((Verb::Restore, &report), &taken, &mut session, |session, reports| {
        let decompress = !args.no_decompress;
        // A name without a known suffix is kept; it does not collide, because the output is in another directory.
        let name = move |name: &OsStr| resolve::restored_name(name, decompress).unwrap_or_else(|| name.to_owned());
        let plan = plan(session, names, &args.list, (&taken, args.files.rm), name)?;
        let keys = Keys::Read(Box::new(keyring(session, &plan, &identities)?));
        let (wake, rate_limit) = (session.wake.clone(), resolve::rate_limit(&args.pace, &session.wake)?);
        let operation: Arc<dyn Operation> = match args.salvage {
            true => {
                let on_loss = Arc::new(|_: &_| ());
                let spec = SalvageSpec { decompress, window_log_max, rate_limit, sparse, digest: true, on_loss, tell };
                let on_loss = |lost: &_, file: &_| problem::tell(&notice::loss(lost, Some(file)));
                Arc::new(SalvageFiles { spec, keys, on_loss })
            }
            false => {
                let (engine, table) = (Engine::Channels, resolve::table_rule(&args));
                let spec = RestoreSpec { width, engine, window_log_max, decompress, table, sparse, digest: true };
                Arc::new(RestoreFiles { spec, keys, read: ReadOptions { wake, rate_limit, digest: true } })
            }
        };
        let output = Some((&*names.output, JournalKind::Elsewhere));
        let request = Request { plan, output, options, is_whole: false, width, quiet: report.quiet };
        carry_out(session, reports, request, operation)
    })
}
