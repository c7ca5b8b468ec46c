//! CPU slots: permits that carry lazily created codec contexts.
//!
//! In a single run each worker has its own slot. Runs side by side share a fixed number of slots, and a step waits until one is free:
//! however many files and threads there are, they use no more CPUs and no more memory for contexts than one run would.

use std::num::NonZeroUsize;

use crate::format::zstd::ZstdError;
use crate::format::zstd::codec::{Compressor, Decompressor, Level};

/// Codec contexts, created on first use.
#[derive(Default)]
pub struct CodecContexts {
    compressor: Option<(Level, Compressor)>,
    decompressor: Option<Decompressor>,
}

impl CodecContexts {
    /// A compressor for `level`. Fails when libzstd cannot allocate it.
    pub fn compressor(&mut self, level: Level) -> Result<&mut Compressor, ZstdError> {
        match &mut self.compressor {
            Some((made_for, _)) if *made_for == level => {}
            other => *other = Some((level, Compressor::new(level)?)),
        }
        Ok(&mut self.compressor.as_mut().expect("it was made above").1)
    }

    /// A decompressor. Fails when libzstd cannot allocate it.
    pub fn decompressor(&mut self) -> Result<&mut Decompressor, ZstdError> {
        if self.decompressor.is_none() {
            self.decompressor = Some(Decompressor::new()?);
        }
        Ok(self.decompressor.as_mut().expect("it was made above"))
    }
}

/// The slots of one or more runs: one for each worker by default, or a fixed number that clones share.
#[derive(Clone, Default)]
pub struct CpuSlots(Option<Shared>);

#[derive(Clone)]
struct Shared {
    give: async_channel::Sender<CodecContexts>,
    take: async_channel::Receiver<CodecContexts>,
}

impl CpuSlots {
    /// `count` slots for all runs that use them.
    pub fn shared(count: NonZeroUsize) -> CpuSlots {
        let (give, take) = async_channel::bounded(count.get());
        for _ in 0..count.get() {
            give.try_send(CodecContexts::default()).expect("there is room for so many");
        }
        CpuSlots(Some(Shared { give, take }))
    }

    /// A handle on a slot for one thread.
    pub fn slot(&self) -> SlotHandle {
        SlotHandle(self.0.clone().map_or_else(|| Place::Own(CodecContexts::default()), Place::Shared))
    }
}

/// Where one thread computes: in its own slot, or in any free shared one.
pub struct SlotHandle(Place);

enum Place {
    Own(CodecContexts),
    Shared(Shared),
}

impl SlotHandle {
    /// Runs `work` once a slot is free.
    pub fn with<R>(&mut self, work: impl FnOnce(&mut CodecContexts) -> R) -> R {
        match &mut self.0 {
            Place::Own(contexts) => work(contexts),
            Place::Shared(shared) => {
                let contexts = shared.take.recv_blocking().expect("this slot holds an end to give back to");
                work(&mut Lent { contexts, give: &shared.give }.contexts)
            }
        }
    }
}

/// Contexts of a slot, returned even after a panic.
struct Lent<'a> {
    contexts: CodecContexts,
    give: &'a async_channel::Sender<CodecContexts>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // The channel has room for all slots.
        let _ = self.give.try_send(std::mem::take(&mut self.contexts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_threads_than_slots_work_at_once() {
        let slots = CpuSlots::shared(NonZeroUsize::new(2).unwrap());
        let (working, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut slot = slots.slot();
                    for _ in 0..50 {
                        slot.with(|_| {
                            most.fetch_max(working.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            std::thread::yield_now();
                            working.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 2);
    }

    #[test]
    fn a_slot_comes_back_from_work_that_panics() {
        let slots = CpuSlots::shared(NonZeroUsize::MIN);
        let mut slot = slots.slot();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| slot.with(|_| panic!("at work"))));
        assert!(panicked.is_err());
        assert_eq!(slots.slot().with(|_| 7), 7);
    }

    #[test]
    fn a_compressor_is_made_anew_for_another_level_only() {
        let mut contexts = CodecContexts::default();
        let level = |level| Level::new(level).unwrap();
        contexts.compressor(level(3)).unwrap();
        assert_eq!(contexts.compressor.as_ref().unwrap().0, level(3));
        contexts.compressor(level(9)).unwrap();
        assert_eq!(contexts.compressor.as_ref().unwrap().0, level(9));
    }
}
