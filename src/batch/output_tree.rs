//! The output directory: creates and opens its subdirectories without following links; mirrors directories and links.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::error::{BatchError, EntryError};
use super::messages::Other;
use super::plan::Mirrored;
use crate::store::access::Access;
use crate::store::name::quoted;
use crate::store::output::{temporary_name, tidy};
use crate::store::sys::Directory;

/// Mode of an output directory that was created and has no journal yet. If a killed run leaves it so and empty, the next run knows that a batch
/// created it, and that it gets mode and times of the mirrored directory.
const MARK: u32 = 0o1700;

/// Mode bits inherited from the parent: setgid.
const INHERITED_BITS: u32 = 0o2000;

/// Mode bits that the owner needs to create files.
const OWNER_BITS: u32 = 0o700;

/// The output directory.
pub struct OutputTree {
    /// Its path as given.
    pub path: PathBuf,
    root: Arc<Directory>,
    /// This run or an earlier one created it.
    pub is_ours: bool,
    /// This run took the mark off.
    is_settled: bool,
    /// Directories created in this run, to be synced with their parents.
    made: Vec<PathBuf>,
    /// Sync each directory on creation, because inputs are deleted meanwhile.
    sync_at_once: bool,
    /// Open directories on the path to the last one requested; the next usually shares most of them.
    way: Vec<(OsString, Arc<Directory>)>,
    /// Directories without leftovers of killed runs.
    tidied: HashSet<PathBuf>,
    /// Incomplete outputs that were removed.
    pub cut_off_count: u64,
    /// Files that killed runs left when they replaced outputs.
    pub left_swaps: Vec<PathBuf>,
}

impl OutputTree {
    /// Opens `path` or creates it; its parent must exist. A new directory is marked until [settled](OutputTree::settle).
    pub fn open(path: &Path, sync_at_once: bool) -> Result<OutputTree, BatchError> {
        let cannot = |source| BatchError::Tree { path: quoted(path), source };
        let is_made = match std::fs::DirBuilder::new().mode(MARK).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => return Err(cannot(error)),
        };
        let metadata = std::fs::metadata(path).map_err(cannot)?;
        if !metadata.is_dir() {
            return Err(BatchError::NotADirectory(quoted(path)));
        }
        let is_ours = is_made || is_mark(metadata.mode()) && std::fs::read_dir(path).map_err(cannot)?.next().is_none();
        let root = Arc::new(Directory::open(path).map_err(cannot)?);
        if is_made {
            root.remove_access_acl().map_err(cannot)?;
        }
        if sync_at_once {
            sync_parent(path).and_then(|()| root.sync()).map_err(cannot)?;
        }
        let (path, tidied) = (path.to_owned(), HashSet::new());
        let (way, made) = (Vec::new(), Vec::new());
        Ok(OutputTree {
            path,
            root,
            is_ours,
            is_settled: false,
            made,
            sync_at_once,
            way,
            tidied,
            cut_off_count: 0,
            left_swaps: Vec::new(),
        })
    }

    /// Takes the mark off a new directory: from now on its journal shows that a batch created it. Nobody else looks in until the end, when it gets
    /// the mode of the mirrored directory, or that of any new one.
    pub fn settle(&mut self) -> Result<(), BatchError> {
        let mut settle = || -> io::Result<()> {
            let mode = std::fs::metadata(&self.path)?.mode();
            self.is_settled = self.is_ours && is_mark(mode);
            match self.is_settled {
                true => self.root.copy_mode_and_times(mode & INHERITED_BITS | OWNER_BITS, None),
                false => Ok(()),
            }
        };
        settle().map_err(|source| BatchError::TreeMode { path: quoted(&self.path), source })
    }

    /// Gives a new directory that mirrors none the default permission bits, less `umask`.
    pub fn open_up(&self, umask: u32) -> io::Result<()> {
        match self.is_settled {
            true => {
                let inherited = std::fs::metadata(&self.path)?.mode() & INHERITED_BITS;
                self.root.copy_mode_and_times(inherited | 0o777 & !umask, None)
            }
            false => Ok(()),
        }
    }

    /// The open output directory.
    pub fn root(&self) -> &Directory {
        &self.root
    }

    /// The parent directory of the output at `place`, created if missing and cleaned of leftovers of killed runs.
    pub fn directory_of(&mut self, place: &Path) -> io::Result<Arc<Directory>> {
        let place = place.parent().unwrap_or(Path::new(""));
        let directory = self.open_below(place)?;
        if !self.tidied.contains(place) {
            self.tidied.insert(place.to_owned());
            let left = tidy(&directory, |_| true);
            self.cut_off_count += left.removed_count;
            self.left_swaps.extend(left.swaps.into_iter().map(|swap| self.path.join(place).join(swap)));
        }
        Ok(directory)
    }

    /// Creates mirrored directories and links. Returns the failures with reasons.
    pub fn mirror(&mut self, directories: &[Mirrored], links: &[Mirrored]) -> Vec<Other> {
        let mut failed = Vec::new();
        for Mirrored { source, place } in directories {
            let is_kept = place.as_os_str().is_empty() && !self.is_ours;
            let made = self.open_below(place);
            if let Err(error) = made.and_then(|made| if is_kept { Ok(()) } else { narrow(&made, source) }) {
                let error = EntryError::Directory { tree: quoted(&self.path), source: error };
                failed.push(Other { path: source.clone(), error });
            }
        }
        for Mirrored { source, place } in links {
            let mirrored = std::fs::read_link(source).and_then(|target| self.put_link(place, &target));
            if let Err(error) = mirrored {
                let error = EntryError::Link { tree: quoted(&self.path), source: error };
                failed.push(Other { path: source.clone(), error });
            }
        }
        failed
    }

    /// Copies permission bits, as far as access allows and less `umask`, and times from the mirrored directories, and syncs if `sync`. Call it last:
    /// writes in a directory change its time, and the bits may forbid them. Returns the failures with reasons.
    pub fn finish<'a>(
        &mut self,
        directories: impl DoubleEndedIterator<Item = &'a Mirrored>,
        umask: u32,
        sync: bool,
    ) -> Vec<Other> {
        let mut failed = Vec::new();
        // Sync first: permission bits may forbid it later.
        if sync {
            for place in std::mem::take(&mut self.made) {
                let synced = self.open_below(place.parent().unwrap_or(Path::new(""))).and_then(|parent| parent.sync());
                failed.extend(
                    synced.err().map(|error| Other { path: self.path.join(place), error: EntryError::Sync(error) }),
                );
            }
        }
        // An output directory that existed before keeps its mode and times.
        let directories = directories.filter(|directory| self.is_ours || !directory.place.as_os_str().is_empty());
        for Mirrored { source, place } in directories.rev().collect::<Vec<_>>() {
            let finished = self.open_below(place).and_then(|directory| {
                let metadata = std::fs::metadata(source)?;
                let mode = Access::at(source, &metadata)?.mode_in(directory.group()?);
                directory.copy_mode_and_times(mode & !umask, Some(&metadata))?;
                if sync { directory.sync() } else { Ok(()) }
            });
            if let Err(error) = finished {
                failed.push(Other { path: source.clone(), error: EntryError::ModeAndTimes(error) });
            }
        }
        if sync {
            let synced = self.root.sync().and_then(|()| sync_parent(&self.path));
            failed.extend(synced.err().map(|error| Other { path: self.path.clone(), error: EntryError::Sync(error) }));
        }
        failed
    }

    fn open_below(&mut self, place: &Path) -> io::Result<Arc<Directory>> {
        let mut depth = 0;
        for component in place.components() {
            let Component::Normal(name) = component else { continue };
            if self.way.get(depth).is_none_or(|(known, _)| known != name) {
                self.way.truncate(depth);
                let parent = self.way.last().map_or(&self.root, |(_, directory)| directory);
                let (directory, is_made) = parent.make_below(name)?;
                if is_made && self.sync_at_once {
                    parent.sync()?;
                } else if is_made {
                    self.made.push(place.components().take(depth + 1).collect());
                }
                directory.allow(OWNER_BITS)?;
                self.way.push((name.to_owned(), Arc::new(directory)));
            }
            depth += 1;
        }
        self.way.truncate(depth);
        Ok(Arc::clone(self.way.last().map_or(&self.root, |(_, directory)| directory)))
    }

    /// Creates a link; replaces an existing link, but nothing else.
    fn put_link(&mut self, place: &Path, target: &Path) -> io::Result<()> {
        let directory = self.directory_of(place)?;
        let name = place.file_name().unwrap_or_default();
        match std::fs::symlink_metadata(self.path.join(place)) {
            Err(error) if error.kind() == ErrorKind::NotFound => directory.symlink(name, target),
            Err(error) => Err(error),
            Ok(there) if !there.is_symlink() => Err(io::Error::other("something that is no link has its name")),
            Ok(_) if std::fs::read_link(self.path.join(place))? == target => Ok(()),
            Ok(_) => {
                let temporary = temporary_name(name)?;
                directory.symlink(&temporary, target)?;
                directory.rename(&temporary, name)
            }
        }
    }
}

/// Takes the permission bits from `directory` that `source` does not give: files are about to be written there.
fn narrow(directory: &Directory, source: &Path) -> io::Result<()> {
    let access = Access::at(source, &std::fs::metadata(source)?)?;
    directory.limit(access.mode_in(directory.group()?) | OWNER_BITS)
}

fn is_mark(mode: u32) -> bool {
    mode & 0o7777 & !INHERITED_BITS == MARK
}

/// Flushes the parent of a directory to disk.
fn sync_parent(path: &Path) -> io::Result<()> {
    let path = path.canonicalize()?;
    path.parent().map_or(Ok(()), |parent| Directory::open(parent)?.sync())
}
