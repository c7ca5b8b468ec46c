//! Words and numbers that several reports share.

use crate::pipeline::metrics::Histogram;
use crate::task::Verb;

/// The verb in the past tense.
pub fn past(verb: Verb) -> &'static str {
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
pub fn quantiles(histogram: &Histogram) -> [u64; 4] {
    [
        histogram.value_at_quantile(0.5),
        histogram.value_at_quantile(0.9),
        histogram.value_at_quantile(0.99),
        histogram.max(),
    ]
}
