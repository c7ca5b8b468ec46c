//! age files with a known key: a header with one stanza of an unknown type, a nonce, and a payload.

use age_core::format::{FileKey, Stanza};
use pipeline::format::age::armor::Armorer;
use pipeline::format::age::header::{Header, NONCE_LEN, encode, payload_key};
use pipeline::format::age::stream::{PayloadKey, Place, SEGMENT_LEN, SegmentCipher, TAG_LEN};
use pipeline::format::detect::Layer;
use pipeline::pipeline::age_header::{Peeled, age_failure, peel};
use pipeline::pipeline::error::Failure;

/// The nonce of every file made here.
const NONCE: [u8; NONCE_LEN] = [7; NONCE_LEN];

/// The file key of every file made here.
pub fn file_key() -> FileKey {
    FileKey::new(Box::new(*b"YELLOW SUBMARINE"))
}

/// The payload key of every file made here.
pub fn key() -> PayloadKey {
    payload_key(&file_key(), &NONCE)
}

/// The payload with `content`.
pub fn payload(content: &[u8]) -> Vec<u8> {
    let cipher = SegmentCipher::new(&key());
    let last = content.len().div_ceil(SEGMENT_LEN).max(1) - 1;
    let mut payload = Vec::with_capacity(content.len() + (last + 1) * TAG_LEN);
    for index in 0..=last {
        let text = &content[index * SEGMENT_LEN..content.len().min((index + 1) * SEGMENT_LEN)];
        let start = payload.len();
        payload.extend_from_slice(text);
        payload.extend_from_slice(&[0; TAG_LEN]);
        let place = if index == last { Place::Final } else { Place::Inner };
        cipher.seal(index as u64, place, &mut payload[start..]);
    }
    payload
}

/// The header and the nonce.
pub fn prefix() -> Vec<u8> {
    let stanza = Stanza { tag: "fuzz".to_owned(), args: vec!["known".to_owned()], body: vec![1; 32] };
    [&encode(&[stanza], &file_key())[..], &NONCE].concat()
}

/// The binary age file with `content`.
pub fn file(content: &[u8]) -> Vec<u8> {
    [prefix(), payload(content)].concat()
}

/// `bytes` in armor.
pub fn armored(bytes: &[u8]) -> Vec<u8> {
    let (mut armorer, mut text) = (Armorer::default(), Vec::new());
    armorer.push(bytes, &mut text);
    armorer.finish(&mut text);
    text
}

/// Removes the header of a file as `restore` does, with the known file key; `None` on an error.
pub fn open(file: Vec<u8>, layer: Layer) -> Option<Peeled> {
    let unwrap_key = |header: &Header| {
        header.verify(&file_key()).map_err(age_failure)?;
        Ok::<_, Failure>(file_key())
    };
    peel(Box::new(std::io::Cursor::new(file)), layer, unwrap_key).ok()
}
