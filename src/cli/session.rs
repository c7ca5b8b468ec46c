//! One command's run of the pipeline: signals, progress and the supervisor around it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::batch::live::Live;
use crate::cli::args::{ProgressWhen, TalkArgs};
use crate::cli::problem::{self, Problem, ToStdout};
use crate::pipeline::cores::Cores;
use crate::pipeline::crew::Crew;
use crate::pipeline::ends::Ends;
use crate::pipeline::error::{Cause, Failure, Signal};
use crate::pipeline::gauges::Gauges;
use crate::pipeline::metrics::Progress;
use crate::pipeline::plan::Plan;
use crate::pipeline::report::Report;
use crate::pipeline::shutdown::Cancel;
use crate::pipeline::supervisor::{Ran, Supervisor, Tick, Watch};
use crate::report::progress::Display;
use crate::store::input::Input;
use crate::store::output::Output;
use crate::store::prompt::Prompter;
use crate::store::sys::{self, WakeUp};

/// Often enough for a bar to move smoothly, seldom enough to cost nothing.
const TICK: Duration = Duration::from_millis(100);

/// What a command keeps while it runs.
pub struct Session {
    supervisor: Supervisor,
    display: Display,
    /// Permission bits that new files do not get.
    pub umask: u32,
}

impl Session {
    /// Takes over the signals. Call it before anything else starts threads.
    pub fn start(talk: &TalkArgs) -> anyhow::Result<Session> {
        let umask = sys::umask();
        // A signal that was ignored before, by nohup or by a shell for its background jobs, stays ignored.
        let ignored = sys::ignored_signals();
        let heeded = Signal::ALL.into_iter().filter(|signal| ignored & (1 << (signal.number() - 1)) == 0);
        let supervisor = Supervisor::new(heeded).context("cannot start")?;
        Ok(Session { supervisor, display: Display::new(talk), umask })
    }

    /// A session that shows no progress.
    pub fn start_quiet() -> anyhow::Result<Session> {
        let progress = Some(ProgressWhen::Never);
        Session::start(&TalkArgs {
            stats: None,
            stats_file: None,
            prometheus: None,
            hdr_log: None,
            progress,
            size_hint: None,
            quiet: true,
            verbose: false,
        })
    }

    /// Runs `plan` from `input` to `output`.
    pub fn run(
        &mut self,
        plan: &Plan,
        input: Box<dyn Read + Send>,
        input_bytes: Option<u64>,
        output: Box<dyn Write + Send>,
        wake: &WakeUp,
    ) -> Result<Report, Failure> {
        let progress = Arc::new(Progress::default());
        let ends = Ends { input, input_bytes, output, cancel: wake.cancel(), progress: Arc::clone(&progress) };
        self.display.start(input_bytes);
        let mut on_tick = |tick, gauges: &Gauges| match tick {
            Tick::Time => self.display.tick(&progress, gauges),
            Tick::Asked => self.display.answer(&progress),
        };
        let report = crate::pipeline::run(
            plan,
            &Cores::default(),
            ends,
            &mut self.supervisor,
            &mut Watch { tick_every: TICK, on_tick: &mut on_tick },
        );
        self.display.finish(&progress, report.is_ok());
        report
    }

    /// Runs a crew that works files off, of which `live` tells, and which come to `bytes` together.
    pub fn run_batch(&mut self, crew: Crew, bytes: u64, progress: &Progress, live: &Arc<Live>) -> Result<Ran, Failure> {
        self.display.start(Some(bytes));
        self.display.tell_files(Arc::clone(live));
        let mut on_tick = |tick, gauges: &Gauges| match tick {
            Tick::Time => self.display.tick(progress, gauges),
            Tick::Asked => self.display.answer(progress),
        };
        let ran = self.supervisor.run(crew, &mut Watch { tick_every: TICK, on_tick: &mut on_tick });
        self.display.finish(progress, ran.is_ok());
        ran
    }

    /// Runs `task` on a thread of its own, so that signals end it.
    pub fn task<T: Send + 'static>(
        &mut self,
        name: &'static str,
        cancel: Cancel,
        task: impl FnOnce(&Cancel) -> Result<T, Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut on_tick = |tick, _: &Gauges| {
            if tick == Tick::Asked {
                problem::tell(&format!("pipeline: at work on: {name}\n"));
            }
        };
        let watch = &mut Watch { tick_every: TICK, on_tick: &mut on_tick };
        self.supervisor.run_task(name, cancel, watch, task)
    }

    /// Runs `task`, which may ask on the terminal and read what `wake` wakes, on a thread of its own, so that signals end it.
    pub fn task_that_asks<T: Send + 'static>(
        &mut self,
        name: &'static str,
        wake: &WakeUp,
        task: impl FnOnce(&Prompter) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let prompter = Prompter::new(wake.clone());
        self.task(name, wake.cancel(), move |_| Ok(task(&prompter)))?
    }

    /// The first bytes of `input`, at most `len`. A pipe is read from, so they have to be put in front of the rest.
    pub fn head(&mut self, input: &Input, len: usize) -> anyhow::Result<Vec<u8>> {
        if input.is_seekable() {
            let mut head = Vec::with_capacity(len);
            (&*input.file).take(len as u64).read_to_end(&mut head).context("cannot read")?;
            return Ok(head);
        }
        let wake = WakeUp::new().context("cannot start")?;
        let reader = input.reader(&wake)?;
        let head = self.task("detect", wake.cancel(), move |_| {
            let mut head = Vec::with_capacity(len);
            reader.take(len as u64).read_to_end(&mut head).map_err(|error| format!("cannot read: {error}"))?;
            Ok(head)
        });
        head.map_err(anyhow::Error::new)
    }

    /// Makes `output` durable and gives it its name, with the mode and times of `source`, if it comes of a file.
    pub fn commit(&mut self, output: Output, source: Option<&Input>) -> Result<(), Failure> {
        let (source, output) = (source.map(|input| input.metadata.clone()), Arc::new(output));
        // The thread may be left behind in a system call, with its share of the output.
        let _abandon = AbandonOnDrop(Arc::clone(&output));
        self.task("commit", Cancel::default(), move |cancel| Ok(output.commit(source.as_ref(), || cancel.is_set())?))
    }
}

/// Sees to it that an output which did not get its name goes, whichever way its commit is left, by a panic too.
struct AbandonOnDrop(Arc<Output>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Names the end at which a run failed: adds the output to a failure to write.
pub fn name_the_output(failure: impl Into<anyhow::Error>, output: &Output) -> anyhow::Error {
    let error = failure.into();
    let failure: Option<&Failure> = error.downcast_ref();
    let is_writing = failure.is_some_and(|failure| matches!(failure.cause, Cause::Write(_)));
    match is_writing {
        true if output.is_stdout() => error.context(ToStdout),
        true => error.context(output.name().to_owned()),
        false => error,
    }
}

/// Refuses binary on a terminal.
pub fn refuse_terminal(output: &Output, force: bool) -> Result<(), Problem> {
    if output.is_terminal() && !force {
        let hint = "give OUT, or --force to write it all the same";
        return Err(Problem::failed("compressed data is not written to a terminal").hint(hint));
    }
    Ok(())
}
