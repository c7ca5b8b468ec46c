//! How a batch is done: concurrency, memory, deletion of inputs, retries, and when it stops.

use std::num::NonZeroUsize;

use super::policy::{Breaker, OnError, Retry};
use crate::store::output::OutputOptions;

/// How a batch is done.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    /// Files in flight.
    pub jobs: NonZeroUsize,
    /// CPUs that are kept busy at most.
    pub cores: NonZeroUsize,
    /// The memory of all files in flight together, in bytes.
    pub budget_bytes: u64,
    /// How outputs are treated.
    pub output: OutputOptions,
    /// Inputs are deleted.
    pub rm: bool,
    /// An input is known by its content, not by its time and length.
    pub checksum: bool,
    /// What is done when a file fails.
    pub on_error: OnError,
    /// How many failures end the batch.
    pub breaker: Breaker,
    /// How often a file is tried again.
    pub retry: Retry,
}
