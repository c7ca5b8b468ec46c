//! The reorder ring: puts items that workers finished out of order back in order, by sequence number.
//!
//! It uses no clock and no thread. The number of tokens bounds its length; see [`window`](super::window).

use std::collections::VecDeque;

/// Holds items until all before them have left.
#[derive(Debug)]
pub struct Reorder<T> {
    next_seq: u64,
    /// Slot `i` is for item `next_seq + i`.
    slots: VecDeque<Option<T>>,
    held_count: usize,
}

impl<T> Default for Reorder<T> {
    fn default() -> Reorder<T> {
        Reorder { next_seq: 0, slots: VecDeque::new(), held_count: 0 }
    }
}

impl<T> Reorder<T> {
    /// Inserts the item with number `seq`. Panics if that number has left already or is held, which no input can cause.
    pub fn insert(&mut self, seq: u64, item: T) {
        let ahead = seq.checked_sub(self.next_seq).expect("internal error: an item came again after it had left");
        let slot = usize::try_from(ahead).expect("internal error: a sequence number far outside the window");
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        let before = self.slots[slot].replace(item);
        assert!(before.is_none(), "internal error: two items with sequence number {seq}");
        self.held_count += 1;
    }

    /// The next item in order, if present.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        let item = self.slots.front_mut()?.take()?;
        self.slots.pop_front();
        let seq = self.next_seq;
        self.next_seq += 1;
        self.held_count -= 1;
        Some((seq, item))
    }

    /// The next number: how many items have left.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// How many items are held.
    pub fn held_count(&self) -> usize {
        self.held_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_permutation_leaves_in_order(order in Just((0..50u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut reorder = Reorder::default();
            let mut left = Vec::new();
            for seq in order {
                reorder.insert(seq, seq * 10);
                while let Some((seq, item)) = reorder.pop() {
                    prop_assert_eq!(item, seq * 10);
                    left.push(seq);
                }
            }
            prop_assert_eq!(left, (0..50).collect::<Vec<_>>());
            prop_assert_eq!(reorder.held_count(), 0);
        }
    }

    #[test]
    fn nothing_leaves_before_the_first() {
        let mut reorder = Reorder::default();
        (1..9).for_each(|seq| reorder.insert(seq, ()));
        assert_eq!((reorder.pop(), reorder.held_count()), (None, 8));
        reorder.insert(0, ());
        assert_eq!(std::iter::from_fn(|| reorder.pop()).count(), 9);
    }

    #[test]
    #[should_panic(expected = "two items with sequence number 3")]
    fn a_duplicate_is_an_internal_error() {
        let mut reorder = Reorder::default();
        reorder.insert(3, ());
        reorder.insert(3, ());
    }

    #[test]
    #[should_panic(expected = "came again after it had left")]
    fn a_stale_item_is_an_internal_error() {
        let mut reorder = Reorder::default();
        reorder.insert(0, ());
        reorder.pop();
        reorder.insert(0, ());
    }
}
