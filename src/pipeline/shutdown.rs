//! How the end of a run reaches stages that wait on the outside.
//!
//! Stages that wait on each other need no word: their channels close. Those that wait on a pipe or a terminal do, so a
//! [`Cancel`] carries a flag and a wake-up; the owner of the descriptor decides what the wake-up does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells a run to stop. Clones are the same thing.
#[derive(Clone)]
pub struct Cancel(Arc<Shared>);

struct Shared {
    /// Set once by the supervisor, read by every stage between two items.
    is_set: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Cancel {
    /// `wake` is called when the run is told to stop, and must make reads and writes that wait return an error.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Cancel {
        Cancel(Arc::new(Shared { is_set: AtomicBool::new(false), wake: Box::new(wake) }))
    }

    /// Tells everybody to stop. A second time does nothing.
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
    /// For inputs and outputs that never wait, such as regular files and memory.
    fn default() -> Cancel {
        Cancel::new(|| ())
    }
}
