//! Trees of files that tests make, read and compare.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{noise, text};

/// The kind of a file and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    File(Vec<u8>),
    Link(PathBuf),
    Directory,
    Other,
}

/// The state of one name in a tree.
#[derive(Clone, Debug)]
pub struct Seen {
    pub node: Node,
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    pub inode: u64,
}

impl Seen {
    /// Whether this is a copy of `other`. The time of a link does not count.
    fn is_copy_of(&self, other: &Seen) -> bool {
        let is_link = matches!(self.node, Node::Link(_));
        self.node == other.node && (is_link || (self.mode, self.mtime) == (other.mode, other.mtime))
    }

    /// A short description, without the content.
    fn word(&self) -> String {
        let node = match &self.node {
            Node::File(content) => format!("file of {} bytes", content.len()),
            other => format!("{other:?}"),
        };
        format!("{node}, mode {:o}, time {:?}", self.mode, self.mtime)
    }
}

/// All files below `root` by path; `root` itself has the empty path.
pub fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(inside) = left.pop() {
        let path = root.join(&inside);
        let metadata = std::fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let node = match metadata.file_type() {
            kind if kind.is_dir() => {
                let entries = std::fs::read_dir(&path).unwrap();
                left.extend(entries.map(|entry| inside.join(entry.unwrap().file_name())));
                Node::Directory
            }
            kind if kind.is_symlink() => Node::Link(std::fs::read_link(&path).unwrap()),
            kind if kind.is_file() => Node::File(std::fs::read(&path).unwrap()),
            _ => Node::Other,
        };
        let (mode, mtime, inode) = (metadata.mode(), (metadata.mtime(), metadata.mtime_nsec()), metadata.ino());
        seen.insert(inside, Seen { node, mode, mtime, inode });
    }
    seen
}

/// The differences between `copy` and `original`; empty if there are none.
pub fn differences(original: &Path, copy: &Path) -> Vec<String> {
    let (original, copy) = (look(original), look(copy));
    let gone = original.keys().filter(|name| !copy.contains_key(*name)).map(|name| format!("{name:?} is missing"));
    let other = copy.iter().filter_map(|(name, is)| match original.get(name) {
        None => Some(format!("{name:?} came into being")),
        Some(was) if !is.is_copy_of(was) => Some(format!("{name:?} is {}, and was {}", is.word(), was.word())),
        Some(_) => None,
    });
    gone.chain(other).collect()
}

/// Asserts that `copy` equals `original`: names, contents, links, modes and times.
#[track_caller]
pub fn assert_same(original: &Path, copy: &Path, what: &str) {
    let differences = differences(original, copy);
    assert!(differences.is_empty(), "{what}: {} differences: {differences:#?}", differences.len());
}

/// The finished output files in `root`, with their inodes.
pub fn finished(root: &Path) -> BTreeMap<PathBuf, u64> {
    if !root.exists() {
        return BTreeMap::new();
    }
    let files = look(root).into_iter().filter(|(name, seen)| matches!(seen.node, Node::File(_)) && !is_ours(name));
    files.map(|(name, seen)| (name, seen.inode)).collect()
}

/// The temporaries that interrupted runs left in `root`.
pub fn temporaries(root: &Path) -> Vec<PathBuf> {
    let names = if root.exists() { look(root).into_keys().collect() } else { Vec::new() };
    names.into_iter().filter(|name| is_ours(name) && !name.ends_with(".pipeline-journal")).collect()
}

fn is_ours(name: &Path) -> bool {
    name.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".pipeline-"))
}

/// Removes a tree, even if its directories are read-only.
pub fn remove(root: &Path) {
    if root.exists() {
        allow(root);
        std::fs::remove_dir_all(root).unwrap();
    }
}

/// Makes all directories of a tree writable by their owner, so that it can be removed.
pub fn allow(root: &Path) {
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        if std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

/// Makes `count` small files in `root`, twenty in each directory, each up to three thousand bytes long and different
/// from all others.
pub fn plant_small(root: &Path, count: usize) {
    for index in 0..count {
        let folder = root.join(format!("d{:03}", index / 20));
        if index % 20 == 0 {
            std::fs::create_dir_all(&folder).unwrap();
        }
        let content = format!("file {index}\n").into_bytes();
        let more = noise(index * 7919 % 3000, index as u64);
        std::fs::write(folder.join(format!("f{index:05}")), [content, more].concat()).unwrap();
    }
}

/// Makes a tree that takes a while to process: small files, some files of several chunks of 64 KiB, one file too long
/// for the short path, links, and an empty directory.
pub fn plant_mixed(root: &Path, count: usize) {
    plant_small(root, count);
    std::fs::create_dir_all(root.join("large/empty")).unwrap();
    for index in 0..6 {
        std::fs::write(root.join(format!("large/m{index}")), text(200_000 + index * 65_536, index as u64)).unwrap();
    }
    std::fs::write(root.join("large/huge"), text(5 << 20, 99)).unwrap();
    std::os::unix::fs::symlink("huge", root.join("large/link")).unwrap();
    std::os::unix::fs::symlink("no such file", root.join("dangling")).unwrap();
}

/// Makes a tree with everything that a file system can hold: names that are not UTF-8, lengths around a chunk of 64 KiB
/// and beyond the short path, links of each kind, modes, times.
pub fn plant_everything(root: &Path) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let write = |name: &[u8], content: &[u8]| {
        let path = root.join(OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    };
    let longest = "n".repeat(255 - ".zst.age".len());
    for name in [
        b"caf\xe9 \xff\xfe",
        "two\nlines".as_bytes(),
        b"quote'\"\\",
        "дерево/ünï".as_bytes(),
        b"-dash",
        b".hidden/.file",
        longest.as_bytes(),
        b"tar.gz",
        b"a/deep/er/and/deeper/still/file",
    ] {
        write(name, name);
    }
    const CHUNK_LEN: usize = 64 << 10;
    for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 2 * CHUNK_LEN - 1, 2 * CHUNK_LEN, 2 * CHUNK_LEN + 1] {
        write(format!("len/{len}").as_bytes(), &text(len, len as u64));
        write(format!("len/noise {len}").as_bytes(), &noise(len, len as u64));
    }
    write(b"long", &text(10 << 20, 3));
    for (name, mode) in [("mode/private", 0o600), ("mode/tool", 0o755), ("mode/read-only", 0o444), ("mode/own", 0o400)]
    {
        let path = write(name.as_bytes(), name.as_bytes());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let linked = write(b"hard/one", b"a file of two names");
    std::fs::hard_link(linked, root.join("hard/two")).unwrap();
    for (name, target) in [
        ("link", "long"),
        ("a/up", "../len"),
        ("dangling", "no such\nfile"),
        ("absolute", "/dev/null"),
        ("self", "self"),
    ] {
        std::os::unix::fs::symlink(target, root.join(name)).unwrap();
    }
    std::fs::create_dir_all(root.join("empty/emptier")).unwrap();
    let forbidden = write(b"closed/file", b"in a directory that nobody writes to").parent().unwrap().to_owned();
    std::fs::create_dir(forbidden.join("below")).unwrap();
    for (name, seconds, nanoseconds) in [("len/1", 1, 1), ("a/deep", 1_234_567_890, 123_456_789), ("hard/one", 0, 0)] {
        let at = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, nanoseconds);
        std::fs::File::open(root.join(name)).unwrap().set_modified(at).unwrap();
    }
    for (folder, mode) in [("closed/below", 0o500), ("closed", 0o555), ("empty", 0o700)] {
        std::fs::set_permissions(root.join(folder), std::fs::Permissions::from_mode(mode)).unwrap();
    }
}
