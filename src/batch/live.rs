//! Which files are in progress: each worker stores the index of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::plan::BatchPlan;

/// No file.
const NONE: usize = usize::MAX;

/// How far a batch has come.
#[derive(Debug)]
pub struct Live {
    plan: Arc<BatchPlan>,
    /// Files that have ended; counted by the thread that commits.
    ended_count: AtomicUsize,
    /// For each hand the index of its file, or [`NONE`]; stored by that hand.
    at_hand: Vec<AtomicUsize>,
}

impl Live {
    /// Of `hands`, none of which works yet.
    pub fn new(plan: Arc<BatchPlan>, hands: usize) -> Live {
        let at_hand = (0..hands).map(|_| AtomicUsize::new(NONE)).collect();
        Live { plan, ended_count: AtomicUsize::new(0), at_hand }
    }

    /// Hand `hand` begins with a file, or ends with it.
    pub fn set(&self, hand: usize, index: Option<usize>) {
        self.at_hand[hand].store(index.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// More files have ended.
    pub fn add_ended(&self, count: usize) {
        self.ended_count.fetch_add(count, Ordering::Relaxed);
    }

    /// Files that may be worked on at once.
    pub fn hand_count(&self) -> usize {
        self.at_hand.len()
    }

    /// Files that have ended, and files in all.
    pub fn counts(&self) -> (usize, usize) {
        (self.ended_count.load(Ordering::Relaxed), self.plan.items.len())
    }

    /// The files that are worked on, with their lengths.
    pub fn in_flight(&self) -> impl Iterator<Item = (&Path, u64)> {
        let indices = self.at_hand.iter().map(|index| index.load(Ordering::Relaxed));
        indices.filter_map(|index| self.plan.items.get(index)).map(|item| (&*item.source, item.identity.bytes))
    }
}
