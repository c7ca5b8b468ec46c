//! One input in pieces, since what reads streams has to give the same answer for any cutting.

/// Cuts `bytes` into pieces whose lengths follow from `seed`: 0 gives single bytes, most others mixed lengths.
pub fn pieces(mut bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let len_max = 1 << (seed % 8);
    let mut state = u32::from(seed) * 2 + 1;
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = 1 + (state >> 16) as usize % len_max;
        let (piece, rest) = bytes.split_at(len.min(bytes.len()));
        bytes = rest;
        Some(piece)
    })
}
