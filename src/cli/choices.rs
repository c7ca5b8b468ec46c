//! Words that a flag and a setting share: the form of the report, and of progress.

use clap::ValueEnum;

use crate::report::options::{ProgressForm, ReportForm};

/// The form of the report on exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatsArg {
    /// A table
    Text,
    /// One JSON object
    Json,
    /// No report
    None,
}

/// When there is a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressArg {
    /// When stderr is a terminal
    Auto,
    /// Always; one line a second where stderr is no terminal
    Always,
    /// Never
    Never,
    /// A line of JSON a second, for programs
    Json,
}

impl From<StatsArg> for ReportForm {
    fn from(arg: StatsArg) -> ReportForm {
        match arg {
            StatsArg::Text => ReportForm::Text,
            StatsArg::Json => ReportForm::Json,
            StatsArg::None => ReportForm::None,
        }
    }
}

impl From<ProgressArg> for ProgressForm {
    fn from(arg: ProgressArg) -> ProgressForm {
        match arg {
            ProgressArg::Auto => ProgressForm::Auto,
            ProgressArg::Always => ProgressForm::Always,
            ProgressArg::Never => ProgressForm::Never,
            ProgressArg::Json => ProgressForm::Json,
        }
    }
}
