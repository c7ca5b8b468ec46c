//! `pipeline rekey`: new recipients over the same payload.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;

use crate::cli::args::{PassphraseArgs, RekeyArgs};
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::{Session, name_the_output, refuse_terminal};
use crate::cli::settings::Settings;
use crate::format::detect::{DETECT_LEN, Layer};
use crate::store::file_id::Identity;
use crate::store::input::Input;
use crate::store::output::{Manner, Output};
use crate::store::sys::{self, WakeUp};
use crate::task::keys::{self, Keyring};
use crate::task::layers::{has_key, layer_of};
use crate::task::rekey::rewrap;
use crate::task::wrap::armored;

/// What is said once it is done.
pub(super) const OLD_KEYS_NOTE: &str =
    "note: the payload's key is the old one: who could open the file before, and kept a copy or its key, still can\n";

/// Runs the command.
pub fn run(mut args: RekeyArgs, settings: &Settings) -> anyhow::Result<Exit> {
    if args.input != Path::new("-") && args.input.is_dir() {
        return super::batch::rekey::run(args, settings);
    }
    // The environment answers for what opens IN.
    let new_passphrase = args
        .new_passphrase_file
        .clone()
        .map(|file| PassphraseArgs { passphrase_file: Some(file), passphrase_fd: None });
    resolve::recipients(&mut args.encrypt, new_passphrase.as_ref(), settings);
    resolve::identities(&mut args.identities, settings)?;
    let files =
        [("--identity", args.identities.identity.as_slice()), ("--recipients-file", &args.encrypt.recipients_file)];
    keys::check_sources(&args.input, &args.identities.passphrases, &files)?;
    if !keys::is_encryption_asked_for(&args.encrypt, new_passphrase.as_ref()) {
        return Err(Problem::usage("rekey needs the new recipients: -r, -R, -p or --new-passphrase-file").into());
    }
    let (out, inputs_may_be_output) = match (&args.output, args.in_place) {
        (Some(out), false) => (out.as_path(), false),
        (None, true) if args.input != Path::new("-") => (args.input.as_path(), true),
        _ => return Err(Problem::usage("rekey writes to OUT, or with --in-place over IN, which is then a file").into()),
    };
    let mut session = Session::start_quiet()?;
    let input = Input::open(&args.input)?;
    let what = || format!("rekey {}", input.name);
    let manner = Manner { force: args.force || args.in_place, sync: !args.no_sync, umask: session.umask };
    let refused: &[&Input] = if inputs_may_be_output { &[] } else { &[&input] };
    let output = Output::prepare(out, refused, manner)?;
    refuse_terminal(&output, args.force || args.encrypt.armor)?;

    let head = session.head(&input, DETECT_LEN).with_context(what)?;
    let layer = layer_of(&head, has_key(&args.identities));
    if !matches!(layer, Layer::Age | Layer::AgeArmor) {
        return Err(Problem::failed(format!("rekey {}: it is not an age file", input.name)).into());
    }
    if args.in_place && input.metadata.nlink() > 1 {
        let names = input.metadata.nlink();
        problem::warn(&format!(
            "{} is one of {names} names of the file; the others keep the old recipients",
            input.name
        ));
    }
    // In place the form stays as it was.
    let is_text = args.encrypt.armor || (args.in_place && layer == Layer::AgeArmor);
    let wake = WakeUp::new().context("cannot start")?;
    let reader = Box::new(io::Cursor::new(head).chain(input.reader(&wake)?));
    let mut writer = armored(output.writer(&wake)?, is_text);
    sys::forbid_core_dumps().context("cannot turn core dumps off")?;
    let (encrypt, opens) = (args.encrypt.clone(), args.identities.clone());
    let rewritten = session.task_that_asks("rekey", &wake, move |prompter| {
        let recipients = keys::recipients(&encrypt, new_passphrase.as_ref(), prompter)?.list;
        let mut keyring = Keyring::new(&opens, prompter)?;
        rewrap(reader, layer, |header| keyring.unwrap(header), &recipients, prompter, &mut writer)
    });
    rewritten.map_err(|error| name_the_output(error, &output)).with_context(what)?;
    let is_still_there =
        || std::fs::metadata(&args.input).is_ok_and(|now| Identity::of(&now) == Identity::of(&input.metadata));
    if args.in_place && (input.has_changed() || !is_still_there()) {
        // What was written to it meanwhile would be lost.
        return Err(Problem::failed("it changed while it was read, and stays as it is")).with_context(what);
    }
    super::finish(&mut session, &input, output)?;
    if !args.talk.quiet {
        problem::tell(OLD_KEYS_NOTE);
    }
    if input.has_changed() {
        problem::warn(&format!("{} changed while it was read", input.name));
        return Ok(Exit::Warned);
    }
    Ok(Exit::Done)
}
