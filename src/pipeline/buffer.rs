//! Buffers that are used again: once a run is warm nothing is allocated, and nothing zeroed, for a chunk.
//!
//! A [`Buffer`] goes back to its pool when it is dropped, wherever that happens. Its bytes are zeroed once, when it is made,
//! and keep old content afterwards; only the first `len` of them mean anything. The pool bounds what lies idle: buffers
//! in use are bounded by tokens, and what comes back above the budget is freed.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Buffers are made in multiples of this, so that slightly different needs find each other's buffers.
const GRAIN: usize = 64 * 1024;

/// A buffer may be this much longer than twice what was asked for and still serve; beyond, it is freed instead, so that
/// small needs do not hold on to large buffers.
const SLACK: usize = 256 * 1024;

/// A store of idle buffers, shared by all stages of a run.
#[derive(Clone, Debug)]
pub struct BufferPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    give: async_channel::Sender<Vec<u8>>,
    take: async_channel::Receiver<Vec<u8>>,
    /// Bytes of all buffers, in use and idle. Every thread adds and subtracts; it only steers freeing.
    allocated_bytes: AtomicUsize,
    budget_bytes: usize,
    made_count: AtomicU64,
    taken_count: AtomicU64,
}

/// How often a pool had to allocate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Buffers allocated.
    pub made_count: u64,
    /// Buffers handed out, new and used.
    pub taken_count: u64,
}

impl BufferPool {
    /// A pool that keeps idle buffers as long as all its buffers together are within `budget_bytes`, and at most
    /// `idle_count_max` of them.
    pub fn new(budget_bytes: usize, idle_count_max: usize) -> BufferPool {
        let (give, take) = async_channel::bounded(idle_count_max.max(1));
        let allocated_bytes = AtomicUsize::new(0);
        let (made_count, taken_count) = (AtomicU64::new(0), AtomicU64::new(0));
        BufferPool(Arc::new(Shared { give, take, allocated_bytes, budget_bytes, made_count, taken_count }))
    }

    /// An empty buffer with room for `capacity` bytes.
    pub fn take(&self, capacity: usize) -> Buffer {
        self.0.taken_count.fetch_add(1, Ordering::Relaxed);
        while let Ok(bytes) = self.0.take.try_recv() {
            if bytes.len() >= capacity && bytes.len() <= 2 * capacity + SLACK {
                return Buffer { bytes, len: 0, pool: self.clone() };
            }
            self.0.free(bytes);
        }
        let rounded = capacity.max(1).next_multiple_of(GRAIN);
        self.0.made_count.fetch_add(1, Ordering::Relaxed);
        self.0.allocated_bytes.fetch_add(rounded, Ordering::Relaxed);
        Buffer { bytes: vec![0; rounded], len: 0, pool: self.clone() }
    }

    /// How often this pool allocated so far.
    pub fn figures(&self) -> PoolFigures {
        PoolFigures {
            made_count: self.0.made_count.load(Ordering::Relaxed),
            taken_count: self.0.taken_count.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    fn free(&self, bytes: Vec<u8>) {
        self.allocated_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
    }
}

/// A run of bytes, of which the first `len` mean something.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    pool: BufferPool,
}

impl Buffer {
    /// Bytes that the buffer can hold.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// The room behind the bytes that mean something. What is in it is left over from before.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    /// Takes in `len` bytes that were written to the front of [`room`](Buffer::room).
    pub fn extend_len(&mut self, len: usize) {
        assert!(len <= self.bytes.len() - self.len, "internal error: a buffer was extended past its end");
        self.len += len;
    }

    /// Lets go of all but the first `len` bytes that mean something.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends `bytes`; where there is no room, moves to a buffer twice as long from the same pool.
    pub fn append(&mut self, bytes: &[u8]) {
        let len = self.len + bytes.len();
        if len > self.capacity() {
            let mut longer = self.pool.take(len.max(2 * self.capacity()));
            longer.append(self);
            *self = longer;
        }
        self.bytes[self.len..len].copy_from_slice(bytes);
        self.len = len;
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let shared = &self.pool.0;
        let bytes = std::mem::take(&mut self.bytes);
        if shared.allocated_bytes.load(Ordering::Relaxed) > shared.budget_bytes {
            shared.free(bytes);
        } else if let Err(refused) = shared.give.try_send(bytes) {
            shared.free(refused.into_inner());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again() {
        let pool = BufferPool::new(1 << 20, 4);
        for _ in 0..100 {
            let mut buffer = pool.take(100_000);
            buffer.append(b"content");
            assert_eq!(&*buffer, b"content");
        }
        assert_eq!(pool.figures(), PoolFigures { made_count: 1, taken_count: 100 });
    }

    #[test]
    fn a_buffer_that_comes_back_above_the_budget_is_freed() {
        let pool = BufferPool::new(100_000, 4);
        let both = (pool.take(70_000), pool.take(70_000));
        drop(both);
        drop((pool.take(70_000), pool.take(70_000)));
        assert_eq!(pool.figures().made_count, 3, "one was kept, the other freed and made anew");
    }

    #[test]
    fn a_small_need_does_not_hold_on_to_a_large_buffer() {
        let pool = BufferPool::new(1 << 30, 4);
        drop(pool.take(8 << 20));
        assert!(pool.take(1000).capacity() <= GRAIN);
        assert_eq!(pool.0.allocated_bytes.load(Ordering::Relaxed), GRAIN);
    }

    #[test]
    fn appending_past_the_end_keeps_the_bytes() {
        let pool = BufferPool::new(1 << 20, 4);
        let mut buffer = pool.take(10);
        let content: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        content.chunks(977).for_each(|piece| buffer.append(piece));
        assert_eq!(&*buffer, &content[..]);
    }
}
