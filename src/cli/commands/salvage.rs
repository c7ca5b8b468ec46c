//! `pipeline restore --salvage`: what is intact of a damaged file, and which parts are lost.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use anyhow::Context;

use crate::cli::args::RestoreArgs;
use crate::cli::input::Input;
use crate::cli::keys::Keyring;
use crate::cli::layers::has_key;
use crate::cli::output::{Manner, Output};
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve::{self, Names};
use crate::cli::session::{Session, name_the_output, refuse_terminal};
use crate::cli::settings::Settings;
use crate::cli::sys::{self, WakeUp};
use crate::format::age::AgeError;
use crate::format::age::header::{NONCE_LEN, payload_key};
use crate::format::age::stream::PayloadKey;
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::format::zstd::seek_table::{TableError, TableStatus};
use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::peel::{Unwrapped, unwrap};
use crate::pipeline::salvage::frames::FrameSaver;
use crate::pipeline::salvage::segments::{SegmentReader, save_plain, tell_end};
use crate::pipeline::salvage::{Loss, Rescue, Salvaged};

/// Runs the command on the names of `names`.
pub fn run(args: &RestoreArgs, names: &Names, settings: &Settings) -> anyhow::Result<Exit> {
    if args.files.out.is_none() && args.files.output.is_none() {
        return Err(Problem::usage("--salvage needs OUT to be given").into());
    }
    if args.files.rm || args.require_table {
        return Err(Problem::usage("--salvage is for files that are damaged, --rm and --require-table are not").into());
    }
    if [&args.talk.stats_file, &args.talk.prometheus, &args.talk.hdr_log].into_iter().any(Option::is_some) {
        return Err(Problem::usage("--salvage makes no report that could be written to a file").into());
    }
    let window_log_max = resolve::window_log_max(args.limits.window_log_max, settings)?;
    let mut session = Session::start(&args.talk)?;
    let input = Input::open(&names.input)?;
    let what = || format!("restore {}", input.name);
    if !input.metadata.is_file() || (&input.file).stream_position().with_context(what)? != 0 {
        return Err(Problem::usage(format!("--salvage seeks in IN, and {} is no regular file", input.name)).into());
    }
    let head = session.head(&input, DETECT_LEN).with_context(what)?;
    let layer = detect(&head);
    if layer == Layer::AgeArmor {
        let message = format!("restore {}: --salvage reads binary age files, this one is in armor", input.name);
        return Err(Problem::failed(message).into());
    }
    let wake = WakeUp::new().context("cannot start")?;
    let key = match layer {
        Layer::Age => Some(open_header(&mut session, &wake, &input, args).with_context(what)?),
        _ => None,
    };
    let manner = Manner { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let output = Output::prepare(&names.output, &[&input], manner)?;
    refuse_terminal(&output, args.files.force)?;
    let (mut file, mut writer) = (input.file.try_clone().with_context(what)?, output.writer(&wake)?);
    let (no_decompress, is_age_expected) = (args.no_decompress, has_key(&args.identities));
    let saved = session.task("salvage", wake.cancel(), move |cancel| {
        let mut on_loss = |loss: &Loss| problem::tell(&line_of(loss));
        let is_cancelled = || cancel.is_set();
        let mut rescue = Rescue::new(&mut writer, &mut on_loss, &is_cancelled);
        let saved = match &key {
            Some((key, payload_offset)) => {
                save_payload(file, *payload_offset, key, no_decompress, window_log_max, &mut rescue)
            }
            None => save_stream(&mut file, is_age_expected, window_log_max, &mut rescue),
        };
        Ok(saved.and_then(|table| Ok((rescue.finish()?, table))))
    });
    let saved = saved.map_err(anyhow::Error::new).with_context(what)?;
    let failure = |cause| name_the_output(Failure { stage: "salvage", seq: None, cause }, &output);
    let (saved, table) = saved.map_err(failure).with_context(what)?;
    let name = output.name().to_owned();
    super::finish(&mut session, &input, output)?;
    judge(&saved, table.as_ref(), (&input.name, &name), args.talk.quiet)
}

/// The payload's key, and where it begins. The header has to be whole and authentic: without it nothing opens.
fn open_header(
    session: &mut Session,
    wake: &WakeUp,
    input: &Input,
    args: &RestoreArgs,
) -> anyhow::Result<(PayloadKey, u64)> {
    sys::forbid_core_dumps().context("cannot turn core dumps off")?;
    let mut file = input.file.try_clone().context("cannot read")?;
    file.seek(SeekFrom::Start(0)).context("cannot read")?;
    let identities = args.identities.clone();
    session.task_that_asks("open", wake, move |prompter| {
        let mut keyring = Keyring::new(&identities, prompter)?;
        let unwrapped = unwrap(Box::new(file), Layer::Age, |header| keyring.unwrap(header))?;
        let Unwrapped { header, file_key, nonce, .. } = unwrapped;
        Ok((payload_key(&file_key, &nonce), (header.len + NONCE_LEN) as u64))
    })
}

/// What the payload of an age file holds: frames if it begins with one, or ends with a table that adds up, which is authentic in here.
fn save_payload(
    file: File,
    payload_offset: u64,
    key: &PayloadKey,
    no_decompress: bool,
    window_log_max: u32,
    rescue: &mut Rescue<'_>,
) -> Result<Option<TableStatus>, Cause> {
    let mut payload = SegmentReader::new(file, payload_offset, key).map_err(Cause::Read)?;
    let mut head = Vec::new();
    // A first segment that does not open tells nothing.
    let _ = payload.by_ref().take(DETECT_LEN as u64).read_to_end(&mut head);
    let mut saver = FrameSaver::new(&mut payload, window_log_max)?;
    let is_compressed = match head.is_empty() {
        _ if no_decompress => false,
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
fn save_stream(
    file: &mut File,
    is_age_expected: bool,
    window_log_max: u32,
    rescue: &mut Rescue<'_>,
) -> Result<Option<TableStatus>, Cause> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.take(DETECT_LEN as u64).read_to_end(&mut head))
        .map_err(Cause::Read)?;
    let mut saver = FrameSaver::new(file, window_log_max)?;
    if detect(&head) != Layer::Zstd && !saver.is_stream() {
        return Err(match is_age_expected {
            true => Cause::Age(AgeError::Header("the version line is not that of age v1")),
            false => Cause::Read(io::Error::other("it is neither a zstd nor an age file, and no frames are in it")),
        });
    }
    saver.save(rescue).map(Some)
}

fn line_of(loss: &Loss) -> String {
    match loss {
        Loss::Filled { content: Range { start, end }, is_len_sure } => {
            let as_declared = if *is_len_sure { "" } else { ", as many as the damaged frame's header says" };
            format!("pipeline: lost: bytes {start}..{end} of the content, zeros are in their place{as_declared}\n")
        }
        Loss::Unlisted(Range { start, end }) => format!(
            "pipeline: wrong: bytes {start}..{end} of the content are a whole frame, but not the one that the seek table lists\n"
        ),
        Loss::LeftOut { at, source } if source.is_empty() => {
            format!("pipeline: lost: the end, which is missing; what is there ends at byte {at}\n")
        }
        Loss::LeftOut { at, source: Range { start, end } } => format!(
            "pipeline: lost: what bytes {start}..{end} of the compressed data held, left out at byte {at}, how much that was is unknown\n"
        ),
    }
}

/// What there is to say of `saved` and of the seek tables that were met, where the layer has them; (input, output) are shown names.
fn judge(
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
            let line = line_of(&loss);
            assert!(line.starts_with("pipeline: ") && line.lines().count() == 1, "{line}");
        }
    }
}
