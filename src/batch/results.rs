//! The results of a batch: how its files ended, in numbers and one by one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::FileError;
use super::messages::{BatchResults, Ended, Entry, Stopped};
use super::plan::BatchPlan;

/// Names of the slowest files that are told.
const SLOWEST_COUNT: usize = 3;

/// What a batch came to.
pub struct BatchSummary {
    /// The files.
    pub plan: Arc<BatchPlan>,
    /// What became of those that were begun.
    pub results: BatchResults,
    /// What was skipped or failed without being one of the files: directories that cannot be read, what is neither file nor link.
    pub others: Vec<Other>,
    /// Outputs that an earlier run was cut off at.
    pub cut_off_count: u64,
}

/// A name that there is no file for to work on.
pub struct Other {
    /// As it was found.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
    /// It was left out, and did not fail.
    pub is_skipped: bool,
}

/// How many files ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All files of the plan.
    pub files: u64,
    /// See [`Ended`].
    pub done: u64,
    /// See [`Ended`].
    pub redone: u64,
    /// See [`Ended`].
    pub unchanged: u64,
    /// See [`Ended`].
    pub warned: u64,
    /// Files, and other names.
    pub failed: u64,
    /// What is neither file, directory nor link.
    pub skipped: u64,
    /// Files that the batch did not come to.
    pub left: u64,
}

impl BatchSummary {
    /// How many files ended in which way.
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
        counts.skipped = self.others.iter().filter(|other| other.is_skipped).count() as u64;
        counts.failed += self.others.len() as u64 - counts.skipped;
        counts
    }

    /// Bytes read, written, and of content, and frames.
    pub fn totals(&self) -> ([u64; 3], u64) {
        let (mut bytes, mut frames) = ([0; 3], 0);
        for entry in &self.results.entries {
            bytes.iter_mut().zip(entry.bytes).for_each(|(sum, part)| *sum += part);
            frames += entry.frame_count;
        }
        (bytes, frames)
    }

    /// Those that were worked on longest, the longest first.
    pub fn slowest(&self) -> Vec<(&PathBuf, Duration)> {
        let mut slowest: Vec<&Entry> = self.results.entries.iter().filter(|entry| !entry.took.is_zero()).collect();
        slowest.sort_by_key(|entry| std::cmp::Reverse(entry.took));
        slowest.truncate(SLOWEST_COUNT);
        slowest.into_iter().map(|entry| (&self.plan.items[entry.index].source, entry.took)).collect()
    }

    /// Files that failed or have a warning, in the order of the plan.
    pub fn troubled(&self) -> Vec<&Entry> {
        let is_troubled = |entry: &&Entry| matches!(entry.ended, Ended::Failed(_) | Ended::Warned(_));
        let mut entries: Vec<&Entry> = self.results.entries.iter().filter(is_troubled).collect();
        entries.sort_by_key(|entry| entry.index);
        entries
    }

    /// The failure that the batch stopped at, as it was to stop at the first.
    pub fn stopped_by(&self) -> Option<&FileError> {
        let Some(Stopped::AtFailure(index)) = self.results.stopped else { return None };
        self.results.entries.iter().find(|entry| entry.index == index).and_then(|entry| match &entry.ended {
            Ended::Failed(error) => Some(error),
            _ => None,
        })
    }
}

impl Counts {
    /// Files that the batch came to the end of.
    pub fn ended(&self) -> u64 {
        self.files - self.left
    }

    /// In words, without those that are none.
    pub fn line(&self) -> String {
        let Counts { done, redone, unchanged, warned, failed, skipped, left, .. } = *self;
        let words = [
            (done, "done"),
            (redone, "redone"),
            (unchanged, "unchanged"),
            (warned, "with a warning"),
            (failed, "failed"),
            (skipped, "skipped"),
            (left, "left"),
        ];
        let told: Vec<String> =
            words.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        if told.is_empty() { "none".to_owned() } else { told.join(", ") }
    }
}
