//! The journal of a tree: records which output was made from which input, so that a restarted run knows what is done.
//!
//! It is an append-only file of lines. The first line identifies the file; every other is the record of one output, made durable *before* that
//! output is renamed. The record holds the output's device and inode and applies only to that file, so a run killed in between leaves only a record
//! without an output, which is ignored. A line cut off by a crash fails its checksum and counts as not written.
//!
//! ```text
//! checksum of the line, 16 hexadecimal digits; space; JSON; newline
//! ```
//!
//! It contains no plaintext and no key. Beside an encrypted tree it does not describe the content either:
//! records of inputs are in a second journal of the same form, in the user's own folder, joined by the
//! output's hash. Only that one is trusted: a tree with its journal may be a copy or another user's.

mod error;
mod history;
mod log;
mod names;
mod record;

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::store::output::temporary_name;
use crate::store::sys::Directory;
use log::{Lines, Log, push_line};
use names::inputs_name;
use record::{InputLine, OutputLine, PlaceText};

pub use error::JournalError;
pub use history::History;
pub use names::{NAME, is_own_name};
pub use record::{CompressSpec, InputFate, InputRecord, OutputSpec, Record};

/// Where to write records of inputs.
pub enum InputRecords<'a> {
    /// With the outputs in the tree.
    InTree,
    /// To the user's state folder.
    InStateFolder(&'a Directory),
    /// Nowhere, for lack of a state folder.
    Nowhere,
}

/// An open journal, locked while it exists.
pub struct Journal {
    outputs: Log,
    inputs: Option<Log>,
    is_apart: bool,
}

impl Journal {
    /// Opens the journal `name` in `directory`, or creates it. Returns its history. Rewrites a journal of mostly stale records. `is_new`: the tree's
    /// directory was just created.
    pub fn open(
        directory: &Directory,
        name: &OsStr,
        inputs_at: InputRecords<'_>,
        is_new: bool,
    ) -> Result<(Journal, History), JournalError> {
        let (outputs, lines) = Log::open(directory, name, None, is_new)?;
        let is_apart = !matches!(inputs_at, InputRecords::InTree);
        let opened = match &inputs_at {
            InputRecords::InStateFolder(folder) => {
                Some(Log::open(folder, &inputs_name(&outputs.id), Some(&outputs.id), false)?)
            }
            InputRecords::InTree | InputRecords::Nowhere => None,
        };
        let (inputs, input_lines) = opened.map_or((None, Lines::default()), |(log, lines)| (Some(log), lines));
        let history = History::of(lines, input_lines, is_apart);
        let mut journal = Journal { outputs, inputs, is_apart };
        let is_shared = journal.outputs.is_shared || journal.inputs.as_ref().is_some_and(|inputs| inputs.is_shared);
        if is_shared || history.is_mostly_stale() {
            journal.rewrite(directory, name, &inputs_at, &history)?;
        }
        Ok((journal, history))
    }

    /// Records that `places` have no output, on purpose.
    pub fn forget(&mut self, places: &[&Path]) -> io::Result<()> {
        let mut lines = Vec::new();
        for place in places {
            let (place, made) = (PlaceText::of(place), OutputSpec::Salvaged);
            push_line(
                &mut lines,
                &OutputLine { place, output: None, hash: 0, made, fate: InputFate::Stays, input: None },
            )?;
        }
        self.outputs.append(&lines, false)
    }

    /// Replaces the files by ones with only the newest records of each place, renamed once they are on disk. Inputs come first: input records
    /// without an output are ignored.
    fn rewrite(
        &mut self,
        directory: &Directory,
        name: &OsStr,
        inputs: &InputRecords<'_>,
        history: &History,
    ) -> Result<(), JournalError> {
        let id = self.outputs.id.clone();
        let inputs_name = inputs_name(&id);
        let (temporary, inputs_temporary) = (temporary_name(name)?, temporary_name(&inputs_name)?);
        let outputs = Log::begin(directory, &temporary, &id, self.outputs.is_made)?;
        let apart = match inputs {
            InputRecords::InStateFolder(folder) => Some((*folder, Log::begin(folder, &inputs_temporary, &id, false)?)),
            InputRecords::InTree | InputRecords::Nowhere => None,
        };
        let (folder, apart) = apart.unzip();
        let mut anew = Journal { outputs, inputs: apart, is_apart: self.is_apart };
        anew.append(&history.newest(), true)?;
        if let Some(folder) = folder {
            folder.rename(&inputs_temporary, &inputs_name)?;
            folder.sync()?;
        }
        directory.rename(&temporary, name)?;
        directory.sync()?;
        *self = anew;
        Ok(())
    }

    /// Whether the run that began this journal created the tree's directory.
    pub fn is_of_made_tree(&self) -> bool {
        self.outputs.is_made
    }

    /// Appends `records`; if `sync`, returns once they are on disk.
    pub fn append(&mut self, records: &[Record], sync: bool) -> io::Result<()> {
        let (mut outputs, mut inputs) = (Vec::new(), Vec::new());
        for record in records {
            let line = OutputLine {
                place: PlaceText::of(&record.place),
                output: Some(record.output),
                hash: record.output_hash,
                made: record.spec.clone(),
                fate: record.fate,
                input: record.input.filter(|_| !self.is_apart),
            };
            push_line(&mut outputs, &line)?;
            if self.inputs.is_some() {
                let Record { output_hash: hash, spec, input, .. } = record;
                push_line(&mut inputs, &InputLine { hash: *hash, made: spec.clone(), input: *input })?;
            }
        }
        if let Some(log) = &mut self.inputs {
            log.append(&inputs, sync)?;
        }
        self.outputs.append(&outputs, sync)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::history::{RECORDS_KEPT, STALE_RECORDS_MAX};
    use super::*;
    use crate::store::file_id::FileId;

    fn record(place: &[u8], inode: u64) -> Record {
        let identity = FileId { device: 1, inode, bytes: 7, mtime_ns: -5 };
        let input = Some(InputRecord { identity, hash: 0xfedc_ba98_7654_3210 });
        Record {
            place: OsStr::from_bytes(place).into(),
            output: identity,
            output_hash: twox_hash::XxHash64::oneshot(inode, place),
            spec: OutputSpec::Rekeyed { is_armored: false, recipients: 5 },
            fate: InputFate::Deleted,
            input,
        }
    }

    pub(super) fn open(folder: &Path, apart: Option<&Path>) -> (Journal, History) {
        let apart = apart.map(|apart| Directory::open(apart).unwrap());
        let inputs = apart.as_ref().map_or(InputRecords::InTree, InputRecords::InStateFolder);
        Journal::open(&Directory::open(folder).unwrap(), OsStr::new(NAME), inputs, false).unwrap()
    }

    #[test]
    fn what_was_appended_is_known_the_next_time_names_that_are_no_text_included() {
        let (tree, apart) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for apart in [None, Some(apart.path())] {
            let folder = tree.path().join(if apart.is_some() { "a" } else { "b" });
            std::fs::create_dir(&folder).unwrap();
            let records = [record(b"a/b", 1), record(b"x\xff\n\"", 2), record(b"a/b", 3)];
            for part in [&records[..1], &records[1..]] {
                open(&folder, apart).0.append(part, false).unwrap();
            }
            let (_, known) = open(&folder, apart);
            assert_eq!(known.records(Path::new("a/b")).last(), Some(&records[2]));
            assert_eq!(known.record(Path::new("a/b"), &records[0].output), Some(&records[0]));
            let mounted_again = FileId { device: 99, ..records[0].output };
            assert_eq!(known.record(Path::new("a/b"), &mounted_again), Some(&records[0]));
            assert_eq!(known.records(&records[1].place).last(), Some(&records[1]));
            let beside = std::fs::read_to_string(folder.join(NAME)).unwrap();
            assert_eq!(beside.contains("fedcba9876543210"), apart.is_none(), "{beside}");
        }
    }

    #[test]
    fn a_cut_at_any_byte_loses_the_last_records_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        open(folder.path(), None).0.append(&[record(b"first", 1), record(b"second", 2)], false).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let lines: Vec<usize> =
            whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
        for len in 0..=whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let (mut journal, known) = open(folder.path(), None);
            let whole_lines = lines.iter().filter(|end| **end <= len).count();
            assert_eq!(known.record_count, whole_lines.saturating_sub(1), "{len}");
            journal.append(&[record(b"third", 3)], false).unwrap();
            drop(journal);
            assert!(open(folder.path(), None).1.records(Path::new("third")).last().is_some(), "{len}");
        }
    }

    #[test]
    fn a_flipped_bit_loses_its_own_line_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        open(folder.path(), None).0.append(&[record(b"first", 1), record(b"second", 2)], false).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in (second..whole.len()).step_by(7).filter(|at| whole[*at] != b'\n') {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            if flipped[at] == b'\n' {
                continue;
            }
            std::fs::write(&path, &flipped).unwrap();
            let (_, known) = open(folder.path(), None);
            assert_eq!((known.record_count, known.damaged_count), (1, 1), "{at}");
        }
    }

    #[test]
    fn a_journal_that_somebody_else_made_leads_nowhere_else() {
        let (tree, apart) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, state) = (tree.path().join(NAME), apart.path().join("state"));
        std::fs::create_dir(&state).unwrap();
        let directories = [tree.path(), &state].map(|folder| Directory::open(folder).unwrap());
        for id in ["../elsewhere", "", "0123456789ABCDEF", "0123456789abcdef0", "é123456789abcde"] {
            let mut head = Vec::new();
            push_line(&mut head, &serde_json::json!({ "pipeline_journal": 1, "id": id })).unwrap();
            std::fs::write(&path, &head).unwrap();
            let opened =
                Journal::open(&directories[0], OsStr::new(NAME), InputRecords::InStateFolder(&directories[1]), false);
            assert!(matches!(opened, Err(JournalError::Unknown { .. })), "{id}");
            let read = History::read(&directories[0], Some(&directories[1]));
            assert!(matches!(read, Err(JournalError::Unknown { .. })), "{id}");
        }
        assert_eq!(std::fs::read_dir(apart.path()).unwrap().count(), 1, "nothing was made beside the folder");

        std::fs::remove_file(&path).unwrap();
        let (mut journal, _) = open(tree.path(), None);
        let places: [&[u8]; 6] = [b"/etc/passwd", b"../up", b"a/../../up", b"", b"./a", b"good/\xff"];
        journal.append(&places.map(|place| record(place, 1)), false).unwrap();
        drop(journal);
        let (_, known) = open(tree.path(), None);
        assert_eq!(known.places().collect::<Vec<_>>(), [Path::new(OsStr::from_bytes(b"good/\xff"))]);
    }

    #[test]
    fn of_inputs_and_recipients_only_the_own_folder_tells_and_of_no_output_but_its_own() {
        let (tree, apart) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mine = record(b"mine", 1);
        open(tree.path(), Some(apart.path())).0.append(std::slice::from_ref(&mine), false).unwrap();
        // Lines added by someone who can write to the tree, and lines of a copy of it whose runs went on elsewhere.
        open(tree.path(), None).0.append(&[record(b"theirs", 2)], false).unwrap();
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(tree.path().join(NAME), copy.path().join(NAME)).unwrap();
        let newer = InputRecord { hash: 77, ..mine.input.unwrap() };
        let other = Record { input: Some(newer), ..record(b"mine", 3) };
        open(copy.path(), Some(apart.path())).0.append(&[other], false).unwrap();
        let (_, known) = open(tree.path(), Some(apart.path()));
        assert_eq!(known.records(Path::new("mine")), [mine]);
        let theirs = &known.records(Path::new("theirs"))[0];
        assert_eq!((theirs.input, theirs.spec.recipients()), (None, 0));
    }

    #[test]
    fn a_long_run_of_damage_is_a_line_of_its_own_and_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let (mut journal, _) = open(folder.path(), None);
        journal.append(&[record(b"first", 1)], false).unwrap();
        let whole = std::fs::read(&path).unwrap();
        journal.append(&[record(b"second", 2)], false).unwrap();
        drop(journal);
        let second = std::fs::read(&path).unwrap()[whole.len()..].to_vec();
        std::fs::write(&path, [&whole[..], &[0; 300_000], b"\n", &second].concat()).unwrap();
        let (_, known) = open(folder.path(), None);
        assert_eq!((known.record_count, known.damaged_count), (2, 1));
        // Without a newline it is a crash's remainder, to be overwritten.
        std::fs::write(&path, [&whole[..], &[0; 300_000]].concat()).unwrap();
        let (mut journal, known) = open(folder.path(), None);
        assert_eq!((known.record_count, known.damaged_count), (1, 0));
        journal.append(&[record(b"third", 3)], false).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 2000);
    }

    #[test]
    fn a_journal_of_many_runs_is_written_anew_with_what_counts() {
        let (tree, apart) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for apart in [None, Some(apart.path())] {
            let folder = tree.path().join(if apart.is_some() { "a" } else { "b" });
            std::fs::create_dir(&folder).unwrap();
            let records: Vec<Record> = (0..2 * STALE_RECORDS_MAX as u64).map(|inode| record(b"same", inode)).collect();
            let (mut journal, _) = open(&folder, apart);
            journal.append(&records, false).unwrap();
            journal.append(&[record(b"other", 1)], false).unwrap();
            drop(journal);
            let (mut journal, known) = open(&folder, apart);
            assert_eq!(known.record_count, records.len() + 1);
            journal.append(&[record(b"third", 1)], false).unwrap();
            drop(journal);
            let (_, known) = open(&folder, apart);
            assert_eq!(
                (known.record_count, known.records(Path::new("same")).last()),
                (2 + RECORDS_KEPT, records.last())
            );
            assert!(known.records(Path::new("third")).last().unwrap().input.is_some());
            let names = |folder: &Path| std::fs::read_dir(folder).unwrap().count();
            assert_eq!((names(&folder), apart.map_or(1, names)), (1, 1), "no temporary is left");
        }
    }

    #[test]
    fn what_is_forgotten_is_not_known_until_it_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(folder.path(), None);
        journal.append(&[record(b"gone", 1), record(b"stays", 2)], false).unwrap();
        journal.forget(&[Path::new("gone")]).unwrap();
        drop(journal);
        let (mut journal, known) = open(folder.path(), None);
        assert_eq!(known.places().collect::<Vec<_>>(), [Path::new("stays")]);
        journal.append(&[record(b"gone", 3)], false).unwrap();
        drop(journal);
        assert!(open(folder.path(), None).1.records(Path::new("gone")).last().is_some());
    }

    #[test]
    fn a_second_run_is_refused_and_so_is_what_is_no_journal() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let again = || Journal::open(&directory, OsStr::new(NAME), InputRecords::InTree, false).map(drop);
        let first = open(folder.path(), None);
        assert!(matches!(again(), Err(JournalError::Locked)));
        drop(first);
        again().unwrap();
        for other in ["text of mine\n", "0123456789abcdef {}\n", "text of mine", "0123456789abcdef {}", "abc\0"] {
            std::fs::write(folder.path().join(NAME), other).unwrap();
            assert!(matches!(again(), Err(JournalError::Unknown { .. })), "{other}");
            assert_eq!(std::fs::read_to_string(folder.path().join(NAME)).unwrap(), other);
        }
        std::fs::write(folder.path().join(NAME), "").unwrap();
        std::fs::hard_link(folder.path().join(NAME), folder.path().join("another name")).unwrap();
        assert!(matches!(again(), Err(JournalError::Unknown { .. })));
    }

    #[test]
    fn a_damaged_journal_is_named_with_its_place() {
        let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        open(tree.path(), Some(state.path()));
        let apart = std::fs::read_dir(state.path()).unwrap().next().unwrap().unwrap();
        std::fs::write(apart.path(), "text of mine\n").unwrap();
        let directories = [tree.path(), state.path()].map(|folder| Directory::open(folder).unwrap());
        let [tree, state] = &directories;
        let opened = Journal::open(tree, OsStr::new(NAME), InputRecords::InStateFolder(state), false).map(drop);
        let read = History::read(tree, Some(state)).map(drop);
        let shown = format!("{} in the state folder", apart.file_name().display());
        for result in [opened, read] {
            assert!(matches!(result, Err(JournalError::Unknown { name }) if name == shown));
        }
    }

    #[test]
    fn a_journal_that_a_copy_of_hard_links_shares_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, snapshot) = (folder.path().join(NAME), folder.path().join("snapshot"));
        open(folder.path(), None).0.append(&[record(b"first", 1)], false).unwrap();
        std::fs::hard_link(&path, &snapshot).unwrap();
        let before = std::fs::read(&snapshot).unwrap();
        let (mut journal, known) = open(folder.path(), None);
        assert_eq!(known.records(Path::new("first")).len(), 1);
        journal.append(&[record(b"second", 2)], false).unwrap();
        drop(journal);
        assert_eq!(std::fs::read(&snapshot).unwrap(), before);
        let (_, known) = open(folder.path(), None);
        assert_eq!(known.places().count(), 2);
    }
}
