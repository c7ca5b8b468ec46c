//! What is done with each file of a batch, and what comes of it.

use std::ffi::OsString;
use std::fs::Metadata;
use std::sync::Arc;

use super::hand::Hand;
use super::journal::{InputRecord, Record, Settings};
use super::plan::Item;
use crate::store::digest::Digest;
use crate::store::file_id::Identity;
use crate::store::input::Input;
use crate::store::output::{Manner, Output, Temporary};
use crate::store::sys::Directory;

/// A kind of work, the same for all files of a batch.
pub trait Work: Send + Sync + 'static {
    /// What a file takes in memory while it is worked on, in bytes; `is_solo` tells that one thread does it alone.
    fn weight(&self, item: &Item, is_solo: bool) -> u64;

    /// What decides about the bytes of an output, beside its input.
    fn settings(&self) -> Settings;

    /// What `record`, of the output that is there, tells of what is to be done. With `checksum` an input counts as what is in it.
    fn judge(&self, item: &Item, record: &Record, checksum: bool) -> Verdict {
        judge_by_input(self.settings(), item, record, checksum)
    }

    /// Does it. Where there is a target, that is written, but not made durable, and has no name yet.
    fn work(&self, hand: &mut Hand, item: &Item, target: Option<Target>) -> anyhow::Result<Made>;
}

/// An output that is there does if it was made with these `settings`, and of the input as it is.
pub fn judge_by_input(settings: Settings, item: &Item, record: &Record, checksum: bool) -> Verdict {
    match record.input.filter(|_| record.settings == settings) {
        None => Verdict::Stale,
        Some(made_of) if checksum => Verdict::DoneIf(Digest { bytes: made_of.identity.bytes, hash: made_of.hash }),
        Some(made_of) if made_of.identity == item.identity => Verdict::Done,
        Some(_) => Verdict::Stale,
    }
}

/// Whether an output that is there is the one that would be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Done,
    /// It is if the input comes to this.
    DoneIf(Digest),
    /// It is of another input, or was made in another way.
    Stale,
    /// It is of another input, and may be better than what would be made now.
    Kept,
}

/// Where an output goes.
#[derive(Clone)]
pub struct Target {
    /// The directory that it is in.
    pub directory: Arc<Directory>,
    /// Its name there.
    pub name: OsString,
    /// As it is shown.
    pub shown: String,
    /// Permission bits of the file that it replaces.
    pub old_mode: Option<u32>,
    /// How it is treated.
    pub manner: Manner,
}

impl Target {
    /// A temporary that will get the name.
    pub fn create(self) -> anyhow::Result<Output> {
        let Target { directory, name, shown, old_mode, manner } = self;
        Ok(Output::Temporary(Temporary::create_in(shown, directory, &name, old_mode, manner)?))
    }
}

/// What came of a file.
pub struct Made {
    /// The output, whole but for its name; nothing where nothing is written.
    pub output: Option<Output>,
    /// What the input was when it was opened.
    pub source: Metadata,
    /// What the output is made of, for the journal.
    pub input_record: Option<InputRecord>,
    /// How it was made.
    pub settings: Settings,
    /// XXH64 of what was written.
    pub output_hash: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Bytes of content, whichever way they went.
    pub content_bytes: u64,
    /// Frames, whichever way they went.
    pub frame_count: u64,
    /// What speaks against the output although it is there: the input changed while it was read, parts of it are lost.
    pub warnings: Vec<String>,
    /// What has to be said, and is no more than that.
    pub notes: Vec<String>,
    /// The file that has the output's name has to be this one still.
    pub replaces: Option<Identity>,
    /// IN may be deleted, if that is asked for.
    pub may_delete: bool,
}

impl Made {
    /// Of what `read` and `written` were summed up, by an input that is done with.
    pub fn new(input: Input, output: Option<Output>, settings: Settings, [read, written]: [Digest; 2]) -> Made {
        let changed = input.has_changed().then(|| format!("{} changed while it was read", input.name));
        let input_record = Some(InputRecord { identity: Identity::of(&input.metadata), hash: read.hash });
        Made {
            output,
            source: input.metadata,
            input_record,
            output_hash: written.hash,
            written_bytes: written.bytes,
            content_bytes: 0,
            frame_count: 0,
            replaces: None,
            may_delete: changed.is_none(),
            warnings: Vec::from_iter(changed),
            settings,
            notes: Vec::new(),
        }
    }
}
