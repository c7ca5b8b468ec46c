//! Publication: gives a complete file the name of its destination, and loses no file that another program puts there meanwhile.
//!
//! A new name is taken without replacing. A file that is to be replaced is compared with the one that was seen:
//!
//! ```text
//! temporary -> .swap -> exchange with the destination -> compare what .swap is now -> the one that was seen: remove it
//!                                                                                 \\-> another: exchange back
//! ```
//!
//! A run that is killed after the exchange leaves the replaced file as `.swap`. Nothing removes that but its owner: it may be newer than what was seen.
//! On a file system that cannot exchange names, the comparison is made just before the rename.

use std::ffi::{OsStr, OsString};
use std::io;

use super::left_over::swap_name;
use crate::store::error::{Doing, StoreError};
use crate::store::file_id::FileState;
use crate::store::name::quoted;
use crate::store::sys::Directory;

/// A complete file and its destination.
pub(super) struct Publication<'a> {
    /// The destination, as messages show it.
    pub name: &'a str,
    /// The directory of both names.
    pub directory: &'a Directory,
    /// The complete file, in any of its states.
    pub file: FileState,
    /// The destination's name.
    pub final_name: &'a OsStr,
    /// The file to replace, as it was seen.
    pub expected: Option<FileState>,
    /// That file has to be there still.
    pub is_required: bool,
    /// A file may be replaced.
    pub may_replace: bool,
}

impl Publication<'_> {
    /// Gives the file, whose name is `held`, the destination's name. `held` is then `None`.
    pub fn publish(&self, held: &mut Option<OsString>) -> Result<(), StoreError> {
        match held.as_ref().filter(|name| self.is_named(name)) {
            Some(_) => {}
            None => return Err(StoreError::TemporaryGone(self.name.to_owned())),
        }
        let Some(expected) = self.expected else { return self.publish_new(held) };
        match self.there() {
            Some(there) if there == expected => {}
            None if !self.is_required => return self.publish_new(held),
            _ => return Err(self.changed()),
        }
        match self.directory.can_exchange() {
            Some(true) => self.exchange(held, expected),
            _ => self.replace(held),
        }
    }

    /// Fails if another file has the destination's name: the temporary was replaced just before its rename. None at all is no failure, since a
    /// program that waits for the output may have taken it.
    fn check_published(&self) -> Result<(), StoreError> {
        match self.there().is_none_or(|there| there.is_same_file(&self.file)) {
            true => Ok(()),
            false => Err(self.changed()),
        }
    }

    /// Takes a name that no file has.
    fn publish_new(&self, held: &mut Option<OsString>) -> Result<(), StoreError> {
        let from = name_of(held);
        let renamed = match self.directory.no_replace() {
            Some(way) => self.directory.rename_new(from, self.final_name, way),
            None if self.there().is_none() => self.directory.rename(from, self.final_name),
            None => Err(io::ErrorKind::AlreadyExists.into()),
        };
        renamed.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists if self.may_replace => self.changed(),
            io::ErrorKind::AlreadyExists => StoreError::Exists(self.name.to_owned()),
            _ => Doing::Name.failed(self.name)(error),
        })?;
        *held = None;
        // Another file there may be newer than this output, or have had the temporary's name: it stays in either case.
        self.check_published()
    }

    /// Replaces the destination where names cannot be exchanged.
    fn replace(&self, held: &mut Option<OsString>) -> Result<(), StoreError> {
        self.directory.rename(name_of(held), self.final_name).map_err(Doing::Name.failed(self.name))?;
        *held = None;
        self.check_published()
    }

    /// Exchanges the file with the destination, and compares what was there with `expected`.
    fn exchange(&self, held: &mut Option<OsString>, expected: FileState) -> Result<(), StoreError> {
        let swap = swap_name(name_of(held));
        let failed = || Doing::Name.failed(self.name);
        self.directory.rename(name_of(held), &swap).map_err(failed())?;
        *held = Some(swap.clone());
        match self.directory.exchange(&swap, self.final_name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_required => {
                return self.publish_new(held);
            }
            exchanged => exchanged.map_err(failed())?,
        }
        // What has this name now is not the output.
        *held = None;
        // The rename has advanced the change time.
        let is_expected = self.directory.state_of(&swap).is_ok_and(|there| there.id == expected.id);
        if is_expected && self.check_published().is_ok() {
            return self.directory.unlink(&swap).map_err(Doing::RemoveReplaced.failed(&quoted(&swap)));
        }
        match self.directory.exchange(&swap, self.final_name) {
            Ok(()) if self.is_named(&swap) => *held = Some(swap),
            _ => return Err(StoreError::Displaced { output: self.name.to_owned(), swap: quoted(&swap) }),
        }
        Err(self.changed())
    }

    fn is_named(&self, name: &OsStr) -> bool {
        self.directory.state_of(name).is_ok_and(|there| there.is_same_file(&self.file))
    }

    fn changed(&self) -> StoreError {
        StoreError::OutputChanged(self.name.to_owned())
    }

    /// The file at the destination; `None` if there is none.
    fn there(&self) -> Option<FileState> {
        self.directory.state_of(self.final_name).ok()
    }
}

/// The name of a file that is not published yet.
fn name_of(held: &Option<OsString>) -> &OsStr {
    held.as_deref().unwrap_or_default()
}
