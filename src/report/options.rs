//! Options of reports: their forms and files.

use std::path::PathBuf;

/// Options of a run's reports.
#[derive(Clone, Debug, Default)]
pub struct ReportOptions {
    /// The form of the report on exit; `None` for the command's default.
    pub form: Option<ReportForm>,
    /// The file for the report, instead of standard error.
    pub stats_file: Option<PathBuf>,
    /// The file for metrics in Prometheus' text format.
    pub prometheus: Option<PathBuf>,
    /// The file for the HdrHistogram log.
    pub hdr_log: Option<PathBuf>,
    /// Replace files that are not earlier reports.
    pub force: bool,
    /// The form of progress.
    pub progress: ProgressForm,
    /// The expected length of a pipe, in bytes.
    pub size_hint: Option<u64>,
    /// Whether only errors and warnings are written, unless a form is requested.
    pub quiet: bool,
    /// Whether reports and progress show more detail.
    pub verbose: bool,
}

/// The form of the report on exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportForm {
    /// Text with a table.
    Text,
    /// One JSON object.
    Json,
    /// No report.
    None,
}

/// The form of progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProgressForm {
    /// A bar if standard error is a terminal, else nothing.
    #[default]
    Auto,
    /// A bar if standard error is a terminal, else one line a second.
    Always,
    /// No progress.
    Never,
    /// One line of JSON a second.
    Json,
}
