//! An append-only file of lines, each with its checksum. The next append overwrites a line that a crash cut off.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

use super::error::JournalError;
use super::names::shown;
use super::record::{Line, VERSION};
use crate::store::output::temporary_name;
use crate::store::sys::{self, Directory};

/// Longer than a line with a fully escaped path of 4096 bytes.
const LINE_LEN_MAX: u64 = 64 * 1024;

/// Damage longer than this is not skipped: the file is no journal.
const DAMAGE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// The first line of a journal.
#[derive(Serialize, Deserialize)]
struct Head {
    pipeline_journal: u32,
    /// Unique among all trees.
    id: String,
    /// The run that began the journal created the tree's directory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    made: bool,
}

/// A log file, open and locked.
pub(super) struct Log {
    file: File,
    pub(super) id: String,
    /// The flag of the [`Head`].
    pub(super) is_made: bool,
    /// The file has another hard link, as in a copied tree, so it is rewritten instead of changed.
    pub(super) is_shared: bool,
    /// The end of the last complete line, where the next one goes.
    end: u64,
}

/// The parsed lines of a log.
pub(super) struct Lines<T> {
    /// The first line's id; `None` without a complete first line.
    pub(super) id: Option<String>,
    /// The first line's version.
    pub(super) version: u32,
    /// The flag of the [`Head`].
    pub(super) is_made: bool,
    /// The other lines. Lines with a valid checksum that do not parse are ignored: they have fields of a later version.
    pub(super) told: Vec<T>,
    pub(super) damaged_count: usize,
    /// The end of the last complete line.
    end: u64,
}

impl<T> Default for Lines<T> {
    fn default() -> Lines<T> {
        Lines { id: None, version: VERSION, is_made: false, told: Vec::new(), damaged_count: 0, end: 0 }
    }
}

impl<T: Line> Lines<T> {
    /// Reads the journal `name`.
    pub(super) fn read(file: impl Read, name: &OsStr) -> Result<Lines<T>, JournalError> {
        let unknown = || JournalError::Unknown { name: shown(name) };
        let newer = |version| JournalError::Newer { name: shown(name), version };
        let (mut lines, mut line) = (Lines::default(), Vec::new());
        let mut reader = BufReader::new(file);
        loop {
            let len = read_line(&mut reader, &mut line)?.ok_or_else(unknown)?;
            if !line.ends_with(b"\n") {
                // The end of the file, or a line cut off by a crash, which the next append overwrites.
                return if lines.id.is_some() || may_become_head(&line) { Ok(lines) } else { Err(unknown()) };
            }
            match (checked(&line).filter(|_| len <= LINE_LEN_MAX), &lines.id) {
                (Some(text), None) => match serde_json::from_str(text) {
                    Ok(Head { pipeline_journal: version @ 1..=VERSION, id, made }) if is_id(&id) => {
                        (lines.id, lines.version, lines.is_made) = (Some(id), version, made);
                    }
                    Ok(Head { pipeline_journal: version, .. }) if version > VERSION => return Err(newer(version)),
                    _ => return Err(newer_version(text).map_or_else(unknown, newer)),
                },
                (Some(text), Some(_)) => lines.told.extend(T::parse(lines.version, text)),
                (None, None) => return Err(unknown()),
                (None, Some(_)) => lines.damaged_count += 1,
            }
            lines.end += len;
        }
    }
}

impl Log {
    /// Opens `name`, or creates it with `id` or a new one. `is_new`: the tree's directory
    /// was just created; a journal whose creation was interrupted counts as new too.
    pub(super) fn open<T: Line + Serialize>(
        directory: &Directory,
        name: &OsStr,
        id: Option<&str>,
        is_new: bool,
    ) -> Result<(Log, Lines<T>), JournalError> {
        let is_begun = directory.open_file(name)?.is_some();
        let file = directory.open_or_create(name)?;
        // A file without links was replaced by another run meanwhile.
        if !sys::lock(&file)? || file.metadata()?.nlink() == 0 {
            return Err(JournalError::Locked);
        }
        let is_shared = file.metadata()?.nlink() > 1;
        let mut lines = Lines::read(&file, name)?;
        let known = lines.id.clone();
        lines.is_made |= known.is_none() && (is_new || is_begun);
        let new = || id.map_or_else(|| sys::random_u64().map(|id| format!("{id:016x}")), |id| Ok(id.to_owned()));
        let id_there = known.clone().map_or_else(new, Ok)?;
        let mut log = Log { id: id_there, file, is_shared, end: lines.end, is_made: lines.is_made };
        if id.is_some_and(|id| id != log.id) || is_shared && known.is_none() {
            return Err(JournalError::Unknown { name: shown(name) });
        }
        if lines.version < VERSION {
            log = log.upgrade(directory, name, &lines.told)?;
            return Ok((log, lines));
        }
        if !is_shared {
            log.file.set_len(log.end)?;
        }
        if known.is_none() {
            log.write_head()?;
        }
        Ok((log, lines))
    }

    /// Creates a log under a temporary name.
    pub(super) fn begin(
        directory: &Directory,
        temporary: &OsStr,
        id: &str,
        is_made: bool,
    ) -> Result<Log, JournalError> {
        let (file, _) = directory.create_locked(temporary)?.ok_or(JournalError::Locked)?;
        let mut log = Log { file, id: id.to_owned(), is_shared: false, end: 0, is_made };
        log.write_head()?;
        Ok(log)
    }

    /// Replaces a file of an older version by one of [`VERSION`] with the same lines, `told`, in the same order. Keeps even stale lines: copies of a
    /// tree share the file in the state folder. The old file stays until the new one is on disk.
    fn upgrade<T: Serialize>(&self, directory: &Directory, name: &OsStr, told: &[T]) -> Result<Log, JournalError> {
        let temporary = temporary_name(name)?;
        let mut log = Log::begin(directory, &temporary, &self.id, self.is_made)?;
        let mut lines = Vec::new();
        told.iter().try_for_each(|line| push_line(&mut lines, line))?;
        log.append(&lines, true)?;
        directory.rename(&temporary, name)?;
        directory.sync()?;
        Ok(log)
    }

    fn write_head(&mut self) -> io::Result<()> {
        let mut head = Vec::new();
        push_line(&mut head, &Head { pipeline_journal: VERSION, id: self.id.clone(), made: self.is_made })?;
        self.append(&head, false)
    }

    /// Appends `lines`. The next call overwrites a partial write.
    pub(super) fn append(&mut self, lines: &[u8], sync: bool) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(lines)?;
        self.end += lines.len() as u64;
        if sync { self.file.sync_data() } else { Ok(()) }
    }
}

pub(super) fn push_line(lines: &mut Vec<u8>, line: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(line)?;
    writeln!(lines, "{:016x} {text}", checksum(text.as_bytes()))
}

/// Reads to the end of a line or of the file; returns the bytes read. For an overlong line, `line` holds only its end; `None` if it is too long for a
/// damaged journal.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let mut len = 0;
    while len < DAMAGE_LEN_MAX {
        line.clear();
        let read_len = reader.take(LINE_LEN_MAX).read_until(b'\n', line)? as u64;
        len += read_len;
        if line.ends_with(b"\n") || read_len < LINE_LEN_MAX {
            return Ok(Some(len));
        }
    }
    Ok(None)
}

/// The version of a newer journal by its first line, which does not parse: that version may have other fields.
fn newer_version(text: &str) -> Option<u32> {
    let head: serde_json::Value = serde_json::from_str(text).ok()?;
    let version = u32::try_from(head.get("pipeline_journal")?.as_u64()?).ok()?;
    (version > VERSION).then_some(version)
}

/// Whether `bytes`, which hold no complete line, may be a journal whose creation a crash interrupted, not another file.
fn may_become_head(bytes: &[u8]) -> bool {
    let (sum, rest) = bytes.split_at(bytes.len().min(16));
    let begin: &[u8] = b" {\"pipeline_journal\":";
    let is_begin = sum.iter().all(u8::is_ascii_hexdigit) && (begin.starts_with(rest) || rest.starts_with(begin));
    // After a crash the file may have its length without its data.
    is_begin || bytes.iter().all(|byte| *byte == 0)
}

/// Whether `id` is a valid id. It becomes part of a file name, so it must not contain a path.
fn is_id(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The text of a line with a valid checksum.
fn checked(line: &[u8]) -> Option<&str> {
    let (sum, text) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
    (sum == format!("{:016x}", checksum(text.as_bytes()))).then_some(text)
}

fn checksum(text: &[u8]) -> u64 {
    twox_hash::XxHash64::oneshot(0, text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::record::OutputLine;
    use super::super::tests::open;
    use super::super::{CompressSpec, History, InputRecords, Journal, NAME, OutputSpec, Record};
    use super::*;
    use crate::batch::journal::names::inputs_name;

    /// The journals that `version` wrote: of a plain tree, of an encrypted tree, and the state folder's part of the latter.
    fn fixtures(version: u32) -> [Vec<u8>; 3] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals");
        ["", "-encrypted", "-state"].map(|name| {
            let path = folder.join(format!("{version}{name}.journal"));
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
    }

    /// `bytes` with `version` in the first line.
    fn with_version(bytes: &[u8], version: u32) -> Vec<u8> {
        let head_len = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let head = std::str::from_utf8(&bytes[17..head_len]).unwrap();
        let mut head: serde_json::Value = serde_json::from_str(head).unwrap();
        head["pipeline_journal"] = version.into();
        let mut lines = Vec::new();
        push_line(&mut lines, &head).unwrap();
        [&lines, &bytes[head_len..]].concat()
    }

    fn all(history: &History) -> Vec<Record> {
        let mut records: Vec<Record> = history.places().flat_map(|place| history.records(place)).cloned().collect();
        records.sort_by(|a, b| (&a.place, a.output.inode).cmp(&(&b.place, b.output.inode)));
        records
    }

    #[test]
    fn a_journal_of_each_version_is_read_and_moved_to_the_newest_without_loss() {
        for version in 1..=VERSION {
            let [plain, encrypted, state] = fixtures(version);
            let (tree, apart) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let path = tree.path().join(NAME);
            let begin = format!("{{\"pipeline_journal\":{}", VERSION);

            std::fs::write(&path, &plain).unwrap();
            let before = History::parse(&plain).unwrap();
            assert_eq!(before.records(Path::new("b.zst")).len(), 2, "{version}: an output that was replaced");
            let (journal, opened) = open(tree.path(), None);
            drop(journal);
            let moved = History::parse(&std::fs::read(&path).unwrap()).unwrap();
            assert!(std::fs::read_to_string(&path).unwrap()[17..].starts_with(&begin));
            let records = all(&before);
            assert_eq!((&all(&opened), &all(&moved)), (&records, &records), "{version}");
            let wanted = |level| OutputSpec::Processed {
                compress: Some(CompressSpec { chunk_bytes: 4 << 20, level }),
                is_armored: false,
                recipients: None,
            };
            let [old, new] = moved.records(Path::new("b.zst")) else { unreachable!() };
            assert!(wanted(3).matches(&old.spec) && wanted(1).matches(&new.spec) && !wanted(3).matches(&new.spec));
            assert!(records.iter().all(|record| record.input.is_some()));

            std::fs::write(&path, &encrypted).unwrap();
            let id = Log::open::<OutputLine>(&Directory::open(tree.path()).unwrap(), OsStr::new(NAME), None, false);
            let id = id.unwrap().0.id;
            let state_path = apart.path().join(inputs_name(&id));
            // A crash between the two upgrades leaves one in its old version.
            for is_moved in [[false, false], [true, false], [false, true]] {
                let moved = [&path, &state_path].map(|path| std::fs::read(path).unwrap_or_default());
                std::fs::write(&path, if is_moved[0] { &moved[0] } else { &encrypted }).unwrap();
                std::fs::write(&state_path, if is_moved[1] { &moved[1] } else { &state }).unwrap();
                let (_, known) = open(tree.path(), Some(apart.path()));
                assert_eq!(known.record_count, 3, "{version}");
                assert!(all(&known).iter().all(|record| record.input.is_some()), "{version}, {is_moved:?}");
                assert!(std::fs::read_to_string(&state_path).unwrap()[17..].starts_with(&begin));
            }
        }
    }

    #[test]
    fn a_journal_of_a_newer_version_is_named_and_left_as_it_is() {
        let [plain, encrypted, state] = fixtures(VERSION);
        let newer = VERSION + 1;
        let (tree, apart) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = tree.path().join(NAME);
        let [directory, folder] = [tree.path(), apart.path()].map(|path| Directory::open(path).unwrap());
        let is_newer = |result| matches!(result, Err(JournalError::Newer { version, .. }) if version == newer);
        let open = |inputs| Journal::open(&directory, OsStr::new(NAME), inputs, false).map(drop);
        let of_newer = with_version(&plain, newer);
        std::fs::write(&path, &of_newer).unwrap();
        assert!(is_newer(open(InputRecords::InTree)) && is_newer(History::parse(&of_newer).map(drop)));
        assert_eq!(std::fs::read(&path).unwrap(), of_newer);

        std::fs::write(&path, &encrypted).unwrap();
        let id = Log::open::<OutputLine>(&directory, OsStr::new(NAME), None, false).unwrap().0.id;
        let of_newer = with_version(&state, newer);
        let state_path = apart.path().join(inputs_name(&id));
        std::fs::write(&state_path, &of_newer).unwrap();
        assert!(is_newer(open(InputRecords::InStateFolder(&folder))));
        assert_eq!(std::fs::read(&state_path).unwrap(), of_newer);
        assert_eq!(std::fs::read(&path).unwrap(), encrypted);
    }
}
