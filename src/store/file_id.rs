//! File identity: device, inode, length and modification time, which tell whether a file was replaced or changed; and with the change time the
//! state of a file, which no program can set back.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// Distinguishes a file from other files and from its earlier versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// Device number of its file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
}

impl FileId {
    /// The identity in `metadata`.
    pub fn of(metadata: &Metadata) -> FileId {
        let mtime_ns = nanoseconds(metadata.mtime(), metadata.mtime_nsec());
        FileId { device: metadata.dev(), inode: metadata.ino(), bytes: metadata.len(), mtime_ns }
    }

    /// Whether `other` is the same file, given that both are on one file system: ignores the device number, which a remount may change.
    pub fn is_same_there(&self, other: &FileId) -> bool {
        FileId { device: other.device, ..*self } == *other
    }
}

/// A file at a moment. Every write advances the change time, and so do a new mode, owner, attribute, name or link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    /// Its identity.
    pub id: FileId,
    /// Change time in nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl FileState {
    /// The state in `metadata`.
    pub fn of(metadata: &Metadata) -> FileState {
        FileState { id: FileId::of(metadata), ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()) }
    }

    /// Whether both are states of one file.
    pub fn is_same_file(&self, other: &FileState) -> bool {
        (self.id.device, self.id.inode) == (other.id.device, other.id.inode)
    }
}

/// A time as one number.
pub fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}
