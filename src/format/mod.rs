//! Parsers and encoders for the formats this project reads and writes.
//!
//! No code here starts a thread, opens a file, reads a clock or the environment, or logs. Untrusted lengths and offsets are checked
//! before they size an allocation.

pub mod age;
pub mod detect;
pub mod zeros;
pub mod zstd;
