//! The kinds of failure: one stable word for each failure that a caller, a script or a test distinguishes. Programs read these words; people
//! read the message.
//!
//! One list for all floors, so that no word is used twice; docs/json.md describes each.

use std::io;

use crate::format::age::error::PayloadDamage;
use crate::format::age::{AgeError, keys::KeyError};
use crate::format::zstd::seek_table::TableError;
use crate::format::zstd::{Damage, ZstdError};

use super::error::{Cause, Failure};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $variant:ident = $word:literal,)*) => {
        /// A kind of failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Kind] = &[$(Kind::$variant,)*];

            /// The stable word.
            pub fn word(self) -> &'static str {
                match self {
                    $(Kind::$variant => $word,)*
                }
            }
        }
    };
}

kinds! {
    /// Wrong usage: flags, names or settings.
    Usage = "usage",
    /// A file or directory does not exist.
    NotFound = "not_found",
    /// The system denies permission.
    PermissionDenied = "permission_denied",
    /// The disk, a quota or a file size limit is full.
    NoSpace = "no_space",
    /// The input cannot be read.
    Read = "read",
    /// The output cannot be written.
    Write = "write",
    /// Waiting for the disk failed: what was written may be lost.
    Sync = "sync",
    /// A directory was given where a file is expected, or the reverse.
    WrongFileType = "wrong_file_type",
    /// The output exists, and replacing it was not asked for.
    WouldOverwrite = "would_overwrite",
    /// The output is the input, or another file that the run uses.
    SameFile = "same_file",
    /// The input or the output was changed or replaced during the run.
    Changed = "changed",
    /// Binary data would go to a terminal.
    BinaryToTerminal = "binary_to_terminal",
    /// The reader of standard output closed the pipe.
    ReaderGone = "reader_gone",
    /// The command whose output is the input failed, or could not be started.
    CommandFailed = "command_failed",
    /// The input is neither a zstd nor an age file.
    Unrecognized = "unrecognized",
    /// The input is empty, where a zstd or age file is expected.
    Empty = "empty",
    /// The input is not an age file.
    NotAge = "not_age",
    /// A zstd frame is damaged.
    DamagedFrame = "damaged_frame",
    /// The input ends inside a zstd frame.
    TruncatedFrame = "truncated_frame",
    /// Bytes between or after zstd frames are not a frame.
    TrailingGarbage = "trailing_garbage",
    /// A frame and the seek table contradict each other.
    TableContradicts = "table_contradicts",
    /// A valid seek table is required but missing.
    TableMissing = "table_missing",
    /// A frame needs a larger window than is allowed.
    WindowTooLarge = "window_too_large",
    /// A frame needs a dictionary.
    NeedsDictionary = "needs_dictionary",
    /// The output needs more frames than a seek table can list.
    TooManyFrames = "too_many_frames",
    /// The age header is damaged.
    DamagedHeader = "damaged_header",
    /// The MAC of the age header does not match.
    HeaderMac = "header_mac",
    /// The age armor is damaged.
    DamagedArmor = "damaged_armor",
    /// A segment of the age payload is not authentic.
    DamagedSegment = "damaged_segment",
    /// The age payload ends without its final segment.
    TruncatedPayload = "truncated_payload",
    /// Data follows the final segment of the age payload, or that segment is empty but not the only one.
    TrailingSegment = "trailing_segment",
    /// No identity matches.
    NoMatch = "no_match",
    /// The passphrase is wrong.
    WrongPassphrase = "wrong_passphrase",
    /// An identity's plugin is not installed or failed.
    Plugin = "plugin",
    /// The passphrase's work factor is larger than is allowed.
    WorkFactorTooLarge = "work_factor_too_large",
    /// A file or variable that should hold keys or a passphrase does not.
    BadKey = "bad_key",
    /// A passphrase was requested but not given, or not identically twice.
    NoAnswer = "no_answer",
    /// Encrypting to the recipients is impossible.
    CannotEncrypt = "cannot_encrypt",
    /// A range ends past the end of the content.
    RangePastEnd = "range_past_end",
    /// The content differs from what it is compared with.
    ContentDiffers = "content_differs",
    /// The file differs from what the journal says.
    JournalDiffers = "journal_differs",
    /// A salvaged file lost content.
    Salvaged = "salvaged",
    /// Another run works on the tree.
    JournalLocked = "journal_locked",
    /// The journal was written by a newer version of the program.
    JournalNewer = "journal_newer",
    /// The journal cannot be used.
    JournalUnusable = "journal_unusable",
    /// Too many files failed.
    TooManyFailed = "too_many_failed",
    /// The input does not fit into the memory of the mutex mode.
    TooLarge = "too_large",
    /// Memory is exhausted.
    NoMemory = "no_memory",
    /// A thread, a descriptor or another resource of a run is not available.
    CannotStart = "cannot_start",
    /// The run was stopped by a signal.
    Stopped = "stopped",
    /// A defect of this program.
    Internal = "internal",
    /// Anything else.
    Other = "other",
}

impl Kind {
    /// The kind of a failed system call; `otherwise` if the error says nothing more specific.
    pub fn of_io(error: &io::Error, otherwise: Kind) -> Kind {
        match error.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::PermissionDenied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Kind::NoSpace,
            io::ErrorKind::AlreadyExists => Kind::WouldOverwrite,
            io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => Kind::WrongFileType,
            _ => otherwise,
        }
    }
}

impl Cause {
    /// The kind of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Cause::Read(error) => Kind::of_io(error, Kind::Read),
            Cause::Write(error) => Kind::of_io(error, Kind::Write),
            Cause::Zstd(error) => error.kind(),
            Cause::Age(error) => error.kind(),
            Cause::NoFrames => Kind::Unrecognized,
            Cause::Changed => Kind::Changed,
            Cause::RangePastEnd { .. } => Kind::RangePastEnd,
            Cause::Memory { .. } => Kind::TooLarge,
            Cause::NoMemory { .. } => Kind::NoMemory,
            Cause::Random(_) => Kind::CannotStart,
            Cause::Wrap(error) => error.kind(),
            Cause::Spawn(_) => Kind::CannotStart,
            Cause::Panicked(_) | Cause::EndedEarly => Kind::Internal,
            Cause::Signal(_) => Kind::Stopped,
        }
    }
}

impl ZstdError {
    /// The kind of failure.
    pub fn kind(&self) -> Kind {
        match self {
            ZstdError::NotZstd(_) => Kind::Unrecognized,
            ZstdError::Damaged { damage, .. } => match damage {
                Damage::Truncated(_) => Kind::TruncatedFrame,
                Damage::TrailingGarbage(_) => Kind::TrailingGarbage,
                Damage::SeekTable(_) => Kind::TableContradicts,
                Damage::NoMemory => Kind::NoMemory,
                _ => Kind::DamagedFrame,
            },
            ZstdError::WindowTooLarge { .. } => Kind::WindowTooLarge,
            ZstdError::NeedsDictionary { .. } => Kind::NeedsDictionary,
            ZstdError::Codec(_) => Kind::Internal,
            ZstdError::TooManyFrames(_) => Kind::TooManyFrames,
        }
    }
}

impl AgeError {
    /// The kind of failure.
    pub fn kind(&self) -> Kind {
        match self {
            AgeError::Header(_) => Kind::DamagedHeader,
            AgeError::Mac => Kind::HeaderMac,
            AgeError::Armor { .. } => Kind::DamagedArmor,
            AgeError::Payload { found, .. } => match found {
                PayloadDamage::Tampered => Kind::DamagedSegment,
                PayloadDamage::Missing => Kind::TruncatedPayload,
                PayloadDamage::Trailing | PayloadDamage::EmptyFinal => Kind::TrailingSegment,
            },
            AgeError::WrongPassphrase => Kind::WrongPassphrase,
            AgeError::NoMatch { .. } => Kind::NoMatch,
            AgeError::Plugin => Kind::Plugin,
            AgeError::WorkFactor { .. } => Kind::WorkFactorTooLarge,
        }
    }
}

impl TableError {
    /// The kind of failure if a valid table is required.
    pub fn kind(&self) -> Kind {
        match self {
            TableError::Missing | TableError::FewerFrames => Kind::TableMissing,
            _ => Kind::TableContradicts,
        }
    }
}

impl KeyError {
    /// The kind of failure.
    pub fn kind(&self) -> Kind {
        match self {
            KeyError::MixedRecipients
            | KeyError::NoRecipient
            | KeyError::Wrap(_)
            | KeyError::NoPlugin(_)
            | KeyError::HeaderTooLong { .. }
            | KeyError::Unreadable(_) => Kind::CannotEncrypt,
            _ => Kind::BadKey,
        }
    }
}

/// Where in a file a failure was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// Offset in bytes: in the payload for a segment, else in the file.
    pub offset: Option<u64>,
    /// Index of the zstd frame, from 0.
    pub frame: Option<u64>,
    /// Index of the age segment, from 0.
    pub segment: Option<u64>,
}

impl Failure {
    /// Where in the file the failure was seen, as far as known.
    pub fn location(&self) -> Location {
        match &self.cause {
            Cause::Zstd(
                ZstdError::Damaged { frame_index, offset, .. }
                | ZstdError::WindowTooLarge { frame_index, offset, .. }
                | ZstdError::NeedsDictionary { frame_index, offset, .. },
            ) => Location { offset: Some(*offset), frame: Some(*frame_index), segment: None },
            Cause::Age(AgeError::Payload { index, offset, .. }) => {
                Location { offset: Some(*offset), frame: None, segment: Some(*index) }
            }
            Cause::RangePastEnd { content_bytes, .. } => {
                Location { offset: Some(*content_bytes), ..Location::default() }
            }
            _ => Location::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_word_of_its_own() {
        let mut words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Kind::ALL.len());
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
    }
}
