//! A function that maps the exit code and message of the binary to the failure kinds of the age test kit.

use super::Ran;

/// The kind of failure that the command reports.
pub fn verdict_of(ran: &Ran) -> &'static str {
    match (ran.status.code(), &ran.stderr) {
        (Some(0), _) => "success",
        (Some(5), _) => "no match",
        (Some(4), said) if said.contains("its MAC does not match") => "HMAC failure",
        (Some(4), said) if said.contains("it is empty: it has neither an age header") => "header failure",
        (Some(4), said) if said.contains("age header: ") => "header failure",
        (Some(4), said) if said.contains("age armor, line ") => "armor failure",
        (Some(4), said) if said.contains("segment ") => "payload failure",
        (Some(4), said) if said.contains("work factor") => "header failure",
        _ => "something else",
    }
}
