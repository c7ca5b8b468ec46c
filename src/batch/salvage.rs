//! What can be saved of each file of a batch.

use std::io::Read;

use anyhow::Context;

use super::hand::Hand;
use super::journal::{Record, Settings};
use super::plan::Item;
use super::restore::{Decoder, restored};
use super::work::{Made, Target, Verdict, Work, judge_by_input};
use crate::cli::problem;
use crate::cli::session::name_the_output;
use crate::format::detect::DETECT_LEN;
use crate::pipeline::error::Failure;
use crate::pipeline::memory::solo_restore_bytes;
use crate::pipeline::salvage::{Loss, Rescue};
use crate::store::digest::{Digest, DigestWriter};
use crate::task::salvage::{SaveManner, has_age_layer, judge, line_of, open_header, save};

/// Saves files.
pub struct SalvageFiles {
    /// Whose keys and limits count.
    pub decoder: Decoder,
}

impl Work for SalvageFiles {
    fn weight(&self, _: &Item, _: bool) -> u64 {
        solo_restore_bytes() as u64
    }

    /// What is saved of a file is never taken for the whole of it by another run.
    fn settings(&self) -> Settings {
        Settings { form: u64::MAX, recipients: 0 }
    }

    /// What was restored whole, of the input as it is, stays.
    fn judge(&self, item: &Item, record: &Record, checksum: bool) -> Verdict {
        let whole = restored(self.decoder.decompress);
        match judge_by_input(whole, item, record, checksum) {
            Verdict::Stale if record.settings == whole => Verdict::Kept,
            verdict => verdict,
        }
    }

    fn work(&self, hand: &mut Hand, item: &Item, target: Option<Target>) -> anyhow::Result<Made> {
        let target = target.expect("internal error: a file is saved to nowhere");
        let Decoder { opener, decompress, window_log_max, .. } = &self.decoder;
        let input = hand.open(item)?;
        let what = || format!("restore {}", input.name);
        let file = input.file.try_clone().with_context(what)?;
        let mut head = Vec::with_capacity(DETECT_LEN);
        (&file).take(DETECT_LEN as u64).read_to_end(&mut head).with_context(what)?;
        let key = match has_age_layer(&head).with_context(what)? {
            true => {
                let header = file.try_clone().with_context(what)?;
                Some(open_header(header, |header| opener.unwrap(hand, header)).with_context(what)?)
            }
            false => None,
        };
        let output = target.create()?;
        let (mut writer, written) = DigestWriter::new(output.writer(&hand.shared().wake)?);
        let is_age_expected = !opener.identities.is_empty();
        let manner = SaveManner { decompress: *decompress, is_age_expected, window_log_max: *window_log_max };
        let cancel = hand.shared().cancel.clone();
        let saved = hand.compute("salvage", || {
            let mut on_loss = |loss: &Loss| problem::tell(&line_of(loss, Some(&item.source)));
            let is_cancelled = || cancel.is_set();
            save(file, key.as_ref(), manner, Rescue::new(&mut writer, &mut on_loss, &is_cancelled))
        });
        let failure = |cause| name_the_output(Failure { stage: "salvage", seq: None, cause }, &output);
        let (salvaged, table) = saved.map_err(failure).with_context(what)?;
        let judged = judge(&salvaged, table.as_ref(), (&input.name, output.name()), true);
        let digests = [Digest::default(), written.digest()?];
        let content_bytes = salvaged.written_bytes;
        let mut made = Made::new(input, Some(output), self.settings(), digests);
        // Nothing is told of what it was made of, so that another run does it again.
        made.input_record = None;
        made.warnings.extend(judged.err().map(|error| format!("{error:#}")));
        Ok(Made { content_bytes, may_delete: false, ..made })
    }
}
