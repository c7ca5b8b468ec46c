//! What is asked on the terminal: passphrases, and whatever plugins want to know. The terminal answers also when data comes
//! through stdin; a signal ends the waiting and leaves it as it was.

use std::fs::File;

use age::secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::store::error::StoreError;
use crate::store::sys::{Echo, PatientReader, Terminal, WakeUp};

/// The prompt for a new passphrase.
pub const NEW_PASSPHRASE: &str = "new passphrase";

/// Asks. Clones are the same.
#[derive(Clone)]
pub struct Prompter {
    wake: WakeUp,
    /// Shows what a plugin says.
    show: fn(&str),
}

impl Prompter {
    /// One whose waiting `wake` ends; `show` gets the messages of plugins.
    pub fn new(wake: WakeUp, show: fn(&str)) -> Prompter {
        Prompter { wake, show }
    }

    /// A reader of `file` that waits for what comes, until the same wake-up.
    pub fn patient(&self, file: File) -> PatientReader {
        PatientReader::new(file, self.wake.clone())
    }

    /// Asks for a passphrase, which is not shown.
    pub fn passphrase(&self, prompt: &str) -> Result<SecretString, StoreError> {
        let no_answer = |source| StoreError::NoAnswer { prompt: prompt.to_owned(), source };
        let typed = self.line(prompt, Echo::Off).map_err(no_answer)?;
        match typed.is_empty() {
            true => Err(StoreError::EmptyPassphrase(prompt.to_owned())),
            false => Ok(SecretString::from(typed.as_str())),
        }
    }

    /// Asks for a new passphrase, twice.
    pub fn new_passphrase(&self) -> Result<SecretString, StoreError> {
        let (first, second) = (self.passphrase(NEW_PASSPHRASE)?, self.passphrase("the same again")?);
        match first.expose_secret() == second.expose_secret() {
            true => Ok(first),
            false => Err(StoreError::PassphrasesDiffer),
        }
    }

    fn line(&self, prompt: &str, echo: Echo) -> std::io::Result<Zeroizing<String>> {
        Terminal::open(self.wake.clone())?.ask(&format!("{prompt}: "), echo)
    }
}

/// Answers what plugins and encrypted ssh keys ask for.
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
