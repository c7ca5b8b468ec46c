//! The two ends of a run: counted input and output that tell failures from cancellation.

use std::io::{self, ErrorKind, IoSliceMut, Read, Write};
use std::sync::Arc;

use super::error::{Cause, Stop};
use super::metrics::Progress;
use super::shutdown::Cancel;

/// The input and the output of a run.
pub struct Endpoints {
    /// The input. A blocked read must fail when the run is cancelled.
    pub input: Box<dyn Read + Send>,
    /// Length of the input in bytes, if known.
    pub input_bytes: Option<u64>,
    /// The output. A blocked write must fail when the run is cancelled. It is flushed at the end of the run, and dropped.
    pub output: Box<dyn Write + Send>,
    /// Stops the run.
    pub cancel: Cancel,
    /// Counts bytes for progress.
    pub progress: Arc<Progress>,
}

impl Endpoints {
    /// The ends for the reading and the writing stage.
    pub(super) fn split(self) -> (Source, Output) {
        let Endpoints { input, output, cancel, progress, .. } = self;
        let source = Source { input, cancel: cancel.clone(), progress: Arc::clone(&progress) };
        (source, Output { output, cancel, progress })
    }
}

/// The counted input; an error after the run was cancelled counts as cancellation.
pub struct Source {
    input: Box<dyn Read + Send>,
    cancel: Cancel,
    progress: Arc<Progress>,
}

impl Source {
    /// Reads at least one byte; 0 only at the end of the input.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Stop> {
        self.read_by(|input| input.read(bytes))
    }

    /// The same into several buffers, in order.
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

/// The counted output; an error after the run was cancelled counts as cancellation.
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

    /// Flushes the output.
    pub fn flush(&mut self) -> Result<(), Stop> {
        self.output.flush().map_err(|error| self.stop(error))
    }

    fn stop(&self, error: io::Error) -> Stop {
        if self.cancel.is_set() { Stop::Cancelled } else { Stop::Failed(Cause::Write(error)) }
    }
}
