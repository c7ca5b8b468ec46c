//! Reads the age header of an input, through armor if there is any, and unwraps the file key; gives the payload and what it holds.

use std::io::{self, Cursor, Read};

use age_core::format::FileKey;
use zeroize::Zeroizing;

use super::error::{Cause, Failure};
use super::names::Stage;
use super::sealed::OpeningReader;
use crate::format::age::AgeError;
use crate::format::age::armor::Dearmorer;
use crate::format::age::header::{Header, NONCE_LEN, Parsed, payload_key};
use crate::format::age::stream::{PayloadKey, Place, SEALED_LEN, SegmentCipher, TAG_LEN};
use crate::format::detect::{Layer, detect};

/// What is read at once while looking for the end of a header.
const READ_LEN: usize = 4096;

/// An input behind its age header.
pub struct Peeled {
    /// From the first segment of the payload on.
    pub payload: Box<dyn Read + Send>,
    /// Its key.
    pub key: PayloadKey,
    /// Where the payload begins in the binary file, in bytes.
    pub payload_offset: u64,
    /// The types of its stanzas.
    pub stanzas: Vec<String>,
    /// What the plaintext begins with.
    pub inner: Layer,
}

/// A header that could not be taken off, as the failure that it is, so that it has its exit code.
pub fn age_failure(error: AgeError) -> Failure {
    failure(Cause::Age(error))
}

/// A read that failed while a header was taken off.
pub fn read_failure(error: io::Error) -> Failure {
    failure(Cause::of_read(error))
}

/// A write that failed while a header was put in the place of another.
pub fn write_failure(error: io::Error) -> Failure {
    failure(Cause::Write(error))
}

fn failure(cause: Cause) -> Failure {
    Failure { stage: Stage::Open, seq: None, cause }
}

/// Reads the header of `input`, an age file, in armor if `layer` says so.
pub fn read_header(input: Box<dyn Read + Send>, layer: Layer) -> Result<(Header, Box<dyn Read + Send>), Failure> {
    let mut input: Box<dyn Read + Send> = match layer {
        Layer::AgeArmor => Box::new(DearmorReader::new(input)),
        _ => input,
    };
    let mut bytes = Vec::new();
    loop {
        let read_len = input.by_ref().take(READ_LEN as u64).read_to_end(&mut bytes).map_err(read_failure)?;
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
    /// As it was read.
    pub header: Header,
    /// What its stanzas wrap.
    pub file_key: FileKey,
    /// What the payload key is derived from, with the file key.
    pub nonce: [u8; NONCE_LEN],
    /// From the first segment on.
    pub payload: Box<dyn Read + Send>,
}

/// Reads the header of `input`, an age file, whose file key `unwrap_key` gives.
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

/// Reads the nonce behind a header.
pub fn read_nonce(payload: &mut impl Read) -> Result<[u8; NONCE_LEN], Failure> {
    let mut nonce = [0; NONCE_LEN];
    payload.read_exact(&mut nonce).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => age_failure(AgeError::Header("the payload nonce is missing or cut short")),
        _ => read_failure(error),
    })?;
    Ok(nonce)
}

/// Opens `input`, an age file whose file key `unwrap_key` gives, and looks at what is inside.
pub fn peel<E: From<Failure>>(
    input: Box<dyn Read + Send>,
    layer: Layer,
    unwrap_key: impl FnOnce(&Header) -> Result<FileKey, E>,
) -> Result<Peeled, E> {
    let (header, rest) = read_header(input, layer)?;
    let file_key = unwrap_key(&header)?;
    Ok(peel_with(&header, &file_key, rest)?)
}

/// Reads the nonce that `rest` begins with, and looks at what is inside the payload behind it.
pub fn peel_with(header: &Header, file_key: &FileKey, mut rest: Box<dyn Read + Send>) -> Result<Peeled, Failure> {
    let key = payload_key(file_key, &read_nonce(&mut rest)?);
    let mut first = Vec::with_capacity(SEALED_LEN);
    // What is wrong with the armor behind the header shows when the payload is read.
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

/// Opens an age file that is in memory, such as an encrypted identity file.
pub fn open_all<E: From<Failure>>(
    bytes: &[u8],
    layer: Layer,
    unwrap_key: impl FnOnce(&Header) -> Result<FileKey, E>,
) -> Result<Zeroizing<Vec<u8>>, E> {
    let unwrapped = unwrap(Box::new(Cursor::new(bytes.to_vec())), layer, unwrap_key)?;
    let mut text = Zeroizing::new(Vec::new());
    let key = payload_key(&unwrapped.file_key, &unwrapped.nonce);
    OpeningReader::new(unwrapped.payload, &key).read_to_end(&mut text).map_err(read_failure)?;
    Ok(text)
}

/// Hands on an error that was met while looking ahead.
struct FailingReader(Option<io::Error>);

impl Read for FailingReader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Reads armor as the bytes it holds.
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
