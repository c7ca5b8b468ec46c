//! The report on exit, for people and for programs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::args::{StatsForm, TalkArgs};
use super::input::Input;
use super::output::Output;
use super::problem::{Problem, quoted, tell};
use super::sys;
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::metrics::{ChannelFigures, Histogram, ReorderFigures, StageFigures, WaitFigures, WindowFigures};
use crate::pipeline::report::Report;

/// The version of the JSON object's shape; it grows when a field changes its meaning or goes.
const JSON_VERSION: u32 = 1;

/// What the command did, as it is said.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    /// `process`
    Processed,
    /// `restore`
    Restored,
    /// `verify`
    Verified,
    /// `cat`
    Read,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Processed => "processed",
            Verb::Restored => "restored",
            Verb::Verified => "verified",
            Verb::Read => "read",
        }
    }
}

/// Where the report goes: stderr, or a file that is opened before the run, so that no run is in vain for a report.
pub struct ReportFile {
    file: Option<(File, PathBuf)>,
    /// Made for this run: it goes again if the run fails.
    is_new: bool,
}

impl ReportFile {
    /// Opens the file that `talk` asks for. Refuses one that is among `inputs` or is `output`.
    pub fn prepare(talk: &TalkArgs, inputs: &[&Input], output: Option<&Output>) -> anyhow::Result<ReportFile> {
        let Some(path) = &talk.stats_file else {
            return Ok(ReportFile { file: None, is_new: false });
        };
        if output.is_some_and(|output| output.is_at(path)) {
            return Err(
                Problem::usage(format!("the report cannot be written to {}, which is OUT", quoted(path))).into()
            );
        }
        let is_new = std::fs::symlink_metadata(path).is_err();
        let file = sys::open_to_write(path).with_context(|| format!("cannot write the report to {}", quoted(path)))?;
        let identity = sys::identity(&file.metadata().context("cannot look at the report's file")?);
        if let Some(input) = inputs.iter().find(|input| sys::identity(&input.metadata) == identity) {
            let message = format!("the report cannot be written to {}, which is {}", quoted(path), input.name);
            return Err(Problem::usage(message).into());
        }
        Ok(ReportFile { file: Some((file, path.clone())), is_new })
    }

    /// Shows `report` in the form that `talk` asks for.
    pub fn show(mut self, report: &Report, verb: Verb, talk: &TalkArgs) -> anyhow::Result<()> {
        let is_unasked = talk.quiet || matches!(verb, Verb::Read);
        let unasked = if is_unasked && self.file.is_none() { StatsForm::None } else { StatsForm::Text };
        let text = match talk.stats.unwrap_or(unasked) {
            StatsForm::None => String::new(),
            StatsForm::Text => text(report, verb, talk.verbose),
            StatsForm::Json => format!("{}\n", json(report, verb)),
        };
        match &mut self.file {
            None => tell(&text),
            Some((file, path)) => {
                let written = file.set_len(0).or(Ok(())).and_then(|()| file.write_all(text.as_bytes()));
                written.with_context(|| format!("cannot write the report to {}", quoted(path)))?;
            }
        }
        self.is_new = false;
        Ok(())
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        if let (Some((_, path)), true) = (&self.file, self.is_new) {
            // An empty report of a run that failed; if it stays, it does no harm.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn text(report: &Report, verb: Verb, verbose: bool) -> String {
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

/// p50, p90, p99 and the maximum.
fn quantiles(histogram: &Histogram) -> [u64; 4] {
    [
        histogram.value_at_quantile(0.5),
        histogram.value_at_quantile(0.9),
        histogram.value_at_quantile(0.99),
        histogram.max(),
    ]
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

fn json(report: &Report, verb: Verb) -> Value {
    let figures = &report.figures;
    json!({
        "version": JSON_VERSION,
        "command": verb.word(),
        "engine": report.engine.name(),
        "workers": report.workers,
        "channel_depth": report.channel_depth,
        "wall_ns": ns(report.wall),
        "read_bytes": report.read_bytes,
        "written_bytes": report.written_bytes,
        "content_bytes": report.summary.content_bytes,
        "frame_count": report.summary.frame_count,
        "seek_table": report.summary.table.as_ref().map(table_word),
        "peak_memory_bytes": sys::peak_memory_bytes(),
        "buffers": { "made_count": figures.buffers.made_count, "taken_count": figures.buffers.taken_count },
        "stages": figures.stages.iter().map(|stage| stage_json(stage, report.wall)).collect::<Vec<_>>(),
        "channels": figures.channels.iter().map(channel_json).collect::<Vec<_>>(),
        "reorders": figures.reorders.iter().map(reorder_json).collect::<Vec<_>>(),
        "windows": figures.windows.iter().map(window_json).collect::<Vec<_>>(),
        "waits": figures.waits.iter().map(wait_json).collect::<Vec<_>>(),
        "bottleneck": report.bottleneck().map(|bottleneck| json!({
            "stage": bottleneck.stage,
            "busy_share": bottleneck.busy_share,
            "advice": report.advice(),
        })),
    })
}

fn table_word(status: &TableStatus) -> String {
    match status {
        TableStatus::Valid => "valid".to_owned(),
        TableStatus::Unusable(error) => error.to_string(),
    }
}

fn stage_json(stage: &StageFigures, wall: Duration) -> Value {
    json!({
        "name": stage.name,
        "threads": stage.items_by_thread.len(),
        "items_by_thread": stage.items_by_thread,
        "busy_ns": stage.busy_ns,
        "busy_share": stage.busy_share(wall),
        "service_ns": histogram_json(&stage.service_ns),
    })
}

fn channel_json(channel: &ChannelFigures) -> Value {
    json!({
        "name": channel.name,
        "capacity": channel.capacity,
        "depth": histogram_json(&channel.depth),
        "wait_ns": histogram_json(&channel.wait_ns),
        "blocked_ns": channel.blocked_ns,
        "idle_ns": channel.idle_ns,
    })
}

fn reorder_json(reorder: &ReorderFigures) -> Value {
    json!({
        "stage": reorder.name,
        "depth": histogram_json(&reorder.depth),
        "wait_ns": histogram_json(&reorder.wait_ns),
    })
}

fn window_json(window: &WindowFigures) -> Value {
    json!({
        "stage": window.name,
        "weight_max": window.weight_max,
        "item_count_max": window.item_count_max,
        "weight_in_flight_max": window.weight_in_flight_max,
        "wait_ns": window.wait_ns,
    })
}

fn wait_json(wait: &WaitFigures) -> Value {
    json!({ "name": wait.name, "wait_ns": histogram_json(&wait.wait_ns) })
}

fn histogram_json(histogram: &Histogram) -> Value {
    let [p50, p90, p99, max] = quantiles(histogram);
    let [p25, p75] = [0.25, 0.75].map(|quantile| histogram.value_at_quantile(quantile));
    let (count, mean) = (histogram.len(), histogram.mean());
    json!({ "count": count, "mean": mean, "p25": p25, "p50": p50, "p75": p75, "p90": p90, "p99": p99, "max": max })
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
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
