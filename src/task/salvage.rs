//! Salvages the intact parts of a damaged file, with or without an age layer.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use super::Produced;
use super::error::{Notice, SalvageOutcome, TaskError};
use super::executor::Executor;
use super::open::Keys;
use super::unchanged::state_if_untouched;
use crate::format::age::AgeError;
use crate::format::age::header::{Header, NONCE_LEN};
use crate::format::age::stream::PayloadKey;
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::age_header::{read_header, read_nonce};
use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::names::Stage;
use crate::pipeline::salvage::frames::FrameSaver;
use crate::pipeline::salvage::segments::{SegmentReader, save_plain, tell_end};
use crate::pipeline::salvage::{Loss, Rescue};
use crate::store::digest::digest_writer;
use crate::store::error::Doing;
use crate::store::input::Input;
use crate::store::output::{Output, Sparse};
use crate::store::rate_limit::{PacedReader, RateLimit};
use crate::store::sys::WakeUp;

/// How to salvage files.
#[derive(Clone)]
pub struct SalvageSpec {
    /// Frames inside an age layer are decoded.
    pub decompress: bool,
    /// The largest window accepted, as its logarithm to base 2.
    pub window_log_max: u32,
    /// Limits the read rate.
    pub rate_limit: Option<RateLimit>,
    /// When content of zeros becomes a hole of the output.
    pub sparse: Sparse,
    /// The output is digested.
    pub digest: bool,
    /// Receives each loss, in order.
    pub on_loss: Arc<dyn Fn(&Loss) + Send + Sync>,
    /// Receives notices for the user.
    pub tell: fn(&Notice),
}

/// A file to salvage and the key of its age layer, if any.
pub struct Damaged {
    file: File,
    key: Option<(PayloadKey, u64)>,
    is_age_expected: bool,
}

/// Opens `input`, a regular file. An age header must be intact: the payload key depends on it.
pub fn open(executor: &mut impl Executor, input: &Input, keys: &Keys) -> Result<Damaged, TaskError> {
    let mut file = input.file.try_clone().map_err(Doing::Read.failed(&input.name))?;
    let mut head = Vec::with_capacity(DETECT_LEN);
    let read = file.by_ref().take(DETECT_LEN as u64).read_to_end(&mut head);
    read.and_then(|_| file.seek(SeekFrom::Start(0))).map_err(Doing::Read.failed(&input.name))?;
    let is_age_expected = keys.is_any();
    let key = match detect(&head) {
        Layer::AgeArmor => return Err(TaskError::SalvageArmored),
        Layer::Age => {
            let header = file.try_clone().map_err(Doing::Read.failed(&input.name))?;
            Some(open_header(executor, header, keys)?)
        }
        _ => None,
    };
    Ok(Damaged { file, key, is_age_expected })
}

/// The payload key of the binary age file `file`, and the payload's offset.
fn open_header(executor: &mut impl Executor, file: File, keys: &Keys) -> Result<(PayloadKey, u64), TaskError> {
    let mut keyring = keys.clone().keyring(executor)?;
    let read = executor.wait("open", move |_| {
        let (header, mut rest) = read_header(Box::new(file), Layer::Age)?;
        let nonce = read_nonce(&mut rest)?;
        Ok::<(Header, [u8; NONCE_LEN]), Failure>((header, nonce))
    })?;
    let (header, nonce) = read?;
    executor.compute(Stage::Unwrap, move |_| {
        let file_key = keyring.unwrap(&header)?;
        Ok((crate::format::age::header::payload_key(&file_key, &nonce), (header.len + NONCE_LEN) as u64))
    })?
}

/// Writes the intact parts of `damaged`, from `input`, to `output`.
pub fn salvage(
    executor: &mut impl Executor,
    spec: &SalvageSpec,
    damaged: Damaged,
    (input, output): (&Input, &Output),
    wake: &WakeUp,
) -> Result<(Produced, SalvageOutcome), TaskError> {
    let (mut writer, written) = digest_writer(output.content_writer(wake, spec.sparse)?, spec.digest);
    let owned = spec.clone();
    let saved = executor.compute(Stage::Salvage, move |cancel| {
        let mut on_loss = |loss: &Loss| (owned.on_loss)(loss);
        let is_cancelled = || cancel.is_set();
        save(&owned, damaged, Rescue::new(&mut writer, &mut on_loss, &is_cancelled))
    })?;
    let outcome = saved.map_err(|cause| Failure { stage: Stage::Salvage, seq: None, cause })?;
    let content_bytes = outcome.salvaged.written_bytes;
    let written = written.map(|written| written.digest());
    let input_state = state_if_untouched(input);
    let produced = Produced { written, content_bytes, input_state, is_input_needed: true, ..Produced::default() };
    Ok((produced, outcome))
}

fn save(spec: &SalvageSpec, damaged: Damaged, mut rescue: Rescue<'_>) -> Result<SalvageOutcome, Cause> {
    let Damaged { file, key, is_age_expected } = damaged;
    let file = PacedReader::new(file, spec.rate_limit.clone());
    let table = match &key {
        Some((key, payload_offset)) => save_payload(spec, file, *payload_offset, key, &mut rescue),
        None => save_stream(spec, file, is_age_expected, &mut rescue),
    }?;
    Ok(SalvageOutcome { salvaged: rescue.finish()?, table })
}

/// Salvages an age payload: as frames if it begins with one, or, with its first segment
/// lost, if it ends with a table, which is authentic, or a chain of frames.
fn save_payload(
    spec: &SalvageSpec,
    file: impl Read + Seek,
    payload_offset: u64,
    key: &PayloadKey,
    rescue: &mut Rescue<'_>,
) -> Result<Option<TableStatus>, Cause> {
    let mut payload = SegmentReader::new(file, payload_offset, key).map_err(Cause::Read)?;
    let mut head = Vec::new();
    // A damaged first segment leaves `head` empty.
    let _ = payload.by_ref().take(DETECT_LEN as u64).read_to_end(&mut head);
    let mut saver = FrameSaver::new(&mut payload, spec.window_log_max)?;
    let is_compressed = match head.is_empty() {
        _ if !spec.decompress => false,
        false => detect(&head) == Layer::Zstd,
        true => {
            let is_compressed = saver.is_stream();
            (spec.tell)(&Notice::FirstSegmentLost { is_compressed });
            is_compressed
        }
    };
    if !is_compressed {
        return save_plain(&mut payload, rescue).map(|()| None);
    }
    // The final segment tells whether the payload is complete.
    saver.save(rescue)?;
    tell_end(&payload, rescue);
    Ok(None)
}

/// Salvages a bare compressed file, even with a damaged beginning. If a key was given and
/// there are no frames, the file is an age file with a damaged header.
fn save_stream(
    spec: &SalvageSpec,
    mut file: impl Read + Seek,
    is_age_expected: bool,
    rescue: &mut Rescue<'_>,
) -> Result<Option<TableStatus>, Cause> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.by_ref().take(DETECT_LEN as u64).read_to_end(&mut head))
        .map_err(Cause::Read)?;
    let mut saver = FrameSaver::new(&mut file, spec.window_log_max)?;
    if detect(&head) != Layer::Zstd && !saver.is_stream() {
        return Err(match is_age_expected {
            true => Cause::Age(AgeError::Header("the version line is not that of age v1")),
            false => Cause::NoFrames,
        });
    }
    saver.save(rescue).map(Some)
}
