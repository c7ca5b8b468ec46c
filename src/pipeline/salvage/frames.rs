//! Salvage of a compressed stream whose frames may be damaged.
//!
//! With a seek table that adds up, each frame is found by its entry. Without one, the chain of frame headers leads the way; where it
//! breaks, it resumes only where the whole rest parses as a chain up to the end of the stream: content can hold the magic numbers of
//! frames, but hardly a chain of them that ends exactly there.
//!
//! Hostile content can begin a chain at every eighth byte, and make all of them long. So the search for a chain has a budget of steps that
//! is proportional to the bytes it passes: it always suffices for the one right chain, and what hostile content uses up comes back as the
//! search goes on, so that it finds the chain some frames later.

use std::collections::HashSet;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use twox_hash::XxHash64;

use super::Rescue;
use super::nearby::NearbyReader;
use crate::format::zstd::ZstdError;
use crate::format::zstd::codec::{StreamDecompressor, content_checksum_of};
use crate::format::zstd::scan::{Frame, SKIPPABLE_MAGIC_FIRST, SKIPPABLE_MAGIC_MASK, ZSTD_MAGIC};
use crate::format::zstd::seek_table::{TableCheck, TableReader, TableStatus, TableSummary};
use crate::pipeline::error::Cause;
use crate::pipeline::frame_at::{Record, read, steps_max, walk_within};
use crate::pipeline::table::{SeekTable, read_table};

/// Bytes read at once.
const PIECE_LEN: usize = 128 * 1024;

/// Longest content held until its checksum is verified; a frame that is longer, or finds no memory, is decoded twice and not held.
const HELD_LEN_MAX: usize = 16 * 1024 * 1024;

/// Most offsets remembered of broken chains, so that no stretch is walked repeatedly: 16 MiB of them.
const DEAD_COUNT_MAX: usize = 1 << 20;

/// A search takes at most one step for each of this many bytes of the stream, and as many again as it passes. The densest right chain, of
/// empty frames of 8 bytes, takes one for each 8 bytes.
const BYTES_PER_STEP: u64 = 8;

/// Most content that the blocks of a frame of `compressed_bytes` can hold: each has a header of 3 bytes, at least one more byte, and at
/// most 128 KiB of content. Larger claims of a table or a header are ignored.
fn content_bytes_bound(compressed_bytes: u64) -> u64 {
    (compressed_bytes / 4 + 1).saturating_mul(128 * 1024)
}

/// The result of decoding a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Decoded {
    content_bytes: u64,
    checksum: u32,
}

/// Takes the next piece of a frame's content.
type Put<'a> = dyn FnMut(&[u8], &mut Rescue<'_>) -> Result<(), Cause> + 'a;

/// Saves the frames of one stream.
pub struct FrameSaver<'a, S> {
    stream: NearbyReader<'a, S>,
    stream_bytes: u64,
    window_log_max: u32,
    decompressor: StreamDecompressor,
    held: Vec<u8>,
    dead: HashSet<u64>,
    /// Steps that the search at hand may still take.
    steps_left: u64,
}

impl<'a, S: Read + Seek> FrameSaver<'a, S> {
    /// A saver of the whole of `stream`.
    pub fn new(stream: &'a mut S, window_log_max: u32) -> Result<FrameSaver<'a, S>, Cause> {
        let stream_bytes = stream.seek(SeekFrom::End(0)).map_err(Cause::Read)?;
        let (stream, decompressor) = (NearbyReader::new(stream), StreamDecompressor::new(window_log_max)?);
        let (held, dead) = (Vec::new(), HashSet::new());
        Ok(FrameSaver { stream, stream_bytes, window_log_max, decompressor, held, dead, steps_left: 0 })
    }

    /// Whether the stream ends with a seek table that adds up to its length.
    pub fn has_table(&mut self) -> bool {
        read_table(&mut self.stream).is_ok()
    }

    /// Whether this is a compressed stream, however it begins: it has a table, or a chain of frames up to its end.
    pub fn is_stream(&mut self) -> bool {
        self.has_table() || self.next_chain(0).is_some()
    }

    /// Saves what can be saved. Returns the verdict on the seek tables: only a valid one proves that nothing is missing at the end.
    pub fn save(&mut self, rescue: &mut Rescue<'_>) -> Result<TableStatus, Cause> {
        match read_table(&mut self.stream) {
            Ok(table) => self.save_by_table(&table, rescue).map(|()| TableStatus::Valid),
            Err(_) => self.save_by_chain(rescue),
        }
    }

    fn save_by_table(&mut self, table: &SeekTable, rescue: &mut Rescue<'_>) -> Result<(), Cause> {
        let mut frames = table.frames();
        while let Some(frame) = frames.next(&mut self.stream).map_err(Cause::from)? {
            rescue.check()?;
            let (entry, range) = (frame.entry, frame.offset..frame.offset + u64::from(frame.entry.compressed_len));
            // No further than the frame may reach, since the next one is walked again.
            let mut steps = steps_max(range.end - range.start);
            let found = self.record_at(range.start, &mut steps).filter(|record| record.end() == range.end);
            let saved = match &found {
                Some(Record::Skippable { .. }) => continue,
                Some(Record::Frame(frame)) => self.save_frame(frame, rescue)?.map(|decoded| (frame, decoded)),
                None => None,
            };
            let content_bytes = u64::from(entry.content_len);
            match saved {
                Some((frame, decoded)) => {
                    let is_checked = frame.header.has_checksum || table.has_checksums();
                    rescue.salvaged.unchecked_count += u64::from(!is_checked);
                    let is_listed = !table.has_checksums() || decoded.checksum == entry.checksum;
                    if !is_listed || decoded.content_bytes != content_bytes {
                        rescue.tell_unlisted(decoded.content_bytes);
                    }
                }
                None if content_bytes <= content_bytes_bound(range.end - range.start) => {
                    rescue.fill(content_bytes, true)?;
                }
                None => rescue.leave_out(range),
            }
        }
        Ok(())
    }

    fn save_by_chain(&mut self, rescue: &mut Rescue<'_>) -> Result<TableStatus, Cause> {
        let (mut at, mut is_sure, mut tables) = (0, false, TableCheck::default());
        while at < self.stream_bytes {
            rescue.check()?;
            let record = self.record_at(at, &mut { u64::MAX });
            let lost_bytes = match &record {
                Some(Record::Frame(frame)) => match self.save_frame(frame, rescue)? {
                    Some(decoded) => {
                        rescue.salvaged.unchecked_count += u64::from(!frame.header.has_checksum);
                        tables.frame(frame.compressed_bytes, decoded.content_bytes, decoded.checksum);
                        at = frame.offset + frame.compressed_bytes;
                        continue;
                    }
                    None => frame.header.content_bytes.filter(|bytes| *bytes <= frame.block_content_bytes),
                },
                // It has no checksum, so its length counts only if the chain continues after it.
                Some(Record::Skippable { .. }) => Some(0),
                None => None,
            };
            let end = record.as_ref().map(Record::end).filter(|end| is_sure || self.is_chain(*end));
            let next = end.or_else(|| self.next_chain(at));
            is_sure = next.is_some();
            match (&record, lost_bytes, end) {
                (Some(Record::Skippable { content, is_table }), _, Some(_)) => {
                    match self.table_in(content.clone()).filter(|_| *is_table) {
                        Some(table) => tables.table(table),
                        None => tables.skippable(content.end - at),
                    }
                }
                (_, Some(bytes), Some(_)) => rescue.fill(bytes, false)?,
                _ => rescue.leave_out(at..next.unwrap_or(self.stream_bytes)),
            }
            at = next.unwrap_or(self.stream_bytes);
        }
        Ok(tables.finish())
    }

    /// The seek table in a skippable frame, if it is one.
    fn table_in(&mut self, content: Range<u64>) -> Option<TableSummary> {
        let mut reader = TableReader::new(u32::try_from(content.end - content.start).ok()?);
        let (mut at, mut piece) = (content.start, vec![0; PIECE_LEN]);
        while at < content.end {
            let len = usize::try_from(content.end - at).map_or(PIECE_LEN, |left| left.min(PIECE_LEN));
            let len = self.fill(at, &mut piece[..len]);
            reader.push(&piece[..len]);
            at += len as u64;
            if len == 0 {
                return None;
            }
        }
        reader.finish()
    }

    /// The record at `offset`; `None` if it cannot be walked to its end in `steps_left`.
    fn record_at(&mut self, offset: u64, steps_left: &mut u64) -> Option<Record> {
        walk_within(&mut self.stream, offset, 0, steps_left).ok().flatten()
    }

    /// Begins a search: grants the steps of the longest chain.
    fn grant_steps(&mut self) {
        self.steps_left = 2 * (self.stream_bytes / BYTES_PER_STEP + 1);
    }

    /// Whether a chain of frames begins at `offset`.
    fn is_chain(&mut self, offset: u64) -> bool {
        self.grant_steps();
        self.parses_to_the_end(offset)
    }

    /// Whether a chain of frames from `offset` ends where the stream ends. `false` also without enough steps to see that.
    fn parses_to_the_end(&mut self, offset: u64) -> bool {
        let (mut at, mut visited) = (offset, Vec::new());
        while at < self.stream_bytes {
            let mut steps_left = self.steps_left;
            let is_dead = self.dead.contains(&at);
            let end = if is_dead { None } else { self.record_at(at, &mut steps_left).map(|record| record.end()) };
            self.steps_left = steps_left;
            visited.push(at);
            match end {
                Some(end) => at = end,
                None if steps_left == 0 => return false,
                None => {
                    let room = DEAD_COUNT_MAX.saturating_sub(self.dead.len());
                    self.dead.extend(visited.into_iter().take(room));
                    return false;
                }
            }
            visited.truncate(DEAD_COUNT_MAX);
        }
        at == self.stream_bytes
    }

    /// The first offset after `behind` where a chain begins that parses to the end.
    fn next_chain(&mut self, behind: u64) -> Option<u64> {
        let mut offset = behind + 1;
        let mut piece = vec![0; PIECE_LEN];
        self.grant_steps();
        let mut passed = offset;
        while offset < self.stream_bytes {
            let len = self.fill(offset, &mut piece);
            for at in 0..len.saturating_sub(3) {
                let magic = u32::from_le_bytes(*piece[at..].first_chunk().expect("four bytes are left"));
                let is_magic = magic == ZSTD_MAGIC || magic & SKIPPABLE_MAGIC_MASK == SKIPPABLE_MAGIC_FIRST;
                if !is_magic {
                    continue;
                }
                let at = offset + at as u64;
                self.steps_left += (at - passed) / BYTES_PER_STEP;
                passed = at;
                if self.parses_to_the_end(at) {
                    return Some(at);
                }
            }
            // The last three bytes may begin a magic number.
            offset += (len.saturating_sub(3)).max(1) as u64;
        }
        None
    }

    /// Reads what can be read from `offset` on; ignores errors.
    fn fill(&mut self, offset: u64, piece: &mut [u8]) -> usize {
        let mut filled_len = 0;
        if self.stream.seek(SeekFrom::Start(offset)).is_err() {
            return 0;
        }
        while filled_len < piece.len() {
            match read(&mut self.stream, &mut piece[filled_len..]) {
                Ok(0) | Err(_) => break,
                Ok(len) => filled_len += len,
            }
        }
        filled_len
    }

    /// Writes the content of `frame` if all of it is right; else returns `None`.
    fn save_frame(&mut self, frame: &Frame, rescue: &mut Rescue<'_>) -> Result<Option<Decoded>, Cause> {
        if frame.header.window_bytes > 1 << self.window_log_max {
            let (frame_index, offset, window_bytes) = (frame.index, frame.offset, frame.header.window_bytes);
            let window_bytes_max = 1 << self.window_log_max;
            return Err(ZstdError::WindowTooLarge { frame_index, offset, window_bytes, window_bytes_max }.into());
        }
        let range = frame.offset..frame.offset + frame.compressed_bytes;
        let mut held = std::mem::take(&mut self.held);
        held.clear();
        let decoded = self.decode(range.clone(), rescue, &mut |content, _| {
            let is_room = held.len() + content.len() <= HELD_LEN_MAX && held.try_reserve(content.len()).is_ok();
            held.extend_from_slice(if is_room { content } else { &[] });
            Ok(())
        })?;
        match decoded {
            Some(decoded) if decoded.content_bytes == held.len() as u64 => rescue.write(&held)?,
            Some(first) => {
                let second = self.decode(range, rescue, &mut |content, rescue| rescue.write(content))?;
                if second != Some(first) {
                    return Err(Cause::Changed);
                }
            }
            None => {}
        }
        self.held = held;
        Ok(decoded)
    }

    /// Decodes the frame in `range` of the stream, piece by piece; `None` if it is damaged.
    fn decode(
        &mut self,
        range: Range<u64>,
        rescue: &mut Rescue<'_>,
        put: &mut Put<'_>,
    ) -> Result<Option<Decoded>, Cause> {
        self.decompressor.reset()?;
        let (mut piece, mut content, mut hash) = (vec![0; PIECE_LEN], vec![0; PIECE_LEN], XxHash64::with_seed(0));
        let (mut at, mut content_bytes, mut is_ended) = (range.start, 0, false);
        while at < range.end {
            rescue.check()?;
            let len = usize::try_from(range.end - at).map_or(PIECE_LEN, |left| left.min(PIECE_LEN));
            let len = self.fill(at, &mut piece[..len]);
            let mut rest = &piece[..len];
            loop {
                let Ok(streamed) = self.decompressor.decompress(rest, &mut content) else { return Ok(None) };
                let produced = &content[..streamed.produced_len];
                std::hash::Hasher::write(&mut hash, produced);
                put(produced, rescue)?;
                content_bytes += streamed.produced_len as u64;
                is_ended = streamed.is_frame_end;
                rest = &rest[streamed.consumed_len..];
                if is_ended || (rest.is_empty() && streamed.produced_len < content.len()) {
                    break;
                }
            }
            at += (len - rest.len()) as u64;
            if len == 0 || (is_ended && at < range.end) {
                return Ok(None);
            }
        }
        Ok(is_ended.then(|| Decoded { content_bytes, checksum: content_checksum_of(&hash) }))
    }
}
