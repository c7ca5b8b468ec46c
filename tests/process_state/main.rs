//! Tests that set a panic hook or read the signals of their own process. `cargo test` runs them in a separate process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod damage;
mod engine;
mod library;

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/memory.rs"]
mod in_memory;
