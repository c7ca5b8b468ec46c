//! Writes messages to standard error.

use std::io::Write;

/// Writes `text` to standard error. A failure is ignored: there is nowhere to report it, and the exit code still informs the caller.
pub fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes a warning, on one line.
pub fn warn(message: &str) {
    tell(&format!("pipeline: warning: {message}\n"));
}
