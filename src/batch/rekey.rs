//! Each age file of a batch with new recipients over the same payload.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use anyhow::Context;

use super::hand::Hand;
use super::journal::{Known, Record, Settings};
use super::plan::Item;
use super::restore::Opener;
use super::work::{Made, Target, Verdict, Work, judge_by_input};
use crate::cli::problem::{Problem, quoted};
use crate::cli::session::name_the_output;
use crate::format::age::keys::Recipient;
use crate::format::age::stream::SEALED_LEN;
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::store::digest::{DigestReader, DigestWriter};
use crate::store::file_id::Identity;
use crate::store::rate_limit::{Pace, paced};
use crate::task::rekey::rewrap;
use crate::task::wrap::armored;

/// Buffers of a segment each, and the header.
const WEIGHT: u64 = 8 * SEALED_LEN as u64;

/// The same for all files: who opens them now, and who will.
pub struct RekeyFiles {
    /// Gets at the file keys.
    pub opener: Opener,
    /// Who opens them afterwards.
    pub recipients: Vec<Recipient>,
    /// A digest of those.
    pub recipients_digest: u64,
    /// Outputs are text, also of inputs that are not.
    pub is_armored: bool,
    /// What the journal of a tree that is changed in place knows: what its files were made of stays true.
    pub known: Option<Arc<Known>>,
    /// How fast is read at most.
    pub pace: Option<Pace>,
}

impl Work for RekeyFiles {
    fn weight(&self, _: &Item, _: bool) -> u64 {
        WEIGHT
    }

    fn settings(&self) -> Settings {
        Settings::rekeyed(self.is_armored, self.recipients_digest)
    }

    /// A file that is changed in place is its own input, so that who opens it is all there is to know.
    fn judge(&self, item: &Item, record: &Record, checksum: bool) -> Verdict {
        match self.known {
            None => judge_by_input(self.settings(), item, record, checksum),
            Some(_) if record.settings.recipients == self.recipients_digest => Verdict::Done,
            Some(_) => Verdict::Stale,
        }
    }

    fn work(&self, hand: &mut Hand, item: &Item, target: Option<Target>) -> anyhow::Result<Made> {
        let target = target.expect("internal error: a file is rekeyed to nowhere");
        let input = hand.open(item)?;
        let what = || format!("rekey {}", input.name);
        let wake = &hand.shared().wake.clone();
        let (mut reader, read) = DigestReader::new(paced(input.reader(wake)?, self.pace.as_ref()));
        let mut head = Vec::with_capacity(DETECT_LEN);
        reader.by_ref().take(DETECT_LEN as u64).read_to_end(&mut head).context("cannot read").with_context(what)?;
        let layer = detect(&head);
        if !matches!(layer, Layer::Age | Layer::AgeArmor) {
            return Err(Problem::failed(format!("{}: it is not an age file", what())).into());
        }
        let output = target.create()?;
        let is_text = self.is_armored || layer == Layer::AgeArmor;
        let (writer, written) = DigestWriter::new(output.writer(wake)?);
        let mut writer = armored(writer, is_text);
        let reader = Box::new(std::io::Cursor::new(head).chain(reader));
        let rewrapped = hand.compute("rekey", || {
            let unwrap = |header: &_| self.opener.unwrap_here(header);
            rewrap(reader, layer, unwrap, &self.recipients, &self.opener.prompter, &mut writer)
        });
        rewrapped.map_err(|error| name_the_output(error, &output)).with_context(what)?;
        let digests = [read.digest()?, written.digest()?];
        let content_bytes = digests[0].bytes;
        let made = Made::new(input, Some(output), self.settings(), digests);
        let mut made = Made { content_bytes, ..made };
        if let Some(known) = &self.known {
            // What was written to it meanwhile would be lost.
            let identity = Identity::of(&made.source);
            made.replaces = Some(identity);
            let names = made.source.nlink();
            if names > 1 {
                let path = quoted(&item.source);
                let note = format!("{path} is one of {names} names of the file; the others keep the old recipients");
                made.notes.push(note);
            }
            let before = known.record(&item.place, &identity);
            made.input_record = before.and_then(|record| record.input);
            made.settings.form = before.map_or(made.settings.form, |record| record.settings.form);
        }
        Ok(made)
    }
}
