//! Tells what a file holds, from its headers and its seek table, without decoding a frame.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};

use serde::Serialize;

use super::error::TaskError;
use super::executor::Executor;
use super::open::{Keys, Opened, ReadOptions, open_stream, position, read};
use crate::format::age::AgeError;
use crate::format::age::header::NONCE_LEN;
use crate::format::age::stream::{SEALED_LEN, TAG_LEN};
use crate::format::detect::{Layer, detect};
use crate::format::zstd::scan::{Edge, Frame, FrameScanner};
use crate::pipeline::age_header::{age_failure, read_failure, read_header};
use crate::pipeline::error::Failure;
use crate::pipeline::names::Stage;
use crate::pipeline::range::{RangeError, check_headers_before, read_table};
use crate::pipeline::sealed::{OpeningReader, SealedReader};
use crate::store::error::Doing;
use crate::store::input::Input;

/// What is read at once while walking headers. Small, since most of what follows a header is passed over.
const WALK_READ_LEN: usize = 16 * 1024;

/// What a file holds. The fields are the JSON object's.
#[derive(Debug, Default, Serialize)]
pub struct Inspection {
    /// From the outside in.
    pub layers: Vec<&'static str>,
    /// The age layer, where there is one.
    pub age: Option<AgeLayer>,
    /// Length of the file.
    pub file_bytes: u64,
    /// zstd frames, skippable ones not among them.
    pub frame_count: u64,
    /// Skippable frames, seek tables among them.
    pub skippable_frame_count: u64,
    /// Bytes of content; `null` where frames do not declare it.
    pub content_bytes: Option<u64>,
    /// Content to file; `null` where the content's size is unknown.
    pub ratio: Option<f64>,
    /// Content of the largest frame, where declared.
    pub frame_content_bytes_max: Option<u64>,
    /// The largest window that decoding needs.
    pub window_bytes_max: u64,
    /// Frames that end with a checksum.
    pub checksummed_frame_count: u64,
    /// Whether there is a seek table that fits the frames: their lengths and content sizes. Checksums are not compared
    /// here, since nothing is decoded.
    pub seek_table: bool,
    /// Why there is none.
    pub seek_table_problem: Option<String>,
}

/// What an age layer tells of itself.
#[derive(Debug, Serialize)]
pub struct AgeLayer {
    /// The types of its stanzas, in order.
    pub stanzas: Vec<String>,
    /// It is text.
    pub is_armored: bool,
    /// Length of the header, without the nonce.
    pub header_bytes: u64,
    /// Segments of the payload.
    pub segment_count: u64,
    /// Plaintext in the segments.
    pub payload_bytes: u64,
    /// Every segment was opened with a key and is authentic.
    pub is_authenticated: bool,
}

/// Inspects `input`. An age layer is opened if there are `keys`; without any, only its header is read.
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

/// What can be told of an age file without a key.
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
    let seek_table_problem = Some("not looked for: it is encrypted".to_owned());
    Ok(Inspection { layers: vec!["age"], age: Some(age), file_bytes, seek_table_problem, ..Inspection::default() })
}

/// What can be told of a file whose age layer, if it has one, is opened. Every segment is authenticated on the way.
fn inspect_opened(opened: Opened, mut file: &File, is_at_start: bool) -> Result<Inspection, TaskError> {
    let mut walk = Walk { scanner: FrameScanner::new(u64::MAX), found: Inspection::default() };
    let Opened { reader, open, payload_offset, stanzas, is_armored, inner, .. } = opened;
    let Some(key) = open else {
        if is_at_start {
            let mut reader = BufReader::with_capacity(WALK_READ_LEN, &mut file);
            walk.found.seek_table_problem = judge_table(&mut reader)?;
            walk.passing_over(&mut reader)?;
        } else {
            walk.found.seek_table_problem = Some("not looked for: this input can only be read once".to_owned());
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
                false => Some("not looked for: this input can only be read once".to_owned()),
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

/// Why a range read could not use the seek table; `None` where it could.
fn judge_table(file: &mut (impl Read + Seek)) -> Result<Option<String>, TaskError> {
    match read_table(file).and_then(|table| check_headers_before(file, &table, u64::MAX, || false)) {
        Ok(()) => Ok(None),
        Err(RangeError::NoTable(error)) => Ok(Some(error.to_string())),
        Err(RangeError::Damaged(error)) => Ok(Some(error.to_string())),
        Err(RangeError::Io(error)) => Err(read_failure(error).into()),
    }
}

/// Walks the frames of a file and adds up what they say of themselves.
struct Walk {
    scanner: FrameScanner,
    found: Inspection,
}

impl Walk {
    /// Walks a file, seeking over the bodies of blocks.
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
            // The last byte of a body is always read, and nothing behind the end of the file passed over.
            let bytes_left = file_bytes.saturating_sub(self.scanner.offset());
            let body_bytes = u64::from(self.scanner.body_bytes_left().saturating_sub(1));
            let passed = u32::try_from(body_bytes.min(bytes_left)).expect("at most a body");
            self.scanner.skip_body(passed);
            reader.consume(len);
            reader.seek_relative(i64::from(passed)).map_err(read_failure)?;
        }
    }

    /// Walks what can only be read.
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
