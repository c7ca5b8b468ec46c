//! The cutter: lays out plaintext as segments and runs; only it numbers segments.
//!
//! A run is a buffer of consecutive segments, each followed by room for its tag, so that a worker seals them in place. A segment is known
//! to be final only when the input ends, so a full run is held back until more input arrives.

use std::ops::Range;

use super::stream::{Place, SEALED_LEN, SEGMENT_LEN, TAG_LEN};

/// Segments in a run: 384 KiB, a sixth of a millisecond of sealing, thirty times the cost of a handover. Eight would save 2 % more of the
/// time, but take 1.5 MiB more of the 64 MiB that a run of two workers promises to stay within.
pub const SEGMENTS_A_RUN: usize = 6;
/// Bytes of a full run, including tags.
pub const RUN_LEN: usize = SEGMENTS_A_RUN * SEALED_LEN;

/// Consecutive segments in one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of its first segment in the payload.
    pub first_index: u64,
    /// Its length in bytes, including tags.
    pub len: usize,
    /// Place of its last segment; all earlier ones are inner.
    pub place: Place,
}

impl Run {
    /// Each segment: its index, its place, and its byte range, including the tag.
    pub fn segments(self) -> impl Iterator<Item = (u64, Place, Range<usize>)> {
        (self.first_index..).zip((0..self.len).step_by(SEALED_LEN)).map(move |(index, start)| {
            let end = self.len.min(start + SEALED_LEN);
            (index, if end == self.len { self.place } else { Place::Inner }, start..end)
        })
    }
}

/// Lays out plaintext as runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cutter {
    first_index: u64,
    text_len: usize,
}

impl Cutter {
    /// Where in the current run the next plaintext goes: the rest of a segment. `None` when the run is full.
    pub fn room(&self) -> Option<Range<usize>> {
        let (segment, at) = (self.text_len / SEGMENT_LEN, self.text_len % SEGMENT_LEN);
        let start = segment * SEALED_LEN;
        (segment < SEGMENTS_A_RUN).then_some(start + at..start + SEGMENT_LEN)
    }

    /// The free places for plaintext in `run`, the current run, in order.
    pub fn rooms<'a>(&self, run: &'a mut [u8]) -> impl Iterator<Item = &'a mut [u8]> + use<'a> {
        let (first, at) = (self.text_len / SEGMENT_LEN, self.text_len % SEGMENT_LEN);
        let segments = run.chunks_mut(SEALED_LEN).take(SEGMENTS_A_RUN).enumerate().skip(first);
        segments.map(move |(index, segment)| &mut segment[if index == first { at } else { 0 }..SEGMENT_LEN])
    }

    /// Records that `len` bytes were put at the start of [`room`](Cutter::room), or of [`rooms`](Cutter::rooms).
    pub fn fill(&mut self, len: usize) {
        self.text_len += len;
        assert!(self.text_len <= SEGMENTS_A_RUN * SEGMENT_LEN, "internal error: a run was filled past its end");
    }

    /// Ends the current run and begins the next. An inner run must be full; the final run of a payload may be empty only if it is the first.
    pub fn close(&mut self, place: Place) -> Run {
        let segment_count = self.text_len.div_ceil(SEGMENT_LEN).max(1);
        assert!(place == Place::Final || self.room().is_none(), "internal error: an inner run that is not full");
        assert!(self.text_len > 0 || self.first_index == 0, "internal error: an empty final segment behind others");
        let run = Run { first_index: self.first_index, len: self.text_len + segment_count * TAG_LEN, place };
        *self = Cutter { first_index: self.first_index + segment_count as u64, text_len: 0 };
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runs of a payload of `len` bytes, filled in steps.
    fn runs(mut len: usize, step: usize) -> Vec<Run> {
        let (mut cutter, mut runs) = (Cutter::default(), Vec::new());
        while len > 0 {
            match cutter.room() {
                None => runs.push(cutter.close(Place::Inner)),
                Some(room) => {
                    let part_len = room.len().min(len).min(step);
                    cutter.fill(part_len);
                    len -= part_len;
                }
            }
        }
        runs.push(cutter.close(Place::Final));
        runs
    }

    #[test]
    fn the_rooms_of_a_run_are_all_of_it_but_what_is_filled_and_the_tags() {
        let mut bytes = vec![0; RUN_LEN];
        for filled_len in [0, 1, SEGMENT_LEN - 1, SEGMENT_LEN, 3 * SEGMENT_LEN + 9, SEGMENTS_A_RUN * SEGMENT_LEN] {
            let mut cutter = Cutter::default();
            cutter.fill(filled_len);
            let first = cutter.room();
            let free_lens: Vec<usize> = cutter.rooms(&mut bytes).map(|room| room.len()).collect();
            assert_eq!(free_lens.first().copied(), first.map(|room| room.len()), "{filled_len}");
            assert_eq!(filled_len + free_lens.iter().sum::<usize>(), SEGMENTS_A_RUN * SEGMENT_LEN);
            cutter.rooms(&mut bytes).for_each(|room| room.fill(1));
        }
        // No room overlaps a tag.
        let tags = bytes.chunks(SEALED_LEN).flat_map(|segment| &segment[SEGMENT_LEN..]);
        assert!(tags.copied().all(|byte| byte == 0));
    }

    #[test]
    fn segments_are_numbered_without_gap_and_the_last_one_is_final_whatever_the_length() {
        let edges = [
            0,
            1,
            SEGMENT_LEN - 1,
            SEGMENT_LEN,
            SEGMENT_LEN + 1,
            4 * SEGMENT_LEN,
            4 * SEGMENT_LEN + 1,
            9 * SEGMENT_LEN,
        ];
        for len in edges {
            let whole = runs(len, usize::MAX);
            assert_eq!(whole, runs(len, 7777));
            let segments: Vec<_> = whole.iter().flat_map(|run| run.segments()).collect();
            assert_eq!(segments.len(), len.div_ceil(SEGMENT_LEN).max(1));
            assert!(segments.iter().enumerate().all(|(i, (index, _, _))| i as u64 == *index));
            let (last, inner) = segments.split_last().unwrap();
            assert!(last.1 == Place::Final && inner.iter().all(|segment| segment.1 == Place::Inner));
            assert!(inner.iter().all(|segment| segment.2.len() == SEALED_LEN));
            let text_len: usize = segments.iter().map(|segment| segment.2.len() - TAG_LEN).sum();
            assert_eq!(text_len, len);
        }
    }
}
