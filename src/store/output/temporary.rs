//! A file that gets its name at the end, when it is whole and on the disk. Dropped before, it is removed. The steps can be taken one by
//! one, so that of many files all go to the disk before the first gets its name.
//!
//! It is written under a temporary name in the directory of the final one: mode 0600, created exclusively, locked while alive.
//!
//! ```text
//! remove what killed runs left -> create temporary -> write -> mode, times -> fsync(file) -> rename -> fsync(directory)
//! ```
//!
//! Without `--force` the rename never replaces a file, even one that came into being meanwhile. A failed fsync is final.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::OutputOptions;
use super::place::parent_of;
use crate::store::error::{Doing, StoreError};
use crate::store::file_id::FileId;
use crate::store::sys::{self, Directory};

/// How often a temporary is made that somebody removes at once.
const TEMPORARY_TRIES_MAX: usize = 16;

/// A file under a temporary name, removed when dropped before it was committed.
pub struct Temporary {
    pub(super) name: String,
    directory: Arc<Directory>,
    pub(super) file: Arc<File>,
    temporary_name: OsString,
    final_name: OsString,
    pub(super) output_options: OutputOptions,
    /// Mode of the file that is replaced.
    old_mode: Option<u32>,
    /// Set by the thread that commits, read by the one that waits for it.
    is_committed: AtomicBool,
}

impl Temporary {
    /// Opens a temporary for `path`, of which links were resolved, shown as `name`. `old_mode` is that of the file that is replaced.
    pub(super) fn create(
        name: String,
        path: &Path,
        old_mode: Option<u32>,
        output_options: OutputOptions,
    ) -> Result<Temporary, StoreError> {
        let final_name = path.file_name().ok_or_else(|| StoreError::NotAFileName(name.clone()))?;
        let directory = Directory::open(parent_of(path)).map_err(Doing::Create.failed(&name))?;
        let prefix = temporary_prefix(final_name);
        // What cannot be tidied up does no harm.
        let _ = directory.remove_left_over(|name| name.as_bytes().starts_with(prefix.as_bytes()));
        Temporary::create_in(name, Arc::new(directory), final_name, old_mode, output_options)
    }

    /// The same in a directory that is open, and whose owner removes temporaries.
    pub fn create_in(
        name: String,
        directory: Arc<Directory>,
        final_name: &OsStr,
        old_mode: Option<u32>,
        output_options: OutputOptions,
    ) -> Result<Temporary, StoreError> {
        let created = create_temporary(&directory, &temporary_prefix(final_name));
        let (temporary_name, file) = created.map_err(Doing::Create.failed(&name))?;
        let final_name = final_name.to_owned();
        Ok(Temporary {
            name,
            directory,
            file: Arc::new(file),
            temporary_name,
            final_name,
            output_options,
            old_mode,
            is_committed: AtomicBool::new(false),
        })
    }

    /// See [`super::Output::commit`].
    pub(super) fn commit(&self, source: Option<&Metadata>, is_cancelled: impl Fn() -> bool) -> Result<(), StoreError> {
        self.copy_mode_and_times(source)?;
        self.sync()?;
        if is_cancelled() {
            return Err(StoreError::Stopped);
        }
        self.rename()?;
        self.sync_directory()
    }

    /// The first step: permission bits and times, of `source` if it is a file.
    pub fn copy_mode_and_times(&self, source: Option<&Metadata>) -> Result<(), StoreError> {
        let umask = self.output_options.umask;
        let source = source.filter(|source| source.is_file());
        // What comes through a pipe has no mode of its own: a file that is replaced keeps its one.
        let mode = match (source, self.old_mode) {
            (Some(source), _) => source.mode() & 0o777 & !umask,
            (None, Some(old_mode)) => old_mode & 0o777,
            (None, None) => 0o666 & !umask,
        };
        sys::copy_mode_and_times(&self.file, mode, source).map_err(Doing::SetModeAndTimes.failed(&self.name))
    }

    /// The second step: waits until it is on the disk, unless syncing is off.
    pub fn sync(&self) -> Result<(), StoreError> {
        match self.output_options.sync {
            true => self.file.sync_all().map_err(Doing::Sync.failed(&self.name)),
            false => Ok(()),
        }
    }

    /// Whether the file that has the name is still the one that `identity` is of.
    pub fn would_replace(&self, identity: FileId) -> bool {
        let there = self.directory.open_file(&self.final_name).ok().flatten();
        there.and_then(|there| there.metadata().ok()).is_some_and(|there| FileId::of(&there) == identity)
    }

    /// The third step: gives it its name.
    pub fn rename(&self) -> Result<(), StoreError> {
        let OutputOptions { force, .. } = self.output_options;
        self.directory.rename(&self.temporary_name, &self.final_name, force).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StoreError::Exists(self.name.clone()),
            _ => Doing::Name.failed(&self.name)(error),
        })?;
        self.is_committed.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// The last step: waits until its name is on the disk, unless syncing is off.
    pub fn sync_directory(&self) -> Result<(), StoreError> {
        match self.output_options.sync {
            true => self.directory.sync().map_err(Doing::SyncDirectory.failed(&self.name)),
            false => Ok(()),
        }
    }

    /// Its path, as messages show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file, and the directory it is in.
    pub fn parts(&self) -> (&File, &Arc<Directory>) {
        (&self.file, &self.directory)
    }

    /// See [`super::Output::writer`]. A regular file keeps nobody waiting.
    pub(super) fn writer(&self) -> Box<dyn Write + Send> {
        Box::new(Arc::clone(&self.file))
    }

    /// What reads it back: see [`super::Output::reopener`].
    pub(super) fn reopener(
        &self,
    ) -> Result<impl FnOnce() -> Result<(File, u64), StoreError> + Send + use<>, StoreError> {
        let (name, sync) = (self.name.clone(), self.output_options.sync);
        let mut file = self.file.try_clone().map_err(Doing::ReadBack.failed(&name))?;
        Ok(move || {
            if sync {
                file.sync_all().map_err(Doing::Sync.failed(&name))?;
                sys::forget_cached(&file);
            }
            let bytes = file.metadata().map_err(Doing::ReadBack.failed(&name))?.len();
            file.rewind().map_err(Doing::ReadBack.failed(&name))?;
            Ok((file, bytes))
        })
    }

    /// See [`super::Output::abandon`].
    pub(super) fn abandon(&self) {
        if !self.is_committed.load(Ordering::SeqCst) {
            // Nothing can be done about a failure here, and the file is harmless: it has a name of its own.
            let _ = self.directory.unlink(&self.temporary_name);
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// What the names of all temporaries begin and end with.
const PREFIX: &str = ".pipeline-";
const SUFFIX: &str = ".tmp";

/// What the names of temporaries for this destination begin with, however long its own name is.
fn temporary_prefix(final_name: &OsStr) -> String {
    format!("{PREFIX}{:016x}-", twox_hash::XxHash64::oneshot(0, final_name.as_bytes()))
}

/// A name that nobody can guess, for what gets `final_name` in the end.
pub fn temporary_name(final_name: &OsStr) -> io::Result<OsString> {
    with_random(&temporary_prefix(final_name))
}

fn with_random(prefix: &str) -> io::Result<OsString> {
    Ok(format!("{prefix}{:016x}{SUFFIX}", sys::random_u64()?).into())
}

/// Whether `name` is one that a temporary has, for whichever destination.
pub fn is_temporary_name(name: &OsStr) -> bool {
    let numbers = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('-'));
    let is_number = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    numbers.is_some_and(|(destination, random)| is_number(destination) && is_number(random))
}

/// A temporary with a name that nobody can guess. One that another run took for left over, between its creation and its lock,
/// is made anew.
fn create_temporary(directory: &Directory, prefix: &str) -> io::Result<(OsString, File)> {
    for _ in 0..TEMPORARY_TRIES_MAX {
        let name = with_random(prefix)?;
        if let Some(file) = directory.create_locked(&name)? {
            return Ok((name, file));
        }
    }
    Err(io::Error::other("temporary files are removed as soon as they are made"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_fits_beside_the_longest_name_and_differs_by_destination() {
        let longest = OsString::from("x".repeat(255));
        assert!(temporary_prefix(&longest).len() + 20 < 64);
        assert_ne!(temporary_prefix(&longest), temporary_prefix(OsStr::new("other")));
    }

    #[test]
    fn only_names_of_temporaries_are_taken_for_such() {
        let name = temporary_name(OsStr::new("out")).unwrap().into_string().unwrap();
        assert!(is_temporary_name(OsStr::new(&name)));
        for other in [".pipeline-journal", ".pipeline-0-0.tmp", ".pipeline-x.tmp", "out", &name[1..], &name[..40]] {
            assert!(!is_temporary_name(OsStr::new(other)), "{other}");
        }
    }
}
