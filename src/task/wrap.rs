//! Puts the age header on an output: a new file key, wrapped for every recipient, and a new payload key.

use std::io::{self, Write};

use age_core::format::FileKey;

use crate::cli::problem::Problem;
use crate::format::age::armor::Armorer;
use crate::format::age::header::{self, NONCE_LEN, payload_key};
use crate::format::age::keys::{self, KeyError, Recipient};
use crate::pipeline::plan::Seal;
use crate::store::prompt::Prompter;
use crate::store::sys;

/// A header for `recipients` and the key of the payload behind it. Both are new with every call.
pub fn seal_for(recipients: &[Recipient], prompter: &Prompter) -> anyhow::Result<Seal> {
    let file_key = FileKey::try_init_with_mut(|key| sys::fill_random(key))?;
    let mut nonce = [0; NONCE_LEN];
    sys::fill_random(&mut nonce)?;
    let mut prefix = header_for(recipients, &file_key, prompter)?;
    prefix.extend_from_slice(&nonce);
    Ok(Seal { key: payload_key(&file_key, &nonce), prefix })
}

/// The bytes of a header that wraps `file_key` for each of `recipients`.
pub fn header_for(recipients: &[Recipient], file_key: &FileKey, prompter: &Prompter) -> Result<Vec<u8>, Problem> {
    let stanzas = keys::wrap(file_key, recipients, prompter).map_err(|error| match error {
        KeyError::MixedRecipients | KeyError::NoRecipient => Problem::usage(error.to_string()),
        error => Problem::failed(error.to_string()),
    })?;
    Ok(header::encode(&stanzas, file_key))
}

/// A writer to `output`, as armor if `is_text`.
pub fn armored(output: impl Write + Send + 'static, is_text: bool) -> Box<dyn Write + Send> {
    match is_text {
        true => Box::new(ArmorWriter::new(output)),
        false => Box::new(output),
    }
}

/// Writes what it is given as armor. The end marker goes with the flush, which comes once, at the end.
pub struct ArmorWriter<W> {
    output: W,
    armorer: Armorer,
    text: Vec<u8>,
}

impl<W: Write> ArmorWriter<W> {
    /// Writes to `output`.
    pub fn new(output: W) -> ArmorWriter<W> {
        ArmorWriter { output, armorer: Armorer::default(), text: Vec::new() }
    }

    fn write_text(&mut self) -> io::Result<()> {
        self.output.write_all(&self.text)?;
        self.text.clear();
        Ok(())
    }
}

impl<W: Write> Write for ArmorWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.armorer.push(bytes, &mut self.text);
        self.write_text()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.armorer.finish(&mut self.text);
        self.write_text()?;
        self.output.flush()
    }
}
