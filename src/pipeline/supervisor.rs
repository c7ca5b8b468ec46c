//! The supervisor of a run: keeps the first failure, tells the other threads to stop, and returns when every thread has ended.
//!
//! Some threads cannot stop in time: one that compresses a large chunk at a high level, or one in a blocked system call. After the
//! deadline or a second signal they are left behind. The caller gets the failure, removes what was written and ends the process;
//! nothing else ends such threads.
//!
//! This is the async part of the engine: signals, the deadline and progress ticks. Everything else blocks on its own threads.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::error::{Cause, Failure, Signal, Stop};
use super::gauges::Gauges;
use super::metrics::Figures;
use super::names::Stage;
use super::shutdown::Cancel;
use super::threads::{Ended, Threads};

/// Time that threads have to end after a failure or a stop. A user who presses ^C expects the prompt back within two seconds.
const JOIN_DEADLINE: Duration = Duration::from_secs(1);

/// Callbacks to the caller during a run.
pub struct Watch<'a> {
    /// Interval between calls of [`on_tick`](Watch::on_tick).
    pub tick_every: Duration,
    /// Called at each tick, for example to show progress.
    pub on_tick: &'a mut dyn FnMut(Tick, &Gauges),
}

/// Why [`Watch::on_tick`] is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// The interval has passed.
    Time,
    /// SIGUSR1 arrived: the user asks for progress.
    Asked,
}

/// A run that ended without failure.
#[derive(Debug)]
pub struct Ran {
    /// What its threads measured.
    pub figures: Figures,
    /// Wall-clock time of the run.
    pub wall: Duration,
}

/// Supervises runs, one after another, and receives signals.
pub struct Supervisor {
    runtime: Runtime,
    signals: async_channel::Receiver<Signal>,
    /// One entry per SIGUSR1; at most one is pending.
    questions: async_channel::Receiver<()>,
}

impl Supervisor {
    /// Takes over the signals in `heeded`, and SIGUSR1, for the rest of the process. Ignores SIGXFSZ, so that a file size limit is a
    /// write error. Call it before threads are started.
    pub fn new(heeded: impl IntoIterator<Item = Signal>) -> io::Result<Supervisor> {
        use tokio::signal::unix::{SignalKind, signal};

        check_descriptors()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (said, signals) = async_channel::unbounded();
        let guard = runtime.enter();
        for heeded in heeded {
            let (mut stream, said) = (signal(SignalKind::from_raw(heeded.number()))?, said.clone());
            runtime.spawn(async move {
                while stream.recv().await.is_some() {
                    let _ = said.try_send(heeded);
                }
            });
        }
        let (mut asked, (ask, questions)) = (signal(SignalKind::user_defined1())?, async_channel::bounded(1));
        runtime.spawn(async move {
            while asked.recv().await.is_some() {
                let _ = ask.try_send(());
            }
        });
        // A handler without a receiver; SIGXFSZ is 25 on every Linux but MIPS.
        drop(signal(SignalKind::from_raw(25))?);
        drop(guard);
        Ok(Supervisor { runtime, signals, questions })
    }

    /// A supervisor that leaves signals alone, for a library inside another program.
    pub fn without_signals() -> io::Result<Supervisor> {
        Supervisor::with_signals_from(async_channel::unbounded().1)
    }

    /// A supervisor of a run within another; `signals` come from the outer run. It opens no descriptors.
    pub fn with_signals_from(signals: async_channel::Receiver<Signal>) -> io::Result<Supervisor> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        Ok(Supervisor { runtime, signals, questions: async_channel::bounded(1).1 })
    }

    /// Waits for `threads` to end. Returns what they measured, or the first failure. After a failure, threads may still run: their output
    /// is lost to the caller, which should end the process soon.
    pub fn run(&mut self, threads: Threads, watch: &mut Watch<'_>) -> Result<Ran, Failure> {
        let Threads { threads, ended, cancel, gates, spawn_failure, started_at, gauges, .. } = threads;
        let stop = || {
            cancel.cancel();
            gates.iter().for_each(|gate| gate.close());
        };
        let mut run = Run { left_count: threads.len(), failure: None, is_finished: false, figures: Figures::default() };
        if let Some(failure) = spawn_failure {
            run.failure = Some(failure);
            stop();
        }
        self.runtime.block_on(attend(&mut run, &ended, (&self.signals, &self.questions), (watch, &gauges), &stop));
        if run.left_count == 0 {
            for thread in threads {
                // The thread announced its end after catch_unwind, so it can neither panic nor block.
                let _ = thread.join();
            }
        }
        match run.failure {
            Some(failure) => Err(failure),
            None if run.is_finished => Ok(Ran { figures: run.figures, wall: started_at.elapsed() }),
            None => Err(Failure { stage: Stage::Supervisor, seq: None, cause: Cause::EndedEarly }),
        }
    }

    /// Runs `task` on its own thread, as a run that signals can stop.
    pub fn run_task<T: Send + 'static>(
        &mut self,
        stage: Stage,
        cancel: Cancel,
        watch: &mut Watch<'_>,
        task: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let mut threads = Threads::new(cancel);
        let result = threads.alone(stage, move |cancel| Ok((Figures::default(), task(cancel))));
        self.run(threads, watch)?;
        Ok(result.take().expect("internal error: a task ended well without a value"))
    }
}

/// Fails if no more descriptors can be opened than the signal driver of tokio takes, six: it panics when there are too few.
fn check_descriptors() -> io::Result<()> {
    let pipes = [io::pipe()?, io::pipe()?, io::pipe()?];
    drop(pipes);
    Ok(())
}

/// State of a run in progress.
struct Run {
    /// Threads that have not reported their end.
    left_count: usize,
    failure: Option<Failure>,
    is_finished: bool,
    figures: Figures,
}

/// Waits until all threads have ended, or until the deadline after a failure. The first signal stops the run; a signal after a failure
/// ends the wait at once.
async fn attend(
    run: &mut Run,
    ended: &async_channel::Receiver<Ended>,
    (signals, questions): (&async_channel::Receiver<Signal>, &async_channel::Receiver<()>),
    (watch, gauges): (&mut Watch<'_>, &Gauges),
    stop: &dyn Fn(),
) {
    let mut ticks = interval_at(Instant::now() + watch.tick_every, watch.tick_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut deadline = run.failure.is_some().then(|| Instant::now() + JOIN_DEADLINE);
    while run.left_count > 0 {
        tokio::select! {
            biased;
            Ok(end) = ended.recv() => note_end(run, end, stop),
            Ok(signal) = signals.recv() => {
                tracing::debug!(?signal, "a signal");
                if run.failure.is_some() {
                    return;
                }
                run.failure = Some(Failure { stage: Stage::Supervisor, seq: None, cause: Cause::Signal(signal) });
                stop();
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                tracing::debug!(run.left_count, "threads are left behind");
                return;
            }
            Ok(()) = questions.recv() => (watch.on_tick)(Tick::Asked, gauges),
            _ = ticks.tick() => (watch.on_tick)(Tick::Time, gauges),
        }
        if run.failure.is_some() && deadline.is_none() {
            deadline = Some(Instant::now() + JOIN_DEADLINE);
        }
    }
}

/// Keeps the first failure. When the finisher is done, wakes the threads that still wait outside; if none are left, the wake-up stays
/// unused and serves the next run.
fn note_end(run: &mut Run, end: Ended, stop: &dyn Fn()) {
    run.left_count -= 1;
    run.figures.add(end.figures);
    match end.ending {
        Ok(()) if end.is_finisher => {
            run.is_finished = true;
            if run.left_count > 0 {
                stop();
            }
        }
        Err(Stop::Failed(failure)) if run.failure.is_none() && !run.is_finished => {
            tracing::debug!(%failure, "the first failure: the run stops");
            run.failure = Some(failure);
            stop();
        }
        _ => {}
    }
}
