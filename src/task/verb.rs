//! The operations, by the names of their commands.

/// An operation, named after its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Compress, encrypt, or both.
    Process,
    /// Decrypt and decompress.
    Restore,
    /// Decode without writing.
    Verify,
    /// Read a range.
    Cat,
    /// Change recipients.
    Rekey,
    /// Report a file's layers.
    Inspect,
}

impl Verb {
    /// The command's name.
    pub fn command(self) -> &'static str {
        match self {
            Verb::Process => "process",
            Verb::Restore => "restore",
            Verb::Verify => "verify",
            Verb::Cat => "cat",
            Verb::Rekey => "rekey",
            Verb::Inspect => "inspect",
        }
    }
}
