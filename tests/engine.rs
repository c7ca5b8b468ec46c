//! The engine itself, with steps made for the test: order, tokens, the end that is said, failures and panics in every stage.
//!
//! The shape is that of the longest recipe, two parallel stages with a serial one between them.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use pipeline::pipeline::error::{Cause, Failure, Stop};
use pipeline::pipeline::shutdown::Cancel;
use pipeline::pipeline::stage::Flow;
use pipeline::pipeline::supervisor::{Ran, Supervisor, Watch};
use pipeline::pipeline::threads::{Concurrency, Names, Threads};
use pipeline::pipeline::window::Window;

use support::share;

const FIRST: Names = Names { stage: "first", before: "source>first", behind: "first>middle", next: "middle" };
const SECOND: Names = Names { stage: "second", before: "middle>second", behind: "second>sink", next: "sink" };

fn width(workers: usize, depth: usize) -> Concurrency {
    Concurrency { workers: NonZeroUsize::new(workers).unwrap(), channel_depth: NonZeroUsize::new(depth).unwrap() }
}

fn supervise(threads: Threads) -> Result<Ran, Failure> {
    let mut supervisor = Supervisor::new([]).unwrap();
    supervisor.run(threads, &mut Watch { tick_every: Duration::from_secs(1), on_tick: &mut |_, _| () })
}

/// A deterministic source of small numbers, for yields in place of sleeps.
fn jitter(seed: u64) -> u64 {
    let mixed = (seed ^ 0x9E37_79B9).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 40) % 8
}

/// What goes wrong in a run, and where.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    FailAt(&'static str, u64),
    PanicAt(&'static str, u64),
}

impl Fault {
    fn strike(self, stage: &'static str, item: u64) -> Result<(), Cause> {
        match self {
            Fault::FailAt(at, seq) if (at, seq) == (stage, item) => {
                Err(Cause::Task(format!("fault in {stage}").into()))
            }
            Fault::PanicAt(at, seq) if (at, seq) == (stage, item) => panic!("fault in {stage}"),
            _ => Ok(()),
        }
    }
}

/// What the sink saw.
#[derive(Default)]
struct Seen {
    items: Mutex<Vec<u64>>,
    end: AtomicBool,
}

/// Sends 0..`count` through both pools; the stage in the middle makes two items of each.
fn run(count: u64, width: Concurrency, fault: Fault, seed: u64) -> (Result<Ran, Failure>, Arc<Seen>) {
    let mut threads = Threads::new(Cancel::default());
    let work = move |stage: &'static str, salt: u64, item: u64| {
        (0..jitter(seed ^ salt ^ item)).for_each(|_| std::thread::yield_now());
        fault.strike(stage, item)
    };
    let tokens = width.token_count();
    let (first, at_middle) = threads.parallel(FIRST, width, Window::of_items("first", tokens), move |_| {
        Ok(move |item: u64| work("first", 1, item).map(|()| item))
    });
    let (second, at_sink) = threads.parallel(SECOND, width, Window::of_weight("second", 1000, tokens), move |_| {
        Ok(move |item: u64| work("second", 2, item).map(|()| item))
    });
    let mut next = 0;
    threads.source("source", first, move |first| {
        if next == count {
            return Ok(Flow::End);
        }
        let slot = first.reserve(1)?;
        work("source", 3, next)?;
        slot.send(next)?;
        next += 1;
        Ok(Flow::More)
    });
    threads.serial("middle", at_middle, second, move |item, second| {
        let Some(item) = item else { return Ok(()) };
        work("middle", 4, item)?;
        second.reserve(item % 700)?.send(2 * item)?;
        second.reserve(1)?.send(2 * item + 1)
    });
    let seen = Arc::new(Seen::default());
    let at_end = Arc::clone(&seen);
    threads.sink("sink", at_sink, move |item| {
        match item {
            Some(item) => {
                work("sink", 5, item)?;
                at_end.items.lock().unwrap().push(item);
            }
            None => at_end.end.store(true, Ordering::SeqCst),
        }
        Ok(Flow::More)
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
    for stage in ["source", "first", "middle", "second", "sink"] {
        for at in [0, 7, 90] {
            for depth in [1, 4] {
                let (ran, seen) = run(100, width(2, depth), Fault::FailAt(stage, at), at);
                let failure = ran.unwrap_err();
                assert_eq!((failure.stage, failure.seq), (stage, Some(at)), "{failure}");
                assert_eq!(failure.to_string(), format!("fault in {stage}"));
                assert!(!seen.end.load(Ordering::SeqCst), "{stage}: the end was said of a run that failed");
            }
        }
    }
}

#[test]
fn everything_in_front_of_a_failure_still_comes_out() {
    for (stage, out_len) in [("source", 60), ("first", 60), ("middle", 60), ("second", 30), ("sink", 30)] {
        let (_, seen) = run(100, width(3, 2), Fault::FailAt(stage, 30), 1);
        assert_eq!(*seen.items.lock().unwrap(), (0..out_len).collect::<Vec<_>>(), "{stage}");
    }
}

#[test]
fn a_panic_in_any_stage_ends_the_run_and_no_end_is_said() {
    std::panic::set_hook(Box::new(|_| ()));
    for stage in ["source", "first", "middle", "second", "sink"] {
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

/// The channels cannot be put under a model checker, so chance has to find what an order of steps can break: each run draws its own
/// width, delays, and fault.
#[test]
fn thousands_of_runs_with_delays_at_depth_1_come_to_the_end_they_should() {
    std::panic::set_hook(Box::new(|_| ()));
    for seed in 0..share(4_000u64, 50_000) {
        let draw = |salt: u64| (0..3).fold(0, |drawn, i| drawn * 8 + jitter(seed.wrapping_mul(31) ^ salt ^ (i << 20)));
        let (items, workers) = (1 + draw(1) % 40, 1 + usize::try_from(draw(2)).unwrap() % 4);
        let stage = ["source", "first", "middle", "second", "sink"][usize::try_from(draw(3)).unwrap() % 5];
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
    let window = Window::of_items("first", 20);
    let (first, at_sink) = threads.parallel(FIRST, width(2, 9), window, move |_| {
        let nine_failed = Arc::clone(&nine_failed);
        Ok(move |item: u64| match item {
            5 => {
                while !nine_failed.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                Err(Cause::Task("five".into()))
            }
            9 => {
                nine_failed.store(true, Ordering::SeqCst);
                Err(Cause::Task("nine".into()))
            }
            item => Ok(item),
        })
    });
    let mut next = 0;
    threads.source("source", first, move |first| {
        first.reserve(1)?.send(next)?;
        next += 1;
        Ok(if next == 15 { Flow::End } else { Flow::More })
    });
    threads.sink("sink", at_sink, |_| Ok(Flow::More));
    assert_eq!(supervise(threads).unwrap_err().to_string(), "five");
}

#[test]
fn while_chunk_0_stalls_no_more_items_are_in_flight_than_there_are_tokens() {
    for (workers, depth) in [(2, 1), (2, 4), (5, 3)] {
        let mut threads = Threads::new(Cancel::default());
        let width = width(workers, depth);
        let tokens = width.token_count();
        let (made, left) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let at_worker = Arc::clone(&made);
        let (first, at_sink) = threads.parallel(FIRST, width, Window::of_items("first", tokens), move |_| {
            let made = Arc::clone(&at_worker);
            Ok(move |item: u64| {
                if item == 0 {
                    // Until the others have used up every token, and then for long enough to see that no more come.
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
        threads.source("source", first, move |first| {
            let slot = first.reserve(1)?;
            let item = at_source.fetch_add(1, Ordering::SeqCst);
            highest.fetch_max(item + 1 - at_end.load(Ordering::SeqCst), Ordering::SeqCst);
            slot.send(item as u64)?;
            Ok(if item == 500 { Flow::End } else { Flow::More })
        });
        threads.sink("sink", at_sink, move |item| {
            left.fetch_add(usize::from(item.is_some()), Ordering::SeqCst);
            Ok(Flow::More)
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
    let window = Window::of_items("first", 9);
    let (first, at_sink) = threads.parallel(FIRST, width(3, 3), window, move |_| {
        let (meeting, thread_ids) = (Arc::clone(&meeting), Arc::clone(&at_worker));
        Ok(move |item: u64| {
            thread_ids.lock().unwrap().insert(std::thread::current().id());
            if item < 3 {
                // Three items at three workers at the same time, or this never ends.
                meeting.wait();
            }
            Ok(item)
        })
    });
    let mut next = 0;
    threads.source("source", first, move |first| {
        first.reserve(1)?.send(next)?;
        next += 1;
        Ok(if next == 100 { Flow::End } else { Flow::More })
    });
    threads.sink("sink", at_sink, |_| Ok(Flow::More));
    let figures = supervise(threads).unwrap().figures;
    assert_eq!(thread_ids.lock().unwrap().len(), 3);
    let stage = figures.stages.iter().find(|stage| stage.name == "first").unwrap();
    assert_eq!(stage.items_by_thread.len(), 3);
    assert!(stage.items_by_thread.iter().all(|items| *items > 0));
    assert_eq!(stage.items_by_thread.iter().sum::<u64>(), 100);
    assert_eq!(stage.service_ns.len(), 100);
    for channel in &figures.channels {
        // A hundred items and the word that this was the end.
        assert_eq!((channel.depth.len(), channel.wait_ns.len()), (101, 101), "{}", channel.name);
        assert!(channel.depth.max() <= channel.capacity as u64);
    }
    assert_eq!(figures.channels.len(), 2);
    assert_eq!(figures.reorders[0].wait_ns.len(), 100);
}

#[test]
fn a_worker_that_cannot_be_set_up_ends_the_run() {
    let mut threads = Threads::new(Cancel::default());
    let window = Window::of_items("first", 4);
    let (first, at_sink) = threads.parallel(FIRST, width(2, 1), window, |index| match index {
        1 => Err(Cause::Task("no memory".into())),
        _ => Ok(Ok::<u64, Cause>),
    });
    // The source only ends when it is told to.
    threads.source("source", first, |first| first.reserve(1)?.send(0).map(|()| Flow::More));
    threads.sink("sink", at_sink, |_| Ok(Flow::More));
    let failure = supervise(threads).unwrap_err();
    assert_eq!((failure.stage, failure.to_string()), ("first", "no memory".to_owned()));
}

#[test]
fn a_source_that_waits_outside_is_woken_when_another_stage_fails() {
    let (wake, woken) = std::sync::mpsc::channel();
    let wake = Mutex::new(wake);
    let mut threads = Threads::new(Cancel::new(move || wake.lock().unwrap().send(()).unwrap()));
    let window = Window::of_items("first", 4);
    let (first, at_sink) = threads.parallel(FIRST, width(1, 1), window, |_| Ok(Ok::<u64, Cause>));
    threads.source("source", first, move |first| {
        if first.next_seq() == 1 {
            woken.recv().unwrap();
            return Err(Stop::Cancelled);
        }
        first.reserve(1)?.send(0).map(|()| Flow::More)
    });
    threads.sink("sink", at_sink, |_| Err(Cause::Task("no space".into()).into()));
    assert_eq!(supervise(threads).unwrap_err().to_string(), "no space");
}

#[test]
fn a_sink_that_needs_no_more_ends_the_run_well() {
    let (wake, woken) = std::sync::mpsc::channel();
    let wake = Mutex::new(wake);
    let mut threads = Threads::new(Cancel::new(move || wake.lock().unwrap().send(()).unwrap()));
    let window = Window::of_items("first", 4);
    let (first, at_sink) = threads.parallel(FIRST, width(1, 1), window, |_| Ok(Ok::<u64, Cause>));
    threads.source("source", first, move |first| {
        if first.next_seq() == 3 {
            woken.recv().unwrap();
            return Err(Stop::Cancelled);
        }
        first.reserve(1)?.send(0).map(|()| Flow::More)
    });
    let taken = Arc::new(AtomicU64::new(0));
    let at_end = Arc::clone(&taken);
    threads.sink("sink", at_sink, move |_| {
        Ok(if at_end.fetch_add(1, Ordering::SeqCst) == 1 { Flow::End } else { Flow::More })
    });
    supervise(threads).unwrap();
    assert_eq!(taken.load(Ordering::SeqCst), 2);
}

#[test]
fn a_thread_that_does_not_end_is_left_behind_after_the_deadline() {
    let mut threads = Threads::new(Cancel::default());
    let window = Window::of_items("first", 4);
    let never = Arc::new(Barrier::new(2));
    let (first, at_sink) = threads.parallel(FIRST, width(1, 1), window, move |_| {
        let never = Arc::clone(&never);
        Ok(move |item: u64| {
            never.wait();
            Ok(item)
        })
    });
    threads.source("source", first, |first| {
        first.reserve(1)?.send(0)?;
        Ok(Flow::More)
    });
    threads.sink("sink", at_sink, |_: Option<u64>| Ok(Flow::More));
    // Something outside of the pools fails: a second sink that nobody reads from.
    threads.alone("other", |_| Err(Cause::Task("failed elsewhere".into()).into()));
    assert_eq!(supervise(threads).unwrap_err().to_string(), "failed elsewhere");
}
