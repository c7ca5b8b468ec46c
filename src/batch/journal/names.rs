//! Names of journals, and of what killed runs leave beside them.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::store::output::is_temporary_name;

/// The journal's name in the tree.
pub const NAME: &str = ".pipeline-journal";

/// Whether `place` in a tree is the journal or a leftover of a killed run.
pub fn is_own_name(place: &Path) -> bool {
    place == Path::new(NAME) || place.file_name().is_some_and(is_temporary_name)
}

/// The journal `name` as messages show it: only [`NAME`] is in the tree.
pub(super) fn shown(name: &OsStr) -> String {
    let is_in_tree = name == NAME;
    format!("{}{}", name.display(), if is_in_tree { "" } else { " in the state folder" })
}

/// The name in the state folder of the journal of inputs that belongs to the journal `id`.
pub(super) fn inputs_name(id: &str) -> OsString {
    format!("{id}.journal").into()
}
