//! Quotes file names for messages and escapes everything that could confuse a terminal.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

/// `name` in quotes, with control characters, quotes, backslashes and invalid UTF-8 escaped.
pub fn quoted(name: impl AsRef<OsStr>) -> String {
    let mut shown = String::from("'");
    for chunk in name.as_ref().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => shown.push('"'),
                c => shown.extend(c.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            write!(shown, "\\x{byte:02x}").expect("writing to a String does not fail");
        }
    }
    shown.push('\'');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_shown_escaped() {
        let shown = |bytes: &[u8]| quoted(OsStr::from_bytes(bytes));
        assert_eq!(shown(b"plain name.txt"), "'plain name.txt'");
        assert_eq!(shown("größe".as_bytes()), "'größe'");
        assert_eq!(shown(b"new\nline\x1b[31m"), r"'new\nline\u{1b}[31m'");
        assert_eq!(shown(b"it's \xff"), r"'it\'s \xff'");
    }
}
