//! ASCII armor (C2SP age, "ASCII armor"): the strict form of PEM for age files.
//!
//! White space may surround the armor but not occur in it. Every line but the final one has 64 columns; base64 is canonical and padded;
//! only the end marker may follow a short or padded line. Line ends are LF or CRLF.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use super::error::AgeError;

/// The begin marker.
pub const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
/// The end marker, on the final line.
pub const END: &str = "-----END AGE ENCRYPTED FILE-----";
/// Columns of a full line.
const COLUMNS: usize = 64;
/// Bytes that a full line holds.
const LINE_LEN: usize = 48;
/// Most bytes of white space before and after the armor together.
const SPACE_LEN_MAX: u64 = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the begin marker.
    Before,
    /// Between the markers.
    Inside,
    /// Between the markers, after a short or padded line.
    Short,
    /// After the end marker.
    Behind,
}

/// Decodes armor in pieces of any length.
#[derive(Debug)]
pub struct Dearmorer {
    state: State,
    line: Vec<u8>,
    line_number: u64,
    space_bytes: u64,
}

impl Default for Dearmorer {
    fn default() -> Dearmorer {
        Dearmorer { state: State::Before, line: Vec::with_capacity(COLUMNS + 2), line_number: 1, space_bytes: 0 }
    }
}

impl Dearmorer {
    /// Decodes the next piece of text and appends the result to `bytes`.
    pub fn push(&mut self, text: &[u8], bytes: &mut Vec<u8>) -> Result<(), AgeError> {
        text.iter().try_for_each(|byte| self.take(*byte, bytes))
    }

    /// Ends the text; the final line may lack its line end.
    pub fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<(), AgeError> {
        if matches!(self.state, State::Inside | State::Short) && !self.line.is_empty() {
            self.end_line(bytes)?;
        }
        match self.state {
            State::Behind => Ok(()),
            State::Before => Err(self.error("there is no begin marker")),
            State::Inside | State::Short => Err(self.error("the end marker is missing")),
        }
    }

    fn take(&mut self, byte: u8, bytes: &mut Vec<u8>) -> Result<(), AgeError> {
        let is_space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self.state {
            State::Before | State::Behind if is_space && self.line.is_empty() => {
                self.line_number += u64::from(byte == b'\n');
                self.space_bytes += 1;
                if self.space_bytes > SPACE_LEN_MAX {
                    return Err(self.error("there is too much white space around the armor"));
                }
                Ok(())
            }
            State::Behind => Err(self.error("there is something behind the end marker")),
            _ if byte == b'\n' => {
                self.end_line(bytes)?;
                self.line_number += 1;
                Ok(())
            }
            _ if self.line.len() > COLUMNS => Err(self.error("the line is too long")),
            _ => {
                self.line.push(byte);
                Ok(())
            }
        }
    }

    fn end_line(&mut self, bytes: &mut Vec<u8>) -> Result<(), AgeError> {
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\r").unwrap_or(&line);
        match self.state {
            State::Before if text == BEGIN.as_bytes() => self.state = State::Inside,
            State::Before => return Err(self.error("this is not the begin marker")),
            _ if text == END.as_bytes() => self.state = State::Behind,
            State::Short => return Err(self.error("only the end marker may follow a short or padded line")),
            _ => {
                let part = self.decode(text)?;
                self.state = if part.len() == LINE_LEN { State::Inside } else { State::Short };
                bytes.extend(part);
            }
        }
        self.line = line;
        self.line.clear();
        Ok(())
    }

    fn decode(&self, text: &[u8]) -> Result<Vec<u8>, AgeError> {
        match text.len() {
            0 => Err(self.error("an empty line")),
            1..=COLUMNS => BASE64.decode(text).map_err(|_| self.error("not canonical, padded base64")),
            _ => Err(self.error("the line is too long")),
        }
    }

    fn error(&self, found: &'static str) -> AgeError {
        AgeError::Armor { line: self.line_number, found }
    }
}

/// Encodes armor in pieces of any length.
#[derive(Debug, Default)]
pub struct Armorer {
    /// Bytes of the incomplete line.
    held: Vec<u8>,
    is_begun: bool,
}

impl Armorer {
    /// Encodes the next bytes and appends full lines to `text`.
    pub fn push(&mut self, bytes: &[u8], text: &mut Vec<u8>) {
        self.begin(text);
        self.held.extend_from_slice(bytes);
        let whole_len = self.held.len() / LINE_LEN * LINE_LEN;
        for line in self.held[..whole_len].chunks(LINE_LEN) {
            text.extend_from_slice(BASE64.encode(line).as_bytes());
            text.push(b'\n');
        }
        self.held.drain(..whole_len);
    }

    /// Appends the final lines.
    pub fn finish(&mut self, text: &mut Vec<u8>) {
        self.begin(text);
        if !self.held.is_empty() {
            text.extend_from_slice(BASE64.encode(&self.held).as_bytes());
            text.push(b'\n');
        }
        text.extend_from_slice(END.as_bytes());
        text.push(b'\n');
    }

    fn begin(&mut self, text: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.is_begun, true) {
            text.extend_from_slice(BEGIN.as_bytes());
            text.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armored(bytes: &[u8], step: usize) -> Vec<u8> {
        let (mut armorer, mut text) = (Armorer::default(), Vec::new());
        bytes.chunks(step).for_each(|piece| armorer.push(piece, &mut text));
        armorer.finish(&mut text);
        text
    }

    fn dearmored(text: &[u8], step: usize) -> Result<Vec<u8>, AgeError> {
        let (mut dearmorer, mut bytes) = (Dearmorer::default(), Vec::new());
        text.chunks(step).try_for_each(|piece| dearmorer.push(piece, &mut bytes))?;
        dearmorer.finish(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn every_length_comes_back_whatever_the_pieces() {
        for len in [0, 1, 47, 48, 49, 96, 1000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let text = armored(&bytes, 7);
            assert_eq!(text, armored(&bytes, 1000));
            for step in [1, 64, 65, 10_000] {
                assert_eq!(dearmored(&text, step).as_ref(), Ok(&bytes));
            }
            let crlf: Vec<u8> = String::from_utf8(text).unwrap().replace('\n', "\r\n").into_bytes();
            assert_eq!(dearmored(&crlf, 3), Ok(bytes));
        }
    }

    #[test]
    fn what_is_not_strict_is_refused_with_its_line() {
        let wrap = |inside: &str| format!("{BEGIN}\n{inside}{END}\n");
        let full = "A".repeat(64);
        for (text, line, found) in [
            (String::new(), 1, "there is no begin marker"),
            (wrap("\n"), 2, "an empty line"),
            (wrap("AAAA\nAAAA\n"), 3, "only the end marker may follow a short or padded line"),
            (wrap("AAA\n"), 2, "not canonical, padded base64"),
            (wrap("AAB=\n"), 2, "not canonical, padded base64"),
            (wrap(&format!("{full}A\n")), 2, "the line is too long"),
            (wrap(" AAAA\n"), 2, "not canonical, padded base64"),
            (wrap("AAAA\n") + "x", 4, "there is something behind the end marker"),
            (format!("{BEGIN}\n{full}\n"), 3, "the end marker is missing"),
            (format!("x{BEGIN}\n{END}\n"), 1, "this is not the begin marker"),
        ] {
            assert_eq!(dearmored(text.as_bytes(), 10), Err(AgeError::Armor { line, found }), "{text}");
        }
    }

    #[test]
    fn white_space_may_stand_around_but_not_without_end() {
        let text = [b" \t\r\n\n", &armored(b"x", 1)[..], b"\n \n"].concat();
        assert_eq!(dearmored(&text, 4), Ok(b"x".to_vec()));
        assert!(dearmored(&vec![b' '; (1 << 20) + 1], 4096).is_err());
    }
}
