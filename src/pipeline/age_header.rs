//! Reads the age header of an input, armored or not, and unwraps the file key; returns the payload and detects the layer inside.

use std::io::{self, Cursor, Read};

use age_core::format::FileKey;
use zeroize::Zeroizing;

use super::error::{Cause, Failure};
use super::names::Stage;
use super::sealed::OpeningReader;
use crate::format::age::AgeError;
use crate::format::age::armor::Dearmorer;
use crate::format::age::header::{HEADER_LEN_MAX, Header, NONCE_LEN, Parsed, payload_key};
use crate::format::age::stream::{PayloadKey, Place, SEALED_LEN, SegmentCipher, TAG_LEN};
use crate::format::detect::{Layer, detect};

/// Bytes read at once while looking for the end of a header.
const READ_LEN: usize = 4096;

/// An input after its age header.
pub struct Peeled {
    /// The payload, from its first segment on.
    pub payload: Box<dyn Read + Send>,
    /// Key of the payload.
    pub key: PayloadKey,
    /// Offset of the payload in the binary file, in bytes.
    pub payload_offset: u64,
    /// Types of the header's stanzas.
    pub stanzas: Vec<String>,
    /// The layer that the plaintext begins with.
    pub inner: Layer,
}

/// Turns an error in a header into a failure, which has an exit code.
pub fn age_failure(error: AgeError) -> Failure {
    failure(Cause::Age(error))
}

/// Turns a read error at a header into a failure.
pub fn read_failure(error: io::Error) -> Failure {
    failure(Cause::of_read(error))
}

/// Turns a write error at a replaced header into a failure.
pub fn write_failure(error: io::Error) -> Failure {
    failure(Cause::Write(error))
}

fn failure(cause: Cause) -> Failure {
    Failure { stage: Stage::Open, seq: None, cause }
}

/// Reads the header of `input`, an age file, armored if `layer` says so.
pub fn read_header(input: Box<dyn Read + Send>, layer: Layer) -> Result<(Header, Box<dyn Read + Send>), Failure> {
    let mut input: Box<dyn Read + Send> = match layer {
        Layer::AgeArmor => Box::new(DearmorReader::new(input)),
        _ => input,
    };
    let mut bytes = Vec::new();
    loop {
        // As much again, since a long header is parsed from its beginning each time; and no more than shows that it is too long.
        let wanted_len = READ_LEN.max(bytes.len()).min((HEADER_LEN_MAX + 1).saturating_sub(bytes.len())) as u64;
        let read_len = input.by_ref().take(wanted_len).read_to_end(&mut bytes).map_err(read_failure)?;
        match Header::parse(&bytes).map_err(age_failure)? {
            Parsed::Whole(header) => {
                let rest = bytes.split_off(header.len);
                return Ok((header, Box::new(Cursor::new(rest).chain(input))));
            }
            Parsed::Part if read_len == 0 => return Err(age_failure(AgeError::Header("it is cut short"))),
            Parsed::Part => {}
        }
    }
}

/// An age file whose file key is known.
pub struct Unwrapped {
    /// The header as read.
    pub header: Header,
    /// The wrapped file key.
    pub file_key: FileKey,
    /// Together with the file key, it gives the payload key.
    pub nonce: [u8; NONCE_LEN],
    /// The payload, from its first segment on.
    pub payload: Box<dyn Read + Send>,
}

/// Reads the header of `input`, an age file whose file key `unwrap_key` returns.
pub fn unwrap<E: From<Failure>>(
    input: Box<dyn Read + Send>,
    layer: Layer,
    unwrap_key: impl FnOnce(&Header) -> Result<FileKey, E>,
) -> Result<Unwrapped, E> {
    let (header, mut payload) = read_header(input, layer)?;
    let file_key = unwrap_key(&header)?;
    let nonce = read_nonce(&mut payload)?;
    Ok(Unwrapped { header, file_key, nonce, payload })
}

/// Reads the nonce after a header.
pub fn read_nonce(payload: &mut impl Read) -> Result<[u8; NONCE_LEN], Failure> {
    let mut nonce = [0; NONCE_LEN];
    payload.read_exact(&mut nonce).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => age_failure(AgeError::Header("the payload nonce is missing or cut short")),
        _ => read_failure(error),
    })?;
    Ok(nonce)
}

/// Opens `input`, an age file whose file key `unwrap_key` returns, and detects the layer inside.
pub fn peel<E: From<Failure>>(
    input: Box<dyn Read + Send>,
    layer: Layer,
    unwrap_key: impl FnOnce(&Header) -> Result<FileKey, E>,
) -> Result<Peeled, E> {
    let (header, rest) = read_header(input, layer)?;
    let file_key = unwrap_key(&header)?;
    Ok(peel_with(&header, &file_key, rest)?)
}

/// Reads the nonce at the start of `rest`, and detects the layer inside the payload after it.
pub fn peel_with(header: &Header, file_key: &FileKey, mut rest: Box<dyn Read + Send>) -> Result<Peeled, Failure> {
    let key = payload_key(file_key, &read_nonce(&mut rest)?);
    let mut first = Vec::with_capacity(SEALED_LEN);
    // Damaged armor after the header is reported when the payload is read.
    let first_read = rest.by_ref().take(SEALED_LEN as u64).read_to_end(&mut first);
    let mut opened = first.clone();
    let inner = match SegmentCipher::new(&key).open(0, &mut opened) {
        Some(Place::Inner | Place::Final) => detect(&opened[..opened.len() - TAG_LEN]),
        None => Layer::Other,
    };
    let first = Cursor::new(first);
    let payload: Box<dyn Read + Send> = match first_read {
        Ok(_) => Box::new(first.chain(rest)),
        Err(error) => Box::new(first.chain(FailingReader(Some(error)))),
    };
    let stanzas = header.stanzas.iter().map(|stanza| stanza.tag.clone()).collect();
    Ok(Peeled { payload, key, payload_offset: (header.len + NONCE_LEN) as u64, stanzas, inner })
}

/// Opens an age file in memory, such as an encrypted identity file.
pub fn open_all<E: From<Failure>>(
    bytes: &[u8],
    layer: Layer,
    unwrap_key: impl FnOnce(&Header) -> Result<FileKey, E>,
) -> Result<Zeroizing<Vec<u8>>, E> {
    let unwrapped = unwrap(Box::new(Cursor::new(bytes.to_vec())), layer, unwrap_key)?;
    // Room for all: growing would leave copies in memory.
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let key = payload_key(&unwrapped.file_key, &unwrapped.nonce);
    OpeningReader::new(unwrapped.payload, &key).read_to_end(&mut text).map_err(read_failure)?;
    Ok(text)
}

/// Returns an error that occurred while looking ahead.
struct FailingReader(Option<io::Error>);

impl Read for FailingReader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Decodes armor while reading.
pub struct DearmorReader<R> {
    input: R,
    dearmorer: Dearmorer,
    text: Vec<u8>,
    bytes: Vec<u8>,
    taken_len: usize,
    is_ended: bool,
}

impl<R: Read> DearmorReader<R> {
    /// Errors in the armor are io errors that hold an [`AgeError`].
    pub fn new(input: R) -> DearmorReader<R> {
        let text = vec![0; 16 * READ_LEN];
        DearmorReader { input, dearmorer: Dearmorer::default(), text, bytes: Vec::new(), taken_len: 0, is_ended: false }
    }
}

impl<R: Read> Read for DearmorReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let invalid = |error: AgeError| io::Error::new(io::ErrorKind::InvalidData, error);
        while self.taken_len == self.bytes.len() && !self.is_ended {
            self.bytes.clear();
            self.taken_len = 0;
            let len = self.input.read(&mut self.text)?;
            match len {
                0 => {
                    self.is_ended = true;
                    self.dearmorer.finish(&mut self.bytes).map_err(invalid)?;
                }
                len => self.dearmorer.push(&self.text[..len], &mut self.bytes).map_err(invalid)?,
            }
        }
        let rest = &self.bytes[self.taken_len..];
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        self.taken_len += len;
        Ok(len)
    }
}
