//! Access: which permission bits a file may get, so that it lets in nobody whom another file keeps out.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::store::sys;

/// Who may read and write a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    mode: u32,
    gid: u32,
    /// The access ACL beyond the mode.
    acl: Option<Vec<u8>>,
}

impl Access {
    /// The access of an open file.
    pub fn of(file: &File, metadata: &Metadata) -> io::Result<Access> {
        Ok(Access::new(metadata, sys::attribute(file, sys::ACCESS_ACL.as_ref())?))
    }

    /// The access of the file at `path`, whose last link is not followed.
    pub fn at(path: &Path, metadata: &Metadata) -> io::Result<Access> {
        Ok(Access::new(metadata, sys::access_acl_at(path)?))
    }

    fn new(metadata: &Metadata, acl: Option<Vec<u8>>) -> Access {
        Access { mode: metadata.mode() & 0o777, gid: metadata.gid(), acl }
    }

    /// The access ACL, as the kernel stores it.
    pub fn acl(&self) -> Option<&[u8]> {
        self.acl.as_deref()
    }

    /// The permission bits that a file without an ACL may have in group `gid` and lets in nobody whom this file keeps out.
    pub fn mode_in(&self, gid: u32) -> u32 {
        let (owner, mut group, mut others) = (self.mode & 0o700, self.mode >> 3 & 7, self.mode & 7);
        if let Some(acl) = &self.acl {
            let (owning_group, named) = acl_limits(acl);
            // Whom an entry names may be a member of the file's group, or one of all others.
            group &= owning_group & named;
            others &= named;
        }
        if gid != self.gid {
            // Each group's members are among the others of the other file.
            group &= others;
            others = group;
        }
        owner | group << 3 | others
    }
}

/// The length of the version in front of the entries of an ACL, and of an entry: tag, permission bits, user or group (acl(5), linux/posix_acl_xattr.h).
const VERSION_LEN: usize = 4;
const ENTRY_LEN: usize = 8;

/// Tags of entries.
const USER: u32 = 0x02;
const GROUP_OBJ: u32 = 0x04;
const GROUP: u32 = 0x08;
const MASK: u32 = 0x10;

/// The permission bits that an access ACL grants the owning group, and those that it grants each user and group that it names.
fn acl_limits(acl: &[u8]) -> (u32, u32) {
    let (mut owning_group, mut named, mut mask, mut is_anyone_named) = (7, 7, 7, false);
    for entry in acl.get(VERSION_LEN..).unwrap_or_default().chunks_exact(ENTRY_LEN) {
        let [tag, bits] = [0, 2].map(|at| u32::from(u16::from_le_bytes([entry[at], entry[at + 1]])));
        match tag {
            USER | GROUP => (named, is_anyone_named) = (named & bits, true),
            GROUP_OBJ => owning_group = bits,
            MASK => mask = bits,
            _ => {}
        }
    }
    (owning_group & mask, if is_anyone_named { named & mask } else { 7 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ACL of (tag, permission bits) in the kernel's form.
    fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
        let entry =
            |(tag, bits): &(u16, u16)| [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &u32::MAX.to_le_bytes()].concat();
        [2u32.to_le_bytes().to_vec(), entries.iter().flat_map(entry).collect()].concat()
    }

    fn mode_in(mode: u32, entries: Option<&[(u16, u16)]>, gid: u32) -> u32 {
        Access { mode, gid: 1, acl: entries.map(acl) }.mode_in(gid)
    }

    #[test]
    fn in_the_same_group_the_mode_stays() {
        for mode in [0o600, 0o640, 0o644, 0o604, 0o777] {
            assert_eq!(mode_in(mode, None, 1), mode);
        }
    }

    #[test]
    fn in_another_group_both_groups_get_what_each_had() {
        for (mode, expected) in [(0o640, 0o600), (0o644, 0o644), (0o604, 0o600), (0o755, 0o755), (0o751, 0o711)] {
            assert_eq!(mode_in(mode, None, 2), expected, "{mode:o}");
        }
    }

    #[test]
    fn an_acl_lets_in_nobody_whom_it_kept_out() {
        const USER_OBJ: u16 = 1;
        const OTHER: u16 = 0x20;
        // With an ACL the group bits of the mode are the mask.
        let for_one: &[(u16, u16)] = &[(USER_OBJ, 6), (2, 4), (4, 0), (0x10, 4), (OTHER, 0)];
        assert_eq!(mode_in(0o640, Some(for_one), 1), 0o600, "the owning group is kept out");
        let against_one: &[(u16, u16)] = &[(USER_OBJ, 6), (2, 0), (4, 4), (0x10, 4), (OTHER, 4)];
        assert_eq!(mode_in(0o644, Some(against_one), 1), 0o600, "a user is kept out, who may be in the group");
        let masked: &[(u16, u16)] = &[(USER_OBJ, 7), (8, 7), (4, 7), (0x10, 5), (OTHER, 7)];
        assert_eq!(mode_in(0o757, Some(masked), 1), 0o755, "the mask limits whom the ACL names");
    }
}
