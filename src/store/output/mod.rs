//! The output, and how it gets its name: the destination is absent or old, or complete, at every instant.
//! Devices and FIFOs are opened and written, never renamed over; a symlink is resolved first.

mod place;
mod stream;
mod temporary;

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;

use crate::cli::problem::{Problem, quoted};
use crate::store::input::Input;
use crate::store::sys::{self, PatientWriter, WakeUp};
use place::resolve_links;
use stream::Stream;

pub use place::Place;
pub use temporary::{Temporary, is_temporary_name, temporary_name};

/// Names of standard output: what is behind them is written to, not replaced.
const STDOUT_NAMES: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

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
        matches!(self, Output::Stream(stream) if stream.is_terminal())
    }

    /// Whether what was written has a name of its own that stays.
    pub fn is_regular_file(&self) -> bool {
        matches!(self, Output::Temporary(_))
    }

    /// A writer. A write that waits fails when `wake` wakes it. A terminal gets text alone, unless forced.
    pub fn writer(&self, wake: &WakeUp) -> anyhow::Result<Box<dyn Write + Send>> {
        match self {
            Output::Temporary(temporary) => Ok(temporary.writer()),
            Output::Stream(stream) => stream.writer(wake),
        }
    }

    /// What reads back what was written: gives the file, from its beginning, and its length in bytes; from the disk, unless syncing is
    /// off. It may take as long as the disk does. Only a regular file can be read back.
    pub fn reopener(&self) -> anyhow::Result<impl FnOnce() -> anyhow::Result<(File, u64)> + Send + use<>> {
        match self {
            Output::Temporary(temporary) => temporary.reopener(),
            Output::Stream(Stream { name, .. }) => {
                Err(Problem::usage(format!("{name} is no file that can be read back")).into())
            }
        }
    }

    /// Makes what was written durable and gives it its name. `source` lends mode and times, if it is a file. `is_cancelled` is asked
    /// just before the name is given.
    pub fn commit(&self, source: Option<&Metadata>, is_cancelled: impl Fn() -> bool) -> Result<(), Problem> {
        tracing::debug!(name = self.name(), "OUT is complete, and made durable");
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

/// A writer to `file` that can be woken where a write may wait.
pub fn patient_writer(file: &File, wake: &WakeUp) -> io::Result<Box<dyn Write + Send>> {
    let file = file.try_clone()?;
    let metadata = file.metadata()?;
    Ok(match sys::may_wait(&metadata) && !sys::is_memory_device(&metadata) {
        true => Box::new(PatientWriter::new(file, wake.clone())),
        false => Box::new(file),
    })
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
