//! Publishes the output of a single-file task, and deletes the input if requested.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::TaskError;
use super::executor::Executor;
use crate::store::attributes::Unkept;
use crate::store::output::{Origin, Output, aside_name};
use crate::store::sys::Directory;

/// Syncs and renames `output`, made of `origin`. Returns what of its source could not be kept.
pub fn publish(executor: &mut impl Executor, output: Output, origin: Origin) -> Result<Vec<Unkept>, TaskError> {
    let output = Arc::new(output);
    // The committing thread may stay blocked in a system call and keep its reference to the output.
    let _abandon = AbandonOnDrop(Arc::clone(&output));
    Ok(executor.wait("commit", move |cancel| output.commit(&origin, || cancel.is_set()))??)
}

/// Removes an output that was not renamed, even on a panic.
struct AbandonOnDrop(Arc<Output>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Deletes the file `inside` the directory `top` if `is_same` accepts its metadata, and no other that takes its place meanwhile. Otherwise fails
/// with the kind `Other`.
pub fn delete_input(top: &Path, inside: &Path, is_same: impl Fn(&Metadata) -> bool) -> io::Result<()> {
    let aside = aside_name(inside.file_name().unwrap_or_default())?;
    match Directory::open_to_pass(top)?.unlink_below(inside, &aside, is_same)? {
        true => Ok(()),
        false => Err(io::Error::other("it is another file by now")),
    }
}
