//! age v1 files (C2SP age): header, payload, armor.

pub mod armor;
pub mod cut;
pub mod error;
pub mod header;
pub mod hybrid;
pub mod keys;
mod ssh;
pub mod stream;

pub use error::AgeError;
