//! Progress during a run: a bar for people, lines for logs, JSON for programs.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::options::{ProgressForm, ReportOptions};
use super::say::tell;
use super::text::bytes;
use crate::batch::live::Live;
use crate::pipeline::gauges::{Gauges, Reading};
use crate::pipeline::metrics::Progress;
use crate::pipeline::names::Stage;
use crate::store::name::quoted;
use crate::store::sys;

/// Interval of progress lines without a terminal, and the period of live shares.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Columns of a full line with a bar. A narrower terminal gets a shorter line, since a wrapped line cannot be redrawn in place.
const COLUMNS_WIDE: u16 = 80;

/// Most files in flight that are shown.
const FILES_SHOWN_MAX: usize = 8;

/// The version of the JSON lines; it increases when a field is removed or changes its meaning.
const JSON_VERSION: u32 = 1;

/// The display of progress.
pub struct Display {
    form: Form,
    /// Show channels and stages too.
    is_verbose: bool,
    /// The length of the input in bytes, as `--size-hint` gives it.
    size_hint: Option<u64>,
    input_bytes: Option<u64>,
    started_at: Instant,
    /// The files of a batch.
    files: Option<Arc<Live>>,
    /// The reading of the last computed shares, and those shares.
    reading: Option<Reading>,
    shares: Vec<(Stage, f64)>,
}

enum Form {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Instant },
    Json { last: Instant },
}

impl Display {
    /// The display that `options` request.
    pub fn new(options: &ReportOptions) -> Display {
        let is_terminal = std::io::stderr().is_terminal();
        let last = Instant::now();
        let form = match options.progress {
            ProgressForm::Json => Form::Json { last },
            _ if options.quiet => Form::Nothing,
            ProgressForm::Never => Form::Nothing,
            ProgressForm::Auto | ProgressForm::Always if is_terminal => {
                Form::Bar(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)))
            }
            ProgressForm::Always => Form::Lines { last },
            ProgressForm::Auto => Form::Nothing,
        };
        Display {
            form,
            is_verbose: options.verbose,
            size_hint: options.size_hint,
            input_bytes: None,
            started_at: last,
            files: None,
            reading: None,
            shares: Vec::new(),
        }
    }

    /// Starts a run of `input_bytes`, if known.
    pub fn start(&mut self, input_bytes: Option<u64>) {
        self.input_bytes = input_bytes.or(self.size_hint).filter(|bytes| *bytes > 0);
        self.started_at = Instant::now();
        self.reading = None;
        self.files = None;
        if let Form::Bar(bar) = &self.form {
            let is_wide = sys::stderr_columns().is_none_or(|columns| columns >= COLUMNS_WIDE);
            let line = match self.input_bytes {
                Some(_) if is_wide => {
                    "{percent:>3} % {wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left, {prefix}"
                }
                Some(_) => "{percent:>3} %, {binary_bytes_per_sec}, {eta} left",
                None if is_wide => "{spinner} {binary_bytes}, {binary_bytes_per_sec}, {elapsed}, {prefix}",
                None => "{spinner} {binary_bytes}, {binary_bytes_per_sec}",
            };
            if let Some(bytes) = self.input_bytes {
                bar.set_length(bytes);
            }
            let template = if self.is_verbose { format!("{line}\n{{msg}}") } else { line.to_owned() };
            bar.set_style(ProgressStyle::with_template(&template).expect("the template is a constant"));
            bar.reset();
        }
    }

    /// Makes the started run one of many files.
    pub fn tell_files(&mut self, files: Arc<Live>) {
        self.files = Some(files);
    }

    /// Shows progress.
    pub fn tick(&mut self, progress: &Progress, gauges: &Gauges) {
        let (read, written) = (progress.read_bytes(), progress.written_bytes());
        let (input_bytes, elapsed) = (self.input_bytes, self.started_at.elapsed());
        match &mut self.form {
            Form::Nothing => {}
            Form::Bar(_) => self.draw(read, written, gauges),
            Form::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                let mut line = self.line(line(read, written, input_bytes, elapsed));
                if self.is_verbose {
                    line += &format!("; {}", self.live(gauges));
                }
                tell(&format!("pipeline: {line}\n"));
            }
            Form::Json { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                self.tell_json(progress, gauges);
            }
            Form::Lines { .. } | Form::Json { .. } => {}
        }
    }

    /// Writes one line of progress to stderr, whatever that is: SIGUSR1 asked for it.
    pub fn answer(&self, progress: &Progress) {
        let line = line(progress.read_bytes(), progress.written_bytes(), self.input_bytes, self.started_at.elapsed());
        let line = format!("pipeline: {}\n", self.line(line));
        match &self.form {
            Form::Bar(bar) => bar.suspend(|| tell(&line)),
            _ => tell(&line),
        }
    }

    /// Clears the line; writes the final event for programs.
    pub fn finish(&mut self, progress: &Progress, is_done: bool) {
        match &self.form {
            Form::Bar(bar) => bar.finish_and_clear(),
            Form::Json { .. } => {
                let event = if is_done { "done" } else { "failed" };
                tell(&format!("{}\n", self.json(event, progress)));
            }
            Form::Nothing | Form::Lines { .. } => {}
        }
    }

    fn draw(&mut self, read: u64, written: u64, gauges: &Gauges) {
        let live = self.is_verbose.then(|| self.live(gauges));
        let Form::Bar(bar) = &self.form else { return };
        if self.input_bytes.is_some_and(|bytes| read > bytes) {
            // The hint was too small, or the file has grown.
            bar.set_length(read);
        }
        bar.set_prefix(match &self.files {
            None => format!("out/in {:.3}", ratio(written, read)),
            Some(files) => files_done(files),
        });
        bar.set_position(read);
        if let Some(live) = live {
            let columns = usize::from(sys::stderr_columns().unwrap_or(COLUMNS_WIDE));
            // indicatif would redraw a wrapped line below itself.
            let lines = live.lines().map(|line| line.chars().take(columns.saturating_sub(1)).collect::<String>());
            let mut lines: Vec<String> = lines.collect();
            // A constant number of lines, since fewer would leave old ones on the screen.
            let shown = self.files.as_ref().map_or(0, |files| files.hand_count().min(FILES_SHOWN_MAX));
            lines.resize(1 + shown, String::new());
            bar.set_message(lines.join("\n"));
        }
        bar.tick();
    }

    /// Channels with their items, and stages with their busy share of the last second.
    fn live(&mut self, gauges: &Gauges) -> String {
        let reading = self.look(gauges);
        let mut line = String::new();
        for (name, share) in &self.shares {
            write!(line, "{name} {:.0} %, ", share * 100.0).expect("writing to a String does not fail");
        }
        let channels =
            reading.channels.iter().map(|channel| format!("{} {}/{}", channel.name, channel.depth, channel.capacity));
        line + &channels.collect::<Vec<_>>().join(", ") + &self.in_flight()
    }

    /// The line of a run, for a batch with its files in front.
    fn line(&self, line: String) -> String {
        match &self.files {
            Some(files) => format!("{}, {line}", files_done(files)),
            None => line,
        }
    }

    /// One line per file in flight.
    fn in_flight(&self) -> String {
        let files = self.files.iter().flat_map(|files| files.in_flight()).take(FILES_SHOWN_MAX);
        files.map(|(path, len)| format!("\n  {} ({})", quoted(path), bytes(len))).collect()
    }

    /// Reads the gauges, and recomputes the shares once a second.
    fn look(&mut self, gauges: &Gauges) -> Reading {
        let now = gauges.read();
        let before = self.reading.as_ref();
        if before.is_none_or(|before| now.elapsed - before.elapsed >= LINE_EVERY) || self.shares.is_empty() {
            self.shares = now.busy_shares_since(before).collect();
            // In the order in which items pass them, as the channels show.
            let order: Vec<Stage> = now.channels.iter().flat_map(|it| [it.name.from, it.name.to]).collect();
            self.shares.sort_by_key(|(name, _)| order.iter().position(|known| known == name).unwrap_or(usize::MAX));
            self.reading = Some(now.clone());
        }
        now
    }

    fn tell_json(&mut self, progress: &Progress, gauges: &Gauges) {
        let reading = self.look(gauges);
        let mut event = self.json("progress", progress);
        let stages = self.shares.iter().map(|(name, share)| json!({ "name": name.name(), "busy_share": share }));
        event["stages"] = stages.collect();
        let channels = reading.channels.iter();
        let channels = channels.map(
            |channel| json!({ "name": channel.name.to_string(), "depth": channel.depth, "capacity": channel.capacity }),
        );
        event["channels"] = channels.collect();
        event["in_flight"] = match &self.files {
            None => Value::Null,
            Some(files) => files
                .in_flight()
                .map(|(path, len)| json!({ "source": path.to_string_lossy(), "input_bytes": len }))
                .collect(),
        };
        tell(&format!("{event}\n"));
    }

    fn json(&self, event: &str, progress: &Progress) -> Value {
        let (files_ended, files) = self.files.as_ref().map(|files| files.counts()).unzip();
        json!({
            "version": JSON_VERSION,
            "event": event,
            "elapsed_ns": u64::try_from(self.started_at.elapsed().as_nanos()).unwrap_or(u64::MAX),
            "read_bytes": progress.read_bytes(),
            "written_bytes": progress.written_bytes(),
            "input_bytes": self.input_bytes,
            "ended_count": files_ended,
            "file_count": files,
        })
    }
}

/// For example `read 1.00 GiB of 4.00 GiB (25 %), written 300 MiB, 1.00 GiB/s`.
fn line(read: u64, written: u64, input_bytes: Option<u64>, elapsed: Duration) -> String {
    let of_all = input_bytes.map_or_else(String::new, |all| {
        format!(" of {} ({:.0} %)", bytes(all), 100.0 * (read as f64 / all as f64).min(1.0))
    });
    let rate = bytes((read as f64 / elapsed.as_secs_f64().max(1e-9)) as u64);
    format!("read {}{of_all}, written {}, {rate}/s", bytes(read), bytes(written))
}

/// For example `120 of 5000 files`.
fn files_done(files: &Live) -> String {
    let (ended, all) = files.counts();
    format!("{ended} of {all} files")
}

fn ratio(written: u64, read: u64) -> f64 {
    written as f64 / read.max(1) as f64
}
