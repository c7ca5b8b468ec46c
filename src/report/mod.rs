//! The report on exit, for people and for programs: said on stderr, and written to the files that flags ask for.
//!
//! Files are looked at and opened before the run, so that no run is in vain for a report, and none takes the place of what the run
//! reads or writes. What `--prometheus` asks for is written at the very end, also of a run that failed.

mod file;
mod hdr_log;
mod json;
pub mod progress;
mod prometheus;
mod text;

use std::path::Path;
use std::time::SystemTime;

use crate::batch::summary::{Counts, Summary};
use crate::cli::args::{StatsForm, TalkArgs};
use crate::cli::problem::{self, Exit};
use crate::pipeline::metrics::Histogram;
use crate::pipeline::report::Report;
use file::{ReportFile, refuse_shared};
use prometheus::{Ended, Label};

pub use file::Taken;
pub use text::{bytes, duration};

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
    /// `rekey`
    Rekeyed,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Processed => "processed",
            Verb::Restored => "restored",
            Verb::Verified => "verified",
            Verb::Read => "read",
            Verb::Rekeyed => "rekeyed",
        }
    }

    /// The command, as it is typed.
    fn command(self) -> &'static str {
        match self {
            Verb::Processed => "process",
            Verb::Restored => "restore",
            Verb::Verified => "verify",
            Verb::Read => "cat",
            Verb::Rekeyed => "rekey",
        }
    }
}

/// The reports of one run.
pub struct Reports<'a> {
    talk: &'a TalkArgs,
    verb: Verb,
    started_at: SystemTime,
    stats: Option<ReportFile>,
    hdr_log: Option<ReportFile>,
    metrics: Option<(ReportFile, Label)>,
    /// Shown, and kept for what is written at the end.
    report: Option<Report>,
    /// How the files of a batch ended.
    files: Option<Counts>,
}

impl<'a> Reports<'a> {
    /// Refuses files that are among `taken`, or the same, and makes that of `--prometheus` ready, which a run that cannot start is
    /// told in as well. `umask` is what new files do not get.
    pub fn prepare(verb: Verb, talk: &'a TalkArgs, taken: &[Taken<'_>], umask: u32) -> anyhow::Result<Reports<'a>> {
        refuse_shared(talk, taken)?;
        let metrics = talk.prometheus.as_deref().map(|path| -> anyhow::Result<_> {
            let label = Label::of(path);
            Ok((ReportFile::replaced("--prometheus", path, umask)?, label))
        });
        let (metrics, started_at) = (metrics.transpose()?, SystemTime::now());
        Ok(Reports { talk, verb, started_at, stats: None, hdr_log: None, metrics, report: None, files: None })
    }

    /// Opens the other files.
    pub fn open(&mut self) -> anyhow::Result<()> {
        let open = |flag, path: &Option<_>| path.as_deref().map(|path: &Path| ReportFile::open(flag, path)).transpose();
        self.stats = open("--stats-file", &self.talk.stats_file)?;
        self.hdr_log = open("--hdr-log", &self.talk.hdr_log)?;
        Ok(())
    }

    /// Shows `report` in the form that was asked for, and writes the logs.
    pub fn show(&mut self, report: Report) -> anyhow::Result<()> {
        self.show_of(report, None)
    }

    /// The same of a batch, of which `summary` tells.
    pub fn show_batch(&mut self, report: Report, summary: &Summary) -> anyhow::Result<()> {
        self.show_of(report, Some(summary))
    }

    fn show_of(&mut self, report: Report, summary: Option<&Summary>) -> anyhow::Result<()> {
        let is_unasked = self.talk.quiet || matches!(self.verb, Verb::Read);
        let unasked = if is_unasked && self.stats.is_none() { StatsForm::None } else { StatsForm::Text };
        let text = match self.talk.stats.unwrap_or(unasked) {
            StatsForm::None => String::new(),
            StatsForm::Text => text::text(&report, summary, self.verb, self.talk.verbose),
            StatsForm::Json => format!("{}\n", json::json(&report, summary, self.verb)),
        };
        self.files = summary.map(Summary::counts);
        let report = self.report.insert(report);
        let log = self.hdr_log.take().map(|file| file.write(&hdr_log::log(report, self.started_at)));
        let shown = match self.stats.take() {
            None => {
                problem::tell(&text);
                Ok(())
            }
            Some(file) => file.write(text.as_bytes()),
        };
        shown.and(log.unwrap_or(Ok(())))
    }

    /// The run has ended, this way or that: writes the metrics. Gives how it ended in the end.
    pub fn finish(self, ended: anyhow::Result<Exit>) -> anyhow::Result<Exit> {
        let Some((file, label)) = self.metrics else {
            return ended;
        };
        let exit = ended.as_ref().map_or_else(problem::exit_of, |exit| *exit);
        // What a run did that failed after all, when IN was to be deleted for instance, is not said to have been done.
        let is_success = matches!(exit, Exit::Done | Exit::Warned);
        let report = self.report.as_ref().filter(|_| is_success);
        let (command, files) = (self.verb.command(), self.files.filter(|_| is_success));
        let ending = Ended { command, report, files, exit, at: SystemTime::now() };
        let text = prometheus::metrics(&label, &ending, &file.old_text());
        match file.write(text.as_bytes()) {
            Ok(()) => ended,
            Err(error) => {
                problem::warn(&format!("{error:#}"));
                ended.map(|_| Exit::Warned)
            }
        }
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
