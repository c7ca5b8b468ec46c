//! `pipeline rekey`: new recipients over the same payload. The header is written anew, the payload copied byte for byte, each segment
//! authenticated on the way, so that damage is never blessed with a new header.

use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;

use crate::cli::args::{PassphraseArgs, RekeyArgs};
use crate::cli::input::Input;
use crate::cli::keys::{self, Keyring};
use crate::cli::layers::layer_of;
use crate::cli::output::{Manner, Output};
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::{Session, name_the_output, refuse_terminal};
use crate::cli::settings::Settings;
use crate::cli::sys::{self, WakeUp};
use crate::cli::wrap::{ArmorWriter, header_for};
use crate::format::age::header::payload_key;
use crate::format::age::stream::{PayloadKey, SEALED_LEN};
use crate::format::detect::{DETECT_LEN, Layer};
use crate::pipeline::peel::{Unwrapped, read_failure, unwrap, write_failure};
use crate::pipeline::sealed::OpeningReader;

/// Runs the command.
pub fn run(mut args: RekeyArgs, settings: &Settings) -> anyhow::Result<Exit> {
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
    let layer = layer_of(&head, &args.identities);
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
    let mut writer: Box<dyn Write + Send> = match is_text {
        true => Box::new(ArmorWriter::new(output.writer(&wake)?)),
        false => output.writer(&wake)?,
    };
    sys::forbid_core_dumps().context("cannot turn core dumps off")?;
    let (encrypt, opens) = (args.encrypt.clone(), args.identities.clone());
    let rewritten = session.task_that_asks("rekey", &wake, move |prompter| {
        let recipients = keys::recipients(&encrypt, new_passphrase.as_ref(), prompter)?;
        let mut keyring = Keyring::new(&opens, prompter)?;
        let Unwrapped { file_key, nonce, payload, .. } = unwrap(reader, layer, |header| keyring.unwrap(header))?;
        writer.write_all(&header_for(&recipients, &file_key, prompter)?).map_err(write_failure)?;
        writer.write_all(&nonce).map_err(write_failure)?;
        copy_authentic(payload, &payload_key(&file_key, &nonce), &mut writer)
    });
    rewritten.map_err(|error| name_the_output(error, &output)).with_context(what)?;
    if args.in_place && input.has_changed() {
        // What was written to it meanwhile would be lost.
        return Err(Problem::failed("it changed while it was read, and stays as it is")).with_context(what);
    }
    super::finish(&mut session, &input, output)?;
    if !args.quiet {
        problem::tell(
            "note: the payload's key is the old one: who could open the file before, and kept a copy or its key, still can\n",
        );
    }
    if input.has_changed() {
        problem::warn(&format!("{} changed while it was read", input.name));
        return Ok(Exit::Warned);
    }
    Ok(Exit::Done)
}

/// Copies sealed segments, each once it is seen to be authentic.
fn copy_authentic(payload: impl Read, key: &PayloadKey, output: &mut impl Write) -> anyhow::Result<()> {
    let mut opener = OpeningReader::new(Tee { payload, copied: Vec::with_capacity(SEALED_LEN) }, key);
    let mut text = vec![0; SEALED_LEN];
    loop {
        // One read gives at most one segment, so what was copied since is just that.
        let len = opener.read(&mut text).map_err(read_failure)?;
        let copied = &mut opener.get_mut().copied;
        output.write_all(copied).map_err(write_failure)?;
        copied.clear();
        if len == 0 {
            return Ok(output.flush().map_err(write_failure)?);
        }
    }
}

/// Keeps a copy of what is read.
struct Tee<R> {
    payload: R,
    copied: Vec<u8>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let len = self.payload.read(bytes)?;
        self.copied.extend_from_slice(&bytes[..len]);
        Ok(len)
    }
}
