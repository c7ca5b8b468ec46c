//! The commands, one file each, and what they share.

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

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::cli::args::{FileArgs, ProcessArgs};
use crate::cli::problem::{self, Exit, Problem, quoted};
use crate::cli::resolve::Names;
use crate::cli::session::{self, Session};
use crate::report::options::ReportOptions;
use crate::report::{Reports, notice};
use crate::store::error::StoreError;
use crate::store::file_id::FileState;
use crate::store::input::Input;
use crate::store::output::{Origin, Output, OutputOptions};
use crate::store::reserved::{ReservedPath, refuse_overwriting};
use crate::task::error::Notice;
use crate::task::keys::IdentitySources;
use crate::task::publish::delete_input;
use crate::task::{self, Produced, Verb};

/// Runs `command` with its reports: prepares their files before, and writes the reports after. `taken` are all files that the run uses: no report may be among
/// them, and none may be written or deleted that is read for something else.
fn with_reports(
    (verb, options): (Verb, &ReportOptions),
    taken: &[ReservedPath<'_>],
    session: &mut Session,
    command: impl FnOnce(&mut Session, &mut Reports<'_>) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let mut reports = Reports::prepare(verb, options, taken, session.umask)?;
    let opened = reports.open().map_err(Into::into);
    let checked = opened.and_then(|()| refuse_overwriting(taken).map_err(Into::into));
    let ended = checked.and_then(|()| command(session, &mut reports));
    reports.finish(ended, |error: &anyhow::Error| problem::describe(error))
}

/// Refuses `--rm` unless IN and OUT are regular files and IN is not a symlink.
fn check_rm(files: &FileArgs, names: &Names, input: &Input, output: &Output) -> Result<(), Problem> {
    let is_link = || std::fs::symlink_metadata(&names.input).is_ok_and(|metadata| metadata.is_symlink());
    if files.rm && (!output.is_regular_file() || !input.metadata.is_file() || is_link()) {
        return Err(Problem::usage("--rm needs IN and OUT to be regular files, by their own names"));
    }
    Ok(())
}

/// Refuses `--preserve` unless IN and OUT are regular files: nothing else has what it keeps.
fn check_preserve(is_given: bool, input: &Input, output: &Output) -> Result<(), Problem> {
    match is_given && !(input.metadata.is_file() && output.is_regular_file()) {
        true => Err(Problem::usage("--preserve needs IN and OUT to be regular files")),
        false => Ok(()),
    }
}

/// The files that `flag` names, which no report may overwrite.
fn taken_files<'a>(flag: &'static str, paths: &'a [PathBuf]) -> impl Iterator<Item = ReservedPath<'a>> {
    paths.iter().map(move |path| ReservedPath::In(flag, path))
}

/// The key files, which no report may overwrite.
fn taken_keys(sources: &IdentitySources) -> impl Iterator<Item = ReservedPath<'_>> {
    let passphrases = taken_files("--passphrase-file", sources.passphrase.file.as_slice());
    taken_files("--identity", &sources.files).chain(passphrases)
}

/// Prepares to write OUT, and tells of files that killed runs left there.
fn prepare(path: &Path, inputs: &[&Input], options: OutputOptions) -> Result<Output, StoreError> {
    let output = Output::prepare(path, inputs, options)?;
    for swap in output.left_swaps() {
        session::tell(&Notice::LeftSwap { swap: swap.clone(), output: output.name().to_owned() });
    }
    Ok(output)
}

/// Syncs OUT and gives it its name. Returns what is to be told of it.
fn publish(session: &mut Session, output: Output, origin: Origin) -> anyhow::Result<Option<Notice>> {
    let name = output.name().to_owned();
    let unkept = task::publish::publish(session, output, origin)?;
    Ok((!unkept.is_empty()).then_some(Notice::Unkept { output: name, unkept }))
}

/// Shows the report and warnings about a run whose output is in place.
fn tell(produced: Produced, reports: &mut Reports<'_>, input: &Input) -> Exit {
    let warnings = produced.warnings.iter().map(notice::text);
    let changed = produced.input_state.is_none().then(|| notice::text(&Notice::Changed(input.name.clone())));
    let warnings: Vec<String> = warnings.chain(changed).collect();
    let mut exit = Exit::Done;
    if let Some(Err(error)) = produced.report.map(|report| reports.show(report)) {
        problem::warn(&notice::chain(&error));
        exit = Exit::Warned;
    }
    for warning in &warnings {
        problem::warn(warning);
        exit = Exit::Warned;
    }
    exit
}

/// Deletes IN if `--rm` was given, `exit` is [`Exit::Done`] and IN's path still leads to what was read, which is in `state`.
fn delete_if_asked(files: &FileArgs, names: &Names, state: Option<FileState>, exit: Exit) -> Exit {
    if !files.rm || exit != Exit::Done {
        return exit;
    }
    let top = names.input.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = Path::new(names.input.file_name().unwrap_or_default());
    match delete_input(top, name, |there| Some(FileState::of(there)) == state) {
        Ok(()) => exit,
        Err(error) => {
            let (input, output) = (quoted(&names.input), quoted(&names.output));
            problem::warn(&format!("{output} is complete, but {input} cannot be deleted: {error}"));
            Exit::Warned
        }
    }
}

/// What is said once it is done.
const OLD_KEYS_NOTE: &str =
    "note: the payload's key is the old one: who could open the file before, and kept a copy or its key, still can\n";

/// IN's name with the suffix of each layer.
fn output_name(name: &OsStr, is_compressed: bool, is_sealed: bool) -> OsString {
    let mut name = name.to_owned();
    name.push(if is_compressed { ".zst" } else { "" });
    name.push(if is_sealed { ".age" } else { "" });
    name
}

/// Flags that do not go together.
fn refuse_contradictions(args: &ProcessArgs, is_sealed: bool) -> Result<(), Problem> {
    if !is_sealed && args.no_compress {
        return Err(Problem::usage("--no-compress without a recipient or a passphrase leaves nothing to do"));
    }
    if !is_sealed && args.encrypt.armor {
        return Err(Problem::usage("--armor is for encrypted files: give a recipient or a passphrase"));
    }
    Ok(())
}
