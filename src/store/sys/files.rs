//! Files and descriptors: opened without blocking, told apart, locked, dropped from the cache.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::wait::{WakeUp, past_leases};

/// Opens a file of any type for reading without blocking, even a FIFO without a writer. Waits only for a lease, until `wake` interrupts it.
pub fn open_to_read(path: &Path, wake: Option<&WakeUp>) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    past_leases(wake, || is_file(path), || OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path))
}

/// Creates `path` for a secret, with mode 0600. Fails if it exists.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Opens `path` for writing without blocking or truncating; creates it if absent. Waits only for a lease.
pub fn open_to_write(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).custom_flags(flags.cast_signed());
    past_leases(None, || is_file(path), || options.open(path))
}

fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Opens a device for writing. A block device is opened exclusively, which fails if it is mounted or in use by the kernel.
pub fn open_device(path: &Path, is_block: bool) -> io::Result<File> {
    let flags = if is_block { OFlags::EXCL } else { OFlags::empty() };
    OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Identifies a file by device and inode, and a block device by its device number.
pub fn identity(metadata: &Metadata) -> (u64, u64) {
    match metadata.file_type().is_block_device() {
        true => (u64::MAX, metadata.rdev()),
        false => (metadata.dev(), metadata.ino()),
    }
}

/// Whether a read or write may block on another process or a person.
pub fn may_wait(metadata: &Metadata) -> bool {
    let kind = metadata.file_type();
    kind.is_fifo() || kind.is_socket() || kind.is_char_device()
}

/// Whether this is a memory device such as /dev/null (mem(4)): a character device that does not block.
pub fn is_memory_device(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && rustix::fs::major(metadata.rdev()) == 1
}

/// Tells the kernel that `file` will be read from front to back.
pub fn advise_sequential(file: &File) {
    // A file system may ignore the advice.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
}

/// A duplicate of standard input.
pub fn stdin() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// A duplicate of standard output, for text. For data see [`stdout_for_data`].
pub fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// A duplicate of standard output. Fails if it is closed, or `/dev/null` opened for reading and writing, which Rust's runtime puts in the place of
/// a closed descriptor: the data would be gone without an error. A shell's `>/dev/null` opens it only for writing.
pub fn stdout_for_data() -> io::Result<File> {
    let file = stdout()?;
    let metadata = file.metadata()?;
    let is_null = metadata.file_type().is_char_device() && metadata.rdev() == rustix::fs::makedev(1, 3);
    let flags = rustix::fs::fcntl_getfl(&file)?;
    match is_null && flags & OFlags::RWMODE == OFlags::RDWR {
        true => Err(io::Error::other("it is closed, or /dev/null opened for reading and writing")),
        false => Ok(file),
    }
}

/// Whether every write to `file` goes to its end.
pub fn is_appending(file: &File) -> io::Result<bool> {
    Ok(rustix::fs::fcntl_getfl(file)?.contains(OFlags::APPEND))
}

/// A duplicate of standard error.
pub fn stderr() -> io::Result<File> {
    Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?))
}

/// Opens `file` again, for reading, with an offset of its own.
pub fn reopen_to_read(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The first data at or after `offset`, up to the hole behind it; `None` if there is no more. Moves the file's offset.
pub fn data_from(file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
    let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Err(Errno::NXIO) => return Ok(None),
        start => start?,
    };
    Ok(Some(start..rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?))
}

/// Locks `file` while it is open. `false` if another process holds the lock. On file systems without locks always `true`.
pub fn lock(file: &File) -> io::Result<bool> {
    match retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOLCK | Errno::NOSYS | Errno::INVAL) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes the kernel begin to write `file` back, without waiting.
pub fn start_writing_back(file: &File) {
    // On Linux this advice starts writeback; dirty pages stay in memory.
    forget_cached(file);
}

/// Drops the cached pages of `file`, so that the next read comes from the disk. Dirty pages stay.
pub fn forget_cached(file: &File) {
    // A file system may ignore the advice.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}
