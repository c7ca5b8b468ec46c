//! `pipeline rekey` of a tree, in place or into another.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use super::opener::opener;
use super::{Setup, carry_out, check_identities, known_of, refuse_passphrases};
use crate::batch::rekey::RekeyFiles;
use crate::batch::start::{self, BatchNames, JournalKind};
use crate::cli::args::{ListArgs, RekeyArgs};
use crate::cli::commands::rekey::OLD_KEYS_NOTE;
use crate::cli::commands::{taken_files, taken_keys, with_reports};
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::pipeline::memory;
use crate::pipeline::shutdown::Cancel;
use crate::report::{Taken, Verb};
use crate::store::output::Manner;
use crate::store::rate_limit::Pace;
use crate::store::sys::WakeUp;
use crate::task::keys;

/// `rekey` of all that is in the directory that is named, in place or into another.
pub fn run(mut args: RekeyArgs, settings: &Settings) -> anyhow::Result<Exit> {
    resolve::talk(&mut args.talk, settings)?;
    let new_passphrase = args.new_passphrase_file.is_some() || args.encrypt.passphrase;
    refuse_passphrases(new_passphrase)?;
    resolve::recipients(&mut args.encrypt, None, settings);
    resolve::identities(&mut args.identities, settings)?;
    check_identities(Path::new(""), &args.identities)?;
    if !keys::is_encryption_asked_for(&args.encrypt, None) {
        return Err(Problem::usage("rekey needs the new recipients: -r or -R").into());
    }
    let output = match (&args.output, args.in_place) {
        (Some(output), false) => output.clone(),
        (None, true) => args.input.clone(),
        _ => return Err(Problem::usage("rekey writes to OUT, or with --in-place over the files of IN").into()),
    };
    let mut session = Session::start(&args.talk)?;
    let manner = Manner { force: args.force || args.in_place, sync: !args.no_sync, umask: session.umask };
    let width = resolve::width(&args.width, settings)?;
    let conduct = start::conduct(&args.batch, &args.talk, width, memory::restore_bytes(width), manner);
    let mut taken: Vec<Taken<'_>> = taken_keys(&args.identities).collect();
    taken.extend(taken_files("--recipients-file", &args.encrypt.recipients_file));
    with_reports((Verb::Rekeyed, &args.talk), &taken, &mut session, |session, reports| {
        let (input, filter, in_place) = (args.input.clone(), args.filter.clone(), args.in_place);
        let names = BatchNames { inputs: vec![input.clone()], output: output.clone() };
        let list = ListArgs { files_from: None, files0_from: None, filter: filter.clone() };
        let looked = session.task("list", Cancel::default(), move |_| {
            Ok(match in_place {
                true => start::plan_in_place(&input, &filter),
                false => start::plan(&names, &list, OsStr::to_owned),
            })
        });
        let mut plan = looked??;
        if in_place {
            // They are their own mirror.
            (plan.directories, plan.links) = Default::default();
        }
        let wake = WakeUp::new().context("cannot start")?;
        let opener = opener(session, &wake, &plan, &args.identities)?;
        let encrypt = args.encrypt.clone();
        let recipients =
            session.task_that_asks("keys", &wake, move |prompter| keys::recipients(&encrypt, None, prompter))?;
        let work = RekeyFiles {
            opener,
            recipients: recipients.list,
            recipients_digest: recipients.digest,
            is_armored: args.encrypt.armor,
            known: in_place.then(|| known_of(session, &args.input)).transpose()?,
            pace: Pace::of(&args.pace, &wake)?,
        };
        let setup = Setup { plan, output: Some((&output, JournalKind::Apart)), conduct, is_whole: false, width, wake };
        let exit = carry_out(session, reports, setup, Arc::new(work))?;
        if !args.talk.quiet {
            problem::tell(OLD_KEYS_NOTE);
        }
        Ok(exit)
    })
}
