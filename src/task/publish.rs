//! Publishes the output of a single-file task, and deletes the input if requested.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::TaskError;
use super::executor::Executor;
use crate::store::file_id::FileId;
use crate::store::input::Input;
use crate::store::output::Output;
use crate::store::sys::Directory;

/// Syncs and renames `output`, with the mode and times of `source` if that is a file.
pub fn publish(executor: &mut impl Executor, output: Output, source: Option<&Input>) -> Result<(), TaskError> {
    let (source, output) = (source.map(|input| input.metadata.clone()), Arc::new(output));
    // The committing thread may stay blocked in a system call and keep its reference to the output.
    let _abandon = AbandonOnDrop(Arc::clone(&output));
    Ok(executor.wait("commit", move |cancel| output.commit(source.as_ref(), || cancel.is_set()))??)
}

/// Removes an output that was not renamed, even on a panic.
struct AbandonOnDrop(Arc<Output>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Deletes the file `inside` the directory `top` if `is_same` accepts its metadata. Otherwise fails with the kind `Other`.
pub fn delete_input(top: &Path, inside: &Path, is_same: impl Fn(&Metadata) -> bool) -> io::Result<()> {
    match Directory::open_to_pass(top)?.unlink_below(inside, is_same)? {
        true => Ok(()),
        false => Err(io::Error::other("it is another file by now")),
    }
}

/// Whether the file at `path` is still the one that `input` opened.
pub fn is_still_there(path: &Path, input: &Input) -> bool {
    std::fs::metadata(path).is_ok_and(|now| FileId::of(&now) == FileId::of(&input.metadata))
}
