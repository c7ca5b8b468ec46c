//! Fuzzes the ASCII armor decoder with arbitrary text.
//!
//! In pieces of any length it decodes to the same bytes or fails with the same error. Its bytes, armored again, give the same text except
//! for surrounding white space and line ends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::format::age::AgeError;
use pipeline::format::age::armor::{Armorer, Dearmorer};
use pipeline_fuzz::choices::Choices;
use pipeline_fuzz::pieces::pieces;
use pipeline_fuzz::sealed::armored;

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    let seed = choices.byte();
    let text = choices.rest();
    let (bytes, ended) = dearmored([text].into_iter());
    assert!(dearmored(pieces(text, seed)) == (bytes.clone(), ended.clone()), "in pieces it differs");
    if ended.is_ok() {
        let again = armored(&bytes);
        assert_eq!(String::from_utf8_lossy(&again), canonical(text));
        assert!(again == armored_in_pieces(&bytes, seed), "armored in pieces it differs");
        assert!(dearmored([&again[..]].into_iter()) == (bytes, Ok(())), "it does not come back");
    }
});

fn dearmored<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Result<(), AgeError>) {
    let (mut dearmorer, mut bytes) = (Dearmorer::default(), Vec::new());
    let pushed = pieces.try_for_each(|piece| dearmorer.push(piece, &mut bytes));
    let ended = pushed.and_then(|()| dearmorer.finish(&mut bytes));
    (bytes, ended)
}

fn armored_in_pieces(bytes: &[u8], seed: u8) -> Vec<u8> {
    let (mut armorer, mut text) = (Armorer::default(), Vec::new());
    pieces(bytes, seed).for_each(|piece| armorer.push(piece, &mut text));
    armorer.finish(&mut text);
    text
}

/// The text as pipeline writes it: no surrounding white space, only LF, and one at the end.
fn canonical(text: &[u8]) -> String {
    let text = String::from_utf8(text.to_vec()).expect("armor is ASCII");
    text.trim_matches([' ', '\t', '\r', '\n']).replace("\r\n", "\n") + "\n"
}
