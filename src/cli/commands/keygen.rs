//! `pipeline keygen`: generates an age identity, classic or post-quantum.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use anyhow::Context;
use zeroize::Zeroizing;

use crate::cli::args::{KeygenArgs, PassphraseArgs};
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::format::age::hybrid;
use crate::pipeline::plan::WORK_FACTOR_MAX_DEFAULT;
use crate::store::error::{Doing, StoreError};
use crate::store::output::{Origin, Output, OutputOptions};
use crate::store::sys::{self, WakeUp};
use crate::task::keys::{IdentitySources, SecretBytes};

/// Runs the command. `passphrase` is the value of `AGE_PASSPHRASE`.
pub fn run(args: KeygenArgs, passphrase: Option<SecretBytes>) -> anyhow::Result<Exit> {
    sys::forbid_core_dumps().context("cannot turn core dumps off")?;
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if let Some(path) = args.recipients_of {
        return write_out(&recipients_of(path, passphrase)?, output);
    }
    let (identity, recipient) = match args.pq {
        true => {
            let mut seed = Zeroizing::new([0; 32]);
            sys::fill_random(&mut *seed).context("cannot get random bytes")?;
            let identity = hybrid::Identity::from_seed(&seed);
            (identity.to_text(), identity.to_recipient().to_string())
        }
        false => {
            let identity = age::x25519::Identity::generate();
            (Zeroizing::new(identity.to_string().expose_secret().to_owned()), identity.to_public().to_string())
        }
    };
    let comment = format!("# public key: {recipient}\n");
    // Room for all: growing would leave copies in memory.
    let mut text = Zeroizing::new(String::with_capacity(comment.len() + identity.len() + 1));
    [&comment, &*identity, "\n"].into_iter().for_each(|part| text.push_str(part));
    let exit = write_out(&text, output)?;
    problem::tell(&format!("Public key: {recipient}\n"));
    Ok(exit)
}

/// Permission bits that a key file lacks.
const PRIVATE_UMASK: u32 = 0o177;

/// Writes `text` to a new private file, or to stdout.
fn write_out(text: &str, output: Option<&Path>) -> anyhow::Result<Exit> {
    match output {
        None => {
            sys::stdout_for_data().context("standard output")?;
            problem::print(text)?;
        }
        Some(path) => {
            // Complete, private and on disk before it gets its name: an incomplete key is useless, and would block the next attempt.
            let options = OutputOptions { force: false, sync: true, umask: PRIVATE_UMASK };
            let output = Output::prepare(path, &[], options).map_err(|error| match error {
                StoreError::Exists(_) => {
                    Problem::new(error.kind(), error.to_string()).hint("keys are never overwritten").into()
                }
                error => anyhow::Error::new(error),
            })?;
            let wake = WakeUp::new().context("cannot wait for the output")?;
            let written = output.writer(&wake)?.write_all(text.as_bytes());
            written.map_err(Doing::Write.failed(output.name()))?;
            output.commit(&Origin::default(), || false)?;
        }
    }
    Ok(Exit::Done)
}

/// The recipients of the identities in a file, one per line.
fn recipients_of(path: PathBuf, passphrase: Option<SecretBytes>) -> anyhow::Result<String> {
    let files = vec![path];
    resolve::check_sources(Path::new(""), &PassphraseArgs::default(), &[("-y", &files)])?;
    let mut session = Session::start_quiet()?;
    let work_factor_max = WORK_FACTOR_MAX_DEFAULT;
    let passphrase = resolve::passphrase_sources(&PassphraseArgs::default(), passphrase.as_ref());
    let sources = IdentitySources { files, passphrase, work_factor_max };
    let keyring = session.keys(sources).keyring(&mut session)?;
    let mut lines = String::new();
    for identity in keyring.identities() {
        let Some(recipient) = identity.recipient() else {
            let problem = Problem::failed(format!("the recipient of a {} identity is not known here", identity.kind()));
            return Err(problem.hint("ssh has it in the .pub file; a plugin's own program tells it").into());
        };
        lines += &recipient;
        lines += "\n";
    }
    Ok(lines)
}
