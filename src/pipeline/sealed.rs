//! Readers of the plaintext of an age payload: a seekable one for range reads, and a sequential one.
//!
//! The seekable one opens the final segment first, since only that proves the payload's length, then just the segments that are read.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use crate::format::age::error::{AgeError, PayloadDamage};
use crate::format::age::stream::{PayloadKey, Place, SEALED_LEN, SEGMENT_LEN, SegmentCipher, TAG_LEN};

/// Reads plaintext at any position. Errors in the payload hold an [`AgeError`].
pub struct SealedReader<R> {
    file: R,
    payload_offset: u64,
    cipher: SegmentCipher,
    final_index: u64,
    content_bytes: u64,
    position: u64,
    /// Index and plaintext of the segment opened last.
    segment: Option<(u64, Vec<u8>)>,
    opened_count: u64,
}

impl<R: Read + Seek> SealedReader<R> {
    /// A reader of the payload at `payload_offset` of `file`; authenticates its final segment.
    pub fn new(mut file: R, payload_offset: u64, key: &PayloadKey) -> io::Result<SealedReader<R>> {
        let sealed_bytes = file.seek(SeekFrom::End(0))?.saturating_sub(payload_offset);
        let final_index = sealed_bytes.div_ceil(SEALED_LEN as u64).saturating_sub(1);
        let final_bytes = sealed_bytes - final_index * SEALED_LEN as u64;
        let text_bytes = final_bytes.saturating_sub(TAG_LEN as u64);
        let content_bytes = final_index * SEGMENT_LEN as u64 + text_bytes;
        let cipher = SegmentCipher::new(key);
        let mut reader = SealedReader {
            file,
            payload_offset,
            cipher,
            final_index,
            content_bytes,
            position: 0,
            segment: None,
            opened_count: 0,
        };
        if final_bytes < TAG_LEN as u64 {
            return Err(damaged(final_index, PayloadDamage::Tampered));
        }
        if text_bytes == 0 && final_index > 0 {
            return Err(damaged(final_index, PayloadDamage::EmptyFinal));
        }
        reader.open(final_index)?;
        Ok(reader)
    }

    /// Length of the plaintext, in bytes.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Segments opened so far.
    pub fn opened_count(&self) -> u64 {
        self.opened_count
    }

    fn open(&mut self, index: u64) -> io::Result<&[u8]> {
        if self.segment.as_ref().is_none_or(|(opened, _)| *opened != index) {
            let mut segment = self.segment.take().map_or_else(Vec::new, |(_, bytes)| bytes);
            segment.resize(SEALED_LEN, 0);
            self.file.seek(SeekFrom::Start(self.payload_offset + index * SEALED_LEN as u64))?;
            if index == self.final_index {
                let text_len = self.content_bytes - index * SEGMENT_LEN as u64;
                segment.truncate(usize::try_from(text_len).map_err(io::Error::other)? + TAG_LEN);
            }
            self.file.read_exact(&mut segment)?;
            let place = if index == self.final_index { Place::Final } else { Place::Inner };
            match self.cipher.open(index, &mut segment) {
                Some(found) if found == place => {}
                Some(Place::Final) => return Err(damaged(index + 1, PayloadDamage::Trailing)),
                Some(Place::Inner) => return Err(damaged(index + 1, PayloadDamage::Missing)),
                None => return Err(damaged(index, PayloadDamage::Tampered)),
            }
            segment.truncate(segment.len() - TAG_LEN);
            self.opened_count += 1;
            self.segment = Some((index, segment));
        }
        Ok(self.segment.as_ref().map_or(&[], |(_, bytes)| bytes))
    }
}

impl<R: Read + Seek> Read for SealedReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.content_bytes || bytes.is_empty() {
            return Ok(0);
        }
        let position = self.position;
        let segment = self.open(position / SEGMENT_LEN as u64)?;
        let rest = &segment[usize::try_from(position % SEGMENT_LEN as u64).map_err(io::Error::other)?..];
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        self.position += len as u64;
        Ok(len)
    }
}

impl<R: Read + Seek> Seek for SealedReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.content_bytes.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

/// Reads the plaintext of an age payload once, front to back. A read returns nothing of a segment that is not authentic, and reports the
/// end only after the final segment.
pub struct OpeningReader<R> {
    payload: R,
    cipher: SegmentCipher,
    next_index: u64,
    segment: Vec<u8>,
    /// Length of the plaintext in `segment`, and how much of it was read.
    text_len: usize,
    taken_len: usize,
    is_final_seen: bool,
}

impl<R: Read> OpeningReader<R> {
    /// A reader of `payload`, which begins with the first segment.
    pub fn new(payload: R, key: &PayloadKey) -> OpeningReader<R> {
        let (cipher, segment) = (SegmentCipher::new(key), Vec::with_capacity(SEALED_LEN));
        OpeningReader { payload, cipher, next_index: 0, segment, text_len: 0, taken_len: 0, is_final_seen: false }
    }

    /// Segments opened so far.
    pub fn opened_count(&self) -> u64 {
        self.next_index
    }

    /// The reader of the sealed bytes.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.payload
    }

    /// Opens the next segment; `false` at the end of the payload.
    fn open_next(&mut self) -> io::Result<bool> {
        self.segment.clear();
        self.payload.by_ref().take(SEALED_LEN as u64).read_to_end(&mut self.segment)?;
        let index = self.next_index;
        match self.segment.is_empty() {
            true if self.is_final_seen => return Ok(false),
            true => return Err(damaged(index, PayloadDamage::Missing)),
            false => {}
        }
        let opened = self.cipher.open_next(index, self.is_final_seen, &mut self.segment);
        let place = opened.map_err(|found| damaged(index, found))?;
        (self.text_len, self.taken_len) = (self.segment.len() - TAG_LEN, 0);
        self.is_final_seen = place == Place::Final;
        self.next_index += 1;
        Ok(true)
    }
}

impl<R: Read> Read for OpeningReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.taken_len == self.text_len {
            if !self.open_next()? {
                return Ok(0);
            }
        }
        let rest = &self.segment[self.taken_len..self.text_len];
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        self.taken_len += len;
        Ok(len)
    }
}

fn damaged(index: u64, found: PayloadDamage) -> io::Error {
    let offset = index.saturating_mul(SEALED_LEN as u64);
    io::Error::new(ErrorKind::InvalidData, AgeError::Payload { index, offset, found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn sealed(content: &[u8], key: &PayloadKey) -> Vec<u8> {
        let cipher = SegmentCipher::new(key);
        let segments: Vec<&[u8]> = if content.is_empty() { vec![&[]] } else { content.chunks(SEGMENT_LEN).collect() };
        let mut payload = b"header".to_vec();
        for (index, text) in segments.iter().enumerate() {
            let place = if index + 1 == segments.len() { Place::Final } else { Place::Inner };
            let mut segment = [text, &[0; TAG_LEN][..]].concat();
            cipher.seal(index as u64, place, &mut segment);
            payload.extend(segment);
        }
        payload
    }

    #[test]
    fn every_place_reads_as_the_slice_and_opens_only_what_it_needs() {
        let key = PayloadKey::take(&mut [3; 32]);
        for len in [0, 1, SEGMENT_LEN - 1, SEGMENT_LEN, SEGMENT_LEN + 1, 3 * SEGMENT_LEN + 7] {
            let content: Vec<u8> = (0..len).map(|i| (i / 100) as u8).collect();
            let mut reader = SealedReader::new(Cursor::new(sealed(&content, &key)), 6, &key).unwrap();
            assert_eq!(reader.content_bytes(), len as u64);
            for start in [0, len / 2, len.saturating_sub(5), len] {
                reader.seek(SeekFrom::Start(start as u64)).unwrap();
                let (before, mut got) = (reader.opened_count(), Vec::new());
                reader.by_ref().take(100).read_to_end(&mut got).unwrap();
                assert_eq!(got, content[start..len.min(start + 100)], "{len} from {start}");
                assert!(reader.opened_count() - before <= 2);
            }
        }
    }

    #[test]
    fn a_payload_that_was_cut_or_added_to_is_refused_at_once() {
        let key = PayloadKey::take(&mut [3; 32]);
        let whole = sealed(&vec![7; 2 * SEGMENT_LEN + 9], &key);
        for cut in [0, 6, 7, 6 + SEALED_LEN, 6 + 2 * SEALED_LEN, whole.len() - 1] {
            assert!(SealedReader::new(Cursor::new(&whole[..cut]), 6, &key).is_err(), "cut at {cut}");
        }
        assert!(SealedReader::new(Cursor::new([&whole[..], b"x"].concat()), 6, &key).is_err());
        assert!(SealedReader::new(Cursor::new(whole), 6, &key).is_ok());
    }
}
