//! A fuzz target for the reorder ring: items that arrive in any order within the window leave in order, each once.
//!
//! A number that arrives twice, or again after it has left, gives an internal error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::pipeline::reorder::Reorder;
use pipeline_fuzz::choices::Choices;
use pipeline_fuzz::panics::panic_of;

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    let item_count_max = 1 + u64::from(choices.byte()) % 70;
    let mut ring = Reorder::default();
    // Sequence numbers of the items at the workers.
    let mut working: Vec<u64> = Vec::new();
    let (mut handed_out, mut left_count) = (0, 0);
    while !choices.is_empty() {
        let choice = choices.byte();
        if choice.is_multiple_of(2) && handed_out - left_count < item_count_max {
            working.push(handed_out);
            handed_out += 1;
        } else if !working.is_empty() {
            let seq = working.swap_remove(usize::from(choice / 2) % working.len());
            ring.insert(seq, seq ^ 0xFF);
        }
        if choice % 8 < 6 {
            left_count += pop_all(&mut ring, left_count);
        }
        assert_eq!(ring.held_count() as u64, handed_out - left_count - working.len() as u64);
        assert_eq!(ring.next_seq(), left_count);
    }
    check_wrong_numbers(&mut ring, &working, handed_out);
});

/// Returns the number of items that left.
fn pop_all(ring: &mut Reorder<u64>, first: u64) -> u64 {
    let mut count = 0;
    while let Some((seq, item)) = ring.pop() {
        assert_eq!((seq, item), (first + count, seq ^ 0xFF), "out of order");
        count += 1;
    }
    count
}

fn check_wrong_numbers(ring: &mut Reorder<u64>, working: &[u64], handed_out: u64) {
    let next = ring.next_seq();
    let held = (next..handed_out).find(|seq| !working.contains(seq));
    for seq in held.into_iter().chain(next.checked_sub(1)) {
        let panic = panic_of(|| ring.insert(seq, 0)).unwrap_or_default();
        assert!(panic.starts_with("internal error: "), "{seq} came again: {panic:?}");
    }
}
