//! Options of reports: their forms and files.

use std::path::PathBuf;

/// Options of a run's reports.
#[derive(Clone, Debug, Default)]
pub struct ReportOptions {
    /// The form of the report on exit; `None` for the command's own default.
    pub form: Option<ReportForm>,
    /// The file for the report, instead of standard error.
    pub stats_file: Option<PathBuf>,
    /// The file for Prometheus' metrics.
    pub prometheus: Option<PathBuf>,
    /// The file for the histograms.
    pub hdr_log: Option<PathBuf>,
    /// The form of progress.
    pub progress: ProgressForm,
    /// The expected length of a pipe, in bytes.
    pub size_hint: Option<u64>,
    /// Errors only.
    pub quiet: bool,
    /// More than usual.
    pub verbose: bool,
}

/// The form of the report on exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportForm {
    /// A table.
    Text,
    /// One JSON object.
    Json,
    /// No report.
    None,
}

/// The form of progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProgressForm {
    /// A bar where standard error is a terminal.
    #[default]
    Auto,
    /// A bar; a line a second where standard error is no terminal.
    Always,
    /// Nothing.
    Never,
    /// A line of JSON a second.
    Json,
}
