//! Names of journals, and of what killed runs leave beside them.

use std::ffi::OsString;
use std::path::Path;

use crate::store::output::is_temporary_name;

/// The journal's name in the tree.
pub const NAME: &str = ".pipeline-journal";

/// Whether `place` in a tree is the journal or a leftover of a killed run.
pub fn is_own_name(place: &Path) -> bool {
    place == Path::new(NAME) || place.file_name().is_some_and(is_temporary_name)
}

/// The name in the state folder of the journal of inputs that belongs to the journal `id`.
pub(super) fn inputs_name(id: &str) -> OsString {
    format!("{id}.journal").into()
}
