//! A fuzz target for the payload of an age file, sealed with a known key and then damaged.
//!
//! A read from front to back gives a prefix of the plaintext, and reaches the end only if the payload is undamaged. A
//! read from any place gives the plaintext of that place. Everything else is an error.

#![no_main]

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use libfuzzer_sys::fuzz_target;
use pipeline::format::age::stream::{SEALED_LEN, SEGMENT_LEN};
use pipeline::pipeline::sealed::{OpeningReader, SealedReader};
use pipeline_fuzz::choices::Choices;
use pipeline_fuzz::{content, damage, sealed};

/// Plaintext lengths around the edges of segments.
const LENS: [usize; 10] = [
    0,
    1,
    100,
    SEGMENT_LEN - 1,
    SEGMENT_LEN,
    SEGMENT_LEN + 1,
    2 * SEGMENT_LEN - 16,
    2 * SEGMENT_LEN,
    2 * SEGMENT_LEN + 40,
    3 * SEGMENT_LEN,
];

thread_local! {
    /// The plaintext and the payload for each length.
    static PAYLOADS: Vec<(Vec<u8>, Vec<u8>)> = LENS.map(|len| {
        let content = content::noise(len, 1);
        let payload = sealed::payload(&content);
        (content, payload)
    }).into();
}

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    let which = usize::from(choices.byte()) % LENS.len();
    PAYLOADS.with(|payloads| check(&payloads[which], choices));
});

fn check((content, payload): &(Vec<u8>, Vec<u8>), mut choices: Choices<'_>) {
    let mut damaged = payload.clone();
    damage::any(&mut damaged, SEALED_LEN, &mut choices);
    let is_whole = damaged == *payload;
    let (opened, ended) = open_all(&damaged, &mut choices);
    assert!(content.starts_with(&opened), "other bytes came out");
    assert_eq!(ended.is_ok(), is_whole, "{ended:?}");
    assert!(!is_whole || opened == *content, "bytes are missing");
    match SealedReader::new(Cursor::new(&damaged), 0, &sealed::key()) {
        Ok(reader) => check_places(reader, content, is_whole, &mut choices),
        Err(error) => assert!(!is_whole, "{error}"),
    }
}

/// Reads to the end or to the first error, in pieces of any length.
fn open_all(payload: &[u8], choices: &mut Choices<'_>) -> (Vec<u8>, io::Result<()>) {
    let mut reader = OpeningReader::new(payload, &sealed::key());
    let (mut opened, mut room) = (Vec::new(), vec![0; 1 + usize::from(choices.u16())]);
    loop {
        match reader.read(&mut room) {
            Ok(0) => return (opened, Ok(())),
            Ok(len) => opened.extend_from_slice(&room[..len]),
            Err(error) => return (opened, Err(error)),
        }
    }
}

fn check_places(mut reader: SealedReader<Cursor<&Vec<u8>>>, content: &[u8], is_whole: bool, choices: &mut Choices<'_>) {
    assert_eq!(reader.content_bytes(), content.len() as u64, "the final segment proves the length");
    for _ in 0..4 {
        let (start, len) = (choices.below(content.len() + 2), usize::from(choices.u16()));
        let slice = content.get(start..).unwrap_or_default();
        let slice = &slice[..slice.len().min(len)];
        reader.seek(SeekFrom::Start(start as u64)).expect("any place can be sought");
        let mut got = Vec::new();
        let ended = reader.by_ref().take(len as u64).read_to_end(&mut got);
        assert!(slice.starts_with(&got), "other bytes came out");
        assert!(ended.is_err() || got == slice, "bytes are missing");
        assert!(ended.is_ok() || !is_whole, "{ended:?}");
    }
}
