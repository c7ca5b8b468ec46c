//! The history of a tree, read from its journals: its outputs and the inputs they were made from.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::log::Lines;
use super::names::{NAME, inputs_name};
use super::record::{InputLine, OutputLine, Record};
use crate::store::file_id::FileId;
use crate::store::sys::Directory;

/// Records kept per place: the newest ones may be of outputs that were never renamed.
pub(super) const RECORDS_KEPT: usize = 4;

/// A journal is rewritten on opening if its stale records outnumber the current ones by more than this.
pub(super) const STALE_RECORDS_MAX: usize = 1000;

/// Records of earlier runs of a tree.
#[derive(Debug, Default)]
pub struct History {
    /// Records by place, newest last; several if runs were killed.
    by_place: HashMap<PathBuf, Vec<Record>>,
    /// Number of records read, including stale ones.
    pub(super) record_count: usize,
    /// Lines with a wrong checksum.
    pub damaged_count: usize,
}

impl History {
    /// The history in `tree`'s journal, which another run may be writing; empty without a
    /// journal. `folder` is the user's own, with the records of inputs.
    pub fn read(tree: &Directory, folder: Option<&Directory>) -> Result<History, JournalError> {
        let Some(outputs) = tree.open_file(OsStr::new(NAME))? else { return Ok(History::default()) };
        let outputs = Lines::read(&outputs, OsStr::new(NAME))?;
        let (Some(id), Some(folder)) = (&outputs.id, folder) else {
            return Ok(History::of(outputs, Lines::default(), false));
        };
        let name = inputs_name(id);
        let inputs = folder.open_file(&name)?.map(|inputs| Lines::read(&inputs, &name)).transpose()?;
        Ok(History::of(outputs, inputs.unwrap_or_default(), false))
    }

    /// Parses the bytes of an untrusted journal.
    pub fn parse(bytes: &[u8]) -> Result<History, JournalError> {
        Ok(History::of(Lines::read(bytes, OsStr::new(NAME))?, Lines::default(), false))
    }

    /// With `is_apart`, takes inputs and settings only from `inputs`.
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
            // Usually there is one.
            history.by_place.entry(place).or_insert_with(|| Vec::with_capacity(1)).push(record);
        }
        history
    }

    /// Whether most records are stale.
    pub(super) fn is_mostly_stale(&self) -> bool {
        self.record_count > 2 * self.by_place.len() + STALE_RECORDS_MAX
    }

    /// The newest records of each place.
    pub(super) fn newest(&self) -> Vec<Record> {
        let newest = |records: &Vec<Record>| records[records.len().saturating_sub(RECORDS_KEPT)..].to_vec();
        self.by_place.values().flat_map(newest).collect()
    }

    /// The record of the file `output` at `place`. Ignores the device: its number changes with every mount.
    pub fn record(&self, place: &Path, output: &FileId) -> Option<&Record> {
        self.by_place.get(place)?.iter().rev().find(|record| record.output.is_same_there(output))
    }

    /// All records of `place`, newest last, even if there is no such file.
    pub fn records(&self, place: &Path) -> &[Record] {
        self.by_place.get(place).map_or(&[], |records| records)
    }

    /// Every place with a record.
    pub fn places(&self) -> impl Iterator<Item = &Path> {
        self.by_place.keys().map(|place| &**place)
    }
}
