//! A file's identity: device, inode, length and modification time, which tell whether it is still the file that was read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// What tells a file from others, and from what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// Of the file system it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Its length.
    pub bytes: u64,
    /// When it was last written to, in nanoseconds since 1970.
    pub mtime_ns: i64,
}

impl FileId {
    /// Of a file that was looked at.
    pub fn of(metadata: &Metadata) -> FileId {
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        FileId { device: metadata.dev(), inode: metadata.ino(), bytes: metadata.len(), mtime_ns }
    }

    /// Whether `other` is the same where it is known to be on the same file system, whose number may be another one when it is mounted again.
    pub fn is_same_there(&self, other: &FileId) -> bool {
        FileId { device: other.device, ..*self } == *other
    }
}
