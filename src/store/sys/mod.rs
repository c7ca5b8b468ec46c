//! All system calls that std lacks, through rustix. The pipeline sees them as readers, writers and a wake-up.

mod child;
mod directory;
mod terminal;
mod wait;

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, Timestamps};
use rustix::io::{Errno, retry_on_intr};

pub use child::{ask_to_end, wait_for_end};
pub use directory::Directory;
pub use terminal::{Echo, Terminal, stderr_columns};
pub use wait::{FifoWriter, PatientReader, PatientWriter, WakeUp};

/// The nice value of the lowest priority.
const LOWEST_PRIORITY: i32 = 19;

/// Opens a file of any type for reading without blocking, even a FIFO without a writer.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)
}

/// Creates `path` for a secret, with mode 0600. Fails if it exists.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Opens `path` for writing without blocking or truncating; creates it if absent.
pub fn open_to_write(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).custom_flags(flags.cast_signed()).open(path)
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

/// A duplicate of standard input. Fails if it is closed.
pub fn stdin() -> io::Result<File> {
    unless_closed(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// A duplicate of standard output. Fails if it is closed.
pub fn stdout() -> io::Result<File> {
    unless_closed(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// A duplicate of standard error. Fails if it is closed.
pub fn stderr() -> io::Result<File> {
    unless_closed(File::from(io::stderr().as_fd().try_clone_to_owned()?))
}

/// Rust's runtime replaces a closed standard descriptor by /dev/null, opened for reading
/// and writing; a shell's `>/dev/null` opens it only for writing.
fn unless_closed(file: File) -> io::Result<File> {
    let metadata = file.metadata()?;
    let is_null = metadata.file_type().is_char_device() && metadata.rdev() == rustix::fs::makedev(1, 3);
    let flags = rustix::fs::fcntl_getfl(&file)?;
    if is_null && flags & OFlags::RWMODE == OFlags::RDWR {
        return Err(io::Error::other("it is closed"));
    }
    Ok(file)
}

/// Opens an inherited descriptor, by its number, as a separate file.
pub fn open_descriptor(number: i32) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{number}"))
}

/// Whether descriptor `number` is open. Call it before opening files, which take free numbers.
pub fn is_descriptor_open(number: i32) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok()
}

/// Signals that this process inherited as ignored, as `nohup` does with SIGHUP: bit N - 1 for signal N.
pub fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The umask of this process. Call it before starting threads: reading the mask requires setting it.
pub fn umask() -> u32 {
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

/// Sets the permission bits, and the times of `source` if given, through the descriptor.
/// Ignores file systems without them; the file then keeps its mode.
pub fn copy_mode_and_times(file: &File, mode: u32, source: Option<&Metadata>) -> io::Result<()> {
    copy_mode_and_times_of(file, mode, source)
}

fn copy_mode_and_times_of(file: impl AsFd, mode: u32, source: Option<&Metadata>) -> io::Result<()> {
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

/// 64 random bits for unpredictable names.
pub fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Fills `bytes` with random bytes from the kernel.
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

/// Sets the lowest CPU priority.
pub fn be_nice() -> io::Result<()> {
    Ok(rustix::process::setpriority_process(None, LOWEST_PRIORITY)?)
}

/// Drops the cached pages of `file`, so that the next read comes from the disk. Dirty pages stay.
pub fn forget_cached(file: &File) {
    // A file system may ignore the advice.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// Raises the descriptor limit to its maximum and returns it.
pub fn raise_descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    let most = match rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}

/// Disables core dumps for the rest of the process, since it holds keys.
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

/// Peak resident memory of this process in bytes, if the system reports it.
pub fn peak_memory_bytes() -> Option<u64> {
    kibibytes_in("/proc/self/status", "VmHWM:")
}

/// Memory available without swapping, in bytes, if the system reports it.
pub fn available_memory_bytes() -> Option<u64> {
    kibibytes_in("/proc/meminfo", "MemAvailable:")
}

/// Model name of the first CPU, if the system reports it.
pub fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// The lowest memory limit of this process's control groups and their parents, in bytes:
/// `memory.max` (version 2) or `memory.limit_in_bytes` (version 1).
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
        // A container may not mount the path; its limit is then at the root.
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
