//! What is asked on the terminal: passphrases, and whatever plugins want to know. The terminal answers also when data comes
//! through stdin; a signal ends the waiting and leaves it as it was.

use std::fs::File;

use age::secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::cli::problem::{self, Problem};
use crate::store::sys::{Echo, PatientReader, Terminal, WakeUp};

/// What a new passphrase is asked for as.
const NEW: &str = "new passphrase";

/// Asks. Clones are the same.
#[derive(Clone)]
pub struct Prompter {
    wake: WakeUp,
}

impl Prompter {
    /// One whose waiting `wake` ends.
    pub fn new(wake: WakeUp) -> Prompter {
        Prompter { wake }
    }

    /// A reader of `file` that waits for what comes, until the same wake-up.
    pub fn patient(&self, file: File) -> PatientReader {
        PatientReader::new(file, self.wake.clone())
    }

    /// Asks for a passphrase, which is not shown.
    pub fn passphrase(&self, prompt: &str) -> anyhow::Result<SecretString> {
        let typed = self.line(prompt, Echo::Off).map_err(|error| {
            let message = format!("cannot ask for the {prompt}: {error}");
            let hint = match prompt {
                NEW => "--passphrase-file, of rekey --new-passphrase-file, answers without a terminal",
                _ => "--passphrase-file, --passphrase-fd and AGE_PASSPHRASE answer without a terminal",
            };
            Problem::failed(message).hint(hint)
        })?;
        match typed.is_empty() {
            true => Err(Problem::usage(format!("{prompt}: the passphrase is empty")).into()),
            false => Ok(SecretString::from(typed.as_str())),
        }
    }

    /// Asks for a new passphrase, twice.
    pub fn new_passphrase(&self) -> anyhow::Result<SecretString> {
        let (first, second) = (self.passphrase(NEW)?, self.passphrase("the same again")?);
        match first.expose_secret() == second.expose_secret() {
            true => Ok(first),
            false => Err(Problem::failed("the two passphrases differ").into()),
        }
    }

    fn line(&self, prompt: &str, echo: Echo) -> std::io::Result<Zeroizing<String>> {
        Terminal::open(self.wake.clone())?.ask(&format!("{prompt}: "), echo)
    }
}

/// Answers what plugins and encrypted ssh keys ask for.
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
        self.line(description, Echo::On).ok().map(|line| line.trim_end().to_owned())
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        self.passphrase(description).ok()
    }
}
