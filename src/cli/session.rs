//! The runs of one command: signals, progress and the supervisor around them. Executes the task of a command that has one file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::batch::live::Live;
use crate::cli::problem::Problem;
use crate::pipeline::cpu_slots::CpuSlots;
use crate::pipeline::endpoints::Endpoints;
use crate::pipeline::error::{Failure, Signal};
use crate::pipeline::gauges::Gauges;
use crate::pipeline::kind::Kind;
use crate::pipeline::metrics::Progress;
use crate::pipeline::names::Stage;
use crate::pipeline::plan::Plan;
use crate::pipeline::shutdown::Cancel;
use crate::pipeline::supervisor::{Ran, Supervisor, Tick, Watch};
use crate::pipeline::threads::Threads;
use crate::report::options::{ProgressForm, ReportOptions};
use crate::report::progress::Display;
use crate::report::{notice, say};
use crate::store::input::Input;
use crate::store::output::Output;
use crate::store::prompt::Prompter;
use crate::store::sys::{self, WakeUp};
use crate::task::error::Notice;
use crate::task::executor::{Executor, RunEnds, RunOutcome};
use crate::task::keys::IdentitySources;
use crate::task::open::Keys;

/// The tick of a bar: smooth, and cheap.
const TICK: Duration = Duration::from_millis(100);

/// The session of a command.
pub struct Session {
    supervisor: Supervisor,
    display: Display,
    /// Interrupts blocked reads, writes and prompts on cancellation.
    pub wake: WakeUp,
    /// Permission bits that new files do not get.
    pub umask: u32,
}

impl Session {
    /// Takes over the signals. Call it before other threads are started.
    pub fn start(options: &ReportOptions) -> anyhow::Result<Session> {
        let umask = sys::umask();
        // A signal that nohup, or a shell for background jobs, set to be ignored stays ignored.
        let ignored = sys::ignored_signals();
        let heeded = Signal::ALL.into_iter().filter(|signal| ignored & (1 << (signal.number() - 1)) == 0);
        let supervisor = Supervisor::new(heeded).context("cannot start")?;
        let wake = WakeUp::new().context("cannot start")?;
        Ok(Session { supervisor, display: Display::new(options), wake, umask })
    }

    /// A session that shows no progress.
    pub fn start_quiet() -> anyhow::Result<Session> {
        let progress = ProgressForm::Never;
        Session::start(&ReportOptions { progress, quiet: true, ..ReportOptions::default() })
    }

    /// Runs the threads of a batch. `bytes` is the total length of its files; `live` tracks the files in flight.
    pub fn run_batch(
        &mut self,
        threads: Threads,
        bytes: u64,
        progress: &Progress,
        live: &Arc<Live>,
    ) -> Result<Ran, Failure> {
        self.display.start(Some(bytes));
        self.display.tell_files(Arc::clone(live));
        let mut on_tick = |tick, gauges: &Gauges| match tick {
            Tick::Time => self.display.tick(progress, gauges),
            Tick::Asked => self.display.answer(progress),
        };
        let ran = self.supervisor.run(threads, &mut Watch { tick_every: TICK, on_tick: &mut on_tick });
        self.display.finish(progress, ran.is_ok());
        ran
    }

    /// Opens IN, or another file to read, on its own thread, so that a signal ends the wait for a lease.
    pub fn open(&mut self, path: &Path) -> anyhow::Result<Input> {
        let (path, wake) = (path.to_owned(), self.wake.clone());
        Ok(self.wait("open", move |_| Input::open(&path, &wake))??)
    }

    /// A prompter on the terminal, which a signal interrupts.
    pub fn prompter(&self) -> Prompter {
        Prompter::new(self.wake.clone(), |message| say::tell(&format!("pipeline: {message}\n")))
    }

    /// The keys from `sources`, read when first needed.
    pub fn keys(&self, sources: IdentitySources) -> Keys {
        Keys::Sources { sources, prompter: self.prompter(), tell }
    }
}

/// Writes a notice to stderr as a warning.
pub fn tell(told: &Notice) {
    say::warn(&notice::text(told));
}

impl Executor for Session {
    fn run(&mut self, plan: &Plan, ends: RunEnds) -> Result<RunOutcome, Failure> {
        let RunEnds { input, input_bytes, output, is_counted: _ } = ends;
        let progress = Arc::new(Progress::default());
        let ends =
            Endpoints { input, input_bytes, output, cancel: self.wake.cancel(), progress: Arc::clone(&progress) };
        self.display.start(input_bytes);
        let mut on_tick = |tick, gauges: &Gauges| match tick {
            Tick::Time => self.display.tick(&progress, gauges),
            Tick::Asked => self.display.answer(&progress),
        };
        let watch = &mut Watch { tick_every: TICK, on_tick: &mut on_tick };
        let report = crate::pipeline::run(plan, &CpuSlots::default(), ends, &mut self.supervisor, watch);
        self.display.finish(&progress, report.is_ok());
        let report = report?;
        Ok(RunOutcome { summary: report.summary.clone(), report: Some(report) })
    }

    /// Runs `step` on its own thread, so that a signal can interrupt the wait.
    fn wait<T: Send + 'static>(
        &mut self,
        name: &'static str,
        step: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let mut on_tick = |tick, _: &Gauges| {
            if tick == Tick::Asked {
                say::tell(&format!("pipeline: at work on: {name}\n"));
            }
        };
        let watch = &mut Watch { tick_every: TICK, on_tick: &mut on_tick };
        self.supervisor.run_task(Stage::Step(name), self.wake.cancel(), watch, step)
    }

    fn compute<T: Send + 'static>(
        &mut self,
        stage: Stage,
        step: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.wait(stage.name(), step)
    }
}

/// Refuses to write binary data to a terminal, unless `force`.
pub fn refuse_terminal(output: &Output, force: bool) -> Result<(), Problem> {
    if output.is_terminal() && !force {
        let hint = "give OUT, or --force to write it all the same";
        return Err(Problem::new(Kind::BinaryToTerminal, "compressed data is not written to a terminal").hint(hint));
    }
    Ok(())
}
