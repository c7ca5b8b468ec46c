//! A function that maps the exit code and kind of failure of the binary to the failure kinds of the age test kit.

use super::Ran;

/// The kit's word for how a run with `--stats json` ended.
pub fn verdict_of(ran: &Ran) -> &'static str {
    match ran.status.code() {
        Some(0) => "success",
        Some(5) => "no match",
        Some(4) => match ran.error()["kind"].as_str().unwrap() {
            "header_mac" => "HMAC failure",
            "empty" | "damaged_header" | "work_factor_too_large" => "header failure",
            "damaged_armor" => "armor failure",
            "damaged_segment" | "truncated_payload" | "trailing_segment" => "payload failure",
            _ => "something else",
        },
        _ => "something else",
    }
}
