//! The operations of a batch on each file: the drivers of [`task`](crate::task) with journal records.

use std::io::Read;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::error::FileError;
use super::journal::{CompressSpec, History, InputFate, OutputSpec, Record};
use super::messages::{Target, Written};
use super::plan::Item;
use super::worker::Worker;
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::pipeline::age_header::read_header;
use crate::pipeline::memory::{inline_process_bytes, inline_restore_bytes, process_bytes, restore_bytes};
use crate::pipeline::plan::{Process, Work};
use crate::pipeline::salvage::Loss;
use crate::pipeline::threads::Concurrency;
use crate::store::digest::Digest;
use crate::store::file_id::FileId;
use crate::store::prompt::Prompter;
use crate::task::error::Notice;
use crate::task::keys::{Keyring, Recipients};
use crate::task::open::{Keys, ReadOptions, open};
use crate::task::process::{ProcessSpec, Source, process};
use crate::task::rekey::{REKEY_BYTES, RekeySpec, look, rekey};
use crate::task::restore::{RestoreSpec, TableRule, restore};
use crate::task::salvage::{self, SalvageSpec, salvage};
use crate::task::verify::{VerifySpec, verify};
use crate::task::{self, Verb, wrap};

/// Compressed bytes per worker of a large file: a default frame that shrank to a quarter.
/// Better compression could use more workers, but they are busy with other files.
const RESTORE_BYTES_A_WORKER: u64 = 1024 * 1024;

/// An operation, shared by all files of a batch.
pub trait Operation: Send + Sync + 'static {
    /// Memory that a file needs, in bytes; `is_inline`: one thread does it alone.
    fn weight(&self, item: &Item, is_inline: bool) -> u64;

    /// Whether the existing output with `record` is up to date. With `checksum`, an input is recognized by its content.
    fn judge(&self, item: &Item, record: &Record, checksum: bool) -> Verdict;

    /// Processes `item`. Writes the target, if any, without syncing or renaming it.
    fn carry_out(&self, worker: &mut Worker, item: &Item, target: Option<Target>) -> Result<Written, FileError>;
}

/// An existing output is up to date if it was made with `spec` from the current input.
fn judge_by_input(spec: &OutputSpec, item: &Item, record: &Record, checksum: bool) -> Verdict {
    match record.input.filter(|_| spec.matches(&record.spec)) {
        None => Verdict::Stale,
        Some(made_of) if checksum => Verdict::DoneIf(Digest { bytes: made_of.identity.bytes, hash: made_of.hash }),
        Some(made_of) if made_of.identity == item.identity => Verdict::Done,
        Some(_) => Verdict::Stale,
    }
}

/// Whether an existing output is up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is up to date.
    Done,
    /// It is up to date if the input has this digest.
    DoneIf(Digest),
    /// It is from another input or other settings.
    Stale,
    /// It is from another input and may be better than a new one.
    Kept,
}

fn create(target: Option<Target>) -> Result<crate::store::output::Output, FileError> {
    Ok(target.expect("internal error: an operation that writes has no target").create()?)
}

/// Compresses files, encrypts them, or both. Each file has its own key.
pub struct ProcessFiles {
    /// The settings.
    pub spec: ProcessSpec,
    /// The recipients, and the prompter for their plugins.
    pub recipients: Option<(Recipients, Prompter)>,
    /// Outputs of earlier runs, perhaps unverified, count as stale.
    pub is_verified_now: bool,
}

impl ProcessFiles {
    /// Describes the output of `item`.
    fn spec(&self, item: &Item) -> OutputSpec {
        let compress = self.spec.layered(item.is_layered).compress;
        OutputSpec::Processed {
            compress: compress
                .map(|compress| CompressSpec { chunk_bytes: compress.chunk_len as u64, level: compress.level.get() }),
            is_armored: self.spec.is_armored,
            recipients: self.recipients.as_ref().map(|(recipients, _)| recipients.digest),
        }
    }
}

impl Operation for ProcessFiles {
    fn weight(&self, item: &Item, is_inline: bool) -> u64 {
        let is_sealed = self.recipients.is_some();
        let plan = self.spec.layered(item.is_layered).plan(None, Some(item.identity.bytes));
        let compress = match plan.work {
            Work::Process(Process { compress, .. }) => compress,
            Work::Restore(_) => None,
        };
        let needed_bytes = match is_inline {
            true => inline_process_bytes(compress, is_sealed),
            false => process_bytes(plan.width, compress, is_sealed),
        };
        needed_bytes as u64
    }

    fn judge(&self, item: &Item, record: &Record, checksum: bool) -> Verdict {
        match self.is_verified_now {
            true => Verdict::Stale,
            false => judge_by_input(&self.spec(item), item, record, checksum),
        }
    }

    fn carry_out(&self, worker: &mut Worker, item: &Item, target: Option<Target>) -> Result<Written, FileError> {
        let input = worker.open(item)?;
        let output = create(target)?;
        let at = task::at(Verb::Process, &input, Some(&output));
        let seal = self.recipients.as_ref().map(|(recipients, prompter)| wrap::seal(worker, recipients, prompter));
        let seal = seal.transpose().map_err(&at)?;
        let wake = worker.shared().wake.clone();
        let source = Source { input: &input, reader: input.reader(&wake)?, bytes: Some(input.metadata.len()) };
        let produced = process(worker, &self.spec, seal, source, &output, &wake).map_err(&at)?;
        drop(at);
        // The name of the output says what layers it has.
        if produced.is_layered != item.is_layered {
            return Err(FileError::Changed);
        }
        Written::new(input, Some((output, self.spec(item))), produced, false)
    }
}

/// Workers and channel depth for a compressed file of `bytes`.
fn width_for(width: Concurrency, bytes: u64) -> Concurrency {
    let count = usize::try_from(bytes.div_ceil(RESTORE_BYTES_A_WORKER)).unwrap_or(usize::MAX);
    let workers = NonZeroUsize::new(count).map_or(NonZeroUsize::MIN, |count| count.min(width.workers));
    Concurrency { workers, ..width }
}

fn restore_weight(width: Concurrency, item: &Item, is_inline: bool) -> u64 {
    let needed_bytes = match is_inline {
        true => inline_restore_bytes(),
        false => restore_bytes(width_for(width, item.identity.bytes)),
    };
    needed_bytes as u64
}

/// Restores files.
pub struct RestoreFiles {
    /// The settings.
    pub spec: RestoreSpec,
    /// The keys of the inputs.
    pub keys: Keys,
    /// The read options.
    pub read: ReadOptions,
}

impl RestoreFiles {
    /// Describes its outputs.
    fn spec(&self) -> OutputSpec {
        OutputSpec::Restored { decompressed: self.spec.decompress }
    }
}

impl Operation for RestoreFiles {
    fn weight(&self, item: &Item, is_inline: bool) -> u64 {
        restore_weight(self.spec.width, item, is_inline)
    }

    /// If a table is required, an output whose input had none counts as stale.
    fn judge(&self, item: &Item, record: &Record, checksum: bool) -> Verdict {
        match self.spec.table == TableRule::Required && record.fate == InputFate::Needed {
            true => Verdict::Stale,
            false => judge_by_input(&self.spec(), item, record, checksum),
        }
    }

    fn carry_out(&self, worker: &mut Worker, item: &Item, target: Option<Target>) -> Result<Written, FileError> {
        let input = worker.open(item)?;
        let output = create(target)?;
        let at = task::at(Verb::Restore, &input, Some(&output));
        let opened = open(worker, &input, &self.keys, &self.read).map_err(&at)?;
        let spec = RestoreSpec { width: width_for(self.spec.width, input.metadata.len()), ..self.spec.clone() };
        let produced = restore(worker, &spec, &input, opened, &output, &self.read.wake).map_err(&at)?;
        drop(at);
        let content_bytes = produced.written.map_or(0, |written| written.bytes);
        Ok(Written { content_bytes, ..Written::new(input, Some((output, self.spec())), produced, false)? })
    }
}

/// Decodes files without writing and compares them with the journal.
pub struct VerifyFiles {
    /// The settings.
    pub spec: VerifySpec,
    /// The keys of the inputs.
    pub keys: Keys,
    /// The read options.
    pub read: ReadOptions,
    /// Records of earlier runs.
    pub history: Arc<History>,
}

impl VerifyFiles {
    /// Fails unless one of the file's records, if any, describes it. The newest record may be of an output that was never renamed.
    fn compare_with_journal(&self, item: &Item, name: &str, read: Digest, content: Digest) -> Result<(), FileError> {
        let records = self.history.records(&item.place);
        let is_this = |record: &&Record| (record.output_hash, record.output.bytes) == (read.hash, read.bytes);
        let what = || format!("verify {name}");
        let Some(record) = records.iter().rev().find(is_this) else {
            return if records.is_empty() { Ok(()) } else { Err(FileError::NotAsWritten(what())) };
        };
        match record.input.filter(|_| record.spec.is_of_content()) {
            Some(made_of) if (made_of.hash, made_of.identity.bytes) != (content.hash, content.bytes) => {
                Err(FileError::NotAsRead(what()))
            }
            _ => Ok(()),
        }
    }
}

impl Operation for VerifyFiles {
    fn weight(&self, item: &Item, is_inline: bool) -> u64 {
        restore_weight(self.spec.width, item, is_inline)
    }

    /// Nothing is written, so nothing is up to date.
    fn judge(&self, _: &Item, _: &Record, _: bool) -> Verdict {
        Verdict::Stale
    }

    fn carry_out(&self, worker: &mut Worker, item: &Item, _: Option<Target>) -> Result<Written, FileError> {
        let input = worker.open(item)?;
        let at = task::at(Verb::Verify, &input, None);
        let opened = open(worker, &input, &self.keys, &self.read).map_err(&at)?;
        let spec = VerifySpec { width: width_for(self.spec.width, input.metadata.len()), ..self.spec.clone() };
        let produced = verify(worker, &spec, &input, opened, None, &self.read.wake).map_err(&at)?;
        drop(at);
        let (read, content) = (produced.read.unwrap_or_default(), produced.written.unwrap_or_default());
        self.compare_with_journal(item, &input.name, read, content)?;
        Ok(Written { content_bytes: content.bytes, ..Written::new(input, None, produced, false)? })
    }
}

/// Changes the recipients of files.
pub struct RekeyFiles {
    /// The settings.
    pub spec: RekeySpec,
    /// The current keys of the files.
    pub keyring: Keyring,
    /// The read options.
    pub read: ReadOptions,
    /// The history of a tree that is rekeyed in place; its records of inputs stay valid.
    pub history: Option<Arc<History>>,
}

impl RekeyFiles {
    /// Describes its outputs.
    fn spec(&self) -> OutputSpec {
        OutputSpec::Rekeyed { is_armored: self.spec.is_armored, recipients: self.spec.recipients.digest }
    }
}

impl Operation for RekeyFiles {
    fn weight(&self, _: &Item, _: bool) -> u64 {
        REKEY_BYTES as u64
    }

    /// A file that is rekeyed in place is its own input, so only its recipients count.
    fn judge(&self, item: &Item, record: &Record, checksum: bool) -> Verdict {
        match self.history {
            None => judge_by_input(&self.spec(), item, record, checksum),
            Some(_) if record.spec.recipients() == self.spec.recipients.digest => Verdict::Done,
            Some(_) => Verdict::Stale,
        }
    }

    fn carry_out(&self, worker: &mut Worker, item: &Item, target: Option<Target>) -> Result<Written, FileError> {
        let input = worker.open(item)?;
        let at = |output| task::at(Verb::Rekey, &input, output);
        let sealed = look(worker, &input, false, &self.read).map_err(at(None))?;
        let output = create(target)?;
        let keyring = self.keyring.clone();
        let produced = rekey(worker, &self.spec, sealed, keyring, (&input, &output), &self.read);
        let produced = produced.map_err(at(Some(&output)))?;
        let content_bytes = produced.read.map_or(0, |read| read.bytes);
        let name = input.name.clone();
        let mut spec = self.spec();
        let before =
            self.history.as_ref().and_then(|history| history.record(&item.place, &FileId::of(&input.metadata)));
        if let Some(before) = before {
            spec = before.spec.clone().with_recipients(self.spec.recipients.digest);
        }
        let is_in_place = self.history.is_some();
        let written = Written::new(input, Some((output, spec)), produced, is_in_place)?;
        let mut written = Written { content_bytes, ..written };
        if is_in_place {
            let name_count = written.source.nlink();
            if name_count > 1 {
                written.notices.push(Notice::OtherNames { input: name, name_count });
            }
            written.input_record = before.and_then(|record| record.input);
        }
        Ok(written)
    }
}

/// Receives each loss of a file.
pub type TellLoss = fn(&Loss, &Path);

/// Salvages the intact parts of files.
pub struct SalvageFiles {
    /// The settings; `on_loss` is replaced for each file.
    pub spec: SalvageSpec,
    /// The keys of the inputs.
    pub keys: Keys,
    /// Receives each loss.
    pub on_loss: TellLoss,
}

impl Operation for SalvageFiles {
    fn weight(&self, _: &Item, _: bool) -> u64 {
        inline_restore_bytes() as u64
    }

    /// Keeps an output that was restored completely from the current input.
    fn judge(&self, item: &Item, record: &Record, checksum: bool) -> Verdict {
        let whole = OutputSpec::Restored { decompressed: self.spec.decompress };
        match judge_by_input(&whole, item, record, checksum) {
            Verdict::Stale if whole.matches(&record.spec) => Verdict::Kept,
            verdict => verdict,
        }
    }

    fn carry_out(&self, worker: &mut Worker, item: &Item, target: Option<Target>) -> Result<Written, FileError> {
        let input = worker.open(item)?;
        let at = |output| task::at(Verb::Restore, &input, output);
        let damaged = salvage::open(worker, &input, &self.keys).map_err(at(None))?;
        let output = create(target)?;
        let (on_loss, source) = (self.on_loss, item.source.clone());
        let spec = SalvageSpec { on_loss: Arc::new(move |loss| on_loss(loss, &source)), ..self.spec.clone() };
        let wake = worker.shared().wake.clone();
        let (produced, outcome) =
            salvage(worker, &spec, damaged, (&input, &output), &wake).map_err(at(Some(&output)))?;
        let names = (input.name.clone(), output.name().to_owned());
        // Other runs never take a salvaged output for a complete one.
        let mut written = Written::new(input, Some((output, OutputSpec::Salvaged)), produced, false)?;
        if !outcome.is_whole() {
            let (input, output) = names;
            written.warnings.push(Notice::Salvaged { input, output, outcome });
        }
        Ok(written)
    }
}

/// Whether a file is encrypted with a passphrase. `false` if it is unreadable.
pub fn wants_passphrase(mut file: std::fs::File) -> bool {
    let mut head = Vec::new();
    if file.by_ref().take(DETECT_LEN as u64).read_to_end(&mut head).is_err() {
        return false;
    }
    let layer = detect(&head);
    if !matches!(layer, Layer::Age | Layer::AgeArmor) {
        return false;
    }
    let input = Box::new(std::io::Cursor::new(head).chain(file));
    read_header(input, layer).is_ok_and(|(header, _)| crate::format::age::keys::is_for_passphrase(&header))
}
