//! The read-rate limiter: a token bucket that fills at the permitted bytes per second and
//! holds a tenth of a second's worth. All readers of a run share one.
//!
//! The bucket is one number: the time at which all bytes taken so far are paid for. Each
//! take advances it; a thread waits while this time is in the future.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::store::sys::WakeUp;

/// Capacity of the bucket, as time.
const BURST: Duration = Duration::from_millis(100);

/// A read takes a fraction of a second's worth, so that the rate is even.
const READS_A_SECOND: u64 = 20;

/// A rate limit that all clones share.
#[derive(Clone)]
pub struct RateLimit {
    shared: Arc<Shared>,
    wake: WakeUp,
}

struct Shared {
    bytes_a_second: u64,
    started_at: Instant,
    /// The time at which all bytes taken are paid for, in nanoseconds from the start. Each take advances it.
    paid_ns: AtomicU64,
}

impl RateLimit {
    /// At most `bytes_a_second`, at least 1; `wake` interrupts a wait.
    pub fn new(bytes_a_second: u64, wake: WakeUp) -> RateLimit {
        let bytes_a_second = bytes_a_second.max(1);
        RateLimit {
            shared: Arc::new(Shared { bytes_a_second, started_at: Instant::now(), paid_ns: AtomicU64::new(0) }),
            wake,
        }
    }

    /// Takes `bytes` and waits until the limit permits them.
    fn take(&self, bytes: u64) -> io::Result<()> {
        let now = self.shared.started_at.elapsed();
        match self.shared.wait_for(bytes, now) {
            Duration::ZERO => Ok(()),
            wait => self.wake.pause_for(wait),
        }
    }
}

impl Shared {
    /// How long a thread that takes `bytes` waits; `now` is the time since the start.
    fn wait_for(&self, bytes: u64, now: Duration) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_a_second as f64);
        let (cost_ns, now_ns) = (nanoseconds(cost), nanoseconds(now));
        // Unused time beyond the burst is lost.
        let earliest_ns = now_ns.saturating_sub(nanoseconds(BURST));
        let move_on = |paid_ns: u64| Some(paid_ns.max(earliest_ns).saturating_add(cost_ns));
        let before_ns = self.paid_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, move_on).unwrap_or_default();
        let paid_ns = before_ns.max(earliest_ns).saturating_add(cost_ns);
        Duration::from_nanos(paid_ns.saturating_sub(now_ns))
    }
}

/// Reads `input` at the rate of `pace`, or without a limit.
pub fn paced(input: Box<dyn Read + Send>, pace: Option<&RateLimit>) -> Box<dyn Read + Send> {
    match pace {
        Some(pace) => Box::new(PacedReader::new(input, Some(pace.clone()))),
        None => input,
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads at a limited rate.
pub struct PacedReader<R> {
    input: R,
    pace: Option<RateLimit>,
}

impl<R> PacedReader<R> {
    /// Reads `input`, without a limit if `pace` is `None`.
    pub fn new(input: R, pace: Option<RateLimit>) -> PacedReader<R> {
        PacedReader { input, pace }
    }
}

impl<R: Read> Read for PacedReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(pace) = &self.pace else { return self.input.read(bytes) };
        let most = usize::try_from(pace.shared.bytes_a_second / READS_A_SECOND).unwrap_or(usize::MAX).max(1);
        let len = bytes.len().min(most);
        let len = self.input.read(&mut bytes[..len])?;
        pace.take(len as u64)?;
        Ok(len)
    }
}

impl<R: Seek> Seek for PacedReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.input.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn shared(bytes_a_second: u64) -> Shared {
        Shared { bytes_a_second, started_at: Instant::now(), paid_ns: AtomicU64::new(0) }
    }

    #[test]
    fn in_a_second_no_more_goes_than_a_second_and_the_burst_hold() {
        let shared = shared(1000);
        let (mut now, mut taken) = (Duration::ZERO, 0);
        while now < 10 * SECOND {
            now += shared.wait_for(50, now);
            taken += 50;
        }
        assert!((10_000..=10_200).contains(&taken), "{taken}");
    }

    #[test]
    fn what_was_not_taken_in_time_is_lost() {
        let shared = shared(1000);
        assert_eq!(shared.wait_for(100, 100 * SECOND), Duration::ZERO);
        let wait = shared.wait_for(1000, 100 * SECOND);
        assert!(wait > Duration::from_millis(990) && wait <= SECOND, "{wait:?}");
    }

    #[test]
    fn all_who_read_share_it() {
        let shared = shared(1000);
        let waits: Vec<Duration> = (0..4).map(|_| shared.wait_for(1000, Duration::ZERO)).collect();
        assert_eq!(waits, [1, 2, 3, 4].map(|seconds| seconds * SECOND));
    }
}
