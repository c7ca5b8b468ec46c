//! The commands, a file each: open, run, commit, say.

pub mod bench;
pub mod cat;
pub mod config;
pub mod inspect;
pub mod keygen;
pub mod process;
pub mod rekey;
pub mod restore;
pub mod salvage;
pub mod tune;
pub mod verify;

use anyhow::Context;

use crate::cli::args::{FileArgs, TalkArgs};
use crate::cli::input::Input;
use crate::cli::output::Output;
use crate::cli::problem::{self, Exit, Problem, quoted};
use crate::cli::report::{ReportFile, Verb};
use crate::cli::resolve::Names;
use crate::cli::session::Session;
use crate::cli::sys;
use crate::pipeline::report::Report;

/// Refuses what would destroy IN or OUT, while nothing has been read yet, and makes the report's file ready.
fn prepare(
    files: &FileArgs,
    talk: &TalkArgs,
    names: &Names,
    input: &Input,
    output: &Output,
) -> anyhow::Result<ReportFile> {
    let is_link = || std::fs::symlink_metadata(&names.input).is_ok_and(|metadata| metadata.is_symlink());
    if files.rm && (!output.is_regular_file() || !input.metadata.is_file() || is_link()) {
        return Err(Problem::usage("--rm needs IN and OUT to be regular files, by their own names").into());
    }
    ReportFile::prepare(talk, &[input], Some(output))
}

/// Makes OUT durable under its name.
fn finish(session: &mut Session, input: &Input, output: Output) -> anyhow::Result<()> {
    Ok(session.commit(output, Some(input))?)
}

/// Shows the report, and says what has to be said of a run whose output is in its place.
fn tell(report: &Report, verb: Verb, file: ReportFile, talk: &TalkArgs, input: &Input) -> Exit {
    let mut exit = Exit::Done;
    if let Err(error) = file.show(report, verb, talk) {
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
    std::fs::remove_file(&names.input).with_context(cannot_delete)?;
    Ok(exit)
}
