//! The report as people read it: a table, and a sentence about what held the run up.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Verb, quantiles};
use crate::cli::sys;
use crate::pipeline::metrics::{ChannelFigures, Histogram, WindowFigures};
use crate::pipeline::report::Report;

/// The report. `verbose` adds the settings of the run.
pub fn text(report: &Report, verb: Verb, verbose: bool) -> String {
    let mut out = String::new();
    write_text(&mut out, report, verb, verbose).expect("writing to a String does not fail");
    out
}

fn write_text(out: &mut String, report: &Report, verb: Verb, verbose: bool) -> std::fmt::Result {
    let Report { read_bytes, written_bytes, wall, summary, figures, .. } = report;
    let content_rate = summary.content_bytes as f64 / wall.as_secs_f64().max(1e-9) / 1e6;
    let ratio = match verb {
        Verb::Processed => summary.content_bytes as f64 / (*written_bytes).max(1) as f64,
        _ => summary.content_bytes as f64 / (*read_bytes).max(1) as f64,
    };
    writeln!(
        out,
        "{}: read {}, {} {}, {} frames, ratio {ratio:.3}, in {}: {content_rate:.0} MB/s of content",
        verb.word(),
        bytes(*read_bytes),
        if let Verb::Verified = verb { "decoded" } else { "wrote" },
        bytes(*written_bytes),
        summary.frame_count,
        duration(*wall),
    )?;
    if verbose {
        let (engine, workers, depth) = (report.engine.name(), report.workers, report.channel_depth);
        writeln!(out, "engine {engine}, {workers} workers, channel depth {depth}")?;
    }
    writeln!(out, "{:<18} {:>8} {:>6}   service p50      p90      p99      max", "stage", "threads", "busy")?;
    for stage in &figures.stages {
        let threads = stage.items_by_thread.len();
        let busy = stage.busy_share(*wall) * 100.0;
        writeln!(out, "{:<18} {threads:>8} {busy:>5.0}%  {}", stage.name, times(&stage.service_ns))?;
    }
    if !figures.channels.is_empty() {
        let head = "depth p50 p90 p99 max";
        writeln!(out, "{:<18} {head} of    wait p50      p90      p99      max   blocked     idle", "channel")?;
    }
    for channel in &figures.channels {
        write_channel(out, channel)?;
    }
    for reorder in &figures.reorders {
        let [p50, p90, p99, max] = quantiles(&reorder.depth);
        let (name, times) = (format!("reorder at {}", reorder.name), times(&reorder.wait_ns));
        writeln!(out, "{name:<18} {p50:>9} {p90:>3} {p99:>3} {max:>3}     {times}")?;
    }
    for wait in &figures.waits {
        writeln!(out, "{:<18} {:>16}  {}", wait.name, "wait", times(&wait.wait_ns))?;
    }
    for window in &figures.windows {
        let WindowFigures { name, weight_max, weight_in_flight_max, wait_ns, .. } = window;
        let wait = duration(Duration::from_nanos(*wait_ns));
        writeln!(
            out,
            "tokens of {name}: {weight_in_flight_max} of {weight_max} in use at most, waited {wait} for them"
        )?;
    }
    let (made, taken) = (figures.buffers.made_count, figures.buffers.taken_count);
    let peak = sys::peak_memory_bytes().map_or("unknown".to_owned(), bytes);
    writeln!(out, "peak memory {peak}; {made} buffers made for {taken} uses")?;
    writeln!(out, "bottleneck: {}", report.advice())
}

fn write_channel(out: &mut String, channel: &ChannelFigures) -> std::fmt::Result {
    let [p50, p90, p99, max] = quantiles(&channel.depth);
    let ChannelFigures { name, capacity, wait_ns, blocked_ns, idle_ns, .. } = channel;
    let (blocked, idle) = (duration(Duration::from_nanos(*blocked_ns)), duration(Duration::from_nanos(*idle_ns)));
    let times = times(wait_ns);
    writeln!(out, "{name:<18} {p50:>9} {p90:>3} {p99:>3} {max:>3} {capacity:>2}  {times} {blocked:>9} {idle:>8}")
}

fn times(histogram: &Histogram) -> String {
    let columns = quantiles(histogram).map(|ns| format!("{:>8}", duration(Duration::from_nanos(ns))));
    format!("  {}", columns.join(" "))
}

/// A time with three digits.
pub fn duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.3} us", Short(ns as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{:.3} ms", Short(ns as f64 / 1e6)),
        _ => format!("{:.3} s", Short(ns as f64 / 1e9)),
    }
}

/// A number from 1 to 1000 with three digits.
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

/// A number of bytes in binary units, as people read it.
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
    fn numbers_are_shown_with_three_digits() {
        assert_eq!(
            [0, 1023, 1024, 1536, 10 << 20, 1 << 30].map(bytes),
            ["0 B", "1023 B", "1.00 KiB", "1.50 KiB", "10.0 MiB", "1.00 GiB"]
        );
        let shown = |ns| duration(Duration::from_nanos(ns));
        assert_eq!([999, 1_000, 12_300, 999_000_000].map(shown), ["999 ns", "1.00 us", "12.3 us", "999 ms"]);
    }
}
