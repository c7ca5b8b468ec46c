//! The files that a run uses: none may be written or deleted that the run uses for something else as well.
//!
//! Files are compared by device and inode, not by name, before anything is written.

use std::fs::File;
use std::io;
use std::path::Path;

use super::error::StoreError;
use super::name::quoted;
use super::output::Place;
use super::sys;

/// A file that a run uses.
#[derive(Clone, Copy, Debug)]
pub enum ReservedPath<'a> {
    /// A file that is read, with its name in messages; `-` is standard input.
    In(&'static str, &'a Path),
    /// A file that is written; `-` is standard output.
    Out(&'a Path),
    /// The input, which is deleted at the end. It is in the set as [`In`](ReservedPath::In) too.
    Deleted(&'a Path),
}

impl ReservedPath<'_> {
    /// Its use, as messages name it.
    pub fn name(&self) -> &'static str {
        match self {
            ReservedPath::In(name, _) => name,
            ReservedPath::Out(_) => "OUT",
            ReservedPath::Deleted(_) => INPUT,
        }
    }

    /// Where it leads to; `None` if that is shared by nature, such as a terminal, or unknown.
    pub fn place(&self) -> Option<Place> {
        let (path, standard): (_, fn() -> io::Result<File>) = match self {
            ReservedPath::In(_, path) | ReservedPath::Deleted(path) => (path, sys::stdin),
            ReservedPath::Out(path) => (path, sys::stdout),
        };
        match is_standard(path) {
            // If the standard stream is closed, opening it later reports that.
            true => Place::of_open(&standard().ok()?.metadata().ok()?),
            false => Place::of(path),
        }
    }
}

/// The name of the input in messages.
pub const INPUT: &str = "IN";

fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The files of `reserved` that are read, with their names in messages.
pub fn places_read(reserved: &[ReservedPath<'_>]) -> Vec<(&'static str, Place)> {
    let read = reserved.iter().filter(|file| matches!(file, ReservedPath::In(..)));
    read.filter_map(|file| Some((file.name(), file.place()?))).collect()
}

/// Refuses to write or delete a file that is read for something else.
pub fn refuse_overwriting(reserved: &[ReservedPath<'_>]) -> Result<(), StoreError> {
    for written in reserved {
        let (path, is_deleted) = match written {
            ReservedPath::In(..) => continue,
            ReservedPath::Out(path) => (path, false),
            ReservedPath::Deleted(path) => (path, true),
        };
        let Some(place) = written.place() else { continue };
        for read in reserved {
            let ReservedPath::In(name, other) = read else { continue };
            // A socket may be both standard streams.
            let is_meant = is_deleted && *name == INPUT || is_standard(path) && is_standard(other);
            if is_meant || read.place().as_ref() != Some(&place) {
                continue;
            }
            let output = if is_standard(path) { "standard output".to_owned() } else { quoted(path) };
            return Err(match *name {
                INPUT => {
                    let input = if is_standard(other) { "standard input".to_owned() } else { quoted(other) };
                    StoreError::SameFile { input, output }
                }
                by => StoreError::InUse { path: output, by },
            });
        }
    }
    Ok(())
}
