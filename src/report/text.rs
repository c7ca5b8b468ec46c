//! The report as text: a table, and a sentence that names the bottleneck.

use std::fmt::Write as _;
use std::time::Duration;

use super::advice::advice;
use super::quantities::{past, quantiles};
use super::words;
use crate::batch::results::BatchSummary;
use crate::pipeline::metrics::{ChannelFigures, Histogram, WindowFigures};
use crate::pipeline::report::Report;
use crate::store::name::quoted;
use crate::store::sys;
use crate::task::Verb;

/// The report as text. `verbose` adds the settings of the run.
pub fn text(report: &Report, batch: Option<&BatchSummary>, verb: Verb, verbose: bool) -> String {
    let mut out = String::new();
    write_text(&mut out, report, batch, verb, verbose).expect("writing to a String does not fail");
    out
}

fn write_text(
    out: &mut String,
    report: &Report,
    batch: Option<&BatchSummary>,
    verb: Verb,
    verbose: bool,
) -> std::fmt::Result {
    let Report { wall, figures, .. } = report;
    match batch {
        Some(batch) if batch.totals().0 == [0; 3] => {
            writeln!(out, "{}: nothing, {}", past(verb), duration(*wall))?;
        }
        _ => write_summary(out, report, verb)?,
    }
    if let Some(batch) = batch {
        write_files(out, batch)?;
    }
    if verbose {
        let (engine, workers, depth) = (report.engine.name(), report.workers, report.channel_depth);
        writeln!(out, "engine {engine}, {}, channel depth {depth}", counted(workers as u64, "worker"))?;
    }
    writeln!(out, "{:<18}{:>9}{:>7}  work p50      p90      p99      max", "stage", "threads", "busy")?;
    for stage in &figures.stages {
        let threads = stage.items_by_thread.len();
        let busy = stage.busy_share(*wall) * 100.0;
        writeln!(out, "{:<18}{threads:>9}{busy:>5.0} %  {}", stage.name, times(&stage.service_ns))?;
    }
    if !figures.channels.is_empty() || !figures.reorders.is_empty() {
        let depth = "depth p50 p90 p99  max   of";
        writeln!(out, "{:<15}{depth}  wait p50      p90      p99      max", "channel")?;
    }
    for channel in &figures.channels {
        let (depth, of) = (depths(&channel.depth), channel.capacity);
        writeln!(out, "{:<16}{depth} {of:>4}  {}", channel.name, times(&channel.wait_ns))?;
    }
    for reorder in &figures.reorders {
        let (name, depth) = (format!("reorder at {}", reorder.name), depths(&reorder.depth));
        writeln!(out, "{name:<16}{depth}       {}", times(&reorder.wait_ns))?;
    }
    for wait in &figures.waits {
        writeln!(out, "{:<18}{:>16}   {}", wait.name, "wait", times(&wait.wait_ns))?;
    }
    for ChannelFigures { name, blocked_ns, idle_ns, .. } in &figures.channels {
        let [blocked, idle] = [blocked_ns, idle_ns].map(|ns| duration(Duration::from_nanos(*ns)));
        writeln!(out, "{name}: senders were blocked {blocked}, receivers idle {idle}")?;
    }
    for WindowFigures { name, weight_max, weight_in_flight_max, wait_ns, .. } in &figures.windows {
        let wait = duration(Duration::from_nanos(*wait_ns));
        writeln!(out, "tokens of {name}: at most {weight_in_flight_max} of {weight_max} in use, waited {wait}")?;
    }
    let (made, taken) = (figures.buffers.made_count, figures.buffers.taken_count);
    let peak = sys::peak_memory_bytes().map_or("unknown".to_owned(), bytes);
    match batch {
        None => {
            writeln!(out, "peak memory {peak}; {} made for {}", counted(made, "buffer"), counted(taken, "use"))?;
            write_wrapped(out, &format!("bottleneck: {}", advice(report)))
        }
        Some(batch) => {
            writeln!(out, "peak memory {peak}")?;
            match batch.totals().0 {
                [0, 0, 0] => Ok(()),
                _ => write_wrapped(out, &format!("cores: {}", advice_of_batch(report))),
            }
        }
    }
}

fn write_files(out: &mut String, batch: &BatchSummary) -> std::fmt::Result {
    let counts = batch.counts();
    write_wrapped(out, &format!("{}: {}", counted(counts.files, "file"), words::counts(&counts)))?;
    if batch.cut_off_count > 0 {
        writeln!(out, "removed what was left of {}", counted(batch.cut_off_count, "file that was cut off"))?;
    }
    for (path, took) in batch.slowest() {
        writeln!(out, "slowest: {:>8}  {}", duration(took), quoted(path))?;
    }
    Ok(())
}

/// How busy the CPUs were, and what would help.
fn advice_of_batch(report: &Report) -> String {
    let share = batch_core_share(report);
    let percent = share * 100.0;
    match share {
        _ if share > 0.8 => format!("busy {percent:.0} % of the time: more of them would help"),
        _ => format!(
            "busy {percent:.0} % of the time: files waited for reading, writing and naming, where more --jobs may help"
        ),
    }
}

/// The share of the batch's time in which its workers computed, from 0 to 1.
pub fn batch_core_share(report: &Report) -> f64 {
    let computing = report.figures.stages.iter().filter(|stage| stage.name.is_computing());
    let busy_ns: u64 = computing.map(|stage| stage.busy_ns).sum();
    busy_ns as f64 / (report.wall.as_nanos().max(1) as f64 * report.workers as f64)
}

fn write_summary(out: &mut String, report: &Report, verb: Verb) -> std::fmt::Result {
    let Report { read_bytes, written_bytes, wall, summary, .. } = report;
    let content_bytes = summary.content_bytes;
    let file_bytes = if let Verb::Process = verb { *written_bytes } else { *read_bytes };
    let ratio = content_bytes as f64 / file_bytes.max(1) as f64;
    let moved = match verb {
        Verb::Verify => format!("{}, {} decoded", bytes(*read_bytes), bytes(*written_bytes)),
        _ => format!("{} to {}", bytes(*read_bytes), bytes(*written_bytes)),
    };
    let rate = bytes((content_bytes as f64 / wall.as_secs_f64().max(1e-9)) as u64);
    let (frames, wall) = (counted(summary.frame_count, "frame"), duration(*wall));
    writeln!(out, "{}: {moved}, ratio {ratio:.3}, {frames}, {wall}, {rate}/s", past(verb))
}

/// Columns of a usual terminal.
const LINE_LEN: usize = 80;

/// Wraps a sentence at [`LINE_LEN`]; indents all lines but the first.
fn write_wrapped(out: &mut String, sentence: &str) -> std::fmt::Result {
    let mut line_len = 0;
    for word in sentence.split(' ') {
        match line_len {
            0 => line_len = word.len(),
            len if len + 1 + word.len() > LINE_LEN => {
                write!(out, "\n  ")?;
                line_len = 2 + word.len();
            }
            len => {
                write!(out, " ")?;
                line_len = len + 1 + word.len();
            }
        }
        write!(out, "{word}")?;
    }
    writeln!(out)
}

/// `1 frame`, `2 frames`.
fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn depths(histogram: &Histogram) -> String {
    let [p50, p90, p99, max] = quantiles(histogram);
    format!("{p50:>8} {p90:>3} {p99:>3} {max:>4}")
}

fn times(histogram: &Histogram) -> String {
    quantiles(histogram).map(|ns| format!("{:>8}", duration(Duration::from_nanos(ns)))).join(" ")
}

/// A duration with its unit and three significant digits.
pub fn duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.3} us", Short(ns as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{:.3} ms", Short(ns as f64 / 1e6)),
        _ => format!("{:.3} s", Short(ns as f64 / 1e9)),
    }
}

/// A number from 1 to 1000, displayed with three significant digits.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            value if value < 9.995 => write!(f, "{value:.2}"),
            value if value < 99.95 => write!(f, "{value:.1}"),
            value => write!(f, "{value:.0}"),
        }
    }
}

/// A number of bytes in binary units, such as `1.50 KiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(5) as usize;
    let value = bytes as f64 / 1024f64.powi(power as i32);
    format!("{} {}", Short(value), UNITS[power - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sentence_is_wrapped_between_words() {
        let mut out = String::new();
        write_wrapped(&mut out, &"seven77 ".repeat(30)).unwrap();
        assert!(out.lines().all(|line| line.len() <= LINE_LEN) && out.lines().count() == 4, "{out}");
        assert!(out.lines().skip(1).all(|line| line.starts_with("  s")), "{out}");
        assert_eq!(out.split_whitespace().count(), 30);
    }

    #[test]
    fn numbers_are_shown_with_three_digits() {
        assert_eq!(
            [0, 1023, 1024, 1536, 10 << 20, 1 << 30].map(bytes),
            ["0 B", "1023 B", "1.00 KiB", "1.50 KiB", "10.0 MiB", "1.00 GiB"]
        );
        let shown = |ns| duration(Duration::from_nanos(ns));
        assert_eq!([999, 1_000, 12_300, 999_000_000].map(shown), ["999 ns", "1.00 us", "12.3 us", "999 ms"]);
    }
}
