//! Content that is nothing but zeros, as holes of sparse files read.

/// Bytes that are looked at before any others: ordinary content ends the search there.
const FIRST_LEN: usize = 16;

/// Whether all of `bytes` are zeros. Takes as long as a comparison of memory if they are, and next to nothing if one of the first is not.
pub fn are_zeros(bytes: &[u8]) -> bool {
    match bytes.split_first_chunk::<FIRST_LEN>() {
        None => bytes.iter().all(|byte| *byte == 0),
        // Zeros in front, and each byte is the same as the one FIRST_LEN before it.
        Some((first, rest)) => *first == [0; FIRST_LEN] && *rest == bytes[..rest.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_is_seen() {
        for len in [0, 1, 15, 16, 17, 31, 32, 33, 100, 4096] {
            let mut bytes = vec![0; len];
            assert!(are_zeros(&bytes), "{len}");
            for at in 0..len {
                bytes[at] = 1;
                assert!(!are_zeros(&bytes), "{at} of {len}");
                bytes[at] = 0;
            }
        }
    }
}
