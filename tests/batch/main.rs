//! Tests of batches: trees, journals, failures, kills, deletion.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod failures;
mod faults;
mod foreign;
mod inputs;
mod kills;
mod leaks;
mod rm;
mod trees;

#[path = "../support/mod.rs"]
mod support;
