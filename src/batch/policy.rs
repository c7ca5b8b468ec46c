//! Failure policy: retries a file after a transient error, with backoff; then the batch goes on or stops.

use std::time::Duration;

/// Files before a share of failures is significant.
const FILES_MIN: u64 = 20;

/// What to do when a file fails for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Go on with the other files.
    Skip,
    /// Stop the batch.
    Stop,
}

/// The number of failures that ends a batch: a dying disk fails all files, and slowly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Breaker {
    /// No number.
    Never,
    /// This number.
    Count(u64),
    /// More than this share of the ended files, from 0 to 1.
    Share(f64),
}

impl Breaker {
    /// Whether `failed` of `ended` files end the batch.
    pub fn trips(self, failed: u64, ended: u64) -> bool {
        match self {
            Breaker::Never => false,
            Breaker::Count(count) => failed >= count,
            Breaker::Share(share) => ended >= FILES_MIN && failed as f64 > share * ended as f64,
        }
    }
}

/// Retry a file `count` times, with backoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Retries after the first attempt.
    pub count: u32,
    /// First backoff.
    pub base: Duration,
    /// Longest backoff; each doubles the last up to this.
    pub max: Duration,
}

impl Retry {
    /// The wait before retry `attempt`, counted from 1. `random` picks it from the upper
    /// half, so that files that failed together do not retry together.
    pub fn backoff(self, attempt: u32, random: u64) -> Duration {
        let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.base.saturating_mul(factor).min(self.max);
        whole.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry { count: 5, base: Duration::from_millis(100), max: Duration::from_secs(1) };

    #[test]
    fn whiles_double_up_to_the_longest_and_are_spread_over_their_later_half() {
        let wait = |attempt, random| RETRY.backoff(attempt, random).as_millis();
        assert_eq!([1, 2, 3, 4, 5, 40].map(|attempt| wait(attempt, u64::MAX)), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!([1, 2, 40].map(|attempt| wait(attempt, 0)), [50, 100, 500]);
    }

    #[test]
    fn a_breaker_trips_on_a_count_or_on_a_share_of_enough_files() {
        assert!(!Breaker::Never.trips(1000, 1000));
        assert_eq!([2, 3].map(|failed| Breaker::Count(3).trips(failed, 1000)), [false, true]);
        let half = Breaker::Share(0.5);
        assert_eq!(
            [(19, 19), (10, 20), (11, 20)].map(|(failed, ended)| half.trips(failed, ended)),
            [false, false, true]
        );
    }
}
