//! `pipeline verify` on a tree, which is compared with its journal if it has one.

use std::path::Path;
use std::sync::Arc;

use super::{Request, carry_out, history_of, keyring, options, plan_in_place, unplanned};
use crate::batch::error::EntryError;
use crate::batch::journal::History;
use crate::batch::messages::Other;
use crate::batch::operation::VerifyFiles;
use crate::batch::plan::BatchPlan;
use crate::cli::args::{ProgressArg, Typed, VerifyArgs};
use crate::cli::commands::{taken_keys, with_reports};
use crate::cli::problem::{Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::pipeline::memory::restore_bytes;
use crate::store::output::OutputOptions;
use crate::store::reserved::ReservedPath;
use crate::task::Verb;
use crate::task::open::{Keys, ReadOptions};
use crate::task::verify::VerifySpec;

/// Verifies all files in the directory IN.
pub fn run(args: VerifyArgs, typed: &Typed, settings: &Settings) -> anyhow::Result<Exit> {
    typed.refuse_single_file_flags()?;
    let report = resolve::report_options(&args.report, settings, ProgressArg::Auto)?;
    let identities = resolve::identities(&args.identities, settings)?;
    let files = [("--identity", identities.files.as_slice())];
    resolve::check_sources(Path::new(""), &args.identities.passphrases, &files)?;
    if args.against.is_some() {
        return Err(Problem::usage("--against compares one file with one original").into());
    }
    let width = resolve::width(&args.width, settings)?;
    let width = resolve::fitted(width, &args.width, settings, restore_bytes)?;
    let window_log_max = resolve::window_log_max(args.limits.window_log_max, settings)?;

    let mut session = Session::start(&report)?;
    let output_options = OutputOptions { force: false, sync: false, umask: session.umask };
    let options = options(&args.batch, width, restore_bytes(width), output_options);
    let mut taken: Vec<ReservedPath<'_>> = taken_keys(&identities).collect();
    taken.extend(settings.file().map(|path| ReservedPath::In("--config", path)));
    with_reports((Verb::Verify, &report), &taken, &mut session, |session, reports| {
        let mut plan = plan_in_place(session, &args.input, &args.filter, &[])?;
        let history = history_of(session, &args.input)?;
        if args.filter.takes_all() {
            plan.others.extend(missing(&plan, &history, &args.input));
        }
        let keys = Keys::Read(Box::new(keyring(session, &plan, &identities)?));
        let rate_limit = resolve::rate_limit(&args.pace, &session.wake)?;
        let read = ReadOptions { wake: session.wake.clone(), rate_limit, digest: true };
        let spec = VerifySpec { width, window_log_max, foreign: args.foreign, digest: true };
        let operation = VerifyFiles { spec, keys, read, history };
        let request = Request { plan, output: None, options, is_whole: false, width, quiet: report.quiet };
        carry_out(session, reports, request, Arc::new(operation))
    })
}

/// The outputs that the journal knows and that are missing.
fn missing(plan: &BatchPlan, history: &History, root: &Path) -> Vec<Other> {
    let missing = unplanned(plan, history).into_iter();
    missing.map(|place| Other { path: root.join(place), error: EntryError::Missing }).collect()
}
