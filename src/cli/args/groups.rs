//! Groups of flags that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::batch::policy::Breaker;
use crate::cli::choices::{ProgressArg, StatsArg};
use crate::cli::settings::known::{
    parse_channel_depth, parse_jobs, parse_max_work_factor, parse_window_max, parse_workers,
};
use crate::cli::size::{parse_breaker, parse_duration, parse_size};
use crate::pipeline::plan::EngineKind;

/// IN and OUT.
#[derive(Debug, clap::Args)]
pub struct FileArgs {
    /// The file to read, or - for stdin; or a directory
    #[arg(value_name = "IN")]
    pub input: Option<PathBuf>,
    /// The file or directory to write, or - for stdout [default: IN with .zst added or taken off; stdout if IN is -]
    #[arg(value_name = "OUT")]
    pub out: Option<PathBuf>,
    /// More inputs, with -o
    #[arg(value_name = "IN", hide = true)]
    pub more: Vec<PathBuf>,
    /// OUT, as a flag; then every name is an IN, and of several OUT is the directory
    #[arg(short = 'o', long = "output", value_name = "OUT")]
    pub output: Option<PathBuf>,
    /// Overwrite OUT; write binary to a terminal
    ///
    /// In a batch, outputs of earlier runs are replaced even without it; other files only with it.
    #[arg(short, long)]
    pub force: bool,
    /// Delete IN once OUT is durable
    #[arg(long)]
    pub rm: bool,
    /// Do not wait until OUT is on the disk
    #[arg(long)]
    pub no_sync: bool,
    /// Give OUT the owner, group, mode, ACL and extended attributes of IN
    ///
    /// As far as the system allows: what OUT did not get is named, with exit code 3. Never setuid or setgid bits, nor attributes of the security
    /// namespace.
    #[arg(long)]
    pub preserve: bool,
}

/// Which files make up a batch.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Many files")]
pub struct ListArgs {
    /// Take the files that are listed here, one a line, - for stdin; they keep their paths below OUT
    #[arg(long, value_name = "FILE")]
    pub files_from: Vec<PathBuf>,
    /// The same with a zero byte behind each name, as find -print0 writes it
    #[arg(long, value_name = "FILE", conflicts_with = "files_from")]
    pub files0_from: Vec<PathBuf>,
    /// Of directories, which files.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Which files of a directory are taken.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Many files")]
pub struct FilterArgs {
    /// Take only what this glob matches in a tree; repeatable
    ///
    /// Globs are those of .gitignore files: without a slash they match a name anywhere, with one a path from the directory on.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Leave out what this glob matches in a tree; repeatable
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Leave out what .gitignore and .ignore files in a directory say
    #[arg(long)]
    pub gitignore: bool,
    /// What becomes of symbolic links in directories
    #[arg(long, value_enum, value_name = "HOW", default_value_t = LinksArg::Copy)]
    pub links: LinksArg,
}

impl FilterArgs {
    /// Whether every file of a directory is taken.
    pub fn takes_all(&self) -> bool {
        let FilterArgs { include, exclude, gitignore, links: _ } = self;
        include.is_empty() && exclude.is_empty() && !gitignore
    }
}

/// What becomes of symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LinksArg {
    /// The output gets the same links
    Copy,
    /// What they lead to is taken
    Follow,
    /// They are left out
    Skip,
}

/// How a batch is done.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Many files")]
pub struct BatchArgs {
    /// Files in flight at once [default: as many as workers]
    ///
    /// They share the workers and the memory of one run. More of them than workers help where files wait for a slow disk or a network.
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub jobs: Option<u32>,
    /// What happens when a file fails
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnErrorArg::Skip)]
    pub on_error: OnErrorArg,
    /// Stop when so many files have failed, or such a share of them, as in 10%
    #[arg(long, value_name = "N", value_parser = parse_breaker)]
    pub max_failures: Option<Breaker>,
    /// Retry a file N times after a transient error
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=100))]
    pub retries: u32,
    /// Wait so long before the second try, then twice as long each time, less a random part
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_duration)]
    pub retry_wait: Duration,
    /// Wait no longer than this
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub retry_wait_max: Duration,
    /// Tell from the content whether a file has changed since the last run, not from its time and length
    #[arg(long)]
    pub checksum: bool,
}

/// What happens when a file of a batch fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnErrorArg {
    /// The others go on, and the exit code is 3
    Skip,
    /// The batch stops, with the exit code of that file
    Stop,
}

/// Beside other work.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Work")]
pub struct PaceArgs {
    /// Read no more than this a second
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub limit_rate: Option<u64>,
    /// Let other processes go first
    #[arg(long)]
    pub nice: bool,
}

/// Whom to encrypt to.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Encryption")]
pub struct EncryptArgs {
    /// Encrypt to age1…, age1pq1…, ssh-ed25519 …, ssh-rsa … or a plugin's recipient; repeatable
    #[arg(short, long, value_name = "KEY")]
    pub recipient: Vec<String>,
    /// Encrypt to those in this file, one a line
    ///
    /// Empty lines and lines that begin with # are left out. Repeatable.
    #[arg(short = 'R', long, value_name = "FILE")]
    pub recipients_file: Vec<PathBuf>,
    /// Ask for a passphrase to encrypt with
    ///
    /// It is asked for on the terminal, twice, also when data comes through standard input. Not for many files, each of which would take a
    /// second and 256 MiB.
    #[arg(short, long)]
    pub passphrase: bool,
    /// Write age's PEM text
    #[arg(short, long)]
    pub armor: bool,
}

/// Passphrases without a terminal.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PassphraseArgs {
    /// Take the passphrase from this file, less one trailing newline
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_fd")]
    pub passphrase_file: Option<PathBuf>,
    /// Take the passphrase from this descriptor
    #[arg(long, value_name = "N")]
    pub passphrase_fd: Option<i32>,
}

/// Who opens an encrypted file.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Decryption")]
pub struct IdentityArgs {
    /// Open with the identities in this file: age, encrypted age, ssh keys, plugins; repeatable
    #[arg(short, long, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// Passphrases without a terminal.
    #[command(flatten)]
    pub passphrases: PassphraseArgs,
    /// Largest scrypt work factor accepted; it decides time and memory [default: 20]
    #[arg(long, value_name = "N", value_parser = parse_max_work_factor)]
    pub max_work_factor: Option<u8>,
}

/// Limits of decoding.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Work")]
pub struct LimitArgs {
    /// Largest window accepted, a power of two [default: 128M]
    #[arg(short = 'M', long = "window-max", value_name = "SIZE", value_parser = parse_window_max)]
    pub window_log_max: Option<u32>,
}

/// How the work is spread.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Work")]
pub struct WidthArgs {
    /// Workers in each parallel stage, 0 for all [default: CPUs this process may use]
    #[arg(short, long, visible_short_alias = 'T', visible_alias = "threads", value_name = "N", value_parser = parse_workers)]
    pub workers: Option<u32>,
    /// Items that each bounded channel holds, at least 1 [default: 4]
    #[arg(long, value_name = "N", value_parser = parse_channel_depth)]
    pub channel_depth: Option<u32>,
    /// Memory to keep within: channels get shallower, then workers fewer; what is written stays the same
    /// [default: 7/8 of the container's limit, where there is one]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,
}

/// What is said.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Report")]
pub struct ReportArgs {
    /// The report on exit, on stderr [default: text; cat: none]
    #[arg(long, value_enum, value_name = "FORM", help_heading = "Reports")]
    pub stats: Option<StatsArg>,
    /// Write the report to this file instead
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub stats_file: Option<PathBuf>,
    /// Write metrics for node_exporter's textfile collector to this file, whichever way the run ends
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub prometheus: Option<PathBuf>,
    /// Write every histogram in full to this file, as an HdrHistogram interval log
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub hdr_log: Option<PathBuf>,
    /// What is shown on the way, on stderr [default: auto]
    #[arg(long, value_enum, value_name = "WHEN")]
    pub progress: Option<ProgressArg>,
    /// About how many bytes a pipe will give, for the progress bar
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub size_hint: Option<u64>,
    /// Errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more
    #[arg(short, long)]
    pub verbose: bool,
}

/// Execution engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// The pipeline
    Channels,
    /// The legacy mutex mode, for comparison
    Mutex,
}

impl From<EngineArg> for EngineKind {
    fn from(arg: EngineArg) -> EngineKind {
        match arg {
            EngineArg::Channels => EngineKind::Channels,
            EngineArg::Mutex => EngineKind::Mutex,
        }
    }
}
