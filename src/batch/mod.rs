//! Many files at once: a batch is a plan of files, worked off by hands that share the cores and the memory of one run.
//!
//! ```text
//! list (what is to do, where it goes) -> [files xN: the work] -> commit (groups of files made durable, noted, named)
//! ```
//!
//! Read in this order: what there is ([`inputs`]) and what will be done with it ([`plan`], [`tree`]), what was done before ([`journal`]) and so is still
//! to do ([`list`]), what is done with a file ([`work`], [`process`], [`restore`]) by whom ([`hand`]), how it ends ([`commit`], [`policy`]), and what is told
//! ([`live`], [`summary`]).
//!
//! Nothing is ordered: a file is ready when it is ready. `list` admits files by what they take in memory together, with the tokens of the
//! engine's own window, so that all files in flight stay within what one run takes; a file that takes it all goes alone.

pub mod inputs;

pub mod plan;

pub mod tree;

pub mod journal;

pub mod list;

pub mod work;

pub mod process;

pub mod restore;

pub mod rekey;

pub mod salvage;

pub mod hand;

pub mod commit;

pub mod policy;

pub mod live;

pub mod summary;

pub mod start;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::session::Session;
use crate::pipeline::cores::Cores;
use crate::pipeline::crew::{Crew, Names, Width};
use crate::pipeline::error::{Failure, Signal};
use crate::pipeline::metrics::{Figures, Progress};
use crate::pipeline::shutdown::Cancel;
use crate::pipeline::solo::SoloPools;
use crate::pipeline::stage::{Inlet, Outlet};
use crate::pipeline::window::Window;
use crate::store::output::Manner;
use crate::store::sys::{self, WakeUp};
use commit::{Arrived, Commit, Ledger};
use hand::{Hand, Shared, work_on};
use journal::{Journal, Known};
use list::{Bundle, Job, Lister};
use live::Live;
use plan::Plan;
use policy::{Breaker, OnError, Retry};
use tree::Tree;
use work::Work;

/// Bundles that a channel holds, and that are made durable together. Enough for the disk to be waited for seldom: 16 times 16 files. Fewer
/// where there are hardly any descriptors.
const BUNDLES_WAITING_MAX: usize = 16;

/// How a batch is done.
#[derive(Clone, Copy, Debug)]
pub struct Conduct {
    /// Files in flight.
    pub jobs: NonZeroUsize,
    /// Cores that are busy at most.
    pub cores: NonZeroUsize,
    /// What all files in flight take in memory together, in bytes.
    pub budget_bytes: u64,
    /// How outputs are treated.
    pub manner: Manner,
    /// Inputs are deleted.
    pub rm: bool,
    /// Whether an input has changed is told from its content.
    pub checksum: bool,
    /// What is done when a file fails.
    pub on_error: OnError,
    /// How many failures end the batch.
    pub breaker: Breaker,
    /// How often a file is tried again.
    pub retry: Retry,
    /// Notes are not said.
    pub quiet: bool,
}

/// What is there to begin with.
pub struct Batch {
    /// What is done.
    pub plan: Arc<Plan>,
    /// How.
    pub conduct: Conduct,
    /// Where outputs go; nowhere where nothing is written.
    pub tree: Option<Tree>,
    /// Where they are noted.
    pub journal: Option<Journal>,
    /// What was done before.
    pub known: Arc<Known>,
    /// Ends the waiting of whoever waits.
    pub wake: WakeUp,
}

/// What a batch came to.
pub struct Ran {
    /// What became of the files.
    pub ledger: Ledger,
    /// Its directories, to be finished.
    pub tree: Option<Tree>,
    /// What was measured.
    pub figures: Figures,
    /// How long it took.
    pub wall: Duration,
    /// Bytes of all files.
    pub progress: Arc<Progress>,
    /// Why it ended before its end, if it did.
    pub failure: Option<Failure>,
}

/// Works the files off.
pub fn run(session: &mut Session, batch: Batch, work: Arc<dyn Work>) -> Ran {
    let Batch { plan, conduct, tree, journal, known, wake } = batch;
    let descriptors = sys::raise_descriptor_limit();
    let depth = NonZeroUsize::new((descriptors / 8).min(BUNDLES_WAITING_MAX)).unwrap_or(NonZeroUsize::MIN);
    let jobs = conduct.jobs.get();
    let progress = Arc::new(Progress::default());
    let live = Arc::new(Live::new(Arc::clone(&plan), jobs));
    let (lead, led): (Vec<_>, Vec<_>) = (0..jobs).map(|_| async_channel::bounded(1)).unzip();
    let cancel = cancel(&wake, lead);
    let mut crew = Crew::new(cancel.clone());
    let (give_figures, figures_of_hands) = async_channel::bounded(jobs);
    let (give_ledger, given_ledger) = async_channel::bounded(1);
    let (give_tree, given_tree) = async_channel::bounded(1);

    let cores = Cores::shared(conduct.cores);
    let budget_len = usize::try_from(conduct.budget_bytes).unwrap_or(usize::MAX);
    let pools = SoloPools::new(jobs, budget_len, cores.clone());
    let solo_bytes_max = plan.solo_bytes_max(conduct.jobs);
    let shared = Shared {
        cores,
        pools,
        solo_bytes_max,
        progress: Arc::clone(&progress),
        failed_in_a_row: Arc::default(),
        cancel,
        wake,
    };
    let hands = Hands {
        plan: Arc::clone(&plan),
        work: Arc::clone(&work),
        live: Arc::clone(&live),
        retry: conduct.retry,
        make: Box::new(move |index: usize| Hand::new(shared.clone(), led[index].clone(), give_figures.clone())),
    };
    let (jobs_out, arrived_in) = hands.start(&mut crew, Width { workers: conduct.jobs, channel_depth: depth });
    let lister = Lister::new(&plan, conduct, &work, known, (tree, give_tree), (depth, descriptors));
    lister.start(&mut crew, jobs_out);
    let commit = Commit::new(&plan, journal, conduct, give_ledger);
    start_commit(&mut crew, arrived_in, depth, commit, Arc::clone(&live));

    let ran = session.run_batch(crew, plan.bytes, &progress, &live);
    let (mut figures, wall, failure) = match ran {
        Ok(ran) => (ran.figures, ran.wall, None),
        Err(failure) => (Figures::default(), Duration::ZERO, Some(failure)),
    };
    while let Ok(of_hand) = figures_of_hands.try_recv() {
        figures.add(of_hand);
    }
    let ledger = given_ledger.try_recv().unwrap_or_default();
    Ran { ledger, tree: given_tree.try_recv().ok(), figures, wall, progress, failure }
}

/// Ends a batch: wakes who waits, and tells the pipelines that the hands run.
fn cancel(wake: &WakeUp, lead: Vec<async_channel::Sender<Signal>>) -> Cancel {
    let wake = wake.cancel();
    Cancel::new(move || {
        wake.cancel();
        // Each has room for the one word that there is.
        for lead in &lead {
            let _ = lead.try_send(Signal::Terminate);
        }
    })
}

/// The stage of those who work.
struct Hands {
    plan: Arc<Plan>,
    work: Arc<dyn Work>,
    live: Arc<Live>,
    retry: Retry,
    make: Box<dyn Fn(usize) -> Hand + Send + Sync>,
}

impl Hands {
    fn start(self, crew: &mut Crew, width: Width) -> (Outlet<Bundle>, Inlet<Vec<Arrived>>) {
        let names = Names { stage: "files", before: "list>files", behind: "files>commit", next: "commit" };
        let window = Window::of_items("files", width.token_count());
        let hands = Arc::new(self);
        crew.parallel(names, width, window, move |index| {
            let (hands, mut hand) = (Arc::clone(&hands), (hands.make)(index));
            Ok(move |bundle| Ok(hands.work_off(index, &mut hand, bundle)))
        })
    }

    /// One file after the other. What is left of a bundle when the batch is ended is left to the next run.
    fn work_off(&self, index: usize, hand: &mut Hand, Bundle { files, token }: Bundle) -> Vec<Arrived> {
        let mut arrived = Vec::with_capacity(files.len());
        for job in files {
            match job {
                Job::Ended(ended) => arrived.push(ended),
                Job::Work(_) if hand.is_cancelled() => break,
                Job::Work(todo) => {
                    self.live.set(index, Some(todo.index));
                    let ended = work_on(hand, &*self.work, &self.plan, self.retry, *todo);
                    // What a file that was stopped failed with says nothing of it.
                    if ended.result.is_err() && hand.is_cancelled() {
                        break;
                    }
                    arrived.push(ended);
                }
            }
        }
        self.live.set(index, None);
        drop(token);
        arrived
    }
}

fn start_commit(
    crew: &mut Crew,
    arrived: Inlet<Vec<Arrived>>,
    depth: NonZeroUsize,
    mut commit: Commit,
    live: Arc<Live>,
) {
    crew.gathering_sink("commit", arrived, depth.get(), move |bundles: Vec<Vec<Arrived>>| {
        let arrived: Vec<Arrived> = bundles.into_iter().flatten().collect();
        live.add_ended(arrived.len());
        commit.take(arrived)
    });
}
