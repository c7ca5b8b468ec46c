//! What the file system of a directory can do with names, found out before the work: no call tells, so that a probe tries it.

use std::ffi::OsString;
use std::fs::File;
use std::io;

use super::left_over::with_random;
use crate::store::file_id::FileState;
use crate::store::sys::Directory;

/// Attempts to create a file that another process keeps removing.
const TRIES_MAX: usize = 16;

/// Finds out, once for a directory, whether it can name a file that has none and rename without replacing; and if `is_replacing`, whether it can
/// exchange names. Probes have names with `prefix`.
pub(super) fn find(directory: &Directory, prefix: &str, is_replacing: bool) -> io::Result<()> {
    let is_exchange_wanted = is_replacing && directory.can_exchange().is_none();
    if directory.are_renames_known() && !is_exchange_wanted {
        return Ok(());
    }
    let mut probe = Probe::new(directory, prefix)?;
    directory.find_no_replace(&mut probe.name, with_random(prefix)?)?;
    if is_exchange_wanted {
        let other = Probe::new(directory, prefix)?;
        directory.find_exchange(&probe.name, &other.name)?;
    }
    Ok(())
}

/// A file that is removed when dropped.
struct Probe<'a> {
    directory: &'a Directory,
    name: OsString,
    _locked: File,
}

impl Probe<'_> {
    fn new<'a>(directory: &'a Directory, prefix: &str) -> io::Result<Probe<'a>> {
        let name = with_random(prefix)?;
        if let Some(file) = directory.find_link(&name)? {
            return Ok(Probe { directory, name, _locked: file });
        }
        let (name, file, _) = create_named(directory, prefix)?;
        Ok(Probe { directory, name, _locked: file })
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        // On failure it is left, and the next run removes it.
        let _ = self.directory.unlink(&self.name);
    }
}

/// Creates a file with an unpredictable name. Retries if another run removes it as a leftover before it is locked.
pub(super) fn create_named(directory: &Directory, prefix: &str) -> io::Result<(OsString, File, FileState)> {
    for _ in 0..TRIES_MAX {
        let name = with_random(prefix)?;
        if let Some((file, created)) = directory.create_locked(&name)? {
            return Ok((name, file, created));
        }
    }
    Err(io::Error::other("temporary files are removed as soon as they are made"))
}
