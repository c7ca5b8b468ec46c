//! Salvage of an age payload whose segments may be damaged: opens the authentic ones and skips the rest.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;

use crate::format::age::error::{AgeError, PayloadDamage};
use crate::format::age::stream::{PayloadKey, Place, SEALED_LEN, SEGMENT_LEN, SegmentCipher, TAG_LEN};

use super::Rescue;
use crate::pipeline::error::Cause;

/// Reads plaintext at any position. A read that touches a damaged segment is an error that holds an [`AgeError`].
pub struct SegmentReader<R> {
    file: R,
    payload_offset: u64,
    cipher: SegmentCipher,
    sealed_bytes: u64,
    segment_count: u64,
    end: End,
    position: u64,
    /// The segment examined last; empty if it did not open.
    at_hand: Option<(u64, Vec<u8>)>,
}

/// How a payload ends.
enum End {
    /// With its final segment, or with one in its place that does not open.
    Whole,
    /// After a segment that says that others follow, or within one: an unknown amount is missing.
    Missing,
    /// With its final segment, followed by these stray bytes of the payload.
    Trailing(Range<u64>),
}

impl<R: Read + Seek> SegmentReader<R> {
    /// A reader of the payload at `payload_offset` of `file`. The payload ends with its final segment: the last one in the file, else the
    /// first that opens as final. Without one it ends with the file.
    pub fn new(mut file: R, payload_offset: u64, key: &PayloadKey) -> io::Result<SegmentReader<R>> {
        let sealed_bytes = file.seek(SeekFrom::End(0))?.saturating_sub(payload_offset);
        let segment_count = sealed_bytes.div_ceil(SEALED_LEN as u64);
        let cipher = SegmentCipher::new(key);
        let mut reader = SegmentReader {
            file,
            payload_offset,
            cipher,
            sealed_bytes,
            segment_count,
            end: End::Whole,
            position: 0,
            at_hand: None,
        };
        reader.end = reader.find_end();
        Ok(reader)
    }

    /// Length of the plaintext, including damaged segments, in bytes.
    pub fn content_bytes(&self) -> u64 {
        let last = self.segment_count.checked_sub(1);
        last.map_or(0, |last| last * SEGMENT_LEN as u64 + self.text_bytes(last))
    }

    /// Finds the final segment, and stops counting segments there.
    fn find_end(&mut self) -> End {
        let Some(last) = self.segment_count.checked_sub(1) else { return End::Missing };
        if self.look_at(last) == Some(Place::Final) {
            return End::Whole;
        }
        if let Some(index) = (0..last).find(|index| self.look_at(*index) == Some(Place::Final)) {
            self.segment_count = index + 1;
            return End::Trailing((index + 1) * SEALED_LEN as u64..self.sealed_bytes);
        }
        // A stub without plaintext.
        if self.text_bytes(last) == 0 {
            self.segment_count -= 1;
            return End::Missing;
        }
        match self.look_at(last) {
            Some(Place::Inner) => End::Missing,
            _ => End::Whole,
        }
    }

    /// Opens the segment at `index`, if possible. One that cannot be read does not open: a bad sector is damage too.
    fn look_at(&mut self, index: u64) -> Option<Place> {
        let mut segment = self.at_hand.take().map_or_else(Vec::new, |(_, bytes)| bytes);
        segment.resize(self.sealed_len(index), 0);
        let offset = self.payload_offset + index * SEALED_LEN as u64;
        let read = self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.read_exact(&mut segment));
        let place = read.ok().and_then(|()| self.cipher.open(index, &mut segment));
        segment.truncate(place.map_or(0, |_| segment.len() - TAG_LEN));
        self.at_hand = Some((index, segment));
        place
    }

    /// The plaintext of the segment at `index`.
    fn text(&mut self, index: u64) -> io::Result<&[u8]> {
        if self.at_hand.as_ref().is_none_or(|(at_hand, _)| *at_hand != index) {
            self.look_at(index);
        }
        let is_open = |bytes: &Vec<u8>| bytes.len() as u64 == self.text_bytes(index);
        match self.at_hand.as_ref().map(|(_, bytes)| bytes).filter(|bytes| is_open(bytes)) {
            Some(bytes) => Ok(bytes),
            None => {
                let offset = index.saturating_mul(SEALED_LEN as u64);
                let error = AgeError::Payload { index, offset, found: PayloadDamage::Tampered };
                Err(io::Error::new(ErrorKind::InvalidData, error))
            }
        }
    }

    fn sealed_len(&self, index: u64) -> usize {
        let bytes_left = self.sealed_bytes.saturating_sub(index * SEALED_LEN as u64);
        usize::try_from(bytes_left).map_or(SEALED_LEN, |left| left.min(SEALED_LEN))
    }

    fn text_bytes(&self, index: u64) -> u64 {
        self.sealed_len(index).saturating_sub(TAG_LEN) as u64
    }
}

impl<R: Read + Seek> Read for SegmentReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.content_bytes() || bytes.is_empty() {
            return Ok(0);
        }
        let (index, at) = (self.position / SEGMENT_LEN as u64, self.position % SEGMENT_LEN as u64);
        let text = self.text(index)?;
        let rest = &text[usize::try_from(at).map_err(io::Error::other)?..];
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        self.position += len as u64;
        Ok(len)
    }
}

impl<R: Read + Seek> Seek for SegmentReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.content_bytes().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

/// Saves a payload that holds no frames: the segments that open, and zeros for the others.
pub fn save_plain<R: Read + Seek>(payload: &mut SegmentReader<R>, rescue: &mut Rescue<'_>) -> Result<(), Cause> {
    for index in 0..payload.segment_count {
        rescue.check()?;
        match payload.text(index) {
            Ok(text) => rescue.write(text)?,
            Err(_) => rescue.fill(payload.text_bytes(index), true)?,
        }
    }
    tell_end(payload, rescue);
    Ok(())
}

/// Reports what is wrong at the end of a payload.
pub fn tell_end<R: Read + Seek>(payload: &SegmentReader<R>, rescue: &mut Rescue<'_>) {
    match &payload.end {
        End::Whole => {}
        End::Missing => rescue.leave_out(payload.sealed_bytes..payload.sealed_bytes),
        End::Trailing(bytes) => rescue.leave_out(bytes.clone()),
    }
}
