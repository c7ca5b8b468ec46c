//! Writes messages to standard error.

use std::io::Write;

/// Writes `text` to standard error. A failure is ignored: only the exit code is left.
pub fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes a warning, on one line.
pub fn warn(message: &str) {
    tell(&format!("pipeline: warning: {message}\n"));
}
