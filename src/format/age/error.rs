//! What can be wrong with an age file, told apart as far as a caller or a test needs it.

/// An age file that can not be opened, with the place where this was seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgeError {
    /// The header breaks its grammar, or a stanza of a known type is not what it has to be.
    #[error("age header: {0}")]
    Header(&'static str),
    /// The header was changed after it was written, or the file key is another file's.
    #[error("age header: its MAC does not match, so it was changed or is damaged")]
    Mac,
    /// The ASCII armor breaks its grammar.
    #[error("age armor, line {line}: {found}")]
    Armor {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        found: &'static str,
    },
    /// A segment of the payload is not what was sealed.
    #[error("segment {index} at offset {offset} of the payload: {found}")]
    Payload {
        /// Segments before it.
        index: u64,
        /// Where it begins, counted from behind the payload nonce, in bytes.
        offset: u64,
        /// What is wrong.
        found: PayloadDamage,
    },
    /// The file is for a passphrase, and the one that was tried is another.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// None of the identities opens a stanza.
    #[error("no identity matches: the file has {stanzas}, tried: {}", tried(identities))]
    NoMatch {
        /// The types of its stanzas.
        stanzas: String,
        /// What the identities are.
        identities: Vec<&'static str>,
    },
    /// A plugin is missing or failed.
    #[error("an identity's plugin is not installed or failed")]
    Plugin,
    /// The scrypt stanza asks for more work than allowed.
    #[error("the passphrase needs a work factor of {work_factor}, more than the {work_factor_max} allowed")]
    WorkFactor {
        /// What the stanza asks for.
        work_factor: u8,
        /// What is allowed.
        work_factor_max: u8,
    },
}

/// What is wrong with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadDamage {
    /// Its tag does not match.
    #[error("not authentic: it was changed, moved, or is cut")]
    Tampered,
    /// The file ends in front of it, and the segment before was not the final one.
    #[error("missing: the file ends here, without a final segment")]
    Missing,
    /// There is data behind the final segment.
    #[error("data behind the final segment")]
    Trailing,
    /// It is the final one, empty, and not the only one.
    #[error("the final segment is empty, which it may only be if the whole payload is")]
    EmptyFinal,
}

fn tried(identities: &[&str]) -> String {
    if identities.is_empty() { "none".to_owned() } else { identities.join(", ") }
}
