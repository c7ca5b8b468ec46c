//! The encrypted layer: cuts, seals and opens runs of segments, and checks that all are there.

use std::io::IoSliceMut;

use crate::format::age::cut::{Cutter, RUN_LEN, Run};
use crate::format::age::error::{AgeError, PayloadDamage};
use crate::format::age::stream::{Place, SEALED_LEN, SEGMENT_LEN, SegmentCipher, TAG_LEN};

use super::buffer::{Buffer, BufferPool};
use super::endpoints::Source;
use super::error::{Cause, Stop};

/// A run to seal.
pub struct PlainRun {
    /// Its layout.
    pub run: Run,
    /// Its segments, each with room for its tag.
    pub bytes: Buffer,
}

/// Lays out plaintext as runs: the body of the serial stage before the sealing workers.
pub struct RunCutter {
    cutter: Cutter,
    bytes: Buffer,
    pool: BufferPool,
}

impl RunCutter {
    /// Takes buffers from `pool`.
    pub fn new(pool: BufferPool) -> RunCutter {
        RunCutter { cutter: Cutter::default(), bytes: pool.nothing(), pool }
    }

    /// Takes the next bytes of plaintext; `emit` receives the runs they fill.
    pub fn push(&mut self, mut text: &[u8], emit: &mut impl FnMut(PlainRun) -> Result<(), Stop>) -> Result<(), Stop> {
        while !text.is_empty() {
            match self.cutter.room() {
                None => self.emit(Place::Inner, emit)?,
                Some(room) => {
                    let (part, rest) = text.split_at(room.len().min(text.len()));
                    self.bytes()?.room()[room.start..][..part.len()].copy_from_slice(part);
                    self.cutter.fill(part.len());
                    text = rest;
                }
            }
        }
        Ok(())
    }

    /// Reads the next plaintext from `source` to where it is sealed; `emit` receives a full run once more input follows it. Returns the
    /// number of bytes, 0 at the end of the input.
    pub fn read(
        &mut self,
        source: &mut Source,
        emit: &mut impl FnMut(PlainRun) -> Result<(), Stop>,
    ) -> Result<usize, Stop> {
        let is_full = self.cutter.room().is_none();
        let mut next = if is_full { self.pool.take(RUN_LEN)? } else { self.pool.nothing() };
        let (cutter, bytes) = match is_full {
            true => (Cutter::default(), &mut next),
            false => (self.cutter, self.bytes()?),
        };
        let mut rooms: Vec<IoSliceMut<'_>> = cutter.rooms(bytes.room()).map(IoSliceMut::new).collect();
        let len = source.read_vectored(&mut rooms)?;
        if is_full && len > 0 {
            self.emit(Place::Inner, emit)?;
            self.bytes = next;
        }
        self.cutter.fill(len);
        Ok(len)
    }

    /// Ends the plaintext. Call it only once that was announced.
    pub fn finish(&mut self, emit: &mut impl FnMut(PlainRun) -> Result<(), Stop>) -> Result<(), Stop> {
        self.emit(Place::Final, emit)
    }

    fn emit(&mut self, place: Place, emit: &mut impl FnMut(PlainRun) -> Result<(), Stop>) -> Result<(), Stop> {
        let run = self.cutter.close(place);
        self.bytes()?.extend_len(run.len);
        emit(PlainRun { run, bytes: std::mem::replace(&mut self.bytes, self.pool.nothing()) })
    }

    /// The current run.
    fn bytes(&mut self) -> Result<&mut Buffer, Stop> {
        if self.bytes.capacity() == 0 {
            self.bytes = self.pool.take(RUN_LEN)?;
        }
        Ok(&mut self.bytes)
    }
}

/// Seals every segment of a run in place.
pub fn seal_run(cipher: &SegmentCipher, plain: PlainRun) -> Buffer {
    let PlainRun { run, mut bytes } = plain;
    for (index, place, range) in run.segments() {
        cipher.seal(index, place, &mut bytes.bytes_mut()[range]);
    }
    bytes
}

/// A run as read.
pub struct SealedRun {
    first_index: u64,
    bytes: Buffer,
}

/// Reads a payload run by run.
pub struct RunReader {
    next_index: u64,
    pool: BufferPool,
}

impl RunReader {
    /// Takes buffers from `pool`.
    pub fn new(pool: BufferPool) -> RunReader {
        RunReader { next_index: 0, pool }
    }

    /// The next run; `None` at the end of the input.
    pub fn read(&mut self, source: &mut Source) -> Result<Option<SealedRun>, Stop> {
        let mut bytes = self.pool.take(RUN_LEN)?;
        let len = source.fill(&mut bytes.room()[..RUN_LEN])?;
        bytes.extend_len(len);
        let first_index = self.next_index;
        self.next_index += (len / SEALED_LEN) as u64;
        Ok((len > 0).then_some(SealedRun { first_index, bytes }))
    }
}

/// A run whose segments were opened, up to the first that is not authentic.
pub struct OpenedRun {
    first_index: u64,
    bytes: Buffer,
    /// Bytes of plaintext; every segment but the last is full.
    text_len: usize,
    is_final_seen: bool,
    damage: Option<(u64, PayloadDamage)>,
}

impl OpenedRun {
    /// The authentic plaintext, segment by segment.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let bytes = &*self.bytes;
        (0..self.text_len.div_ceil(SEGMENT_LEN)).map(move |i| {
            let len = SEGMENT_LEN.min(self.text_len - i * SEGMENT_LEN);
            &bytes[i * SEALED_LEN..][..len]
        })
    }
}

/// Opens the segments of a run in place, up to the first that is not authentic. Authentic plaintext still comes out; [`RunCheck`] fails
/// after it.
pub fn open_run(cipher: &SegmentCipher, sealed: SealedRun) -> OpenedRun {
    let SealedRun { first_index, mut bytes } = sealed;
    let (mut text_len, mut is_final_seen, mut damage) = (0, false, None);
    for (index, segment) in (first_index..).zip(bytes.bytes_mut().chunks_mut(SEALED_LEN)) {
        match cipher.open_next(index, is_final_seen, segment) {
            Ok(place) => {
                text_len += segment.len() - TAG_LEN;
                is_final_seen = place == Place::Final;
            }
            Err(found) => {
                damage = Some((index, found));
                break;
            }
        }
    }
    OpenedRun { first_index, bytes, text_len, is_final_seen, damage }
}

/// Checks that a payload ends with its final segment.
#[derive(Default)]
pub struct RunCheck {
    next_index: u64,
    is_final_seen: bool,
}

impl RunCheck {
    /// Call it before using anything of `run`: nothing may follow the final segment.
    pub fn before(&self, run: &OpenedRun) -> Result<(), Stop> {
        if self.is_final_seen { Err(damaged(run.first_index, PayloadDamage::Trailing)) } else { Ok(()) }
    }

    /// Call it after using the authentic part of `run`.
    pub fn behind(&mut self, run: &OpenedRun) -> Result<(), Stop> {
        self.next_index = run.first_index + run.text_len.div_ceil(SEGMENT_LEN) as u64;
        self.is_final_seen = run.is_final_seen;
        run.damage.map_or(Ok(()), |(index, found)| Err(damaged(index, found)))
    }

    /// Call it at the end of the payload.
    pub fn finish(&self) -> Result<(), Stop> {
        if self.is_final_seen { Ok(()) } else { Err(damaged(self.next_index, PayloadDamage::Missing)) }
    }
}

fn damaged(index: u64, found: PayloadDamage) -> Stop {
    let offset = index.saturating_mul(SEALED_LEN as u64);
    Stop::Failed(Cause::Age(AgeError::Payload { index, offset, found }))
}
