//! Watches over a run: keeps the first failure, tells the rest to stop, and returns when every thread has ended.
//!
//! Some threads can not be told: one that is deep in a large chunk at a high level, or in a system call that the kernel does
//! not give back. When the deadline has passed, or a second signal came, they are left behind. The caller gets the
//! failure, removes what was written and ends the process, which is the only thing that ends them.
//!
//! This is the async part of the engine: signals, the deadline and the ticks for progress. Everything else blocks
//! on threads of its own.

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

/// How long threads may take to end once the run has failed or was told to stop. A user who presses ^C expects the
/// prompt back within two seconds.
const JOIN_DEADLINE: Duration = Duration::from_secs(1);

/// What the supervisor does for its caller while a run goes on.
pub struct Watch<'a> {
    /// How often [`on_tick`](Watch::on_tick) is called.
    pub tick_every: Duration,
    /// Shows progress, for instance.
    pub on_tick: &'a mut dyn FnMut(Tick, &Gauges),
}

/// Why the caller is given a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Its time has come.
    Time,
    /// SIGUSR1: somebody wants to know how far it is.
    Asked,
}

/// A run that came to its end.
#[derive(Debug)]
pub struct Ran {
    /// What its threads measured.
    pub figures: Figures,
    /// How long it took.
    pub wall: Duration,
}

/// Runs crews, one after the other, and listens for signals all the while.
pub struct Supervisor {
    runtime: Runtime,
    signals: async_channel::Receiver<Signal>,
    /// A word for each SIGUSR1, and one at most that nobody has looked at.
    questions: async_channel::Receiver<()>,
}

impl Supervisor {
    /// Takes over `heeded` for the rest of the process, and SIGUSR1, and ignores SIGXFSZ, so that a file size limit is an error
    /// when writing. Call it before threads are started.
    pub fn new(heeded: impl IntoIterator<Item = Signal>) -> io::Result<Supervisor> {
        use tokio::signal::unix::{SignalKind, signal};

        let Supervisor { runtime, .. } = Supervisor::without_signals()?;
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
        // A handler that nobody listens to; SIGXFSZ is 25 on every Linux but that of MIPS.
        drop(signal(SignalKind::from_raw(25))?);
        drop(guard);
        Ok(Supervisor { runtime, signals, questions })
    }

    /// One that leaves signals as they are, for a library that is a guest in the process.
    pub fn without_signals() -> io::Result<Supervisor> {
        Supervisor::with_signals_from(async_channel::unbounded().1)
    }

    /// The same for a run within another: it hears of signals from the outer run.
    pub fn with_signals_from(signals: async_channel::Receiver<Signal>) -> io::Result<Supervisor> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Supervisor { runtime, signals, questions: async_channel::bounded(1).1 })
    }

    /// Waits for `threads` to end. Gives what it measured, or the first failure. After a failure threads may still be running;
    /// what they write to is then lost to the caller, who should end the process soon.
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
                // Its end was announced from behind catch_unwind: nothing is left in it that could panic or block.
                let _ = thread.join();
            }
        }
        match run.failure {
            Some(failure) => Err(failure),
            None if run.is_finished => Ok(Ran { figures: run.figures, wall: started_at.elapsed() }),
            None => Err(Failure { stage: Stage::Supervisor, seq: None, cause: Cause::EndedEarly }),
        }
    }

    /// Runs `task` on a thread of its own, as a run that signals can stop.
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

/// What is known of a run while it goes on.
struct Run {
    /// Threads that have not said that they ended.
    left_count: usize,
    failure: Option<Failure>,
    is_finished: bool,
    figures: Figures,
}

/// Until all threads have ended, or enough was waited for them after a failure. The first signal ends the run in order,
/// unless it has failed already; the next one at once.
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

/// The first failure counts. When the finisher is done, this wakes the threads that still wait outside; if none are
/// left, the wake-up stays unused and serves the next run.
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
