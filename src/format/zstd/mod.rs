//! Compressed streams: independent zstd frames (RFC 8878), followed by a seek table (zstd seekable format 0.1.0).

pub mod codec;
pub mod error;
pub mod header;
pub mod scan;
pub mod seek_table;

pub use error::{Damage, ZstdError};
