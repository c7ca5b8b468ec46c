//! The header of an age file (C2SP age, "Header"): stanzas that wrap the file key, and the MAC over them.
//!
//! The parser is strict, and keeps the received bytes: the MAC covers those, not a re-encoding.

use std::collections::HashSet;

use age_core::format::{FileKey, Stanza};
use age_core::primitives::hkdf;
use age_core::secrecy::ExposeSecret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroize;

use super::error::AgeError;
use super::stream::PayloadKey;

/// The first line of every age file.
pub const VERSION_LINE: &[u8] = b"age-encryption.org/v1\n";
/// Largest header accepted, in bytes: thousands of recipients.
pub const HEADER_LEN_MAX: usize = 1024 * 1024;

/// Stanza types in a message, and characters of each.
const SHOWN_TYPES: usize = 8;
const SHOWN_TYPE_LEN: usize = 40;
/// Random bytes between header and payload; the payload key is derived from them.
pub const NONCE_LEN: usize = 16;

const STANZA_PREFIX: &[u8] = b"-> ";
const MAC_PREFIX: &[u8] = b"---";
/// Columns of a full line of a stanza's body.
const BODY_COLUMNS: usize = 64;
/// Bytes of the body in a full line.
const BODY_LINE_LEN: usize = 48;

/// A well-formed header. [`verify`](Header::verify) checks whether it is authentic.
#[derive(Debug)]
pub struct Header {
    /// Stanzas in file order.
    pub stanzas: Vec<Stanza>,
    /// Length in bytes, without the nonce.
    pub len: usize,
    /// The received bytes that the MAC covers, through `---`.
    covered: Vec<u8>,
    mac: [u8; 32],
}

/// Result of parsing.
#[derive(Debug)]
pub enum Parsed {
    /// A complete header.
    Whole(Header),
    /// Valid so far, but the input ends inside the header.
    Part,
}

impl Header {
    /// Parses a header at the start of `bytes`, the beginning of a file.
    pub fn parse(bytes: &[u8]) -> Result<Parsed, AgeError> {
        let mut lines = Lines { bytes, at: 0 };
        let version = &bytes[..bytes.len().min(VERSION_LINE.len())];
        if !VERSION_LINE.starts_with(version) {
            return Err(AgeError::Header("the version line is not that of age v1"));
        }
        lines.at = version.len();
        let mut stanzas = Vec::new();
        loop {
            let start = lines.at;
            let Some(line) = lines.next()? else { return Ok(Parsed::Part) };
            if let Some(stanza) = line.strip_prefix(STANZA_PREFIX) {
                let (tag, args) = parse_arguments(stanza)?;
                let Some(body) = parse_body(&mut lines)? else { return Ok(Parsed::Part) };
                stanzas.push(Stanza { tag, args, body });
            } else if let Some(mac) = line.strip_prefix(MAC_PREFIX) {
                if stanzas.is_empty() {
                    return Err(AgeError::Header("there is no stanza"));
                }
                let mac = parse_mac(mac)?;
                let covered = bytes[..start + MAC_PREFIX.len()].to_vec();
                return Ok(Parsed::Whole(Header { stanzas, len: lines.at, covered, mac }));
            } else {
                return Err(AgeError::Header("a line begins neither a stanza nor the MAC"));
            }
        }
    }

    /// Verifies the MAC with the file key from a stanza.
    pub fn verify(&self, file_key: &FileKey) -> Result<(), AgeError> {
        mac(file_key, &self.covered).verify_slice(&self.mac).map_err(|_| AgeError::Mac)
    }

    /// The distinct stanza types, for messages.
    pub fn stanza_types(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        self.stanzas.iter().map(|stanza| stanza.tag.as_str()).filter(|tag| seen.insert(*tag)).collect()
    }

    /// The first distinct types of the stanzas, comma-separated, as a message may hold them.
    pub fn stanza_types_shown(&self) -> String {
        let types = self.stanza_types();
        let shown = |tag: &&str| match tag.char_indices().nth(SHOWN_TYPE_LEN) {
            None => (*tag).to_owned(),
            Some((end, _)) => format!("{}…", &tag[..end]),
        };
        let mut list: Vec<String> = types.iter().take(SHOWN_TYPES).map(shown).collect();
        if types.len() > SHOWN_TYPES {
            list.push(format!("and {} more types", types.len() - SHOWN_TYPES));
        }
        list.join(", ")
    }
}

/// Encodes a header with `stanzas`, authenticated with `file_key`.
pub fn encode(stanzas: &[Stanza], file_key: &FileKey) -> Vec<u8> {
    let mut bytes = VERSION_LINE.to_vec();
    for Stanza { tag, args, body } in stanzas {
        bytes.extend_from_slice(STANZA_PREFIX);
        bytes.extend_from_slice(tag.as_bytes());
        args.iter().for_each(|arg| bytes.extend([b" ", arg.as_bytes()].concat()));
        bytes.push(b'\n');
        for line in body.chunks(BODY_LINE_LEN) {
            bytes.extend_from_slice(BASE64.encode(line).as_bytes());
            bytes.push(b'\n');
        }
        // A body ends with its first short line: an empty one after full lines.
        if body.len() % BODY_LINE_LEN == 0 {
            bytes.push(b'\n');
        }
    }
    bytes.extend_from_slice(MAC_PREFIX);
    let mac = mac(file_key, &bytes).finalize().into_bytes();
    bytes.extend_from_slice(format!(" {}\n", BASE64.encode(mac)).as_bytes());
    bytes
}

/// Derives the key of a payload from the file key and the nonce before the payload (C2SP age, "Payload").
pub fn payload_key(file_key: &FileKey, nonce: &[u8; NONCE_LEN]) -> PayloadKey {
    PayloadKey::take(&mut hkdf(nonce, b"payload", file_key.expose_secret()))
}

fn mac(file_key: &FileKey, covered: &[u8]) -> Hmac<Sha256> {
    let mut key = hkdf(&[], b"header", file_key.expose_secret());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    key.zeroize();
    mac.update(covered);
    mac
}

/// The lines of a header, each ended by a lone LF.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line without its LF; `None` if the LF is missing.
    fn next(&mut self) -> Result<Option<&'a [u8]>, AgeError> {
        let rest = &self.bytes[self.at..];
        let Some(len) = rest.iter().position(|byte| *byte == b'\n') else {
            return if self.bytes.len() > HEADER_LEN_MAX { Err(AgeError::Header("it is too long")) } else { Ok(None) };
        };
        self.at += len + 1;
        Ok(Some(&rest[..len]))
    }
}

/// Type and arguments: words of visible ASCII, separated by one space.
fn parse_arguments(line: &[u8]) -> Result<(String, Vec<String>), AgeError> {
    let mut words = line.split(|byte| *byte == b' ').map(|word| match word {
        [_, ..] if word.iter().all(u8::is_ascii_graphic) => Ok(String::from_utf8_lossy(word).into_owned()),
        _ => Err(AgeError::Header("a stanza's argument is empty or not visible ASCII")),
    });
    let tag = words.next().unwrap_or(Err(AgeError::Header("a stanza has no type")))?;
    Ok((tag, words.collect::<Result<_, _>>()?))
}

/// The lines of a body up to the first short one; `None` if that is missing.
fn parse_body(lines: &mut Lines<'_>) -> Result<Option<Vec<u8>>, AgeError> {
    let mut body = Vec::new();
    while let Some(line) = lines.next()? {
        if line.len() > BODY_COLUMNS {
            return Err(AgeError::Header("a line of a stanza's body is too long"));
        }
        let part = BASE64.decode(line).map_err(|_| AgeError::Header("a stanza's body is not canonical base64"))?;
        body.extend(part);
        if line.len() < BODY_COLUMNS {
            return Ok(Some(body));
        }
    }
    Ok(None)
}

/// Parses what follows `---`: a space and 32 bytes in base64.
fn parse_mac(line: &[u8]) -> Result<[u8; 32], AgeError> {
    let bad = AgeError::Header("the MAC is not a space and 43 characters of canonical base64");
    let encoded = line.strip_prefix(b" ").ok_or(bad.clone())?;
    BASE64.decode(encoded).ok().and_then(|mac| mac.try_into().ok()).ok_or(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> FileKey {
        FileKey::new(Box::new(*b"YELLOW SUBMARINE"))
    }

    fn stanza(body_len: usize) -> Stanza {
        let args = vec!["one".to_owned(), "two".to_owned()];
        Stanza { tag: "type".to_owned(), args, body: (0..body_len).map(|i| i as u8).collect() }
    }

    #[test]
    fn what_is_encoded_is_parsed_for_bodies_of_all_lengths() {
        for body_len in [0, 1, 31, 32, 47, 48, 49, 96, 97] {
            let bytes = encode(&[stanza(body_len), stanza(0)], &key());
            let Parsed::Whole(header) = Header::parse(&[&bytes[..], b"payload"].concat()).unwrap() else { panic!() };
            assert_eq!((header.len, &header.stanzas[..]), (bytes.len(), &[stanza(body_len), stanza(0)][..]));
            header.verify(&key()).unwrap();
            assert_eq!(header.verify(&FileKey::new(Box::new([0; 16]))), Err(AgeError::Mac));
        }
    }

    #[test]
    fn every_cut_is_a_part_and_every_flip_is_noticed() {
        let bytes = encode(&[stanza(50)], &key());
        for len in 0..bytes.len() {
            assert!(matches!(Header::parse(&bytes[..len]), Ok(Parsed::Part)), "cut at {len}");
        }
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(Parsed::Whole(header)) = Header::parse(&flipped) {
                assert_eq!(header.verify(&key()), Err(AgeError::Mac), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_header_without_end_is_refused_when_it_grows_too_long() {
        let bytes = [VERSION_LINE, &vec![b'x'; HEADER_LEN_MAX]].concat();
        assert!(matches!(Header::parse(&bytes), Err(AgeError::Header("it is too long"))));
    }
}
