//! Keys as users give them: recipients, identity files, passphrases; what is missing is asked for.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use age_core::format::FileKey;
use anyhow::Context;
use zeroize::Zeroizing;

use crate::cli::args::{EncryptArgs, IdentityArgs, PassphraseArgs};
use crate::cli::problem::{self, Problem, quoted};
use crate::cli::resolve::WORK_FACTOR_MAX_DEFAULT;
use crate::format::age::header::Header;
use crate::format::age::keys::{self, Identity, KeyError, Recipient, key_lines};
use crate::format::detect::{Layer, detect};
use crate::pipeline::peel;
use crate::store::prompt::Prompter;
use crate::store::sys;

/// What most identity files fit in.
const KEY_FILE_LEN: usize = 64 * 1024;

/// More than any identity or recipients file holds.
const KEY_FILE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// Names of standard input.
const STDIN_NAMES: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

/// Refuses sources of keys that are not there, or that are standard input while IN is, and so would be read twice: as a key, and as
/// the data behind it. `files` are those of other flags. Call it before anything is opened, which would take the descriptor's number.
pub fn check_sources(input: &Path, passphrases: &PassphraseArgs, files: &[(&str, &[PathBuf])]) -> Result<(), Problem> {
    let is_stdin = |path: &Path| STDIN_NAMES.iter().any(|name| path == Path::new(name));
    let twice = |what: &str| Problem::usage(format!("standard input cannot be both IN and {what}"));
    let of_environment = || std::env::var_os("AGE_PASSPHRASE_FD")?.to_str()?.parse().ok();
    for (name, fd) in [("--passphrase-fd", passphrases.passphrase_fd), ("AGE_PASSPHRASE_FD", of_environment())] {
        match fd {
            None => {}
            Some(1 | 2) => return Err(Problem::usage(format!("{name}: descriptors 1 and 2 are for output"))),
            Some(fd) if !sys::is_descriptor_open(fd) => {
                return Err(Problem::usage(format!("{name}: descriptor {fd} is not open")));
            }
            Some(0) if is_stdin(input) => return Err(twice("the passphrase")),
            Some(_) => {}
        }
    }
    let passphrase_files = passphrases.passphrase_file.as_slice();
    for (flag, paths) in files.iter().copied().chain([("--passphrase-file", passphrase_files)]) {
        if is_stdin(input) && paths.iter().any(|path| path != Path::new("-") && is_stdin(path)) {
            return Err(twice(&format!("the file of {flag}")));
        }
    }
    Ok(())
}

/// Whether flags ask for encryption. What the environment holds never does.
pub fn is_encryption_asked_for(args: &EncryptArgs, passphrases: Option<&PassphraseArgs>) -> bool {
    !args.recipient.is_empty() || !args.recipients_file.is_empty() || is_passphrase_asked_for(args, passphrases)
}

fn is_passphrase_asked_for(args: &EncryptArgs, passphrases: Option<&PassphraseArgs>) -> bool {
    let is_given = |given: &PassphraseArgs| given.passphrase_file.is_some() || given.passphrase_fd.is_some();
    args.passphrase || passphrases.is_some_and(is_given)
}

/// Whom to encrypt to.
pub struct Recipients {
    /// In the order of the command line.
    pub list: Vec<Recipient>,
    /// XXH64 of their texts, in whichever order they came: it changes when they do. A passphrase counts as one, whatever it is.
    pub digest: u64,
}

/// Whom to encrypt to. A passphrase that nothing in `passphrases` gives is asked for.
pub fn recipients(
    args: &EncryptArgs,
    passphrases: Option<&PassphraseArgs>,
    prompter: &Prompter,
) -> anyhow::Result<Recipients> {
    let (mut recipients, mut texts) = (Vec::new(), Vec::new());
    for text in &args.recipient {
        texts.push(text.clone());
        recipients.push(Recipient::parse(text).map_err(|error| {
            let problem = recipient_problem("--recipient", &error);
            if Path::new(text).exists() { problem.or_hint("-R FILE reads recipients from a file") } else { problem }
        })?);
    }
    for path in &args.recipients_file {
        let what = format!("recipients file {}", quoted(path));
        let text = read_text(path, prompter).with_context(|| what.clone())?;
        let count_before = recipients.len();
        for (line, key) in key_lines(&text) {
            let place = || format!("{what}, line {line}");
            texts.push(key.to_owned());
            recipients.push(Recipient::parse(key).map_err(|error| recipient_problem(&place(), &error))?);
        }
        if recipients.len() == count_before {
            return Err(Problem::usage(format!("{what} holds no recipient")).into());
        }
    }
    if is_passphrase_asked_for(args, passphrases) {
        let given = passphrases.map(|given| given_passphrase(given, prompter)).transpose()?.flatten();
        let passphrase = given.map_or_else(|| prompter.new_passphrase(), Ok)?;
        recipients.push(Recipient::Passphrase(passphrase));
        texts.push("passphrase".to_owned());
    }
    texts.sort_unstable();
    Ok(Recipients { list: recipients, digest: twox_hash::XxHash64::oneshot(0, texts.join("\n").as_bytes()) })
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

/// What age files are opened with.
pub struct Keyring {
    identities: Vec<Identity>,
    passphrase: Option<SecretString>,
    /// What a passphrase that is missing is asked for as; without it none is.
    prompt: Option<String>,
    work_factor_max: u8,
    prompter: Prompter,
}

impl Keyring {
    /// What `args` give. Identity files that are encrypted themselves are opened, with the passphrase that is given or asked for.
    /// Where there are identity files, no other passphrase is asked for.
    pub fn new(args: &IdentityArgs, prompter: &Prompter) -> anyhow::Result<Keyring> {
        let mut keyring = Keyring {
            identities: Vec::new(),
            passphrase: passphrase_of_flags(&args.passphrases, prompter)?,
            prompt: args.identity.is_empty().then(|| "passphrase".to_owned()),
            work_factor_max: args.max_work_factor.unwrap_or(WORK_FACTOR_MAX_DEFAULT),
            prompter: prompter.clone(),
        };
        for path in &args.identity {
            let found = keyring.read_identities(path)?;
            keyring.identities.extend(found);
        }
        Ok(keyring)
    }

    /// The identities, and the passphrase that flags or the environment give, which is not asked for.
    pub fn into_identities_and_passphrase(mut self) -> anyhow::Result<Vec<Identity>> {
        self.prompt = None;
        let passphrase = self.passphrase()?;
        self.identities.extend(passphrase.map(Identity::Passphrase));
        Ok(self.identities)
    }

    /// The identities alone.
    pub fn into_identities(self) -> Vec<Identity> {
        self.identities
    }

    /// The file key of `header`.
    pub fn unwrap(&mut self, header: &Header) -> anyhow::Result<FileKey> {
        if keys::is_for_passphrase(header) {
            let passphrase = self.passphrase()?;
            self.identities.extend(passphrase.map(Identity::Passphrase));
        }
        let unwrapped = keys::unwrap(header, &self.identities, &self.prompter, self.work_factor_max);
        Ok(unwrapped.map_err(peel::age_failure)?)
    }

    /// The passphrase, looked for in the environment and asked for only where one is wanted. A descriptor is read once.
    fn passphrase(&mut self) -> anyhow::Result<Option<SecretString>> {
        if self.passphrase.is_none() {
            self.passphrase = passphrase_of_environment(&self.prompter)?;
        }
        match (&self.passphrase, &self.prompt) {
            (None, Some(prompt)) => self.prompter.passphrase(prompt).map(Some),
            (given, _) => Ok(given.clone()),
        }
    }

    fn read_identities(&mut self, path: &Path) -> anyhow::Result<Vec<Identity>> {
        let what = format!("identity file {}", quoted(path));
        let (bytes, is_private) = read_key_file(path, &self.prompter).with_context(|| what.clone())?;
        let is_encrypted = matches!(detect(&bytes), Layer::Age | Layer::AgeArmor);
        let bytes = match detect(&bytes) {
            layer @ (Layer::Age | Layer::AgeArmor) => {
                self.decrypt_identities(&bytes, layer, path).with_context(|| what.clone())?
            }
            _ => bytes,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| Problem::usage(format!("{what} is no text")))?;
        let found = Identity::parse_file(text).map_err(|(line, error)| {
            let problem = Problem::usage(format!("{what}, line {line}: {error}"));
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
        if !is_private && !is_encrypted {
            problem::warn(&format!("{} can be read by others: chmod 600 keeps it private", quoted(path)));
        }
        Ok(found)
    }

    /// An identity file that is itself encrypted, which is done with a passphrase.
    fn decrypt_identities(&mut self, bytes: &[u8], layer: Layer, path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let prompt = Some(format!("passphrase of {}", quoted(path)));
        let (passphrase, prompter) = (self.passphrase.clone(), self.prompter.clone());
        let work_factor_max = self.work_factor_max;
        let mut keyring = Keyring { identities: Vec::new(), passphrase, prompt, work_factor_max, prompter };
        let text = peel::open_all(bytes, layer, |header| keyring.unwrap(header))?;
        // What the environment gave may be wanted for the next file too.
        self.passphrase = keyring.passphrase;
        Ok(text)
    }
}

/// The passphrase that flags or the environment give: a file, a descriptor, then `AGE_PASSPHRASE` and `AGE_PASSPHRASE_FD`.
fn given_passphrase(args: &PassphraseArgs, prompter: &Prompter) -> anyhow::Result<Option<SecretString>> {
    let of_environment = || passphrase_of_environment(prompter);
    passphrase_of_flags(args, prompter)?.map_or_else(of_environment, |passphrase| Ok(Some(passphrase)))
}

fn passphrase_of_flags(args: &PassphraseArgs, prompter: &Prompter) -> anyhow::Result<Option<SecretString>> {
    if let Some(path) = &args.passphrase_file {
        let what = format!("passphrase file {}", quoted(path));
        return first_line(sys::open_to_read(path), &what, prompter).map(Some);
    }
    if let Some(fd) = args.passphrase_fd {
        let what = format!("passphrase descriptor {fd}");
        return first_line(sys::open_descriptor(fd), &what, prompter).map(Some);
    }
    Ok(None)
}

fn passphrase_of_environment(prompter: &Prompter) -> anyhow::Result<Option<SecretString>> {
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
        return first_line(sys::open_descriptor(fd), &what, prompter).map(Some);
    }
    Ok(None)
}

/// Whether flags or the environment give a passphrase. Looks at no source: what comes through a pipe can be read once.
pub fn is_passphrase_given(args: &PassphraseArgs) -> bool {
    let is_set = |name| std::env::var_os(name).is_some();
    args.passphrase_file.is_some()
        || args.passphrase_fd.is_some()
        || is_set("AGE_PASSPHRASE")
        || is_set("AGE_PASSPHRASE_FD")
}

/// All of a passphrase source, less one trailing newline.
fn first_line(source: io::Result<File>, what: &str, prompter: &Prompter) -> anyhow::Result<SecretString> {
    let bytes = source.and_then(|source| read_all(source, prompter)).with_context(|| what.to_owned())?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Problem::usage(format!("{what}: the passphrase is no text")))?;
    let mut text = Zeroizing::new(text.to_owned());
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

/// The bytes of the file, and whether only its owner can read them.
fn read_key_file(path: &Path, prompter: &Prompter) -> anyhow::Result<(Zeroizing<Vec<u8>>, bool)> {
    let file = sys::open_to_read(path)?;
    let metadata = file.metadata()?;
    let is_private = !metadata.is_file() || metadata.mode() & 0o077 == 0;
    Ok((read_all(file, prompter)?, is_private))
}

fn read_text(path: &Path, prompter: &Prompter) -> anyhow::Result<String> {
    let bytes = read_all(sys::open_to_read(path)?, prompter)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Problem::usage(format!("{} is no text", quoted(path))))?;
    Ok(text.to_owned())
}

/// Reads to the end, waiting where there is somebody to wait for: `<(command)` of a shell is a pipe.
fn read_all(file: File, prompter: &Prompter) -> io::Result<Zeroizing<Vec<u8>>> {
    // As long as most, so that no copies are left behind while it grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_LEN));
    prompter.patient(file).take(KEY_FILE_LEN_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
