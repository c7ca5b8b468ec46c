//! Reports the layers, frames and seek table of a file without decoding frames.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};

use serde::{Serialize, Serializer};

use super::error::TaskError;
use super::executor::Executor;
use super::open::{Keys, Opened, ReadOptions, open_stream, position, read};
use crate::format::age::AgeError;
use crate::format::age::header::NONCE_LEN;
use crate::format::age::stream::{SEALED_LEN, TAG_LEN};
use crate::format::detect::{Layer, detect};
use crate::format::zstd::ZstdError;
use crate::format::zstd::scan::{Edge, Frame, FrameScanner};
use crate::format::zstd::seek_table::TableError;
use crate::pipeline::age_header::{age_failure, read_failure, read_header};
use crate::pipeline::error::Failure;
use crate::pipeline::names::Stage;
use crate::pipeline::range::check_headers_before;
use crate::pipeline::sealed::{OpeningReader, SealedReader};
use crate::pipeline::table::{RangeError, read_table};
use crate::store::error::Doing;
use crate::store::input::Input;

/// Bytes per read while walking headers. Small, since most bytes are skipped.
const WALK_READ_LEN: usize = 16 * 1024;

/// The content of a file's headers. The fields are those of the JSON output.
#[derive(Debug, Default, Serialize)]
pub struct Inspection {
    /// Layer names, outermost first.
    pub layers: Vec<&'static str>,
    /// The age layer, if any.
    pub age: Option<AgeLayer>,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Number of zstd frames, without skippable ones.
    pub frame_count: u64,
    /// Number of skippable frames, including seek tables.
    pub skippable_frame_count: u64,
    /// Bytes of content; `null` if frames do not declare it.
    pub content_bytes: Option<u64>,
    /// Content size divided by file size; `null` if the content size is unknown.
    pub ratio: Option<f64>,
    /// Content bytes of the largest frame, if declared.
    pub frame_content_bytes_max: Option<u64>,
    /// The largest window in bytes.
    pub window_bytes_max: u64,
    /// Frames with a checksum.
    pub checksummed_frame_count: u64,
    /// Whether a seek table matches the frames' lengths and content sizes. Its checksums are not compared, since nothing is decoded.
    pub seek_table: bool,
    /// Why there is no usable seek table.
    pub seek_table_problem: Option<TableProblem>,
}

/// Why a file has no usable seek table, or none was looked for. In JSON it is its message.
#[derive(Debug, thiserror::Error)]
pub enum TableProblem {
    /// The file is encrypted and there is no key.
    #[error("not looked for: it is encrypted")]
    Encrypted,
    /// The file cannot seek, or is armored.
    #[error("not looked for: this input can only be read once")]
    ReadOnce,
    /// There is no table, or it is not valid.
    #[error(transparent)]
    Unusable(TableError),
    /// The table contradicts the frames.
    #[error(transparent)]
    Contradicts(ZstdError),
}

impl Serialize for TableProblem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The age layer of a file.
#[derive(Debug, Serialize)]
pub struct AgeLayer {
    /// Types of the stanzas, in order.
    pub stanzas: Vec<String>,
    /// The file is armored.
    pub is_armored: bool,
    /// Header bytes without the nonce.
    pub header_bytes: u64,
    /// Segments of the payload.
    pub segment_count: u64,
    /// Plaintext bytes in the segments.
    pub payload_bytes: u64,
    /// All segments were opened with a key and are authentic.
    pub is_authenticated: bool,
}

/// Inspects `input`. Opens an age layer if there are `keys`; otherwise reads only its header.
pub fn inspect(
    executor: &mut impl Executor,
    input: &Input,
    keys: &Keys,
    options: &ReadOptions,
) -> Result<Inspection, TaskError> {
    let is_at_start = input.is_seekable() && position(input)? == 0;
    let (head, reader, _) = read(executor, input, options)?;
    let layer = detect(&head);
    if matches!(layer, Layer::Age | Layer::AgeArmor) && !keys.is_any() {
        let reader = Box::new(Cursor::new(head).chain(reader));
        return executor.wait("inspect", move |_| inspect_header(reader, layer))?;
    }
    let opened = open_stream(executor, head, reader, keys)?;
    let file = input.file.try_clone().map_err(Doing::Read.failed(&input.name))?;
    executor.wait("inspect", move |_| inspect_opened(opened, &file, is_at_start))?
}

/// Inspects an age file without a key.
fn inspect_header(reader: Box<dyn Read + Send>, layer: Layer) -> Result<Inspection, TaskError> {
    let (header, mut rest) = read_header(reader, layer)?;
    let payload_bytes = io::copy(&mut rest, &mut io::sink()).map_err(read_failure)?;
    let sealed_bytes = payload_bytes.checked_sub(NONCE_LEN as u64);
    let missing = AgeError::Header("the payload nonce is missing or cut short");
    let sealed_bytes = sealed_bytes.ok_or_else(|| age_failure(missing))?;
    let segment_count = sealed_bytes.div_ceil(SEALED_LEN as u64);
    let age = AgeLayer {
        stanzas: header.stanzas.iter().map(|stanza| stanza.tag.clone()).collect(),
        is_armored: layer == Layer::AgeArmor,
        header_bytes: header.len as u64,
        segment_count,
        payload_bytes: sealed_bytes.saturating_sub(segment_count * TAG_LEN as u64),
        is_authenticated: false,
    };
    let file_bytes = header.len as u64 + payload_bytes;
    let seek_table_problem = Some(TableProblem::Encrypted);
    Ok(Inspection { layers: vec!["age"], age: Some(age), file_bytes, seek_table_problem, ..Inspection::default() })
}

/// Inspects a file after its age layer, if any, was opened. Authenticates every segment.
fn inspect_opened(opened: Opened, mut file: &File, is_at_start: bool) -> Result<Inspection, TaskError> {
    let mut walk = Walk { scanner: FrameScanner::new(u64::MAX), found: Inspection::default() };
    let Opened { reader, open, payload_offset, stanzas, is_armored, inner, .. } = opened;
    let Some(key) = open else {
        if is_at_start {
            let mut reader = BufReader::with_capacity(WALK_READ_LEN, &mut file);
            walk.found.seek_table_problem = judge_table(&mut reader)?;
            walk.passing_over(&mut reader)?;
        } else {
            walk.found.seek_table_problem = Some(TableProblem::ReadOnce);
            walk.reading(reader)?;
        }
        return walk.finish();
    };
    let mut opened = OpeningReader::new(reader, &key);
    let (mut found, payload_bytes) = match inner {
        Layer::Zstd => {
            walk.reading(&mut opened)?;
            let bytes = walk.scanner.offset();
            walk.found.seek_table_problem = match is_at_start && !is_armored {
                true => judge_table(&mut SealedReader::new(file, payload_offset, &key).map_err(read_failure)?)?,
                false => Some(TableProblem::ReadOnce),
            };
            (walk.finish()?, bytes)
        }
        _ => {
            let bytes = io::copy(&mut opened, &mut io::sink()).map_err(read_failure)?;
            (Inspection { content_bytes: Some(bytes), ..Inspection::default() }, bytes)
        }
    };
    let segment_count = opened.opened_count();
    let sealed_bytes = payload_bytes + segment_count * TAG_LEN as u64;
    found.layers.insert(0, "age");
    found.file_bytes = payload_offset + sealed_bytes;
    found.ratio = found.content_bytes.map(|bytes| bytes as f64 / found.file_bytes as f64);
    let header_bytes = payload_offset - NONCE_LEN as u64;
    let is_authenticated = true;
    found.age = Some(AgeLayer { stanzas, is_armored, header_bytes, segment_count, payload_bytes, is_authenticated });
    Ok(found)
}

/// Why a range read cannot use the seek table; `None` if it can.
fn judge_table(file: &mut (impl Read + Seek)) -> Result<Option<TableProblem>, TaskError> {
    match read_table(file).and_then(|table| check_headers_before(file, &table, u64::MAX, || false)) {
        Ok(()) => Ok(None),
        Err(RangeError::NoTable(error)) => Ok(Some(TableProblem::Unusable(error))),
        Err(RangeError::Damaged(error)) => Ok(Some(TableProblem::Contradicts(error))),
        Err(RangeError::Io(error)) => Err(read_failure(error).into()),
    }
}

/// Walks the frames of a file and sums up their headers.
struct Walk {
    scanner: FrameScanner,
    found: Inspection,
}

impl Walk {
    /// Walks a seekable file and skips block bodies.
    fn passing_over(&mut self, reader: &mut BufReader<impl Read + Seek>) -> Result<(), TaskError> {
        let file_bytes = reader.seek(SeekFrom::End(0)).map_err(read_failure)?;
        reader.seek(SeekFrom::Start(0)).map_err(read_failure)?;
        loop {
            let buffered = match reader.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                buffered => buffered.map_err(read_failure)?,
            };
            if buffered.is_empty() {
                return Ok(());
            }
            let len = buffered.len();
            self.take(buffered)?;
            // Read the last byte of each body, and never seek past the end of the file, so that truncation is noticed.
            let bytes_left = file_bytes.saturating_sub(self.scanner.offset());
            let body_bytes = u64::from(self.scanner.body_bytes_left().saturating_sub(1));
            let passed = u32::try_from(body_bytes.min(bytes_left)).expect("at most a body");
            self.scanner.skip_body(passed);
            reader.consume(len);
            reader.seek_relative(i64::from(passed)).map_err(read_failure)?;
        }
    }

    /// Walks a stream that cannot seek.
    fn reading(&mut self, mut reader: impl Read) -> Result<(), TaskError> {
        let mut piece = vec![0; WALK_READ_LEN];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(len) => self.take(&piece[..len])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_failure(error).into()),
            }
        }
    }

    fn take(&mut self, mut piece: &[u8]) -> Result<(), TaskError> {
        loop {
            let (len, edge) = self.scanner.advance(piece).map_err(|error| Failure {
                stage: Stage::Step("inspect"),
                seq: None,
                cause: error.into(),
            })?;
            piece = &piece[len..];
            match edge {
                Some(Edge::FrameEnd(frame)) => self.note(&frame),
                Some(Edge::SkippableEnd) => self.found.skippable_frame_count += 1,
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    fn note(&mut self, frame: &Frame) {
        let found = &mut self.found;
        let declared_bytes = frame.header.content_bytes;
        found.content_bytes = match found.frame_count {
            0 => declared_bytes,
            _ => found.content_bytes.zip(declared_bytes).map(|(sum, bytes)| sum.saturating_add(bytes)),
        };
        found.frame_content_bytes_max = found.frame_content_bytes_max.max(declared_bytes);
        found.window_bytes_max = found.window_bytes_max.max(frame.header.window_bytes);
        found.checksummed_frame_count += u64::from(frame.header.has_checksum);
        found.frame_count += 1;
    }

    fn finish(mut self) -> Result<Inspection, TaskError> {
        self.scanner.finish().map_err(|error| Failure {
            stage: Stage::Step("inspect"),
            seq: None,
            cause: error.into(),
        })?;
        let file_bytes = self.scanner.offset();
        let content_bytes = self.found.content_bytes.or((self.found.frame_count == 0).then_some(0));
        let ratio = content_bytes.map(|bytes| bytes as f64 / file_bytes as f64);
        self.found.layers = vec!["zstd"];
        let seek_table = self.found.seek_table_problem.is_none();
        Ok(Inspection { file_bytes, content_bytes, ratio, seek_table, ..self.found })
    }
}
