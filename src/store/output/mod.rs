//! Outputs and their publication: at every instant the destination is absent, old or
//! complete. Devices and FIFOs are written in place; symlinks are resolved first.

mod abilities;
mod left_over;
mod options;
mod place;
mod publication;
mod sparse;
mod stream;
mod temporary;
mod text;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::store::attributes::Unkept;
use crate::store::error::{Doing, StoreError};
use crate::store::input::Input;
use crate::store::name::quoted;
use crate::store::sys::WakeUp;
use place::resolve_links;
use sparse::SparseWriter;
use stream::{Stream, refuse_input};

pub use left_over::{aside_name, is_temporary_name, temporary_name, tidy};
pub use options::{Origin, OutputOptions};
pub use place::Place;
pub use sparse::Sparse;
pub use stream::patient_writer;
pub use temporary::Temporary;

/// Names of standard output; it is written in place, not replaced.
const STDOUT_NAMES: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// An output: a temporary or a stream.
pub enum Output {
    /// A file that is renamed into place at the end.
    Temporary(Temporary),
    /// A target that is written in place.
    Stream(Stream),
}

impl Output {
    /// Prepares to write to `path`, or to standard output for `-`. Refuses an output that is one of `inputs`, and, unless forced, an existing file.
    pub fn prepare(path: &Path, inputs: &[&Input], output_options: OutputOptions) -> Result<Output, StoreError> {
        if STDOUT_NAMES.iter().any(|name| path == Path::new(name)) {
            return Ok(Output::Stream(Stream::stdout(inputs, output_options)?));
        }
        let name = quoted(path);
        let mut there = None;
        match std::fs::metadata(path) {
            Ok(metadata) => {
                refuse_input(&name, &metadata, inputs)?;
                if metadata.is_dir() {
                    return Err(StoreError::OutputIsDirectory(name));
                }
                // Keeps the name as typed: the link target of /dev/fd/63 is not a path.
                if !metadata.is_file() {
                    return Ok(Output::Stream(Stream::special(name, path.to_owned(), &metadata, output_options)?));
                }
                if !output_options.force {
                    return Err(StoreError::Exists(name));
                }
                there = Some(metadata);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Doing::Write.failed(&name)(error)),
        }
        let path = resolve_links(path).map_err(Doing::Write.failed(&name))?;
        Ok(Output::Temporary(Temporary::create(name, &path, there.as_ref(), output_options)?))
    }

    /// Its name as messages show it.
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

    /// Whether the output is a file of its own that remains after the run.
    pub fn is_regular_file(&self) -> bool {
        matches!(self, Output::Temporary(_))
    }

    /// Files that killed runs left when they replaced the destination, as messages show them.
    pub fn left_swaps(&self) -> &[String] {
        match self {
            Output::Temporary(temporary) => &temporary.left_swaps,
            Output::Stream(_) => &[],
        }
    }

    /// A writer. `wake` makes a blocked write fail. Unless forced, a terminal accepts only text.
    pub fn writer(&self, wake: &WakeUp) -> Result<Box<dyn Write + Send>, StoreError> {
        match self {
            Output::Temporary(temporary) => Ok(temporary.writer()),
            Output::Stream(stream) => stream.writer(wake),
        }
    }

    /// Like [`Output::writer`], for content, whose zeros become holes as `sparse` says.
    pub fn content_writer(&self, wake: &WakeUp, sparse: Sparse) -> Result<Box<dyn Write + Send>, StoreError> {
        let writer = match (self, sparse) {
            (Output::Temporary(temporary), Sparse::Auto | Sparse::Always) => {
                Some(SparseWriter::new(Arc::clone(&temporary.file)))
            }
            (Output::Stream(stream), Sparse::Always) => stream.sparse_writer(),
            _ => None,
        };
        match writer.transpose().map_err(Doing::Write.failed(self.name()))? {
            Some(writer) => Ok(Box::new(writer)),
            None => self.writer(wake),
        }
    }

    /// A function that returns the written file, rewound, and its length in bytes; it may block on the disk. Unless syncing is off, the data is read
    /// from the disk, not the cache. Fails for a stream.
    pub fn reopener(&self) -> Result<impl FnOnce() -> Result<(File, u64), StoreError> + Send + use<>, StoreError> {
        match self {
            Output::Temporary(temporary) => temporary.reopener(),
            Output::Stream(Stream { name, .. }) => Err(StoreError::NotReadable(name.clone())),
        }
    }

    /// Flushes the output to disk and renames it. Calls `is_cancelled` just before the rename. Returns what of the source could not be kept.
    pub fn commit(&self, origin: &Origin, is_cancelled: impl Fn() -> bool) -> Result<Vec<Unkept>, StoreError> {
        tracing::debug!(name = self.name(), "OUT is complete, and made durable");
        match self {
            Output::Temporary(temporary) => temporary.commit(origin, is_cancelled),
            Output::Stream(stream) => stream.finish().map(|()| Vec::new()),
        }
    }

    /// Removes the output unless it is committed. Safe during a commit on another thread: either the output is complete, or the rename fails.
    pub fn abandon(&self) {
        if let Output::Temporary(temporary) = self {
            temporary.abandon();
        }
    }
}
