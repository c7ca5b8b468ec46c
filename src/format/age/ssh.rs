//! Checks of ssh keys before the `age` crate parses them: it panics on numbers encoded as only zero bytes.
//!
//! Version 0.12.1 panics. No valid key holds such a number: zero has an empty encoding, and no number of an RSA key is zero. The crate
//! checks everything else, so a key that does not parse here counts as having none.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};

/// The key type that holds numbers.
const RSA: &[u8] = b"ssh-rsa";
/// The lines around a private key.
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
/// Start of an OpenSSH private key (OpenSSH, PROTOCOL.key).
const PRIVATE_MAGIC: &[u8] = b"openssh-key-v1\0";
/// Bytes after the three strings on how a private key is encrypted: the key count, which is one.
const KEY_COUNT_LEN: usize = 4;
/// Bytes before an unencrypted private key: a number, twice.
const CHECK_LEN: usize = 8;

/// Whether the public key in `text` (type, base64, comment) holds such a number.
pub(super) fn has_zeros_for_a_number(text: &str) -> bool {
    let is_base64 = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    let base64: String = text.split(' ').nth(1).unwrap_or_default().chars().take_while(is_base64).collect();
    BASE64_STANDARD_NO_PAD.decode(base64).is_ok_and(|key| is_wrong(&key))
}

/// Whether the crate might panic on the private key in `text`: its unencrypted part holds such a number, or it is not whole lines of base64
/// between the markers. The crate refuses that too, but parses the lines in front of what is wrong first.
pub(super) fn is_private_refused(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(BEGIN) else { return false };
    let Some(base64) = rest.split_once(END).and_then(|(body, _)| joined_lines(body)) else { return true };
    let key = zeroize::Zeroizing::new(BASE64_STANDARD.decode(&*base64).unwrap_or_default());
    is_private_wrong(&key).unwrap_or(false)
}

/// The lines of base64 in `body`, joined; `None` if there is anything else.
fn joined_lines(body: &str) -> Option<zeroize::Zeroizing<String>> {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let mut lines = body.lines();
    let is_whole = lines.next()?.is_empty() && body.ends_with('\n');
    let mut joined = zeroize::Zeroizing::new(String::with_capacity(body.len()));
    for line in lines {
        if line.is_empty() || !line.bytes().all(is_base64) {
            return None;
        }
        joined.push_str(line);
    }
    is_whole.then_some(joined)
}

/// Checks both halves of a private key; `None` if cut.
fn is_private_wrong(key: &[u8]) -> Option<bool> {
    let mut rest = key.strip_prefix(PRIVATE_MAGIC)?;
    let [_cipher, _kdf, _options] = [take_string(&mut rest)?, take_string(&mut rest)?, take_string(&mut rest)?];
    rest = rest.get(KEY_COUNT_LEN..)?;
    let (public, private) = (take_string(&mut rest)?, take_string(&mut rest)?);
    Some(is_wrong(public) || is_wrong(private.get(CHECK_LEN..)?))
}

/// Whether any string after the type `ssh-rsa` is only zeros.
fn is_wrong(mut key: &[u8]) -> bool {
    let is_zeros = |number: &[u8]| !number.is_empty() && number.iter().all(|byte| *byte == 0);
    take_string(&mut key) == Some(RSA) && std::iter::from_fn(|| take_string(&mut key)).any(is_zeros)
}

/// Takes a `string` (RFC 4251 section 5) off `bytes`: its length, then that many bytes.
fn take_string<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (string, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    *bytes = rest;
    Some(string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::age::keys::{Identity, KeyError, Recipient};

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn strings(strings: &[&[u8]]) -> Vec<u8> {
        strings.iter().flat_map(|bytes| string(bytes)).collect()
    }

    fn public(exponent: &[u8]) -> Vec<u8> {
        strings(&[RSA, exponent, &[0x7F; 256]])
    }

    fn private(public: &[u8], number: &[u8]) -> String {
        let numbers =
            [&[1; CHECK_LEN][..], &strings(&[RSA, &[1], &[3], number, &[1], &[1], &[1], b"comment"])].concat();
        let key = [PRIVATE_MAGIC, &strings(&[b"none", b"none", b""]), &[0, 0, 0, 1], &strings(&[public, &numbers])];
        let base64 = BASE64_STANDARD.encode(key.concat());
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{base64}\n-----END OPENSSH PRIVATE KEY-----\n")
    }

    /// The `age` crate searches such a number for a nonzero byte, past its end.
    #[test]
    fn numbers_of_nothing_but_zeros_are_refused_and_do_not_panic() {
        for zeros in [&[0][..], &[0; 3]] {
            let recipient = format!("ssh-rsa {} comment", BASE64_STANDARD.encode(public(zeros)));
            assert!(matches!(Recipient::parse(&recipient), Err(KeyError::UnsupportedSsh)));
            for identity in [private(&public(&[3]), zeros), private(&public(zeros), &[1])] {
                assert!(is_private_refused(&identity));
                for text in [identity.clone(), identity.replace('\n', "\r\n")] {
                    assert!(matches!(Identity::parse_file(&text), Err((1, KeyError::UnknownIdentity))));
                }
            }
        }
    }

    /// The `age` crate parses the lines in front of what is wrong before it looks further.
    #[test]
    fn a_private_key_with_more_than_lines_of_base64_is_refused_and_does_not_panic() {
        let identity = private(&public(&[3]), &[0]);
        for (end, other) in [
            ("\n-----END", "\nAAAA PRIVATE KEY-----\n-----END"),
            ("\n-----END", "\n\nA\n-----END"),
            ("\n-----END", "\n\n-----END"),
            ("\n-----END", " A\n-----END"),
            ("\n-----END OPENSSH PRIVATE KEY-----", "\nA PRIVATE KEY-----"),
            ("\n-----END", "-----END"),
        ] {
            let text = identity.replace(end, other);
            assert!(matches!(Identity::parse_file(&text), Err((1, KeyError::UnknownIdentity))), "{text}");
        }
    }

    #[test]
    fn keys_that_are_right_or_cut_have_no_such_number() {
        let key = public(&[1, 0, 1]);
        for len in 0..=key.len() {
            assert!(!is_wrong(&key[..len]), "cut at {len}");
        }
        for name in ["ssh-ed25519", "ssh-rsa", "ssh-encrypted"] {
            let path = format!("{}/tests/support/keys/{name}", env!("CARGO_MANIFEST_DIR"));
            let private = std::fs::read_to_string(&path).unwrap();
            for text in [private.clone(), private.replace('\n', "\r\n")] {
                assert!(!is_private_refused(&text) && Identity::parse_file(&text).is_ok(), "{name}");
            }
            assert!(!has_zeros_for_a_number(&std::fs::read_to_string(path + ".pub").unwrap()));
        }
    }
}
