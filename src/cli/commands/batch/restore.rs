//! `pipeline restore` of many files, salvage included.

use std::ffi::OsStr;
use std::sync::Arc;

use anyhow::Context;

use super::opener::opener;
use super::{Setup, carry_out, check_identities, list_input, look, refuse_flags, taken_lists};
use crate::batch::Conduct;
use crate::batch::restore::{Decoder, RestoreFiles};
use crate::batch::salvage::SalvageFiles;
use crate::batch::start::{self, BatchNames, JournalKind};
use crate::batch::work::Work;
use crate::cli::args::RestoreArgs;
use crate::cli::commands::{salvage, taken_keys, with_reports};
use crate::cli::problem::Exit;
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::pipeline::memory;
use crate::report::{Taken, Verb};
use crate::store::output::Manner;
use crate::store::rate_limit::Pace;
use crate::store::sys::WakeUp;

/// `restore` of `names`.
pub fn run(mut args: RestoreArgs, names: &BatchNames, settings: &Settings) -> anyhow::Result<Exit> {
    resolve::talk(&mut args.talk, settings)?;
    resolve::identities(&mut args.identities, settings)?;
    check_identities(list_input(&args.list), &args.identities)?;
    refuse_flags(&args.files, &args.list, args.engine)?;
    if args.salvage {
        salvage::refuse_contradictions(&args)?;
    }
    let width = resolve::width(&args.width, settings)?;
    let width = resolve::fitted(width, &args.width, settings, memory::restore_bytes)?;
    let window_log_max = resolve::window_log_max(args.limits.window_log_max, settings)?;

    let mut session = Session::start(&args.talk)?;
    let manner = Manner { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let conduct = start::conduct(&args.batch, &args.talk, width, memory::restore_bytes(width), manner);
    let conduct = Conduct { rm: args.files.rm, ..conduct };
    let mut taken: Vec<Taken<'_>> = taken_keys(&args.identities).collect();
    taken.extend(taken_lists(&args.list));
    taken.extend(settings.file().map(|path| Taken::In("--config", path)));
    with_reports((Verb::Restored, &args.talk), &taken, &mut session, |session, reports| {
        let decompress = !args.no_decompress;
        // A name without a suffix to take off stays: its output is in another directory.
        let name = move |name: &OsStr| resolve::restored_name(name, decompress).unwrap_or_else(|| name.to_owned());
        let plan = look(session, names, &args.list, name)?;
        let wake = WakeUp::new().context("cannot start")?;
        let opener = opener(session, &wake, &plan, &args.identities)?;
        let decoder = Decoder { width, window_log_max, decompress, opener, pace: Pace::of(&args.pace, &wake)? };
        let work: Arc<dyn Work> = match args.salvage {
            true => Arc::new(SalvageFiles { decoder }),
            false => Arc::new(RestoreFiles { decoder, require_table: args.require_table }),
        };
        let setup = Setup {
            plan,
            output: Some((&names.output, JournalKind::Elsewhere)),
            conduct,
            is_whole: false,
            width,
            wake,
        };
        carry_out(session, reports, setup, work)
    })
}
