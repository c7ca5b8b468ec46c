//! Windows of tokens: they bound the memory between the serial stages before and after a pool of workers.
//!
//! A bounded channel is not enough: while chunk 0 is slow, all others pass it and collect in the reorder ring. So the serial stage before
//! the pool takes a [`Token`] for each item it sends. The token travels with the item and is dropped when the stage after the pool is
//! done with it. A token has a weight, so that one mechanism counts items (weight 1) or bytes.
//!
//! Why no stage waits forever: a taker waits for tokens of items downstream of it, in channels, at workers or in the ring. Tokens are
//! taken in order of sequence numbers, so the next item in order always holds one; workers and ring can always move it on, which frees
//! a token. No stage holds a token of a window while it waits for another of the same window. A stage between two pools holds only the
//! first window's token of its current item, never those of items it gathers: one run of segments may hold bytes of hundreds of frames,
//! more than there are tokens. So waits only point downstream, and the last stage waits only for the output. After a failure an item can
//! be stuck in a channel without a reader; therefore the supervisor closes the [`Gate`] of each window.

use std::time::Instant;

use super::metrics::{WindowFigures, elapsed_ns};
use super::names::Stage;

/// Permission to have an item of some weight in flight; returned on drop.
#[derive(Debug)]
pub struct Token {
    weight: u64,
    give_back: async_channel::Sender<u64>,
}

impl Drop for Token {
    fn drop(&mut self) {
        // The channel has room for all tokens; at the end of a run nobody receives them.
        let _ = self.give_back.try_send(self.weight);
    }
}

/// Hands out tokens up to a total weight. Owned by the serial stage before the pool.
#[derive(Debug)]
pub struct Window {
    weight_max: u64,
    item_weight_min: u64,
    available: u64,
    given_back: async_channel::Receiver<u64>,
    give_back: async_channel::Sender<u64>,
    figures: WindowFigures,
}

/// Closes a window from outside; stages that wait for a token get an error.
#[derive(Clone, Debug)]
pub struct Gate(async_channel::Sender<u64>);

impl Gate {
    /// Closes the window. Later calls do nothing.
    pub fn close(&self) {
        self.0.close();
    }
}

/// Error of [`Window::take`] on a closed window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateClosed;

impl Window {
    /// A window of `item_count_max` items, whatever they weigh.
    pub fn of_items(name: Stage, item_count_max: usize) -> Window {
        Window::of_weight(name, item_count_max as u64, item_count_max)
    }

    /// A window of at most `item_count_max` items that together weigh at most `weight_max`. A heavier item passes alone.
    pub fn of_weight(name: Stage, weight_max: u64, item_count_max: usize) -> Window {
        assert!(item_count_max > 0 && weight_max >= item_count_max as u64, "internal error: a window of no items");
        let (give_back, given_back) = async_channel::bounded(item_count_max);
        // Rounded up, so that the channel has room for all tokens.
        let item_weight_min = weight_max.div_ceil(item_count_max as u64);
        let figures = WindowFigures { name, weight_max, item_count_max, weight_in_flight_max: 0, wait_ns: 0 };
        Window { weight_max, item_weight_min, available: weight_max, given_back, give_back, figures }
    }

    /// A handle that closes this window.
    pub fn gate(&self) -> Gate {
        Gate(self.give_back.clone())
    }

    /// Takes a token for an item of `weight`; blocks until enough others are returned.
    pub fn take(&mut self, weight: u64) -> Result<Token, GateClosed> {
        let weight = weight.clamp(self.item_weight_min, self.weight_max);
        while let Ok(given_back) = self.given_back.try_recv() {
            self.available += given_back;
        }
        if self.available < weight {
            let waiting_since = Instant::now();
            while self.available < weight {
                self.available += self.given_back.recv_blocking().map_err(|_| GateClosed)?;
            }
            self.figures.wait_ns += elapsed_ns(waiting_since);
        }
        if self.given_back.is_closed() {
            return Err(GateClosed);
        }
        self.available -= weight;
        self.figures.weight_in_flight_max = self.figures.weight_in_flight_max.max(self.weight_max - self.available);
        Ok(Token { weight, give_back: self.give_back.clone() })
    }

    /// What was measured so far.
    pub fn figures(&self) -> WindowFigures {
        self.figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_given_back_can_be_taken_again() {
        let mut window = Window::of_items(Stage::Seal, 2);
        let (first, _second) = (window.take(1).unwrap(), window.take(1).unwrap());
        drop(first);
        let _third = window.take(1).unwrap();
        assert_eq!(window.figures().weight_in_flight_max, 2);
    }

    #[test]
    fn a_taker_without_tokens_waits_until_one_comes_back() {
        let mut window = Window::of_items(Stage::Seal, 1);
        let token = window.take(1).unwrap();
        let taker = std::thread::spawn(move || window.take(1).map(drop));
        drop(token);
        assert_eq!(taker.join().unwrap(), Ok(()));
    }

    #[test]
    fn a_closed_gate_ends_the_wait() {
        let mut window = Window::of_items(Stage::Seal, 1);
        let _token = window.take(1).unwrap();
        window.gate().close();
        assert_eq!(window.take(1).unwrap_err(), GateClosed);
    }

    #[test]
    fn light_items_are_bounded_by_their_number_and_heavy_ones_go_alone() {
        let mut window = Window::of_weight(Stage::Seal, 1000, 4);
        let light: Vec<Token> = (0..4).map(|_| window.take(1).unwrap()).collect();
        assert_eq!(window.available, 0);
        drop(light);
        let heavy = window.take(u64::MAX).unwrap();
        assert_eq!((heavy.weight, window.available), (1000, 0));
    }
}
