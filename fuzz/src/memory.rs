//! An allocator that limits what Rust code allocates, since libFuzzer's `-malloc_limit_mb` needs a sanitizer's allocator.
//!
//! It does not see libzstd's allocations; `-rss_limit_mb` sees them once they are touched.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most bytes in one allocation. The largest of a restore with two workers and the shortest channels is a batch's content, 17 MiB; the
/// rest allows for the growing vectors of the targets.
const ALLOCATION_LEN_MAX: usize = 64 * 1024 * 1024;
/// The most bytes allocated at a time: a restore's window of 25 MiB and its idle buffers, each as long as the longest need so far,
/// touched or not.
const TOTAL_LEN_MAX: usize = 384 * 1024 * 1024;

/// The system allocator with a count of the bytes of all threads.
struct Limited {
    total_len: AtomicUsize,
}

#[global_allocator]
static LIMITED: Limited = Limited { total_len: AtomicUsize::new(0) };

impl Limited {
    fn count(&self, len: usize) {
        let total_len = self.total_len.fetch_add(len, Ordering::Relaxed) + len;
        if len > ALLOCATION_LEN_MAX || total_len > TOTAL_LEN_MAX {
            // Formatting a message needs memory; the fuzzer's stack trace shows the caller.
            std::process::abort();
        }
    }
}

// SAFETY: all calls go to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        self.count(new_size);
        self.total_len.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(memory, layout, new_size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.total_len.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}
