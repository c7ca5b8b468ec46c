//! Tests of commands as users call them: arguments, settings, help, keys, reports, documentation. Also tests of the
//! rules of the source tree.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod bench;
mod cli;
mod config;
mod docs;
mod help;
mod holes;
mod keys;
mod overwriting;
mod reports;
mod rules;
mod secrets;
mod terminal;

#[path = "../support/mod.rs"]
mod support;
