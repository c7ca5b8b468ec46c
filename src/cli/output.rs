//! The output, and how it gets its name: the destination is absent or old, or complete, at every instant.
//!
//! A regular file is written under a temporary name in the same directory (mode 0600, created exclusively, locked while
//! alive) and renamed when it is whole and on the disk:
//!
//! ```text
//! remove what killed runs left -> create temporary -> write -> mode, times -> fsync(file) -> rename -> fsync(directory)
//! ```
//!
//! Without `--force` the rename never replaces a file, even one that came into being meanwhile. A failed fsync is final. Devices and
//! FIFOs are opened and written, never renamed over; a symlink is resolved first.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, IsTerminal, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use super::input::Input;
use super::problem::{Problem, quoted};
use super::sys::{self, Directory, FifoWriter, PatientWriter, WakeUp};

/// Links that are followed before a name is taken to go round in circles; the kernel's limit.
const LINKS_MAX: usize = 40;

/// How often a temporary is made that somebody removes at once.
const TEMPORARY_TRIES_MAX: usize = 16;

/// Names of standard output: what is behind them is written to, not replaced.
const STDOUT_NAMES: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// What is written to a terminal at once.
const TERMINAL_WRITE_LEN: usize = 4096;

/// How the output is to be treated.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Replace a file that exists; write binary to a terminal.
    pub force: bool,
    /// Wait until it is on the disk.
    pub sync: bool,
    /// Permission bits that new files do not get.
    pub umask: u32,
}

/// Where the output goes.
pub enum Output {
    /// A file that gets its name at the end.
    Temporary(Temporary),
    /// Something that is written as it is.
    Stream(Stream),
}

/// A device, a FIFO, or standard output.
pub struct Stream {
    name: String,
    is_stdout: bool,
    file: Option<File>,
    fifo: Option<PathBuf>,
    manner: Manner,
}

/// A file under a temporary name, removed when dropped before it was committed.
pub struct Temporary {
    name: String,
    directory: Directory,
    file: File,
    temporary_name: OsString,
    final_name: OsString,
    manner: Manner,
    /// Mode of the file that is replaced.
    old_mode: Option<u32>,
    /// Set by the thread that commits, read by the one that waits for it.
    is_committed: AtomicBool,
}

impl Output {
    /// Makes ready to write to `path`, or to standard output for `-`. Refuses before a byte is written: an output that is
    /// one of `inputs`, a file that exists unless forced, binary to a terminal unless forced.
    pub fn prepare(path: &Path, inputs: &[&Input], manner: Manner) -> anyhow::Result<Output> {
        if STDOUT_NAMES.iter().any(|name| path == Path::new(name)) {
            return Ok(Output::Stream(Stream::stdout(inputs, manner)?));
        }
        let name = quoted(path);
        let mut old_mode = None;
        match std::fs::metadata(path) {
            Ok(metadata) => {
                refuse_input(&name, &metadata, inputs)?;
                if metadata.is_dir() {
                    return Err(Problem::failed(format!("cannot write {name}: it is a directory")).into());
                }
                // By the name as typed: behind /dev/fd/63 stands no name that leads anywhere.
                if !metadata.is_file() {
                    return Ok(Output::Stream(Stream::special(name, path.to_owned(), &metadata, manner)?));
                }
                if !manner.force {
                    return Err(exists_already(&name).into());
                }
                old_mode = Some(metadata.mode());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot write {name}")),
        }
        let path = resolve_links(path).with_context(|| format!("cannot write {name}"))?;
        Ok(Output::Temporary(Temporary::create(name, &path, old_mode, manner)?))
    }

    /// Whether `path` is the name that the output will have.
    pub fn is_at(&self, path: &Path) -> bool {
        match self {
            Output::Temporary(temporary) => temporary.is_at(path),
            Output::Stream(_) => false,
        }
    }

    /// As it is shown.
    pub fn name(&self) -> &str {
        match self {
            Output::Temporary(temporary) => &temporary.name,
            Output::Stream(stream) => &stream.name,
        }
    }

    /// Whether this is standard output.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Output::Stream(stream) if stream.is_stdout)
    }

    /// Whether this is a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Output::Stream(Stream { file: Some(file), .. }) if file.is_terminal())
    }

    /// Whether what was written has a name of its own that stays.
    pub fn is_regular_file(&self) -> bool {
        matches!(self, Output::Temporary(_))
    }

    /// A writer. A write that waits fails when `wake` wakes it. A terminal gets text alone, unless forced.
    pub fn writer(&self, wake: &WakeUp) -> anyhow::Result<Box<dyn Write + Send>> {
        let file = match self {
            Output::Temporary(temporary) => &temporary.file,
            Output::Stream(Stream { fifo: Some(path), .. }) => {
                return Ok(Box::new(FifoWriter::new(path.clone(), wake.clone())));
            }
            Output::Stream(Stream { file, .. }) => file.as_ref().expect("a stream is a file or a FIFO"),
        };
        let cannot_write = || format!("cannot write {}", self.name());
        let file = file.try_clone().with_context(cannot_write)?;
        Ok(match sys::may_wait(&file.metadata().with_context(cannot_write)?) {
            true if self.is_terminal() && !self.is_forced() => {
                Box::new(TextOnly(PatientWriter::new(file, wake.clone())))
            }
            true => Box::new(PatientWriter::new(file, wake.clone())),
            false => Box::new(file),
        })
    }

    /// What reads back what was written: gives the file, from its beginning, and its length in bytes; from the disk, unless syncing is
    /// off. It may take as long as the disk does. Only a regular file can be read back.
    pub fn reopener(&self) -> anyhow::Result<impl FnOnce() -> anyhow::Result<(File, u64)> + Send + use<>> {
        let Output::Temporary(temporary) = self else {
            return Err(Problem::usage(format!("{} is no file that can be read back", self.name())).into());
        };
        let (name, sync) = (self.name().to_owned(), temporary.manner.sync);
        let mut file = temporary.file.try_clone().with_context(|| format!("cannot read {name} back"))?;
        Ok(move || {
            if sync {
                file.sync_all().map_err(|error| cannot("sync", &name, &error))?;
                sys::forget_cached(&file);
            }
            let cannot_read = || format!("cannot read {name} back");
            let bytes = file.metadata().with_context(cannot_read)?.len();
            file.rewind().with_context(cannot_read)?;
            Ok((file, bytes))
        })
    }

    fn is_forced(&self) -> bool {
        match self {
            Output::Temporary(temporary) => temporary.manner.force,
            Output::Stream(stream) => stream.manner.force,
        }
    }

    /// Makes what was written durable and gives it its name. `source` lends mode and times. `is_cancelled` is asked
    /// just before the name is given.
    pub fn commit(&self, source: &Metadata, is_cancelled: impl Fn() -> bool) -> Result<(), Problem> {
        match self {
            Output::Temporary(temporary) => temporary.commit(source, is_cancelled),
            Output::Stream(stream) => stream.finish(),
        }
    }

    /// Removes what was written, if it has no name yet. Also while another thread is committing it: either that comes first
    /// and the output is whole, or it finds nothing to rename.
    pub fn abandon(&self) {
        if let Output::Temporary(temporary) = self {
            temporary.abandon();
        }
    }
}

impl Stream {
    fn stdout(inputs: &[&Input], manner: Manner) -> anyhow::Result<Stream> {
        let name = "standard output".to_owned();
        let file = sys::stdout().context("cannot write standard output")?;
        let metadata = file.metadata().context("cannot look at standard output")?;
        refuse_input(&name, &metadata, inputs)?;
        let manner = Manner { sync: manner.sync && metadata.is_file(), ..manner };
        Ok(Stream { name, is_stdout: true, file: Some(file), fifo: None, manner })
    }

    fn special(name: String, path: PathBuf, metadata: &Metadata, manner: Manner) -> anyhow::Result<Stream> {
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return Ok(Stream { name, is_stdout: false, file: None, fifo: Some(path), manner });
        }
        if kind.is_block_device() && !manner.force {
            let hint = "--force writes to it, and what is on it is lost";
            return Err(Problem::failed(format!("{name} is a block device")).hint(hint).into());
        }
        let file = OpenOptions::new().write(true).open(path).with_context(|| format!("cannot write {name}"))?;
        let manner = Manner { sync: manner.sync && kind.is_block_device(), ..manner };
        Ok(Stream { name, is_stdout: false, file: Some(file), fifo: None, manner })
    }

    fn finish(&self) -> Result<(), Problem> {
        match &self.file {
            Some(file) if self.manner.sync => file.sync_all().map_err(|error| cannot("sync", &self.name, &error)),
            _ => Ok(()),
        }
    }
}

impl Temporary {
    fn create(name: String, path: &Path, old_mode: Option<u32>, manner: Manner) -> anyhow::Result<Temporary> {
        let final_name =
            path.file_name().ok_or_else(|| Problem::failed(format!("cannot write {name}: not a file name")))?;
        let cannot_create = || format!("cannot create {name}");
        let directory = Directory::open(parent_of(path)).with_context(cannot_create)?;
        let prefix = temporary_prefix(final_name);
        // What cannot be tidied up does no harm.
        let _ = directory.remove_left_over(&prefix);
        let (temporary_name, file) = create_temporary(&directory, &prefix).with_context(cannot_create)?;
        let final_name = final_name.to_owned();
        Ok(Temporary {
            name,
            directory,
            file,
            temporary_name,
            final_name,
            manner,
            old_mode,
            is_committed: AtomicBool::new(false),
        })
    }

    fn commit(&self, source: &Metadata, is_cancelled: impl Fn() -> bool) -> Result<(), Problem> {
        let Manner { force, sync, umask } = self.manner;
        let is_file = source.is_file();
        // What comes through a pipe has no mode of its own: a file that is replaced keeps its one.
        let mode = match self.old_mode {
            Some(old_mode) if !is_file => old_mode & 0o777,
            _ => (if is_file { source.mode() } else { 0o666 }) & 0o777 & !umask,
        };
        sys::copy_mode_and_times(&self.file, mode, is_file.then_some(source))
            .map_err(|error| cannot("set mode and times of", &self.name, &error))?;
        if sync {
            self.file.sync_all().map_err(|error| cannot("sync", &self.name, &error))?;
        }
        if is_cancelled() {
            return Err(Problem::failed("stopped"));
        }
        self.directory.rename(&self.temporary_name, &self.final_name, force).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists_already(&self.name),
            _ => cannot("name", &self.name, &error),
        })?;
        self.is_committed.store(true, Ordering::SeqCst);
        if sync {
            self.directory.sync().map_err(|error| cannot("sync the directory of", &self.name, &error))?;
        }
        Ok(())
    }
}

impl Temporary {
    fn abandon(&self) {
        if !self.is_committed.load(Ordering::SeqCst) {
            // Nothing can be done about a failure here, and the file is harmless: it has a name of its own.
            let _ = self.directory.unlink(&self.temporary_name);
        }
    }

    /// Whether `path` names the same place, by whatever way.
    fn is_at(&self, path: &Path) -> bool {
        let Ok(path) = resolve_links(path) else { return false };
        let directory = Directory::open(parent_of(&path)).and_then(|directory| directory.identity());
        path.file_name() == Some(&self.final_name)
            && directory.is_ok_and(|there| self.directory.identity().is_ok_and(|here| here == there))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Writes text to a terminal; bytes that could make it misbehave are refused.
struct TextOnly<W>(W);

impl<W: Write> Write for TextOnly<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_text = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\n' | b'\r' | b'\t' | 0x08 | 0x0C);
        // No more than what is written at once, since the rest is looked at again.
        let bytes = &bytes[..bytes.len().min(TERMINAL_WRITE_LEN)];
        // C1 controls in UTF-8: U+0080 to U+009F.
        let has_c1 = bytes.windows(2).any(|pair| pair[0] == 0xC2 && (0x80..0xA0).contains(&pair[1]));
        if bytes.iter().all(is_text) && !has_c1 {
            return self.0.write(bytes);
        }
        Err(io::Error::other("binary data is not written to a terminal, unless with --force"))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What the names of temporaries for this destination begin with, however long its own name is.
fn temporary_prefix(final_name: &OsStr) -> String {
    format!(".pipeline-{:016x}-", twox_hash::XxHash64::oneshot(0, final_name.as_bytes()))
}

/// A temporary with a name that nobody can guess. One that another run took for left over, between its creation and its lock,
/// is made anew.
fn create_temporary(directory: &Directory, prefix: &str) -> io::Result<(OsString, File)> {
    for _ in 0..TEMPORARY_TRIES_MAX {
        let name = OsString::from(format!("{prefix}{:016x}.tmp", sys::random_u64()?));
        if let Some(file) = directory.create_locked(&name)? {
            return Ok((name, file));
        }
    }
    Err(io::Error::other("temporary files are removed as soon as they are made"))
}

/// The directory that `path` is in.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn exists_already(name: &str) -> Problem {
    Problem::failed(format!("{name} exists already")).hint("--force overwrites it")
}

fn cannot(verb: &str, name: &str, error: &io::Error) -> Problem {
    Problem::failed(format!("cannot {verb} {name}: {error}"))
}

fn refuse_input(name: &str, metadata: &Metadata, inputs: &[&Input]) -> Result<(), Problem> {
    let is_same = |input: &&&Input| input.is_seekable() && sys::identity(&input.metadata) == sys::identity(metadata);
    match inputs.iter().find(is_same) {
        Some(input) => Err(Problem::failed(format!("{} and {name} are the same file", input.name))),
        None => Ok(()),
    }
}

/// The name that `path` leads to when links are followed, also where there is nothing at the end.
fn resolve_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match std::fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            // Not a link, or nothing there. Anything else could hide a link that is then replaced itself.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_fits_beside_the_longest_name_and_differs_by_destination() {
        let longest = OsString::from("x".repeat(255));
        assert!(temporary_prefix(&longest).len() + 20 < 64);
        assert_ne!(temporary_prefix(&longest), temporary_prefix(OsStr::new("other")));
    }
}
