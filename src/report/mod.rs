//! Reports of a run: progress while it runs, and the report on exit, on standard error and in the files that flags name.
//!
//! Report files are checked before the run, so that a run never does its work and then cannot report it, and no report replaces a file
//! that the run reads or writes. The `--prometheus` file is written last, even if the run failed. A failed run also writes its JSON report.

pub mod options;

pub mod exit;

pub mod say;

pub mod notice;

pub mod words;

mod advice;
mod file;
mod hdr_log;
mod json;
pub mod progress;
mod prometheus;
mod quantities;
mod text;

use std::path::Path;
use std::time::SystemTime;

use crate::batch::results::{BatchSummary, Counts};
use crate::pipeline::report::Report;
use crate::store::reserved::ReservedPath;
use crate::task::Verb;
use exit::Exit;
use file::{ReportFile, refuse_shared};
use options::{ReportForm, ReportOptions};
use prometheus::{Ended, Label};

pub use exit::FailedRun;
pub use file::ReportError;
pub use text::{bytes, duration};

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
    /// Refuses report files that are in `taken` or the same as each other, and prepares the file of `--prometheus`, which also reports a run
    /// that cannot start. New files lack the permission bits of `umask`.
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

    /// Shows `report` in the requested form, and writes the log.
    pub fn show(&mut self, report: Report) -> Result<(), ReportError> {
        self.show_of(report, None)
    }

    /// Shows the report of a batch, whose files `summary` describes.
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

    /// Writes the JSON report of a failed run, and the metrics of any run. `describe` describes a failure. Returns the final outcome, a warning
    /// if a report could not be written.
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
        // A run may fail after its report, for instance when IN cannot be deleted; its figures are left out.
        let is_success = matches!(exit, Exit::Done | Exit::Warned);
        let report = self.report.as_ref().filter(|_| is_success);
        let (command, files) = (self.verb.command(), self.files.filter(|_| is_success));
        let ending = Ended { command, report, files, exit, at: SystemTime::now() };
        let text = prometheus::metrics(&label, &ending, &file.old_text());
        file.write(text.as_bytes())
    }
}
