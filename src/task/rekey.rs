//! Changes the recipients of an age file: writes a new header and copies the payload byte for byte. Each segment is authenticated before it is
//! copied, so that damage never gets a new header.

use std::io::{self, Cursor, Read, Write};

use age_core::format::FileKey;

use super::Produced;
use super::error::TaskError;
use super::executor::Executor;
use super::keys::{Keyring, Recipients};
use super::open::{ReadOptions, layer_of, read};
use super::unchanged::{has_digest, state_as_read};
use super::wrap::{armored, header_for};
use crate::format::age::header::payload_key;
use crate::format::age::keys::Recipient;
use crate::format::age::stream::{PayloadKey, SEALED_LEN};
use crate::format::detect::Layer;
use crate::pipeline::age_header::{Unwrapped, read_failure, unwrap, write_failure};
use crate::pipeline::names::Stage;
use crate::pipeline::sealed::OpeningReader;
use crate::store::digest::digest_writer;
use crate::store::input::Input;
use crate::store::output::Output;
use crate::store::prompt::Prompter;

/// The most memory that a task needs: buffers of one segment each, and the header.
pub const REKEY_BYTES: usize = 8 * SEALED_LEN;

/// How to rekey inputs; shared by all files of a batch.
#[derive(Clone)]
pub struct RekeySpec {
    /// Recipients of the outputs.
    pub recipients: Recipients,
    /// All outputs are armored.
    pub is_armored: bool,
    /// The output of an armored input is armored.
    pub keeps_armor: bool,
    /// Answers prompts of recipient plugins.
    pub prompter: Prompter,
}

/// An age file that is not opened yet.
pub struct Sealed {
    layer: Layer,
    reader: Box<dyn Read + Send>,
    read: Option<crate::store::digest::DigestHandle>,
}

/// Reads the first bytes of `input`; fails unless it is an age file. With `is_age_expected`, unrecognized bytes count as a damaged one.
pub fn look(
    executor: &mut impl Executor,
    input: &Input,
    is_age_expected: bool,
    options: &ReadOptions,
) -> Result<Sealed, TaskError> {
    let (head, reader, read) = read(executor, input, options)?;
    let layer = layer_of(&head, is_age_expected);
    if !matches!(layer, Layer::Age | Layer::AgeArmor) {
        return Err(TaskError::NotAge);
    }
    Ok(Sealed { layer, reader: Box::new(Cursor::new(head).chain(reader)), read })
}

/// Writes `sealed`, from `input`, to `output` with a header for the new recipients. `keyring` opens it.
pub fn rekey(
    executor: &mut impl Executor,
    spec: &RekeySpec,
    sealed: Sealed,
    mut keyring: Keyring,
    (input, output): (&Input, &Output),
    options: &ReadOptions,
) -> Result<Produced, TaskError> {
    let Sealed { layer, reader, read } = sealed;
    let is_text = spec.is_armored || (spec.keeps_armor && layer == Layer::AgeArmor);
    let (writer, written) = digest_writer(output.writer(&options.wake)?, options.digest);
    let mut writer = armored(writer, is_text);
    let (recipients, prompter) = (spec.recipients.list.clone(), spec.prompter.clone());
    let payload_bytes = executor.compute(Stage::Rekey, move |_| {
        let unwrap_key = |header: &_| keyring.unwrap(header);
        rewrap(reader, layer, unwrap_key, &recipients, &prompter, &mut writer)
    })??;
    let (read, written) = (read.map(|read| read.digest()), written.map(|written| written.digest()));
    let input_state = state_as_read(executor, input, |executor| match read {
        Some(read) => has_digest(executor, input, read),
        None => Ok(false),
    })?;
    Ok(Produced { read, written, input_state, content_bytes: payload_bytes, ..Produced::default() })
}

/// Copies the age file in `input` to `output` with a header for `recipients`. Returns the plaintext length in bytes.
fn rewrap(
    input: Box<dyn Read + Send>,
    layer: Layer,
    unwrap_key: impl FnOnce(&crate::format::age::header::Header) -> Result<FileKey, TaskError>,
    recipients: &[Recipient],
    prompter: &Prompter,
    output: &mut impl Write,
) -> Result<u64, TaskError> {
    let Unwrapped { file_key, nonce, payload, .. } = unwrap(input, layer, unwrap_key)?;
    output.write_all(&header_for(recipients, &file_key, prompter)?).map_err(write_failure)?;
    output.write_all(&nonce).map_err(write_failure)?;
    copy_authentic(payload, &payload_key(&file_key, &nonce), output)
}

/// Copies sealed segments, each after it was authenticated.
fn copy_authentic(payload: impl Read, key: &PayloadKey, output: &mut impl Write) -> Result<u64, TaskError> {
    let mut opener = OpeningReader::new(Tee { payload, copied: Vec::with_capacity(SEALED_LEN) }, key);
    let (mut text, mut text_bytes) = (vec![0; SEALED_LEN], 0);
    loop {
        // One read returns at most one segment, so `copied` holds exactly that.
        let len = opener.read(&mut text).map_err(read_failure)?;
        let copied = &mut opener.get_mut().copied;
        output.write_all(copied).map_err(write_failure)?;
        copied.clear();
        text_bytes += len as u64;
        if len == 0 {
            output.flush().map_err(write_failure)?;
            return Ok(text_bytes);
        }
    }
}

/// Keeps a copy of the bytes read.
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
