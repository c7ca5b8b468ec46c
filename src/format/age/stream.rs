//! The payload of an age file (C2SP age, "Payload"; STREAM): segments of 64 KiB, each sealed with ChaCha20-Poly1305 (RFC 8439).
//!
//! A nonce is a pure function of a segment's index and final flag, so segments are sealed and opened in any order. Only the cutter
//! numbers segments.

use std::sync::Arc;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use zeroize::{Zeroize, Zeroizing};

use super::error::PayloadDamage;

/// Bytes of plaintext in every segment but the final one.
pub const SEGMENT_LEN: usize = 64 * 1024;
/// Bytes of a Poly1305 tag.
pub const TAG_LEN: usize = 16;
/// Bytes of every sealed segment but the final one.
pub const SEALED_LEN: usize = SEGMENT_LEN + TAG_LEN;

/// The key that seals the segments of one payload. Wiped on drop of the last clone; not printable. It stays in one place, since a move would leave
/// a copy behind.
#[derive(Clone)]
pub struct PayloadKey(Arc<Zeroizing<[u8; 32]>>);

impl PayloadKey {
    /// Takes a key that was derived for one payload, and wipes `key`.
    pub fn take(key: &mut [u8; 32]) -> PayloadKey {
        let mut place = Arc::new(Zeroizing::new([0; 32]));
        Arc::get_mut(&mut place).expect("internal error: a new key with two owners").copy_from_slice(key);
        key.zeroize();
        PayloadKey(place)
    }
}

impl std::fmt::Debug for PayloadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PayloadKey")
    }
}

/// Whether a segment is the final one of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Other segments follow.
    Inner,
    /// The final one.
    Final,
}

/// Eleven bytes of big-endian index, then 1 for the final segment, else 0.
fn nonce(index: u64, place: Place) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&index.to_be_bytes());
    bytes[11] = u8::from(place == Place::Final);
    bytes.into()
}

/// Seals and opens segments. Each worker makes its own.
pub struct SegmentCipher(PayloadKey);

impl SegmentCipher {
    /// For the segments of one payload.
    pub fn new(key: &PayloadKey) -> SegmentCipher {
        SegmentCipher(key.clone())
    }

    /// For one segment, so that no copy of the key outlives that.
    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&**self.0.0).into())
    }

    /// Seals `segment` in place: plaintext, then [`TAG_LEN`] bytes of room for the tag. Never seal a pair of key and index twice.
    pub fn seal(&self, index: u64, place: Place, segment: &mut [u8]) {
        let (text, tag) = segment.split_at_mut(segment.len() - TAG_LEN);
        assert!(text.len() <= SEGMENT_LEN, "internal error: a segment of {} bytes", text.len());
        let sealed = self.cipher().encrypt_inout_detached(&nonce(index, place), &[], text.into());
        tag.copy_from_slice(&sealed.expect("64 KiB are far below the cipher's limit"));
    }

    /// Opens `segment` in place: sealed bytes, then the tag. Returns its place; the plaintext is all but the last [`TAG_LEN`] bytes.
    /// Returns `None`, and leaves the bytes unchanged, if it is not authentic. A segment shorter than [`SEALED_LEN`] can only be the
    /// final one.
    pub fn open(&self, index: u64, segment: &mut [u8]) -> Option<Place> {
        let (text, tag) = segment.split_at_mut(segment.len().checked_sub(TAG_LEN)?);
        let is_full = text.len() == SEGMENT_LEN;
        let tag = Tag::try_from(&*tag).expect("sixteen bytes");
        let cipher = self.cipher();
        let mut opens = |place| {
            let opened = cipher.decrypt_inout_detached(&nonce(index, place), &[], (&mut *text).into(), &tag);
            opened.is_ok()
        };
        if is_full && opens(Place::Inner) {
            return Some(Place::Inner);
        }
        opens(Place::Final).then_some(Place::Final)
    }

    /// Opens the segment at `index` of a payload that is read in order, by the rules of the age specification: nothing follows the final
    /// segment, and only the first segment may hold no text.
    pub fn open_next(&self, index: u64, is_final_seen: bool, segment: &mut [u8]) -> Result<Place, PayloadDamage> {
        match self.open(index, segment) {
            _ if is_final_seen => Err(PayloadDamage::Trailing),
            None => Err(PayloadDamage::Tampered),
            Some(Place::Final) if segment.len() == TAG_LEN && index > 0 => Err(PayloadDamage::EmptyFinal),
            Some(place) => Ok(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher() -> SegmentCipher {
        SegmentCipher::new(&PayloadKey::take(&mut [7; 32]))
    }

    fn sealed(index: u64, place: Place, text: &[u8]) -> Vec<u8> {
        let mut segment = [text, &[0; TAG_LEN]].concat();
        cipher().seal(index, place, &mut segment);
        segment
    }

    #[test]
    fn a_key_is_taken_into_one_place_and_wiped_where_it_was() {
        let mut key = [7; 32];
        let (taken, moved) = (PayloadKey::take(&mut key), |key: PayloadKey| key);
        let place = Arc::as_ptr(&taken.0);
        let clone = moved(taken.clone());
        assert_eq!((key, Arc::as_ptr(&moved(taken).0), Arc::as_ptr(&clone.0)), ([0; 32], place, place));
        assert!(Arc::ptr_eq(&SegmentCipher::new(&clone).0.0, &clone.0));
    }

    #[test]
    fn a_nonce_is_the_index_and_the_final_flag() {
        assert_eq!(nonce(0, Place::Inner), Nonce::from([0; 12]));
        assert_eq!(nonce(0x0102, Place::Final), Nonce::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1]));
        assert_eq!(nonce(u64::MAX, Place::Inner)[..3], [0; 3]);
    }

    #[test]
    fn what_is_sealed_opens_at_its_index_as_what_it_was() {
        for (place, len) in
            [(Place::Inner, SEGMENT_LEN), (Place::Final, SEGMENT_LEN), (Place::Final, 5), (Place::Final, 0)]
        {
            let text = vec![b'x'; len];
            let whole = sealed(9, place, &text);
            let mut segment = whole.clone();
            assert_eq!(cipher().open(9, &mut segment), Some(place));
            assert_eq!(segment[..len], text);
            for index in [8, 10] {
                let mut moved = whole.clone();
                assert_eq!(cipher().open(index, &mut moved), None);
                assert_eq!(moved, whole, "what is not authentic is left as it was");
            }
        }
    }

    #[test]
    fn a_short_segment_can_only_be_the_final_one() {
        assert_eq!(cipher().open(0, &mut sealed(0, Place::Inner, b"short")), None);
        for len in 0..TAG_LEN {
            assert_eq!(cipher().open(0, &mut vec![0; len]), None);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let whole = sealed(3, Place::Final, b"some text");
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(cipher().open(3, &mut flipped), None, "bit {bit}");
        }
    }
}
