//! Error messages: one line with an exit code, and a hint in a second line where there is one.

use std::error::Error;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::Context;

use crate::batch::error::{BatchError, FileError};
use crate::format::age::AgeError;
use crate::format::age::keys::{KeyError, SCRYPT_TAG};
use crate::format::zstd::ZstdError;
use crate::format::zstd::codec::WINDOW_LOG_MAX_DECODED;
use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::kind::Kind;
use crate::report::say::clipped;
use crate::report::{FailedRun, ReportError, exit, notice};
use crate::store::error::StoreError;
use crate::store::prompt::NEW_PASSPHRASE;
use crate::task::error::{KeySourceError, TaskError};

pub use crate::report::exit::Exit;
pub use crate::report::say::{tell, warn};
pub use crate::store::name::quoted;

/// Proof that a failure was reported.
#[must_use]
pub struct Said(Exit);

impl Said {
    /// There was nothing to report.
    pub fn nothing(exit: Exit) -> Said {
        Said(exit)
    }

    /// The exit code.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(self.0.code())
    }
}

/// A problem that the command line found.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    kind: Kind,
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// A usage error.
    pub fn usage(message: impl Into<String>) -> Problem {
        Problem::new(Kind::Usage, message)
    }

    /// A failure without its own exit code.
    pub fn failed(message: impl Into<String>) -> Problem {
        Problem::new(Kind::Other, message)
    }

    /// A failure of `kind`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Problem {
        Problem { kind, exit: Exit::of_kind(kind), message: message.into(), hint: None }
    }

    /// Adds a hint.
    pub fn hint(self, hint: impl Into<String>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }

    /// Adds a hint unless there is one.
    pub fn or_hint(self, hint: &str) -> Problem {
        Problem { hint: self.hint.or_else(|| Some(hint.to_owned())), ..self }
    }
}

/// Reports `error` on stderr, if there is something to report, and returns the exit code.
pub fn say(error: &anyhow::Error) -> Said {
    let exit = exit_of(error);
    if exit != Exit::ReaderGone {
        tell(&format!("pipeline: error: {}\n", clipped(&format!("{error:#}"))));
        if let Some(hint) = hint(error.as_ref()) {
            tell(&format!("hint: {}\n", clipped(&hint)));
        }
    }
    Said(exit)
}

fn exit_of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Problem>().map_or_else(|| Exit::of(error.as_ref()), |problem| problem.exit)
}

/// Describes a run that failed with `error`.
pub fn describe(error: &anyhow::Error) -> FailedRun {
    let known = exit::describe(error.as_ref());
    match error.downcast_ref::<Problem>() {
        Some(problem) => FailedRun { kind: problem.kind.word(), exit: problem.exit, ..known },
        None => known,
    }
}

/// The hint for `error`: that of the first error in its chain that has one.
pub fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    notice::errors(error).find_map(hint_of)
}

fn hint_of(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(problem) = error.downcast_ref::<Problem>() {
        return problem.hint.clone();
    }
    if let Some(error) = error.downcast_ref::<TaskError>() {
        return hint_of_task(error);
    }
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return hint_of_failure(failure);
    }
    let hint = None
        .or_else(|| error.downcast_ref().map(hint_of_store))
        .or_else(|| error.downcast_ref().map(hint_of_key))
        .or_else(|| error.downcast_ref().map(hint_of_file))
        .or_else(|| error.downcast_ref().map(hint_of_batch));
    let standard_output = matches!(error.downcast_ref(), Some(ReportError::StandardOutput(_)));
    hint.flatten().or(standard_output.then_some("/dev/stderr, or a file")).map(str::to_owned)
}

fn hint_of_task(error: &TaskError) -> Option<String> {
    let hint = match error {
        TaskError::Run(failure) => return hint_of_failure(failure),
        TaskError::ReadBack(error) => return hint_of_task(error),
        TaskError::Store(error) => hint_of_store(error),
        TaskError::Key(error) => hint_of_key(error),
        TaskError::TableRequired(_) => Some("without --require-table it is restored"),
        TaskError::TableContradicts(_) => Some("restore --ignore-table accepts the frames as they are"),
        TaskError::TableMissing(_) => Some("--foreign accepts a file without a valid seek table"),
        _ => None,
    };
    hint.map(str::to_owned)
}

fn hint_of_store(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::InputIsDirectory(_) => {
            Some("process, restore, verify and rekey take directories, and everything takes one file")
        }
        StoreError::Exists(_) => Some("--force overwrites it"),
        StoreError::CannotPublish(_) => Some("--force writes it; a file that appears there meanwhile may then be lost"),
        StoreError::BlockDevice(_) => Some("--force writes to it, and what is on it is lost"),
        StoreError::NoAnswer { prompt, .. } if prompt == NEW_PASSPHRASE => {
            Some("--passphrase-file, of rekey --new-passphrase-file, answers without a terminal")
        }
        StoreError::NoAnswer { .. } => {
            Some("--passphrase-file, --passphrase-fd and AGE_PASSPHRASE answer without a terminal")
        }
        _ => None,
    }
}

fn hint_of_key(error: &KeySourceError) -> Option<&'static str> {
    match error {
        KeySourceError::Recipient { error: KeyError::IdentityAsRecipient, .. } => {
            Some("give the recipient that belongs to it; it stands in the comment above the identity")
        }
        KeySourceError::Recipient { is_file: true, .. } => Some("-R FILE reads recipients from a file"),
        KeySourceError::Identity { error: KeyError::RecipientAsIdentity, .. } => {
            Some("recipients encrypt; to decrypt give the file with AGE-SECRET-KEY-1…")
        }
        _ => None,
    }
}

fn hint_of_file(error: &FileError) -> Option<&'static str> {
    match error {
        FileError::RestoredBefore(_) => Some("--force puts there what can be saved now"),
        FileError::OnlyCopy(_) | FileError::NotOurs(_) => Some("--force overwrites it"),
        _ => None,
    }
}

fn hint_of_batch(error: &BatchError) -> Option<&'static str> {
    match error {
        BatchError::LeadsOut(_) => Some("names without .. keep their path in the output"),
        BatchError::OutputInInput(_) => Some("an output beside the input is not read again by the next run"),
        BatchError::Collision { .. } => {
            Some("--exclude leaves one of them out; --files-from keeps paths where names alone are the same")
        }
        _ => None,
    }
}

fn hint_of_failure(failure: &Failure) -> Option<String> {
    match &failure.cause {
        Cause::Zstd(ZstdError::WindowTooLarge { window_bytes, .. }) if *window_bytes <= 1 << WINDOW_LOG_MAX_DECODED => {
            let mebibytes = window_bytes.next_power_of_two() >> 20;
            Some(format!("--window-max {mebibytes}M accepts it, and takes as much memory"))
        }
        Cause::Age(AgeError::NoMatch { stanzas, identities }) => {
            let hint = match identities.is_empty() {
                _ if stanzas == SCRYPT_TAG => {
                    "it is encrypted with a passphrase: leave -i away, or give --passphrase-file"
                }
                true => "-i FILE gives identities; a passphrase is asked for, or comes from --passphrase-file",
                false => "inspect tells whom a file is for; -i can be given several times",
            };
            Some(hint.to_owned())
        }
        Cause::Age(AgeError::WorkFactor { work_factor, .. }) => {
            let mebibytes = 1u64 << work_factor.saturating_sub(10).min(50);
            Some(format!("--max-work-factor {work_factor} accepts it, and takes {mebibytes} MiB"))
        }
        Cause::Memory { .. } => Some("--engine channels works in bounded memory".to_owned()),
        _ => None,
    }
}

/// Reports clap's error, or prints the requested help.
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
    // Of clap's tips, the one that names another flag helps; the one about `--` rarely does.
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: ")).filter(|tip| !tip.contains("-- "));
    // A level as zstd and gzip accept it: `-9`.
    let is_level = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => arg.strip_prefix('-').is_some_and(|rest| rest.parse::<u32>().is_ok()),
        _ => false,
    };
    let tip = if is_level { Some("a level is given as --level N, or -L N") } else { tip };
    match error.kind() {
        Kind::DisplayHelpOnMissingArgumentOrSubcommand => tell(&text),
        _ => {
            let tip = tip.unwrap_or("'pipeline --help' lists commands, 'pipeline COMMAND --help' their flags");
            tell(&format!("pipeline: {}\nhint: {}\n", clipped(&message.join(" ")), clipped(tip)));
        }
    }
    Said(Exit::Usage)
}

/// Writes to standard output.
pub fn print(text: &str) -> anyhow::Result<()> {
    match crate::store::sys::stdout().and_then(|mut stdout| stdout.write_all(text.as_bytes())) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            Err(Problem::new(Kind::ReaderGone, "the reader of standard output closed the pipe").into())
        }
        printed => printed.context("standard output"),
    }
}
