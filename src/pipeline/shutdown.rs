//! The stop signal of a run, for stages that wait on the outside.
//!
//! Stages that wait on each other need no signal: their channels close. Stages that wait on a pipe or a terminal do, so a [`Cancel`]
//! carries a flag and a wake-up; the owner of the descriptor decides what the wake-up does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells a run to stop. Clones share one state.
#[derive(Clone)]
pub struct Cancel(Arc<Shared>);

struct Shared {
    /// Set once by the supervisor, read by every stage between two items.
    is_set: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Cancel {
    /// `wake` is called once, on cancel, and must make blocked reads and writes return an error.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Cancel {
        Cancel(Arc::new(Shared { is_set: AtomicBool::new(false), wake: Box::new(wake) }))
    }

    /// Stops the run. Later calls do nothing.
    pub fn cancel(&self) {
        if !self.0.is_set.swap(true, Ordering::SeqCst) {
            (self.0.wake)();
        }
    }

    /// Whether the run was told to stop.
    pub fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::SeqCst)
    }
}

impl Default for Cancel {
    /// For inputs and outputs that never block, such as regular files and memory.
    fn default() -> Cancel {
        Cancel::new(|| ())
    }
}
