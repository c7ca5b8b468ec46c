//! Options of an output: whether to replace a file, whether to sync, which permissions to withhold, and what it takes over from its source.

use crate::store::attributes::Attributes;
use crate::store::file_id::FileState;

/// How to create an output.
#[derive(Clone, Copy, Debug)]
pub struct OutputOptions {
    /// Replace an existing file; write binary data to a terminal.
    pub force: bool,
    /// Flush the output to disk.
    pub sync: bool,
    /// Permission bits that new files do not get.
    pub umask: u32,
}

/// What an output was made of.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The attributes of the source, if it is a regular file.
    pub attributes: Option<Attributes>,
    /// The source, if the output replaces it.
    pub must_replace: Option<FileState>,
}
