//! What went wrong, in one line, with its exit code; and advice in a second line where there is any.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use anyhow::Context;

use crate::format::age::AgeError;
use crate::format::age::keys::SCRYPT_TAG;
use crate::format::zstd::ZstdError;
use crate::format::zstd::codec::WINDOW_LOG_MAX_DECODED;
use crate::pipeline::error::{Cause, Failure, Signal};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and durable.
    Done,
    /// I/O, or anything without a line of its own.
    Failed,
    /// Wrong usage.
    Usage,
    /// Finished, with a warning that counts.
    Warned,
    /// Data damaged, truncated or not authentic.
    Damaged,
    /// No identity matches, or the passphrase is wrong.
    NoKey,
    /// Stopped by a signal.
    Stopped(Signal),
    /// The reader of stdout went away.
    ReaderGone,
}

impl Exit {
    /// For the shell.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Warned => 3,
            Exit::Damaged => 4,
            Exit::NoKey => 5,
            Exit::ReaderGone => 141,
            Exit::Stopped(signal) => 128 + signal.number().unsigned_abs() as u8,
        }
    }
}

/// The proof that whatever there was to say has been said.
#[must_use]
pub struct Said(Exit);

impl Said {
    /// Nothing had to be said.
    pub fn nothing(exit: Exit) -> Said {
        Said(exit)
    }

    /// For the shell.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(self.0.code())
    }
}

/// Something that the command line itself found wrong.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Problem {
        Problem { exit: Exit::Usage, message: message.into(), hint: None }
    }

    /// A failure without an exit code of its own.
    pub fn failed(message: impl Into<String>) -> Problem {
        Problem { exit: Exit::Failed, message: message.into(), hint: None }
    }

    /// Damaged data.
    pub fn damaged(message: impl Into<String>) -> Problem {
        Problem { exit: Exit::Damaged, message: message.into(), hint: None }
    }

    /// Adds advice.
    pub fn hint(self, hint: impl Into<String>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }

    /// Gives the advice `better` where `hint` was given.
    pub fn instead_of_hint(self, hint: &str, better: &str) -> Problem {
        if self.hint.as_deref() == Some(hint) { self.hint(better) } else { self }
    }

    /// Adds advice where there is none.
    pub fn or_hint(self, hint: &str) -> Problem {
        Problem { hint: self.hint.or_else(|| Some(hint.to_owned())), ..self }
    }
}

/// The output was stdout: marks a failure, so that a reader that went away is told apart from a FIFO's.
#[derive(Clone, Copy, Debug)]
pub struct ToStdout;

impl std::fmt::Display for ToStdout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("standard output")
    }
}

/// Says `error` on stderr, unless there is nothing to say, and gives the exit code.
pub fn say(error: &anyhow::Error) -> Said {
    let (exit, hint) = judge(error);
    if exit != Exit::ReaderGone {
        tell(&format!("pipeline: error: {error:#}\n"));
        if let Some(hint) = hint {
            tell(&format!("hint: {hint}\n"));
        }
    }
    Said(exit)
}

/// How the program ends on `error`.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    judge(error).0
}

/// How the program ends on `error`, and advice where there is any.
pub fn judge(error: &anyhow::Error) -> (Exit, Option<String>) {
    if let Some(problem) = error.downcast_ref::<Problem>() {
        return (problem.exit, problem.hint.clone());
    }
    let is_stdout = error.downcast_ref::<ToStdout>().is_some();
    let is_reader_gone = |error: &std::io::Error| is_stdout && error.kind() == ErrorKind::BrokenPipe;
    if error.downcast_ref().is_some_and(is_reader_gone) {
        return (Exit::ReaderGone, None);
    }
    let Some(failure) = error.downcast_ref::<Failure>() else {
        return (Exit::Failed, None);
    };
    match &failure.cause {
        Cause::Signal(signal) => (Exit::Stopped(*signal), None),
        Cause::Write(error) if is_reader_gone(error) => (Exit::ReaderGone, None),
        Cause::Task(task) => match task.downcast_ref::<Problem>() {
            Some(problem) => (problem.exit, problem.hint.clone()),
            None => (Exit::Failed, None),
        },
        Cause::Zstd(zstd) if zstd.is_damage() => (Exit::Damaged, None),
        Cause::Zstd(ZstdError::WindowTooLarge { window_bytes, .. }) if *window_bytes <= 1 << WINDOW_LOG_MAX_DECODED => {
            let mebibytes = window_bytes.next_power_of_two() >> 20;
            (Exit::Failed, Some(format!("--window-max {mebibytes}M accepts it, and takes as much memory")))
        }
        Cause::Age(AgeError::NoMatch { stanzas, identities }) => {
            let hint = match identities.is_empty() {
                _ if stanzas == SCRYPT_TAG => {
                    "it is encrypted with a passphrase: leave -i away, or give --passphrase-file"
                }
                true => "-i FILE gives identities; a passphrase is asked for, or comes from --passphrase-file",
                false => "inspect tells whom a file is for; -i can be given several times",
            };
            (Exit::NoKey, Some(hint.to_owned()))
        }
        Cause::Age(AgeError::Plugin | AgeError::WrongPassphrase) => (Exit::NoKey, None),
        Cause::Age(AgeError::WorkFactor { work_factor, .. }) => {
            let mebibytes = 1u64 << work_factor.saturating_sub(10).min(50);
            (Exit::Damaged, Some(format!("--max-work-factor {work_factor} accepts it, and takes {mebibytes} MiB")))
        }
        Cause::Age(_) => (Exit::Damaged, None),
        Cause::Memory { .. } => (Exit::Failed, Some("--engine channels works in bounded memory".to_owned())),
        _ => (Exit::Failed, None),
    }
}

/// Says what clap found wrong with the arguments, or prints the help that was asked for.
pub fn say_usage(error: &clap::Error) -> Said {
    use clap::error::{ContextKind, ContextValue, ErrorKind as Kind};

    if matches!(error.kind(), Kind::DisplayHelp | Kind::DisplayVersion) {
        return match print(&error.render().to_string()) {
            Ok(()) => Said(Exit::Done),
            Err(error) => say(&error),
        };
    }
    let text = error.render().to_string();
    let message: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    // Of clap's advice, what names another flag helps; that a value may stand behind `--` hardly ever does.
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: ")).filter(|tip| !tip.contains("-- "));
    // `-9`, as zstd and gzip have it.
    let is_level = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => arg.strip_prefix('-').is_some_and(|rest| rest.parse::<u32>().is_ok()),
        _ => false,
    };
    let tip = if is_level { Some("a level is given as --level N, or -L N") } else { tip };
    match error.kind() {
        Kind::DisplayHelpOnMissingArgumentOrSubcommand => tell(&text),
        _ => {
            let tip = tip.unwrap_or("'pipeline --help' lists commands, 'pipeline COMMAND --help' their flags");
            tell(&format!("pipeline: {}\nhint: {tip}\n", message.join(" ")));
        }
    }
    Said(Exit::Usage)
}

/// Says something that is no error.
pub fn warn(message: &str) {
    tell(&format!("pipeline: warning: {message}\n"));
}

/// Writes to stderr. Where that fails there is nobody left to tell, and the exit code still speaks.
pub fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes to stdout what was asked for there.
pub fn print(text: &str) -> anyhow::Result<()> {
    crate::store::sys::stdout().and_then(|mut stdout| stdout.write_all(text.as_bytes())).context(ToStdout)
}

/// A file name as it is shown: in quotes, with everything escaped that could pass for something else.
pub fn quoted(name: impl AsRef<OsStr>) -> String {
    let mut shown = String::from("'");
    for chunk in name.as_ref().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => shown.push('"'),
                c => shown.extend(c.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            write!(shown, "\\x{byte:02x}").expect("writing to a String does not fail");
        }
    }
    shown.push('\'');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_shown_escaped() {
        let shown = |bytes: &[u8]| quoted(OsStr::from_bytes(bytes));
        assert_eq!(shown(b"plain name.txt"), "'plain name.txt'");
        assert_eq!(shown("größe".as_bytes()), "'größe'");
        assert_eq!(shown(b"new\nline\x1b[31m"), r"'new\nline\u{1b}[31m'");
        assert_eq!(shown(b"it's \xff"), r"'it\'s \xff'");
    }
}
