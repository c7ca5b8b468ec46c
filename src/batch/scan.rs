//! Scans the inputs of a batch: paths, lists of paths, and directory contents.
//!
//! A symbolic link becomes the same link in the output, unless links are followed or skipped. A file with several hard links becomes several files.
//! Special files are skipped and reported.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use ignore::WalkBuilder;
use ignore::overrides::{Override, OverrideBuilder};

use super::error::{BatchError, EntryError};
use super::journal;
use super::messages::Other;
use crate::store::file_id::FileId;
use crate::store::name::quoted;
use crate::store::sys;

/// The longest list of names, in bytes.
const LIST_BYTES_MAX: u64 = 1 << 30;

/// Selects files in directories.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Globs; if there are any, entries that match none are skipped.
    pub include: Vec<String>,
    /// Globs of entries to skip.
    pub exclude: Vec<String>,
    /// Skip entries that `.gitignore` and `.ignore` files name.
    pub gitignore: bool,
    /// How to treat symbolic links.
    pub links: Links,
}

impl Filter {
    /// Whether no filter is set.
    pub fn takes_all(&self) -> bool {
        let Filter { include, exclude, gitignore, links: _ } = self;
        include.is_empty() && exclude.is_empty() && !gitignore
    }
}

/// How to treat symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Create the same link in the output.
    Copy,
    /// Take the link's target.
    Follow,
    /// Skip the link.
    Skip,
}

/// The inputs of a batch as given.
#[derive(Clone, Debug)]
pub struct InputSpec {
    /// Files and directories.
    pub paths: Vec<PathBuf>,
    /// Lists of names, one per line; `-` is standard input.
    pub files_from: Vec<PathBuf>,
    /// Lists of names, each terminated by a zero byte.
    pub files0_from: Vec<PathBuf>,
    /// Selects files in directories.
    pub filter: Filter,
}

/// A file, directory or link found by the scan.
#[derive(Debug)]
pub struct Found {
    /// Its path as given or found.
    pub source: PathBuf,
    /// Levels below a named directory: [`Item::depth`](super::plan::Item::depth).
    pub depth: usize,
    /// Its path in the output, before it is renamed for the operation.
    pub place: PathBuf,
    /// Its type.
    pub kind: Kind,
}

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File(FileId),
    /// A directory, named or below a named one.
    Directory,
    /// A symbolic link to copy.
    Link,
}

/// All inputs of a batch.
#[derive(Debug, Default)]
pub struct Inputs {
    /// In the order of the command line; directories are sorted by name.
    pub found: Vec<Found>,
    /// What was skipped or could not be read.
    pub others: Vec<Other>,
    /// Named directories, which must not contain the output: device and inode.
    pub roots: HashSet<(u64, u64)>,
}

/// Scans all inputs in `spec`. The content of a single directory goes to the top of the
/// output, other inputs under their own names. Follows a named link to a directory.
pub fn scan(spec: &InputSpec) -> Result<Inputs, BatchError> {
    let (paths, args) = (&spec.paths, spec);
    let mut inputs = Inputs::default();
    let of_lines = args.files_from.iter().map(|list| (list, b'\n'));
    for (list, separator) in of_lines.chain(args.files0_from.iter().map(|list| (list, 0))) {
        for path in read_list(list, separator)? {
            let place = place_of(&path)?;
            inputs.take(&path, place, &args.filter)?;
        }
    }
    let is_alone = paths.len() == 1 && args.files_from.is_empty() && args.files0_from.is_empty();
    for path in paths {
        let is_top = is_alone && path.is_dir();
        let name = path.components().next_back().and_then(|last| match last {
            Component::Normal(name) => Some(Path::new(name)),
            _ => None,
        });
        // `.` and `..` have no names of their own.
        let place = if is_top { Path::new("") } else { name.unwrap_or(Path::new("")) };
        inputs.take(path, place.to_owned(), &args.filter)?;
    }
    Ok(inputs)
}

/// Scans one directory, whose content goes to the top of the output.
pub fn scan_in(directory: &Path, args: &Filter) -> Result<Inputs, BatchError> {
    let mut inputs = Inputs::default();
    inputs.take(directory, PathBuf::new(), args)?;
    Ok(inputs)
}

impl Inputs {
    /// Adds `path`: a file, or a directory with its content.
    fn take(&mut self, path: &Path, place: PathBuf, args: &Filter) -> Result<(), BatchError> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.others.push(Other { path: path.to_owned(), error: EntryError::LookAt(error) });
                return Ok(());
            }
        };
        if metadata.is_dir() {
            self.roots.insert(sys::identity(&metadata));
            return self.walk(path, &place, args);
        }
        match special(metadata.file_type()) {
            Some(what) => self.others.push(Other { path: path.to_owned(), error: EntryError::Special(what) }),
            None => {
                let kind = Kind::File(FileId::of(&metadata));
                self.found.push(Found { source: path.to_owned(), depth: 0, place, kind });
            }
        }
        Ok(())
    }

    fn walk(&mut self, root: &Path, place: &Path, args: &Filter) -> Result<(), BatchError> {
        let mut builder = WalkBuilder::new(root);
        builder.standard_filters(false).follow_links(args.links == Links::Follow);
        builder.git_ignore(args.gitignore).ignore(args.gitignore).require_git(false).parents(false);
        builder.overrides(globs(root, args)?).sort_by_file_name(OsStr::cmp);
        for entry in builder.build() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.others.push(failed_walk(error, root));
                    continue;
                }
            };
            let inside = entry.path().strip_prefix(root).unwrap_or(Path::new(""));
            if !journal::is_own_name(inside) {
                let place = if inside.as_os_str().is_empty() { place.to_owned() } else { place.join(inside) };
                self.take_entry(&entry, place, args.links);
            }
        }
        Ok(())
    }

    fn take_entry(&mut self, entry: &ignore::DirEntry, place: PathBuf, links: Links) {
        let source = entry.path().to_owned();
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) => {
                self.others.push(failed_walk(error, &source));
                return;
            }
        };
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_symlink() && entry.depth() > 0 => match links {
                Links::Skip => return,
                Links::Copy | Links::Follow => Kind::Link,
            },
            // A named link to a directory: the walk enters it.
            kind if kind.is_symlink() => Kind::Directory,
            kind => match special(kind) {
                Some(what) => return self.others.push(Other { path: source, error: EntryError::Special(what) }),
                None => Kind::File(FileId::of(&metadata)),
            },
        };
        let depth = if links == Links::Follow { 0 } else { entry.depth() };
        self.found.push(Found { source, depth, place, kind });
    }
}

/// The type of a special file; `None` for other files.
fn special(kind: std::fs::FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_fifo() => Some("a FIFO"),
        kind if kind.is_socket() => Some("a socket"),
        kind if kind.is_block_device() => Some("a block device"),
        kind if kind.is_char_device() => Some("a character device"),
        _ => None,
    }
}

/// The globs of `--include` and `--exclude`. If there are includes, entries that match none are skipped.
fn globs(root: &Path, args: &Filter) -> Result<Override, BatchError> {
    let mut builder = OverrideBuilder::new(root);
    let mut add = |flag: &'static str, glob: &str, line: &str| {
        let bad = |error: ignore::Error| BatchError::Glob { flag, glob: quoted(glob), error: error.to_string() };
        builder.add(line).map(drop).map_err(bad)
    };
    args.include.iter().try_for_each(|glob| add("--include", glob, glob))?;
    args.exclude.iter().try_for_each(|glob| add("--exclude", glob, &format!("!{glob}")))?;
    let bad = |error: ignore::Error| BatchError::Glob {
        flag: "--include, --exclude",
        glob: "together".to_owned(),
        error: error.to_string(),
    };
    builder.build().map_err(bad)
}

/// The entry at which a walk failed; `default` if the error names none.
fn failed_walk(error: ignore::Error, default: &Path) -> Other {
    match error {
        ignore::Error::WithPath { path, err } => Other { path, error: EntryError::Walk(*err) },
        ignore::Error::WithDepth { err, .. } => failed_walk(*err, default),
        ignore::Error::Loop { child, .. } => Other { path: child, error: EntryError::Loop },
        error => Other { path: default.to_owned(), error: EntryError::Walk(error) },
    }
}

/// The paths in `list`, each ended by `separator`.
fn read_list(list: &Path, separator: u8) -> Result<Vec<PathBuf>, BatchError> {
    let what = || format!("list {}", quoted(list));
    let failed = |source| BatchError::List { list: what(), source };
    let file = if list == Path::new("-") { sys::stdin() } else { std::fs::File::open(list) };
    let reader = BufReader::new(file.map_err(failed)?.take(LIST_BYTES_MAX));
    let (mut paths, mut bytes) = (Vec::new(), 0);
    for line in reader.split(separator) {
        let line = line.map_err(failed)?;
        bytes += line.len() as u64 + 1;
        if bytes >= LIST_BYTES_MAX {
            return Err(BatchError::ListTooLong(what()));
        }
        match &line[..] {
            b"" => {}
            // In a list, `-` is a file name.
            b"-" => paths.push(PathBuf::from("./-")),
            line => paths.push(PathBuf::from(OsStr::from_bytes(line))),
        }
    }
    Ok(paths)
}

/// The output path of a listed path: as typed, relative to the root if absolute. Fails for `..`.
fn place_of(path: &Path) -> Result<PathBuf, BatchError> {
    let mut place = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => place.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                return Err(BatchError::LeadsOut(quoted(path)));
            }
        }
    }
    Ok(place)
}
