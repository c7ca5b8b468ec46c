//! Prompts on the terminal for passphrases and for questions of plugins. They work while
//! stdin carries data; a signal interrupts them and restores the terminal.

use std::fs::File;
use std::io;
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::store::error::StoreError;
use crate::store::sys::{self, Echo, PatientReader, Terminal, WakeUp};

/// The prompt for a new passphrase.
pub const NEW_PASSPHRASE: &str = "new passphrase";

/// Asks on the terminal. Clones share the wake-up.
#[derive(Clone)]
pub struct Prompter {
    wake: WakeUp,
    /// Shows a plugin's message.
    show: fn(&str),
}

impl Prompter {
    /// A prompter that `wake` interrupts; `show` gets messages of plugins.
    pub fn new(wake: WakeUp, show: fn(&str)) -> Prompter {
        Prompter { wake, show }
    }

    /// A reader of `file` that the same wake-up interrupts.
    pub fn patient(&self, file: File) -> PatientReader {
        PatientReader::new(file, self.wake.clone())
    }

    /// Opens the file of a key or passphrase; the same wake-up interrupts the wait for a lease.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        sys::open_to_read(path, Some(&self.wake))
    }

    /// Asks for a passphrase without echo. Fails if it is empty.
    pub fn passphrase(&self, prompt: &str) -> Result<SecretString, StoreError> {
        let no_answer = |source| StoreError::NoAnswer { prompt: prompt.to_owned(), source };
        let typed = self.line(prompt, Echo::Off).map_err(no_answer)?;
        match typed.is_empty() {
            true => Err(StoreError::EmptyPassphrase(prompt.to_owned())),
            false => Ok(SecretString::from(typed.as_str())),
        }
    }

    /// Asks for a new passphrase twice. Fails if the entries differ.
    pub fn new_passphrase(&self) -> Result<SecretString, StoreError> {
        let (first, second) = (self.passphrase(NEW_PASSPHRASE)?, self.passphrase("the same again")?);
        match first.expose_secret() == second.expose_secret() {
            true => Ok(first),
            false => Err(StoreError::PassphrasesDiffer),
        }
    }

    fn line(&self, prompt: &str, echo: Echo) -> io::Result<Zeroizing<String>> {
        Terminal::open(self.wake.clone())?.ask(&format!("{prompt}: "), echo)
    }
}

/// Answers prompts of plugins and encrypted ssh keys.
impl age::Callbacks for Prompter {
    fn display_message(&self, message: &str) {
        (self.show)(message);
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let no = no.unwrap_or("no");
        let answer = self.request_public_string(&format!("{message} ({yes}/{no})"))?;
        Some(answer.eq_ignore_ascii_case(yes))
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        self.line(description, Echo::On).ok().map(|line| line.trim_end().to_owned())
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        self.passphrase(description).ok()
    }
}
