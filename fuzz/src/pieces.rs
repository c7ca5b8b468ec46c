//! Cuts an input into pieces, since stream readers must give the same result for any cutting.

/// Cuts `bytes` into pieces of lengths determined by `seed`: single bytes for 0, mixed lengths for most others.
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
