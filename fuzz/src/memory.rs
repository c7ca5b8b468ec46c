//! A limit on what Rust code allocates, since libFuzzer's own (`-malloc_limit_mb`) needs a sanitizer's allocator.
//!
//! What libzstd allocates is not seen here; `-rss_limit_mb` sees it once it is touched.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// No single allocation is larger. The largest that a restore makes with two workers and the shortest channels is a batch's content, 17
/// MiB; the rest is room for the vectors of the targets to grow.
const ALLOCATION_LEN_MAX: usize = 64 * 1024 * 1024;
/// All that is allocated at a time stays below: a restore's window of 25 MiB and the buffers that it leaves idle, each as long as the
/// longest need so far, whether touched or not.
const TOTAL_LEN_MAX: usize = 384 * 1024 * 1024;

/// Counts what every thread allocates.
struct Limited {
    total_len: AtomicUsize,
}

#[global_allocator]
static LIMITED: Limited = Limited { total_len: AtomicUsize::new(0) };

impl Limited {
    fn count(&self, len: usize) {
        let total_len = self.total_len.fetch_add(len, Ordering::Relaxed) + len;
        if len > ALLOCATION_LEN_MAX || total_len > TOTAL_LEN_MAX {
            // Without memory nothing can be formatted; the stack that the fuzzer prints tells who asked.
            std::process::abort();
        }
    }
}

// SAFETY: all calls go to the system's allocator as they are; counting allocates nothing.
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
