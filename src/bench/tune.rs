//! What `pipeline tune` tries, and how it decides: it varies one setting at a time, and of the values that are about as fast as the fastest
//! it takes the smallest, since fewer workers and shallower channels leave more to other programs.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::results::median;
use crate::format::zstd::codec::Level;
use crate::pipeline::memory::process_bytes;
use crate::pipeline::plan::Compress;
use crate::pipeline::threads::Concurrency;
use crate::report;

/// The version of the JSON object; it increases when a field is removed or changes its meaning.
const JSON_VERSION: u32 = 1;

/// Rates are in mebibytes per second.
const MEBIBYTE: f64 = 1_048_576.0;

/// Slower by less than this counts as equally fast, since runs differ by as much.
const AS_FAST: f64 = 1.03;

/// A larger chunk needs more memory and makes range reads coarser, so it must shrink the output below this share.
const WORTH_A_CHUNK: f64 = 0.99;

/// Settings of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The workers and the channel depth.
    pub width: Concurrency,
    /// The chunk length and the level.
    pub compress: Compress,
}

/// The setting that is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vary {
    /// The number of workers.
    Workers,
    /// The channel depth.
    ChannelDepth,
    /// The length of a chunk.
    ChunkSize,
    /// The zstd level.
    Level,
}

impl Vary {
    /// The name of the flag, without its dashes.
    pub fn word(self) -> &'static str {
        match self {
            Vary::Workers => "workers",
            Vary::ChannelDepth => "channel-depth",
            Vary::ChunkSize => "chunk-size",
            Vary::Level => "level",
        }
    }

    /// The choices to try beside `base`, cheapest first; `base` is among them.
    pub fn choices(self, base: Choice, cpus: NonZeroUsize, sample_len: usize) -> Vec<Choice> {
        let Choice { width, compress } = base;
        let numbers = |numbers: Vec<usize>| numbers.into_iter().filter_map(NonZeroUsize::new);
        let mut choices: Vec<Choice> = match self {
            Vary::Workers => {
                let powers = (0..usize::BITS - 1).map(|power| 1 << power).take_while(|count| *count < cpus.get());
                let choice = |workers| Choice { width: Concurrency { workers, ..width }, compress };
                numbers(powers.chain([cpus.get()]).collect()).map(choice).collect()
            }
            Vary::ChannelDepth => {
                let choice = |channel_depth| Choice { width: Concurrency { channel_depth, ..width }, compress };
                numbers(vec![1, 2, 4, 8, 16]).map(choice).collect()
            }
            Vary::ChunkSize => {
                // Enough chunks for every worker, else the end of the run dominates.
                let is_enough = |len: &usize| sample_len / len >= 4 * width.workers.get();
                let lens = [1, 2, 4, 8, 16].map(|mebibytes| mebibytes << 20).into_iter().filter(is_enough);
                lens.map(|chunk_len| Choice { width, compress: Compress { chunk_len, ..compress } }).collect()
            }
            Vary::Level => {
                let levels = [-5, 1, 3, 5, 7, 9, 12, 15, 19].into_iter().filter_map(Level::new);
                levels.map(|level| Choice { width, compress: Compress { level, ..compress } }).collect()
            }
        };
        if !choices.contains(&base) {
            let place = choices.partition_point(|choice| self.number(choice) < self.number(&base));
            choices.insert(place, base);
        }
        choices
    }

    fn number(self, choice: &Choice) -> i64 {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        match self {
            Vary::Workers => number(choice.width.workers.get()),
            Vary::ChannelDepth => number(choice.width.channel_depth.get()),
            Vary::ChunkSize => number(choice.compress.chunk_len),
            Vary::Level => choice.compress.level.get().into(),
        }
    }

    fn value(self, choice: &Choice) -> String {
        match self {
            Vary::ChunkSize => chunk_word(choice.compress.chunk_len),
            _ => self.number(choice).to_string(),
        }
    }
}

/// A choice and its results.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Its settings.
    pub choice: Choice,
    /// Wall time of each run.
    pub walls: Vec<Duration>,
    /// The length of the output, in bytes.
    pub written_bytes: u64,
}

impl Trial {
    /// The median wall time.
    pub fn wall(&self) -> Duration {
        Duration::from_secs_f64(median(self.walls.iter().map(Duration::as_secs_f64)))
    }

    /// The rate at the median wall time, in bytes of content a second.
    pub fn rate(&self, sample_bytes: u64) -> f64 {
        sample_bytes as f64 / self.wall().as_secs_f64().max(1e-9)
    }

    fn ratio(&self, sample_bytes: u64) -> f64 {
        sample_bytes as f64 / self.written_bytes.max(1) as f64
    }

    fn memory_bytes(&self) -> usize {
        process_bytes(self.choice.width, Some(self.choice.compress), false)
    }
}

/// The trials of one setting, and the chosen one.
#[derive(Clone, Debug)]
pub struct Step {
    /// The varied setting.
    pub vary: Vary,
    /// The trials, cheapest first.
    pub trials: Vec<Trial>,
    /// The chosen trial.
    pub chosen: usize,
}

/// Returns the index of the trial to choose from `trials`, which vary `vary` and are not empty. `base` is the choice to keep otherwise;
/// `rate_min`, in bytes of content a second, is the least rate that a level must reach.
pub fn decide(vary: Vary, trials: &[Trial], base: Choice, sample_bytes: u64, rate_min: Option<u64>) -> usize {
    let fastest = trials.iter().map(Trial::wall).min().unwrap_or_default();
    let is_fast = |trial: &Trial| trial.wall().as_secs_f64() <= fastest.as_secs_f64() * AS_FAST;
    let base_index = trials.iter().position(|trial| trial.choice == base).unwrap_or(0);
    match vary {
        Vary::Workers | Vary::ChannelDepth => trials.iter().position(is_fast).unwrap_or(base_index),
        Vary::ChunkSize => {
            let base = &trials[base_index];
            let is_worth = |trial: &Trial| {
                is_fast(trial) && (trial.written_bytes as f64) < base.written_bytes as f64 * WORTH_A_CHUNK
            };
            trials.iter().position(is_worth).unwrap_or(base_index)
        }
        Vary::Level => match rate_min {
            None => base_index,
            Some(rate) => trials.iter().rposition(|trial| trial.rate(sample_bytes) >= rate as f64).unwrap_or(0),
        },
    }
}

/// All findings.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The path of the input, as typed.
    pub input: OsString,
    /// The length of the input, in bytes.
    pub input_bytes: u64,
    /// Length of the sample.
    pub sample_bytes: u64,
    /// Time to read the sample.
    pub read_wall: Duration,
    /// The number of CPUs that this process may use.
    pub cpu_count: NonZeroUsize,
    /// The number of runs of each choice.
    pub round_count: u32,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The recommended settings.
    pub choice: Choice,
}

impl Tuned {
    /// The words of the command line to use.
    pub fn command(&self) -> Vec<OsString> {
        let is_like_a_flag = self.input.as_bytes().starts_with(b"-");
        let input = if is_like_a_flag { Path::new(".").join(&self.input).into() } else { self.input.clone() };
        let mut words: Vec<OsString> = vec!["pipeline".into(), "process".into(), input];
        for vary in [Vary::Workers, Vary::ChannelDepth, Vary::ChunkSize, Vary::Level] {
            words.push(format!("--{}={}", vary.word(), vary.value(&self.choice)).into());
        }
        words
    }

    /// The findings as text. The last line is the command.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write_text(&mut out).expect("writing to a String does not fail");
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let (sample, all) = (report::bytes(self.sample_bytes), report::bytes(self.input_bytes));
        let read_rate = self.sample_bytes as f64 / self.read_wall.as_secs_f64().max(1e-9) / MEBIBYTE;
        let (cpus, rounds) = (self.cpu_count, self.round_count);
        writeln!(
            out,
            "{sample} of {all}, {cpus} CPUs; medians of {rounds} runs from memory to nowhere; it was read at {read_rate:.0} MiB/s"
        )?;
        for Step { vary, trials, chosen } in &self.steps {
            writeln!(out, "\n{:<14} {:>8} {:>8} {:>10}", vary.word(), "MiB/s", "ratio", "memory")?;
            for (i, trial) in trials.iter().enumerate() {
                let value = vary.value(&trial.choice);
                let (rate, ratio) = (trial.rate(self.sample_bytes) / MEBIBYTE, trial.ratio(self.sample_bytes));
                let memory = report::bytes(trial.memory_bytes() as u64);
                let mark = if i == *chosen { "  taken" } else { "" };
                writeln!(out, "{value:>14} {rate:>8.0} {ratio:>8.3} {memory:>10}{mark}")?;
            }
        }
        let words: Vec<String> = self.command().iter().map(shell_word).collect();
        writeln!(out, "\n{}", words.join(" "))
    }

    /// The findings as JSON.
    pub fn to_json(&self) -> Value {
        let trial = |trial: &Trial, is_taken: bool| {
            json!({
                "workers": trial.choice.width.workers,
                "channel_depth": trial.choice.width.channel_depth,
                "chunk_bytes": trial.choice.compress.chunk_len,
                "level": trial.choice.compress.level.get(),
                "wall_ns": trial.walls.iter().map(|wall| nanoseconds(*wall)).collect::<Vec<_>>(),
                "written_bytes": trial.written_bytes,
                "memory_bytes": trial.memory_bytes(),
                "is_taken": is_taken,
            })
        };
        let step = |step: &Step| {
            let trials = step.trials.iter().enumerate().map(|(i, it)| trial(it, i == step.chosen));
            json!({ "setting": step.vary.word(), "trials": trials.collect::<Vec<_>>() })
        };
        json!({
            "version": JSON_VERSION,
            "input": self.input.to_string_lossy(),
            "input_bytes": self.input_bytes,
            "sample_bytes": self.sample_bytes,
            "read_wall_ns": nanoseconds(self.read_wall),
            "cpu_count": self.cpu_count,
            "rounds": self.round_count,
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
            "command": self.command().iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>(),
        })
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The length in mebibytes, such as `4M`, or in kibibytes, such as `64K`, if it is not whole mebibytes.
fn chunk_word(len: usize) -> String {
    if len.is_multiple_of(1 << 20) { format!("{}M", len >> 20) } else { format!("{}K", len >> 10) }
}

/// A word for a shell, quoted if necessary, with control characters escaped.
fn shell_word(word: &OsString) -> String {
    let bytes = word.as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=./,:+@%".contains(byte);
    match word.to_str() {
        Some(text) if !text.is_empty() && bytes.iter().all(is_plain) => text.to_owned(),
        Some(text) if !text.chars().any(char::is_control) => format!("'{}'", text.replace('\'', "'\\''")),
        _ => {
            let escaped = bytes.iter().map(|byte| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                byte => format!("\\x{byte:02x}"),
            });
            format!("$'{}'", escaped.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn number(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
    }

    fn base() -> Choice {
        let width = Concurrency { workers: number(2), channel_depth: number(4) };
        Choice { width, compress: Compress { chunk_len: 4 << 20, level: Level::DEFAULT } }
    }

    /// The choices of `vary`, with the given milliseconds and output bytes.
    fn trials(vary: Vary, figures: &[(u64, u64)]) -> Vec<Trial> {
        let choices = vary.choices(base(), number(8), 256 << 20);
        let trial = |(choice, (ms, bytes)): (Choice, &(u64, u64))| Trial {
            choice,
            walls: vec![Duration::from_millis(*ms)],
            written_bytes: *bytes,
        };
        choices.into_iter().zip(figures).map(trial).collect()
    }

    #[test]
    fn of_what_is_as_fast_the_least_is_taken() {
        let decide = |vary, figures| decide(vary, &trials(vary, figures), base(), 1_000_000, None);
        assert_eq!(decide(Vary::Workers, &[(800, 1), (400, 1), (210, 1), (205, 1)]), 2);
        assert_eq!(decide(Vary::ChannelDepth, &[(100, 1), (99, 1), (98, 1), (98, 1), (98, 1)]), 0);
    }

    #[test]
    fn a_larger_chunk_has_to_be_worth_it() {
        let decide = |figures| decide(Vary::ChunkSize, &trials(Vary::ChunkSize, figures), base(), 1_000_000, None);
        assert_eq!(decide(&[(100, 1100), (100, 1050), (100, 1000), (100, 995), (100, 992)]), 2);
        assert_eq!(decide(&[(100, 1100), (100, 1050), (100, 1000), (100, 980), (100, 970)]), 3);
        assert_eq!(decide(&[(100, 1100), (100, 1050), (100, 1000), (120, 980), (130, 970)]), 2);
    }

    #[test]
    fn the_level_is_the_highest_that_keeps_up() {
        let trials = trials(Vary::Level, &[(50, 9), (100, 8), (200, 7), (400, 6), (800, 5)]);
        let decide = |rate_min| decide(Vary::Level, &trials, base(), 1_000_000, rate_min);
        // The default is level 3; a megabyte in 200 ms is 5 MB/s.
        assert_eq!((decide(None), decide(Some(2_500_000)), decide(Some(5_000_000))), (2, 3, 2));
        assert_eq!((decide(Some(1)), decide(Some(u64::MAX))), (4, 0));
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        let shown = |word: &str| shell_word(&word.into());
        assert_eq!(shell_word(&OsString::from_vec(b"a\x1b'\xff".to_vec())), r"$'a\x1b\'\xff'");
        assert_eq!(
            [shown("a/b.tar"), shown("a b"), shown("it's"), shown("")],
            ["a/b.tar", "'a b'", "'it'\\''s'", "''"]
        );
    }

    #[test]
    fn every_choice_differs_in_what_is_varied_alone() {
        for vary in [Vary::Workers, Vary::ChannelDepth, Vary::ChunkSize, Vary::Level] {
            let choices = vary.choices(base(), number(6), 256 << 20);
            assert!(choices.contains(&base()), "{vary:?}");
            let values: std::collections::BTreeSet<String> = choices.iter().map(|choice| vary.value(choice)).collect();
            assert_eq!(values.len(), choices.len(), "{vary:?}");
        }
        let (mut odd, chunk_len) = (base(), 3 << 20);
        odd.compress = Compress { chunk_len, level: Level::new(4).unwrap() };
        assert_eq!(Vary::ChunkSize.choices(odd, number(6), 256 << 20).iter().position(|it| *it == odd), Some(2));
        assert_eq!(Vary::Level.choices(odd, number(6), 0).iter().position(|it| *it == odd), Some(3));
        let workers = Vary::Workers.choices(base(), number(6), 0);
        assert_eq!(workers.iter().map(|choice| choice.width.workers.get()).collect::<Vec<_>>(), [1, 2, 4, 6]);
    }
}
