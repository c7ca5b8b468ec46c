//! An open input: a file, standard input or a pipe. Opening waits for nothing but a lease of another process.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::store::attributes::Attributes;
use crate::store::error::{Doing, StoreError};
use crate::store::file_id::FileState;
use crate::store::holes;
use crate::store::name::quoted;
use crate::store::sys::{self, Directory, PatientReader, WakeUp};

/// Shorter files are read before advice takes effect.
const ADVISED_BYTES_MIN: u64 = 1024 * 1024;

/// An open input.
pub struct Input {
    /// Its name as messages show it.
    pub name: String,
    /// The file, open for reading.
    pub file: Arc<File>,
    /// Its metadata at the time of opening.
    pub metadata: Metadata,
    /// Where reading begins: what others read of standard input before is not part of it.
    start: u64,
}

/// How a file differs from what it was when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is in the state in which it was opened.
    None(FileState),
    /// Its change time differs, and nothing else that can be told: a new mode, link or attribute, or a write by a program that set the time back.
    TimeOnly(FileState),
    /// It is longer, shorter, or was written to.
    Content,
}

impl Input {
    /// Opens `path`, or standard input for `-`. Fails for a directory. `wake` interrupts the wait for a lease.
    pub fn open(path: &Path, wake: &WakeUp) -> Result<Input, StoreError> {
        let is_stdin = path == Path::new("-");
        let name = if is_stdin { "standard input".to_owned() } else { quoted(path) };
        let opened = if is_stdin { sys::stdin() } else { sys::open_to_read(path, Some(wake)) };
        Input::of(opened, name, is_stdin)
    }

    /// Opens `inside` below the directory `top` without following links; messages show `name`.
    pub fn open_below(top: &Directory, inside: &Path, name: String, wake: &WakeUp) -> Result<Input, StoreError> {
        Input::of(top.open_to_read_below(inside, wake), name, false)
    }

    fn of(opened: io::Result<File>, name: String, is_stdin: bool) -> Result<Input, StoreError> {
        let file = opened.map_err(Doing::Open.failed(&name))?;
        let metadata = file.metadata().map_err(Doing::LookAt.failed(&name))?;
        if metadata.is_dir() {
            return Err(StoreError::InputIsDirectory(name));
        }
        if metadata.len() >= ADVISED_BYTES_MIN && metadata.is_file() {
            sys::advise_sequential(&file);
        }
        tracing::debug!(name, bytes = metadata.len(), is_regular = metadata.is_file(), "IN is open");
        let start = if is_stdin { (&file).stream_position().unwrap_or(0) } else { 0 };
        Ok(Input { name, file: Arc::new(file), metadata, start })
    }

    /// The read end of a pipe; messages show `name`.
    pub fn of_pipe(pipe: OwnedFd, name: String) -> Result<Input, StoreError> {
        let file = File::from(pipe);
        let metadata = file.metadata().map_err(Doing::LookAt.failed(&name))?;
        Ok(Input { name, file: Arc::new(file), metadata, start: 0 })
    }

    /// How a regular file differs from what it was when it was opened. Nothing shows that of other files.
    pub fn change(&self) -> Change {
        let (before, now) = (FileState::of(&self.metadata), self.state());
        match now {
            _ if !self.metadata.is_file() => Change::None(before),
            Some(now) if now == before => Change::None(before),
            Some(now) if now.id == before.id => Change::TimeOnly(now),
            _ => Change::Content,
        }
    }

    /// The state of the file now, unless it cannot be told.
    pub fn state(&self) -> Option<FileState> {
        self.file.metadata().ok().map(|now| FileState::of(&now))
    }

    /// Another reader of what [`reader`](Input::reader) reads, for a regular file.
    pub fn again(&self) -> PlacedReader {
        PlacedReader { file: Arc::clone(&self.file), position: self.start, end: self.metadata.len() }
    }

    /// What an output made of this input takes over; with `keep_all` not only mode and times.
    pub fn attributes(&self, keep_all: bool) -> Result<Option<Attributes>, StoreError> {
        let attributes = self.metadata.is_file().then(|| Attributes::of(&self.file, keep_all)).transpose();
        attributes.map_err(Doing::LookAt.failed(&self.name))
    }

    /// Whether it is seekable: a regular file or a block device.
    pub fn is_seekable(&self) -> bool {
        !sys::may_wait(&self.metadata)
    }

    /// Bytes left to read, if known: files in /proc, for instance, report length 0.
    pub fn bytes(&self) -> Option<u64> {
        (self.metadata.is_file() && self.metadata.len() > 0).then(|| self.metadata.len().saturating_sub(self.start))
    }

    /// A reader from the current position, to the length that a regular file had when it was opened, lest a growing file never ends. `wake` makes a
    /// blocked read fail.
    pub fn reader(&self, wake: &WakeUp) -> Result<Box<dyn Read + Send>, StoreError> {
        if self.bytes().is_some() {
            let position = (&*self.file).stream_position().map_err(Doing::Read.failed(&self.name))?;
            let left = self.metadata.len().saturating_sub(position);
            return Ok(Box::new(holes::reader(&self.file, &self.metadata).take(left)));
        }
        if self.is_seekable() {
            return Ok(holes::reader(&self.file, &self.metadata));
        }
        let file = self.file.try_clone().map_err(Doing::Read.failed(&self.name))?;
        Ok(Box::new(PatientReader::new(file, wake.clone())))
    }
}

/// A reader of a seekable input with a position of its own, where the descriptor's belongs to another reader.
#[derive(Clone)]
pub struct PlacedReader {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl PlacedReader {
    /// A reader at the start of `input`. It finds the end by the descriptor, as a block device has no other length, and puts that back; so
    /// no other reader may be at work yet.
    pub fn new(input: &Input) -> Result<PlacedReader, StoreError> {
        let mut file = &*input.file;
        let position = file.stream_position().map_err(Doing::Read.failed(&input.name))?;
        let end = file.seek(SeekFrom::End(0)).map_err(Doing::Read.failed(&input.name))?;
        file.seek(SeekFrom::Start(position)).map_err(Doing::Read.failed(&input.name))?;
        Ok(PlacedReader { file: Arc::clone(&input.file), position: 0, end })
    }
}

impl Read for PlacedReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = bytes.len().min(left);
        let len = self.file.read_at(&mut bytes[..wanted], self.position)?;
        self.position += len as u64;
        Ok(len)
    }
}

impl Seek for PlacedReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.end.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
