//! Why a journal cannot be used.

use std::io;

use super::record::VERSION;

/// Why a journal is unusable.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another run uses the tree.
    #[error("another run is at work on it")]
    Locked,
    /// A newer version of this program wrote it.
    #[error(
        "its journal, {name}, is of version {version}; a newer pipeline wrote it, this one reads versions up to {}",
        VERSION
    )]
    Newer {
        /// Its name, and where it is if not in the tree.
        name: String,
        /// Its version.
        version: u32,
    },
    /// It is damaged from its first line, or another kind of file.
    #[error("its journal, {name}, is damaged, or is no journal")]
    Unknown {
        /// Its name, and where it is if not in the tree.
        name: String,
    },
    /// It could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}
