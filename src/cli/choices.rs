//! Words that a flag and a setting share: the form of the report and of progress, and when to leave holes.

use clap::ValueEnum;

use crate::report::options::{ProgressForm, ReportForm};
use crate::store::output::Sparse;

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

/// When zeros become holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SparseArg {
    /// In new files
    Auto,
    /// Also in standard output, where it is a file that grows and is not opened for append
    Always,
    /// All zeros are written
    Never,
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

impl From<SparseArg> for Sparse {
    fn from(arg: SparseArg) -> Sparse {
        match arg {
            SparseArg::Auto => Sparse::Auto,
            SparseArg::Always => Sparse::Always,
            SparseArg::Never => Sparse::Never,
        }
    }
}
