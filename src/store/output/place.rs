//! What makes two names the same file, also where there is no file yet. Nothing is opened but directories.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::store::sys::{self, Directory};

/// Links that are followed before a name is taken to go round in circles; the kernel's limit.
const LINKS_MAX: usize = 40;

/// Where a file is, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Something that is there: device and inode.
    File((u64, u64)),
    /// A name in a directory, of which device and inode are given.
    Name((u64, u64), OsString),
}

impl Place {
    /// Where `path` leads. `None` for what several may write without harm, terminals and /dev/null, and for what cannot be looked at.
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

    /// The same for what is open already.
    pub fn of_open(metadata: &std::fs::Metadata) -> Option<Place> {
        (!metadata.file_type().is_char_device()).then(|| Place::File(sys::identity(metadata)))
    }
}

/// The name that `path` leads to when links are followed, also where there is nothing at the end.
pub(super) fn resolve_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match std::fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            // Not a link, or nothing there. Anything else could hide a link that is then replaced itself.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The directory that `path` is in.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
