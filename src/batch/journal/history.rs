//! What the journals of a tree say: which outputs there are, and what they were made of.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::log::Lines;
use super::names::{NAME, inputs_name};
use super::record::{InputLine, OutputLine, Record};
use crate::store::file_id::FileId;
use crate::store::sys::Directory;

/// Records that are kept of a place: the newest may be of an output that never got its name, and so may the one before.
pub(super) const RECORDS_KEPT: usize = 4;

/// A journal with so many records that count no more, and more of them than of those that do, is written anew when it is opened.
pub(super) const STALE_RECORDS_MAX: usize = 1000;

/// What earlier runs noted of a tree.
#[derive(Debug, Default)]
pub struct History {
    /// By place: several records where runs were killed, the newest at the end.
    by_place: HashMap<PathBuf, Vec<Record>>,
    /// Lines that were read, of places that count no more as well.
    pub(super) record_count: usize,
    /// Lines that did not fit their checksum.
    pub damaged_count: usize,
}

impl History {
    /// What the journal in `tree` tells, which may be one that somebody is writing to; nothing where there is none. `folder` is the user's
    /// own, for what is known of inputs.
    pub fn read(tree: &Directory, folder: Option<&Directory>) -> Result<History, JournalError> {
        let Some(outputs) = tree.open_file(OsStr::new(NAME))? else { return Ok(History::default()) };
        let outputs = Lines::read(&outputs)?;
        let inputs = match (&outputs.id, folder) {
            (Some(id), Some(folder)) => folder.open_file(&inputs_name(id))?,
            _ => None,
        };
        let inputs = inputs.map(|inputs| Lines::read(&inputs)).transpose()?;
        Ok(History::of(outputs, inputs.unwrap_or_default(), false))
    }

    /// What the bytes of a journal tell, which may be anybody's.
    pub fn parse(bytes: &[u8]) -> Result<History, JournalError> {
        Ok(History::of(Lines::read(bytes)?, Lines::default(), false))
    }

    /// With `is_apart` nothing is known of inputs and settings but what `inputs` tell.
    pub(super) fn of(outputs: Lines<OutputLine>, inputs: Lines<InputLine>, is_apart: bool) -> History {
        let damaged_count = outputs.damaged_count + inputs.damaged_count;
        let mut history = History { damaged_count, ..History::default() };
        let apart: HashMap<u64, InputLine> = inputs.told.into_iter().map(|line| (line.hash, line)).collect();
        for OutputLine { place, output, hash, made, fate, input } in outputs.told {
            history.record_count += 1;
            let Some(place) = place.place() else { continue };
            let Some(output) = output else {
                history.by_place.remove(&place);
                continue;
            };
            let (spec, input) = match apart.get(&hash) {
                Some(told) => (told.made.clone(), told.input),
                None if is_apart => (made.with_recipients(0), None),
                None => (made, input),
            };
            let record = Record { place: place.clone(), output, output_hash: hash, spec, fate, input };
            // Mostly there is one.
            history.by_place.entry(place).or_insert_with(|| Vec::with_capacity(1)).push(record);
        }
        history
    }

    /// Whether most records tell of nothing that is there any more.
    pub(super) fn is_mostly_stale(&self) -> bool {
        self.record_count > 2 * self.by_place.len() + STALE_RECORDS_MAX
    }

    /// The newest records of each place.
    pub(super) fn newest(&self) -> Vec<Record> {
        let newest = |records: &Vec<Record>| records[records.len().saturating_sub(RECORDS_KEPT)..].to_vec();
        self.by_place.values().flat_map(newest).collect()
    }

    /// What is known of the file at `place` that is `output`. What it is on moves with the journal, and has a new number with every mount.
    pub fn record(&self, place: &Path, output: &FileId) -> Option<&Record> {
        self.by_place.get(place)?.iter().rev().find(|record| record.output.is_same_there(output))
    }

    /// All records of `place`, whether there is such a file or not, the newest at the end.
    pub fn records(&self, place: &Path) -> &[Record] {
        self.by_place.get(place).map_or(&[], |records| records)
    }

    /// Every place that something was written to.
    pub fn places(&self) -> impl Iterator<Item = &Path> {
        self.by_place.keys().map(|place| &**place)
    }
}
