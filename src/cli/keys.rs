//! Keys as users give them: recipients, identity files, passphrases, and the prompts for what is missing.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};
use anyhow::Context;
use zeroize::Zeroizing;

use super::args::{EncryptArgs, PassphraseArgs};
use super::peel;
use super::problem::{self, Problem, quoted};
use super::sys;
use crate::format::age::keys::{Identity, KeyError, Recipient, key_lines};
use crate::format::detect::{Layer, detect};

/// More than any identity or recipients file holds.
const KEY_FILE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// Whom to encrypt to; `None` when no flag asks for encryption, whatever the environment holds. A passphrase that nothing in
/// `passphrases` gives is asked for.
pub fn recipients(args: &EncryptArgs, passphrases: Option<&PassphraseArgs>) -> anyhow::Result<Option<Vec<Recipient>>> {
    let mut recipients = Vec::new();
    for text in &args.recipient {
        recipients.push(Recipient::parse(text).map_err(|error| recipient_problem("--recipient", &error))?);
    }
    for path in &args.recipients_file {
        let what = format!("recipients file {}", quoted(path));
        let text = read_text(path).with_context(|| what.clone())?;
        let count_before = recipients.len();
        for line in key_lines(&text) {
            recipients.push(Recipient::parse(line).map_err(|error| recipient_problem(&what, &error))?);
        }
        if recipients.len() == count_before {
            return Err(Problem::usage(format!("{what} holds no recipient")).into());
        }
    }
    let is_given = passphrases.is_some_and(|given| given.passphrase_file.is_some() || given.passphrase_fd.is_some());
    if args.passphrase || is_given {
        let given = passphrases.map(given_passphrase).transpose()?.flatten();
        let passphrase = given.map_or_else(ask_twice, Ok)?;
        recipients.push(Recipient::Passphrase(passphrase));
    }
    Ok((!recipients.is_empty()).then_some(recipients))
}

fn recipient_problem(place: &str, error: &KeyError) -> Problem {
    let problem = Problem::usage(format!("{place}: {error}"));
    match error {
        KeyError::IdentityAsRecipient => {
            problem.hint("give the recipient that belongs to it; it stands in the comment above the identity")
        }
        _ => problem,
    }
}

/// The identities in the files at `paths`.
pub fn identities(paths: &[impl AsRef<Path>]) -> anyhow::Result<Vec<Identity>> {
    let mut identities = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let what = format!("identity file {}", quoted(path));
        let bytes = read_key_file(path).with_context(|| what.clone())?;
        let bytes = match detect(&bytes) {
            Layer::Age | Layer::AgeArmor => decrypt_identities(&bytes, path).with_context(|| what.clone())?,
            _ => bytes,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| Problem::usage(format!("{what} is no text")))?;
        let found = Identity::parse_file(text).map_err(|error| {
            let problem = Problem::usage(format!("{what}: {error}"));
            match error {
                KeyError::RecipientAsIdentity => {
                    problem.hint("recipients encrypt; to decrypt give the file with AGE-SECRET-KEY-1…")
                }
                _ => problem,
            }
        })?;
        if found.is_empty() {
            return Err(Problem::usage(format!("{what} holds no identity")).into());
        }
        identities.extend(found);
    }
    Ok(identities)
}

/// An identity file that is itself encrypted, with a passphrase.
fn decrypt_identities(bytes: &[u8], path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let passphrase = ask(&format!("passphrase of {}", quoted(path)))?;
    peel::open_all(bytes, vec![Identity::Passphrase(passphrase)]).map_err(peel::failure_of)
}

/// The passphrase that flags or the environment give: a file, a descriptor, then `AGE_PASSPHRASE` and `AGE_PASSPHRASE_FD`.
pub fn given_passphrase(args: &PassphraseArgs) -> anyhow::Result<Option<SecretString>> {
    if let Some(path) = &args.passphrase_file {
        let what = format!("passphrase file {}", quoted(path));
        return first_line(sys::open_to_read(path).with_context(|| what.clone())?, &what).map(Some);
    }
    if let Some(fd) = args.passphrase_fd {
        let what = format!("passphrase descriptor {fd}");
        return first_line(sys::open_descriptor(fd).with_context(|| what.clone())?, &what).map(Some);
    }
    if let Some(value) = std::env::var_os("AGE_PASSPHRASE") {
        let value = value.into_string().map_err(|_| Problem::usage("AGE_PASSPHRASE is no text"))?;
        return not_empty(Zeroizing::new(value), "AGE_PASSPHRASE").map(Some);
    }
    if let Some(fd) = std::env::var_os("AGE_PASSPHRASE_FD") {
        let fd = fd
            .to_str()
            .and_then(|fd| fd.parse().ok())
            .ok_or_else(|| Problem::usage("AGE_PASSPHRASE_FD is no number"))?;
        let what = format!("passphrase descriptor {fd}");
        return first_line(sys::open_descriptor(fd).with_context(|| what.clone())?, &what).map(Some);
    }
    Ok(None)
}

/// Whether [`given_passphrase`] would give one. Looks at no source: what comes through a pipe can be read once.
pub fn is_passphrase_given(args: &PassphraseArgs) -> bool {
    let is_set = |name| std::env::var_os(name).is_some();
    args.passphrase_file.is_some()
        || args.passphrase_fd.is_some()
        || is_set("AGE_PASSPHRASE")
        || is_set("AGE_PASSPHRASE_FD")
}

/// All of a passphrase source, less one trailing newline.
fn first_line(source: impl Read, what: &str) -> anyhow::Result<SecretString> {
    let mut text = Zeroizing::new(String::new());
    source.take(KEY_FILE_LEN_MAX).read_to_string(&mut text).with_context(|| what.to_owned())?;
    if text.ends_with('\n') {
        text.pop();
    }
    if text.ends_with('\r') {
        text.pop();
    }
    not_empty(text, what)
}

fn not_empty(text: Zeroizing<String>, what: &str) -> anyhow::Result<SecretString> {
    match text.is_empty() {
        true => Err(Problem::usage(format!("{what}: the passphrase is empty")).into()),
        false => Ok(SecretString::from(text.as_str())),
    }
}

/// Asks for a passphrase on the terminal, also when data comes through stdin.
pub fn ask(prompt: &str) -> anyhow::Result<SecretString> {
    let typed = rpassword::prompt_password(format!("{prompt}: "));
    let typed = Zeroizing::new(typed.map_err(|error| {
        let message = format!("cannot ask for the {prompt}: {error}");
        Problem::failed(message).hint("--passphrase-file, --passphrase-fd and AGE_PASSPHRASE answer without a terminal")
    })?);
    not_empty(typed, prompt)
}

/// Asks for a new passphrase twice.
fn ask_twice() -> anyhow::Result<SecretString> {
    let (first, second) = (ask("new passphrase")?, ask("the same again")?);
    match first.expose_secret() == second.expose_secret() {
        true => Ok(first),
        false => Err(Problem::failed("the two passphrases differ").into()),
    }
}

fn read_key_file(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let file = sys::open_to_read(path)?;
    let mode = file.metadata()?.mode();
    if file.metadata()?.is_file() && mode & 0o077 != 0 {
        problem::warn(&format!("{} can be read by others: chmod 600 keeps it private", quoted(path)));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(KEY_FILE_LEN_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    sys::open_to_read(path)?.take(KEY_FILE_LEN_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Answers what plugins and encrypted keys ask for.
#[derive(Clone, Default)]
pub struct Prompter;

impl age::Callbacks for Prompter {
    fn display_message(&self, message: &str) {
        problem::tell(&format!("pipeline: {message}\n"));
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let no = no.unwrap_or("no");
        let answer = self.request_public_string(&format!("{message} ({yes}/{no})"))?;
        Some(answer.eq_ignore_ascii_case(yes))
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        let terminal = sys::open_terminal().ok()?;
        problem::tell(&format!("{description}: "));
        let mut line = String::new();
        BufReader::new(terminal).read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        ask(description).ok()
    }
}
