//! `pipeline process` of many files.

use std::ffi::OsStr;
use std::sync::Arc;

use anyhow::Context;

use super::{Setup, carry_out, list_input, look, refuse_flags, refuse_passphrases, taken_lists};
use crate::batch::Conduct;
use crate::batch::journal;
use crate::batch::process::ProcessFiles;
use crate::batch::start::{self, BatchNames, JournalKind};
use crate::cli::args::{ListArgs, PassphraseArgs, ProcessArgs};
use crate::cli::commands::process::{output_name, refuse_contradictions};
use crate::cli::commands::{taken_files, with_reports};
use crate::cli::problem::Exit;
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::settings::{Settings, known};
use crate::pipeline::memory;
use crate::pipeline::plan::Compress;
use crate::report::{Taken, Verb};
use crate::store::output::Manner;
use crate::store::prompt::Prompter;
use crate::store::rate_limit::Pace;
use crate::store::sys::{self, WakeUp};
use crate::task::keys;

/// `process` of `names`.
pub fn run(mut args: ProcessArgs, names: &BatchNames, settings: &Settings) -> anyhow::Result<Exit> {
    resolve::talk(&mut args.talk, settings)?;
    resolve::recipients(&mut args.encrypt, Some(&args.passphrases), settings);
    let files = [("--recipients-file", args.encrypt.recipients_file.as_slice())];
    keys::check_sources(list_input(&args.list), &args.passphrases, &files)?;
    refuse_flags(&args.files, &args.list, args.engine)?;
    let PassphraseArgs { passphrase_file, passphrase_fd } = &args.passphrases;
    refuse_passphrases(args.encrypt.passphrase || passphrase_file.is_some() || passphrase_fd.is_some())?;
    let level = resolve::level(args.level, settings)?;
    let chunk_len = resolve::chunk_len(args.chunk_size, level, settings)?;
    let compress = (!args.no_compress).then_some(Compress { chunk_len, level });
    let is_sealed = keys::is_encryption_asked_for(&args.encrypt, Some(&args.passphrases));
    refuse_contradictions(&args, is_sealed)?;
    let width = resolve::width(&args.width, settings)?;
    let needed = |width| memory::process_bytes(width, compress, is_sealed);
    let width = resolve::fitted(width, &args.width, settings, needed)?;
    let is_verified = args.verify || settings.get(&known::VERIFY, None)?.unwrap_or(false);

    let mut session = Session::start(&args.talk)?;
    let manner = Manner { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let conduct = start::conduct(&args.batch, &args.talk, width, needed(width), manner);
    let conduct = Conduct { rm: args.files.rm, ..conduct };
    let mut taken: Vec<Taken<'_>> = taken_files("--recipients-file", &args.encrypt.recipients_file).collect();
    taken.extend(taken_lists(&args.list));
    taken.extend(settings.file().map(|path| Taken::In("--config", path)));
    with_reports((Verb::Processed, &args.talk), &taken, &mut session, |session, reports| {
        let name = move |name: &OsStr| output_name(name, compress.is_some(), is_sealed);
        let plan = look(session, names, &args.list, name)?;
        let wake = WakeUp::new().context("cannot start")?;
        let recipients = is_sealed.then(|| {
            sys::forbid_core_dumps().context("cannot turn core dumps off")?;
            let encrypt = args.encrypt.clone();
            session.task_that_asks("keys", &wake, move |prompter| keys::recipients(&encrypt, None, prompter))
        });
        let recipients = recipients.transpose()?;
        let compress_form = compress.map(|Compress { chunk_len, level }| (chunk_len, level.get()));
        let digest = recipients.as_ref().map_or(0, |recipients| recipients.digest);
        let settings = journal::Settings::processed(compress_form, args.encrypt.armor, digest);
        let work = ProcessFiles {
            width,
            compress,
            recipients: recipients.map(|recipients| Arc::new(recipients.list)),
            prompter: Prompter::new(wake.clone()),
            is_armored: args.encrypt.armor,
            is_verified,
            is_verified_now: is_verified && args.files.rm,
            pace: Pace::of(&args.pace, &wake)?,
            settings,
        };
        let kind = if is_sealed { JournalKind::Apart } else { JournalKind::Beside };
        let ListArgs { files_from, files0_from, filter } = &args.list;
        let is_one_tree = names.inputs.len() == 1 && names.inputs[0].is_dir();
        let is_whole = is_one_tree && files_from.is_none() && files0_from.is_none() && filter.takes_all();
        let setup = Setup { plan, output: Some((&names.output, kind)), conduct, is_whole, width, wake };
        carry_out(session, reports, setup, Arc::new(work))
    })
}
