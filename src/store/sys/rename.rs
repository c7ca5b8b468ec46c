//! Renames and removals inside a directory, and which of them its file system can do.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::directory::{Directory, NoReplace};
use crate::store::file_id::FileId;

impl Directory {
    /// Renames `from` to `to`; replaces an existing file.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::renameat(&self.fd, from.as_bytes(), &self.fd, to.as_bytes()))?)
    }

    /// Renames `from` to `to` in the given `way`. Fails with the kind `AlreadyExists` if `to` exists.
    pub fn rename_new(&self, from: &OsStr, to: &OsStr, way: NoReplace) -> io::Result<()> {
        match way {
            NoReplace::Rename => self.rename_with(from, to, RenameFlags::NOREPLACE),
            NoReplace::Link => {
                let (from, to) = (from.as_bytes(), to.as_bytes());
                retry_on_intr(|| rustix::fs::linkat(&self.fd, from, &self.fd, to, AtFlags::empty()))?;
                Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.fd, from, AtFlags::empty()))?)
            }
        }
    }

    /// Gives each of two files the name of the other, at once.
    pub fn exchange(&self, one: &OsStr, other: &OsStr) -> io::Result<()> {
        self.rename_with(one, other, RenameFlags::EXCHANGE)
    }

    /// The way in which the file system gives a file a new name without replacing; `None` if it has none. The first call finds out, by renaming
    /// `name` to the unused name `free`, which then becomes `name`.
    pub fn find_no_replace(&self, name: &mut OsString, free: OsString) -> io::Result<Option<NoReplace>> {
        if let Some(known) = self.renames.no_replace.get() {
            return Ok(*known);
        }
        let mut found = None;
        for way in [NoReplace::Rename, NoReplace::Link] {
            match self.rename_new(name, &free, way) {
                Ok(()) => {
                    (*name, found) = (free, Some(way));
                    break;
                }
                Err(error) if is_unsupported(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(*self.renames.no_replace.get_or_init(|| found))
    }

    /// Gives `file`, which has no name, the unused name `name`.
    pub fn link_unnamed(&self, file: &File, name: &OsStr) -> io::Result<()> {
        // Linking a descriptor itself (AT_EMPTY_PATH) takes a privilege.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let follow = AtFlags::SYMLINK_FOLLOW;
        Ok(retry_on_intr(|| rustix::fs::linkat(CWD, &path, &self.fd, name.as_bytes(), follow))?)
    }

    /// Whether the file system can name a file that has no name. The first call finds out, and then returns a file that it gave the unused name `name`;
    /// later calls return `None`.
    pub fn find_link(&self, name: &OsStr) -> io::Result<Option<File>> {
        if self.renames.can_link.get().is_some() {
            return Ok(None);
        }
        let made = match self.create_unnamed()? {
            Some((file, _)) if self.link_unnamed(&file, name).is_ok() => Some(file),
            _ => None,
        };
        let _ = self.renames.can_link.set(made.is_some());
        Ok(made)
    }

    /// What [`find_link`](Directory::find_link) found.
    pub fn can_link(&self) -> bool {
        self.renames.can_link.get() == Some(&true)
    }

    /// Whether [`find_no_replace`](Directory::find_no_replace) was called.
    pub fn are_renames_known(&self) -> bool {
        self.renames.no_replace.get().is_some()
    }

    /// Like [`find_no_replace`](Directory::find_no_replace), which was called before.
    pub fn no_replace(&self) -> Option<NoReplace> {
        self.renames.no_replace.get().copied().flatten()
    }

    /// Finds out whether the file system exchanges names, by exchanging those of two files. Returns whether it does.
    pub fn find_exchange(&self, one: &OsStr, other: &OsStr) -> io::Result<bool> {
        let can = match self.exchange(one, other) {
            Ok(()) => true,
            Err(error) if is_unsupported(&error) => false,
            Err(error) => return Err(error),
        };
        // Another thread may have found out meanwhile, and found the same.
        let _ = self.renames.can_exchange.set(can);
        Ok(can)
    }

    /// What [`find_exchange`](Directory::find_exchange) found; `None` if it was not called.
    pub fn can_exchange(&self) -> Option<bool> {
        self.renames.can_exchange.get().copied()
    }

    /// Fails if `name`, a file, may not be removed or replaced: another user's in a sticky directory, or an immutable one.
    ///
    /// The kernel checks the right to remove a name before its type, so that the attempt to remove a file as a directory tells, and removes nothing.
    pub fn check_replaceable(&self, name: &OsStr) -> io::Result<()> {
        match retry_on_intr(|| rustix::fs::unlinkat(&self.fd, name.as_bytes(), AtFlags::REMOVEDIR)) {
            Ok(()) | Err(Errno::NOTDIR | Errno::NOENT | Errno::BUSY | Errno::NOTEMPTY) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes the file `path` below this directory if `is_wanted` accepts its metadata. Follows no link. Returns whether it did.
    ///
    /// The file gets the unused name `aside` first, and is removed only if it is the one that was accepted: another that took its place in between
    /// gets its name back. A file system without such a rename removes it at once.
    pub fn unlink_below(&self, path: &Path, aside: &OsStr, is_wanted: impl Fn(&Metadata) -> bool) -> io::Result<bool> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                Some(Directory::of(self.open_deep(parent, OFlags::PATH | OFlags::DIRECTORY)?))
            }
            _ => None,
        };
        let parent = parent.as_ref().unwrap_or(self);
        let there = File::from(parent.open_deep(Path::new(name), OFlags::PATH)?).metadata()?;
        if !is_wanted(&there) {
            return Ok(false);
        }
        match parent.rename_new(name, aside, NoReplace::Rename) {
            Err(error) if is_unsupported(&error) => return parent.unlink(name).map(|()| true),
            renamed => renamed?,
        }
        // The rename has advanced the change time.
        let is_same = parent.state_of(aside).is_ok_and(|now| now.id == FileId::of(&there));
        let removed = if is_same { parent.unlink(aside).map(|()| true) } else { Ok(false) };
        match removed {
            Ok(true) => Ok(true),
            kept => parent.rename_new(aside, name, NoReplace::Rename).and(kept),
        }
    }

    fn rename_with(&self, from: &OsStr, to: &OsStr, flags: RenameFlags) -> io::Result<()> {
        let (from, to) = (from.as_bytes(), to.as_bytes());
        Ok(retry_on_intr(|| rustix::fs::renameat_with(&self.fd, from, &self.fd, to, flags))?)
    }
}

/// Whether the kernel, the file system or a sandbox lacks a call.
fn is_unsupported(error: &io::Error) -> bool {
    let unsupported = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM];
    unsupported.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
