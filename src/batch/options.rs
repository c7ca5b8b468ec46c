//! How a batch is done: concurrency, memory, deletion of inputs, retries, and when it stops.

use std::num::NonZeroUsize;

use super::policy::{Breaker, OnError, Retry};
use crate::store::output::OutputOptions;

/// Options of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    /// Files in flight.
    pub jobs: NonZeroUsize,
    /// CPUs used at most.
    pub cores: NonZeroUsize,
    /// Memory for all files in flight, in bytes.
    pub budget_bytes: u64,
    /// How to create outputs.
    pub output: OutputOptions,
    /// Delete inputs.
    pub rm: bool,
    /// Recognize an input by its content, not by time and length.
    pub checksum: bool,
    /// What to do when a file fails.
    pub on_error: OnError,
    /// Number of failures that ends the batch.
    pub breaker: Breaker,
    /// Retries after transient errors.
    pub retry: Retry,
}
