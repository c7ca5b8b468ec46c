//! An output that is written in place: a device, a FIFO or standard output.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Seek, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::options::OutputOptions;
use super::sparse::SparseWriter;
use super::text::TextOnly;
use crate::store::error::{Doing, StoreError};
use crate::store::input::Input;
use crate::store::sys::{self, FifoWriter, PatientWriter, WakeUp};

/// A device, a FIFO, or standard output.
pub struct Stream {
    pub(super) name: String,
    pub(super) is_stdout: bool,
    pub(super) output_options: OutputOptions,
    target: Target,
}

/// The target of a stream.
enum Target {
    Open(File),
    /// The writer opens it, once there is a reader.
    Fifo(PathBuf),
}

impl Stream {
    /// Standard output, unless it is one of `inputs`. Unless forced, fails if it seems to be closed.
    pub(super) fn stdout(inputs: &[&Input], output_options: OutputOptions) -> Result<Stream, StoreError> {
        let name = "standard output".to_owned();
        let opened = if output_options.force { sys::stdout() } else { sys::stdout_for_data() };
        let file = opened.map_err(Doing::Write.failed(&name))?;
        let metadata = file.metadata().map_err(Doing::LookAt.failed(&name))?;
        refuse_input(&name, &metadata, inputs)?;
        let output_options = OutputOptions { sync: output_options.sync && metadata.is_file(), ..output_options };
        Ok(Stream { name, is_stdout: true, output_options, target: Target::Open(file) })
    }

    /// A device or a FIFO at `path`.
    pub(super) fn special(
        name: String,
        path: PathBuf,
        metadata: &Metadata,
        output_options: OutputOptions,
    ) -> Result<Stream, StoreError> {
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return Ok(Stream { name, is_stdout: false, output_options, target: Target::Fifo(path) });
        }
        if kind.is_block_device() && !output_options.force {
            return Err(StoreError::BlockDevice(name));
        }
        let file = sys::open_device(&path, kind.is_block_device()).map_err(Doing::Write.failed(&name))?;
        let output_options = OutputOptions { sync: output_options.sync && kind.is_block_device(), ..output_options };
        Ok(Stream { name, is_stdout: false, output_options, target: Target::Open(file) })
    }

    /// Whether this is a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(&self.target, Target::Open(file) if file.is_terminal())
    }

    /// Like [`Output::writer`].
    pub(super) fn writer(&self, wake: &WakeUp) -> Result<Box<dyn Write + Send>, StoreError> {
        let file = match &self.target {
            Target::Open(file) => file,
            Target::Fifo(path) => return Ok(Box::new(FifoWriter::new(path.clone(), wake.clone()))),
        };
        let writer = patient_writer(file, wake).map_err(Doing::Write.failed(&self.name))?;
        Ok(if self.is_terminal() && !self.output_options.force { Box::new(TextOnly::new(writer)) } else { writer })
    }

    /// A writer that leaves holes, if this is a regular file that grows with what is written. Bytes that are there are not skipped, and a file opened for
    /// append cannot be, since every write goes to its end.
    pub(super) fn sparse_writer(&self) -> Option<io::Result<SparseWriter>> {
        let Target::Open(file) = &self.target else { return None };
        let is_growing = || {
            let metadata = file.metadata()?;
            Ok(metadata.is_file() && !sys::is_appending(file)? && (&*file).stream_position()? >= metadata.len())
        };
        match is_growing() {
            Ok(false) => None,
            Ok(true) => Some(file.try_clone().and_then(|file| SparseWriter::new(Arc::new(file)))),
            Err(error) => Some(Err(error)),
        }
    }

    /// Flushes a block device, or a file that is standard output, to disk.
    pub(super) fn finish(&self) -> Result<(), StoreError> {
        match &self.target {
            Target::Open(file) if self.output_options.sync => file.sync_all().map_err(Doing::Sync.failed(&self.name)),
            _ => Ok(()),
        }
    }
}

/// A writer to `file` that `wake` can interrupt if it may block.
pub fn patient_writer(file: &File, wake: &WakeUp) -> io::Result<Box<dyn Write + Send>> {
    let file = file.try_clone()?;
    let metadata = file.metadata()?;
    Ok(match sys::may_wait(&metadata) && !sys::is_memory_device(&metadata) {
        true => Box::new(PatientWriter::new(file, wake.clone())),
        false => Box::new(file),
    })
}

pub(super) fn refuse_input(name: &str, metadata: &Metadata, inputs: &[&Input]) -> Result<(), StoreError> {
    let is_same = |input: &&&Input| input.is_seekable() && sys::identity(&input.metadata) == sys::identity(metadata);
    match inputs.iter().find(is_same) {
        Some(input) => Err(StoreError::SameFile { input: input.name.clone(), output: name.to_owned() }),
        None => Ok(()),
    }
}
