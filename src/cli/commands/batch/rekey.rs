//! `pipeline rekey` on a tree, in place or into another directory.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use super::{BatchNames, Request, carry_out, history_of, keyring, options, plan, plan_in_place, refuse_passphrases};
use crate::batch::operation::RekeyFiles;
use crate::batch::setup::JournalKind;
use crate::cli::args::{ListArgs, ProgressArg, RekeyArgs, Typed};
use crate::cli::commands::{OLD_KEYS_NOTE, taken_files, taken_keys, with_reports};
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::pipeline::memory::BASE_BYTES;
use crate::pipeline::threads::Concurrency;
use crate::store::output::OutputOptions;
use crate::store::reserved::ReservedPath;
use crate::task::Verb;
use crate::task::executor::Executor;
use crate::task::open::ReadOptions;
use crate::task::rekey::{REKEY_BYTES, RekeySpec};

/// Rekeys all files in the directory IN.
pub fn run(args: RekeyArgs, typed: &Typed, settings: &Settings) -> anyhow::Result<Exit> {
    typed.refuse_single_file_flags()?;
    let mut report = resolve::report_options(&args.report, settings, ProgressArg::Auto)?;
    report.force = args.force;
    refuse_passphrases(args.new_passphrase_file.is_some() || args.encrypt.passphrase)?;
    let recipients = resolve::recipients(&args.encrypt, None, settings);
    let identities = resolve::identities(&args.identities, settings)?;
    let files = [("--identity", identities.files.as_slice())];
    resolve::check_sources(Path::new(""), &args.identities.passphrases, &files)?;
    if !recipients.is_any() {
        return Err(Problem::usage("rekey needs the new recipients: -r or -R").into());
    }
    let output = match (&args.output, args.in_place) {
        (Some(output), false) => output.clone(),
        (None, true) => args.input.clone(),
        _ => return Err(Problem::usage("rekey writes to OUT, or with --in-place over the files of IN").into()),
    };
    let width = resolve::width(&args.width, settings)?;
    let needed = |width: Concurrency| BASE_BYTES + width.workers.get() * REKEY_BYTES;
    let width = resolve::fitted(width, &args.width, settings, needed)?;
    let mut session = Session::start(&report)?;
    let output_options =
        OutputOptions { force: args.force || args.in_place, sync: !args.no_sync, umask: session.umask };
    let options = options(&args.batch, width, needed(width), output_options);
    let mut taken: Vec<ReservedPath<'_>> = taken_keys(&identities).collect();
    taken.extend(taken_files("--recipients-file", &recipients.files));
    taken.extend(settings.file().map(|path| ReservedPath::In("--config", path)));
    with_reports((Verb::Rekey, &report), &taken, &mut session, |session, reports| {
        let plan = match args.in_place {
            true => {
                let mut plan = plan_in_place(session, &args.input, &args.filter, &taken)?;
                // In place there is nothing to mirror.
                (plan.directories, plan.links) = Default::default();
                plan
            }
            false => {
                let names = BatchNames { inputs: vec![args.input.clone()], output: output.clone() };
                let list = ListArgs { files_from: Vec::new(), files0_from: Vec::new(), filter: args.filter.clone() };
                plan(session, &names, &list, (&taken, false), OsStr::to_owned)?
            }
        };
        let keyring = keyring(session, &plan, &identities)?;
        let (sources, prompter) = (recipients.clone(), session.prompter());
        let asked = prompter.clone();
        let recipients = session.wait("keys", move |_| sources.read(&asked))??;
        let rate_limit = resolve::rate_limit(&args.pace, &session.wake)?;
        let operation = RekeyFiles {
            spec: RekeySpec { recipients, is_armored: args.encrypt.armor, keeps_armor: true, prompter },
            keyring,
            read: ReadOptions { wake: session.wake.clone(), rate_limit, digest: true },
            history: args.in_place.then(|| history_of(session, &args.input)).transpose()?,
        };
        let output = Some((&*output, JournalKind::Apart));
        let request = Request { plan, output, options, is_whole: false, width, quiet: report.quiet };
        let exit = carry_out(session, reports, request, Arc::new(operation))?;
        if !report.quiet {
            problem::tell(OLD_KEYS_NOTE);
        }
        Ok(exit)
    })
}
