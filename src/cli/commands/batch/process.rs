//! `pipeline process` on many files.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use super::{BatchNames, Request, carry_out, list_input, options, plan, refuse_flags, refuse_passphrases, taken_lists};
use crate::batch::BatchOptions;
use crate::batch::operation::ProcessFiles;
use crate::batch::plan::{BatchPlan, Naming};
use crate::batch::setup::JournalKind;
use crate::cli::args::{ListArgs, ProcessArgs, ProgressArg, Typed};
use crate::cli::commands::{output_name, refuse_contradictions, taken_files, with_reports};
use crate::cli::problem::{self, Exit};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::settings::{Settings, known};
use crate::pipeline::memory;
use crate::pipeline::plan::{Compress, Engine, layer_of_zstd};
use crate::store::output::OutputOptions;
use crate::store::reserved::ReservedPath;
use crate::task::Verb;
use crate::task::executor::Executor;
use crate::task::keys::RecipientSources;
use crate::task::open::forbid_core_dumps;
use crate::task::process::ProcessSpec;

/// Processes the files of `names`.
pub fn run(args: ProcessArgs, typed: &Typed, names: &BatchNames, settings: &Settings) -> anyhow::Result<Exit> {
    typed.refuse_single_file_flags()?;
    let mut report = resolve::report_options(&args.report, settings, ProgressArg::Auto)?;
    report.force = args.files.force;
    let passphrase = resolve::new_passphrase(&args.encrypt, &args.passphrases, settings);
    refuse_passphrases(passphrase.is_some())?;
    let recipients = resolve::recipients(&args.encrypt, None, settings);
    let files = [("--recipients-file", recipients.files.as_slice())];
    resolve::check_sources(list_input(&args.list), &args.passphrases, &files)?;
    refuse_flags(&args.files, &args.list, args.engine)?;
    let level = resolve::level(args.level, settings)?;
    let chunk_len = resolve::chunk_len(args.chunk_size, level, settings)?;
    let compress = (!args.no_compress).then_some(Compress { chunk_len, level });
    let recipients = Some(recipients).filter(RecipientSources::is_any);
    let is_sealed = recipients.is_some();
    refuse_contradictions(&args, is_sealed)?;
    let width = resolve::width(&args.width, settings)?;
    let needed = |width| memory::process_bytes(width, compress.or_else(|| Some(layer_of_zstd())), is_sealed);
    let width = resolve::fitted(width, &args.width, settings, needed)?;
    let is_verified = args.verify || settings.get(&known::VERIFY, None)?.unwrap_or(false);

    let mut session = Session::start(&report)?;
    let output_options = OutputOptions { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let options = BatchOptions { rm: args.files.rm, ..options(&args.batch, width, needed(width), output_options) };
    let recipients_files = recipients.as_ref().map_or(&[][..], |recipients| &recipients.files);
    let mut taken: Vec<ReservedPath<'_>> = taken_files("--recipients-file", recipients_files).collect();
    taken.extend(taken_lists(&args.list));
    taken.extend(settings.file().map(|path| ReservedPath::In("--config", path)));
    with_reports((Verb::Process, &report), &taken, &mut session, |session, reports| {
        let naming = OutputNaming { is_compressed: compress.is_some(), is_sealed };
        let plan = plan(session, names, &args.list, (&taken, args.files.rm), naming)?;
        tell_layered(&plan, report.quiet);
        let prompter = session.prompter();
        let recipients = recipients.clone().map(|sources| {
            forbid_core_dumps()?;
            let asked = prompter.clone();
            session.wait("keys", move |_| sources.read(&asked))?
        });
        let spec = ProcessSpec {
            width,
            engine: Engine::Channels,
            compress,
            is_armored: args.encrypt.armor,
            is_verified,
            digest: true,
            rate_limit: resolve::rate_limit(&args.pace, &session.wake)?,
        };
        let recipients = recipients.transpose()?.map(|recipients| (recipients, prompter));
        let operation = ProcessFiles { spec, recipients, is_verified_now: is_verified && args.files.rm };
        let kind = if is_sealed { JournalKind::Apart } else { JournalKind::Beside };
        let ListArgs { files_from, files0_from, filter } = &args.list;
        let is_one_tree = names.inputs.len() == 1 && names.inputs[0].is_dir();
        let is_whole = is_one_tree && files_from.is_empty() && files0_from.is_empty() && filter.takes_all();
        let output = Some((&*names.output, kind));
        let request = Request { plan, output, options, is_whole, width, quiet: report.quiet };
        carry_out(session, reports, request, Arc::new(operation))
    })
}

/// Names outputs by their layers.
struct OutputNaming {
    is_compressed: bool,
    is_sealed: bool,
}

impl Naming for OutputNaming {
    fn name(&self, name: &OsStr, is_layered: bool) -> OsString {
        output_name(name, self.is_compressed || is_layered, self.is_sealed)
    }

    fn layers_zstd(&self) -> bool {
        !self.is_compressed
    }
}

/// Says how many files get a layer that was not asked for.
fn tell_layered(plan: &BatchPlan, is_quiet: bool) {
    let count = plan.items.iter().filter(|item| item.is_layered).count();
    if count > 0 && !is_quiet {
        let why = "a zstd layer in spite of --no-compress, so that restore gives it back as it is";
        problem::tell(&format!("note: each input that begins like a zstd file gets {why}: {count}\n"));
    }
}
