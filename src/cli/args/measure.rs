//! Arguments of the commands that measure speed.

use std::path::PathBuf;

use super::groups::EngineArg;
use crate::cli::settings::known::{parse_channel_depth, parse_chunk_size, parse_level, parse_workers};
use crate::cli::size::parse_size;
use crate::format::zstd::codec::Level;

/// `pipeline bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// The file to measure with: a few hundred megabytes of what you have
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// How often each case is run
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Execution engine
    #[arg(long, value_enum, value_name = "ENGINE,…", value_delimiter = ',', default_values = ["channels", "mutex"])]
    pub engine: Vec<EngineArg>,
    /// Numbers of workers, 0 for all [default: 1, 2, 4, … all]
    #[arg(
        short,
        long,
        visible_short_alias = 'T',
        visible_alias = "threads",
        value_name = "N,…",
        value_delimiter = ',',
        value_parser = parse_workers
    )]
    pub workers: Vec<u32>,
    /// Channel depths
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 4, 16], value_parser = parse_channel_depth)]
    pub channel_depth: Vec<u32>,
    /// zstd levels
    #[arg(short = 'L', long, value_name = "N,…", value_delimiter = ',', default_value = "3", allow_negative_numbers = true, value_parser = parse_level)]
    pub level: Vec<Level>,
    /// Bytes of input in a frame [default: 4M, from level 9 on 8M]
    #[arg(long, value_name = "SIZE", value_parser = parse_chunk_size)]
    pub chunk_size: Option<u64>,
    /// Leave other tools out: zstd, pzstd, age, rage, 7z, as far as they are installed
    #[arg(long)]
    pub no_peers: bool,
    /// Where what is written goes, about three times as much as IN [default: the system's directory for temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Overwrite the page
    #[arg(short, long)]
    pub force: bool,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// `pipeline tune`.
#[derive(Debug, clap::Args)]
pub struct TuneArgs {
    /// The file to try with
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// How much of it to try, taken from all over it, in memory
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "128M")]
    pub sample: u64,
    /// How often each choice is run, but for levels, which are run once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// zstd level to try the rest with [default: 3]
    #[arg(short = 'L', long, value_name = "N", allow_negative_numbers = true, value_parser = parse_level)]
    pub level: Option<Level>,
    /// Take the highest level that gets through so many bytes of content a second
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub at_least: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}
