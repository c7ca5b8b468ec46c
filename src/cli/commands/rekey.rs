//! `pipeline rekey`: changes the recipients of one age file.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use crate::cli::args::{ProgressArg, RekeyArgs, Typed};
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::{Session, refuse_terminal, tell};
use crate::cli::settings::Settings;
use crate::pipeline::names::Stage;
use crate::pipeline::report::Report;
use crate::store::input::Input;
use crate::store::output::{Origin, OutputOptions};
use crate::store::reserved::{INPUT, ReservedPath};
use crate::task::error::{Notice, TaskError};
use crate::task::executor::Executor;
use crate::task::keys::{IdentitySources, PassphraseSources, RecipientSources};
use crate::task::open::{ReadOptions, forbid_core_dumps};
use crate::task::rekey::{RekeySpec, look, rekey};
use crate::task::{self, Produced, Verb};

/// Flags that rekeying one file does not use: it is one thread that copies.
const UNUSED: [&str; 4] = ["workers", "channel_depth", "progress", "size_hint"];

/// Runs the command.
pub fn run(args: RekeyArgs, typed: &Typed, settings: &Settings) -> anyhow::Result<Exit> {
    if args.input != Path::new("-") && args.input.is_dir() {
        return super::batch::rekey::run(args, typed, settings);
    }
    typed.refuse_batch_flags()?;
    typed.refuse(&UNUSED, "one file is rekeyed by one thread")?;
    let mut report = resolve::report_options(&args.report, settings, ProgressArg::Never)?;
    report.force = args.force;
    // The passphrase in the environment is for opening IN.
    let new_passphrase = (args.encrypt.passphrase || args.new_passphrase_file.is_some())
        .then(|| PassphraseSources { file: args.new_passphrase_file.clone(), ..PassphraseSources::default() });
    let recipients = resolve::recipients(&args.encrypt, new_passphrase, settings);
    let identities = resolve::identities(&args.identities, settings)?;
    let files = [("--identity", identities.files.as_slice()), ("--recipients-file", &recipients.files)];
    resolve::check_sources(&args.input, &args.identities.passphrases, &files)?;
    if !recipients.is_any() {
        return Err(Problem::usage("rekey needs the new recipients: -r, -R, -p or --new-passphrase-file").into());
    }
    resolve::fitted(resolve::width(&args.width, settings)?, &args.width, settings, |_| rekey_bytes())?;
    let out = match (&args.output, args.in_place) {
        (Some(out), false) => out.as_path(),
        (None, true) if args.input != Path::new("-") => args.input.as_path(),
        _ => return Err(Problem::usage("rekey writes to OUT, or with --in-place over IN, which is then a file").into()),
    };
    let mut session = Session::start(&report)?;
    let mut taken = vec![ReservedPath::Out(out)];
    taken.extend((!args.in_place).then_some(ReservedPath::In(INPUT, &args.input)));
    taken.extend(super::taken_keys(&identities));
    taken.extend(super::taken_files("--recipients-file", &recipients.files));
    taken.extend(super::taken_files("--new-passphrase-file", args.new_passphrase_file.as_slice()));
    taken.extend(settings.file().map(|path| ReservedPath::In("--config", path)));
    super::with_reports((Verb::Rekey, &report), &taken, &mut session, |session, reports| {
        let (input, produced) = carry_out(&args, out, identities.clone(), recipients.clone(), session)?;
        let exit = super::tell(produced, reports, &input);
        if !report.quiet {
            problem::tell(super::OLD_KEYS_NOTE);
        }
        Ok(exit)
    })
}

/// The memory that rekeying one file takes, in bytes.
fn rekey_bytes() -> usize {
    crate::pipeline::memory::BASE_BYTES + task::rekey::REKEY_BYTES
}

/// Writes and publishes the output.
fn carry_out(
    args: &RekeyArgs,
    out: &Path,
    identities: IdentitySources,
    recipients: RecipientSources,
    session: &mut Session,
) -> anyhow::Result<(Input, Produced)> {
    let input = session.open(&args.input)?;
    let at = |output| task::at(Verb::Rekey, &input, output);
    let output_options =
        OutputOptions { force: args.force || args.in_place, sync: !args.no_sync, umask: session.umask };
    let refused: &[&Input] = if args.in_place { &[] } else { &[&input] };
    let output = super::prepare(out, refused, output_options)?;
    refuse_terminal(&output, args.force || args.encrypt.armor)?;
    super::check_preserve(args.preserve, &input, &output)?;
    let wake = session.wake.clone();
    let keys = session.keys(identities);
    let options = ReadOptions { rate_limit: resolve::rate_limit(&args.pace, &wake)?, wake, digest: true };
    let sealed = look(session, &input, keys.is_any(), &options).map_err(at(None))?;
    if args.in_place && input.metadata.nlink() > 1 {
        tell(&Notice::OtherNames { input: input.name.clone(), name_count: input.metadata.nlink() });
    }
    forbid_core_dumps().map_err(at(None))?;
    let prompter = session.prompter();
    let asked = prompter.clone();
    let recipients = session.wait("keys", move |_| recipients.read(&asked))?.map_err(at(None))?;
    let keyring = keys.keyring(session).map_err(at(None))?;
    // In place, an armored file stays armored.
    let spec = RekeySpec { recipients, is_armored: args.encrypt.armor, keeps_armor: args.in_place, prompter };
    let started_at = Instant::now();
    let mut produced =
        rekey(session, &spec, sealed, keyring, (&input, &output), &options).map_err(at(Some(&output)))?;
    let bytes = input.bytes().unwrap_or(produced.content_bytes);
    produced.report =
        Some(Report::of_one_step(Stage::Rekey, started_at.elapsed(), [bytes, bytes, produced.content_bytes]));
    // Publishing would lose what another program wrote to IN meanwhile.
    let must_replace = match (args.in_place, produced.input_state) {
        (true, None) => return Err(at(None)(TaskError::Changed).into()),
        (true, state) => state,
        (false, _) => None,
    };
    let origin = Origin { attributes: input.attributes(args.in_place || args.preserve)?, must_replace };
    produced.warnings.extend(super::publish(session, output, origin)?);
    Ok((input, produced))
}
