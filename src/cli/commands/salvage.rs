//! `pipeline restore --salvage`: what is intact of a damaged file, and which parts are lost.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use anyhow::Context;

use crate::cli::args::RestoreArgs;
use crate::cli::input::Input;
use crate::cli::keys::Keyring;
use crate::cli::layers::has_key;
use crate::cli::output::{Manner, Output};
use crate::cli::peel::{Unwrapped, unwrap};
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve::{self, Names};
use crate::cli::session::{Session, name_the_output, refuse_terminal};
use crate::cli::sys::{self, WakeUp};
use crate::format::age::AgeError;
use crate::format::age::header::{NONCE_LEN, payload_key};
use crate::format::age::stream::PayloadKey;
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::range::RangeError;
use crate::pipeline::salvage::frames::FrameSaver;
use crate::pipeline::salvage::segments::{SegmentReader, save_plain, tell_end};
use crate::pipeline::salvage::{Loss, Rescue, Salvaged};

/// Runs the command on the names of `names`.
pub fn run(args: &RestoreArgs, names: &Names) -> anyhow::Result<Exit> {
    if args.files.out.is_none() && args.files.output.is_none() {
        return Err(Problem::usage("--salvage needs OUT to be given").into());
    }
    if args.files.rm || args.require_table {
        return Err(Problem::usage("--salvage is for files that are damaged, --rm and --require-table are not").into());
    }
    let window_log_max = resolve::window_log_max(&args.limits)?;
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
        Ok(saved.and_then(|no_table| Ok((rescue.finish()?, no_table))))
    });
    let saved = saved.map_err(anyhow::Error::new).with_context(what)?;
    let failure = |cause| name_the_output(Failure { stage: "salvage", seq: None, cause }, &output);
    let (saved, no_table) = saved.map_err(failure).with_context(what)?;
    let name = output.name().to_owned();
    super::finish(&mut session, &input, output)?;
    if let (Some(error), false) = (no_table, args.talk.quiet) {
        problem::warn(&format!("{}: {error}: whether frames are missing at the end cannot be told", input.name));
    }
    judge(&saved, &input.name, &name, args.talk.quiet)
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
) -> Result<Option<RangeError>, Cause> {
    let mut payload = SegmentReader::new(file, payload_offset, key).map_err(Cause::Read)?;
    let mut head = Vec::new();
    // A first segment that does not open tells nothing.
    let _ = payload.by_ref().take(DETECT_LEN as u64).read_to_end(&mut head);
    let mut saver = FrameSaver::new(&mut payload, window_log_max)?;
    if no_decompress || !(detect(&head) == Layer::Zstd || saver.has_table()) {
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
) -> Result<Option<RangeError>, Cause> {
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
    saver.save(rescue)
}

fn line_of(loss: &Loss) -> String {
    match loss {
        Loss::Filled(range) => {
            format!("pipeline: lost: bytes {}..{} of the content, zeros are in their place\n", range.start, range.end)
        }
        Loss::LeftOut { at, source } if source.is_empty() => {
            format!("pipeline: lost: the end, which is missing; what is there ends at byte {at}\n")
        }
        Loss::LeftOut { at, source } => format!(
            "pipeline: lost: what bytes {}..{} of the compressed data held, left out at byte {at}, how much that was is unknown\n",
            source.start, source.end
        ),
    }
}

fn judge(saved: &Salvaged, input: &str, output: &str, quiet: bool) -> anyhow::Result<Exit> {
    let Salvaged { written_bytes, filled_bytes, left_out_count, wrong_entry_count } = saved;
    if saved.is_whole() {
        if !quiet {
            problem::tell(&format!("salvaged: nothing of {input} is damaged, {written_bytes} bytes are in {output}\n"));
        }
        return Ok(Exit::Done);
    }
    let message = format!(
        "restore {input}: damaged: of {written_bytes} bytes in {output} {filled_bytes} are zeros for what is lost, at \
         {left_out_count} places something is left out, {wrong_entry_count} entries of the seek table are wrong"
    );
    Err(Problem::damaged(message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_in_one_line() {
        for loss in [Loss::Filled(3..9), Loss::LeftOut { at: 1, source: 2..5 }, Loss::LeftOut { at: 7, source: 9..9 }] {
            let line = line_of(&loss);
            assert!(line.starts_with("pipeline: lost: ") && line.lines().count() == 1, "{line}");
        }
    }
}
