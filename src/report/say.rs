//! Standard error, where every word goes.

use std::io::Write;

/// Writes `text` to standard error. Where that fails nobody is left to tell, and the exit code still speaks.
pub fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes a warning, in one line.
pub fn warn(message: &str) {
    tell(&format!("pipeline: warning: {message}\n"));
}
