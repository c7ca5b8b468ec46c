//! The end of a task for one file: its output becomes durable under its name, and its input is deleted if that was asked for.

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

/// Makes `output` durable and gives it its name, with the mode and times of `source` if it comes of a file.
pub fn publish(executor: &mut impl Executor, output: Output, source: Option<&Input>) -> Result<(), TaskError> {
    let (source, output) = (source.map(|input| input.metadata.clone()), Arc::new(output));
    // The thread may be left behind in a system call, with its share of the output.
    let _abandon = AbandonOnDrop(Arc::clone(&output));
    Ok(executor.wait("commit", move |cancel| output.commit(source.as_ref(), || cancel.is_set()))??)
}

/// Sees to it that an output which did not get its name goes, whichever way its publication is left, by a panic too.
struct AbandonOnDrop(Arc<Output>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Deletes the file `inside` the directory `top` if it is still the one that `was` describes. Fails with the kind `Other` where another
/// file has its name.
pub fn delete_input(top: &Path, inside: &Path, is_same: impl Fn(&Metadata) -> bool) -> io::Result<()> {
    match Directory::open_to_pass(top)?.unlink_below(inside, is_same)? {
        true => Ok(()),
        false => Err(io::Error::other("it is another file by now")),
    }
}

/// Whether what has the name `path` is still the file that `input` was when it was opened.
pub fn is_still_there(path: &Path, input: &Input) -> bool {
    std::fs::metadata(path).is_ok_and(|now| FileId::of(&now) == FileId::of(&input.metadata))
}
