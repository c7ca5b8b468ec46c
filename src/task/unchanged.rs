//! Notices an input that changes while it is read.
//!
//! A file system advances a file's change time with every write, whatever a program sets the other times to, and with every new mode, name or
//! attribute. If only that time differs, the input is read again. Not noticed: a write to a mapped page that the kernel has not stamped yet.

use super::error::TaskError;
use super::executor::Executor;
use crate::store::digest::Digest;
use crate::store::file_id::FileState;
use crate::store::input::{Change, Input};

/// The state in which `input` is what was read of it; `None` if it changed meanwhile. If only its change time differs, `is_same` reads it again and
/// compares.
pub fn state_as_read<E: Executor>(
    executor: &mut E,
    input: &Input,
    is_same: impl FnOnce(&mut E) -> Result<bool, TaskError>,
) -> Result<Option<FileState>, TaskError> {
    match input.change() {
        Change::None(state) => Ok(Some(state)),
        Change::TimeOnly(state) => Ok((is_same(executor)? && input.state() == Some(state)).then_some(state)),
        Change::Content => Ok(None),
    }
}

/// Like [`state_as_read`] where nothing was kept to compare with.
pub fn state_if_untouched(input: &Input) -> Option<FileState> {
    match input.change() {
        Change::None(state) => Some(state),
        Change::TimeOnly(_) | Change::Content => None,
    }
}

/// Whether `input`, read again, has the digest `read`.
pub fn has_digest(executor: &mut impl Executor, input: &Input, read: Digest) -> Result<bool, TaskError> {
    Ok(digest_again(executor, input)? == Some(read))
}

/// The digest of `input`, read again; `None` if it cannot be read.
pub fn digest_again(executor: &mut impl Executor, input: &Input) -> Result<Option<Digest>, TaskError> {
    let again = input.again();
    Ok(executor.wait("read again", move |cancel| Digest::of(again, || !cancel.is_set()).ok())?)
}
