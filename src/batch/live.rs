//! The files in progress: each worker stores the index of its file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::plan::BatchPlan;

/// The index of no file.
const NONE: usize = usize::MAX;

/// The progress of a batch.
#[derive(Debug)]
pub struct Live {
    plan: Arc<BatchPlan>,
    /// Files that have ended; counted by the committing thread.
    ended_count: AtomicUsize,
    /// Per worker the index of its file, or [`NONE`]; stored by that worker.
    at_hand: Vec<AtomicUsize>,
}

impl Live {
    /// Progress of `hands` idle workers.
    pub fn new(plan: Arc<BatchPlan>, hands: usize) -> Live {
        let at_hand = (0..hands).map(|_| AtomicUsize::new(NONE)).collect();
        Live { plan, ended_count: AtomicUsize::new(0), at_hand }
    }

    /// Sets the file of worker `hand`; `None` when it is idle.
    pub fn set(&self, hand: usize, index: Option<usize>) {
        self.at_hand[hand].store(index.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// Counts `count` more files as ended.
    pub fn add_ended(&self, count: usize) {
        self.ended_count.fetch_add(count, Ordering::Relaxed);
    }

    /// Number of workers.
    pub fn hand_count(&self) -> usize {
        self.at_hand.len()
    }

    /// Files ended, and all files.
    pub fn counts(&self) -> (usize, usize) {
        (self.ended_count.load(Ordering::Relaxed), self.plan.items.len())
    }

    /// Files in progress and their lengths in bytes.
    pub fn in_flight(&self) -> impl Iterator<Item = (&Path, u64)> {
        let indices = self.at_hand.iter().map(|index| index.load(Ordering::Relaxed));
        indices.filter_map(|index| self.plan.items.get(index)).map(|item| (&*item.source, item.identity.bytes))
    }
}
