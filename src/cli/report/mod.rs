//! The report on exit, for people and for programs.

mod file;
mod json;
mod text;

use crate::pipeline::metrics::Histogram;

pub use file::ReportFile;
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

/// p50, p90, p99 and the maximum.
fn quantiles(histogram: &Histogram) -> [u64; 4] {
    [
        histogram.value_at_quantile(0.5),
        histogram.value_at_quantile(0.9),
        histogram.value_at_quantile(0.99),
        histogram.max(),
    ]
}
