//! The output, and how it gets its name: the destination is absent or old, or complete, at every instant.
//! Devices and FIFOs are opened and written, never renamed over; a symlink is resolved first.

mod place;
mod stream;
mod temporary;

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::store::error::{Doing, StoreError};
use crate::store::input::Input;
use crate::store::name::quoted;
use crate::store::sys::{self, PatientWriter, WakeUp};
use place::resolve_links;
use stream::Stream;

pub use place::Place;
pub use temporary::{Temporary, is_temporary_name, temporary_name};

/// Names of standard output: what is behind them is written to, not replaced.
const STDOUT_NAMES: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// How the output is to be treated.
#[derive(Clone, Copy, Debug)]
pub struct OutputOptions {
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
    pub fn prepare(path: &Path, inputs: &[&Input], output_options: OutputOptions) -> Result<Output, StoreError> {
        if STDOUT_NAMES.iter().any(|name| path == Path::new(name)) {
            return Ok(Output::Stream(Stream::stdout(inputs, output_options)?));
        }
        let name = quoted(path);
        let mut old_mode = None;
        match std::fs::metadata(path) {
            Ok(metadata) => {
                refuse_input(&name, &metadata, inputs)?;
                if metadata.is_dir() {
                    return Err(StoreError::OutputIsDirectory(name));
                }
                // By the name as typed: behind /dev/fd/63 stands no name that leads anywhere.
                if !metadata.is_file() {
                    return Ok(Output::Stream(Stream::special(name, path.to_owned(), &metadata, output_options)?));
                }
                if !output_options.force {
                    return Err(StoreError::Exists(name));
                }
                old_mode = Some(metadata.mode());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Doing::Write.failed(&name)(error)),
        }
        let path = resolve_links(path).map_err(Doing::Write.failed(&name))?;
        Ok(Output::Temporary(Temporary::create(name, &path, old_mode, output_options)?))
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
    pub fn writer(&self, wake: &WakeUp) -> Result<Box<dyn Write + Send>, StoreError> {
        match self {
            Output::Temporary(temporary) => Ok(temporary.writer()),
            Output::Stream(stream) => stream.writer(wake),
        }
    }

    /// What reads back what was written: gives the file, from its beginning, and its length in bytes; from the disk, unless syncing is
    /// off. It may take as long as the disk does. Only a regular file can be read back.
    pub fn reopener(&self) -> Result<impl FnOnce() -> Result<(File, u64), StoreError> + Send + use<>, StoreError> {
        match self {
            Output::Temporary(temporary) => temporary.reopener(),
            Output::Stream(Stream { name, .. }) => Err(StoreError::NotReadable(name.clone())),
        }
    }

    /// Makes what was written durable and gives it its name. `source` lends mode and times, if it is a file. `is_cancelled` is asked
    /// just before the name is given.
    pub fn commit(&self, source: Option<&Metadata>, is_cancelled: impl Fn() -> bool) -> Result<(), StoreError> {
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

fn refuse_input(name: &str, metadata: &Metadata, inputs: &[&Input]) -> Result<(), StoreError> {
    let is_same = |input: &&&Input| input.is_seekable() && sys::identity(&input.metadata) == sys::identity(metadata);
    match inputs.iter().find(is_same) {
        Some(input) => Err(StoreError::SameFile { input: input.name.clone(), output: name.to_owned() }),
        None => Ok(()),
    }
}
