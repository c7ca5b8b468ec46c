//! The commands, a file each: open, run, commit, say.

pub mod batch;
pub mod bench;
pub mod cat;
pub mod completions;
pub mod config;
pub mod inspect;
pub mod keygen;
pub mod man;
pub mod process;
pub mod rekey;
pub mod restore;
pub mod salvage;
pub mod tune;
pub mod verify;

use std::path::PathBuf;

use anyhow::Context;

use crate::cli::args::{FileArgs, IdentityArgs, TalkArgs};
use crate::cli::problem::{self, Exit, Problem, quoted};
use crate::cli::resolve::Names;
use crate::cli::session::Session;
use crate::pipeline::report::Report;
use crate::report::{Reports, Taken, Verb};
use crate::store::input::Input;
use crate::store::output::Output;
use crate::store::sys;

/// Runs `command` between its reports: their files, none of which may be among `taken`, are made ready before, and written after.
fn with_reports(
    (verb, talk): (Verb, &TalkArgs),
    taken: &[Taken<'_>],
    session: &mut Session,
    command: impl FnOnce(&mut Session, &mut Reports<'_>) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let mut reports = Reports::prepare(verb, talk, taken, session.umask)?;
    let ended = reports.open().and_then(|()| command(session, &mut reports));
    reports.finish(ended)
}

/// Refuses `--rm` where it would destroy what cannot be had again.
fn check_rm(files: &FileArgs, names: &Names, input: &Input, output: &Output) -> Result<(), Problem> {
    let is_link = || std::fs::symlink_metadata(&names.input).is_ok_and(|metadata| metadata.is_symlink());
    if files.rm && (!output.is_regular_file() || !input.metadata.is_file() || is_link()) {
        return Err(Problem::usage("--rm needs IN and OUT to be regular files, by their own names"));
    }
    Ok(())
}

/// Files that a flag names, which no report may overwrite.
fn taken_files<'a>(flag: &'static str, paths: &'a [PathBuf]) -> impl Iterator<Item = Taken<'a>> {
    paths.iter().map(move |path| Taken::In(flag, path))
}

/// The same of what opens an age file.
fn taken_keys(args: &IdentityArgs) -> impl Iterator<Item = Taken<'_>> {
    let passphrases = taken_files("--passphrase-file", args.passphrases.passphrase_file.as_slice());
    taken_files("--identity", &args.identity).chain(passphrases)
}

/// Makes OUT durable under its name.
fn finish(session: &mut Session, input: &Input, output: Output) -> anyhow::Result<()> {
    Ok(session.commit(output, Some(input))?)
}

/// Shows the report, and says what has to be said of a run whose output is in its place.
fn tell(report: Report, reports: &mut Reports<'_>, input: &Input) -> Exit {
    let mut exit = Exit::Done;
    if let Err(error) = reports.show(report) {
        problem::warn(&format!("{error:#}"));
        exit = Exit::Warned;
    }
    if input.has_changed() {
        problem::warn(&format!("{} changed while it was read", input.name));
        exit = Exit::Warned;
    }
    exit
}

/// Deletes IN, if asked, when nothing speaks against it and it still has the name it was opened by.
fn delete_if_asked(files: &FileArgs, input: &Input, names: &Names, exit: Exit) -> anyhow::Result<Exit> {
    if !files.rm || exit != Exit::Done {
        return Ok(exit);
    }
    let cannot_delete = || format!("{} is complete, but {} cannot be deleted", quoted(&names.output), input.name);
    let now = std::fs::symlink_metadata(&names.input).with_context(cannot_delete)?;
    if sys::identity(&now) != sys::identity(&input.metadata) {
        return Err(Problem::failed("it is another file by now")).with_context(cannot_delete);
    }
    match std::fs::remove_file(&names.input) {
        Ok(()) => Ok(exit),
        Err(error) => {
            problem::warn(&format!("{}: {error}", cannot_delete()));
            Ok(Exit::Warned)
        }
    }
}
