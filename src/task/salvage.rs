//! What can be saved of one damaged file, whichever layers it has, and what is said of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use age_core::format::FileKey;
use anyhow::Context;

use crate::cli::problem::{self, Exit, Problem, quoted};
use crate::format::age::AgeError;
use crate::format::age::header::{Header, NONCE_LEN, payload_key};
use crate::format::age::stream::PayloadKey;
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::format::zstd::seek_table::{TableError, TableStatus};
use crate::pipeline::error::Cause;
use crate::pipeline::peel::{Unwrapped, unwrap};
use crate::pipeline::salvage::frames::FrameSaver;
use crate::pipeline::salvage::segments::{SegmentReader, save_plain, tell_end};
use crate::pipeline::salvage::{Loss, Rescue, Salvaged};

/// How a file is saved.
#[derive(Clone, Copy, Debug)]
pub struct SaveManner {
    /// What is inside an age layer is decoded too.
    pub decompress: bool,
    /// A key is given, so that what looks like nothing is a damaged age file.
    pub is_age_expected: bool,
    /// The largest window accepted, as its logarithm to base 2.
    pub window_log_max: u32,
}

/// Whether what begins with `head` has an age layer. One in armor cannot be sought in.
pub fn has_age_layer(head: &[u8]) -> Result<bool, Problem> {
    match detect(head) {
        Layer::AgeArmor => Err(Problem::failed("--salvage reads binary age files, this one is in armor")),
        layer => Ok(layer == Layer::Age),
    }
}

/// The key of the payload of `file`, a binary age file whose file key `unwrap_key` gives, and where the payload begins. The header has to be
/// whole and authentic: without it nothing opens.
pub fn open_header(
    mut file: File,
    unwrap_key: impl FnOnce(&Header) -> anyhow::Result<FileKey>,
) -> anyhow::Result<(PayloadKey, u64)> {
    file.seek(SeekFrom::Start(0)).context("cannot read")?;
    let Unwrapped { header, file_key, nonce, .. } = unwrap(Box::new(file), Layer::Age, unwrap_key)?;
    Ok((payload_key(&file_key, &nonce), (header.len + NONCE_LEN) as u64))
}

/// Gives what is intact of `file` to `rescue`, and finishes it; `key` is that of its age layer, with the offset of its payload. Tells what
/// became of the seek tables, where the layer has them.
pub fn save(
    mut file: File,
    key: Option<&(PayloadKey, u64)>,
    manner: SaveManner,
    mut rescue: Rescue<'_>,
) -> Result<(Salvaged, Option<TableStatus>), Cause> {
    let table = match key {
        Some((key, payload_offset)) => save_payload(file, *payload_offset, key, manner, &mut rescue),
        None => save_stream(&mut file, manner, &mut rescue),
    };
    let table = table?;
    Ok((rescue.finish()?, table))
}

/// What the payload of an age file holds: frames if it begins with one, or ends with a table that adds up, which is authentic in here.
fn save_payload(
    file: File,
    payload_offset: u64,
    key: &PayloadKey,
    manner: SaveManner,
    rescue: &mut Rescue<'_>,
) -> Result<Option<TableStatus>, Cause> {
    let mut payload = SegmentReader::new(file, payload_offset, key).map_err(Cause::Read)?;
    let mut head = Vec::new();
    // A first segment that does not open tells nothing.
    let _ = payload.by_ref().take(DETECT_LEN as u64).read_to_end(&mut head);
    let mut saver = FrameSaver::new(&mut payload, manner.window_log_max)?;
    let is_compressed = match head.is_empty() {
        _ if !manner.decompress => false,
        false => detect(&head) == Layer::Zstd,
        true => {
            let is_compressed = saver.is_stream();
            problem::warn(match is_compressed {
                true => {
                    "the first segment is lost; frames are behind it, so they are decoded; --no-decompress leaves them"
                }
                false => {
                    "the first segment is lost: whether the payload is compressed cannot be told, it is given as it is"
                }
            });
            is_compressed
        }
    };
    if !is_compressed {
        return save_plain(&mut payload, rescue).map(|()| None);
    }
    // The payload's own end tells whether something is missing there.
    saver.save(rescue)?;
    tell_end(&payload, rescue);
    Ok(None)
}

/// A bare compressed file, whose first bytes may be damaged as well as any. Where a key was given and no frame is found, it is the header
/// of an age file that is damaged.
fn save_stream(file: &mut File, manner: SaveManner, rescue: &mut Rescue<'_>) -> Result<Option<TableStatus>, Cause> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.take(DETECT_LEN as u64).read_to_end(&mut head))
        .map_err(Cause::Read)?;
    let mut saver = FrameSaver::new(file, manner.window_log_max)?;
    if detect(&head) != Layer::Zstd && !saver.is_stream() {
        return Err(match manner.is_age_expected {
            true => Cause::Age(AgeError::Header("the version line is not that of age v1")),
            false => Cause::Read(io::Error::other("it is neither a zstd nor an age file, and no frames are in it")),
        });
    }
    saver.save(rescue).map(Some)
}

/// A loss in one line; with the name of `file` where there are many.
pub fn line_of(loss: &Loss, file: Option<&Path>) -> String {
    let file = file.map_or_else(String::new, |file| format!("{}: ", quoted(file)));
    match loss {
        Loss::Filled { content: Range { start, end }, is_len_sure } => {
            let as_declared = if *is_len_sure { "" } else { ", as many as the damaged frame's header says" };
            format!(
                "pipeline: {file}lost: bytes {start}..{end} of the content, zeros are in their place{as_declared}\n"
            )
        }
        Loss::Unlisted(Range { start, end }) => format!(
            "pipeline: {file}wrong: bytes {start}..{end} of the content are a whole frame, but not the one that the seek table lists\n"
        ),
        Loss::LeftOut { at, source } if source.is_empty() => {
            format!("pipeline: {file}lost: the end, which is missing; what is there ends at byte {at}\n")
        }
        Loss::LeftOut { at, source: Range { start, end } } => format!(
            "pipeline: {file}lost: what bytes {start}..{end} of the compressed data held, left out at byte {at}, how much that was is unknown\n"
        ),
    }
}

/// What there is to say of `saved` and of the seek tables that were met, where the layer has them; (input, output) are shown names.
pub fn judge(
    saved: &Salvaged,
    table: Option<&TableStatus>,
    (input, output): (&str, &str),
    quiet: bool,
) -> anyhow::Result<Exit> {
    let Salvaged { written_bytes, filled_bytes, left_out_count, unlisted_count, unchecked_count } = saved;
    let is_contradicted = match table {
        Some(TableStatus::Unusable(TableError::Missing)) if !quiet => {
            problem::warn(&format!("{input}: no seek table: whether frames are missing at the end cannot be told"));
            false
        }
        None | Some(TableStatus::Valid | TableStatus::Unusable(TableError::Missing)) => false,
        Some(TableStatus::Unusable(_)) => true,
    };
    if *unchecked_count > 0 && !quiet {
        problem::warn(&format!(
            "{input}: {unchecked_count} frames have no checksum: whether they are right cannot be told"
        ));
    }
    if saved.is_whole() && !is_contradicted {
        if !quiet {
            problem::tell(&format!("salvaged: no damage seen in {input}, {written_bytes} bytes are in {output}\n"));
        }
        return Ok(Exit::Done);
    }
    let mut found = vec![format!("{output} has {written_bytes} bytes")];
    let mut note = |count: u64, one: &str, many: &str| {
        found.extend((count > 0).then(|| format!("{count} {}", if count == 1 { one } else { many })));
    };
    note(*filled_bytes, "of them zero for what is lost", "of them zeros for what is lost");
    let left_out = "where something of unknown length is left out";
    note(*left_out_count, &format!("place {left_out}"), &format!("places {left_out}"));
    let unlisted = "that the seek table does not list";
    note(*unlisted_count, &format!("frame {unlisted}"), &format!("frames {unlisted}"));
    if is_contradicted {
        found.push("the seek table lists other frames than are there, some may be missing".to_owned());
    }
    let hint = "a frame is saved whole or not at all; 'restore IN -' gives what is in front of the first damage";
    Err(Problem::damaged(format!("restore {input}: damaged: {}", found.join(", "))).hint(hint).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_in_one_line() {
        let filled = Loss::Filled { content: 3..9, is_len_sure: false };
        let left_out = |source| Loss::LeftOut { at: 1, source };
        for loss in [filled, left_out(2..5), left_out(9..9), Loss::Unlisted(1..2)] {
            let line = line_of(&loss, None);
            assert!(line.starts_with("pipeline: ") && line.lines().count() == 1, "{line}");
        }
    }
}
