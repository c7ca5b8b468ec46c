//! Messages about the files of a batch.

use std::path::Path;

use super::notice;
use crate::batch::error::FileError;
use crate::batch::messages::{Stopped, Warning};
use crate::batch::results::Counts;
use crate::store::name::quoted;

/// Why a file failed, in one line that names the file once.
pub fn failed_file(source: &Path, error: &FileError) -> String {
    let (source, message) = (quoted(source), notice::chain(error));
    if message.contains(&source) { message } else { format!("{source}: {message}") }
}

/// The warnings about a file's output, in one line.
pub fn warnings(source: &Path, warnings: &[Warning]) -> String {
    let source = quoted(source);
    let words = warnings.iter().map(|warning| match warning {
        Warning::Notice(told) => notice::text(told),
        Warning::NotDeleted(error) => format!("{source}: its output is complete, but it cannot be deleted: {error}"),
        Warning::Kept(error) => format!("{source} is kept: {error}"),
    });
    words.collect::<Vec<_>>().join("; ")
}

/// The number of files per result, without zeros.
pub fn counts(counts: &Counts) -> String {
    let Counts { files: _, done, redone, unchanged, warned, failed, skipped, left } = *counts;
    let words = [
        (done, "done"),
        (redone, "redone"),
        (unchanged, "unchanged"),
        (warned, "with a warning"),
        (failed, "failed"),
        (skipped, "skipped"),
        (left, "left"),
    ];
    let told: Vec<String> =
        words.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

/// Why a batch stopped before all its files were done.
pub fn stopped(stopped: Stopped) -> String {
    match stopped {
        Stopped::AtFailure(_) => "it stops at the first failure, as --on-error asks".to_owned(),
        Stopped::TooManyFailed { failed_count, ended_count } => {
            format!("{failed_count} of {ended_count} files failed, and --max-failures ends it there")
        }
        Stopped::WithoutJournal => "without a journal nothing more can be done".to_owned(),
    }
}
