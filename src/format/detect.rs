//! Identifies the layer of a file by its first bytes, never by its name.

use super::age::armor;
use super::zstd::scan::{SKIPPABLE_MAGIC_FIRST, SKIPPABLE_MAGIC_MASK, ZSTD_MAGIC};

/// Bytes that [`detect`] needs from the start of a file; a shorter file is passed whole.
pub const DETECT_LEN: usize = 256;

/// Start of an age file's first line, in every version (C2SP age, "Header").
const AGE_PREFIX: &[u8] = b"age-encryption.org/";

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

#[cfg(test)]
mod tests {
    use super::*;

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
