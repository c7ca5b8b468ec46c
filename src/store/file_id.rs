//! File identity: device, inode, length and modification time, which tell whether a file was replaced or changed.

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
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        FileId { device: metadata.dev(), inode: metadata.ino(), bytes: metadata.len(), mtime_ns }
    }

    /// Whether `other` is the same file, given that both are on one file system: ignores the device number, which a remount may change.
    pub fn is_same_there(&self, other: &FileId) -> bool {
        FileId { device: other.device, ..*self } == *other
    }
}
