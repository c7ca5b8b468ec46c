//! `pipeline inspect`: what a file holds, told from headers and the seek table, without decoding anything.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use anyhow::Context;
use serde::Serialize;

use super::require_zstd;
use crate::cli::args::InspectArgs;
use crate::cli::input::Input;
use crate::cli::problem::{self, Exit};
use crate::cli::report::bytes;
use crate::cli::sys::WakeUp;
use crate::format::detect::DETECT_LEN;
use crate::format::zstd::scan::{Edge, Frame, FrameScanner};
use crate::pipeline::error::Failure;
use crate::pipeline::range::{RangeError, check_headers_before, read_table};

/// What is read at once while walking headers. Small, since most of what follows a header is passed over.
const WALK_READ_LEN: usize = 16 * 1024;

/// What a file holds. The fields are the JSON object's.
#[derive(Debug, Default, Serialize)]
struct Inspection {
    /// From the outside in.
    layers: Vec<&'static str>,
    file_bytes: u64,
    frame_count: u64,
    skippable_frame_count: u64,
    /// `null` where frames do not declare it.
    content_bytes: Option<u64>,
    /// Content to file; `null` where the content's size is unknown.
    ratio: Option<f64>,
    /// Content of the largest frame, where declared.
    frame_content_bytes_max: Option<u64>,
    /// The largest window that decoding needs.
    window_bytes_max: u64,
    /// Frames that end with a checksum.
    checksummed_frame_count: u64,
    /// Whether there is a seek table that fits the frames: their lengths and content sizes. Checksums are not compared
    /// here, since nothing is decoded.
    seek_table: bool,
    /// Why there is none.
    seek_table_problem: Option<String>,
}

/// Runs the command.
pub fn run(args: InspectArgs) -> anyhow::Result<Exit> {
    let input = Input::open(&args.input)?;
    let what = || format!("inspect {}", input.name);
    let at_start = input.is_seekable() && (&input.file).stream_position().with_context(what)? == 0;
    let mut reader = input.reader(&WakeUp::new().context("cannot start")?)?;
    let mut head = Vec::with_capacity(DETECT_LEN);
    reader.by_ref().take(DETECT_LEN as u64).read_to_end(&mut head).with_context(what)?;
    require_zstd(&input, &head)?;

    let mut walk = Walk { scanner: FrameScanner::new(u64::MAX), found: Inspection::default() };
    if at_start {
        let mut reader = BufReader::with_capacity(WALK_READ_LEN, &input.file);
        walk.found.seek_table_problem = judge_table(&mut reader).with_context(what)?;
        walk.passing_over(&mut reader).with_context(what)?;
    } else {
        walk.found.seek_table_problem = Some("not looked for: this input can only be read once".to_owned());
        walk.reading(std::io::Cursor::new(head).chain(reader)).with_context(what)?;
    }
    let found = walk.finish().with_context(what)?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&found).context("cannot write JSON")? + "\n",
        false => text(&input.name, &found),
    };
    problem::print(&text)?;
    Ok(Exit::Done)
}

/// Why a range read could not use the seek table; `None` where it could.
fn judge_table(file: &mut (impl Read + Seek)) -> anyhow::Result<Option<String>> {
    match read_table(file).and_then(|table| check_headers_before(file, &table, u64::MAX, || false)) {
        Ok(()) => Ok(None),
        Err(RangeError::NoTable(error)) => Ok(Some(error.to_string())),
        Err(RangeError::Damaged(error)) => Ok(Some(error.to_string())),
        Err(RangeError::Io(error)) => Err(error.into()),
    }
}

/// Walks the frames of a file and adds up what they say of themselves.
struct Walk {
    scanner: FrameScanner,
    found: Inspection,
}

impl Walk {
    /// Walks a file, seeking over the bodies of blocks.
    fn passing_over(&mut self, reader: &mut BufReader<impl Read + Seek>) -> anyhow::Result<()> {
        let file_bytes = reader.seek(SeekFrom::End(0))?;
        reader.seek(SeekFrom::Start(0))?;
        loop {
            let buffered = match reader.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                buffered => buffered?,
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
            reader.seek_relative(i64::from(passed))?;
        }
    }

    /// Walks what can only be read.
    fn reading(&mut self, mut reader: impl Read) -> anyhow::Result<()> {
        let mut piece = vec![0; WALK_READ_LEN];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(len) => self.take(&piece[..len])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, mut piece: &[u8]) -> anyhow::Result<()> {
        loop {
            let (len, edge) = self.scanner.advance(piece).map_err(|error| Failure {
                stage: "inspect",
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

    fn finish(mut self) -> anyhow::Result<Inspection> {
        self.scanner.finish().map_err(|error| Failure { stage: "inspect", seq: None, cause: error.into() })?;
        let file_bytes = self.scanner.offset();
        let content_bytes = self.found.content_bytes.or((self.found.frame_count == 0).then_some(0));
        let ratio = content_bytes.map(|bytes| bytes as f64 / file_bytes as f64);
        self.found.layers = vec!["zstd"];
        let seek_table = self.found.seek_table_problem.is_none();
        Ok(Inspection { file_bytes, content_bytes, ratio, seek_table, ..self.found })
    }
}

fn text(name: &str, found: &Inspection) -> String {
    let unknown = || "unknown (frames do not declare it)".to_owned();
    let lines = [
        ("file", format!("{name}, {}", bytes(found.file_bytes))),
        ("layers", found.layers.join(", then ")),
        ("frames", format!("{} ({} with a checksum)", found.frame_count, found.checksummed_frame_count)),
        ("skippable", found.skippable_frame_count.to_string()),
        ("content", found.content_bytes.map_or_else(unknown, bytes)),
        ("ratio", found.ratio.map_or_else(unknown, |ratio| format!("{ratio:.3}"))),
        ("largest", found.frame_content_bytes_max.map_or_else(unknown, bytes)),
        ("window", bytes(found.window_bytes_max)),
        ("seek table", found.seek_table_problem.clone().unwrap_or("fits the frames".to_owned())),
    ];
    lines.map(|(key, value)| format!("{key:<11} {value}\n")).concat()
}
