//! How an output treats what is there, the disk, and permissions.

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
