//! `pipeline verify` of a tree, against its journal where it has one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::opener::opener;
use super::{Setup, carry_out, check_identities, known_of, unplanned};
use crate::batch::journal::Known;
use crate::batch::plan::Plan;
use crate::batch::restore::{Decoder, VerifyFiles};
use crate::batch::start;
use crate::cli::args::VerifyArgs;
use crate::cli::commands::{taken_keys, with_reports};
use crate::cli::problem::{Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::pipeline::memory;
use crate::pipeline::shutdown::Cancel;
use crate::report::{Taken, Verb};
use crate::store::output::Manner;
use crate::store::rate_limit::Pace;
use crate::store::sys::WakeUp;

/// `verify` of all that is in the directory that is named.
pub fn run(mut args: VerifyArgs, settings: &Settings) -> anyhow::Result<Exit> {
    resolve::talk(&mut args.talk, settings)?;
    resolve::identities(&mut args.identities, settings)?;
    check_identities(Path::new(""), &args.identities)?;
    if args.against.is_some() {
        return Err(Problem::usage("--against compares one file with one original").into());
    }
    let width = resolve::width(&args.width, settings)?;
    let width = resolve::fitted(width, &args.width, settings, memory::restore_bytes)?;
    let window_log_max = resolve::window_log_max(args.limits.window_log_max, settings)?;

    let mut session = Session::start(&args.talk)?;
    let manner = Manner { force: false, sync: false, umask: session.umask };
    let conduct = start::conduct(&args.batch, &args.talk, width, memory::restore_bytes(width), manner);
    let mut taken: Vec<Taken<'_>> = taken_keys(&args.identities).collect();
    taken.extend(settings.file().map(|path| Taken::In("--config", path)));
    with_reports((Verb::Verified, &args.talk), &taken, &mut session, |session, reports| {
        let (input, filter) = (args.input.clone(), args.filter.clone());
        let looked = session.task("list", Cancel::default(), move |_| Ok(start::plan_in_place(&input, &filter)))?;
        let (mut plan, known) = (looked?, known_of(session, &args.input)?);
        if args.filter.takes_all() {
            plan.failed.extend(missing(&plan, &known, &args.input));
        }
        let wake = WakeUp::new().context("cannot start")?;
        let opener = opener(session, &wake, &plan, &args.identities)?;
        let pace = Pace::of(&args.pace, &wake)?;
        let decoder = Decoder { width, window_log_max, decompress: true, opener, pace };
        let work = VerifyFiles { decoder, foreign: args.foreign, known };
        carry_out(session, reports, Setup { plan, output: None, conduct, is_whole: false, width, wake }, Arc::new(work))
    })
}

/// Outputs that the journal knows and that are not there.
fn missing(plan: &Plan, known: &Known, root: &Path) -> Vec<(PathBuf, String)> {
    unplanned(plan, known)
        .into_iter()
        .map(|place| (root.join(place), "it is missing: the journal knows it".to_owned()))
        .collect()
}
