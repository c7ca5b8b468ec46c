//! Reusable buffers: a warm run neither allocates nor zeroes memory for a chunk.
//!
//! A [`Buffer`] returns to its pool when it is dropped. Its bytes are zeroed once, when it is made, and keep old content afterwards; only
//! the first `len` of them are valid.
//!
//! All buffers of a pool serve every need: a new one is as long as the longest need so far. That wastes address space, not memory, since
//! pages never written take none. Written bytes are counted, and a buffer that comes back while the pool's buffers together hold more than
//! the budget is freed.
//!
//! Each buffer is its own mapping. An allocator may keep freed memory, and does when lengths differ from buffer to buffer; an unmapped
//! mapping is gone. A mapping that fails is a failure of the run like others, not an abort.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use memmap2::{Advice, MmapMut};

use super::error::Cause;

/// Buffer lengths are multiples of this, so that slightly different needs share buffers.
const GRAIN: usize = 64 * 1024;

/// A huge page of x86-64, and of aarch64 with 4 KiB pages.
const HUGE_PAGE_LEN: usize = 2 * 1024 * 1024;

/// Memory that a large need leaves for the many small ones, which abort the program when they fail: histograms, queues, messages.
const SPARE_BYTES: usize = 2 * 1024 * 1024;

/// Fails if `bytes` more, with what small needs take beside them, cannot be mapped. Where memory is limited, a large need asks here first:
/// it then is the one that fails, with an error.
pub(super) fn check_room(bytes: usize) -> Result<(), Cause> {
    let mapped = MmapMut::map_anon(bytes.saturating_add(SPARE_BYTES));
    mapped.map(drop).map_err(|_| Cause::NoMemory { bytes: bytes as u64 })
}

/// A store of idle buffers, shared by all stages of a run.
#[derive(Clone, Debug)]
pub struct BufferPool(Arc<Shared>);

/// All threads read and write these; they only decide between reuse and allocation.
#[derive(Debug)]
struct Shared {
    give: async_channel::Sender<Bytes>,
    take: async_channel::Receiver<Bytes>,
    /// Length of buffers made from now on.
    buffer_len: AtomicUsize,
    /// Written bytes of all buffers, as of each one's last return. Pools that share a budget share it.
    touched_bytes: Arc<AtomicUsize>,
    budget_bytes: usize,
    made_count: AtomicU64,
    taken_count: AtomicU64,
}

/// Memory, and how much of its front was ever written.
#[derive(Debug)]
struct Bytes {
    /// At least `len` bytes; the rest is for alignment and never used.
    bytes: MmapMut,
    len: usize,
    /// How much of the front may lie in huge pages.
    huge_len: usize,
    touched_len: usize,
}

impl Bytes {
    /// Zeroed memory. The whole huge pages in front are requested as such, which saves page faults and TLB misses; the rest takes a page at a
    /// time, so that a frame a little longer than its chunk does not take two mebibytes more.
    fn new(len: usize) -> Result<Bytes, Cause> {
        let huge_len = len / HUGE_PAGE_LEN * HUGE_PAGE_LEN;
        // The kernel aligns a mapping of whole huge pages to one.
        let mapped_len = if huge_len == 0 { len } else { len.next_multiple_of(HUGE_PAGE_LEN) };
        check_room(mapped_len)?;
        let bytes = MmapMut::map_anon(mapped_len).map_err(|_| Cause::NoMemory { bytes: len as u64 })?;
        if huge_len > 0 {
            // Only advice; a kernel without huge pages rejects it.
            let _ = bytes.advise_range(Advice::HugePage, 0, huge_len);
        }
        Ok(Bytes { bytes, len, huge_len, touched_len: 0 })
    }

    /// Records that the first `len` bytes were written, and returns how much memory that took for the first time.
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
    /// Buffers handed out, new and reused.
    pub taken_count: u64,
}

impl BufferPool {
    /// A pool that keeps idle buffers as long as all its buffers together hold at most `budget_bytes`, and at most `idle_count_max` of them.
    pub fn new(budget_bytes: usize, idle_count_max: usize) -> BufferPool {
        BufferPool::with_count(Arc::default(), budget_bytes, idle_count_max)
    }

    /// Another pool in the same budget, for buffers of other lengths: buffers of one length for all needs would end up written from end to
    /// end.
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

    /// An empty buffer with room for `capacity` bytes. Fails when mapping memory fails.
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

    /// A buffer without room, which takes no memory.
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
    /// Keeps `memory` for reuse, or frees it. `new_bytes` were written for the first time since it was taken.
    fn give_back(&self, memory: Bytes, new_bytes: usize) {
        let touched_bytes = self.touched_bytes.fetch_add(new_bytes, Ordering::Relaxed) + new_bytes;
        let touched_len = memory.touched_len;
        if touched_bytes > self.budget_bytes || self.give.try_send(memory).is_err() {
            self.touched_bytes.fetch_sub(touched_len, Ordering::Relaxed);
        }
    }
}

/// A byte buffer whose first `len` bytes are valid.
#[derive(Debug)]
pub struct Buffer {
    memory: Option<Bytes>,
    len: usize,
    pool: BufferPool,
}

impl Buffer {
    /// Capacity in bytes.
    pub fn capacity(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.len)
    }

    /// The room after the valid bytes. It holds old content.
    pub fn room(&mut self) -> &mut [u8] {
        let len = self.len;
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory.bytes[len..memory.len])
    }

    /// The valid bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory.bytes[..len])
    }

    /// Makes valid the `len` bytes that were written to the front of [`room`](Buffer::room).
    pub fn extend_len(&mut self, len: usize) {
        assert!(len <= self.capacity() - self.len, "internal error: a buffer was extended past its end");
        self.len += len;
    }

    /// Keeps only the first `len` valid bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends `bytes`; without room, moves to a buffer from the same pool that is twice as long, or `expected_len` long if that is enough
    /// and less. Fails when mapping memory fails.
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
