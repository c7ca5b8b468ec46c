//! A command whose standard output is the input. Unlike a shell pipe, a failure of the
//! command fails the run, so that partial output never looks complete.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::store::error::{Doing, StoreError};
use crate::store::input::Input;
use crate::store::name::quoted;
use crate::store::sys::{self, WakeUp};

/// Variables that lead to a passphrase.
const PASSPHRASE_VARIABLES: [&str; 3] = ["AGE_PASSPHRASE", "AGE_PASSPHRASE_FD", "AGE_PASSPHRASE_PASSED_ON"];

/// A started command. Dropping it before it has exited sends SIGTERM.
pub struct Producer {
    child: Child,
    is_ended: bool,
}

impl Producer {
    /// Starts `command`, program first; returns its output as an input. It inherits standard input and error, and the descriptors that the caller
    /// opened, but nothing that leads to a passphrase.
    pub fn start(command: &[OsString]) -> Result<(Input, Producer), StoreError> {
        let (program, arguments) = command.split_first().expect("internal error: a command of no words");
        let mut started = Command::new(program);
        for name in PASSPHRASE_VARIABLES {
            started.env_remove(name);
        }
        let started = started.args(arguments).stdin(sys::stdin_for_command()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(Doing::Run.failed(&quoted(program)))?;
        let output = child.stdout.take().expect("internal error: a child without a pipe");
        let producer = Producer { child, is_ended: false };
        let name = format!("output of {}", quoted(Path::new(program)));
        Ok((Input::of_pipe(output.into(), name)?, producer))
    }

    /// Waits for the exit, which comes soon after the pipe is closed.
    fn wait(&mut self, wake: &WakeUp) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.is_ended = true;
                return Ok(status);
            }
            wake.pause()?;
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if !self.is_ended {
            sys::ask_to_end(&self.child);
        }
    }
}

/// Reads the output of a command. Its end is the end of the input only if the command succeeded.
pub struct ProducerReader {
    output: Box<dyn Read + Send>,
    producer: Producer,
    wake: WakeUp,
}

impl ProducerReader {
    /// A reader of `output`, written by `producer`. `wake` interrupts the wait for its exit.
    pub fn new(output: Box<dyn Read + Send>, producer: Producer, wake: WakeUp) -> ProducerReader {
        ProducerReader { output, producer, wake }
    }
}

impl Read for ProducerReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.output.read(bytes)? {
            0 if !bytes.is_empty() => {}
            len => return Ok(len),
        }
        let status = self.producer.wait(&self.wake)?;
        if status.success() { Ok(0) } else { Err(io::Error::other(CommandFailed(status))) }
    }
}

/// The command failed: "exit status: 1" or "signal: 9 (SIGKILL)". The reading stage reports it as an unreadable input.
#[derive(Debug, thiserror::Error)]
#[error("the command failed, {0}")]
pub struct CommandFailed(pub ExitStatus);
