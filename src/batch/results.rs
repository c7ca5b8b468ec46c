//! The results of a batch: counts, totals and the result of each file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::FileError;
use super::messages::{BatchResults, Ended, Entry, Other, Stopped};
use super::plan::BatchPlan;

/// Number of slowest files reported.
const SLOWEST_COUNT: usize = 3;

/// The results of a batch with its plan.
pub struct BatchSummary {
    /// The files.
    pub plan: Arc<BatchPlan>,
    /// Results of the files that were started.
    pub results: BatchResults,
    /// What was skipped or failed beside the files and the other inputs of the plan.
    pub others: Vec<Other>,
    /// Incomplete outputs of killed runs that were removed.
    pub cut_off_count: u64,
}

/// Number of files per result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All files of the plan.
    pub files: u64,
    /// Files with a new output.
    pub done: u64,
    /// Files whose output was replaced.
    pub redone: u64,
    /// Files that needed no work.
    pub unchanged: u64,
    /// Files with warnings.
    pub warned: u64,
    /// Files and other entries that failed.
    pub failed: u64,
    /// Special files, which are skipped.
    pub skipped: u64,
    /// Files that the batch did not reach.
    pub left: u64,
}

impl BatchSummary {
    /// What was skipped or failed and is not a file of the plan.
    pub fn others(&self) -> impl Iterator<Item = &Other> {
        self.plan.others.iter().chain(&self.others)
    }

    /// Counts the files per result.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { files: self.plan.items.len() as u64, ..Counts::default() };
        for entry in &self.results.entries {
            *match entry.ended {
                Ended::Done => &mut counts.done,
                Ended::Redone => &mut counts.redone,
                Ended::Unchanged => &mut counts.unchanged,
                Ended::Warned(_) => &mut counts.warned,
                Ended::Failed(_) => &mut counts.failed,
            } += 1;
        }
        counts.left = counts.files - self.results.entries.len() as u64;
        for other in self.others() {
            *if other.error.is_skip() { &mut counts.skipped } else { &mut counts.failed } += 1;
        }
        counts
    }

    /// Sums of bytes read, written and of content, and of frames.
    pub fn totals(&self) -> ([u64; 3], u64) {
        let (mut bytes, mut frames) = ([0; 3], 0);
        for entry in &self.results.entries {
            bytes.iter_mut().zip(entry.bytes).for_each(|(sum, part)| *sum += part);
            frames += entry.frame_count;
        }
        (bytes, frames)
    }

    /// The files with the longest processing time, longest first.
    pub fn slowest(&self) -> Vec<(&PathBuf, Duration)> {
        let mut slowest: Vec<&Entry> = self.results.entries.iter().filter(|entry| !entry.took.is_zero()).collect();
        slowest.sort_by_key(|entry| std::cmp::Reverse(entry.took));
        slowest.truncate(SLOWEST_COUNT);
        slowest.into_iter().map(|entry| (&self.plan.items[entry.index].source, entry.took)).collect()
    }

    /// Files that failed or have warnings, in the order of the plan.
    pub fn troubled(&self) -> Vec<&Entry> {
        let is_troubled = |entry: &&Entry| matches!(entry.ended, Ended::Failed(_) | Ended::Warned(_));
        let mut entries: Vec<&Entry> = self.results.entries.iter().filter(is_troubled).collect();
        entries.sort_by_key(|entry| entry.index);
        entries
    }

    /// The failure at which the batch stopped, if it stops at the first.
    pub fn stopped_by(&self) -> Option<&FileError> {
        let Some(Stopped::AtFailure(index)) = self.results.stopped else { return None };
        self.results.entries.iter().find(|entry| entry.index == index).and_then(|entry| match &entry.ended {
            Ended::Failed(error) => Some(error),
            _ => None,
        })
    }
}

impl Counts {
    /// Files that ended.
    pub fn ended(&self) -> u64 {
        self.files - self.left
    }
}
