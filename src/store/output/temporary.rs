//! A temporary file that is renamed to its destination when complete and on disk, and removed if dropped earlier. Each step is a method, so that a
//! batch can sync many files before the first rename.
//!
//! It lies in the destination's directory: mode 0600, created exclusively, locked while open. Where the file system allows, it has no name until
//! it is complete, so that a killed run leaves nothing.
//!
//! ```text
//! remove leftovers of killed runs -> create temporary -> write -> name it -> mode, times -> fsync(file) -> rename -> fsync(directory)
//! ```
//!
//! The rename replaces no file but the one that was there when the temporary was created ([`publication`](super::publication)). A failed fsync is
//! final.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::abilities::{self, create_named};
use super::left_over::{temporary_prefix, tidy, with_random};
use super::options::{Origin, OutputOptions};
use super::place::parent_of;
use super::publication::Publication;
use crate::store::access::Access;
use crate::store::attributes::{Limit, Unkept};
use crate::store::error::{Doing, StoreError};
use crate::store::file_id::FileState;
use crate::store::name::quoted;
use crate::store::sys::{self, Directory};

/// The stages of a temporary: it has no name yet; it has its temporary one; the committing thread names or renames it; it has its own name, or is
/// removed.
const NAMELESS: u8 = 0;
const NAMED: u8 = 1;
const NAMING: u8 = 2;
const ENDED: u8 = 3;

/// How often, and how long each time, a thread that abandons a temporary waits for the one that renames it.
const ABANDON_PAUSES_MAX: usize = 50;
const ABANDON_PAUSE: Duration = Duration::from_millis(10);

/// A temporary file; dropping it before the rename removes it.
pub struct Temporary {
    pub(super) name: String,
    directory: Arc<Directory>,
    pub(super) file: Arc<File>,
    /// The state in which the file was created.
    created: FileState,
    final_name: OsString,
    pub(super) output_options: OutputOptions,
    /// The file at the destination when the temporary was created.
    replaced: Option<Replaced>,
    temporary_name: OsString,
    /// One of the constants above; the committing thread and the one that waits for it share it.
    stage: AtomicU8,
    /// See [`super::Output::left_swaps`].
    pub(super) left_swaps: Vec<String>,
}

/// A file that an output is to replace.
struct Replaced {
    state: FileState,
    access: Access,
}

impl Temporary {
    /// Creates a temporary for `path`, whose links are resolved; messages show `name`. `there` is the file to replace.
    pub(super) fn create(
        name: String,
        path: &Path,
        there: Option<&Metadata>,
        output_options: OutputOptions,
    ) -> Result<Temporary, StoreError> {
        let final_name = path.file_name().ok_or_else(|| StoreError::NotAFileName(name.clone()))?;
        let directory = Directory::open(parent_of(path)).map_err(Doing::Create.failed(&name))?;
        let prefix = temporary_prefix(final_name);
        let left = tidy(&directory, |name| name.as_bytes().starts_with(prefix.as_bytes()));
        let left_swaps = left.swaps.iter().map(|swap| quoted(path.with_file_name(swap))).collect();
        let mut temporary = Temporary::create_in(name, Arc::new(directory), final_name, there, output_options)?;
        temporary.left_swaps = left_swaps;
        Ok(temporary)
    }

    /// Like `create`, in an open directory whose owner removes leftovers.
    pub fn create_in(
        name: String,
        directory: Arc<Directory>,
        final_name: &OsStr,
        there: Option<&Metadata>,
        output_options: OutputOptions,
    ) -> Result<Temporary, StoreError> {
        let replaced = there.map(|there| replaced(&directory, final_name, there)).transpose();
        let replaced = replaced.map_err(Doing::Replace.failed(&name))?;
        let prefix = temporary_prefix(final_name);
        let created =
            abilities::find(&directory, &prefix, replaced.is_some()).and_then(|()| create(&directory, &prefix));
        let Created { file, state, name: temporary_name, is_named } = created.map_err(Doing::Create.failed(&name))?;
        let temporary = Temporary {
            name,
            directory,
            file: Arc::new(file),
            created: state,
            final_name: final_name.to_owned(),
            output_options,
            replaced,
            temporary_name,
            stage: AtomicU8::new(if is_named { NAMED } else { NAMELESS }),
            left_swaps: Vec::new(),
        };
        let can_publish = temporary.replaced.is_some() || temporary.directory.no_replace().is_some();
        match can_publish || output_options.force {
            true => Ok(temporary),
            false => Err(StoreError::CannotPublish(temporary.name.clone())),
        }
    }

    /// Like [`super::Output::commit`].
    pub(super) fn commit(&self, origin: &Origin, is_cancelled: impl Fn() -> bool) -> Result<Vec<Unkept>, StoreError> {
        self.give_name()?;
        let unkept = self.set_attributes(origin)?;
        self.sync()?;
        if is_cancelled() {
            return Err(StoreError::Stopped);
        }
        self.rename(origin.must_replace)?;
        self.sync_directory()?;
        Ok(unkept)
    }

    /// Step 1: gives a file that has no name its temporary one.
    pub fn give_name(&self) -> Result<(), StoreError> {
        if !self.enter(NAMELESS, NAMING) {
            return Ok(());
        }
        let linked = self.directory.link_unnamed(&self.file, &self.temporary_name);
        self.stage.store(if linked.is_ok() { NAMED } else { ENDED }, Ordering::SeqCst);
        linked.map_err(Doing::Name.failed(&self.name))
    }

    /// Step 2: sets permission bits, times and what else is to be kept. Returns what could not be kept.
    pub fn set_attributes(&self, origin: &Origin) -> Result<Vec<Unkept>, StoreError> {
        // In place, the output has the access of the file that it replaces.
        let replaced = self.replaced.as_ref().filter(|_| origin.must_replace.is_none());
        let limit = Limit { umask: self.output_options.umask, replaced: replaced.map(|replaced| &replaced.access) };
        let set = sys::remove_access_acl(&self.file).and_then(|()| match &origin.attributes {
            Some(attributes) => attributes.apply(&self.file, limit),
            None => limit.apply(&self.file).map(|()| Vec::new()),
        });
        set.map_err(Doing::SetModeAndTimes.failed(&self.name))
    }

    /// Step 3: flushes the file to disk, unless syncing is off.
    pub fn sync(&self) -> Result<(), StoreError> {
        match self.output_options.sync {
            true => self.file.sync_all().map_err(Doing::Sync.failed(&self.name)),
            false => Ok(()),
        }
    }

    /// Step 4: renames the temporary to its destination. What is replaced is `must_replace`, if given, or else the file that was there when the
    /// temporary was created; any other file stays.
    pub fn rename(&self, must_replace: Option<FileState>) -> Result<(), StoreError> {
        if !self.enter(NAMED, NAMING) {
            return Err(StoreError::Stopped);
        }
        let expected = must_replace.or(self.replaced.as_ref().map(|replaced| replaced.state));
        let publication = Publication {
            name: &self.name,
            directory: &self.directory,
            file: self.created,
            final_name: &self.final_name,
            expected,
            is_required: must_replace.is_some(),
            may_replace: self.output_options.force,
        };
        let mut held = Some(self.temporary_name.clone());
        let published = publication.publish(&mut held);
        if let Some(name) = held {
            self.remove(&name);
        }
        self.stage.store(ENDED, Ordering::SeqCst);
        published
    }

    /// Enters the stage `to` from the stage `from`. Returns whether it was in that.
    fn enter(&self, from: u8, to: u8) -> bool {
        self.stage.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Step 5: flushes the directory to disk, unless syncing is off.
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
        // Naming takes an instant, unless the kernel does not come back from it: then nothing can be done.
        for _ in 0..ABANDON_PAUSES_MAX {
            if self.enter(NAMED, ENDED) {
                return self.remove(&self.temporary_name);
            }
            if self.enter(NAMELESS, ENDED) || self.stage.load(Ordering::SeqCst) == ENDED {
                return;
            }
            std::thread::sleep(ABANDON_PAUSE);
        }
    }

    /// Removes the temporary, unless another file has its name.
    fn remove(&self, name: &OsStr) {
        if self.directory.state_of(name).map_or(true, |there| there.is_same_file(&self.created)) {
            // On failure nothing can be done; the leftover is harmless under its temporary name.
            let _ = self.directory.unlink(name);
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// A new temporary.
struct Created {
    file: File,
    state: FileState,
    /// Its name, or the one that it gets when it is complete.
    name: OsString,
    is_named: bool,
}

/// Creates a temporary, without a name if the file system can give it one later.
fn create(directory: &Directory, prefix: &str) -> io::Result<Created> {
    let nameless = if directory.can_link() { directory.create_unnamed()? } else { None };
    match nameless {
        Some((file, state)) => Ok(Created { file, state, name: with_random(prefix)?, is_named: false }),
        None => {
            let (name, file, state) = create_named(directory, prefix)?;
            Ok(Created { file, state, name, is_named: true })
        }
    }
}

/// The file `there`, named `name`. Fails if it may not be replaced.
fn replaced(directory: &Directory, name: &OsStr, there: &Metadata) -> io::Result<Replaced> {
    directory.check_replaceable(name)?;
    Ok(Replaced { state: FileState::of(there), access: Access::at(&directory.path_of(name), there)? })
}
