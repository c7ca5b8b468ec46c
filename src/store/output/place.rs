//! Decides whether two names lead to the same file, even one that does not exist yet. Opens only directories.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::store::sys::{self, Directory};

/// Links followed before a loop is assumed; the kernel's limit.
const LINKS_MAX: usize = 40;

/// The location of an existing or future file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An existing file: device and inode.
    File((u64, u64)),
    /// A name in a directory, given by device and inode.
    Name((u64, u64), OsString),
}

impl Place {
    /// The place that `path` leads to. `None` for character devices, which several outputs may share, and for metadata errors.
    pub fn of(path: &Path) -> Option<Place> {
        match std::fs::metadata(path) {
            Ok(metadata) => Place::of_open(&metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = resolve_links(path).ok()?;
                let directory = Directory::open(parent_of(&path)).and_then(|directory| directory.identity()).ok()?;
                Some(Place::Name(directory, path.file_name()?.to_owned()))
            }
            Err(_) => None,
        }
    }

    /// Like [`Place::of`] for an open file.
    pub fn of_open(metadata: &std::fs::Metadata) -> Option<Place> {
        (!metadata.file_type().is_char_device()).then(|| Place::File(sys::identity(metadata)))
    }
}

/// `path` with links at its end followed, even to a name that does not exist.
pub(super) fn resolve_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match std::fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            // Not a link, or absent. Other errors could hide a link, which the rename would replace.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The parent directory of `path`.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
