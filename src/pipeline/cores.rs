//! The right to compute, with what computing takes: a core is a set of codec contexts, made when they are first wanted.
//!
//! In a run of its own each worker has a core of its own. Runs that go on side by side share as many as there are to be busy at once: then
//! a step waits until a core is free, so that any number of files with any number of threads keep no more CPUs busy, and have no more
//! contexts in memory, than one run would.

use std::num::NonZeroUsize;

use crate::format::zstd::ZstdError;
use crate::format::zstd::codec::{Compressor, Decompressor, Level};

/// Codec contexts.
#[derive(Default)]
pub struct Core {
    compressor: Option<(Level, Compressor)>,
    decompressor: Option<Decompressor>,
}

impl Core {
    /// A compressor for `level`. Fails when there is no memory for it.
    pub fn compressor(&mut self, level: Level) -> Result<&mut Compressor, ZstdError> {
        match &mut self.compressor {
            Some((made_for, _)) if *made_for == level => {}
            other => *other = Some((level, Compressor::new(level)?)),
        }
        Ok(&mut self.compressor.as_mut().expect("it was made above").1)
    }

    /// A decompressor. Fails when there is no memory for it.
    pub fn decompressor(&mut self) -> Result<&mut Decompressor, ZstdError> {
        if self.decompressor.is_none() {
            self.decompressor = Some(Decompressor::new()?);
        }
        Ok(self.decompressor.as_mut().expect("it was made above"))
    }
}

/// The cores of one run, or of several. By default each worker has one of its own; clones share the same ones.
#[derive(Clone, Default)]
pub struct Cores(Option<Shared>);

#[derive(Clone)]
struct Shared {
    give: async_channel::Sender<Core>,
    take: async_channel::Receiver<Core>,
}

impl Cores {
    /// As many as `count`, for all runs that are given these.
    pub fn shared(count: NonZeroUsize) -> Cores {
        let (give, take) = async_channel::bounded(count.get());
        for _ in 0..count.get() {
            give.try_send(Core::default()).expect("there is room for so many");
        }
        Cores(Some(Shared { give, take }))
    }

    /// A place to work at, for one thread.
    pub fn seat(&self) -> Seat {
        Seat(self.0.clone().map_or_else(|| Place::Own(Core::default()), Place::Shared))
    }
}

/// Where one thread works: with a core of its own, or with whichever is free.
pub struct Seat(Place);

enum Place {
    Own(Core),
    Shared(Shared),
}

impl Seat {
    /// Does `work` with a core, once there is one.
    pub fn with<R>(&mut self, work: impl FnOnce(&mut Core) -> R) -> R {
        match &mut self.0 {
            Place::Own(core) => work(core),
            Place::Shared(shared) => {
                let core = shared.take.recv_blocking().expect("this seat holds an end to give back to");
                work(&mut Lent { core, give: &shared.give }.core)
            }
        }
    }
}

/// A core that goes back whichever way its use ends.
struct Lent<'a> {
    core: Core,
    give: &'a async_channel::Sender<Core>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // There is room for all there are.
        let _ = self.give.try_send(std::mem::take(&mut self.core));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_threads_than_cores_work_at_once() {
        let cores = Cores::shared(NonZeroUsize::new(2).unwrap());
        let (working, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut seat = cores.seat();
                    for _ in 0..50 {
                        seat.with(|_| {
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
    fn a_core_comes_back_from_work_that_panics() {
        let cores = Cores::shared(NonZeroUsize::MIN);
        let mut seat = cores.seat();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| seat.with(|_| panic!("at work"))));
        assert!(panicked.is_err());
        assert_eq!(cores.seat().with(|_| 7), 7);
    }

    #[test]
    fn a_compressor_is_made_anew_for_another_level_only() {
        let mut core = Core::default();
        let level = |level| Level::new(level).unwrap();
        core.compressor(level(3)).unwrap();
        assert_eq!(core.compressor.as_ref().unwrap().0, level(3));
        core.compressor(level(9)).unwrap();
        assert_eq!(core.compressor.as_ref().unwrap().0, level(9));
    }
}
