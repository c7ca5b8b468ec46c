//! Tests of the engine with steps made for the test: order, tokens, the end marker, failures and panics in every stage.
//!
//! The stages are those of the longest recipe: two parallel stages with a serial stage between them.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use pipeline::pipeline::error::{Cause, Failure, Stop};
use pipeline::pipeline::names::{Names, Stage};
use pipeline::pipeline::shutdown::Cancel;
use pipeline::pipeline::stage::{END, MORE};
use pipeline::pipeline::supervisor::{Ran, Supervisor, Watch};
use pipeline::pipeline::threads::{Concurrency, Threads};
use pipeline::pipeline::window::Window;

use crate::support::share;

const FIRST: Names = Names { before: Stage::Read, stage: Stage::Compress, behind: Stage::Cut };
const SECOND: Names = Names { before: Stage::Cut, stage: Stage::Seal, behind: Stage::Write };

/// All stages, in the order in which items pass them.
const STAGES: [Stage; 5] = [Stage::Read, Stage::Compress, Stage::Cut, Stage::Seal, Stage::Write];

fn width(workers: usize, depth: usize) -> Concurrency {
    Concurrency { workers: NonZeroUsize::new(workers).unwrap(), channel_depth: NonZeroUsize::new(depth).unwrap() }
}

fn supervise(threads: Threads) -> Result<Ran, Failure> {
    let mut supervisor = Supervisor::new([]).unwrap();
    supervisor.run(threads, &mut Watch { tick_every: Duration::from_secs(1), on_tick: &mut |_, _| () })
}

/// A deterministic source of small numbers, for yields instead of sleeps.
fn jitter(seed: u64) -> u64 {
    let mixed = (seed ^ 0x9E37_79B9).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 40) % 8
}

/// The fault in a run, and its place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    FailAt(Stage, u64),
    PanicAt(Stage, u64),
}

impl Fault {
    fn strike(self, stage: Stage, item: u64) -> Result<(), Cause> {
        match self {
            Fault::FailAt(at, seq) if (at, seq) == (stage, item) => Err(fault(item)),
            Fault::PanicAt(at, seq) if (at, seq) == (stage, item) => panic!("fault in {stage}"),
            _ => Ok(()),
        }
    }
}

/// A failure that the test recognises by its number.
fn fault(number: u64) -> Cause {
    Cause::NoMemory { bytes: number }
}

fn is_fault(failure: &Failure, number: u64) -> bool {
    matches!(failure.cause, Cause::NoMemory { bytes } if bytes == number)
}

/// What the sink received.
#[derive(Default)]
struct Seen {
    items: Mutex<Vec<u64>>,
    end: AtomicBool,
}

/// Sends 0..`count` through both pools; the stage in the middle makes two items of each.
fn run(count: u64, width: Concurrency, fault: Fault, seed: u64) -> (Result<Ran, Failure>, Arc<Seen>) {
    let mut threads = Threads::new(Cancel::default());
    let work = move |stage: Stage, salt: u64, item: u64| {
        (0..jitter(seed ^ salt ^ item)).for_each(|_| std::thread::yield_now());
        fault.strike(stage, item)
    };
    let tokens = width.token_count();
    let (first, at_middle) = threads.parallel(FIRST, width, Window::of_items(Stage::Compress, tokens), move |_| {
        Ok(move |item: u64| work(Stage::Compress, 1, item).map(|()| item))
    });
    let (second, at_sink) = threads.parallel(SECOND, width, Window::of_weight(Stage::Seal, 1000, tokens), move |_| {
        Ok(move |item: u64| work(Stage::Seal, 2, item).map(|()| item))
    });
    let mut next = 0;
    threads.source(Stage::Read, first, (), move |(), first| {
        if next == count {
            return Ok(END);
        }
        let slot = first.reserve(1)?;
        work(Stage::Read, 3, next)?;
        slot.send(next)?;
        next += 1;
        Ok(MORE)
    });
    threads.serial(Stage::Cut, at_middle, second, (), move |(), item, second| {
        let Some(item) = item else { return Ok(()) };
        work(Stage::Cut, 4, item)?;
        second.reserve(item % 700)?.send(2 * item)?;
        second.reserve(1)?.send(2 * item + 1)
    });
    let seen = Arc::new(Seen::default());
    let at_end = Arc::clone(&seen);
    threads.sink(Stage::Write, at_sink, (), move |(), item| {
        match item {
            Some(item) => {
                work(Stage::Write, 5, item)?;
                at_end.items.lock().unwrap().push(item);
            }
            None => at_end.end.store(true, Ordering::SeqCst),
        }
        Ok(MORE)
    });
    (supervise(threads), seen)
}

#[test]
fn items_leave_two_pools_in_order_whatever_the_width() {
    for workers in [1, 2, 5] {
        for depth in [1, 4] {
            for seed in 0..20 {
                let (ran, seen) = run(200, width(workers, depth), Fault::None, seed);
                ran.unwrap();
                assert_eq!(*seen.items.lock().unwrap(), (0..400).collect::<Vec<_>>());
                assert!(seen.end.load(Ordering::SeqCst));
            }
        }
    }
}

#[test]
fn nothing_at_all_still_has_an_end() {
    let (ran, seen) = run(0, width(2, 1), Fault::None, 0);
    ran.unwrap();
    assert!(seen.end.load(Ordering::SeqCst) && seen.items.lock().unwrap().is_empty());
}

#[test]
fn a_failure_in_any_stage_ends_the_run_with_its_stage_and_item_and_no_end_is_said() {
    for stage in STAGES {
        for at in [0, 7, 90] {
            for depth in [1, 4] {
                let (ran, seen) = run(100, width(2, depth), Fault::FailAt(stage, at), at);
                let failure = ran.unwrap_err();
                assert_eq!((failure.stage, failure.seq), (stage, Some(at)), "{failure}");
                assert!(is_fault(&failure, at), "{failure}");
                assert!(!seen.end.load(Ordering::SeqCst), "{stage}: the end was said of a run that failed");
            }
        }
    }
}

#[test]
fn everything_in_front_of_a_failure_still_comes_out() {
    for (stage, out_len) in STAGES.into_iter().zip([60, 60, 60, 30, 30]) {
        let (_, seen) = run(100, width(3, 2), Fault::FailAt(stage, 30), 1);
        assert_eq!(*seen.items.lock().unwrap(), (0..out_len).collect::<Vec<_>>(), "{stage}");
    }
}

#[test]
fn a_panic_in_any_stage_ends_the_run_and_no_end_is_said() {
    std::panic::set_hook(Box::new(|_| ()));
    for stage in STAGES {
        for at in [0, 7, 90] {
            for depth in [1, 4] {
                let (ran, seen) = run(100, width(2, depth), Fault::PanicAt(stage, at), at);
                let failure = ran.unwrap_err();
                assert!(
                    matches!(&failure.cause, Cause::Panicked(text) if *text == format!("fault in {stage}")),
                    "{failure}"
                );
                assert_eq!(failure.stage, stage);
                assert!(!seen.end.load(Ordering::SeqCst), "{stage}: the end was said of a run that died");
            }
        }
    }
}

/// A model checker cannot run the channels, so random runs look for orders of steps that break them: each run draws its
/// own width, delays, and fault.
#[test]
fn thousands_of_runs_with_delays_at_depth_1_come_to_the_end_they_should() {
    std::panic::set_hook(Box::new(|_| ()));
    for seed in 0..share(4_000u64, 50_000) {
        let draw = |salt: u64| (0..3).fold(0, |drawn, i| drawn * 8 + jitter(seed.wrapping_mul(31) ^ salt ^ (i << 20)));
        let (items, workers) = (1 + draw(1) % 40, 1 + usize::try_from(draw(2)).unwrap() % 4);
        let stage = STAGES[usize::try_from(draw(3)).unwrap() % 5];
        let at = draw(4) % items;
        let fault = match draw(5) % 3 {
            0 => Fault::None,
            1 => Fault::FailAt(stage, at),
            _ => Fault::PanicAt(stage, at),
        };
        let (ran, seen) = run(items, width(workers, 1), fault, seed);
        let out = seen.items.lock().unwrap().clone();
        assert!(out.iter().copied().eq(0..out.len() as u64), "run {seed}: {fault:?}: out of order");
        assert_eq!(ran.is_ok(), fault == Fault::None, "run {seed}: {fault:?}");
        assert_eq!(seen.end.load(Ordering::SeqCst), fault == Fault::None, "run {seed}: {fault:?}: the end");
        match ran {
            Ok(_) => assert_eq!(out.len() as u64, 2 * items, "run {seed}"),
            Err(failure) => assert_eq!(failure.stage, stage, "run {seed}: {fault:?}: {failure}"),
        }
    }
}

#[test]
fn the_first_failure_in_order_counts_not_the_first_in_time() {
    let mut threads = Threads::new(Cancel::default());
    let nine_failed = Arc::new(AtomicBool::new(false));
    let window = Window::of_items(Stage::Compress, 20);
    let (first, at_sink) = threads.parallel(FIRST, width(2, 9), window, move |_| {
        let nine_failed = Arc::clone(&nine_failed);
        Ok(move |item: u64| match item {
            5 => {
                while !nine_failed.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                Err(fault(5))
            }
            9 => {
                nine_failed.store(true, Ordering::SeqCst);
                Err(fault(9))
            }
            item => Ok(item),
        })
    });
    let mut next = 0;
    threads.source(Stage::Read, first, (), move |(), first| {
        first.reserve(1)?.send(next)?;
        next += 1;
        Ok(if next == 15 { END } else { MORE })
    });
    threads.sink(Stage::Write, at_sink, (), |(), _| Ok(MORE));
    assert!(is_fault(&supervise(threads).unwrap_err(), 5));
}

#[test]
fn while_chunk_0_stalls_no_more_items_are_in_flight_than_there_are_tokens() {
    for (workers, depth) in [(2, 1), (2, 4), (5, 3)] {
        let mut threads = Threads::new(Cancel::default());
        let width = width(workers, depth);
        let tokens = width.token_count();
        let (made, left) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let at_worker = Arc::clone(&made);
        let (first, at_sink) = threads.parallel(FIRST, width, Window::of_items(Stage::Compress, tokens), move |_| {
            let made = Arc::clone(&at_worker);
            Ok(move |item: u64| {
                if item == 0 {
                    // Waits until the others have used all tokens, and then long enough to see that no more arrive.
                    while made.load(Ordering::SeqCst) < tokens {
                        std::thread::yield_now();
                    }
                    (0..2000).for_each(|_| std::thread::yield_now());
                    assert_eq!(made.load(Ordering::SeqCst), tokens, "an item was made without a token");
                }
                Ok(item)
            })
        });
        let (at_source, at_end, in_flight_max) = (Arc::clone(&made), Arc::clone(&left), Arc::new(AtomicUsize::new(0)));
        let highest = Arc::clone(&in_flight_max);
        threads.source(Stage::Read, first, (), move |(), first| {
            let slot = first.reserve(1)?;
            let item = at_source.fetch_add(1, Ordering::SeqCst);
            highest.fetch_max(item + 1 - at_end.load(Ordering::SeqCst), Ordering::SeqCst);
            slot.send(item as u64)?;
            Ok(if item == 500 { END } else { MORE })
        });
        threads.sink(Stage::Write, at_sink, (), move |(), item| {
            left.fetch_add(usize::from(item.is_some()), Ordering::SeqCst);
            Ok(MORE)
        });
        let ran = supervise(threads).unwrap();
        assert_eq!(in_flight_max.load(Ordering::SeqCst), tokens, "in flight");
        assert_eq!(ran.figures.windows[0].weight_in_flight_max, tokens as u64);
        let held = ran.figures.reorders[0].depth.max();
        assert!(held < tokens as u64, "the ring held {held} of {tokens}");
    }
}

#[test]
fn all_workers_work_and_the_figures_count_every_item() {
    let mut threads = Threads::new(Cancel::default());
    let meeting = Arc::new(Barrier::new(3));
    let thread_ids = Arc::new(Mutex::new(HashSet::new()));
    let at_worker = Arc::clone(&thread_ids);
    let window = Window::of_items(Stage::Compress, 9);
    let (first, at_sink) = threads.parallel(FIRST, width(3, 3), window, move |_| {
        let (meeting, thread_ids) = (Arc::clone(&meeting), Arc::clone(&at_worker));
        Ok(move |item: u64| {
            thread_ids.lock().unwrap().insert(std::thread::current().id());
            if item < 3 {
                // Three workers must hold an item at the same time, or this never ends.
                meeting.wait();
            }
            Ok(item)
        })
    });
    let mut next = 0;
    threads.source(Stage::Read, first, (), move |(), first| {
        first.reserve(1)?.send(next)?;
        next += 1;
        Ok(if next == 100 { END } else { MORE })
    });
    threads.sink(Stage::Write, at_sink, (), |(), _| Ok(MORE));
    let figures = supervise(threads).unwrap().figures;
    assert_eq!(thread_ids.lock().unwrap().len(), 3);
    let stage = figures.stages.iter().find(|stage| stage.name == Stage::Compress).unwrap();
    assert_eq!(stage.items_by_thread.len(), 3);
    assert!(stage.items_by_thread.iter().all(|items| *items > 0));
    assert_eq!(stage.items_by_thread.iter().sum::<u64>(), 100);
    assert_eq!(stage.service_ns.len(), 100);
    for channel in &figures.channels {
        // A hundred items and the end marker.
        assert_eq!((channel.depth.len(), channel.wait_ns.len()), (101, 101), "{}", channel.name);
        assert!(channel.depth.max() <= channel.capacity as u64);
    }
    assert_eq!(figures.channels.len(), 2);
    assert_eq!(figures.reorders[0].wait_ns.len(), 100);
}

#[test]
fn a_worker_that_cannot_be_set_up_ends_the_run() {
    let mut threads = Threads::new(Cancel::default());
    let window = Window::of_items(Stage::Compress, 4);
    let (first, at_sink) = threads.parallel(FIRST, width(2, 1), window, |index| match index {
        1 => Err(fault(1)),
        _ => Ok(Ok::<u64, Cause>),
    });
    // The source ends only when it is cancelled.
    threads.source(Stage::Read, first, (), |(), first| first.reserve(1)?.send(0).map(|()| MORE));
    threads.sink(Stage::Write, at_sink, (), |(), _| Ok(MORE));
    let failure = supervise(threads).unwrap_err();
    assert!(failure.stage == Stage::Compress && is_fault(&failure, 1), "{failure}");
}

#[test]
fn a_source_that_waits_outside_is_woken_when_another_stage_fails() {
    let (wake, woken) = std::sync::mpsc::channel();
    let wake = Mutex::new(wake);
    let mut threads = Threads::new(Cancel::new(move || wake.lock().unwrap().send(()).unwrap()));
    let window = Window::of_items(Stage::Compress, 4);
    let (first, at_sink) = threads.parallel(FIRST, width(1, 1), window, |_| Ok(Ok::<u64, Cause>));
    threads.source(Stage::Read, first, (), move |(), first| {
        if first.next_seq() == 1 {
            woken.recv().unwrap();
            return Err(Stop::Cancelled);
        }
        first.reserve(1)?.send(0).map(|()| MORE)
    });
    threads.sink(Stage::Write, at_sink, (), |(), _| Err(fault(2).into()));
    assert!(is_fault(&supervise(threads).unwrap_err(), 2));
}

#[test]
fn a_sink_that_needs_no_more_ends_the_run_well() {
    let (wake, woken) = std::sync::mpsc::channel();
    let wake = Mutex::new(wake);
    let mut threads = Threads::new(Cancel::new(move || wake.lock().unwrap().send(()).unwrap()));
    let window = Window::of_items(Stage::Compress, 4);
    let (first, at_sink) = threads.parallel(FIRST, width(1, 1), window, |_| Ok(Ok::<u64, Cause>));
    threads.source(Stage::Read, first, (), move |(), first| {
        if first.next_seq() == 3 {
            woken.recv().unwrap();
            return Err(Stop::Cancelled);
        }
        first.reserve(1)?.send(0).map(|()| MORE)
    });
    let taken = Arc::new(AtomicU64::new(0));
    let at_end = Arc::clone(&taken);
    threads.sink(Stage::Write, at_sink, (), move |(), _| {
        Ok(if at_end.fetch_add(1, Ordering::SeqCst) == 1 { END } else { MORE })
    });
    supervise(threads).unwrap();
    assert_eq!(taken.load(Ordering::SeqCst), 2);
}

#[test]
fn a_thread_that_does_not_end_is_left_behind_after_the_deadline() {
    let mut threads = Threads::new(Cancel::default());
    let window = Window::of_items(Stage::Compress, 4);
    let never = Arc::new(Barrier::new(2));
    let (first, at_sink) = threads.parallel(FIRST, width(1, 1), window, move |_| {
        let never = Arc::clone(&never);
        Ok(move |item: u64| {
            never.wait();
            Ok(item)
        })
    });
    threads.source(Stage::Read, first, (), |(), first| {
        first.reserve(1)?.send(0)?;
        Ok(MORE)
    });
    threads.sink(Stage::Write, at_sink, (), |(), _: Option<u64>| Ok(MORE));
    // A stage outside of the pools fails: a second sink without input.
    threads.alone::<()>(Stage::Step("other"), |_| Err(fault(3).into()));
    assert!(is_fault(&supervise(threads).unwrap_err(), 3));
}
