//! Writes messages to standard error.

use std::borrow::Cow;
use std::io::Write;

/// The longest message, in bytes, so that a line with it is at most 4 KiB long.
const MESSAGE_LEN_MAX: usize = 4000;

/// Writes `text` to standard error. A failure is ignored: only the exit code is left.
pub fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes a warning, on one line.
pub fn warn(message: &str) {
    tell(&format!("pipeline: warning: {}\n", clipped(message)));
}

/// `message`, or its beginning if it is long: names and headers can be.
pub fn clipped(message: &str) -> Cow<'_, str> {
    let ends = message.char_indices().map(|(at, _)| at).take_while(|at| *at <= MESSAGE_LEN_MAX);
    match ends.last() {
        Some(end) if message.len() > MESSAGE_LEN_MAX => format!("{}…", &message[..end]).into(),
        _ => message.into(),
    }
}
