//! Interruptible I/O: reads and writes of pipes, FIFOs, sockets and terminals that a wake-up ends.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::pipeline::shutdown::Cancel;

/// Requested pipe capacity, the most that Linux grants an unprivileged process by default.
const PIPE_LEN: usize = 1024 * 1024;

/// A writable pipe accepts at least this much (pipe(7), "PIPE_BUF").
const PIPE_WRITE_LEN_SURE: usize = 4096;

/// Polling interval for what has no notification: a FIFO without a reader, a file under a lease, a child that has closed its output.
const PAUSE: Duration = Duration::from_millis(20);

/// Wakes blocked reads and writes: a descriptor that becomes readable and stays so.
#[derive(Clone, Debug)]
pub struct WakeUp(Arc<OwnedFd>);

impl WakeUp {
    /// Fails if no descriptor is left.
    pub fn new() -> io::Result<WakeUp> {
        Ok(WakeUp(Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// A cancellation that also wakes all threads that wait with this.
    pub fn cancel(&self) -> Cancel {
        let wake = self.clone();
        Cancel::new(move || {
            // Cannot overflow: the eventfd counter is never read and has room.
            let _ = rustix::io::write(&wake.0, &1u64.to_ne_bytes());
        })
    }

    /// Waits one polling interval.
    pub fn pause(&self) -> io::Result<()> {
        self.pause_for(PAUSE)
    }

    /// Waits for `time`. Fails on wake-up.
    pub fn pause_for(&self, time: Duration) -> io::Result<()> {
        self.wait(None, Some(time)).map(drop)
    }

    /// Waits until `fd` is ready for `flags` or `timeout` ends. Returns whether `fd` is ready. Fails on wake-up.
    pub(super) fn wait(&self, fd: Option<(&File, PollFlags)>, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let mut fds = vec![PollFd::new(&self.0, PollFlags::IN)];
        fds.extend(fd.map(|(file, flags)| PollFd::new(file, flags)));
        loop {
            match rustix::event::poll(&mut fds, timeout.as_ref()) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) if !fds[0].revents().is_empty() => return Err(io::Error::other("woken up to stop")),
                Ok(_) => return Ok(fds.get(1).is_some_and(|fd| !fd.revents().is_empty())),
            }
        }
    }
}

/// Repeats `open`, which opens without blocking, while a lease of another process, such as a file server, keeps it from the file. The first try asks
/// that process to give the lease up; the kernel ends it after a while (fcntl(2), "Leases"). `is_file` tells whether it is a regular file: others have
/// no leases, and may refuse in the same way for ever.
pub(super) fn past_leases<T>(
    wake: Option<&WakeUp>,
    is_file: impl Fn() -> bool,
    open: impl Fn() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match (open(), wake) {
            (Err(error), _) if error.kind() != ErrorKind::WouldBlock || !is_file() => return Err(error),
            (Err(_), Some(wake)) => wake.pause()?,
            (Err(_), None) => std::thread::sleep(PAUSE),
            (opened, _) => return opened,
        }
    }
}

/// Reads from a file that may block: a pipe, a terminal, a socket.
pub struct PatientReader {
    file: File,
    wake: WakeUp,
}

impl PatientReader {
    /// A reader of `file`. Leaves its flags alone: other processes may share them.
    pub fn new(file: File, wake: WakeUp) -> PatientReader {
        // A larger pipe saves wake-ups. Other files refuse, which is harmless.
        let _ = rustix::pipe::fcntl_setpipe_size(&file, PIPE_LEN);
        PatientReader { file, wake }
    }
}

impl Read for PatientReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wake.wait(Some((&self.file, PollFlags::IN)), None)?;
            match self.file.read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}

/// Writes to a file that may block.
pub struct PatientWriter {
    file: File,
    wake: WakeUp,
    write_len_max: usize,
}

impl PatientWriter {
    /// A writer to `file`. A pipe is reopened as non-blocking, because other processes may share the old descriptor's flags. If that fails, writes
    /// are small enough not to block a writable pipe.
    pub fn new(file: File, wake: WakeUp) -> PatientWriter {
        let _ = rustix::pipe::fcntl_setpipe_size(&file, PIPE_LEN);
        let is_fifo = file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
        let reopened = is_fifo.then(|| {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
            rustix::fs::open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        });
        match reopened {
            Some(Ok(own)) => PatientWriter { file: own.into(), wake, write_len_max: PIPE_LEN },
            _ => PatientWriter { file, wake, write_len_max: PIPE_WRITE_LEN_SURE },
        }
    }
}

impl Write for PatientWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(self.write_len_max)];
        loop {
            self.wake.wait(Some((&self.file, PollFlags::OUT)), None)?;
            match self.file.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to a FIFO; opens it on the first write, since opening waits for a reader.
pub struct FifoWriter {
    path: PathBuf,
    wake: WakeUp,
    opened: Option<PatientWriter>,
}

impl FifoWriter {
    /// A writer to the FIFO `path`, not opened yet.
    pub fn new(path: PathBuf, wake: WakeUp) -> FifoWriter {
        FifoWriter { path, wake, opened: None }
    }

    fn opened(&mut self) -> io::Result<&mut PatientWriter> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => self.open()?,
        };
        Ok(self.opened.insert(opened))
    }

    fn open(&self) -> io::Result<PatientWriter> {
        loop {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = match retry_on_intr(|| rustix::fs::open(&self.path, flags, Mode::empty())) {
                Ok(fd) => File::from(fd),
                Err(Errno::NXIO) => {
                    self.wake.pause()?;
                    continue;
                }
                Err(errno) => return Err(errno.into()),
            };
            if !file.metadata()?.file_type().is_fifo() {
                return Err(io::Error::other("it is no FIFO any more"));
            }
            return Ok(PatientWriter::new(file, self.wake.clone()));
        }
    }
}

impl Write for FifoWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.opened()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Opens the FIFO for empty output too: its reader waits for the end.
        self.opened()?.flush()
    }
}
