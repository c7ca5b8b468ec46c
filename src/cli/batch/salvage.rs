//! What can be saved of each file of a batch.

use std::io::{Read, Seek, SeekFrom, Write};

use anyhow::Context;

use super::hand::Hand;
use super::journal::{Record, Settings};
use super::plan::Item;
use super::restore::Decoder;
use super::work::{Made, Target, Verdict, Work, open};
use crate::cli::digest::{Digest, DigestWriter};
use crate::cli::problem::{self, Problem, quoted};
use crate::cli::save::{SaveManner, judge, line_of, save};
use crate::cli::session::name_the_output;
use crate::format::age::header::{NONCE_LEN, payload_key};
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::pipeline::error::Failure;
use crate::pipeline::memory::solo_restore_bytes;
use crate::pipeline::peel::{Unwrapped, unwrap};
use crate::pipeline::salvage::{Loss, Rescue};

/// Saves files.
pub struct SalvageFiles {
    /// Whose keys and limits count.
    pub decoder: Decoder,
}

impl Work for SalvageFiles {
    fn weight(&self, _: &Item) -> u64 {
        solo_restore_bytes() as u64
    }

    /// What is saved of a file is never taken for the whole of it by another run.
    fn settings(&self) -> Settings {
        Settings { form: u64::MAX, recipients: 0 }
    }

    /// What was restored whole stays.
    fn judge(&self, _: &Item, record: &Record, _: bool) -> Verdict {
        if record.settings == self.settings() { Verdict::Stale } else { Verdict::Done }
    }

    fn work(&self, hand: &mut Hand, item: &Item, target: Option<Target>) -> anyhow::Result<Made> {
        let target = target.expect("internal error: a file is saved to nowhere");
        let Decoder { opener, decompress, window_log_max, .. } = &self.decoder;
        let input = open(&item.source)?;
        let what = || format!("restore {}", input.name);
        let mut file = input.file.try_clone().with_context(what)?;
        let mut head = Vec::with_capacity(DETECT_LEN);
        (&file).take(DETECT_LEN as u64).read_to_end(&mut head).with_context(what)?;
        file.seek(SeekFrom::Start(0)).with_context(what)?;
        let key = match detect(&head) {
            Layer::AgeArmor => {
                let message = format!("{}: --salvage reads binary age files, this one is in armor", what());
                return Err(Problem::failed(message).into());
            }
            Layer::Age => {
                let header = Box::new(file.try_clone().with_context(what)?);
                let opened = unwrap(header, Layer::Age, |header| opener.unwrap_here(header));
                let Unwrapped { header, file_key, nonce, .. } = opened.with_context(what)?;
                Some((payload_key(&file_key, &nonce), (header.len + NONCE_LEN) as u64))
            }
            _ => None,
        };
        let output = target.create()?;
        let (mut writer, written) = DigestWriter::new(output.writer(&hand.shared().wake)?);
        let is_age_expected = !opener.identities.is_empty();
        let manner = SaveManner { decompress: *decompress, is_age_expected, window_log_max: *window_log_max };
        let cancel = hand.shared().cancel.clone();
        let saved = hand.compute("salvage", || {
            let mut on_loss = |loss: &Loss| {
                let line = line_of(loss);
                problem::tell(&line.replacen("pipeline: ", &format!("pipeline: {}: ", quoted(&item.source)), 1));
            };
            let is_cancelled = || cancel.is_set();
            let mut rescue = Rescue::new(&mut writer, &mut on_loss, &is_cancelled);
            let saved = save(file, key.as_ref().map(|(key, offset)| (key, *offset)), manner, &mut rescue);
            saved.and_then(|table| Ok((rescue.finish()?, table)))
        });
        let failure = |cause| name_the_output(Failure { stage: "salvage", seq: None, cause }, &output);
        let (salvaged, table) = saved.map_err(failure).with_context(what)?;
        writer.flush().with_context(what)?;
        let judged = judge(&salvaged, table.as_ref(), (&input.name, output.name()), true);
        let digests = [Digest::default(), written.digest().unwrap_or_default()];
        let content_bytes = salvaged.written_bytes;
        let mut made = Made::new(input, Some(output), self.settings(), digests);
        // Nothing is told of what it was made of, so that another run does it again.
        made.input_record = None;
        made.warnings.extend(judged.err().map(|error| format!("{error:#}")));
        Ok(Made { content_bytes, may_delete: false, ..made })
    }
}
