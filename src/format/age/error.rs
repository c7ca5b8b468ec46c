//! Errors of age files, as detailed as callers and tests need.

/// Why an age file cannot be opened, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgeError {
    /// The header violates its grammar, or a stanza violates its type's rules.
    #[error("age header: {0}")]
    Header(&'static str),
    /// The header was changed after it was written, or the file key belongs to another file.
    #[error("age header: its MAC does not match, so it was changed or is damaged")]
    Mac,
    /// The ASCII armor violates its grammar.
    #[error("age armor, line {line}: {found}")]
    Armor {
        /// Line number, from 1.
        line: u64,
        /// What is wrong in the line.
        found: &'static str,
    },
    /// A segment of the payload is damaged.
    #[error("segment {index} at offset {offset} of the payload: {found}")]
    Payload {
        /// Index of the segment.
        index: u64,
        /// Offset of the segment after the payload nonce, in bytes.
        offset: u64,
        /// Kind of damage.
        found: PayloadDamage,
    },
    /// The file needs a passphrase, and the given one is wrong.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// None of the identities opens a stanza.
    #[error("no identity matches: the file has {stanzas}, tried: {}", tried(identities))]
    NoMatch {
        /// Its distinct stanza types, comma-separated.
        stanzas: String,
        /// Kinds of the identities.
        identities: Vec<&'static str>,
    },
    /// A plugin is missing or failed.
    #[error("an identity's plugin is not installed or failed")]
    Plugin,
    /// The scrypt stanza needs more work than allowed.
    #[error("the passphrase needs a work factor of {work_factor}, more than the {work_factor_max} allowed")]
    WorkFactor {
        /// Work that the stanza needs, as a power of two.
        work_factor: u8,
        /// Work allowed, as a power of two.
        work_factor_max: u8,
    },
}

/// What is wrong with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadDamage {
    /// Its tag does not match.
    #[error("not authentic: it was changed, moved, or is cut")]
    Tampered,
    /// The file ends before it, and no earlier segment was final.
    #[error("missing: the file ends here, without a final segment")]
    Missing,
    /// Data follows the final segment.
    #[error("data behind the final segment")]
    Trailing,
    /// It is final and empty, but not the only one.
    #[error("the final segment is empty, which it may only be if the whole payload is")]
    EmptyFinal,
}

fn tried(identities: &[&str]) -> String {
    if identities.is_empty() { "none".to_owned() } else { identities.join(", ") }
}
