//! Identifies the layer of a file by its first bytes, never by its name.

use super::age::armor;
use super::zstd::scan::{SKIPPABLE_MAGIC_FIRST, SKIPPABLE_MAGIC_MASK, ZSTD_MAGIC};

/// Bytes that [`detect`] needs from the start of a file; a shorter file is passed whole.
pub const DETECT_LEN: usize = 256;

/// Start of an age file's first line, in every version (C2SP age, "Header").
const AGE_PREFIX: &[u8] = b"age-encryption.org/";

/// As much of [`AGE_PREFIX`] as no other text begins with.
const AGE_WORD_LEN: usize = 4;

/// The magic number of format 0.N is this and N.
const OLD_MAGIC_BASE: u32 = 0xFD2F_B520;

/// The outermost layer of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A zstd frame, or a skippable frame before one (RFC 8878 section 3.1).
    Zstd,
    /// An age v1 header.
    Age,
    /// An age v1 file in ASCII armor.
    AgeArmor,
    /// No bytes.
    Empty,
    /// None of the above.
    Other,
}

/// Returns the layer that begins with `head`: the first [`DETECT_LEN`] bytes of a file, or all of a shorter one.
pub fn detect(head: &[u8]) -> Layer {
    if head.is_empty() {
        return Layer::Empty;
    }
    if head.starts_with(AGE_PREFIX) {
        return Layer::Age;
    }
    // White space may precede armor.
    if head.trim_ascii_start().starts_with(armor::BEGIN.as_bytes()) {
        return Layer::AgeArmor;
    }
    match head.first_chunk::<4>().map(|magic| u32::from_le_bytes(*magic)) {
        Some(ZSTD_MAGIC) => Layer::Zstd,
        Some(magic) if magic & SKIPPABLE_MAGIC_MASK == SKIPPABLE_MAGIC_FIRST => Layer::Zstd,
        _ => Layer::Other,
    }
}

/// What a whole file is the beginning of, too short for [`detect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The magic number of a zstd frame or of a skippable one.
    Magic,
    /// The first line of an age file.
    AgeLine,
}

/// What the whole file `head` is cut inside of.
pub fn part_of(head: &[u8]) -> Option<Part> {
    let skippable =
        |last: &[u8]| head.first().is_some_and(|first| first & 0xF0 == 0x50) && last.starts_with(&head[1..]);
    match head.len() {
        1..4 if ZSTD_MAGIC.to_le_bytes().starts_with(head) => Some(Part::Magic),
        2..4 if skippable(&SKIPPABLE_MAGIC_FIRST.to_le_bytes()[1..]) => Some(Part::Magic),
        // Less could begin any text.
        len if len >= AGE_WORD_LEN && AGE_PREFIX.starts_with(head) => Some(Part::AgeLine),
        _ => None,
    }
}

/// The minor version of a zstd file of a format before version 1: 2 to 7 (zstd's lib/legacy).
pub fn old_zstd_version(head: &[u8]) -> Option<u8> {
    let magic = head.first_chunk::<4>().map(|magic| u32::from_le_bytes(*magic))?;
    let version = magic.checked_sub(OLD_MAGIC_BASE).filter(|version| (2..=7).contains(version))?;
    u8::try_from(version).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_cut_at_their_beginning_and_old_ones_are_told() {
        for (head, part) in [
            (&b"\x28"[..], Some(Part::Magic)),
            (b"\x28\xb5\x2f", Some(Part::Magic)),
            (b"\x28\xb4", None),
            (b"\x5e\x2a\x4d", Some(Part::Magic)),
            (b"\x50", None),
            (b"\x60\x2a", None),
            (b"age-", Some(Part::AgeLine)),
            (b"age-encryption.org", Some(Part::AgeLine)),
            (b"age", None),
            (b"age-encryption.com", None),
            (b"", None),
        ] {
            assert_eq!(part_of(head), part, "{head:?}");
        }
        for (last, version) in [(0x21, None), (0x22, Some(2)), (0x27, Some(7)), (0x28, None), (0x1e, None)] {
            assert_eq!(old_zstd_version(&[last, 0xb5, 0x2f, 0xfd, 0]), version, "{last:x}");
        }
    }

    #[test]
    fn the_first_bytes_tell_the_layer() {
        for (head, layer) in [
            (&b""[..], Layer::Empty),
            (b"\x28\xb5\x2f\xfd\x24", Layer::Zstd),
            (b"\x50\x2a\x4d\x18", Layer::Zstd),
            (b"\x5f\x2a\x4d\x18", Layer::Zstd),
            (b"\x60\x2a\x4d\x18", Layer::Other),
            (b"\x28\xb5\x2f", Layer::Other),
            (b"age-encryption.org/v1\n-> X25519", Layer::Age),
            (b"age-encryption.org/v2\n", Layer::Age),
            (b"-----BEGIN AGE ENCRYPTED FILE-----\n", Layer::AgeArmor),
            (b" \r\n\t-----BEGIN AGE ENCRYPTED FILE-----\n", Layer::AgeArmor),
            (b"-----BEGIN PGP MESSAGE-----\n", Layer::Other),
            (b"plain text", Layer::Other),
        ] {
            assert_eq!(detect(head), layer, "{head:?}");
        }
    }
}
