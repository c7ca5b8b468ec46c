//! What is done about a file that fails: tried again where that may help, after a while; then the batch goes on, or stops.

use std::time::Duration;

/// What a share of failures needs to be told from chance.
const FILES_MIN: u64 = 20;

/// What is done when a file fails for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The others go on.
    Skip,
    /// So does the batch.
    Stop,
}

/// How many failures end a batch: a disk that is dying fails them all, and slowly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Breaker {
    /// It goes on whatever fails.
    Never,
    /// So many.
    Count(u64),
    /// Such a share of the files so far, from 0 to 1.
    Share(f64),
}

impl Breaker {
    /// Whether `failed` of `ended` files are too many.
    pub fn trips(self, failed: u64, ended: u64) -> bool {
        match self {
            Breaker::Never => false,
            Breaker::Count(count) => failed >= count,
            Breaker::Share(share) => ended >= FILES_MIN && failed as f64 > share * ended as f64,
        }
    }
}

/// How often a file is tried again, and after which while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries behind the first one.
    pub count: u32,
    /// The first while.
    pub base: Duration,
    /// The longest; each is twice the one before up to this.
    pub max: Duration,
}

impl Retry {
    /// What to wait in front of try `attempt`, counted from 1. `random` spreads it from a half to the whole, so that many who failed
    /// together do not come back together.
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
