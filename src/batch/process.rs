//! Each file of a batch into a zstd file, an age file, or the one inside the other.

use std::io::Read;
use std::sync::Arc;

use anyhow::Context;

use super::hand::Hand;
use super::journal::{Record, Settings};
use super::plan::Item;
use super::work::{Made, Target, Verdict, Work, judge_by_input};
use crate::cli::session::name_the_output;
use crate::format::age::keys::Recipient;
use crate::pipeline::crew::Width;
use crate::pipeline::memory::{process_bytes, solo_process_bytes};
use crate::pipeline::plan::{self, Compress, Plan, Process};
use crate::store::digest::{Digest, DigestReader, DigestWriter};
use crate::store::output::Output;
use crate::store::prompt::Prompter;
use crate::store::rate_limit::{Pace, paced};
use crate::task::verify_output::decode;
use crate::task::wrap::{armored, seal_for};

/// The same for all files: layers, and who opens the outer one. The key of each is its own.
pub struct ProcessFiles {
    /// Workers and depth of a large file's pipeline.
    pub width: Width,
    /// The inner layer.
    pub compress: Option<Compress>,
    /// Who opens the outer layer, where there is one.
    pub recipients: Option<Arc<Vec<Recipient>>>,
    /// Answers what a recipient's plugin asks.
    pub prompter: Prompter,
    /// The outer layer is text.
    pub is_armored: bool,
    /// What was written is read back.
    pub is_verified: bool,
    /// An output of an earlier run, which may not have read it back, does not do.
    pub is_verified_now: bool,
    /// How fast is read at most.
    pub pace: Option<Pace>,
    /// See [`Work::settings`].
    pub settings: Settings,
}

impl Work for ProcessFiles {
    fn weight(&self, item: &Item, is_solo: bool) -> u64 {
        let is_sealed = self.recipients.is_some();
        let plan = self.plan(None).narrowed_to(Some(item.identity.bytes));
        let compress = match plan.work {
            plan::Work::Process(Process { compress, .. }) => compress,
            plan::Work::Restore(_) => None,
        };
        let needed_bytes = match is_solo {
            true => solo_process_bytes(compress, is_sealed),
            false => process_bytes(plan.width, compress, is_sealed),
        };
        needed_bytes as u64
    }

    fn settings(&self) -> Settings {
        self.settings
    }

    fn judge(&self, item: &Item, record: &Record, checksum: bool) -> Verdict {
        match self.is_verified_now {
            true => Verdict::Stale,
            false => judge_by_input(self.settings, item, record, checksum),
        }
    }

    fn work(&self, hand: &mut Hand, item: &Item, target: Option<Target>) -> anyhow::Result<Made> {
        let target = target.expect("internal error: a file is processed to nowhere");
        let input = hand.open(item)?;
        let what = || format!("process {}", input.name);
        let output = target.create()?;
        let seal = self
            .recipients
            .as_ref()
            .map(|recipients| hand.compute("wrap", || seal_for(recipients, &self.prompter)).with_context(what));
        let plan = self.plan(seal.transpose()?);
        let wake = &hand.shared().wake.clone();
        let reader = paced(input.reader(wake)?, self.pace.as_ref());
        let (reader, read) = DigestReader::new(reader);
        let (writer, written) = DigestWriter::new(output.writer(wake)?);
        let summary = hand
            .run(&plan, Box::new(reader), input.metadata.len(), armored(writer, self.is_armored))
            .map_err(|failure| name_the_output(failure, &output))
            .with_context(what)?;
        let (read, written) = (read.digest()?, written.digest()?);
        if self.is_verified {
            let verified = read_back(hand, &output, &plan, self.is_armored, read);
            verified.with_context(|| format!("what was written to {} is not right", output.name()))?;
        }
        let made = Made::new(input, Some(output), self.settings, [read, written]);
        Ok(Made { content_bytes: summary.content_bytes, frame_count: summary.frame_count, ..made })
    }
}

impl ProcessFiles {
    fn plan(&self, seal: Option<plan::Seal>) -> Plan {
        let work = plan::Work::Process(Process { compress: self.compress, seal });
        Plan { width: self.width, engine: plan::Engine::Channels, work }
    }
}

/// What was written, from the disk again.
fn read_back(hand: &mut Hand, output: &Output, plan: &Plan, is_armored: bool, read: Digest) -> anyhow::Result<()> {
    let (file, file_bytes) = output.reopener()?()?;
    decode(file, plan, is_armored, read, |plan, reader: Box<dyn Read + Send>, writer| {
        hand.run_uncounted(plan, reader, file_bytes, writer)
    })
}
