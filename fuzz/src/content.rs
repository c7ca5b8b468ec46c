//! Content to compress and seal, generated from a length and a seed; it never repeats, so that bytes from the wrong place show.

/// Bytes that do not compress, determined by `seed`.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| next().to_le_bytes()).take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}

/// Numbered lines, which compress well.
pub fn lines(len: usize, seed: u64) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::with_capacity(len + 32);
    let mut number = seed % 1000;
    while text.len() < len {
        text.extend_from_slice(number.to_string().as_bytes());
        text.extend_from_slice(b": a line\n");
        number += 1;
    }
    text.truncate(len);
    text
}

/// Lines for an even seed, noise for an odd one.
pub fn either(len: usize, seed: u8) -> Vec<u8> {
    if seed.is_multiple_of(2) { lines(len, u64::from(seed)) } else { noise(len, u64::from(seed)) }
}
