//! Reads recipients, identities and passphrases from where users keep them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::secrecy::SecretString;
use age_core::format::FileKey;
use zeroize::Zeroizing;

use super::error::{KeySourceError, Notice, TaskError};
use crate::format::age::AgeError;
use crate::format::age::header::Header;
use crate::format::age::keys::{self, Identity, Recipient, key_lines};
use crate::format::detect::{Layer, detect};
use crate::pipeline::age_header;
use crate::pipeline::cpu_slots::CpuSlots;
use crate::store::name::quoted;
use crate::store::prompt::Prompter;
use crate::store::sys;

/// Capacity that fits most identity files.
const KEY_FILE_LEN: usize = 64 * 1024;

/// The longest identity, recipients or passphrase file, in bytes: a part of one would be taken for the whole.
const KEY_FILE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// Passphrase sources, first match wins: a file, a descriptor, a variable's value, a descriptor named by a variable.
#[derive(Clone, Debug, Default)]
pub struct PassphraseSources {
    /// A file with the passphrase.
    pub file: Option<PathBuf>,
    /// A descriptor to read it from.
    pub descriptor: Option<i32>,
    /// The value of `AGE_PASSPHRASE`.
    pub variable: Option<SecretBytes>,
    /// The value of `AGE_PASSPHRASE_FD`.
    pub variable_descriptor: Option<OsString>,
}

/// The value of a variable, which may be no text. Wiped on drop; not printable.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(bytes: Zeroizing<Vec<u8>>) -> SecretBytes {
        SecretBytes(bytes)
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBytes")
    }
}

impl PassphraseSources {
    /// Whether any source is given. Does not read them: a pipe can be read only once.
    pub fn is_any(&self) -> bool {
        let PassphraseSources { file, descriptor, variable, variable_descriptor } = self;
        file.is_some() || descriptor.is_some() || variable.is_some() || variable_descriptor.is_some()
    }

    fn read_explicit(&self, prompter: &Prompter) -> Result<Option<SecretString>, KeySourceError> {
        if let Some(path) = &self.file {
            return first_line(prompter.open(path), &format!("passphrase file {}", quoted(path)), prompter).map(Some);
        }
        self.descriptor.map(|number| of_descriptor(number, prompter)).transpose()
    }

    fn read_variables(&self, prompter: &Prompter) -> Result<Option<SecretString>, KeySourceError> {
        if self.variable.is_some() && self.variable_descriptor.is_some() {
            return Err(KeySourceError::TwoVariables);
        }
        if let Some(value) = &self.variable {
            let value =
                std::str::from_utf8(&value.0).map_err(|_| KeySourceError::NotText("AGE_PASSPHRASE".to_owned()))?;
            return not_empty(Zeroizing::new(value.to_owned()), "AGE_PASSPHRASE").map(Some);
        }
        let number = self.variable_descriptor.as_ref().map(|value| value.to_str().and_then(|value| value.parse().ok()));
        match number {
            None => Ok(None),
            Some(None) => Err(KeySourceError::NotADescriptor),
            Some(Some(number)) => of_descriptor(number, prompter).map(Some),
        }
    }
}

fn of_descriptor(number: i32, prompter: &Prompter) -> Result<SecretString, KeySourceError> {
    first_line(sys::open_descriptor(number), &format!("passphrase descriptor {number}"), prompter)
}

/// Recipients as given by the user.
#[derive(Clone, Debug, Default)]
pub struct RecipientSources {
    /// Recipients as text.
    pub recipients: Vec<String>,
    /// Recipients files.
    pub files: Vec<PathBuf>,
    /// Sources of the passphrase to encrypt with; the terminal if none is given. `None` for no passphrase.
    pub passphrase: Option<PassphraseSources>,
}

/// The recipients of an output.
#[derive(Clone)]
pub struct Recipients {
    /// In the given order.
    pub list: Arc<Vec<Recipient>>,
    /// XXH64 (seed 0) of their sorted texts. Any passphrase counts as the same text.
    pub digest: u64,
}

impl RecipientSources {
    /// Whether any recipient is given.
    pub fn is_any(&self) -> bool {
        !self.recipients.is_empty() || !self.files.is_empty() || self.passphrase.is_some()
    }

    /// Reads all sources.
    pub fn read(&self, prompter: &Prompter) -> Result<Recipients, TaskError> {
        let (mut recipients, mut texts) = (Vec::new(), Vec::new());
        for text in &self.recipients {
            texts.push(text.clone());
            recipients.push(Recipient::parse(text).map_err(|error| {
                let (place, is_file) = ("--recipient".to_owned(), Path::new(text).exists());
                KeySourceError::Recipient { place, error, is_file }
            })?);
        }
        for path in &self.files {
            let what = format!("recipients file {}", quoted(path));
            let text = read_text(path, &what, prompter)?;
            let count_before = recipients.len();
            for (line, key) in key_lines(&text) {
                let place = || format!("{what}, line {line}");
                let bad = |error| KeySourceError::Recipient { place: place(), error, is_file: false };
                texts.push(key.to_owned());
                recipients.push(Recipient::parse(key).map_err(bad)?);
            }
            if recipients.len() == count_before {
                return Err(KeySourceError::NoRecipient(what).into());
            }
        }
        if let Some(sources) = &self.passphrase {
            let given = sources.read_explicit(prompter)?;
            let given = given.map_or_else(|| sources.read_variables(prompter), |given| Ok(Some(given)))?;
            let passphrase = given.map_or_else(|| prompter.new_passphrase(), Ok)?;
            recipients.push(Recipient::Passphrase(passphrase));
            texts.push("passphrase".to_owned());
        }
        texts.sort_unstable();
        let digest = twox_hash::XxHash64::oneshot(0, texts.join("\n").as_bytes());
        Ok(Recipients { list: Arc::new(recipients), digest })
    }
}

/// Identities and passphrase as given by the user.
#[derive(Clone, Debug)]
pub struct IdentitySources {
    /// Identity files.
    pub files: Vec<PathBuf>,
    /// Sources of the passphrase.
    pub passphrase: PassphraseSources,
    /// The largest scrypt work factor accepted.
    pub work_factor_max: u8,
}

impl IdentitySources {
    /// Whether any key is given; the input is then assumed to be an age file.
    pub fn is_any(&self) -> bool {
        !self.files.is_empty() || self.passphrase.is_any()
    }
}

/// Opens age files. Clones share the identities, but not a passphrase typed later.
#[derive(Clone)]
pub struct Keyring {
    identities: Arc<Vec<Identity>>,
    passphrase: Option<SecretString>,
    sources: PassphraseSources,
    /// The prompt for a passphrase that no source gives; `None` to never ask.
    prompt: Option<String>,
    work_factor_max: u8,
    prompter: Prompter,
    /// scrypt takes 256 MiB, so clones run it one at a time.
    scrypt: CpuSlots,
}

impl Keyring {
    /// Reads the identities in `sources`, and decrypts identity files that are encrypted. If there are identity files, asks only for their
    /// passphrases. `tell` gets a notice for files that others can read.
    pub fn read(sources: &IdentitySources, prompter: &Prompter, tell: fn(&Notice)) -> Result<Keyring, TaskError> {
        let mut keyring = Keyring {
            identities: Arc::default(),
            passphrase: sources.passphrase.read_explicit(prompter)?,
            sources: sources.passphrase.clone(),
            prompt: sources.files.is_empty().then(|| "passphrase".to_owned()),
            work_factor_max: sources.work_factor_max,
            prompter: prompter.clone(),
            scrypt: CpuSlots::shared(NonZeroUsize::MIN),
        };
        let mut identities = Vec::new();
        for path in &sources.files {
            identities.extend(keyring.read_identities(path, tell)?);
        }
        keyring.identities = Arc::new(identities);
        Ok(keyring)
    }

    /// The identities, without the passphrase.
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// Reads the passphrase from the sources now and never prompts later, since many files are opened concurrently.
    /// Without a passphrase or identities, asks for a passphrase if `is_wanted`.
    pub fn settle(&mut self, is_wanted: impl FnOnce() -> bool) -> Result<(), TaskError> {
        self.prompt = None;
        let given = self.passphrase()?;
        if let (Some(passphrase), Some(identities)) = (&given, Arc::get_mut(&mut self.identities)) {
            // Once, not for each file: it is slow on purpose.
            for identity in identities {
                if let Some(unlocked) = identity.unlock(passphrase) {
                    *identity = unlocked;
                }
            }
        }
        if given.is_none() && self.identities.is_empty() && is_wanted() {
            self.passphrase = Some(self.prompter.passphrase("passphrase")?);
        }
        Ok(())
    }

    /// Whether there is neither identity nor passphrase.
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.passphrase.is_none()
    }

    /// Unwraps the file key of `header`.
    pub fn unwrap(&mut self, header: &Header) -> Result<FileKey, TaskError> {
        if !keys::is_for_passphrase(header) {
            let given = match self.identities.iter().any(|identity| identity.wants_passphrase(header)) {
                true => self.given_passphrase()?,
                false => None,
            };
            return match given {
                Some(passphrase) => self.unwrap_with_locked(header, &passphrase),
                None => self.unwrap_with(header, &self.identities),
            };
        }
        let passphrase: Vec<Identity> = self.passphrase()?.map(Identity::Passphrase).into_iter().collect();
        // Without a passphrase, the error names the identities that do not match.
        let identities = if passphrase.is_empty() { &self.identities[..] } else { &passphrase };
        self.scrypt.slot().with(|_| self.unwrap_with(header, identities))
    }

    fn unwrap_with(&self, header: &Header, identities: &[Identity]) -> Result<FileKey, TaskError> {
        let unwrapped = keys::unwrap(header, identities, &self.prompter, self.work_factor_max);
        unwrapped.map_err(|error| age_header::age_failure(error).into())
    }

    /// Unwraps with the first identity that matches. `passphrase` is that of the encrypted ssh keys, which never ask then.
    fn unwrap_with_locked(&self, header: &Header, passphrase: &SecretString) -> Result<FileKey, TaskError> {
        let mut failure = AgeError::NoMatch {
            stanzas: header.stanza_types_shown(),
            identities: self.identities.iter().map(Identity::kind).collect(),
        };
        for identity in self.identities.iter() {
            let is_locked = identity.wants_passphrase(header);
            let unlocked = if is_locked { identity.unlock(passphrase) } else { None };
            if is_locked && unlocked.is_none() {
                failure = AgeError::WrongPassphrase;
                continue;
            }
            let identity = std::slice::from_ref(unlocked.as_ref().unwrap_or(identity));
            match keys::unwrap(header, identity, &self.prompter, self.work_factor_max) {
                Err(AgeError::NoMatch { .. }) => {}
                unwrapped => return unwrapped.map_err(|error| age_header::age_failure(error).into()),
            }
        }
        Err(age_header::age_failure(failure).into())
    }

    /// The passphrase of a source. Reads variables only when it is needed, and a descriptor once.
    fn given_passphrase(&mut self) -> Result<Option<SecretString>, TaskError> {
        if self.passphrase.is_none() {
            self.passphrase = self.sources.read_variables(&self.prompter)?;
        }
        Ok(self.passphrase.clone())
    }

    /// The passphrase of a source, or of the prompt.
    fn passphrase(&mut self) -> Result<Option<SecretString>, TaskError> {
        match (self.given_passphrase()?, &self.prompt) {
            (None, Some(prompt)) => Ok(self.prompter.passphrase(prompt).map(Some)?),
            (given, _) => Ok(given),
        }
    }

    fn read_identities(&mut self, path: &Path, tell: fn(&Notice)) -> Result<Vec<Identity>, TaskError> {
        let what = format!("identity file {}", quoted(path));
        let (mut bytes, is_private) = read_key_file(path, &self.prompter).map_err(io_error(&what))?;
        let layer = detect(&bytes);
        let is_encrypted = matches!(layer, Layer::Age | Layer::AgeArmor);
        if is_encrypted {
            let locked = |source| KeySourceError::Locked { what: what.clone(), source: Box::new(source) };
            bytes = self.decrypt_identities(&bytes, layer, path).map_err(locked)?;
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| KeySourceError::NotText(what.clone()))?;
        let found = Identity::parse_file(text)
            .map_err(|(line, error)| KeySourceError::Identity { place: format!("{what}, line {line}"), error })?;
        if found.is_empty() {
            return Err(KeySourceError::NoIdentity(what).into());
        }
        if !is_private && !is_encrypted {
            tell(&Notice::IdentityFileNotPrivate(path.to_owned()));
        }
        Ok(found)
    }

    /// Decrypts an identity file with a passphrase.
    fn decrypt_identities(&mut self, bytes: &[u8], layer: Layer, path: &Path) -> Result<Zeroizing<Vec<u8>>, TaskError> {
        let prompt = Some(format!("passphrase of {}", quoted(path)));
        let mut keyring = Keyring { prompt, identities: Arc::default(), ..self.clone() };
        let text = age_header::open_all(bytes, layer, |header| keyring.unwrap(header))?;
        // The next file may need a passphrase from a variable too.
        self.passphrase = keyring.passphrase;
        Ok(text)
    }
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> KeySourceError {
    move |source| KeySourceError::Io { what: what.to_owned(), source }
}

/// All of a passphrase source, without one trailing newline.
fn first_line(source: io::Result<File>, what: &str, prompter: &Prompter) -> Result<SecretString, KeySourceError> {
    let bytes = source.and_then(|source| read_all(source, prompter)).map_err(io_error(what))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| KeySourceError::PassphraseNotText(what.to_owned()))?;
    let mut text = Zeroizing::new(text.to_owned());
    if text.ends_with('\n') {
        text.pop();
    }
    if text.ends_with('\r') {
        text.pop();
    }
    not_empty(text, what)
}

fn not_empty(text: Zeroizing<String>, what: &str) -> Result<SecretString, KeySourceError> {
    match text.is_empty() {
        true => Err(KeySourceError::PassphraseEmpty(what.to_owned())),
        false => Ok(SecretString::from(text.as_str())),
    }
}

/// The bytes of the file, and whether only its owner can access them.
fn read_key_file(path: &Path, prompter: &Prompter) -> io::Result<(Zeroizing<Vec<u8>>, bool)> {
    let file = prompter.open(path)?;
    let metadata = file.metadata()?;
    let is_private = !metadata.is_file() || metadata.mode() & 0o077 == 0;
    Ok((read_all(file, prompter)?, is_private))
}

/// The text of a recipients file, which a user may confuse with one of identities.
fn read_text(path: &Path, what: &str, prompter: &Prompter) -> Result<Zeroizing<String>, KeySourceError> {
    let bytes = prompter.open(path).and_then(|file| read_all(file, prompter)).map_err(io_error(what))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| KeySourceError::NotText(what.to_owned()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads to the end; a pipe, such as a shell's `<(command)`, may block.
fn read_all(file: File, prompter: &Prompter) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of a file, and for most of what comes through a pipe: growing would leave copies in memory.
    let len = file.metadata()?.len().min(KEY_FILE_LEN_MAX) as usize;
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_LEN.max(len + 1)));
    prompter.patient(file).take(KEY_FILE_LEN_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > KEY_FILE_LEN_MAX {
        true => Err(io::Error::other("it is longer than 16 MiB")),
        false => Ok(bytes),
    }
}
