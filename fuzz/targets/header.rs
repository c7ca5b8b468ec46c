//! A fuzz target for the header of an age file in arbitrary bytes.
//!
//! A header that parses whole is canonical: encoded again it is the same bytes except for the MAC, and parses to the
//! same stanzas. A prefix of it is a part, never whole and never wrong. Unwrapping its stanzas gives a file key or an
//! error.

#![no_main]

use age::NoCallbacks;
use libfuzzer_sys::fuzz_target;
use pipeline::format::age::header::{Header, Parsed, encode};
use pipeline::format::age::keys::{Identity, unwrap};
use pipeline_fuzz::identities;
use pipeline_fuzz::sealed::file_key;

/// Length of the MAC in base64 and the line end.
const MAC_LEN: usize = 44;
/// Headers up to this length are cut at every byte, longer ones only at some.
const CUT_EVERYWHERE_LEN_MAX: usize = 512;
/// scrypt is slow with more.
const WORK_FACTOR_MAX: u8 = 2;

thread_local! {
    static IDENTITIES: Vec<Identity> = identities::all();
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(parsed) = Header::parse(bytes) else { return };
    let end = match parsed {
        Parsed::Part => bytes.len(),
        Parsed::Whole(header) => {
            check(&header, bytes);
            header.len
        }
    };
    for len in (0..end).step_by(1 + end / CUT_EVERYWHERE_LEN_MAX) {
        assert!(matches!(Header::parse(&bytes[..len]), Ok(Parsed::Part)), "cut at {len} it is no part");
    }
});

fn check(header: &Header, bytes: &[u8]) {
    let encoded = encode(&header.stanzas, &file_key());
    assert_eq!(encoded.len(), header.len);
    assert!(encoded[..header.len - MAC_LEN] == bytes[..header.len - MAC_LEN], "encoded it is another header");
    let Ok(Parsed::Whole(again)) = Header::parse(&encoded) else { panic!("encoded it is no header") };
    assert!(again.stanzas == header.stanzas && again.len == encoded.len(), "it parses to other stanzas");
    assert_eq!(again.verify(&file_key()), Ok(()));
    assert!(!header.stanza_types().is_empty());
    if let Ok(file_key) = IDENTITIES.with(|identities| unwrap(header, identities, &NoCallbacks, WORK_FACTOR_MAX)) {
        assert_eq!(header.verify(&file_key), Ok(()), "a file key was given without a look at the MAC");
    }
}
