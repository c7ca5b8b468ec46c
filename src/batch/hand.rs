//! One of the threads that work files off, and what it keeps from one to the next. A file of one item or so it does itself; for a larger one
//! it runs a pipeline, whose workers compute with the cores that all hands share.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::commit::{Arrived, Came};
use super::list::Todo;
use super::plan as batch;
use super::policy::{Retry, may_pass};
use super::work::{Made, Target, Work};
use crate::cli::problem::quoted;
use crate::pipeline::cores::Cores;
use crate::pipeline::ends::Ends;
use crate::pipeline::error::{Cause, Failure, Signal, Stop};
use crate::pipeline::metrics::{Figures, Progress};
use crate::pipeline::plan::Plan;
use crate::pipeline::shutdown::Cancel;
use crate::pipeline::solo::{Solo, SoloPools};
use crate::pipeline::supervisor::{Supervisor, Watch};
use crate::pipeline::write::Summary;
use crate::store::digest::Digest;
use crate::store::input::Input;
use crate::store::sys::{self, Directory, WakeUp};

/// Files in a row that failed however often they were tried: what they failed with will not pass, and nothing is waited for any more.
const HOPELESS_COUNT: u32 = 8;

/// Nobody watches a single file's run, so it is seldom woken for that.
const TICK: Duration = Duration::from_secs(60);

/// What all hands share.
#[derive(Clone)]
pub struct Shared {
    /// The right to compute.
    pub cores: Cores,
    /// Buffers of the files that are done without a pipeline.
    pub pools: SoloPools,
    /// See [`Plan::solo_bytes_max`](batch::Plan::solo_bytes_max).
    pub solo_bytes_max: u64,
    /// Bytes of all files.
    pub progress: Arc<Progress>,
    /// Files in a row that failed for what may pass.
    pub failed_in_a_row: Arc<AtomicU32>,
    /// Ends the batch.
    pub cancel: Cancel,
    /// Wakes who waits, when it ends.
    pub wake: WakeUp,
}

/// One of the threads.
pub struct Hand {
    shared: Shared,
    solo: Option<Solo>,
    /// The file at hand is done without a pipeline.
    is_solo: bool,
    /// The directory that the last file was below of, as it was named.
    top: Option<(PathBuf, Directory)>,
    /// Made for the first large file.
    supervisor: Option<Supervisor>,
    /// How the end of the batch reaches a pipeline that runs here.
    signals: async_channel::Receiver<Signal>,
    figures: Figures,
    /// Takes the figures when this goes.
    give_figures: async_channel::Sender<Figures>,
}

impl Hand {
    /// A hand that hears of the end by `signals`, and leaves its figures with `give_figures`.
    pub fn new(
        shared: Shared,
        signals: async_channel::Receiver<Signal>,
        give_figures: async_channel::Sender<Figures>,
    ) -> Hand {
        let solo = Some(Solo::new(&shared.pools));
        Hand {
            shared,
            solo,
            is_solo: true,
            top: None,
            supervisor: None,
            signals,
            figures: Figures::default(),
            give_figures,
        }
    }

    /// What all hands share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether the batch is being ended.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancel.is_set()
    }

    /// Opens the input of a file, which was a regular one when it was looked at. A link that took the place of a directory meanwhile leads
    /// nowhere.
    pub fn open(&mut self, item: &batch::Item) -> anyhow::Result<Input> {
        let input = match item.depth {
            0 => Input::open(&item.source)?,
            _ => {
                let (top, inside) = item.way();
                let directory = match &mut self.top {
                    Some((path, directory)) if path == top => directory,
                    other => {
                        let opened = Directory::open_to_pass(top);
                        let opened = opened.with_context(|| format!("cannot open {}", quoted(&item.source)))?;
                        &mut other.insert((top.to_owned(), opened)).1
                    }
                };
                Input::open_below(directory, inside, quoted(&item.source))?
            }
        };
        match input.metadata.is_file() {
            true => Ok(input),
            false => Err(anyhow::anyhow!("{} is no regular file any more", input.name)),
        }
    }

    /// Does `step` with a core, as `stage`.
    pub fn compute<R>(&mut self, stage: &'static str, step: impl FnOnce() -> R) -> R {
        self.solo.as_mut().expect("it is there until this goes").compute(stage, step)
    }

    /// Like [`run`](Hand::run), for bytes that are none of the batch's own.
    pub fn run_uncounted(
        &mut self,
        plan: &Plan,
        input: Box<dyn Read + Send>,
        input_bytes: u64,
        output: Box<dyn Write + Send>,
    ) -> Result<Summary, Failure> {
        let counted = std::mem::take(&mut self.shared.progress);
        let ran = self.run(plan, input, input_bytes, output);
        self.shared.progress = counted;
        ran
    }

    /// Does what `plan` says with `input`, of `input_bytes`, and `output`.
    pub fn run(
        &mut self,
        plan: &Plan,
        input: Box<dyn Read + Send>,
        input_bytes: u64,
        output: Box<dyn Write + Send>,
    ) -> Result<Summary, Failure> {
        let plan = plan.clone().narrowed_to(Some(input_bytes));
        let progress = Arc::clone(&self.shared.progress);
        let ends = |cancel| Ends { input, input_bytes: Some(input_bytes), output, cancel, progress };
        if self.is_solo {
            let solo = self.solo.as_mut().expect("it is there until this goes");
            return solo.run(&plan.work, ends(self.shared.cancel.clone())).map_err(failure_of);
        }
        let supervisor = match &mut self.supervisor {
            Some(supervisor) => supervisor,
            none => {
                let led = Supervisor::led(self.signals.clone());
                none.insert(led.map_err(|error| failure_of(Stop::Failed(Cause::Spawn(error))))?)
            }
        };
        let watch = &mut Watch { tick_every: TICK, on_tick: &mut |_, _| () };
        // A cancel of its own: when this file fails, the others go on.
        let report = crate::pipeline::run(&plan, &self.shared.cores, ends(Cancel::default()), supervisor, watch)?;
        self.figures.add(of_one_thread(report.figures));
        Ok(report.summary)
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let mut figures = std::mem::take(&mut self.figures);
        figures.add(self.solo.take().map(Solo::finish).unwrap_or_default());
        // There is room for the figures of every hand, and they may be missed where nobody wants them any more.
        let _ = self.give_figures.try_send(of_one_thread(figures));
    }
}

/// The steps of a run as this hand's own: threads come and go with every file, and only hands can be counted.
fn of_one_thread(figures: Figures) -> Figures {
    let stages = figures.stages.into_iter().map(|mut stage| {
        stage.items_by_thread = vec![stage.items_by_thread.iter().sum()];
        stage
    });
    Figures { stages: stages.collect(), ..Figures::default() }
}

fn failure_of(stop: Stop) -> Failure {
    let cause = match stop {
        Stop::Failed(cause) => cause,
        Stop::Cancelled | Stop::Closed => Cause::Signal(Signal::Terminate),
    };
    Failure { stage: "file", seq: None, cause }
}

/// Works on a file, again and again while that may help.
pub fn work_on(hand: &mut Hand, work: &dyn Work, plan: &batch::Plan, retry: Retry, todo: Todo) -> Arrived {
    let Todo { index, target, is_again, unless } = todo;
    let (item, started_at, mut tries) = (&plan.items[index], Instant::now(), 0);
    hand.is_solo = item.identity.bytes <= hand.shared.solo_bytes_max;
    let failed_in_a_row = Arc::clone(&hand.shared.failed_in_a_row);
    let result = loop {
        tries += 1;
        let error = match try_once(hand, work, item, target.clone(), unless) {
            Ok(None) => break Ok(Came::Unchanged(None)),
            Ok(Some(made)) => break Ok(Came::Made { made: Box::new(made), is_again }),
            Err(error) => error,
        };
        let is_hopeless = failed_in_a_row.load(Ordering::Relaxed) >= HOPELESS_COUNT;
        if hand.is_cancelled() || tries > retry.count || is_hopeless || !may_pass(&error) {
            break Err(error);
        }
        let wait = retry.wait(tries, sys::random_u64().unwrap_or_default());
        tracing::info!(source = %quoted(&item.source), tries, ?wait, error = %format!("{error:#}"), "tried again");
        if hand.shared().wake.pause_for(wait).is_err() {
            break Err(error);
        }
    };
    match &result {
        Ok(_) => failed_in_a_row.store(0, Ordering::Relaxed),
        Err(error) if may_pass(error) => drop(failed_in_a_row.fetch_add(1, Ordering::Relaxed)),
        Err(_) => {}
    }
    Arrived { index, result, took: started_at.elapsed(), tries }
}

/// Nothing where the input comes to the digest that its output was made of.
fn try_once(
    hand: &mut Hand,
    work: &dyn Work,
    item: &batch::Item,
    target: Option<Target>,
    unless: Option<Digest>,
) -> anyhow::Result<Option<Made>> {
    if let Some(expected) = unless.filter(|expected| expected.bytes == item.identity.bytes) {
        let input = hand.open(item)?;
        let digest = Digest::of(&*input.file, || !hand.is_cancelled());
        if digest.with_context(|| format!("cannot read {}", input.name))? == expected {
            return Ok(None);
        }
    }
    work.work(hand, item, target).map(Some)
}
