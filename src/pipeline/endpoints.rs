//! The two ends of a run: bytes in and bytes out, counted, and failures told apart from being cancelled.

use std::io::{self, ErrorKind, IoSliceMut, Read, Write};
use std::sync::Arc;

use super::error::{Cause, Stop};
use super::metrics::Progress;
use super::shutdown::Cancel;

/// Where bytes come from and go to.
pub struct Endpoints {
    /// The input. When the run is cancelled, a read that waits must fail.
    pub input: Box<dyn Read + Send>,
    /// Length of the input in bytes, where it is known.
    pub input_bytes: Option<u64>,
    /// The output. When the run is cancelled, a write that waits must fail. It is not flushed or closed in any special way.
    pub output: Box<dyn Write + Send>,
    /// Stops the run.
    pub cancel: Cancel,
    /// Counts bytes, for progress.
    pub progress: Arc<Progress>,
}

impl Endpoints {
    /// The ends as the reading and the writing stage take them.
    pub(super) fn split(self) -> (Source, Output) {
        let Endpoints { input, output, cancel, progress, .. } = self;
        let source = Source { input, cancel: cancel.clone(), progress: Arc::clone(&progress) };
        (source, Output { output, cancel, progress })
    }
}

/// The input, counted, and told apart from an input that fails because the run was cancelled.
pub struct Source {
    input: Box<dyn Read + Send>,
    cancel: Cancel,
    progress: Arc<Progress>,
}

impl Source {
    /// Reads what is there, at least one byte but at the end of the input.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Stop> {
        self.read_by(|input| input.read(bytes))
    }

    /// The same into several places, one after the other.
    pub fn read_vectored(&mut self, places: &mut [IoSliceMut<'_>]) -> Result<usize, Stop> {
        self.read_by(|input| input.read_vectored(places))
    }

    fn read_by(&mut self, mut read: impl FnMut(&mut dyn Read) -> io::Result<usize>) -> Result<usize, Stop> {
        loop {
            match read(&mut *self.input) {
                Ok(len) => {
                    self.progress.add_read(len);
                    return Ok(len);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) if self.cancel.is_set() => return Err(Stop::Cancelled),
                Err(error) => return Err(Stop::Failed(Cause::of_read(error))),
            }
        }
    }

    /// Reads until `bytes` is full or the input ends.
    pub fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, Stop> {
        let mut filled_len = 0;
        while filled_len < bytes.len() {
            match self.read(&mut bytes[filled_len..])? {
                0 => break,
                len => filled_len += len,
            }
        }
        Ok(filled_len)
    }
}

/// The output, counted, and told apart from an output that fails because the run was cancelled.
pub struct Output {
    output: Box<dyn Write + Send>,
    cancel: Cancel,
    progress: Arc<Progress>,
}

impl Output {
    /// Writes all of `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.output.write_all(bytes).map_err(|error| self.stop(error))?;
        self.progress.add_written(bytes.len());
        Ok(())
    }

    /// Hands on what the output may hold back.
    pub fn flush(&mut self) -> Result<(), Stop> {
        self.output.flush().map_err(|error| self.stop(error))
    }

    fn stop(&self, error: io::Error) -> Stop {
        if self.cancel.is_set() { Stop::Cancelled } else { Stop::Failed(Cause::Write(error)) }
    }
}
