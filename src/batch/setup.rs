//! Opens the output directory of a batch, its journal and the history of earlier runs.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use super::BatchOptions;
use super::error::BatchError;
use super::journal::{self, History, InputRecords, Journal, JournalError};
use super::output_tree::OutputTree;
use crate::store::name::quoted;
use crate::store::sys::Directory;

/// Where to keep a tree's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalKind {
    /// In the tree.
    Beside,
    /// In the tree, without records of inputs.
    Apart,
    /// In the user's state folder: a restored tree contains only files that were backed up.
    Elsewhere,
}

/// The opened parts of a batch.
pub struct Opened {
    /// The output directory.
    pub tree: OutputTree,
    /// The journal; `None` without a folder for it.
    pub journal: Option<Journal>,
    /// Records of earlier runs.
    pub history: Arc<History>,
    /// There is no state folder, so the next run will know little or nothing of this one.
    pub lacks_state_folder: bool,
}

/// Opens the output directory and its journal. `state_folder` is for records that the tree must not hold.
pub fn open_tree(
    output: &Path,
    kind: JournalKind,
    options: &BatchOptions,
    state_folder: Option<&Path>,
) -> Result<Opened, BatchError> {
    let mut tree = OutputTree::open(output, options.rm && options.output.sync)?;
    let folder = match kind {
        JournalKind::Beside => None,
        JournalKind::Apart | JournalKind::Elsewhere => state_folder.and_then(open_state_folder),
    };
    let lacks_state_folder = folder.is_none() && kind != JournalKind::Beside;
    let in_tree = |records| Journal::open(tree.root(), journal::NAME.as_ref(), records, tree.is_ours);
    let opened = match (kind, &folder) {
        (JournalKind::Beside, _) => in_tree(InputRecords::InTree),
        (JournalKind::Apart, Some(folder)) => in_tree(InputRecords::InStateFolder(folder)),
        (JournalKind::Apart, None) => in_tree(InputRecords::Nowhere),
        (JournalKind::Elsewhere, Some(folder)) => {
            let path = output.canonicalize().unwrap_or_else(|_| output.to_owned());
            let name = format!("restore-{:016x}.journal", twox_hash::XxHash64::oneshot(0, path.as_os_str().as_bytes()));
            Journal::open(folder, name.as_ref(), InputRecords::InTree, tree.is_ours)
        }
        (JournalKind::Elsewhere, None) => {
            tree.settle()?;
            return Ok(Opened { tree, journal: None, history: Arc::default(), lacks_state_folder });
        }
    };
    let (journal, history) = opened.map_err(|error| journal_error(output, error))?;
    tree.is_ours |= journal.is_of_made_tree();
    tree.settle()?;
    Ok(Opened { tree, journal: Some(journal), history: Arc::new(history), lacks_state_folder })
}

/// The history in `input`'s journal; empty without a journal.
pub fn history_of(input: &Path, state_folder: Option<&Path>) -> Result<Arc<History>, BatchError> {
    let tree = Directory::open(input).map_err(|error| journal_error(input, error.into()))?;
    let folder = state_folder.and_then(open_state_folder);
    Ok(Arc::new(History::read(&tree, folder.as_ref()).map_err(|error| journal_error(input, error))?))
}

fn journal_error(tree: &Path, error: JournalError) -> BatchError {
    let tree = quoted(tree);
    match error {
        JournalError::Io(error) => BatchError::JournalIo { tree, error },
        error => BatchError::Journal { tree, error },
    }
}

/// Opens the state folder; creates it with mode 0700 if absent.
fn open_state_folder(folder: &Path) -> Option<Directory> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).ok()?;
    Directory::open(folder).ok()
}
