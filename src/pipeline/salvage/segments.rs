//! An age payload of which segments may be damaged: what opens is authentic, and the rest is passed over.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;

use crate::format::age::error::{AgeError, PayloadDamage};
use crate::format::age::stream::{PayloadKey, Place, SEALED_LEN, SEGMENT_LEN, SegmentCipher, TAG_LEN};

use super::Rescue;
use crate::pipeline::error::Cause;

/// Reads plaintext from any place. A read that touches a segment that does not open is an error that holds an [`AgeError`].
pub struct SegmentReader<R> {
    file: R,
    payload_offset: u64,
    cipher: SegmentCipher,
    sealed_bytes: u64,
    segment_count: u64,
    end: End,
    position: u64,
    /// The segment looked at last; no bytes if it did not open.
    at_hand: Option<(u64, Vec<u8>)>,
}

/// How a payload ends.
enum End {
    /// With its final segment, or with one that does not open and stands where that belongs.
    Whole,
    /// Behind a segment that says that others follow, or within one: how much is missing cannot be told.
    Missing,
    /// With its final segment, and behind that are these bytes of the payload, which belong to nothing.
    Trailing(Range<u64>),
}

impl<R: Read + Seek> SegmentReader<R> {
    /// A reader of the payload that begins at `payload_offset` of `file`. Where it ends is told by its final segment; where that is
    /// not at the end of the file, by the first that says it is the final one; and else by the end of the file.
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

    /// Length of the plaintext, that of damaged segments included, in bytes.
    pub fn content_bytes(&self) -> u64 {
        let last = self.segment_count.checked_sub(1);
        last.map_or(0, |last| last * SEGMENT_LEN as u64 + self.text_bytes(last))
    }

    /// Looks for the final segment, and counts no segments behind it.
    fn find_end(&mut self) -> End {
        let Some(last) = self.segment_count.checked_sub(1) else { return End::Missing };
        if self.look_at(last) == Some(Place::Final) {
            return End::Whole;
        }
        if let Some(index) = (0..last).find(|index| self.look_at(*index) == Some(Place::Final)) {
            self.segment_count = index + 1;
            return End::Trailing((index + 1) * SEALED_LEN as u64..self.sealed_bytes);
        }
        // A stub without a byte of text.
        if self.text_bytes(last) == 0 {
            self.segment_count -= 1;
            return End::Missing;
        }
        match self.look_at(last) {
            Some(Place::Inner) => End::Missing,
            _ => End::Whole,
        }
    }

    /// Opens the segment at `index`, if it does. One that cannot be read does not: a bad sector damages it as anything else.
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

    /// The text of the segment at `index`.
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

/// Tells what is wrong at the end of a payload.
pub fn tell_end<R: Read + Seek>(payload: &SegmentReader<R>, rescue: &mut Rescue<'_>) {
    match &payload.end {
        End::Whole => {}
        End::Missing => rescue.leave_out(payload.sealed_bytes..payload.sealed_bytes),
        End::Trailing(bytes) => rescue.leave_out(bytes.clone()),
    }
}
