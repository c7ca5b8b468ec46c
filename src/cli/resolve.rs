//! Arguments and environment resolved into a plan: a flag counts before the environment, the environment before the default.
//! A value is checked where it comes from, and an error names that place.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::args::{EngineArg, FileArgs, LimitArgs, WidthArgs};
use super::problem::{Problem, quoted};
use super::sys;
use crate::format::zstd::codec::{Level, WINDOW_LOG_MAX_DECODED};
use crate::pipeline::crew::Width;
use crate::pipeline::memory::fit;
use crate::pipeline::plan::{CHUNK_GRAIN, Engine};

/// More workers than any machine has cores; each is a thread.
const WORKERS_MAX: u32 = 1024;

/// Deeper channels than this hold gigabytes and smooth nothing any more.
const CHANNEL_DEPTH_MAX: u32 = 4096;

/// A depth of 4 covers the jitter between stages; see ARCHITECTURE.md for its cost in memory.
const CHANNEL_DEPTH_DEFAULT: u32 = 4;

/// The largest chunk; what other decoders limit is the window, which stays at 8 MiB.
const CHUNK_MAX: u64 = 64 * 1024 * 1024;

const CHUNK_DEFAULT: u64 = 4 * 1024 * 1024;

/// At high levels a chunk's cut costs more, and time is spent anyway.
const CHUNK_DEFAULT_HIGH: u64 = 8 * 1024 * 1024;
const LEVEL_HIGH: i32 = 9;

/// Where values come from when no flag gives them.
pub struct Environment<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl<'a> Environment<'a> {
    /// `get` looks a variable up.
    pub fn new(get: &'a dyn Fn(&str) -> Option<OsString>) -> Environment<'a> {
        Environment(get)
    }

    /// Our variable `name`, read by `parse`; where that is not set, zstd's variable `theirs`, which counts only where it is
    /// valid, since it is not ours to complain about.
    fn get<T>(
        &self,
        name: &str,
        theirs: Option<&str>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let set = |name: &str| (self.0)(name).filter(|value| !value.is_empty());
        let parse = |value: &OsStr| value.to_str().and_then(&parse);
        match set(name) {
            Some(value) => parse(&value).map(Some).ok_or_else(|| {
                Problem::usage(format!("{} in the environment variable {name} is not valid", quoted(&value)))
            }),
            None => Ok(theirs.and_then(set).and_then(|value| parse(&value))),
        }
    }
}

/// Settles workers and channel depth.
pub fn width(args: &WidthArgs, environment: &Environment<'_>) -> Result<Width, Problem> {
    let parse_workers = |text: &str| text.parse().ok().filter(|workers| *workers <= WORKERS_MAX);
    let from_environment = || environment.get("PIPELINE_WORKERS", Some("ZSTD_NBTHREADS"), parse_workers);
    let workers = match args.workers {
        Some(workers) => workers,
        None => from_environment()?.unwrap_or(0),
    };
    let parse_depth = |text: &str| text.parse().ok().filter(|depth| (1..=CHANNEL_DEPTH_MAX).contains(depth));
    let from_environment = || environment.get("PIPELINE_CHANNEL_DEPTH", None, parse_depth);
    let channel_depth = match args.channel_depth {
        Some(depth) => depth,
        None => from_environment()?.unwrap_or(CHANNEL_DEPTH_DEFAULT),
    };
    checked_width(workers, channel_depth)
}

/// `workers`, of which 0 is all, and `channel_depth`, if a run can be so wide.
pub fn checked_width(workers: u32, channel_depth: u32) -> Result<Width, Problem> {
    if workers > WORKERS_MAX {
        return Err(Problem::usage(format!("{workers} workers are too many: {WORKERS_MAX} at most")));
    }
    if !(1..=CHANNEL_DEPTH_MAX).contains(&channel_depth) {
        return Err(Problem::usage(format!(
            "a channel depth of {channel_depth} is not between 1 and {CHANNEL_DEPTH_MAX}"
        )));
    }
    let workers = match NonZeroUsize::new(workers as usize) {
        Some(workers) => workers,
        None => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    let channel_depth = NonZeroUsize::new(channel_depth as usize).expect("checked to be at least 1");
    Ok(Width { workers, channel_depth })
}

/// Settles the level.
pub fn level(flag: Option<i32>, environment: &Environment<'_>) -> Result<Level, Problem> {
    let parse = |text: &str| text.parse().ok().and_then(Level::new);
    match flag {
        None => Ok(environment.get("PIPELINE_LEVEL", Some("ZSTD_CLEVEL"), parse)?.unwrap_or(Level::DEFAULT)),
        Some(level) => Level::new(level).ok_or_else(|| {
            Problem::usage(format!("there is no level {level}: 1 to 22, or negative for speed at the expense of size"))
        }),
    }
}

/// Settles the length of a chunk.
pub fn chunk_len(flag: Option<u64>, level: Level, environment: &Environment<'_>) -> Result<usize, Problem> {
    let grain = CHUNK_GRAIN as u64;
    let is_chunk = |bytes: &u64| (grain..=CHUNK_MAX).contains(bytes) && bytes.is_multiple_of(grain);
    let parse = |text: &str| super::size::parse_size(text).ok().filter(is_chunk);
    let default = if level.get() >= LEVEL_HIGH { CHUNK_DEFAULT_HIGH } else { CHUNK_DEFAULT };
    let bytes = match flag {
        Some(bytes) if is_chunk(&bytes) => bytes,
        Some(bytes) => {
            let message = format!("a chunk of {bytes} bytes is not a multiple of 64K between 64K and 64M");
            return Err(Problem::usage(message));
        }
        None => environment.get("PIPELINE_CHUNK_SIZE", None, parse)?.unwrap_or(default),
    };
    usize::try_from(bytes).map_err(|_| Problem::usage("the chunk does not fit this machine's memory"))
}

/// `width`, no wider than memory allows: what a flag or the environment names, which is an error if it cannot be kept; else the
/// container's limit, as far as that goes. `needed` tells what a width takes, in bytes.
pub fn fitted(
    width: Width,
    args: &WidthArgs,
    environment: &Environment<'_>,
    needed: impl Fn(Width) -> usize,
) -> Result<Width, Problem> {
    let parse = |text: &str| super::size::parse_size(text).ok();
    let asked_bytes = match args.memory {
        Some(bytes) => Some(bytes),
        None => environment.get("PIPELINE_MEMORY", None, parse)?,
    };
    // In a container the page cache and the kernel's own memory count as well.
    let contained_bytes = || sys::memory_limit_bytes().map(|bytes| bytes / 8 * 7);
    let Some(bytes) = asked_bytes.or_else(contained_bytes) else { return Ok(width) };
    match (fit(width, usize::try_from(bytes).unwrap_or(usize::MAX), needed), asked_bytes) {
        (Ok(width), _) => Ok(width),
        (Err(_), None) => Ok(Width { workers: NonZeroUsize::MIN, channel_depth: NonZeroUsize::MIN }),
        (Err(needed_bytes), Some(_)) => {
            let mebibytes = needed_bytes.div_ceil(1 << 20);
            let problem = Problem::usage(format!("--memory: one worker alone takes {mebibytes} MiB"));
            Err(problem.hint("smaller chunks or a lower level take less; they change what is written"))
        }
    }
}

/// Settles who moves the items.
pub fn engine(arg: EngineArg) -> Engine {
    match arg {
        EngineArg::Channels => Engine::Channels,
        EngineArg::Mutex => Engine::Mutex { available_bytes: sys::available_memory_bytes().unwrap_or(u64::MAX) },
    }
}

/// Settles the largest window.
pub fn window_log_max(args: &LimitArgs) -> Result<u32, Problem> {
    let max = 1u64 << WINDOW_LOG_MAX_DECODED;
    if !args.window_max.is_power_of_two() || !(1024..=max).contains(&args.window_max) {
        let message = format!("a window of {} bytes is not a power of two between 1K and 2G", args.window_max);
        return Err(Problem::usage(message));
    }
    Ok(args.window_max.ilog2())
}

/// The two names of a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// IN.
    pub input: PathBuf,
    /// OUT, given or made from IN.
    pub output: PathBuf,
}

/// Settles IN and OUT. `make` makes OUT's file name from IN's.
pub fn names(args: &FileArgs, make: impl Fn(&OsStr) -> Option<OsString>) -> Result<Names, Problem> {
    let missing = || Problem::usage("IN is missing: a file to read, or - for standard input");
    let (input, stdio) = (args.input.clone().ok_or_else(missing)?, Path::new("-"));
    let given = args.out.clone().or_else(|| args.output.clone());
    let output = match (given, input.file_name()) {
        (Some(output), _) => output,
        (None, _) if input == stdio => stdio.to_owned(),
        (None, Some(name)) => match make(name) {
            Some(name) => input.with_file_name(name),
            None => {
                let message = format!("cannot tell OUT from {}: it has no suffix to take off", quoted(&input));
                return Err(Problem::usage(message).hint("give OUT, or - for standard output"));
            }
        },
        (None, None) => return Err(Problem::usage(format!("{} is not a file name", quoted(&input)))),
    };
    if output.as_os_str().is_empty() || input.as_os_str().is_empty() {
        return Err(Problem::usage("a file name is empty"));
    }
    if args.rm && (input == stdio || output == stdio) {
        return Err(Problem::usage("--rm needs IN and OUT to be files"));
    }
    if args.rm && args.no_sync {
        return Err(Problem::usage("--rm waits until OUT is durable, and --no-sync never does"));
    }
    Ok(Names { input, output })
}

/// Settles the names of a run whose input is a command's output: the one positional is OUT.
pub fn names_of_command(args: &FileArgs) -> Result<Names, Problem> {
    if args.rm {
        return Err(Problem::usage("--rm deletes IN, and a command is no file"));
    }
    match (&args.input, &args.out, &args.output) {
        (Some(output), None, None) | (None, None, Some(output)) if !output.as_os_str().is_empty() => {
            Ok(Names { input: "-".into(), output: output.clone() })
        }
        _ => Err(Problem::usage("--stdin-from-command takes one name, OUT, in front of -- CMD")),
    }
}

/// IN's name with `.age` taken off, and behind that `.zst`, unless only the first is wanted; `.tzst` becomes `.tar`.
pub fn restored_name(name: &OsStr, decompress: bool) -> Option<OsString> {
    let path = Path::new(name);
    if path.extension() == Some(OsStr::new("age")) {
        let inside = path.file_stem()?;
        let restored = if decompress { restored_name(inside, true) } else { None };
        return Some(restored.unwrap_or_else(|| inside.to_owned()));
    }
    let stem = path.file_stem()?;
    match path.extension()?.to_str()? {
        "zst" | "zstd" => Some(stem.to_owned()),
        "tzst" => {
            let mut name = stem.to_owned();
            name.push(".tar");
            Some(name)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(workers: Option<u32>, channel_depth: Option<u32>) -> WidthArgs {
        WidthArgs { workers, channel_depth, memory: None }
    }

    #[test]
    fn a_flag_counts_before_the_environment_and_that_before_the_default() {
        let set = |name: &str| (name == "ZSTD_NBTHREADS").then(|| "3".into());
        let environment = Environment::new(&set);
        assert_eq!(width(&args(Some(5), None), &environment).unwrap().workers.get(), 5);
        assert_eq!(width(&args(None, None), &environment).unwrap().workers.get(), 3);
        let both = |name: &str| Some(if name == "PIPELINE_WORKERS" { "7" } else { "3" }.into());
        assert_eq!(width(&args(None, Some(1)), &Environment::new(&both)).unwrap().workers.get(), 7);
        let unset = |_: &str| None;
        assert_eq!(width(&args(None, None), &Environment::new(&unset)).unwrap().channel_depth.get(), 4);
    }

    #[test]
    fn a_bad_value_names_the_variable_it_came_from() {
        let set = |_: &str| Some("many".into());
        let error = width(&args(None, None), &Environment::new(&set)).unwrap_err();
        assert_eq!(error.to_string(), "'many' in the environment variable PIPELINE_WORKERS is not valid");
    }

    #[test]
    fn absurd_widths_are_refused_and_zero_workers_means_all() {
        let unset = |_: &str| None;
        let environment = Environment::new(&unset);
        assert!(width(&args(Some(0), None), &environment).unwrap().workers.get() >= 1);
        for bad in [args(Some(u32::MAX), None), args(None, Some(0)), args(None, Some(u32::MAX))] {
            assert!(width(&bad, &environment).is_err());
        }
    }

    #[test]
    fn chunks_are_multiples_of_64_kib() {
        let unset = |_: &str| None;
        let environment = Environment::new(&unset);
        let len = |flag, level| chunk_len(flag, Level::new(level).unwrap(), &environment).ok();
        assert_eq!((len(None, 3), len(None, 9)), (Some(4 << 20), Some(8 << 20)));
        assert_eq!((len(Some(65536), 3), len(Some(64 << 20), 3)), (Some(65536), Some(64 << 20)));
        assert_eq!([Some(0), Some(65535), Some(65537), Some((64 << 20) + 65536)].map(|flag| len(flag, 3)), [None; 4]);
    }

    #[test]
    fn names_gain_and_lose_suffixes() {
        let restored = |name: &str| restored_name(OsStr::new(name), true).map(|name| name.into_string().unwrap());
        assert_eq!(restored("a.tar.zst.age").as_deref(), Some("a.tar"));
        assert_eq!(restored("a.age").as_deref(), Some("a"));
        assert_eq!(restored_name(OsStr::new("a.zst.age"), false).unwrap(), "a.zst");
        assert_eq!(restored("a.tar.zst").as_deref(), Some("a.tar"));
        assert_eq!(restored("a.tzst").as_deref(), Some("a.tar"));
        assert_eq!([restored("a.txt"), restored("zst"), restored(".zst")], [None, None, None]);
    }
}
