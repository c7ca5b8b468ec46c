//! The controlling terminal: prompts and reads a line.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::process::kill_current_process_group;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use zeroize::Zeroizing;

use super::wait::WakeUp;

/// The longest line in canonical mode (termios(3), "Canonical and noncanonical mode").
const LINE_LEN: usize = 4096;

/// The code of a key that the terminal does not have (termios(3), "_POSIX_VDISABLE").
const DISABLED: u8 = 0;

/// Whether the terminal shows typed characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Shown.
    On,
    /// Hidden: a secret.
    Off,
}

/// Width of the terminal on stderr in columns; `None` if stderr is no terminal or its width is unknown.
pub fn stderr_columns() -> Option<u16> {
    rustix::termios::tcgetwinsize(std::io::stderr()).ok().map(|size| size.ws_col).filter(|columns| *columns > 0)
}

/// The controlling terminal, independent of stdin and stdout.
pub struct Terminal {
    file: File,
    wake: WakeUp,
}

impl Terminal {
    /// Fails if the process has no terminal. `wake` interrupts the wait for an answer.
    pub fn open(wake: WakeUp) -> io::Result<Terminal> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        Ok(Terminal { file, wake })
    }

    /// Shows `prompt` and reads a line, without its newline. If the suspend key is typed (^Z), shows it again once the job goes on.
    pub fn ask(&self, prompt: &str, echo: Echo) -> io::Result<Zeroizing<String>> {
        loop {
            match self.ask_once(prompt, echo)? {
                Some(line) => return Ok(line),
                None => stop_job()?,
            }
        }
    }

    /// `None` if the suspend key was typed. The terminal is as it was before.
    fn ask_once(&self, prompt: &str, echo: Echo) -> io::Result<Option<Zeroizing<String>>> {
        // Hide first: a fast typist answers as soon as the prompt appears.
        let hidden = (echo == Echo::Off).then(|| Hidden::new(&self.file)).transpose()?;
        (&self.file).write_all(prompt.as_bytes())?;
        let line = self.read_line(hidden.as_ref().and_then(|hidden| hidden.suspend_key));
        if hidden.is_some() {
            // The typed newline was hidden too.
            (&self.file).write_all(b"\n")?;
        }
        line
    }

    fn read_line(&self, suspend_key: Option<u8>) -> io::Result<Option<Zeroizing<String>>> {
        let (mut line, mut byte) = (Zeroizing::new(Vec::with_capacity(LINE_LEN)), [0]);
        loop {
            self.wake.wait(Some((&self.file, PollFlags::IN)), None)?;
            match (&self.file).read(&mut byte)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                _ if byte == *b"\n" => break,
                _ if Some(byte[0]) == suspend_key => return Ok(None),
                _ => line.push(byte[0]),
            }
        }
        let text = std::str::from_utf8(&line).map_err(|_| io::Error::other("what was typed is no text"))?;
        Ok(Some(Zeroizing::new(text.to_owned())))
    }
}

/// Turns echo off until dropped. The suspend key ends a line meanwhile, so that the process stops only when echo is on again.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
    suspend_key: Option<u8>,
}

impl Hidden<'_> {
    fn new(terminal: &File) -> io::Result<Hidden<'_>> {
        let before = rustix::termios::tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        let key = before.special_codes[SpecialCodeIndex::VSUSP];
        let suspend_key = (key != DISABLED && before.local_modes.contains(LocalModes::ISIG)).then_some(key);
        if let Some(key) = suspend_key {
            hidden.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
            hidden.special_codes[SpecialCodeIndex::VEOL] = key;
        }
        rustix::termios::tcsetattr(terminal, OptionalActions::Now, &hidden)?;
        Ok(Hidden { terminal, before, suspend_key })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // Fails only if the terminal is gone.
        let _ = rustix::termios::tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// How long a thread waits for a signal to its process to stop it.
const STOP_TIME: Duration = Duration::from_millis(200);

/// Stops the job, as the terminal does for the suspend key: every process of the group, unless no shell is there to let it go on. Returns when it does.
fn stop_job() -> io::Result<()> {
    kill_current_process_group(rustix::process::Signal::TSTP)?;
    // Another thread may get the signal, and this one would run on for a moment. A signal to this thread alone would stop the process a second time,
    // if it came after the first was over.
    std::thread::sleep(STOP_TIME);
    Ok(())
}
