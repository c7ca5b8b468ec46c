//! Messages for values of lower floors: notices, losses, and the chain of an error.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use super::say::clipped;
use crate::format::zstd::seek_table::{TableError, TableStatus};
use crate::pipeline::salvage::{Loss, Salvaged};
use crate::store::name::quoted;
use crate::task::error::Notice;
use crate::task::error::SalvageOutcome;

/// An error and its sources, the outermost first.
pub fn errors<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// An error and its sources, on one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    clipped(&errors(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")).into_owned()
}

/// The text of a notice, on one line.
pub fn text(notice: &Notice) -> String {
    match notice {
        Notice::IdentityFileNotPrivate(path) => {
            format!("{} can be read by others: chmod 600 keeps it private", quoted(path))
        }
        Notice::NoTable { input, error } => {
            let consequence = match error {
                TableError::Missing => "whether frames are missing at the end cannot be told",
                _ => "frames may be missing, or not those that were written",
            };
            format!("{input}: {error}: {consequence}")
        }
        Notice::NoTableForRange { input, error } => {
            format!("{input}: {error}: decoding from the start to find the range")
        }
        Notice::Changed(input) => format!("{input} changed while it was read"),
        Notice::Unkept { output, unkept } => {
            let names: Vec<_> = unkept.iter().map(|unkept| unkept.name()).collect();
            format!("{output} did not get what its input has: {}", names.join(", "))
        }
        Notice::LeftSwap { swap, output } => format!(
            "a killed run left {swap} while it replaced {output}, and it may be newer than {output}: \
             compare the two, then rename or remove it"
        ),
        Notice::OtherNames { input, name_count } => {
            format!("{input} is one of {name_count} names of the file; the others keep the old recipients")
        }
        Notice::FirstSegmentLost { is_compressed: true } => {
            "the first segment is lost; frames are behind it, so they are decoded; --no-decompress leaves them"
                .to_owned()
        }
        Notice::FirstSegmentLost { is_compressed: false } => {
            "the first segment is lost: whether the payload is compressed cannot be told, it is given as it is"
                .to_owned()
        }
        Notice::Salvaged { input, output, outcome } => salvaged(input, output, outcome),
    }
}

/// A loss, in one line; with the name of `file` in a batch.
pub fn loss(loss: &Loss, file: Option<&Path>) -> String {
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
            format!("pipeline: {file}lost: the end is missing; the data ends at byte {at}\n")
        }
        Loss::LeftOut { at, source: Range { start, end } } => format!(
            "pipeline: {file}lost: what bytes {start}..{end} of the compressed data held, left out at byte {at}, how much that was is unknown\n"
        ),
    }
}

/// What a salvage cannot verify without tables and checksums, one line each.
pub fn doubts(input: &str, outcome: &SalvageOutcome) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Some(TableStatus::Unusable(TableError::Missing)) = outcome.table {
        doubts.push(format!("{input}: no seek table: whether frames are missing at the end cannot be told"));
    }
    let unchecked_count = outcome.salvaged.unchecked_count;
    if unchecked_count > 0 {
        doubts
            .push(format!("{input}: {unchecked_count} frames have no checksum: whether they are right cannot be told"));
    }
    doubts
}

/// The result of a salvage.
fn salvaged(input: &str, output: &str, outcome: &SalvageOutcome) -> String {
    let Salvaged { written_bytes, filled_bytes, left_out_count, unlisted_count, .. } = outcome.salvaged;
    let mut found = vec![format!("{output} has {written_bytes} bytes")];
    let mut note = |count: u64, one: &str, many: &str| {
        found.extend((count > 0).then(|| format!("{count} {}", if count == 1 { one } else { many })));
    };
    note(filled_bytes, "of them zero for what is lost", "of them zeros for what is lost");
    let left_out = "where something of unknown length is left out";
    note(left_out_count, &format!("place {left_out}"), &format!("places {left_out}"));
    let unlisted = "that the seek table does not list";
    note(unlisted_count, &format!("frame {unlisted}"), &format!("frames {unlisted}"));
    if outcome.is_contradicted() {
        found.push("the seek table lists other frames than are there, some may be missing".to_owned());
    }
    format!("restore {input}: damaged: {}", found.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_in_one_line() {
        let filled = Loss::Filled { content: 3..9, is_len_sure: false };
        let left_out = |source| Loss::LeftOut { at: 1, source };
        for lost in [filled, left_out(2..5), left_out(9..9), Loss::Unlisted(1..2)] {
            let line = loss(&lost, None);
            assert!(line.starts_with("pipeline: ") && line.lines().count() == 1, "{line}");
        }
    }
}
