//! The figures of a run in Prometheus' text format 0.0.4, for node_exporter's textfile collector.
//!
//! The file is written when a run ends and is replaced by the next run: every metric is a gauge or summary of the last run, and nothing
//! accumulates. Units are base units: seconds, bytes, ratios of 1. A failed run has no figures, only the failure, its time, and the
//! time of the last success.

use std::fmt::{Display, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::exit::Exit;
use super::quantities::quantiles;
use crate::batch::results::Counts;
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::metrics::{Figures, Histogram};
use crate::pipeline::report::Report;
use crate::store::sys;

/// Carried over from the old file when a run fails.
const LAST_SUCCESS: &str = "pipeline_run_last_success_timestamp_seconds";

/// The result of a run.
pub struct Ended<'a> {
    /// The command's name.
    pub command: &'static str,
    /// The report of a successful run.
    pub report: Option<&'a Report>,
    /// The number of files of a batch for each result.
    pub files: Option<Counts>,
    /// The exit of the program.
    pub exit: Exit,
    /// The time of the end.
    pub at: SystemTime,
}

/// The label that separates the runs of one metrics file from those of another: the file's name without `.prom`, escaped.
pub struct Label(String);

impl Label {
    /// The label of the runs reported at `path`.
    pub fn of(path: &Path) -> Label {
        let is_prom = path.extension().is_some_and(|extension| extension == "prom");
        let name = if is_prom { path.file_stem() } else { path.file_name() };
        Label(escaped(&name.unwrap_or_default().to_string_lossy()))
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// The text of the metrics file. `old` is its previous text.
pub fn metrics(label: &Label, ended: &Ended<'_>, old: &str) -> String {
    let mut page = Page { text: String::new(), label };
    let is_success = ended.report.is_some();
    let at = ended.at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_millis() as f64 / 1e3);
    let engine = ended.report.map(|report| report.engine.name());
    page.info(ended.command, engine);
    page.gauge("pipeline_run_success", "Whether the last run ended well, with exit code 0 or 3.", flag(is_success));
    page.gauge("pipeline_run_exit_code", "Exit code of the last run.", f64::from(ended.exit.code()));
    page.gauge("pipeline_run_end_timestamp_seconds", "When the last run ended.", at);
    let last_success = if is_success { Some(at) } else { last_success(label, old) };
    if let Some(at) = last_success {
        page.gauge(LAST_SUCCESS, "When a run last ended well.", at);
    }
    if let Some(report) = ended.report {
        page.run(report);
        page.files(ended.files);
        page.stages(report);
        page.channels(&report.figures);
        page.waits(&report.figures);
    }
    page.text
}

/// A value in the old text.
fn last_success(label: &Label, old: &str) -> Option<f64> {
    let sample = format!("{LAST_SUCCESS}{{run=\"{}\"}} ", label.0);
    let at: f64 = old.lines().find_map(|line| line.strip_prefix(&sample))?.parse().ok()?;
    at.is_finite().then_some(at)
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The unit of a histogram's values.
#[derive(Clone, Copy)]
enum Unit {
    Nanoseconds,
    Items,
}

impl Unit {
    fn in_base(self, value: f64) -> f64 {
        match self {
            Unit::Nanoseconds => value / 1e9,
            Unit::Items => value,
        }
    }
}

/// The text so far, one family of metrics after another.
struct Page<'a> {
    text: String,
    label: &'a Label,
}

impl Page<'_> {
    fn info(&mut self, command: &str, engine: Option<&str>) {
        self.head("pipeline_run_info", "gauge", "What the last run was: always 1.");
        let mut labels = vec![("command", command), ("version", env!("CARGO_PKG_VERSION"))];
        labels.extend(engine.map(|engine| ("engine", engine)));
        self.sample("pipeline_run_info", &labels, 1.0);
    }

    fn files(&mut self, files: Option<Counts>) {
        let Some(Counts { done, redone, unchanged, warned, failed, skipped, left, .. }) = files else { return };
        self.head("pipeline_files", "gauge", "Files of the last run, which was one of many files, by how they ended.");
        let ended = [
            ("done", done),
            ("redone", redone),
            ("unchanged", unchanged),
            ("warned", warned),
            ("failed", failed),
            ("skipped", skipped),
            ("left", left),
        ];
        for (ended, count) in ended {
            self.sample("pipeline_files", &[("ended", ended)], count as f64);
        }
    }

    fn run(&mut self, report: &Report) {
        let Report { read_bytes, written_bytes, wall, summary, figures, workers, channel_depth, .. } = report;
        self.gauge(
            "pipeline_run_duration_seconds",
            "From the first thread's start to the last's end.",
            wall.as_secs_f64(),
        );
        self.gauge("pipeline_read_bytes", "Bytes read from the input.", *read_bytes as f64);
        self.gauge(
            "pipeline_written_bytes",
            "Bytes written to the output, or decoded by verify.",
            *written_bytes as f64,
        );
        self.gauge(
            "pipeline_content_bytes",
            "Bytes before compression, or after decompression.",
            summary.content_bytes as f64,
        );
        self.gauge("pipeline_frames", "zstd frames written or decoded.", summary.frame_count as f64);
        if let Some(status) = &summary.table {
            let is_valid = flag(matches!(status, TableStatus::Valid));
            self.gauge("pipeline_seek_table_valid", "Whether a seek table shows that no frame is missing.", is_valid);
        }
        if let Some(bytes) = sys::peak_memory_bytes() {
            self.gauge("pipeline_peak_memory_bytes", "The most memory that was in use.", bytes as f64);
        }
        self.gauge("pipeline_workers", "Workers in each parallel stage.", *workers as f64);
        self.gauge("pipeline_channel_capacity_items", "Items that each channel holds at most.", *channel_depth as f64);
        self.gauge("pipeline_buffers_made", "Buffers that were allocated.", figures.buffers.made_count as f64);
        self.gauge("pipeline_buffers_taken", "Times that a buffer was put to use.", figures.buffers.taken_count as f64);
    }

    fn stages(&mut self, report: &Report) {
        let stages = &report.figures.stages;
        let threads = stages.iter().map(|stage| (stage.name, stage.items_by_thread.len() as f64));
        self.gauges("pipeline_stage_threads", "Threads of a stage.", "stage", threads);
        let items = stages.iter().map(|stage| (stage.name, stage.items_by_thread.iter().sum::<u64>() as f64));
        self.gauges("pipeline_stage_items", "Items that a stage worked on.", "stage", items);
        let busy = stages.iter().map(|stage| (stage.name, seconds(stage.busy_ns)));
        self.gauges("pipeline_stage_busy_seconds", "Time at work, of all threads of a stage together.", "stage", busy);
        let shares = stages.iter().map(|stage| (stage.name, stage.busy_share(report.wall)));
        self.gauges(
            "pipeline_stage_busy_ratio",
            "Share of the run that a stage's threads were at work.",
            "stage",
            shares,
        );
        let service = stages.iter().map(|stage| (stage.name, &stage.service_ns));
        let help = "Time at work on an item.";
        self.summaries("pipeline_stage_service_seconds", help, "stage", Unit::Nanoseconds, service);
    }

    fn channels(&mut self, figures: &Figures) {
        let channels = &figures.channels;
        let wait = channels.iter().map(|channel| (channel.name, &channel.wait_ns));
        let help = "From when an item was offered to a channel until it was received.";
        self.summaries("pipeline_channel_wait_seconds", help, "channel", Unit::Nanoseconds, wait);
        let depth = channels.iter().map(|channel| (channel.name, &channel.depth));
        let help = "Items that an arriving item found in a channel.";
        self.summaries("pipeline_channel_depth_items", help, "channel", Unit::Items, depth);
        let blocked = channels.iter().map(|channel| (channel.name, seconds(channel.blocked_ns)));
        let help = "Time that senders waited because a channel was full.";
        self.gauges("pipeline_channel_blocked_seconds", help, "channel", blocked);
        let idle = channels.iter().map(|channel| (channel.name, seconds(channel.idle_ns)));
        let help = "Time that receivers waited because a channel was empty.";
        self.gauges("pipeline_channel_idle_seconds", help, "channel", idle);
    }

    fn waits(&mut self, figures: &Figures) {
        let (reorders, windows) = (&figures.reorders, &figures.windows);
        let wait = reorders.iter().map(|reorder| (reorder.name, &reorder.wait_ns));
        let help = "Time that items waited for those before them.";
        self.summaries("pipeline_reorder_wait_seconds", help, "stage", Unit::Nanoseconds, wait);
        let depth = reorders.iter().map(|reorder| (reorder.name, &reorder.depth));
        let help = "Items that an arriving item found in the reorder ring.";
        self.summaries("pipeline_reorder_depth_items", help, "stage", Unit::Items, depth);
        let wait = windows.iter().map(|window| (window.name, seconds(window.wait_ns)));
        let help = "Time that the stage in front waited for tokens.";
        self.gauges("pipeline_window_wait_seconds", help, "stage", wait);
        let fill = windows
            .iter()
            .map(|window| (window.name, window.weight_in_flight_max as f64 / window.weight_max.max(1) as f64));
        let help = "The most that was in flight, as a share of what may be.";
        self.gauges("pipeline_window_fill_max_ratio", help, "stage", fill);
        let waits = figures.waits.iter().map(|wait| (wait.name, &wait.wait_ns));
        let help = "Time that tasks of the mutex mode waited.";
        self.summaries("pipeline_mutex_wait_seconds", help, "for", Unit::Nanoseconds, waits);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// A family whose members differ by the label `key`; omitted if it has none.
    fn gauges(&mut self, name: &str, help: &str, key: &str, values: impl Iterator<Item = (impl Display, f64)>) {
        let mut values = values.peekable();
        if values.peek().is_some() {
            self.head(name, "gauge", help);
        }
        for (member, value) in values {
            self.sample(name, &[(key, &member.to_string())], value);
        }
    }

    /// Like [`Page::gauges`], with quantiles, the sum with the histogram's precision, and the count.
    fn summaries<'a>(
        &mut self,
        name: &str,
        help: &str,
        key: &str,
        unit: Unit,
        histograms: impl Iterator<Item = (impl Display, &'a Histogram)>,
    ) {
        let mut histograms = histograms.peekable();
        if histograms.peek().is_some() {
            self.head(name, "summary", help);
        }
        for (member, histogram) in histograms {
            let member = &member.to_string();
            let values = quantiles(histogram).map(|value| match histogram.is_empty() {
                true => f64::NAN,
                false => unit.in_base(value as f64),
            });
            for (quantile, value) in ["0.5", "0.9", "0.99", "1"].into_iter().zip(values) {
                self.sample(name, &[(key, member), ("quantile", quantile)], value);
            }
            let sum = unit.in_base(histogram.mean() * histogram.len() as f64);
            self.sample(&format!("{name}_sum"), &[(key, member)], sum);
            self.sample(&format!("{name}_count"), &[(key, member)], histogram.len() as f64);
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: String = labels.iter().map(|(key, value)| format!(",{key}=\"{}\"", escaped(value))).collect();
        let run = self.label.0.as_str();
        self.line(format_args!("{name}{{run=\"{run}\"{labels}}} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a String does not fail");
    }
}
