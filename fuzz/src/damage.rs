//! Damage to intact files, such as a disk, a network or an attacker causes.

use crate::choices::Choices;

/// Truncates `bytes`, appends to them, or changes up to `flips_max` bytes. With four changes or more a magic number could turn into
/// another, and the file into another format.
pub fn slight(bytes: &mut Vec<u8>, flips_max: usize, choices: &mut Choices<'_>) {
    match choices.byte() % 4 {
        0 => bytes.truncate(choices.below(bytes.len() + 1)),
        1 => bytes.extend_from_slice(&vec![choices.byte(); choices.below(40)]),
        _ => (0..1 + choices.below(flips_max)).for_each(|_| flip(bytes, choices)),
    }
}

/// Makes up to four changes of any kind to bytes that are authenticated in units of `unit_len`.
pub fn any(bytes: &mut Vec<u8>, unit_len: usize, choices: &mut Choices<'_>) {
    for _ in 0..choices.byte() % 5 {
        let kind = choices.byte();
        let at = choices.below(bytes.len() + 1);
        match kind % 9 {
            0 => bytes.truncate(at),
            1 => flip(bytes, choices),
            2 => bytes.insert(at, choices.byte()),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.extend_from_slice(choices.take(20)),
            5 => bytes.truncate(at / unit_len.max(1) * unit_len),
            kind => move_units(bytes, unit_len, kind, choices),
        }
    }
}

/// Flips some bits of one byte.
pub fn flip(bytes: &mut [u8], choices: &mut Choices<'_>) {
    let (at, mask) = (choices.below(bytes.len()), choices.byte());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= mask;
    }
}

/// Swaps, repeats or removes whole units of `unit_len` bytes.
fn move_units(bytes: &mut Vec<u8>, unit_len: usize, kind: u8, choices: &mut Choices<'_>) {
    let mut units: Vec<Vec<u8>> = bytes.chunks(unit_len.max(1)).map(<[u8]>::to_vec).collect();
    rearrange(&mut units, kind, choices);
    *bytes = units.concat();
}

/// Swaps two of `units`, repeats one or removes one.
pub fn rearrange<T: Clone>(units: &mut Vec<T>, kind: u8, choices: &mut Choices<'_>) {
    let (from, to) = (choices.below(units.len()), choices.below(units.len()));
    match kind % 3 {
        _ if units.is_empty() => {}
        0 => units.swap(from, to),
        1 => units.insert(to, units[from].clone()),
        _ => drop(units.remove(from)),
    }
}
