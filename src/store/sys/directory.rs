//! A directory held by descriptor: operations stay in it if its name changes, and never follow links.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

use super::files::{copy_mode_and_times_of, lock};
use super::wait::{WakeUp, past_leases};

/// An open directory, which stays the same if its name changes.
#[derive(Debug)]
pub struct Directory(OwnedFd);

impl Directory {
    /// Opens `path` for reading.
    pub fn open(path: &Path) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Directory(retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?))
    }

    /// Opens `path` only to reach files below it, which needs no read permission.
    pub fn open_to_pass(path: &Path) -> io::Result<Directory> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Directory(retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?))
    }

    /// Opens the directory `name` in this one, not through a link; creates it with mode 0700 if absent. Also returns whether it did.
    pub fn make_below(&self, name: &OsStr) -> io::Result<(Directory, bool)> {
        match self.open_below(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Its mode, copied from a source directory, may deny access.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok((self.allow_below(name)?, false));
            }
            opened => return Ok((opened?, false)),
        }
        match retry_on_intr(|| rustix::fs::mkdirat(&self.0, name.as_bytes(), Mode::RWXU)) {
            Ok(()) => Ok((self.open_below(name)?, true)),
            Err(Errno::EXIST) => Ok((self.open_below(name)?, false)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens the directory `name` after setting mode 0700, because its mode denies its owner access.
    fn allow_below(&self, name: &OsStr) -> io::Result<Directory> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = retry_on_intr(|| rustix::fs::openat(&self.0, name.as_bytes(), flags, Mode::empty()))?;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place));
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
        self.open_below(name)
    }

    /// Opens the file `path` below this directory for reading, whatever its type, without blocking. Follows no link. Waits only for a lease, until
    /// `wake` interrupts it.
    pub fn open_to_read_below(&self, path: &Path, wake: &WakeUp) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(past_leases(Some(wake), || self.has_file(path), || self.open_deep(path, flags))?.into())
    }

    fn has_file(&self, path: &Path) -> bool {
        let stat = rustix::fs::statat(&self.0, path, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file())
    }

    /// Removes the file `path` below this directory if `is_wanted` accepts its metadata. Follows no link. Returns whether it did.
    pub fn unlink_below(&self, path: &Path, is_wanted: impl Fn(&Metadata) -> bool) -> io::Result<bool> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                Some(Directory(self.open_deep(parent, OFlags::PATH | OFlags::DIRECTORY)?))
            }
            _ => None,
        };
        let parent = parent.as_ref().unwrap_or(self);
        let there = File::from(parent.open_deep(Path::new(name), OFlags::PATH)?);
        match is_wanted(&there.metadata()?) {
            true => parent.unlink(name).map(|()| true),
            false => Ok(false),
        }
    }

    fn open_deep(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match retry_on_intr(|| rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve)) {
            // An older kernel or a sandbox without the call: open one directory after the other.
            Err(Errno::NOSYS | Errno::PERM) => self.open_step_by_step(path, flags),
            opened => Ok(opened?),
        }
    }

    fn open_step_by_step(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let mut way: Option<Directory> = None;
        for component in path.parent().into_iter().flat_map(Path::components) {
            let Component::Normal(name) = component else { return Err(Errno::XDEV.into()) };
            way = Some(way.as_ref().unwrap_or(self).open_below(name)?);
        }
        let parent = &way.as_ref().unwrap_or(self).0;
        Ok(retry_on_intr(|| rustix::fs::openat(parent, name.as_bytes(), flags, Mode::empty()))?)
    }

    /// Opens the directory `name` in this one, not through a link.
    pub fn open_below(&self, name: &OsStr) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Directory(retry_on_intr(|| rustix::fs::openat(&self.0, name.as_bytes(), flags, Mode::empty()))?))
    }

    /// Opens the regular file `name` to read and write, not through a link; creates it with mode 0600 if absent.
    pub fn open_or_create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(self.open_at(name, flags, mode)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is no regular file")),
        }
    }

    /// Opens the regular file `name` for reading, not through a link. `None` if absent.
    pub fn open_file(&self, name: &OsStr) -> io::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match self.open_at(name, flags, Mode::empty()) {
            Ok(file) if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_file() => Ok(Some(file.into())),
            Ok(_) => Err(io::Error::other("it is no regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens `name` in this directory. Waits for a lease.
    fn open_at(&self, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let open = || Ok(retry_on_intr(|| rustix::fs::openat(&self.0, name.as_bytes(), flags, mode))?);
        past_leases(None, || self.has_file(Path::new(name)), open)
    }

    /// Adds the permission bits in `mode`.
    pub fn allow(&self, mode: u32) -> io::Result<()> {
        let now = rustix::fs::fstat(&self.0)?.st_mode;
        match now & mode == mode {
            true => Ok(()),
            false => Ok(rustix::fs::fchmod(&self.0, Mode::from_raw_mode(now | mode))?),
        }
    }

    /// Creates the symbolic link `name` to `target`.
    pub fn symlink(&self, name: &OsStr, target: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::symlinkat(target, &self.0, name.as_bytes()))?)
    }

    /// Sets the directory's permission bits and times, like [`copy_mode_and_times`].
    pub fn copy_mode_and_times(&self, mode: u32, source: Option<&Metadata>) -> io::Result<()> {
        copy_mode_and_times_of(&self.0, mode, source)
    }

    /// Creates `name` with mode 0600, exclusively, not through a link, and locks it while
    /// open. `None` if another process removed it as a leftover before it was locked.
    pub fn create_locked(&self, name: &OsStr) -> io::Result<Option<File>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(retry_on_intr(|| rustix::fs::openat(&self.0, name.as_bytes(), flags, mode))?);
        match lock(&file).and_then(|locked| Ok(locked && rustix::fs::fstat(&file)?.st_nlink > 0)) {
            Ok(true) => Ok(Some(file)),
            Ok(false) => Ok(None),
            Err(error) => {
                let _ = self.unlink(name);
                Err(error)
            }
        }
    }

    /// Removes unlocked regular files whose names `is_temporary` accepts: leftovers of
    /// killed processes. Skips files that cannot be opened. Returns the number removed.
    pub fn remove_left_over(&self, is_temporary: impl Fn(&OsStr) -> bool) -> io::Result<u64> {
        let mut count = 0;
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if !is_temporary(&name) {
                continue;
            }
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let Ok(file) = rustix::fs::openat(&self.0, name.as_bytes(), flags, Mode::empty()) else { continue };
            let is_regular = rustix::fs::fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
            if is_regular && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // Unlink before unlocking, so that the creator notices.
                self.unlink(&name)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Renames `from` to `to`; replaces an existing file only if `replace`.
    pub fn rename(&self, from: &OsStr, to: &OsStr, replace: bool) -> io::Result<()> {
        let (from, to) = (from.as_bytes(), to.as_bytes());
        if replace {
            return Ok(retry_on_intr(|| rustix::fs::renameat(&self.0, from, &self.0, to))?);
        }
        match retry_on_intr(|| rustix::fs::renameat_with(&self.0, from, &self.0, to, RenameFlags::NOREPLACE)) {
            // Some file systems lack the flag; a hard link never replaces a file.
            Err(Errno::INVAL | Errno::NOSYS) => {
                retry_on_intr(|| rustix::fs::linkat(&self.0, from, &self.0, to, AtFlags::empty()))?;
                Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.0, from, AtFlags::empty()))?)
            }
            result => Ok(result?),
        }
    }

    /// Removes the file `name`.
    pub fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.0, name.as_bytes(), AtFlags::empty()))?)
    }

    /// Flushes the directory to disk, where the file system supports that.
    pub fn sync(&self) -> io::Result<()> {
        match retry_on_intr(|| rustix::fs::fsync(&self.0)) {
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Device and inode.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.0)?;
        Ok((stat.st_dev, stat.st_ino))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_is_opened_through_no_link_with_the_call_for_it_and_without() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("top/a/b")).unwrap();
        std::fs::create_dir(path("out")).unwrap();
        for name in ["top/a/b/file", "top/file", "out/file"] {
            std::fs::write(path(name), name).unwrap();
        }
        for (to, link) in [("../../out", "top/a/link"), ("b/file", "top/a/last")] {
            std::os::unix::fs::symlink(to, path(link)).unwrap();
        }
        let top = Directory::open_to_pass(&path("top")).unwrap();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        let openers: [&dyn Fn(&str) -> bool; 2] =
            [&|inside| top.open_deep(Path::new(inside), OFlags::RDONLY).is_ok(), &|inside| {
                top.open_step_by_step(Path::new(inside), flags).is_ok()
            }];
        for opens in openers {
            for inside in ["file", "a/b/file"] {
                assert!(opens(inside), "{inside}");
            }
            for elsewhere in ["a/link/file", "a/last", "../out/file", "a/../../out/file", "no such file", ""] {
                assert!(!opens(elsewhere), "{elsewhere}");
            }
        }
        assert!(top.unlink_below(Path::new("a/link/file"), |_| true).is_err());
        assert!(!top.unlink_below(Path::new("a/b/file"), |_| false).unwrap());
        assert!(path("out/file").exists() && path("top/a/b/file").exists());
        assert!(top.unlink_below(Path::new("a/b/file"), Metadata::is_file).unwrap());
        assert!(top.unlink_below(Path::new("file"), |there| there.len() == 8).unwrap());
        assert!(!path("top/a/b/file").exists() && !path("top/file").exists());
    }
}
