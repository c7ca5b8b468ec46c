//! All settings: their names and valid values. Flags use the same parsers.

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::value::Value;
use crate::cli::choices::{ProgressArg, SparseArg, StatsArg};
use crate::cli::size::parse_size;
use crate::format::age::keys::Recipient;
use crate::format::zstd::codec::{Level, WINDOW_LOG_MAX_DECODED};
use crate::pipeline::plan::{CHUNK_GRAIN, CHUNK_MAX};

/// A setting that a flag, an environment variable or the configuration file can give.
pub struct Setting<T> {
    /// `chunk-size` in the configuration is `--chunk-size` as a flag, and `PIPELINE_CHUNK_SIZE` in the environment.
    pub key: &'static str,
    /// The variable of the zstd program that applies if the `PIPELINE_` variable is not set.
    pub theirs: Option<&'static str>,
    /// Parses and checks a value.
    pub parse: fn(&str) -> Result<T, String>,
}

/// A setting without its type.
pub struct SettingSpec {
    /// The same as [`Setting::key`].
    pub key: &'static str,
    /// The same as [`Setting::theirs`].
    pub theirs: Option<&'static str>,
    /// Whether it is a list, which only a profile may hold: only flags may request encryption, and a flag selects the profile.
    pub is_list: bool,
    /// Checks a value.
    pub check: fn(&Value) -> Result<(), String>,
}

/// Workers in each parallel stage; 0 for one per CPU.
pub const WORKERS: Setting<u32> = Setting { key: "workers", theirs: Some("ZSTD_NBTHREADS"), parse: parse_workers };

/// The capacity of a channel, in items.
pub const CHANNEL_DEPTH: Setting<u32> = Setting { key: "channel-depth", theirs: None, parse: parse_channel_depth };

/// The zstd level.
pub const LEVEL: Setting<Level> = Setting { key: "level", theirs: Some("ZSTD_CLEVEL"), parse: parse_level };

/// The length of a chunk, in bytes.
pub const CHUNK_SIZE: Setting<u64> = Setting { key: "chunk-size", theirs: None, parse: parse_chunk_size };

/// The memory limit, in bytes.
pub const MEMORY: Setting<u64> = Setting { key: "memory", theirs: None, parse: parse_size };

/// The largest accepted window, as its logarithm to base 2.
pub const WINDOW_MAX: Setting<u32> = Setting { key: "window-max", theirs: None, parse: parse_window_max };

/// The largest accepted scrypt work factor.
pub const MAX_WORK_FACTOR: Setting<u8> = Setting { key: "max-work-factor", theirs: None, parse: parse_max_work_factor };

/// Whether the output is read back and checked.
pub const VERIFY: Setting<bool> = Setting { key: "verify", theirs: None, parse: parse_bool };

/// When content of zeros becomes a hole of a restored file.
pub const SPARSE: Setting<SparseArg> = Setting { key: "sparse", theirs: None, parse: parse_word };

/// The form of the report on exit.
pub const STATS: Setting<StatsArg> = Setting { key: "stats", theirs: None, parse: parse_word };

/// The form of progress during a run.
pub const PROGRESS: Setting<ProgressArg> = Setting { key: "progress", theirs: None, parse: parse_word };

/// The log filter, in the syntax of `tracing`: `debug`, or `pipeline::cli=trace`.
pub const LOG: Setting<Targets> = Setting { key: "log", theirs: None, parse: parse_targets };

/// The list of recipients in a profile.
pub const RECIPIENTS: &str = "recipients";
/// The list of recipients files in a profile.
pub const RECIPIENTS_FILES: &str = "recipients-files";
/// The list of identity files in a profile.
pub const IDENTITIES: &str = "identities";

macro_rules! known {
    ($($setting:ident),*) => {
        [$(SettingSpec {
            key: $setting.key,
            theirs: $setting.theirs,
            is_list: false,
            check: |value| match value {
                Value::Text(text) => ($setting.parse)(text).map(drop),
                Value::List(_) => Err("one value is expected, not a list".to_owned()),
            },
        },)*
        SettingSpec { key: RECIPIENTS, theirs: None, is_list: true, check: are_recipients },
        SettingSpec { key: RECIPIENTS_FILES, theirs: None, is_list: true, check: not_empty },
        SettingSpec { key: IDENTITIES, theirs: None, is_list: true, check: not_empty }]
    };
}

/// All settings, in the order of `config show`.
pub const ALL: [SettingSpec; 15] = known![
    WORKERS,
    CHANNEL_DEPTH,
    CHUNK_SIZE,
    LEVEL,
    MEMORY,
    WINDOW_MAX,
    MAX_WORK_FACTOR,
    VERIFY,
    SPARSE,
    STATS,
    PROGRESS,
    LOG
];

/// The most workers; each is a thread.
const WORKERS_MAX: u32 = 1024;

/// The deepest channel; a deeper one would hold gigabytes without any benefit.
const CHANNEL_DEPTH_MAX: u32 = 4096;

/// The largest work factor; it is the logarithm to base 2 of scrypt's cost, and age reads at most two digits.
const WORK_FACTOR_MAX: u8 = 64;

/// Parses a number of workers, from 0 to 1024.
pub fn parse_workers(text: &str) -> Result<u32, String> {
    match parse_number(text)? {
        workers @ 0..=WORKERS_MAX => Ok(workers),
        workers => Err(format!("{workers} workers are too many: {WORKERS_MAX} at most")),
    }
}

/// Parses a number of files in flight, from 1 to 1024.
pub fn parse_jobs(text: &str) -> Result<u32, String> {
    match parse_number(text)? {
        jobs @ 1..=WORKERS_MAX => Ok(jobs),
        jobs => Err(format!("{jobs} files in flight are not between 1 and {WORKERS_MAX}")),
    }
}

/// Parses a channel depth, from 1 to 4096.
pub fn parse_channel_depth(text: &str) -> Result<u32, String> {
    match parse_number(text)? {
        depth @ 1..=CHANNEL_DEPTH_MAX => Ok(depth),
        depth => Err(format!("a channel depth of {depth} is not between 1 and {CHANNEL_DEPTH_MAX}")),
    }
}

/// Parses a zstd level.
pub fn parse_level(text: &str) -> Result<Level, String> {
    let level = parse_number(text)?;
    Level::new(level)
        .ok_or_else(|| format!("there is no level {level}: 1 to 22, or negative for speed at the expense of size"))
}

/// Parses a chunk length: a multiple of 64 KiB, at most 64 MiB.
pub fn parse_chunk_size(text: &str) -> Result<u64, String> {
    let (bytes, grain) = (parse_size(text)?, CHUNK_GRAIN as u64);
    match (grain..=CHUNK_MAX as u64).contains(&bytes) && bytes.is_multiple_of(grain) {
        true => Ok(bytes),
        false => Err(format!("a chunk of {bytes} bytes is not a multiple of 64K between 64K and 64M")),
    }
}

/// Parses a window size, a power of two from 1 KiB to 2 GiB, and returns its logarithm to base 2.
pub fn parse_window_max(text: &str) -> Result<u32, String> {
    let (bytes, max) = (parse_size(text)?, 1u64 << WINDOW_LOG_MAX_DECODED);
    match bytes.is_power_of_two() && (1024..=max).contains(&bytes) {
        true => Ok(bytes.ilog2()),
        false => Err(format!("a window of {bytes} bytes is not a power of two between 1K and 2G")),
    }
}

/// Parses a work factor, from 1 to 64.
pub fn parse_max_work_factor(text: &str) -> Result<u8, String> {
    match parse_number(text)? {
        factor @ 1..=WORK_FACTOR_MAX => Ok(factor),
        factor => Err(format!("a work factor of {factor} is not between 1 and {WORK_FACTOR_MAX}")),
    }
}

/// Refuses an empty list, which would silently encrypt to nobody, and empty words.
fn not_empty(value: &Value) -> Result<(), String> {
    let words = value.words();
    match words.is_empty() || words.iter().any(String::is_empty) {
        true => Err("it is empty".to_owned()),
        false => Ok(()),
    }
}

fn are_recipients(value: &Value) -> Result<(), String> {
    not_empty(value)?;
    value.words().iter().try_for_each(|word| Recipient::parse(word).map(drop).map_err(|error| error.to_string()))
}

fn parse_number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("'{}' is not a number", text.escape_debug()))
}

fn parse_bool(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("'{}' is neither true nor false", text.escape_debug()))
}

fn parse_word<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let words: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
        format!("'{}' is none of {}", text.escape_debug(), words.join(", "))
    })
}

/// Parses log targets. A bare word has to be a level: a misspelt level taken for a module would log nothing.
pub fn parse_targets(text: &str) -> Result<Targets, String> {
    let is_level = |word: &str| word.contains('=') || word.trim().parse::<LevelFilter>().is_ok();
    text.split(',').all(is_level).then(|| text.parse().ok()).flatten().ok_or_else(|| {
        format!(
            "'{}' is neither a level (error, warn, info, debug, trace) nor a list of PART=LEVEL",
            text.escape_debug()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_multiples_of_64_kib() {
        assert_eq!((parse_chunk_size("64K"), parse_chunk_size("64M")), (Ok(65536), Ok(64 << 20)));
        for bad in ["0", "65535", "65537", "65M", "x"] {
            assert!(parse_chunk_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn absurd_numbers_are_refused() {
        assert_eq!((parse_workers("0"), parse_workers("1024")), (Ok(0), Ok(1024)));
        for bad in ["1025", "4294967295", "-1", "two", ""] {
            assert!(parse_workers(bad).is_err(), "{bad}");
            assert!(parse_channel_depth(bad).is_err() || bad == "1025", "{bad}");
        }
        assert!(parse_channel_depth("0").is_err() && parse_level("0").is_err() && parse_level("23").is_err());
        assert!(parse_window_max("3M").is_err() && parse_window_max("4G").is_err());
        assert_eq!(parse_window_max("128M"), Ok(27));
    }
}
