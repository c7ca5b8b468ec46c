//! System calls that std lacks, all of them, through rustix, in this folder and nowhere else. They reach the pipeline as readers,
//! writers and a wake-up.

mod child;
mod terminal;
mod wait;

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Timestamps};
use rustix::io::{Errno, retry_on_intr};

pub use child::{Usage, ask_to_end, wait_for};
pub use terminal::{Echo, Terminal, stderr_columns};
pub use wait::{FifoWriter, PatientReader, PatientWriter, WakeUp};

/// Opens a file for reading without waiting, whatever it is: a FIFO without a writer, for instance.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)
}

/// Creates `path` for a secret: mode 0600, and never over something that exists.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Opens `path` for writing without waiting and without cutting it off; makes it where there is nothing.
pub fn open_to_write(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).custom_flags(flags.cast_signed()).open(path)
}

/// What makes two names the same file: device and inode, or of a block device, which device it is.
pub fn identity(metadata: &Metadata) -> (u64, u64) {
    match metadata.file_type().is_block_device() {
        true => (u64::MAX, metadata.rdev()),
        false => (metadata.dev(), metadata.ino()),
    }
}

/// Whether a read or write may wait for somebody else.
pub fn may_wait(metadata: &Metadata) -> bool {
    let kind = metadata.file_type();
    kind.is_fifo() || kind.is_socket() || kind.is_char_device()
}

/// Whether this is /dev/null or one of its kind (mem(4)), which are character devices and yet keep nobody waiting.
pub fn is_memory_device(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && rustix::fs::major(metadata.rdev()) == 1
}

/// Tells the kernel that `file` will be read from front to back.
pub fn advise_sequential(file: &File) {
    // Advice: where it is not taken, nothing is lost.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
}

/// Standard input as a file of its own. Fails if it is closed.
pub fn stdin() -> io::Result<File> {
    unless_closed(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Standard output as a file of its own. Fails if it is closed.
pub fn stdout() -> io::Result<File> {
    unless_closed(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Standard error as a file of its own. Fails if it is closed.
pub fn stderr() -> io::Result<File> {
    unless_closed(File::from(io::stderr().as_fd().try_clone_to_owned()?))
}

/// Rust's runtime opens /dev/null in the place of a standard descriptor that is closed, for reading and writing, which a
/// shell's `>/dev/null` does not.
fn unless_closed(file: File) -> io::Result<File> {
    let metadata = file.metadata()?;
    let is_null = metadata.file_type().is_char_device() && metadata.rdev() == rustix::fs::makedev(1, 3);
    let flags = rustix::fs::fcntl_getfl(&file)?;
    if is_null && flags & OFlags::RWMODE == OFlags::RDWR {
        return Err(io::Error::other("it is closed"));
    }
    Ok(file)
}

/// A descriptor that this process was started with, by its number, as a file of its own.
pub fn open_descriptor(number: i32) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{number}"))
}

/// Whether descriptor `number` is open. Asked before files are opened, which take the free numbers.
pub fn is_descriptor_open(number: i32) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok()
}

/// The signals that this process was started to ignore, as `nohup` does with SIGHUP: bit N - 1 for signal N.
pub fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The permission bits that new files of this process do not get. Call it before threads are started: the mask can only
/// be read by setting it.
pub fn umask() -> u32 {
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

/// A directory, held open so that it stays the same whatever happens to its name.
#[derive(Debug)]
pub struct Directory(OwnedFd);

impl Directory {
    /// Opens `path`.
    pub fn open(path: &Path) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Directory(retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?))
    }

    /// Creates `name` with mode 0600, exclusively, never through a link, and locks it for as long as it is open. `None` if
    /// somebody took it for left over, and removed it, before it was locked.
    pub fn create_locked(&self, name: &OsStr) -> io::Result<Option<File>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = retry_on_intr(|| rustix::fs::openat(&self.0, name.as_bytes(), flags, mode))?;
        let locked = match retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            // File systems without locks exist; the lock only tells others that this file is not left over.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOLCK | Errno::NOSYS | Errno::INVAL) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno),
        };
        match locked.and_then(|locked| Ok(locked && rustix::fs::fstat(&file)?.st_nlink > 0)) {
            Ok(true) => Ok(Some(file.into())),
            Ok(false) => Ok(None),
            Err(errno) => {
                let _ = self.unlink(name);
                Err(errno.into())
            }
        }
    }

    /// Removes the regular files whose names begin with `prefix` and that nobody has locked: what was left by processes that were
    /// killed. What can not be looked at stays.
    pub fn remove_left_over(&self, prefix: &str) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if !name.as_bytes().starts_with(prefix.as_bytes()) {
                continue;
            }
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let Ok(file) = rustix::fs::openat(&self.0, name.as_bytes(), flags, Mode::empty()) else { continue };
            let is_regular = rustix::fs::fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
            if is_regular && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // Unlinked before the lock is let go, so that whoever made it sees what happened.
                self.unlink(&name)?;
            }
        }
        Ok(())
    }

    /// Gives `from` the name `to`; replaces what is there only if `replace`.
    pub fn rename(&self, from: &OsStr, to: &OsStr, replace: bool) -> io::Result<()> {
        let (from, to) = (from.as_bytes(), to.as_bytes());
        if replace {
            return Ok(retry_on_intr(|| rustix::fs::renameat(&self.0, from, &self.0, to))?);
        }
        match retry_on_intr(|| rustix::fs::renameat_with(&self.0, from, &self.0, to, RenameFlags::NOREPLACE)) {
            // Some file systems do not know the flag; a hard link never replaces anything.
            Err(Errno::INVAL | Errno::NOSYS) => {
                retry_on_intr(|| rustix::fs::linkat(&self.0, from, &self.0, to, AtFlags::empty()))?;
                Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.0, from, AtFlags::empty()))?)
            }
            result => Ok(result?),
        }
    }

    /// Removes `name`.
    pub fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.0, name.as_bytes(), AtFlags::empty()))?)
    }

    /// Waits until the names in the directory are on the disk. Some file systems have no such thing.
    pub fn sync(&self) -> io::Result<()> {
        match retry_on_intr(|| rustix::fs::fsync(&self.0)) {
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            result => Ok(result?),
        }
    }

    /// What makes two directories the same.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.0)?;
        Ok((stat.st_dev, stat.st_ino))
    }
}

/// Sets permission bits and times of access and modification, through the descriptor. File systems that have none leave the
/// file as it is, readable by nobody else.
pub fn copy_mode_and_times(file: &File, mode: u32, source: Option<&Metadata>) -> io::Result<()> {
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

/// 64 random bits, for names that nobody can guess.
pub fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Fills `bytes` with random ones from the kernel.
pub fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled_len = 0;
    while filled_len < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled_len..], rustix::rand::GetRandomFlags::empty()) {
            Ok(len) => filled_len += len,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Drops what memory holds of `file`, so that the next read comes from the disk. What is not on the disk yet stays.
pub fn forget_cached(file: &File) {
    // Advice that a file system does not take is no loss.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// Turns core dumps off for the rest of the process, since keys are held.
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

/// The most memory that this process ever had in use, in bytes, where the system tells.
pub fn peak_memory_bytes() -> Option<u64> {
    kibibytes_in("/proc/self/status", "VmHWM:")
}

/// Memory that can be had without swapping, in bytes, where the system tells.
pub fn available_memory_bytes() -> Option<u64> {
    kibibytes_in("/proc/meminfo", "MemAvailable:")
}

/// What the first CPU calls itself, where the system tells.
pub fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// The most memory that this process's control groups let it have, in bytes: version 2's `memory.max` or version 1's
/// `memory.limit_in_bytes`, its own and those above it.
pub fn memory_limit_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (controllers, path) = (fields.nth(1)?, fields.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // In a container the path may not be mounted; then the root is its own.
        let folders = Path::new(path.trim_start_matches('/')).ancestors().map(|folder| Path::new(root).join(folder));
        folders.filter_map(|folder| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).min()
    });
    limits.min()
}

fn kibibytes_in(path: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
