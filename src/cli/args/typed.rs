//! The set of flags that were typed: an unused flag is a usage error, while an unused setting from the environment or a file is ignored.

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::cli::problem::Problem;

/// Flags that are about many files.
const BATCH: [&str; 11] = [
    "jobs",
    "on_error",
    "max_failures",
    "retries",
    "retry_wait",
    "retry_wait_max",
    "checksum",
    "include",
    "exclude",
    "gitignore",
    "links",
];

/// The flags of a command line, by the names of their fields.
#[derive(Clone, Debug, Default)]
pub struct Typed(Vec<String>);

impl Typed {
    pub(super) fn of(matches: &ArgMatches) -> Typed {
        let mut typed = Vec::new();
        let mut matches = Some(matches);
        while let Some(level) = matches {
            let is_typed = |id: &&str| level.value_source(id) == Some(ValueSource::CommandLine);
            let flags = level.ids().map(clap::Id::as_str).filter(|id| level.try_contains_id(id).is_ok());
            typed.extend(flags.filter(is_typed).map(str::to_owned));
            matches = level.subcommand().map(|(_, below)| below);
        }
        Typed(typed)
    }

    /// Refuses `flags`, which the command does not use because of `why`.
    pub fn refuse(&self, flags: &[&str], why: &str) -> Result<(), Problem> {
        match flags.iter().find(|flag| self.0.iter().any(|typed| typed == *flag)) {
            Some(flag) => Err(Problem::usage(format!("--{} is not used: {why}", flag.replace('_', "-")))),
            None => Ok(()),
        }
    }

    /// Refuses flags that are about many files, where there is one.
    pub fn refuse_batch_flags(&self) -> Result<(), Problem> {
        self.refuse(&BATCH, "it is for directories and lists of files")
    }

    /// Refuses flags that are about one file, where there are many.
    pub fn refuse_single_file_flags(&self) -> Result<(), Problem> {
        self.refuse(&["size_hint"], "the sizes of many files are known")?;
        self.refuse(&["preserve"], "it is for one file")
    }
}
