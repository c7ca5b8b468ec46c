//! Reports of a run: progress while it runs, and the report on exit, on standard error and in the files that flags name.
//!
//! Report files are checked before the run, so that a run never does its work and then cannot report it, and no report replaces a file
//! that the run reads or writes. The `--prometheus` file is written last, even if the run failed. A failed run also writes its JSON report.

pub mod options;

pub mod exit;

pub mod say;

pub mod notice;

pub mod words;

mod file;
mod hdr_log;
mod json;
pub mod progress;
mod prometheus;
mod text;

use std::path::Path;
use std::time::SystemTime;

use crate::batch::results::{BatchSummary, Counts};
use crate::pipeline::metrics::Histogram;
use crate::pipeline::report::Report;
use crate::task::Verb;
use exit::Exit;
use file::{ReportFile, refuse_shared};
use options::{ReportForm, ReportOptions};
use prometheus::{Ended, Label};

pub use file::{ReportError, ReservedPath};
pub use text::{bytes, duration};

/// The description of a failed run.
#[derive(Clone, Debug)]
pub struct FailedRun {
    /// The kind of failure, as a stable word.
    pub kind: &'static str,
    /// The message on standard error, without the program's name.
    pub message: String,
    /// The file at fault.
    pub path: Option<String>,
    /// The position in the file, in bytes.
    pub offset: Option<u64>,
    /// The zstd frame, counted from 0.
    pub frame: Option<u64>,
    /// The age segment, counted from 0.
    pub segment: Option<u64>,
    /// The exit code.
    pub exit: Exit,
}

/// The reports of one run.
pub struct Reports<'a> {
    options: &'a ReportOptions,
    verb: Verb,
    started_at: SystemTime,
    stats: Option<ReportFile>,
    hdr_log: Option<ReportFile>,
    metrics: Option<(ReportFile, Label)>,
    /// The report that was shown, kept for the metrics.
    report: Option<Report>,
    /// The number of files of a batch for each result.
    files: Option<Counts>,
}

impl<'a> Reports<'a> {
    /// Refuses report files that are in `taken` or that are the same file, and prepares the file of `--prometheus`, which also records a
    /// run that cannot start. `umask` holds the permission bits that new files do not get.
    pub fn prepare(
        verb: Verb,
        options: &'a ReportOptions,
        taken: &[ReservedPath<'_>],
        umask: u32,
    ) -> Result<Reports<'a>, ReportError> {
        refuse_shared(options, taken)?;
        let metrics = options.prometheus.as_deref().map(|path| -> Result<_, ReportError> {
            let label = Label::of(path);
            Ok((ReportFile::replaced("--prometheus", path, umask)?, label))
        });
        let (metrics, started_at) = (metrics.transpose()?, SystemTime::now());
        Ok(Reports { options, verb, started_at, stats: None, hdr_log: None, metrics, report: None, files: None })
    }

    /// Opens the files of `--stats-file` and `--hdr-log`.
    pub fn open(&mut self) -> Result<(), ReportError> {
        let open = |flag, path: &Option<_>| path.as_deref().map(|path: &Path| ReportFile::open(flag, path)).transpose();
        self.stats = open("--stats-file", &self.options.stats_file)?;
        self.hdr_log = open("--hdr-log", &self.options.hdr_log)?;
        Ok(())
    }

    /// Shows `report` in the requested form, and writes the histogram log.
    pub fn show(&mut self, report: Report) -> Result<(), ReportError> {
        self.show_of(report, None)
    }

    /// Like [`Reports::show`], for a batch, whose files `summary` describes.
    pub fn show_batch(&mut self, report: Report, summary: &BatchSummary) -> Result<(), ReportError> {
        self.show_of(report, Some(summary))
    }

    fn show_of(&mut self, report: Report, summary: Option<&BatchSummary>) -> Result<(), ReportError> {
        let text = match self.form(summary.is_some()) {
            ReportForm::None => String::new(),
            ReportForm::Text => text::text(&report, summary, self.verb, self.options.verbose),
            ReportForm::Json => format!("{}\n", json::json(&report, summary, self.verb)),
        };
        self.files = summary.map(BatchSummary::counts);
        let report = self.report.insert(report);
        let log = self.hdr_log.take().map(|file| file.write(&hdr_log::log(report, self.started_at)));
        self.write(&text).and(log.unwrap_or(Ok(())))
    }

    /// The requested form, or the command's default: `cat`, and `rekey` of one file, report only on request.
    fn form(&self, is_batch: bool) -> ReportForm {
        let reports_unasked = match self.verb {
            Verb::Cat | Verb::Inspect => false,
            Verb::Rekey => is_batch,
            Verb::Process | Verb::Restore | Verb::Verify => true,
        };
        let is_unasked = self.options.quiet || !reports_unasked;
        let unasked = if is_unasked && self.stats.is_none() { ReportForm::None } else { ReportForm::Text };
        self.options.form.unwrap_or(unasked)
    }

    fn write(&mut self, text: &str) -> Result<(), ReportError> {
        match self.stats.take() {
            None => {
                say::tell(text);
                Ok(())
            }
            Some(file) => file.write(text.as_bytes()),
        }
    }

    /// Writes the metrics, and the JSON report if the run failed, in which case `describe` describes the error. Returns `ended`, or
    /// [`Exit::Warned`] if the run succeeded but a report could not be written.
    pub fn finish<E>(mut self, ended: Result<Exit, E>, describe: impl Fn(&E) -> FailedRun) -> Result<Exit, E> {
        let failed = ended.as_ref().err().map(describe);
        let mut written = Ok(());
        if let (Some(failed), None, Some(ReportForm::Json)) = (&failed, &self.report, self.options.form) {
            written = self.write(&format!("{}\n", json::failed(failed, self.verb)));
        }
        let exit = match (&ended, &failed) {
            (Ok(exit), _) => *exit,
            (Err(_), Some(failed)) => failed.exit,
            (Err(_), None) => Exit::Failed,
        };
        let written = written.and(self.write_metrics(exit));
        match written {
            Ok(()) => ended,
            Err(error) => {
                say::warn(&notice::chain(&error));
                ended.map(|_| Exit::Warned)
            }
        }
    }

    fn write_metrics(self, exit: Exit) -> Result<(), ReportError> {
        let Some((file, label)) = self.metrics else { return Ok(()) };
        // A run can fail after its report was shown, for example when it deletes IN; its figures are left out.
        let is_success = matches!(exit, Exit::Done | Exit::Warned);
        let report = self.report.as_ref().filter(|_| is_success);
        let (command, files) = (self.verb.command(), self.files.filter(|_| is_success));
        let ending = Ended { command, report, files, exit, at: SystemTime::now() };
        let text = prometheus::metrics(&label, &ending, &file.old_text());
        file.write(text.as_bytes())
    }
}

/// The past participle of `verb`, as reports print it.
fn past(verb: Verb) -> &'static str {
    match verb {
        Verb::Process => "processed",
        Verb::Restore => "restored",
        Verb::Verify => "verified",
        Verb::Cat => "read",
        Verb::Rekey => "rekeyed",
        Verb::Inspect => "inspected",
    }
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
