//! A directory held by descriptor: operations stay in it if its name changes, and never follow links.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use crate::store::file_id::{FileId, FileState, nanoseconds};

use super::attributes::{copy_mode_and_times, remove_access_acl};
use super::files::lock;
use super::wait::{WakeUp, past_leases};

/// The way to give a file a name that must not replace another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReplace {
    /// A rename with `RENAME_NOREPLACE`.
    Rename,
    /// A hard link, and then the old name is removed.
    Link,
}

/// What is known of the renames in a directory.
#[derive(Debug, Default)]
pub(super) struct Renames {
    pub(super) no_replace: OnceLock<Option<NoReplace>>,
    pub(super) can_exchange: OnceLock<bool>,
    pub(super) can_link: OnceLock<bool>,
}

/// An open directory, which stays the same if its name changes.
#[derive(Debug)]
pub struct Directory {
    pub(super) fd: OwnedFd,
    pub(super) renames: Renames,
}

impl Directory {
    pub(super) fn of(fd: OwnedFd) -> Directory {
        Directory { fd, renames: Renames::default() }
    }

    /// Opens `path` for reading.
    pub fn open(path: &Path) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Directory::of(retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?))
    }

    /// Opens `path` only to reach files below it, which needs no read permission.
    pub fn open_to_pass(path: &Path) -> io::Result<Directory> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Directory::of(retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?))
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
        match retry_on_intr(|| rustix::fs::mkdirat(&self.fd, name.as_bytes(), Mode::RWXU)) {
            Ok(()) => {
                let made = self.open_below(name)?;
                made.remove_access_acl()?;
                Ok((made, true))
            }
            Err(Errno::EXIST) => Ok((self.open_below(name)?, false)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens the directory `name` after setting mode 0700, because its mode denies its owner access.
    fn allow_below(&self, name: &OsStr) -> io::Result<Directory> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = retry_on_intr(|| rustix::fs::openat(&self.fd, name.as_bytes(), flags, Mode::empty()))?;
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
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
        let stat = rustix::fs::statat(&self.fd, path, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file())
    }

    pub(super) fn open_deep(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match retry_on_intr(|| rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve)) {
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
        let parent = &way.as_ref().unwrap_or(self).fd;
        Ok(retry_on_intr(|| rustix::fs::openat(parent, name.as_bytes(), flags, Mode::empty()))?)
    }

    /// Opens the directory `name` in this one, not through a link.
    pub fn open_below(&self, name: &OsStr) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Directory::of(retry_on_intr(|| rustix::fs::openat(&self.fd, name.as_bytes(), flags, Mode::empty()))?))
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
        let open = || Ok(retry_on_intr(|| rustix::fs::openat(&self.fd, name.as_bytes(), flags, mode))?);
        past_leases(None, || self.has_file(Path::new(name)), open)
    }

    /// Adds the permission bits in `mode`.
    pub fn allow(&self, mode: u32) -> io::Result<()> {
        let now = rustix::fs::fstat(&self.fd)?.st_mode;
        match now & mode == mode {
            true => Ok(()),
            false => Ok(rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(now | mode))?),
        }
    }

    /// Removes the permission bits that are not in `mode`.
    pub fn limit(&self, mode: u32) -> io::Result<()> {
        let now = rustix::fs::fstat(&self.fd)?.st_mode;
        match now & 0o777 & !mode {
            0 => Ok(()),
            _ => Ok(rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(now & (mode | 0o7000)))?),
        }
    }

    /// Creates the symbolic link `name` to `target`.
    pub fn symlink(&self, name: &OsStr, target: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::symlinkat(target, &self.fd, name.as_bytes()))?)
    }

    /// Removes the access ACL that a new directory inherits; what it passes on to its files stays.
    pub fn remove_access_acl(&self) -> io::Result<()> {
        remove_access_acl(&self.fd)
    }

    /// The group of the directory.
    pub fn group(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(&self.fd)?.st_gid)
    }

    /// Sets the directory's permission bits and times, like [`copy_mode_and_times`].
    pub fn copy_mode_and_times(&self, mode: u32, source: Option<&Metadata>) -> io::Result<()> {
        copy_mode_and_times(&self.fd, mode, source)
    }

    /// Creates a file without a name, with mode 0600, and locks it while open. `None` where the file system has no such files.
    pub fn create_unnamed(&self) -> io::Result<Option<(File, FileState)>> {
        let (flags, mode) = (OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        let file = match retry_on_intr(|| rustix::fs::openat(&self.fd, c".", flags, mode)) {
            Ok(file) => File::from(file),
            // ISDIR: a kernel that does not know the flag takes the rest for an attempt to write a directory.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        // Nobody else can have locked it.
        lock(&file)?;
        let created = state_in(&rustix::fs::fstat(&file)?);
        Ok(Some((file, created)))
    }

    /// Creates `name` with mode 0600, exclusively, not through a link, and locks it while
    /// open. `None` if another process removed it as a leftover before it was locked.
    pub fn create_locked(&self, name: &OsStr) -> io::Result<Option<(File, FileState)>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(retry_on_intr(|| rustix::fs::openat(&self.fd, name.as_bytes(), flags, mode))?);
        match lock(&file).and_then(|locked| Ok((locked, rustix::fs::fstat(&file)?))) {
            Ok((true, stat)) if stat.st_nlink > 0 => Ok(Some((file, state_in(&stat)))),
            Ok(_) => Ok(None),
            Err(error) => {
                let _ = self.unlink(name);
                Err(error)
            }
        }
    }

    /// The names that `is_wanted` accepts.
    pub fn names(&self, is_wanted: impl Fn(&OsStr) -> bool) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            names.extend(is_wanted(name).then(|| name.to_owned()));
        }
        Ok(names)
    }

    /// Opens `name` and locks it. `None` if it is no regular file, cannot be opened, or is locked: a living process has it.
    pub fn lock_left_over(&self, name: &OsStr) -> Option<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = |access| rustix::fs::openat(&self.fd, name.as_bytes(), access | flags, Mode::empty());
        // Some file systems lock only what may be written, and some files may only be read.
        let file = open(OFlags::RDWR).or_else(|_| open(OFlags::RDONLY)).ok()?;
        let is_regular = rustix::fs::fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
        let is_locked = is_regular && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        is_locked.then(|| file.into())
    }

    /// Removes the file `name`.
    pub fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.fd, name.as_bytes(), AtFlags::empty()))?)
    }

    /// Flushes the directory to disk, where the file system supports that.
    pub fn sync(&self) -> io::Result<()> {
        match retry_on_intr(|| rustix::fs::fsync(&self.fd)) {
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            result => Ok(result?),
        }
    }

    /// The state of the file `name`, not through a link.
    pub fn state_of(&self, name: &OsStr) -> io::Result<FileState> {
        let stat = retry_on_intr(|| rustix::fs::statat(&self.fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW))?;
        Ok(state_in(&stat))
    }

    /// A path to `name` that stays in this directory.
    pub fn path_of(&self, name: &OsStr) -> PathBuf {
        Path::new(&format!("/proc/self/fd/{}", self.fd.as_raw_fd())).join(name)
    }

    /// Device and inode.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.fd)?;
        Ok((stat.st_dev, stat.st_ino))
    }
}

fn state_in(stat: &Stat) -> FileState {
    let time = |seconds, parts: u64| nanoseconds(seconds, parts.cast_signed());
    let (bytes, mtime_ns) = (stat.st_size.cast_unsigned(), time(stat.st_mtime, stat.st_mtime_nsec));
    let id = FileId { device: stat.st_dev, inode: stat.st_ino, bytes, mtime_ns };
    FileState { id, ctime_ns: time(stat.st_ctime, stat.st_ctime_nsec) }
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
        let aside = OsStr::new("aside");
        assert!(top.unlink_below(Path::new("a/link/file"), aside, |_| true).is_err());
        assert!(!top.unlink_below(Path::new("a/b/file"), aside, |_| false).unwrap());
        assert!(path("out/file").exists() && path("top/a/b/file").exists());
        assert!(top.unlink_below(Path::new("a/b/file"), aside, Metadata::is_file).unwrap());
        assert!(top.unlink_below(Path::new("file"), aside, |there| there.len() == 8).unwrap());
        assert!(!path("top/a/b/file").exists() && !path("top/file").exists());
    }
}
