//! Resolves arguments and settings into a request: fills in defaults and refuses contradictions.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::args::{
    EncryptArgs, EngineArg, FileArgs, IdentityArgs, PaceArgs, PassphraseArgs, ProgressArg, ReportArgs, RestoreArgs,
    SparseArg, StatsArg, WidthArgs,
};
use crate::cli::problem::Problem;
use crate::cli::settings::Settings;
use crate::cli::settings::known;
use crate::format::zstd::codec::Level;
use crate::pipeline::memory::fit;
use crate::pipeline::plan::{
    CHANNEL_DEPTH_DEFAULT, Engine, WINDOW_LOG_MAX_DEFAULT, WORK_FACTOR_MAX_DEFAULT, chunk_len_default,
};
use crate::pipeline::threads::Concurrency;
use crate::report::options::ReportOptions;
use crate::store::name::quoted;
use crate::store::output::Sparse;
use crate::store::rate_limit::RateLimit;
use crate::store::sys::{self, WakeUp};
use crate::task::keys::{IdentitySources, PassphraseSources, RecipientSources, SecretBytes};
use crate::task::restore::TableRule;

/// The names of standard input.
const STDIN_NAMES: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

/// Resolves workers and channel depth.
pub fn width(args: &WidthArgs, settings: &Settings) -> Result<Concurrency, Problem> {
    let workers = settings.get(&known::WORKERS, args.workers)?.unwrap_or(0);
    let channel_depth = settings.get(&known::CHANNEL_DEPTH, args.channel_depth)?;
    let channel_depth = channel_depth.and_then(|depth| NonZeroUsize::new(depth as usize));
    Ok(width_of(workers, channel_depth.unwrap_or(CHANNEL_DEPTH_DEFAULT)))
}

/// The width with `workers` and `channel_depth`; 0 workers means one for each CPU.
pub fn width_of(workers: u32, channel_depth: NonZeroUsize) -> Concurrency {
    let workers = match NonZeroUsize::new(workers as usize) {
        Some(workers) => workers,
        None => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    Concurrency { workers, channel_depth }
}

/// Resolves the level.
pub fn level(flag: Option<Level>, settings: &Settings) -> Result<Level, Problem> {
    Ok(settings.get(&known::LEVEL, flag)?.unwrap_or(Level::DEFAULT))
}

/// Resolves the length of a chunk.
pub fn chunk_len(flag: Option<u64>, level: Level, settings: &Settings) -> Result<usize, Problem> {
    match settings.get(&known::CHUNK_SIZE, flag)? {
        Some(bytes) => {
            usize::try_from(bytes).map_err(|_| Problem::usage("the chunk does not fit this machine's memory"))
        }
        None => Ok(chunk_len_default(level)),
    }
}

/// Resolves the largest window, as its logarithm to base 2.
pub fn window_log_max(flag: Option<u32>, settings: &Settings) -> Result<u32, Problem> {
    Ok(settings.get(&known::WINDOW_MAX, flag)?.unwrap_or(WINDOW_LOG_MAX_DEFAULT))
}

/// Resolves the report options. `unasked` is the default form of progress.
pub fn report_options(args: &ReportArgs, settings: &Settings, unasked: ProgressArg) -> Result<ReportOptions, Problem> {
    // Flags, such as --quiet and a report file, win over other sources.
    let is_wanted = |form: &StatsArg| args.stats_file.is_none() || *form != StatsArg::None;
    let form = match args.stats {
        Some(form) => Some(form),
        None if args.quiet => None,
        None => settings.get(&known::STATS, None)?.filter(is_wanted),
    };
    // Log lines would break a bar.
    let is_logged = settings.get(&known::LOG, None)?.is_some();
    let unasked = if is_logged { ProgressArg::Never } else { unasked };
    let progress = match args.progress {
        None if !args.quiet => settings.get(&known::PROGRESS, None)?,
        given => given,
    };
    Ok(ReportOptions {
        form: form.map(Into::into),
        stats_file: args.stats_file.clone(),
        prometheus: args.prometheus.clone(),
        hdr_log: args.hdr_log.clone(),
        force: false,
        progress: progress.unwrap_or(unasked).into(),
        size_hint: args.size_hint,
        quiet: args.quiet,
        verbose: args.verbose,
    })
}

/// The sources of recipients: flags, else the profile. `passphrase` is the passphrase source, if requested.
pub fn recipients(args: &EncryptArgs, passphrase: Option<PassphraseSources>, settings: &Settings) -> RecipientSources {
    if !args.recipient.is_empty() || !args.recipients_file.is_empty() || passphrase.is_some() {
        let (recipients, files) = (args.recipient.clone(), args.recipients_file.clone());
        return RecipientSources { recipients, files, passphrase };
    }
    let recipients = settings.list(known::RECIPIENTS).map(|(recipients, _)| recipients).unwrap_or_default();
    RecipientSources { recipients, files: settings.paths(known::RECIPIENTS_FILES), passphrase: None }
}

/// The passphrase source for encryption, if flags request one. The environment only supplies a passphrase, it never requests one.
pub fn new_passphrase(args: &EncryptArgs, sources: &PassphraseArgs, settings: &Settings) -> Option<PassphraseSources> {
    let is_asked_for = args.passphrase || sources.passphrase_file.is_some() || sources.passphrase_fd.is_some();
    is_asked_for.then(|| passphrase_sources(sources, settings.passphrase()))
}

/// The sources of identities: flags, else the profile.
pub fn identities(args: &IdentityArgs, settings: &Settings) -> Result<IdentitySources, Problem> {
    let files = match args.identity.is_empty() {
        true => settings.paths(known::IDENTITIES),
        false => args.identity.clone(),
    };
    let work_factor_max = settings.get(&known::MAX_WORK_FACTOR, args.max_work_factor)?;
    Ok(IdentitySources {
        files,
        passphrase: passphrase_sources(&args.passphrases, settings.passphrase()),
        work_factor_max: work_factor_max.unwrap_or(WORK_FACTOR_MAX_DEFAULT),
    })
}

/// The passphrase source without a terminal: flags, else the environment. `variable` is the value of `AGE_PASSPHRASE`.
pub fn passphrase_sources(args: &PassphraseArgs, variable: Option<&SecretBytes>) -> PassphraseSources {
    PassphraseSources {
        file: args.passphrase_file.clone(),
        descriptor: args.passphrase_fd,
        variable: variable.cloned(),
        variable_descriptor: std::env::var_os("AGE_PASSPHRASE_FD"),
    }
}

/// Whether `path` names standard input.
pub fn is_stdin(path: &Path) -> bool {
    STDIN_NAMES.iter().any(|name| path == Path::new(name))
}

/// Refuses passphrase descriptors that are not open or are for output, and key sources that are standard input while IN is too, which
/// would read it twice. `files` are the key files of other flags. Keeps the descriptors from the commands that the run starts. Call it first: an
/// opened file could take the descriptor's number.
pub fn check_sources(input: &Path, passphrases: &PassphraseArgs, files: &[(&str, &[PathBuf])]) -> Result<(), Problem> {
    let twice = |what: &str| Problem::usage(format!("standard input cannot be both IN and {what}"));
    let of_environment = || std::env::var_os("AGE_PASSPHRASE_FD")?.to_str()?.parse().ok();
    for (name, fd) in [("--passphrase-fd", passphrases.passphrase_fd), ("AGE_PASSPHRASE_FD", of_environment())] {
        match fd {
            None => {}
            Some(1 | 2) => return Err(Problem::usage(format!("{name}: descriptors 1 and 2 are for output"))),
            Some(fd) if !sys::is_descriptor_open(fd) => {
                return Err(Problem::usage(format!("{name}: descriptor {fd} is not open")));
            }
            Some(0) if is_stdin(input) => return Err(twice("the passphrase")),
            Some(fd) => sys::keep_from_commands(fd).map_err(|error| {
                Problem::failed(format!("{name}: cannot keep descriptor {fd} from other commands: {error}"))
            })?,
        }
    }
    let passphrase_files = passphrases.passphrase_file.as_slice();
    for (flag, paths) in files.iter().copied().chain([("--passphrase-file", passphrase_files)]) {
        if is_stdin(input) && paths.iter().any(|path| path != Path::new("-") && is_stdin(path)) {
            return Err(twice(&format!("the file of {flag}")));
        }
    }
    Ok(())
}

/// The read-rate limit; also lowers the priority, if requested.
pub fn rate_limit(args: &PaceArgs, wake: &WakeUp) -> anyhow::Result<Option<RateLimit>> {
    if args.nice {
        sys::be_nice().context("cannot let other processes go first")?;
    }
    Ok(args.limit_rate.map(|bytes| RateLimit::new(bytes, wake.clone())))
}

/// Reduces `width` to fit memory: the limit of a flag or setting, which is an error if even the narrowest width exceeds it, else the
/// container's limit, which the narrowest width may exceed. `needed` returns the bytes that a width takes.
pub fn fitted(
    width: Concurrency,
    args: &WidthArgs,
    settings: &Settings,
    needed: impl Fn(Concurrency) -> usize,
) -> Result<Concurrency, Problem> {
    let asked_bytes = settings.get(&known::MEMORY, args.memory)?;
    // A container's limit also covers the page cache and kernel memory.
    let contained_bytes = || sys::memory_limit_bytes().map(|bytes| bytes / 8 * 7);
    let Some(bytes) = asked_bytes.or_else(contained_bytes) else { return Ok(width) };
    match (fit(width, usize::try_from(bytes).unwrap_or(usize::MAX), needed), asked_bytes) {
        (Ok(width), _) => Ok(width),
        (Err(_), None) => Ok(Concurrency { workers: NonZeroUsize::MIN, channel_depth: NonZeroUsize::MIN }),
        (Err(needed_bytes), asked_bytes) => {
            let mebibytes = needed_bytes.div_ceil(1 << 20);
            let limit = asked_bytes.map_or_else(String::new, crate::report::bytes);
            Err(Problem::usage(format!(
                "one worker alone takes {mebibytes} MiB of memory, more than the {limit} allowed"
            )))
        }
    }
}

/// Resolves what seek tables have to show.
pub fn table_rule(args: &RestoreArgs) -> TableRule {
    match (args.require_table, args.ignore_table) {
        (true, _) => TableRule::Required,
        (false, false) => TableRule::Checked,
        (false, true) => TableRule::Ignored,
    }
}

/// Resolves when content of zeros becomes a hole of the output.
pub fn sparse(flag: Option<SparseArg>, settings: &Settings) -> Result<Sparse, Problem> {
    Ok(settings.get(&known::SPARSE, flag)?.unwrap_or(SparseArg::Auto).into())
}

/// Resolves the execution engine.
pub fn engine(arg: EngineArg) -> Engine {
    match arg {
        EngineArg::Channels => Engine::Channels,
        EngineArg::Mutex => Engine::Mutex { available_bytes: sys::available_memory_bytes().unwrap_or(u64::MAX) },
    }
}

/// The input and output names of a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// The path of IN.
    pub input: PathBuf,
    /// The path of OUT, given or derived from IN.
    pub output: PathBuf,
}

/// Resolves IN and OUT. `make` makes OUT's file name from IN's.
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
    refuse_rm_unsynced(args)?;
    Ok(Names { input, output })
}

/// Refuses `--rm` without a durable, named output.
pub fn refuse_rm_unsynced(args: &FileArgs) -> Result<(), Problem> {
    match args.rm && args.no_sync {
        true => Err(Problem::usage("--rm waits until OUT is durable, and --no-sync never does")),
        false => Ok(()),
    }
}

/// Resolves the names of a run whose input is a command's output: the one positional is OUT.
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

/// The name of IN without `.age`, then without `.zst` or `.zstd` if `decompress`; `.tzst` becomes `.tar`. `None` if there is no suffix.
pub fn restored_name(name: &OsStr, decompress: bool) -> Option<OsString> {
    let path = Path::new(name);
    // The stem of `..zst` is `.`, and that of `...zst` is `..`: neither is a file name.
    let stem = path.file_stem().filter(|stem| *stem != "." && *stem != "..");
    if path.extension() == Some(OsStr::new("age")) {
        let inside = stem?;
        // One age layer is taken off: what is inside may be an age file.
        let is_age = Path::new(inside).extension() == Some(OsStr::new("age"));
        let restored = if decompress && !is_age { restored_name(inside, true) } else { None };
        return Some(restored.unwrap_or_else(|| inside.to_owned()));
    }
    let stem = stem?;
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

    #[test]
    fn names_gain_and_lose_suffixes() {
        let restored = |name: &str| restored_name(OsStr::new(name), true).map(|name| name.into_string().unwrap());
        assert_eq!(restored("a.tar.zst.age").as_deref(), Some("a.tar"));
        assert_eq!(restored("a.age").as_deref(), Some("a"));
        assert_eq!(restored_name(OsStr::new("a.zst.age"), false).unwrap(), "a.zst");
        assert_eq!(restored("a.tar.zst").as_deref(), Some("a.tar"));
        assert_eq!(restored("a.tzst").as_deref(), Some("a.tar"));
        assert_eq!([restored("a.txt"), restored("zst"), restored(".zst")], [None, None, None]);
        assert_eq!([restored("..zst"), restored("...zst"), restored("...age")], [None, None, None]);
        assert_eq!(restored("...zst.age").as_deref(), Some("...zst"));
    }
}
