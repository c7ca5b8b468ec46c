//! Bytes in, values out: the formats this project reads and writes.
//!
//! Nothing here starts a thread, opens a file, reads a clock or the environment, or logs. Every length and
//! offset that comes out of a file is checked before anything is allocated for it.

pub mod age;
pub mod detect;
pub mod zstd;
