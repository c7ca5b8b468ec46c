//! Each file of a batch brought back, or decoded and compared with what is known of it.

use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::Arc;

use age_core::format::FileKey;
use anyhow::Context;

use super::hand::Hand;
use super::journal::{Fate, Known, Record, Settings};
use super::plan::Item;
use super::work::{Made, Target, Verdict, Work, judge_by_input};
use crate::cli::problem::Problem;
use crate::cli::session::name_the_output;
use crate::format::age::header::Header;
use crate::format::age::keys::{self, Identity};
use crate::format::detect::DETECT_LEN;
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::cores::Cores;
use crate::pipeline::crew::Width;
use crate::pipeline::memory::{restore_bytes, solo_restore_bytes};
use crate::pipeline::peel::age_failure;
use crate::pipeline::plan::{ContentRange, Engine, Plan, Work as PlanWork};
use crate::pipeline::write::Summary;
use crate::store::digest::{Digest, DigestReader, DigestWriter};
use crate::store::input::Input;
use crate::store::output::Output;
use crate::store::prompt::Prompter;
use crate::store::rate_limit::{Pace, paced};
use crate::task::layers::{Layers, layer_of, restore_work, table_warning};

/// Compressed bytes of a file for which another worker is started: a frame of the default length that shrank to a quarter. What shrank more
/// could keep more workers busy, but those are busy with other files.
const BYTES_A_WORKER: u64 = 1024 * 1024;

/// Who opens the files of a batch.
pub struct Opener {
    /// Tried in order.
    pub identities: Arc<Vec<Identity>>,
    /// The largest scrypt work factor accepted.
    pub work_factor_max: u8,
    /// Answers what an identity's plugin asks.
    pub prompter: Prompter,
    /// A passphrase takes a quarter of a gibibyte, so they are tried one at a time.
    pub scrypt: Cores,
}

impl Opener {
    /// The file key of `header`, by a hand that waits for a core.
    pub fn unwrap(&self, hand: &mut Hand, header: &Header) -> anyhow::Result<FileKey> {
        match keys::is_for_passphrase(header) {
            true => self.unwrap_here(header),
            false => hand.compute("unwrap", || self.unwrap_here(header)),
        }
    }

    /// The file key of `header`, on the core that the caller has.
    pub fn unwrap_here(&self, header: &Header) -> anyhow::Result<FileKey> {
        let unwrap = || {
            let unwrapped = keys::unwrap(header, &self.identities, &self.prompter, self.work_factor_max);
            unwrapped.map_err(|error| age_failure(error).into())
        };
        match keys::is_for_passphrase(header) {
            true => self.scrypt.seat().with(|_| unwrap()),
            false => unwrap(),
        }
    }
}

/// The same for all files that are decoded.
pub struct Decoder {
    /// Workers and depth of a large file's pipeline.
    pub width: Width,
    /// The largest window accepted, as its logarithm to base 2.
    pub window_log_max: u32,
    /// What is inside an age layer is decoded too.
    pub decompress: bool,
    /// Takes the outer layer off.
    pub opener: Opener,
    /// How fast is read at most.
    pub pace: Option<Pace>,
}

/// What decoding a file brought to light.
struct Decoded {
    summary: Summary,
    /// What was read.
    read: Digest,
    /// What was decoded.
    content: Digest,
    /// There is no age layer that would show a cut.
    is_bare: bool,
}

impl Decoder {
    fn weight(&self, item: &Item, is_solo: bool) -> u64 {
        let needed_bytes = match is_solo {
            true => solo_restore_bytes(),
            false => restore_bytes(self.width_for(item.identity.bytes)),
        };
        needed_bytes as u64
    }

    /// The width of the pipeline for a file of `bytes`.
    fn width_for(&self, bytes: u64) -> Width {
        let count = usize::try_from(bytes.div_ceil(BYTES_A_WORKER)).unwrap_or(usize::MAX);
        let workers = NonZeroUsize::new(count).map_or(NonZeroUsize::MIN, |count| count.min(self.width.workers));
        Width { workers, ..self.width }
    }

    /// Decodes `input` to `output`, or to nowhere.
    fn decode(&self, hand: &mut Hand, input: &Input, output: Option<&Output>) -> anyhow::Result<Decoded> {
        let wake = &hand.shared().wake.clone();
        let reader = paced(input.reader(wake)?, self.pace.as_ref());
        let (mut reader, read) = DigestReader::new(reader);
        let mut head = Vec::with_capacity(DETECT_LEN);
        reader.by_ref().take(DETECT_LEN as u64).read_to_end(&mut head).context("cannot read")?;
        let layer = layer_of(&head, !self.opener.identities.is_empty());
        let layers = Layers::of(layer, head, Box::new(reader), |header| self.opener.unwrap(hand, header))?;
        let is_bare = layers.open.is_none();
        if !self.decompress && is_bare {
            return Err(Problem::usage("--no-decompress takes off an age layer, and it has none").into());
        }
        let work = restore_work(&layers, ContentRange::All, self.window_log_max, self.decompress);
        let width = self.width_for(input.metadata.len());
        let plan = Plan { width, engine: Engine::Channels, work: PlanWork::Restore(work) };
        let writer = match output {
            Some(output) => output.writer(wake)?,
            None => Box::new(io::sink()),
        };
        let (writer, content) = DigestWriter::new(writer);
        let summary = hand.run(&plan, layers.reader, input.metadata.len(), Box::new(writer))?;
        let (read, content) = (read.digest()?, content.digest()?);
        Ok(Decoded { summary, read, content, is_bare })
    }
}

/// What decides about the bytes of a file that is brought back.
pub fn restored(decompress: bool) -> Settings {
    Settings { form: u64::from(decompress), recipients: 0 }
}

/// Brings files back.
pub struct RestoreFiles {
    /// How they are decoded.
    pub decoder: Decoder,
    /// A bare file without a valid seek table is refused.
    pub require_table: bool,
}

impl Work for RestoreFiles {
    fn weight(&self, item: &Item, is_solo: bool) -> u64 {
        self.decoder.weight(item, is_solo)
    }

    fn settings(&self) -> Settings {
        restored(self.decoder.decompress)
    }

    /// What an earlier run let pass is refused, if that is asked for.
    fn judge(&self, item: &Item, record: &Record, checksum: bool) -> Verdict {
        match self.require_table && record.fate == Fate::Needed {
            true => Verdict::Stale,
            false => judge_by_input(self.settings(), item, record, checksum),
        }
    }

    fn work(&self, hand: &mut Hand, item: &Item, target: Option<Target>) -> anyhow::Result<Made> {
        let target = target.expect("internal error: a file is restored to nowhere");
        let input = hand.open(item)?;
        let what = || format!("restore {}", input.name);
        let output = target.create()?;
        let decoded = self.decoder.decode(hand, &input, Some(&output));
        let decoded = decoded.map_err(|error| name_the_output(error, &output)).with_context(what)?;
        let warning = match (decoded.is_bare, &decoded.summary.table) {
            (true, Some(TableStatus::Unusable(error))) if self.require_table => {
                let problem = Problem::damaged(format!("restore {}: {error}", input.name));
                return Err(problem.hint("without --require-table it is restored").into());
            }
            (true, Some(TableStatus::Unusable(error))) => Some(table_warning(&input.name, error)),
            _ => None,
        };
        let may_delete = warning.is_none() && !input.has_changed();
        let Decoded { summary, read, content, .. } = decoded;
        let mut made = Made::new(input, Some(output), self.settings(), [read, content]);
        made.notes.extend(warning);
        Ok(Made { content_bytes: content.bytes, frame_count: summary.frame_count, may_delete, ..made })
    }
}

/// Decodes files, writes nothing, and holds them against the journal.
pub struct VerifyFiles {
    /// How they are decoded.
    pub decoder: Decoder,
    /// A bare file without a valid seek table is accepted.
    pub foreign: bool,
    /// What the journal knows.
    pub known: Arc<Known>,
}

impl VerifyFiles {
    /// The file has to be one that the journal tells of, where it tells of any: of several the newest may never have got its name.
    fn hold_against_journal(&self, item: &Item, read: Digest, content: Digest) -> Result<(), Problem> {
        let records = self.known.records(&item.place);
        let is_this = |record: &&Record| (record.output_hash, record.output.bytes) == (read.hash, read.bytes);
        let Some(record) = records.iter().rev().find(is_this) else {
            return match records.is_empty() {
                true => Ok(()),
                false => Err(Problem::damaged("it is not what the journal says was written")),
            };
        };
        let made_of = record.input.filter(|_| record.settings.is_of_content());
        match made_of {
            Some(made_of) if (made_of.hash, made_of.identity.bytes) != (content.hash, content.bytes) => {
                Err(Problem::damaged("its content is not what was read"))
            }
            _ => Ok(()),
        }
    }
}

impl Work for VerifyFiles {
    fn weight(&self, item: &Item, is_solo: bool) -> u64 {
        self.decoder.weight(item, is_solo)
    }

    fn settings(&self) -> Settings {
        Settings::default()
    }

    fn work(&self, hand: &mut Hand, item: &Item, _: Option<Target>) -> anyhow::Result<Made> {
        let input = hand.open(item)?;
        let what = || format!("verify {}", input.name);
        let Decoded { summary, read, content, is_bare } = self.decoder.decode(hand, &input, None).with_context(what)?;
        if let (true, false, Some(TableStatus::Unusable(error))) = (is_bare, self.foreign, &summary.table) {
            let message = format!("verify {}: {error}, so frames that are missing would not be noticed", input.name);
            return Err(Problem::damaged(message).hint("--foreign accepts a file without a valid seek table").into());
        }
        self.hold_against_journal(item, read, content).with_context(what)?;
        let made = Made::new(input, None, self.settings(), [read, content]);
        Ok(Made { content_bytes: content.bytes, frame_count: summary.frame_count, ..made })
    }
}
