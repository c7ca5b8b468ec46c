//! What is told of a batch: how its files ended, in numbers and by name.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::commit::{Ended, Entry, Ledger};
use super::plan::Plan;
use crate::cli::problem::{self, Exit, quoted};

/// Names of the slowest files that are told.
const SLOWEST_COUNT: usize = 3;

/// What a batch came to.
pub struct Summary {
    /// The files.
    pub plan: Arc<Plan>,
    /// What became of those that were begun.
    pub ledger: Ledger,
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

impl Summary {
    /// How many files ended in which way.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { files: self.plan.items.len() as u64, ..Counts::default() };
        for entry in &self.ledger.entries {
            *match entry.ended {
                Ended::Done => &mut counts.done,
                Ended::Redone => &mut counts.redone,
                Ended::Unchanged => &mut counts.unchanged,
                Ended::Warned { .. } => &mut counts.warned,
                Ended::Failed { .. } => &mut counts.failed,
            } += 1;
        }
        counts.left = counts.files - self.ledger.entries.len() as u64;
        counts.skipped = self.others.iter().filter(|other| other.is_skipped).count() as u64;
        counts.failed += self.others.len() as u64 - counts.skipped;
        counts
    }

    /// Bytes read, written, and of content, and frames.
    pub fn totals(&self) -> ([u64; 3], u64) {
        let (mut bytes, mut frames) = ([0; 3], 0);
        for entry in &self.ledger.entries {
            bytes.iter_mut().zip(entry.bytes).for_each(|(sum, part)| *sum += part);
            frames += entry.frame_count;
        }
        (bytes, frames)
    }

    /// Those that were worked on longest, the longest first.
    pub fn slowest(&self) -> Vec<(&PathBuf, Duration)> {
        let mut slowest: Vec<&Entry> = self.ledger.entries.iter().filter(|entry| !entry.took.is_zero()).collect();
        slowest.sort_by_key(|entry| std::cmp::Reverse(entry.took));
        slowest.truncate(SLOWEST_COUNT);
        slowest.into_iter().map(|entry| (&self.plan.items[entry.index].source, entry.took)).collect()
    }

    /// Names every file that failed, with its cause, and everything that was skipped; advice once for all that it fits.
    pub fn tell_failures(&self) {
        let mut hints: HashSet<&str> = HashSet::new();
        let is_told = |entry: &&Entry| matches!(entry.ended, Ended::Failed { .. } | Ended::Warned { .. });
        let mut entries: Vec<&Entry> = self.ledger.entries.iter().filter(is_told).collect();
        entries.sort_by_key(|entry| entry.index);
        for entry in entries {
            match &entry.ended {
                Ended::Failed { message, hint, .. } => {
                    let source = quoted(&self.plan.items[entry.index].source);
                    let names_it = message.contains(&source);
                    let name = if names_it { String::new() } else { format!("{source}: ") };
                    problem::tell(&format!("pipeline: error: {name}{message}\n"));
                    if let Some(hint) = hint.as_deref().filter(|hint| hints.insert(hint)) {
                        problem::tell(&format!("hint: {hint}\n"));
                    }
                }
                Ended::Warned { message } => problem::warn(message),
                Ended::Done | Ended::Redone | Ended::Unchanged => {}
            }
        }
        for Other { path, reason, is_skipped } in &self.others {
            match is_skipped {
                true => problem::warn(&format!("{} is skipped: {reason}", quoted(path))),
                false => problem::tell(&format!("pipeline: error: {}: {reason}\n", quoted(path))),
            }
        }
        if let Some(stopped) = &self.ledger.stopped {
            problem::tell(&format!("pipeline: error: {stopped}; {} files are left\n", self.counts().left));
        }
    }

    /// How the program ends.
    pub fn exit(&self) -> Exit {
        let stopped_by = self
            .ledger
            .stopped_by
            .and_then(|index| self.ledger.entries.iter().find(|entry| entry.index == index).map(|entry| &entry.ended));
        let Counts { failed, skipped, warned, .. } = self.counts();
        match (stopped_by, &self.ledger.stopped) {
            (Some(Ended::Failed { exit, .. }), _) => *exit,
            (_, Some(_)) => Exit::Failed,
            _ if failed + skipped + warned > 0 => Exit::Warned,
            _ => Exit::Done,
        }
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
