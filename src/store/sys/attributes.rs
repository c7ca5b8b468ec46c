//! What a file has beside its content: owner, group, mode, times, access ACL and extended attributes, read and set through descriptors.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Gid, Mode, Timestamps, Uid, XattrFlags};
use rustix::io::{Errno, retry_on_intr};

/// The extended attribute that holds a POSIX access ACL.
pub const ACCESS_ACL: &str = "system.posix_acl_access";

/// Namespaces of extended attributes that may be copied: those of `security.` give privileges, those of `system.` belong to the file system.
const COPIED_NAMESPACES: [&[u8]; 2] = [b"user.", b"trusted."];

/// Most attribute values are shorter.
const VALUE_LEN: usize = 512;

/// The most that the kernel allows for a value, and for the list of names (limits.h, "XATTR_SIZE_MAX").
const VALUE_LEN_MAX: usize = 65536;

/// The value of an extended attribute; `None` if the file or the file system has none.
pub fn attribute(file: &File, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let read = |value: &mut [u8]| retry_on_intr(|| rustix::fs::fgetxattr(file, name.as_bytes(), &mut *value));
    whole(read)
}

/// Like [`attribute`] of the access ACL of the file at `path`, whose last link is not followed.
pub fn access_acl_at(path: &std::path::Path) -> io::Result<Option<Vec<u8>>> {
    whole(|value| retry_on_intr(|| rustix::fs::lgetxattr(path, ACCESS_ACL, &mut *value)))
}

/// The names of the extended attributes that may be copied.
pub fn copied_names(file: &File) -> io::Result<Vec<OsString>> {
    let list = whole(|list| retry_on_intr(|| rustix::fs::flistxattr(file, &mut *list)))?.unwrap_or_default();
    let names =
        list.split(|byte| *byte == 0).filter(|name| COPIED_NAMESPACES.iter().any(|space| name.starts_with(space)));
    Ok(names.map(|name| OsString::from_vec(name.to_vec())).collect())
}

/// Reads a value or a list of names, of whatever length it is.
fn whole(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Option<Vec<u8>>> {
    for len in [VALUE_LEN, VALUE_LEN_MAX] {
        let mut value = vec![0; len];
        match read(&mut value) {
            Ok(len) => {
                value.truncate(len);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) => {}
            // Without the file there is nothing to know of it.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::RANGE.into())
}

/// Sets an extended attribute.
pub fn set_attribute(file: &File, name: &OsStr, value: &[u8]) -> io::Result<()> {
    Ok(retry_on_intr(|| rustix::fs::fsetxattr(file, name.as_bytes(), value, XattrFlags::empty()))?)
}

/// Removes the access ACL that a file or directory inherits from its directory.
pub fn remove_access_acl(file: impl AsFd) -> io::Result<()> {
    match retry_on_intr(|| rustix::fs::fremovexattr(file.as_fd(), ACCESS_ACL)) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Gives the file to another user or group. `None` leaves it.
pub fn set_owner(file: &File, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    Ok(retry_on_intr(|| rustix::fs::fchown(file, uid, gid))?)
}

/// Sets the permission bits, and the times of `source` if given, through the descriptor.
/// Ignores file systems without them; the file then keeps its mode.
pub fn copy_mode_and_times(file: impl AsFd, mode: u32, source: Option<&Metadata>) -> io::Result<()> {
    let file = file.as_fd();
    let unless_unknown = |result| match result {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        result => result,
    };
    unless_unknown(retry_on_intr(|| rustix::fs::fchmod(file, Mode::from_bits_truncate(mode))))?;
    if let Some(source) = source {
        let last_access = rustix::fs::Timespec { tv_sec: source.atime(), tv_nsec: source.atime_nsec() };
        let last_modification = rustix::fs::Timespec { tv_sec: source.mtime(), tv_nsec: source.mtime_nsec() };
        let times = Timestamps { last_access, last_modification };
        unless_unknown(retry_on_intr(|| rustix::fs::futimens(file, &times)))?;
    }
    Ok(())
}
