//! Creates the age header of an output, with a new file key wrapped for each recipient and a new payload key; adds armor.

use std::io::{self, Write};

use age_core::format::FileKey;

use super::error::TaskError;
use super::executor::Executor;
use super::keys::Recipients;
use crate::format::age::AgeError;
use crate::format::age::armor::Armorer;
use crate::format::age::header::{self, HEADER_LEN_MAX, Header, NONCE_LEN, Parsed, payload_key};
use crate::format::age::keys::{self, KeyError, Recipient};
use crate::pipeline::names::Stage;
use crate::pipeline::plan::Seal;
use crate::store::prompt::Prompter;
use crate::store::sys;

/// A header for `recipients` and the payload key; both are new on each call.
pub fn seal(executor: &mut impl Executor, recipients: &Recipients, prompter: &Prompter) -> Result<Seal, TaskError> {
    let (recipients, prompter) = (recipients.list.clone(), prompter.clone());
    Ok(executor.compute(Stage::Wrap, move |_| seal_for(&recipients, &prompter))??)
}

/// Why no header could be made.
#[derive(Debug)]
pub enum WrapError {
    /// The system gave no random bytes.
    Random(io::Error),
    /// The file key could not be wrapped for the recipients.
    Recipients(KeyError),
}

impl From<WrapError> for TaskError {
    fn from(error: WrapError) -> TaskError {
        match error {
            WrapError::Random(error) => TaskError::Start("get random bytes", error),
            WrapError::Recipients(error) => TaskError::Wrap(error),
        }
    }
}

/// Like [`seal`] on this thread; `callbacks` answers prompts of plugins.
pub fn seal_for(recipients: &[Recipient], callbacks: &impl age::Callbacks) -> Result<Seal, WrapError> {
    let random = |bytes: &mut [u8]| sys::fill_random(bytes).map_err(WrapError::Random);
    let file_key = FileKey::try_init_with_mut(|key| random(key))?;
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce)?;
    let mut prefix = header_for(recipients, &file_key, callbacks)?;
    prefix.extend_from_slice(&nonce);
    Ok(Seal { key: payload_key(&file_key, &nonce), prefix })
}

/// The header bytes, with `file_key` wrapped for each of `recipients`. Fails if this program would refuse to read them.
pub fn header_for(
    recipients: &[Recipient],
    file_key: &FileKey,
    callbacks: &impl age::Callbacks,
) -> Result<Vec<u8>, WrapError> {
    let stanzas = keys::wrap(file_key, recipients, callbacks).map_err(WrapError::Recipients)?;
    let bytes = header::encode(&stanzas, file_key);
    if bytes.len() > HEADER_LEN_MAX {
        return Err(WrapError::Recipients(KeyError::HeaderTooLong { len: bytes.len() }));
    }
    let unreadable = |error| WrapError::Recipients(KeyError::Unreadable(error));
    match Header::parse(&bytes) {
        Ok(Parsed::Whole(_)) => Ok(bytes),
        Ok(Parsed::Part) => Err(unreadable(AgeError::Header("it is cut short"))),
        Err(error) => Err(unreadable(error)),
    }
}

/// A writer to `output` that adds armor if `is_text`.
pub fn armored(output: Box<dyn Write + Send>, is_text: bool) -> Box<dyn Write + Send> {
    match is_text {
        true => Box::new(ArmorWriter::new(output)),
        false => output,
    }
}

/// Armors the bytes written to it. The flush, called once at the end, writes the end marker.
pub struct ArmorWriter<W> {
    output: W,
    armorer: Armorer,
    text: Vec<u8>,
}

impl<W: Write> ArmorWriter<W> {
    /// A writer of armor to `output`.
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
