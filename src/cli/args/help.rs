//! The clap command, with guides, examples and versions added to its help.
//!
//! `-h` fits a screen, so it leaves out rarely used flags; `--help` and the man pages show all. The list of those flags is here, since the
//! choice depends on the page as a whole.

use std::ffi::OsString;

use clap::{Command, CommandFactory, FromArgMatches};

use super::examples::{GUIDES, Guide};
use super::{Args, Typed};
use crate::format::zstd::codec;

/// Flags that `-h` leaves out, by their long names.
const SELDOM: [&str; 35] = [
    "no-sync",
    "preserve",
    "chunk-size",
    "no-compress",
    "sparse",
    "passphrase-file",
    "passphrase-fd",
    "max-work-factor",
    "window-max",
    "channel-depth",
    "memory",
    "engine",
    "stats",
    "stats-file",
    "prometheus",
    "hdr-log",
    "size-hint",
    "config",
    "no-config",
    "armor",
    "progress",
    "new-passphrase-file",
    "files-from",
    "files0-from",
    "include",
    "gitignore",
    "links",
    "on-error",
    "max-failures",
    "retries",
    "retry-wait",
    "retry-wait-max",
    "checksum",
    "limit-rate",
    "nice",
];

/// The command that is about engines and depths, and so has them in its `-h`.
const SHOWS_ALL: &str = "bench";

/// The exit codes, each with what it means.
pub const EXIT_CODES: [(&str, &str); 8] = [
    ("0", "done, and durable unless --no-sync"),
    ("1", "failed: I/O, a limit, or anything without a line of its own"),
    ("2", "wrong usage"),
    ("3", "done, with a warning that counts; of many files, some failed"),
    ("4", "data damaged, truncated or not authentic"),
    ("5", "no identity matches, or the passphrase is wrong"),
    ("129 to 131, 143", "stopped by SIGHUP, SIGINT, SIGQUIT, SIGTERM; nothing half is left behind"),
    ("141", "the reader of standard output went away; nothing is said"),
];

/// The command line, ready to parse and to show its help.
pub fn command() -> Command {
    leave_out_seldom(full_command())
}

/// The same with every flag in the short help too: for pages that have room.
pub fn full_command() -> Command {
    let command = Args::command().long_version(long_version());
    GUIDES.iter().fold(command, |command, guide| {
        let words: Vec<&str> = guide.command.split_whitespace().collect();
        at(command, &words, &|command| with_guide(command, guide))
    })
}

/// The guide of the command whose page has this name: `pipeline-config-show`.
pub fn guide(page_name: &str) -> Option<&'static Guide> {
    GUIDES.iter().find(|guide| format!("pipeline {}", guide.command).trim_end().replace(' ', "-") == page_name)
}

/// Changes the command that `words` lead to.
fn at(command: Command, words: &[&str], change: &dyn Fn(Command) -> Command) -> Command {
    match words {
        [] => change(command),
        [word, rest @ ..] => command.mut_subcommand(*word, |command| at(command, rest, change)),
    }
}

fn with_guide(command: Command, guide: &Guide) -> Command {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut after = String::new();
    if guide.command.is_empty() {
        after += "Exit codes:\n";
        for (code, meaning) in EXIT_CODES {
            after += &format!("  {code:<13}  {meaning}\n");
        }
        after.push('\n');
    }
    after += "Examples:\n";
    for example in guide.examples {
        after += &format!("  {}\n      {}\n", example.line, example.does);
    }
    command.long_about(format!("{about}\n\n{}", guide.about)).after_long_help(after)
}

fn leave_out_seldom(command: Command) -> Command {
    let command = command.mut_subcommands(leave_out_seldom);
    if command.get_name() == SHOWS_ALL {
        return command;
    }
    let has_out = command.get_positionals().any(|arg| arg.get_id() == "out");
    command.mut_args(|arg| match arg.get_long() {
        Some(long) if SELDOM.contains(&long) => arg.hide_short_help(true),
        // If OUT is a positional, `--output` is redundant.
        Some("output") if has_out => arg.hide_short_help(true),
        _ => arg,
    })
}

/// What `--version` says behind the program's name: versions of the program, of libzstd, and of the formats.
fn long_version() -> String {
    format!(
        "{}\nlibzstd {}\nformats: zstd (RFC 8878), zstd seekable format 0.1.0, age v1",
        env!("CARGO_PKG_VERSION"),
        codec::library_version()
    )
}

impl Args {
    /// Takes `args`, the first of which is the program's name. What clap finds wrong, or the help that was asked for, is the error.
    pub fn parse_words(args: impl IntoIterator<Item = OsString>) -> Result<(Args, Typed), clap::Error> {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(args)?;
        let args = Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        Ok((args, Typed::of(&matches)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_that_is_left_out_exists() {
        let command = full_command();
        let is_flag = |long: &str| {
            let has = |command: &Command| command.get_arguments().any(|arg| arg.get_long() == Some(long));
            has(&command) || command.get_subcommands().any(has)
        };
        let unknown: Vec<&str> = SELDOM.into_iter().filter(|long| !is_flag(long)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
