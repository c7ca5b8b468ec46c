//! The filter of a terminal: text passes, and control characters, which a terminal would obey, do not.

use std::io::{self, Write};

/// Bytes per write to a terminal.
const WRITE_LEN: usize = 4096;

/// Writes text to a terminal; refuses control characters, in UTF-8 and as single bytes. A character that ends in a later write is held back.
pub(super) struct TextOnly<W> {
    output: W,
    /// The beginning of a character: three bytes at most.
    held: Vec<u8>,
}

impl<W: Write> TextOnly<W> {
    pub(super) fn new(output: W) -> TextOnly<W> {
        TextOnly { output, held: Vec::new() }
    }
}

impl<W: Write> Write for TextOnly<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only the bytes of this write: the caller passes the rest again.
        let bytes = &bytes[..bytes.len().min(WRITE_LEN)];
        self.held.extend_from_slice(bytes);
        let (text, begun) = self.held.split_at(self.held.len() - begun_len(&self.held));
        check(text)?;
        self.output.write_all(text)?;
        self.held = begun.to_vec();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        check(&self.held)?;
        self.output.write_all(&self.held)?;
        self.held.clear();
        self.output.flush()
    }
}

/// The length of the incomplete character at the end of `bytes`.
fn begun_len(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    let is_begun = std::str::from_utf8(last).is_err_and(|error| error.error_len().is_none());
    if is_begun { last.len() } else { 0 }
}

/// Refuses control characters, and bytes that are no UTF-8 and that a terminal with 8-bit controls would obey, such as 9B, which begins a sequence.
/// Other bytes that are no UTF-8 are letters of an older character set.
fn check(bytes: &[u8]) -> io::Result<()> {
    let is_text = |char: char| !char.is_control() || matches!(char, '\n' | '\r' | '\t' | '\x08' | '\x0C');
    let is_letter = |byte: &u8| !(0x80..0xA0).contains(byte);
    match bytes.utf8_chunks().all(|chunk| chunk.valid().chars().all(is_text) && chunk.invalid().iter().all(is_letter)) {
        true => Ok(()),
        false => Err(io::Error::other("binary data is not written to a terminal, unless with --force")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reaches the terminal of `bytes`, written in pieces of `len`; `None` if they are refused.
    fn shown(bytes: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut filter = TextOnly::new(Vec::new());
        bytes.chunks(len).try_for_each(|piece| filter.write_all(piece)).ok()?;
        filter.flush().ok()?;
        Some(filter.output)
    }

    #[test]
    fn text_passes_and_controls_do_not_however_they_are_split() {
        let far = |tail: &[u8]| [&[b'x'; WRITE_LEN - 1], tail].concat();
        let text = ["", "a\tb\r\n\x08\x0C", "À “ ś 😀", "\u{A0}", "�"].map(str::as_bytes);
        let letters = [&b"caf\xE9"[..], b"\xE9t\xE9 \xA0\xFF", &far("À“😀".as_bytes()), b"\xC3"];
        let controls = ["\u{9B}", "\u{80}", "\u{9F}2J", "\x1B[", "\0", "\x7F"].map(str::as_bytes);
        let bytes = [&b"\x9B"[..], b"a\x9Bb", b"\xE9\x9BA", b"\xE9\x9B", b"\xC3\xA9\x9B", b"\xF0\x9F\x98", b"\xE2\x80"];
        let split = [far(b"\xC2\x9B"), far(b"\x9B")];
        for len in [1, 2, 3, 4, 5, WRITE_LEN, 2 * WRITE_LEN] {
            for text in text.into_iter().chain(letters) {
                assert_eq!(shown(text, len).as_deref(), Some(text), "{text:02x?} by {len}");
            }
            for binary in controls.into_iter().chain(bytes).chain(split.iter().map(Vec::as_slice)) {
                assert_eq!(shown(binary, len), None, "{binary:02x?} by {len}");
            }
        }
    }

    #[test]
    fn no_byte_of_a_refused_character_is_shown() {
        let mut filter = TextOnly::new(Vec::new());
        filter.write_all(b"ab\xC2").unwrap();
        assert!(filter.write_all(b"\x9B").is_err());
        assert_eq!(filter.output, b"ab");
    }
}
