//! The plan of a batch, checked before the first byte is written: each input has its own
//! output, which is not an input and lies in no input directory.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::{BatchError, EntryError};
use super::journal;
use super::messages::Other;
use super::scan::{Inputs, Kind};
use crate::store::error::{Doing, StoreError};
use crate::store::file_id::FileId;
use crate::store::input::Input;
use crate::store::name::quoted;
use crate::store::output::Place;
use crate::store::sys::{self, Directory, WakeUp};
use crate::task::process::begins_like_zstd;

/// One file of a batch.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its path as given or found.
    pub source: PathBuf,
    /// Levels below a named directory, on a path without links; 0 for a named file or one reached through a link.
    pub depth: usize,
    /// Its output's path in the output directory.
    pub place: PathBuf,
    /// Its identity at the scan.
    pub identity: FileId,
    /// It is only to be encrypted, and gets a zstd layer all the same, since it begins like a zstd file.
    pub is_layered: bool,
}

impl Item {
    /// Opens the input, which was a regular file when it was scanned. A file found by a walk is opened below the directory that the user named,
    /// without following a link that has replaced a directory since. `top` caches that open directory for the next file; `wake` interrupts the wait for a lease.
    pub fn open(&self, top: &mut Option<(PathBuf, Directory)>, wake: &WakeUp) -> Result<Input, StoreError> {
        let input = match self.depth {
            0 => Input::open(&self.source, wake)?,
            _ => {
                let (path, inside) = self.way();
                let directory = match top {
                    Some((opened, directory)) if opened == path => directory,
                    other => {
                        let opened =
                            Directory::open_to_pass(path).map_err(Doing::Open.failed(&quoted(&self.source)))?;
                        &mut other.insert((path.to_owned(), opened)).1
                    }
                };
                Input::open_below(directory, inside, quoted(&self.source), wake)?
            }
        };
        match input.metadata.is_file() {
            true => Ok(input),
            false => Err(StoreError::NotRegular(input.name)),
        }
    }

    /// Whether its content begins like a zstd file; `false` if it cannot be read.
    fn begins_like_zstd(&self, top: &mut Option<(PathBuf, Directory)>, wake: &WakeUp) -> bool {
        self.open(top, wake).is_ok_and(|input| begins_like_zstd(input.again()).unwrap_or(false))
    }

    /// The named directory and the file's path in it; for a named file, its parent directory and its name.
    pub fn way(&self) -> (&Path, &Path) {
        let top = self.source.ancestors().nth(self.depth.max(1)).filter(|top| !top.as_os_str().is_empty());
        let inside = top.and_then(|top| self.source.strip_prefix(top).ok());
        (top.unwrap_or(Path::new(".")), inside.unwrap_or(&self.source))
    }
}

/// A directory or link that is mirrored, not processed.
#[derive(Debug)]
pub struct Mirrored {
    /// Its path.
    pub source: PathBuf,
    /// Its path in the output directory; empty for that directory itself.
    pub place: PathBuf,
}

/// The plan of a batch.
#[derive(Debug, Default)]
pub struct BatchPlan {
    /// The files, in order.
    pub items: Vec<Item>,
    /// Directories, parents first.
    pub directories: Vec<Mirrored>,
    /// Symbolic links.
    pub links: Vec<Mirrored>,
    /// Inputs that were skipped or could not be read.
    pub others: Vec<Other>,
    /// Total bytes of the files.
    pub bytes: u64,
}

/// Files up to this size are always inline: a default chunk.
const SOLO_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Longer files are never inline: a fraction of a second at the default level.
const SOLO_BYTES_MAX: u64 = 32 * 1024 * 1024;

impl BatchPlan {
    /// The inputs that could not be read.
    pub fn failed(&self) -> impl Iterator<Item = &Path> {
        self.others.iter().filter(|other| !other.error.is_skip()).map(|other| &*other.path)
    }

    /// The longest file that one thread does without a pipeline, in bytes. Other threads do other files meanwhile; at the end, when none are left,
    /// the file is small against the share of each of `jobs` threads.
    pub fn inline_bytes_max(&self, jobs: NonZeroUsize) -> u64 {
        (self.bytes / (8 * jobs.get() as u64)).clamp(SOLO_BYTES_MIN, SOLO_BYTES_MAX)
    }
}

/// Derives the names of outputs.
pub trait Naming: Send + 'static {
    /// The file name of an output whose input has `name`.
    fn name(&self, name: &OsStr, is_layered: bool) -> OsString;

    /// Whether content that begins like a zstd file gets a layer.
    fn layers_zstd(&self) -> bool {
        false
    }
}

impl<F: Fn(&OsStr) -> OsString + Send + 'static> Naming for F {
    fn name(&self, name: &OsStr, _: bool) -> OsString {
        self(name)
    }
}

/// Assigns outputs to `inputs`, with names that `naming` derives from theirs. If `only_needed`, mirrors only directories that contain a file or link.
/// `wake` interrupts a wait for an input.
pub fn plan(inputs: Inputs, only_needed: bool, naming: &impl Naming, wake: &WakeUp) -> BatchPlan {
    let mut top = None;
    let Inputs { found, others, .. } = inputs;
    let mut plan = BatchPlan { others, ..BatchPlan::default() };
    for found in found {
        match found.kind {
            Kind::File(identity) => {
                let (source, depth, place) = (found.source, found.depth, found.place);
                let mut item = Item { source, depth, place, identity, is_layered: false };
                item.is_layered = naming.layers_zstd() && item.begins_like_zstd(&mut top, wake);
                let name = naming.name(item.place.file_name().unwrap_or_default(), item.is_layered);
                item.place.set_file_name(name);
                if journal::is_own_name(&item.place) {
                    plan.others.push(Other { path: item.source, error: EntryError::ReservedName });
                    continue;
                }
                plan.bytes += identity.bytes;
                plan.items.push(item);
            }
            Kind::Directory => plan.directories.push(Mirrored { source: found.source, place: found.place }),
            Kind::Link => plan.links.push(Mirrored { source: found.source, place: found.place }),
        }
    }
    if only_needed {
        let places = plan.items.iter().map(|item| &item.place).chain(plan.links.iter().map(|link| &link.place));
        let needed: HashSet<&Path> = places.flat_map(|place| place.ancestors().skip(1)).collect();
        let is_needed: Vec<bool> =
            plan.directories.iter().map(|directory| needed.contains(&*directory.place)).collect();
        let mut is_needed = is_needed.into_iter();
        plan.directories.retain(|_| is_needed.next().unwrap_or(true));
    }
    plan
}

/// Refuses a plan that writes an output twice, over an input, or over a file of `read`: the files that flags name, with the flags.
pub fn check(
    plan: &BatchPlan,
    root: &Path,
    roots: &HashSet<(u64, u64)>,
    read: &[(&'static str, Place)],
) -> Result<(), BatchError> {
    refuse_inside_of_inputs(root, roots)?;
    for directory in plan.directories.iter().filter(|directory| !directory.place.as_os_str().is_empty()) {
        let place = root.join(&directory.place);
        if std::fs::metadata(&place).is_ok_and(|metadata| roots.contains(&sys::identity(&metadata))) {
            return Err(inside_of_input(&place));
        }
    }
    refuse_doubles(plan)?;
    refuse_inputs_as_outputs(plan, root)?;
    match root.is_dir() {
        true => plan.items.iter().try_for_each(|item| refuse_in_use(&root.join(&item.place), read)),
        false => Ok(()),
    }
}

/// Refuses a plan that replaces or deletes an input of `read`: the files that flags name, with the flags.
pub fn check_inputs(plan: &BatchPlan, read: &[(&'static str, Place)]) -> Result<(), BatchError> {
    plan.items.iter().try_for_each(|item| refuse_in_use(&item.source, read))
}

fn refuse_in_use(path: &Path, read: &[(&'static str, Place)]) -> Result<(), BatchError> {
    // Only a file that exists can be one of them.
    let metadata = if read.is_empty() { None } else { std::fs::metadata(path).ok() };
    let place = metadata.as_ref().and_then(Place::of_open);
    match read.iter().find(|(_, read)| Some(read) == place.as_ref()) {
        Some((by, _)) => Err(StoreError::InUse { path: quoted(path), by }.into()),
        None => Ok(()),
    }
}

/// Refuses outputs in an input directory: the next run would read them.
fn refuse_inside_of_inputs(root: &Path, roots: &HashSet<(u64, u64)>) -> Result<(), BatchError> {
    // The nearest existing ancestor.
    let there = std::iter::successors(Some(root), |path| path.parent())
        .map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path })
        .find_map(|path| path.canonicalize().ok());
    for folder in there.iter().flat_map(|there| there.ancestors()) {
        if std::fs::metadata(folder).is_ok_and(|metadata| roots.contains(&sys::identity(&metadata))) {
            return Err(inside_of_input(root));
        }
    }
    Ok(())
}

fn inside_of_input(output: &Path) -> BatchError {
    BatchError::OutputInInput(quoted(output))
}

fn refuse_doubles(plan: &BatchPlan) -> Result<(), BatchError> {
    let directories = plan.directories.iter().filter(|directory| !directory.place.as_os_str().is_empty());
    let mirrored = directories.chain(&plan.links).map(|mirrored| (&*mirrored.place, &*mirrored.source));
    let mut places: Vec<(&Path, &Path)> = plan.items.iter().map(|item| (&*item.place, &*item.source)).collect();
    places.extend(mirrored);
    places.sort_unstable();
    for pair in places.windows(2) {
        let [(place, first), (other, second)] = pair else { continue };
        if place == other && !(first.is_dir() && second.is_dir()) {
            return Err(BatchError::Collision { first: quoted(first), second: quoted(second), output: quoted(place) });
        }
    }
    Ok(())
}

/// Refuses an existing output that is an input under another name.
fn refuse_inputs_as_outputs(plan: &BatchPlan, root: &Path) -> Result<(), BatchError> {
    if !root.is_dir() {
        return Ok(());
    }
    let inputs: HashSet<(u64, u64)> =
        plan.items.iter().map(|item| (item.identity.device, item.identity.inode)).collect();
    for item in &plan.items {
        let output = root.join(&item.place);
        match std::fs::metadata(&output) {
            Ok(metadata) if inputs.contains(&(metadata.dev(), metadata.ino())) => {
                return Err(BatchError::OutputIsInput { output: quoted(&output), input: quoted(&item.source) });
            }
            // An unreadable output fails later, when it is written.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::scan::Found;

    fn wake() -> WakeUp {
        WakeUp::new().unwrap()
    }

    fn identity(inode: u64) -> FileId {
        FileId { device: 1, inode, bytes: 10, mtime_ns: 0 }
    }

    fn inputs(places: &[&str]) -> Inputs {
        let found = places.iter().zip(1..).map(|(place, inode)| Found {
            source: Path::new("in").join(place),
            depth: Path::new(place).components().count(),
            place: place.trim_end_matches('/').into(),
            kind: if place.ends_with('/') { Kind::Directory } else { Kind::File(identity(inode)) },
        });
        Inputs { found: found.collect(), ..Inputs::default() }
    }

    fn with_suffix(name: &OsStr) -> OsString {
        let mut name = name.to_owned();
        name.push(".zst");
        name
    }

    #[test]
    fn each_file_gets_a_name_of_its_own_in_the_same_directory() {
        let plan = plan(inputs(&["a", "d/", "d/b"]), false, &with_suffix, &wake());
        let places: Vec<&Path> = plan.items.iter().map(|item| &*item.place).collect();
        assert_eq!(places, [Path::new("a.zst"), Path::new("d/b.zst")]);
        assert_eq!((plan.directories.len(), plan.bytes), (1, 20));
        refuse_doubles(&plan).unwrap();
    }

    #[test]
    fn the_way_to_a_file_begins_at_the_directory_that_was_named() {
        let way = |source: &str, depth| {
            let item =
                Item { source: source.into(), depth, place: PathBuf::new(), identity: identity(1), is_layered: false };
            let (top, inside) = item.way();
            (top.to_str().unwrap().to_owned(), inside.to_str().unwrap().to_owned())
        };
        let pair = |top: &str, inside: &str| (top.to_owned(), inside.to_owned());
        assert_eq!(way("a/b/c/d", 2), pair("a/b", "c/d"));
        assert_eq!([way("./x", 1), way("../x/y", 2)], [pair(".", "x"), pair("..", "x/y")]);
        assert_eq!([way("/etc/hosts", 2), way("/hosts", 1)], [pair("/", "etc/hosts"), pair("/", "hosts")]);
        assert_eq!([way("a/b", 0), way("b", 0)], [pair("a", "b"), pair(".", "b")]);
    }

    #[test]
    fn the_more_there_is_to_do_the_longer_may_a_file_be_for_one_thread() {
        let inline = |mebibytes: u64, jobs| {
            let plan = BatchPlan { bytes: mebibytes << 20, ..BatchPlan::default() };
            plan.inline_bytes_max(NonZeroUsize::new(jobs).unwrap()) >> 20
        };
        assert_eq!([inline(0, 2), inline(100, 2), inline(160, 2), inline(100_000, 2)], [4, 6, 10, 32]);
        assert_eq!([inline(2_000, 64), inline(8_192, 64), inline(100_000, 64)], [4, 16, 32]);
    }

    #[test]
    fn two_inputs_with_one_output_are_refused() {
        let cut = |name: &OsStr| Path::new(name).file_stem().unwrap().to_owned();
        for places in [&["d/a.zst", "d/a.zstd"][..], &["x", "x.zst"], &["a.zst", "a/"]] {
            let error = refuse_doubles(&plan(inputs(places), false, &cut, &wake())).unwrap_err();
            assert!(matches!(error, BatchError::Collision { .. }), "{error}");
        }
    }

    #[test]
    fn of_directories_only_those_are_needed_that_hold_something() {
        let plan = plan(inputs(&["", "d/", "d/e/", "d/e/f", "empty/"]), true, &with_suffix, &wake());
        let places: Vec<&Path> = plan.directories.iter().map(|directory| &*directory.place).collect();
        assert_eq!(places, [Path::new("d"), Path::new("d/e")]);
    }
}
