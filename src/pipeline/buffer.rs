//! Buffers that are used again: once a run is warm nothing is allocated, and nothing zeroed, for a chunk.
//!
//! A [`Buffer`] goes back to its pool when it is dropped, wherever that happens. Its bytes are zeroed once, when it is made,
//! and keep old content afterwards; only the first `len` of them mean anything.
//!
//! All buffers of a pool serve every need: a new one is as long as the longest need so far. That wastes addresses, not
//! memory, since what was never written takes none. What was written is counted, and a buffer that comes back while the
//! pool's buffers together hold more than the budget is freed.
//!
//! Each buffer is a mapping of its own. An allocator may keep what is freed, and does so when lengths differ from buffer to buffer; a
//! mapping that goes is gone. Where there is none to be had, that is a failure of the run like others, and no abort.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use memmap2::{Advice, MmapMut};

use super::error::Cause;

/// Buffers are made in multiples of this, so that slightly different needs find each other's buffers.
const GRAIN: usize = 64 * 1024;

/// A huge page of x86-64, and of aarch64 with pages of 4 KiB.
const HUGE_PAGE_LEN: usize = 2 * 1024 * 1024;

/// A store of idle buffers, shared by all stages of a run.
#[derive(Clone, Debug)]
pub struct BufferPool(Arc<Shared>);

/// Every thread reads and writes these; none of them guards anything but a choice between using again and allocating.
#[derive(Debug)]
struct Shared {
    give: async_channel::Sender<Bytes>,
    take: async_channel::Receiver<Bytes>,
    /// Length of the buffers made from now on.
    buffer_len: AtomicUsize,
    /// Written bytes of all buffers, those in use counted as they were when last given back. Pools that share a budget share it.
    touched_bytes: Arc<AtomicUsize>,
    budget_bytes: usize,
    made_count: AtomicU64,
    taken_count: AtomicU64,
}

/// Memory, and how much of its front was ever written.
#[derive(Debug)]
struct Bytes {
    /// At least `len` of them; what is behind is there for the sake of alignment and never used.
    bytes: MmapMut,
    len: usize,
    /// How much of the front may lie in huge pages.
    huge_len: usize,
    touched_len: usize,
}

impl Bytes {
    /// Zeros. The whole huge pages in front are asked for as such, which saves faults and look-ups of addresses; behind them a buffer
    /// takes a page at a time, so that a frame a little longer than its chunk does not take two mebibytes more.
    fn new(len: usize) -> Result<Bytes, Cause> {
        let huge_len = len / HUGE_PAGE_LEN * HUGE_PAGE_LEN;
        // A length of whole huge pages makes the kernel begin at one.
        let mapped_len = if huge_len == 0 { len } else { len.next_multiple_of(HUGE_PAGE_LEN) };
        let bytes = MmapMut::map_anon(mapped_len).map_err(|_| Cause::NoMemory { bytes: len as u64 })?;
        if huge_len > 0 {
            // Advice; a kernel without huge pages has none to give.
            let _ = bytes.advise_range(Advice::HugePage, 0, huge_len);
        }
        Ok(Bytes { bytes, len, huge_len, touched_len: 0 })
    }

    /// Notes that the front of `len` bytes was written, and gives how much memory that took for the first time.
    fn touch(&mut self, len: usize) -> usize {
        let len = if len <= self.huge_len { len.next_multiple_of(HUGE_PAGE_LEN) } else { len };
        let new_bytes = len.saturating_sub(self.touched_len);
        self.touched_len += new_bytes;
        new_bytes
    }
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
    /// A pool that keeps idle buffers as long as all its buffers together hold at most `budget_bytes`, and at most
    /// `idle_count_max` of them.
    pub fn new(budget_bytes: usize, idle_count_max: usize) -> BufferPool {
        BufferPool::with_count(Arc::default(), budget_bytes, idle_count_max)
    }

    /// Another pool within the same budget, for buffers of other lengths: ones of the same length that serve all needs would
    /// come to be written from end to end.
    pub fn beside(&self, idle_count_max: usize) -> BufferPool {
        BufferPool::with_count(Arc::clone(&self.0.touched_bytes), self.0.budget_bytes, idle_count_max)
    }

    fn with_count(touched_bytes: Arc<AtomicUsize>, budget_bytes: usize, idle_count_max: usize) -> BufferPool {
        let (give, take) = async_channel::bounded(idle_count_max.max(1));
        BufferPool(Arc::new(Shared {
            give,
            take,
            buffer_len: AtomicUsize::new(GRAIN),
            touched_bytes,
            budget_bytes,
            made_count: AtomicU64::new(0),
            taken_count: AtomicU64::new(0),
        }))
    }

    /// An empty buffer with room for `capacity` bytes. Fails when there is no memory.
    pub fn take(&self, capacity: usize) -> Result<Buffer, Cause> {
        let shared = &*self.0;
        shared.taken_count.fetch_add(1, Ordering::Relaxed);
        while let Ok(memory) = shared.take.try_recv() {
            if memory.len >= capacity {
                return Ok(Buffer { memory: Some(memory), len: 0, pool: self.clone() });
            }
            shared.touched_bytes.fetch_sub(memory.touched_len, Ordering::Relaxed);
        }
        let rounded_len = capacity.max(1).next_multiple_of(GRAIN);
        let buffer_len = shared.buffer_len.fetch_max(rounded_len, Ordering::Relaxed).max(rounded_len);
        shared.made_count.fetch_add(1, Ordering::Relaxed);
        Ok(Buffer { memory: Some(Bytes::new(buffer_len)?), len: 0, pool: self.clone() })
    }

    /// A buffer that has no room yet, and takes no memory.
    pub fn nothing(&self) -> Buffer {
        Buffer { memory: None, len: 0, pool: self.clone() }
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
    /// Keeps `memory` for the next need, or frees it. `new_bytes` were written for the first time since it was taken.
    fn give_back(&self, memory: Bytes, new_bytes: usize) {
        let touched_bytes = self.touched_bytes.fetch_add(new_bytes, Ordering::Relaxed) + new_bytes;
        let touched_len = memory.touched_len;
        if touched_bytes > self.budget_bytes || self.give.try_send(memory).is_err() {
            self.touched_bytes.fetch_sub(touched_len, Ordering::Relaxed);
        }
    }
}

/// A run of bytes, of which the first `len` mean something.
#[derive(Debug)]
pub struct Buffer {
    memory: Option<Bytes>,
    len: usize,
    pool: BufferPool,
}

impl Buffer {
    /// Bytes that the buffer can hold.
    pub fn capacity(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.len)
    }

    /// The room behind the bytes that mean something. What is in it is left over from before.
    pub fn room(&mut self) -> &mut [u8] {
        let len = self.len;
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory.bytes[len..memory.len])
    }

    /// The bytes that mean something.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory.bytes[..len])
    }

    /// Takes in `len` bytes that were written to the front of [`room`](Buffer::room).
    pub fn extend_len(&mut self, len: usize) {
        assert!(len <= self.capacity() - self.len, "internal error: a buffer was extended past its end");
        self.len += len;
    }

    /// Lets go of all but the first `len` bytes that mean something.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends `bytes`; where there is no room, moves to a buffer from the same pool that is twice as long, or `expected_len` long if
    /// that is enough and less. Fails when there is no memory for that.
    pub fn append(&mut self, bytes: &[u8], expected_len: usize) -> Result<(), Cause> {
        let len = self.len + bytes.len();
        if len > self.capacity() {
            let doubled_len = 2 * self.capacity();
            let enough_len = if len <= expected_len { doubled_len.min(expected_len) } else { doubled_len };
            let mut longer = self.pool.take(enough_len.max(len))?;
            longer.append(self, 0)?;
            *self = longer;
        }
        self.room()[..bytes.len()].copy_from_slice(bytes);
        self.len = len;
        Ok(())
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory.bytes[..self.len])
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(mut memory) = self.memory.take() {
            let new_bytes = memory.touch(self.len);
            self.pool.0.give_back(memory, new_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &BufferPool, len: usize) -> Buffer {
        let mut buffer = pool.take(len).unwrap();
        buffer.extend_len(len);
        buffer
    }

    #[test]
    fn a_dropped_buffer_is_used_again() {
        let pool = BufferPool::new(1 << 20, 4);
        for _ in 0..100 {
            let mut buffer = pool.take(100_000).unwrap();
            buffer.append(b"content", 0).unwrap();
            assert_eq!(&*buffer, b"content");
        }
        assert_eq!(pool.figures(), PoolFigures { made_count: 1, taken_count: 100 });
    }

    #[test]
    fn a_buffer_that_comes_back_above_the_budget_is_freed() {
        let pool = BufferPool::new(100_000, 4);
        drop((filled(&pool, 70_000), filled(&pool, 70_000)));
        drop((pool.take(70_000).unwrap(), pool.take(70_000).unwrap()));
        assert_eq!(pool.figures().made_count, 3, "one was kept, the other freed and made anew");
    }

    #[test]
    fn what_was_never_written_does_not_count() {
        let pool = BufferPool::new(100_000, 4);
        for _ in 0..10 {
            drop((pool.take(1 << 20).unwrap(), filled(&pool, 1000)));
        }
        assert_eq!(pool.figures().made_count, 2);
        assert_eq!(pool.0.touched_bytes.load(Ordering::Relaxed), 1000);
    }

    #[test]
    fn a_huge_page_counts_as_a_whole() {
        let pool = BufferPool::new(64 << 20, 4);
        let touched_bytes = |len| {
            drop(filled(&pool, len));
            pool.0.touched_bytes.load(Ordering::Relaxed)
        };
        drop(pool.take((4 << 20) + 1000).unwrap());
        let whole = HUGE_PAGE_LEN;
        assert_eq!(
            [1, whole + 1, 2 * whole, 2 * whole + 7].map(touched_bytes),
            [whole, 2 * whole, 2 * whole, 2 * whole + 7]
        );
    }

    #[test]
    fn needs_of_many_lengths_come_to_share_buffers_of_one() {
        let pool = BufferPool::new(1 << 30, 8);
        for round in 0..50usize {
            drop((filled(&pool, round * 977 % 300_000), filled(&pool, 300_000)));
        }
        assert!(pool.figures().made_count <= 3, "{:?}", pool.figures());
    }

    #[test]
    fn more_than_there_is_is_an_error_and_no_abort() {
        let pool = BufferPool::new(1 << 20, 4);
        assert!(matches!(pool.take(1 << 60), Err(Cause::NoMemory { .. })));
    }

    #[test]
    fn a_buffer_grows_by_doubling_up_to_what_is_expected() {
        let pool = BufferPool::new(1 << 20, 4);
        let mut buffer = pool.take(2 * GRAIN).unwrap();
        buffer.append(&[1; 2 * GRAIN], 0).unwrap();
        buffer.append(&[2], 3 * GRAIN).unwrap();
        assert_eq!(buffer.capacity(), 3 * GRAIN);
        buffer.append(&[3; GRAIN], 3 * GRAIN).unwrap();
        assert_eq!(buffer.capacity(), 6 * GRAIN, "what was expected was not enough");
    }

    #[test]
    fn appending_past_the_end_keeps_the_bytes() {
        let pool = BufferPool::new(1 << 20, 4);
        let mut buffer = pool.take(10).unwrap();
        let content: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        content.chunks(977).for_each(|piece| buffer.append(piece, 0).unwrap());
        assert_eq!(&*buffer, &content[..]);
    }
}
