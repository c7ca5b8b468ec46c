//! The arguments as typed. Nothing is opened or looked up here; [`resolve`](crate::cli::resolve) fills in defaults.

mod examples;
mod groups;
pub mod help;
mod measure;
mod typed;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::cli::settings::known::{parse_chunk_size, parse_level};
use crate::cli::size::parse_range;
use crate::format::zstd::codec::Level;
use crate::pipeline::plan::ContentRange;

pub use crate::cli::choices::{ProgressArg, SparseArg, StatsArg};
pub use crate::cli::settings::flags::ConfigArgs;
pub use examples::Guide;
pub use groups::{
    BatchArgs, EncryptArgs, EngineArg, FileArgs, FilterArgs, IdentityArgs, LimitArgs, LinksArg, ListArgs, OnErrorArg,
    PaceArgs, PassphraseArgs, ReportArgs, WidthArgs,
};
pub use measure::{BenchArgs, TuneArgs};
pub use typed::Typed;

/// Compresses and encrypts files on all cores, into standard zstd and age files, and brings them back.
#[derive(Debug, Parser)]
#[command(name = "pipeline", version, max_term_width = 100, disable_help_subcommand = true, subcommand_required = true)]
#[command(args_override_self = true)]
#[command(arg_required_else_help = true)]
#[command(
    after_help = "`-` as IN or OUT is standard input or output. `pipeline COMMAND -h` lists the flags, `--help` explains."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where settings come from.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compress IN on all cores into a seekable zstd file, and encrypt it if asked
    #[command(visible_alias = "compress")]
    #[command(override_usage = "pipeline process [OPTIONS] IN [OUT]\n       \
                                pipeline process [OPTIONS] -o DIR IN...\n       \
                                pipeline process [OPTIONS] --stdin-from-command OUT -- CMD...")]
    Process(ProcessArgs),
    /// Decompress and decrypt any zstd or age file
    #[command(
        visible_alias = "decompress",
        override_usage = "pipeline restore [OPTIONS] IN [OUT]\n       pipeline restore [OPTIONS] -o DIR IN..."
    )]
    Restore(RestoreArgs),
    /// Decode everything and write nothing
    Verify(VerifyArgs),
    /// Write a range of the content to stdout, decoding only the frames it needs
    Cat(CatArgs),
    /// Tell what a file holds: layers, frames, sizes, ratio
    Inspect(InspectArgs),
    /// Change whom an age file is encrypted to; the payload stays as it is
    Rekey(RekeyArgs),
    /// Make an identity; its recipient goes to stderr
    Keygen(KeygenArgs),
    /// What the settings are, and where each comes from
    Config(SettingsArgs),
    /// Measure engines, workers, depths, levels and other tools side by side, on a file of yours
    Bench(BenchArgs),
    /// Try workers, depths, chunks and levels on a sample of a file, and print the command line to use
    Tune(TuneArgs),
    /// Print what makes a shell complete the words of pipeline
    Completions(CompletionsArgs),
    /// Write the man pages, one for each command
    Man(ManArgs),
}

/// `pipeline process`.
#[derive(Debug, clap::Args)]
pub struct ProcessArgs {
    /// IN and OUT.
    #[command(flatten)]
    pub files: FileArgs,
    /// zstd level: 1 to 22, negative for speed [default: 3]
    #[arg(short = 'L', long, value_name = "N", allow_negative_numbers = true, value_parser = parse_level)]
    pub level: Option<Level>,
    /// Bytes of input in a frame: a multiple of 64K, 64K to 64M [default: 4M, from level 9 on 8M]
    #[arg(long, value_name = "SIZE", value_parser = parse_chunk_size)]
    pub chunk_size: Option<u64>,
    /// Encrypt only; what begins like a zstd file gets a zstd layer all the same
    ///
    /// Without the layer, restore would decompress the zstd file that went in. OUT's default name is then IN with .zst.age.
    #[arg(long)]
    pub no_compress: bool,
    /// Read OUT back and compare, before it gets its name
    ///
    /// It is read from the disk, decoded, and compared with what was read. Whether an identity fits is not tried: the key is still at hand.
    #[arg(long)]
    pub verify: bool,
    /// IN is what CMD writes; if CMD fails, so does this
    ///
    /// The one name in front of -- is OUT.
    #[arg(long)]
    pub stdin_from_command: bool,
    /// The command and its arguments, behind --
    ///
    /// Without --stdin-from-command IN and OUT may stand there.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
    /// Whom to encrypt to.
    #[command(flatten)]
    pub encrypt: EncryptArgs,
    /// The passphrase to encrypt with, without a terminal.
    #[command(flatten)]
    pub passphrases: PassphraseArgs,
    /// How the work is spread.
    #[command(flatten)]
    pub width: WidthArgs,
    /// Execution engine: the pipeline, or the legacy mutex mode
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t = EngineArg::Channels)]
    pub engine: EngineArg,
    /// Which files, where there are many.
    #[command(flatten)]
    pub list: ListArgs,
    /// How many files are done.
    #[command(flatten)]
    pub batch: BatchArgs,
    /// Beside other work.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// What is said.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `pipeline restore`.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// IN and OUT.
    #[command(flatten)]
    pub files: FileArgs,
    /// Refuse a file without a valid seek table: a cut at a frame edge would not be seen
    #[arg(long)]
    pub require_table: bool,
    /// Warn only where a seek table and the frames contradict each other
    #[arg(long, conflicts_with = "require_table")]
    pub ignore_table: bool,
    /// Give what is intact and authentic of a damaged file, say what is lost, exit 4; needs OUT
    ///
    /// Of many files, those that lost something are named at the end, exit 3.
    #[arg(long)]
    pub salvage: bool,
    /// Where the content is zeros for whole blocks, leave holes [default: auto]
    #[arg(long, value_enum, value_name = "WHEN")]
    pub sparse: Option<SparseArg>,
    /// Take the age layer off and leave what is inside as it is
    #[arg(long)]
    pub no_decompress: bool,
    /// Who opens an encrypted file.
    #[command(flatten)]
    pub identities: IdentityArgs,
    /// Limits of decoding.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// How the work is spread.
    #[command(flatten)]
    pub width: WidthArgs,
    /// Execution engine: the pipeline, or the legacy mutex mode
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t = EngineArg::Channels)]
    pub engine: EngineArg,
    /// Which files, where there are many.
    #[command(flatten)]
    pub list: ListArgs,
    /// How many files are done.
    #[command(flatten)]
    pub batch: BatchArgs,
    /// Beside other work.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// What is said.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `pipeline verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The compressed file, or - for stdin; or a directory of them
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// Compare the content with this file too
    #[arg(long, value_name = "ORIGINAL")]
    pub against: Option<PathBuf>,
    /// Accept a file without a valid seek table
    #[arg(long)]
    pub foreign: bool,
    /// Who opens an encrypted file.
    #[command(flatten)]
    pub identities: IdentityArgs,
    /// Limits of decoding.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// How the work is spread.
    #[command(flatten)]
    pub width: WidthArgs,
    /// Which files of a directory.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How many files are done.
    #[command(flatten)]
    pub batch: BatchArgs,
    /// Beside other work.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// What is said.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `pipeline cat`.
#[derive(Debug, clap::Args)]
pub struct CatArgs {
    /// The compressed file, or - for stdin
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// Bytes of the content: A..B, A.., ..B or A..+LEN, with K, M, G
    #[arg(long, value_name = "RANGE", value_parser = parse_range, default_value = "..")]
    pub range: ContentRange,
    /// Write binary to a terminal
    #[arg(short, long)]
    pub force: bool,
    /// Who opens an encrypted file.
    #[command(flatten)]
    pub identities: IdentityArgs,
    /// Limits of decoding.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// How the work is spread.
    #[command(flatten)]
    pub width: WidthArgs,
    /// What is said.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `pipeline inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// The file to look at, or - for stdin
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Who opens an encrypted file.
    #[command(flatten)]
    pub identities: IdentityArgs,
}

/// `pipeline rekey`.
#[derive(Debug, clap::Args)]
pub struct RekeyArgs {
    /// The age file to read, or - for stdin; or a directory of them
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The file or directory to write, or - for stdout
    #[arg(value_name = "OUT", conflicts_with = "in_place")]
    pub output: Option<PathBuf>,
    /// Encrypt with the passphrase in this file, less one trailing newline; --passphrase-file opens IN
    #[arg(long, value_name = "FILE")]
    pub new_passphrase_file: Option<PathBuf>,
    /// Replace IN, once its successor is whole and on the disk
    #[arg(long)]
    pub in_place: bool,
    /// Overwrite OUT
    #[arg(short, long)]
    pub force: bool,
    /// Do not wait until OUT is on the disk
    #[arg(long)]
    pub no_sync: bool,
    /// Give OUT the owner, group, mode, ACL and extended attributes of IN, as --in-place does
    ///
    /// As far as the system allows: what OUT did not get is named, with exit code 3. Never setuid or setgid bits, nor attributes of the security
    /// namespace.
    #[arg(long)]
    pub preserve: bool,
    /// The new recipients.
    #[command(flatten)]
    pub encrypt: EncryptArgs,
    /// Who opens it now.
    #[command(flatten)]
    pub identities: IdentityArgs,
    /// Which files of a directory.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How many files are done.
    #[command(flatten)]
    pub batch: BatchArgs,
    /// Beside other work.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// How the work on a directory is spread.
    #[command(flatten)]
    pub width: WidthArgs,
    /// What is said.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `pipeline keygen`.
#[derive(Debug, clap::Args)]
pub struct KeygenArgs {
    /// The file to write, mode 0600; it must not be there [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A post-quantum identity
    #[arg(long)]
    pub pq: bool,
    /// Make none; print the recipients of those in this file, one a line
    #[arg(short = 'y', long, value_name = "FILE", conflicts_with = "pq")]
    pub recipients_of: Option<PathBuf>,
}

/// `pipeline config`.
#[derive(Debug, clap::Args)]
pub struct SettingsArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub action: SettingsAction,
}

/// What `pipeline config` does.
#[derive(Debug, Subcommand)]
pub enum SettingsAction {
    /// Print every setting that is in force, as a configuration file, with its source beside it
    Show,
}

/// `pipeline completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell to write for
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// `pipeline man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The directory to write to; it is made where there is none
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Overwrite pages that are there
    #[arg(short, long)]
    pub force: bool,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definitions_are_sound() {
        super::help::command().debug_assert();
    }
}
