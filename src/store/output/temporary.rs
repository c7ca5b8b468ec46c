//! A temporary file that is renamed to its destination when complete and on disk, and removed if dropped earlier. Each step is a method, so that a
//! batch can sync many files before the first rename.
//!
//! It lies in the destination's directory: mode 0600, created exclusively, locked while open.
//!
//! ```text
//! remove leftovers of killed runs -> create temporary -> write -> mode, times -> fsync(file) -> rename -> fsync(directory)
//! ```
//!
//! Without `--force` the rename never replaces a file, even one created meanwhile. A failed fsync is final.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::options::OutputOptions;
use super::place::parent_of;
use crate::store::error::{Doing, StoreError};
use crate::store::file_id::FileId;
use crate::store::sys::{self, Directory};

/// Attempts to create a temporary that another process keeps removing.
const TEMPORARY_TRIES_MAX: usize = 16;

/// A temporary file; dropping it before the rename removes it.
pub struct Temporary {
    pub(super) name: String,
    directory: Arc<Directory>,
    pub(super) file: Arc<File>,
    temporary_name: OsString,
    final_name: OsString,
    pub(super) output_options: OutputOptions,
    /// Mode of the file to replace.
    old_mode: Option<u32>,
    /// Set by the committing thread, read by the waiting one.
    is_committed: AtomicBool,
}

impl Temporary {
    /// Creates a temporary for `path`, whose links are resolved; messages show `name`. `old_mode` is the mode of the file to replace.
    pub(super) fn create(
        name: String,
        path: &Path,
        old_mode: Option<u32>,
        output_options: OutputOptions,
    ) -> Result<Temporary, StoreError> {
        let final_name = path.file_name().ok_or_else(|| StoreError::NotAFileName(name.clone()))?;
        let directory = Directory::open(parent_of(path)).map_err(Doing::Create.failed(&name))?;
        let prefix = temporary_prefix(final_name);
        // A failed cleanup is harmless.
        let _ = directory.remove_left_over(|name| name.as_bytes().starts_with(prefix.as_bytes()));
        Temporary::create_in(name, Arc::new(directory), final_name, old_mode, output_options)
    }

    /// Like `create`, in an open directory whose owner removes leftovers.
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

    /// Like [`super::Output::commit`].
    pub(super) fn commit(&self, source: Option<&Metadata>, is_cancelled: impl Fn() -> bool) -> Result<(), StoreError> {
        self.copy_mode_and_times(source)?;
        self.sync()?;
        if is_cancelled() {
            return Err(StoreError::Stopped);
        }
        self.rename()?;
        self.sync_directory()
    }

    /// Step 1: sets permission bits, and the times of `source` if it is a file.
    pub fn copy_mode_and_times(&self, source: Option<&Metadata>) -> Result<(), StoreError> {
        let umask = self.output_options.umask;
        let source = source.filter(|source| source.is_file());
        // Piped input has no mode: a replaced file's mode is kept.
        let mode = match (source, self.old_mode) {
            (Some(source), _) => source.mode() & 0o777 & !umask,
            (None, Some(old_mode)) => old_mode & 0o777,
            (None, None) => 0o666 & !umask,
        };
        sys::copy_mode_and_times(&self.file, mode, source).map_err(Doing::SetModeAndTimes.failed(&self.name))
    }

    /// Step 2: flushes the file to disk, unless syncing is off.
    pub fn sync(&self) -> Result<(), StoreError> {
        match self.output_options.sync {
            true => self.file.sync_all().map_err(Doing::Sync.failed(&self.name)),
            false => Ok(()),
        }
    }

    /// Whether the file at the destination still has `identity`.
    pub fn would_replace(&self, identity: FileId) -> bool {
        let there = self.directory.open_file(&self.final_name).ok().flatten();
        there.and_then(|there| there.metadata().ok()).is_some_and(|there| FileId::of(&there) == identity)
    }

    /// Step 3: renames the temporary to its destination.
    pub fn rename(&self) -> Result<(), StoreError> {
        let OutputOptions { force, .. } = self.output_options;
        self.directory.rename(&self.temporary_name, &self.final_name, force).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StoreError::Exists(self.name.clone()),
            _ => Doing::Name.failed(&self.name)(error),
        })?;
        self.is_committed.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Step 4: flushes the directory to disk, unless syncing is off.
    pub fn sync_directory(&self) -> Result<(), StoreError> {
        match self.output_options.sync {
            true => self.directory.sync().map_err(Doing::SyncDirectory.failed(&self.name)),
            false => Ok(()),
        }
    }

    /// The destination, as messages show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file and its directory.
    pub fn parts(&self) -> (&File, &Arc<Directory>) {
        (&self.file, &self.directory)
    }

    /// Like [`super::Output::writer`]. Writes to a regular file do not block.
    pub(super) fn writer(&self) -> Box<dyn Write + Send> {
        Box::new(Arc::clone(&self.file))
    }

    /// Like [`super::Output::reopener`].
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

    /// Like [`super::Output::abandon`].
    pub(super) fn abandon(&self) {
        if !self.is_committed.load(Ordering::SeqCst) {
            // On failure nothing can be done; the leftover is harmless under its temporary name.
            let _ = self.directory.unlink(&self.temporary_name);
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Prefix and suffix of all temporary names.
const PREFIX: &str = ".pipeline-";
const SUFFIX: &str = ".tmp";

/// The prefix of all temporary names for this destination. Its length is fixed.
fn temporary_prefix(final_name: &OsStr) -> String {
    format!("{PREFIX}{:016x}-", twox_hash::XxHash64::oneshot(0, final_name.as_bytes()))
}

/// An unpredictable temporary name for the destination `final_name`.
pub fn temporary_name(final_name: &OsStr) -> io::Result<OsString> {
    with_random(&temporary_prefix(final_name))
}

fn with_random(prefix: &str) -> io::Result<OsString> {
    Ok(format!("{prefix}{:016x}{SUFFIX}", sys::random_u64()?).into())
}

/// Whether `name` is a temporary name, for any destination.
pub fn is_temporary_name(name: &OsStr) -> bool {
    let numbers = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('-'));
    let is_number = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    numbers.is_some_and(|(destination, random)| is_number(destination) && is_number(random))
}

/// Creates a temporary with an unpredictable name. Retries if another run removes it as a leftover before it is locked.
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
