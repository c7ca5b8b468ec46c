//! Descriptors that the caller of the program opened, by number.
//!
//! Commands that this process starts inherit them, as from a shell: `tar -T <(find …)` reads one. A descriptor with a secret is the exception.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Stdio;

use rustix::fs::MemfdFlags;
use rustix::io::{Errno, FdFlags};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use zeroize::Zeroizing;

use super::files::open_to_read;

/// Standard input, which the Rust runtime owns.
const STDIN: i32 = 0;

/// Whether descriptor `number` is open. Call it before opening files, which take free numbers.
pub fn is_descriptor_open(number: i32) -> bool {
    std::fs::symlink_metadata(path_of(number)).is_ok()
}

/// A duplicate of descriptor `number`: a reader of it begins where the descriptor stands. Where the kernel refuses a duplicate (before Linux 5.6, or
/// in a sandbox), it is the file opened anew at the same position, which fails for a socket.
pub fn open_descriptor(number: i32) -> io::Result<File> {
    match duplicate(number) {
        Ok(descriptor) => Ok(descriptor.into()),
        Err(Errno::BADF) => Err(Errno::BADF.into()),
        Err(refused) => reopen(number, refused),
    }
}

/// Keeps descriptor `number` from the commands that are started from now on; it stays open here. Call it before other threads are started: one could
/// open a file that takes the number.
pub fn keep_from_commands(number: i32) -> io::Result<()> {
    if number == STDIN {
        return Ok(rustix::io::fcntl_setfd(io::stdin(), FdFlags::CLOEXEC)?);
    }
    let own = open_descriptor(number)?;
    nix::unistd::close(number)?;
    // The lowest number that is free from `number` on.
    let kept = rustix::io::fcntl_dupfd_cloexec(&own, number)?;
    match kept.into_raw_fd() == number {
        true => Ok(()),
        false => Err(io::Error::other("its number was taken meanwhile")),
    }
}

/// Standard input for a command: the own one, unless it is kept from commands.
pub fn stdin_for_command() -> Stdio {
    match rustix::io::fcntl_getfd(io::stdin()) {
        Ok(flags) if flags.contains(FdFlags::CLOEXEC) => Stdio::null(),
        _ => Stdio::inherit(),
    }
}

/// A file in memory that commands inherit, called `name`, with `bytes`.
pub fn memory_file(name: &str, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(name, MemfdFlags::empty())?);
    file.write_all(bytes)?;
    Ok(file)
}

/// The bytes of the file in memory called `name` at descriptor `number`, which is closed; `None` if that is something else. Call it before other
/// threads are started.
pub fn take_memory_file(number: i32, name: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let is_it =
        std::fs::read_link(path_of(number)).is_ok_and(|link| link == Path::new(&format!("/memfd:{name} (deleted)")));
    if !is_it {
        return Ok(None);
    }
    let mut file = open_descriptor(number)?;
    nix::unistd::close(number)?;
    file.rewind()?;
    // Room for all and a byte more: growing would leave copies in memory.
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(len + 1));
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn duplicate(number: i32) -> Result<OwnedFd, Errno> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(this, number, PidfdGetfdFlags::empty())
}

fn reopen(number: i32, refused: Errno) -> io::Result<File> {
    let path = path_of(number);
    let kind = std::fs::metadata(&path)?.file_type();
    if kind.is_socket() {
        let why = format!("it is a socket, and the kernel refuses a duplicate of it ({})", io::Error::from(refused));
        return Err(io::Error::other(why));
    }
    let mut file = open_to_read(path.as_ref(), None)?;
    if kind.is_file() {
        file.seek(SeekFrom::Start(position_of(number)?))?;
    }
    Ok(file)
}

fn position_of(number: i32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    let position = text.lines().find_map(|line| line.strip_prefix("pos:")?.trim().parse().ok());
    position.ok_or_else(|| io::Error::other("its position is unknown"))
}

fn path_of(number: i32) -> String {
    format!("/proc/self/fd/{number}")
}
