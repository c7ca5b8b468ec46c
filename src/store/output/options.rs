//! Options of an output: whether to replace a file, whether to sync, and which permissions to withhold.

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
