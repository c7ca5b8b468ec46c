//! The commands on many files: each resolves one request for all files, runs the batch and reports the results.

mod names;
pub mod process;
pub mod rekey;
pub mod restore;
pub mod verify;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::ErrorKind::NotFound;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::error::{BatchError, EntryError};
use crate::batch::journal::{History, InputFate, Journal};
use crate::batch::messages::{Ended, Entry, Other};
use crate::batch::operation::{Operation, wants_passphrase};
use crate::batch::output_tree::OutputTree;
use crate::batch::plan::{self, BatchPlan, Item, Naming};
use crate::batch::policy::{Breaker, OnError, Retry};
use crate::batch::results::BatchSummary;
use crate::batch::scan::{self, Filter, InputSpec};
use crate::batch::setup::{self, JournalKind, Opened};
use crate::batch::{self, Batch, BatchOptions, RanBatch};
use crate::cli::args::{BatchArgs, EngineArg, FileArgs, FilterArgs, LinksArg, ListArgs, OnErrorArg};
use crate::cli::commands::taken_files;
use crate::cli::problem::{self, Exit, Problem, quoted};
use crate::cli::resolve;
use crate::cli::session::{Session, tell};
use crate::cli::settings;
use crate::pipeline::plan::Engine;
use crate::pipeline::report::Report;
use crate::pipeline::threads::Concurrency;
use crate::pipeline::write;
use crate::report::{Reports, notice, words};
use crate::store::output::OutputOptions;
use crate::store::reserved::{ReservedPath, places_read};
use crate::task::executor::Executor;
use crate::task::keys::{IdentitySources, Keyring};
use crate::task::open::forbid_core_dumps;

pub use names::{BatchNames, names};

/// The most files that are checked for a passphrase, to decide whether to prompt.
const LOOKED_AT: usize = 16;

/// A resolved batch.
struct Request<'a> {
    plan: BatchPlan,
    /// The directory for outputs and the place of its journal; `None` if nothing is written.
    output: Option<(&'a Path, JournalKind)>,
    options: BatchOptions,
    /// Whether the plan covers all files of the tree, so that a missing output that the journal knows but the plan does not is forgotten.
    is_whole: bool,
    /// The width of the pipeline for one large file.
    width: Concurrency,
    /// Whether notices are suppressed.
    quiet: bool,
}

/// Runs a batch and reports the result of its files.
fn carry_out(
    session: &mut Session,
    reports: &mut Reports<'_>,
    request: Request<'_>,
    operation: Arc<dyn Operation>,
) -> anyhow::Result<Exit> {
    let Request { plan, output, options, is_whole, width, quiet } = request;
    let (plan, OutputOptions { force, sync, umask }) = (Arc::new(plan), options.output);
    let mut others = Vec::new();
    let (tree, journal, history) = match output {
        Some((path, kind)) => {
            let (tree, mut journal, history) = open_tree(session, path, kind, options)?;
            if let (true, Some(journal)) = (is_whole && plan.failed().next().is_none(), &mut journal) {
                others.extend(forget_gone(&plan, &history, &tree, journal, force)?);
            }
            let (mirrored, mut tree) = (Arc::clone(&plan), tree);
            // Work on a tree runs on another thread, so that a signal can interrupt the wait.
            let (tree, not_made) = session.wait("mirror", move |_| {
                let not_made = tree.mirror(&mirrored.directories, &mirrored.links);
                (tree, not_made)
            })?;
            others.extend(not_made);
            (Some(tree), journal, history)
        }
        None => (None, None, Arc::default()),
    };
    let tell = if quiet { |_: &_| () } else { tell };
    let (wake, bytes) = (session.wake.clone(), plan.bytes);
    let batch = Batch { plan: Arc::clone(&plan), options, tree, journal, history, tell, wake };
    let supervise = Box::new(|threads, progress: &_, live: &_| session.run_batch(threads, bytes, progress, live));
    let RanBatch { results, tree, figures, wall, progress, failure } = batch::run(batch, operation, supervise);
    let cut_off_count = tree.as_ref().map_or(0, |tree| tree.cut_off_count);
    let left_swaps = tree.as_ref().map_or(&[][..], |tree| &tree.left_swaps);
    others.extend(left_swaps.iter().map(|path| Other { path: path.clone(), error: EntryError::LeftSwap }));
    // After a signal, directories are left unfinished for the next run.
    if let (Some(tree), None) = (tree, &failure) {
        others.extend(finish_tree(session, &plan, tree, umask, sync)?);
    }
    let summary = BatchSummary { plan, results, others, cut_off_count };
    tell_failures(&summary);
    if let Some(failure) = failure {
        let done = summary.counts();
        let went_on = format!("{} of {} files ended before; another run goes on from there", done.ended(), done.files);
        return Err(anyhow::Error::new(failure).context(went_on));
    }
    let exit = exit_of(&summary);
    let ([read_bytes, written_bytes, content_bytes], frame_count) = summary.totals();
    let report = Report {
        engine: Engine::Channels,
        workers: width.workers.get(),
        channel_depth: width.channel_depth.get(),
        cpu_count: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        read_bytes: read_bytes.max(progress.read_bytes()),
        written_bytes,
        wall,
        summary: write::Summary { frame_count, content_bytes, table: None },
        figures,
    };
    match reports.show_batch(report, &summary) {
        Ok(()) => Ok(exit),
        Err(error) => {
            problem::warn(&notice::chain(&error));
            Ok(if exit == Exit::Done { Exit::Warned } else { exit })
        }
    }
}

/// Opens the output directory and its journal, and writes warnings about them.
fn open_tree(
    session: &mut Session,
    path: &Path,
    kind: JournalKind,
    options: BatchOptions,
) -> anyhow::Result<(OutputTree, Option<Journal>, Arc<History>)> {
    let (path, folder) = (path.to_owned(), state_folder());
    let shown = quoted(&path);
    let opened = session.wait("journal", move |_| setup::open_tree(&path, kind, &options, folder.as_deref()))??;
    let Opened { tree, journal, history, lacks_state_folder } = opened;
    match kind {
        JournalKind::Apart if lacks_state_folder => {
            problem::warn("there is no folder to keep what is known of inputs in: the next run will do all of it again")
        }
        JournalKind::Elsewhere if lacks_state_folder => {
            problem::warn("there is no folder for a journal: another run will not know what this one has done");
        }
        _ => {}
    }
    if history.damaged_count > 0 {
        problem::warn(&format!(
            "{} lines of the journal of {shown} are damaged: outputs that only they told of are not known, and stay as they are",
            history.damaged_count
        ));
    }
    Ok((tree, journal, history))
}

/// Sets the modes and times of mirrored directories. Returns those that failed.
fn finish_tree(
    session: &mut Session,
    plan: &Arc<BatchPlan>,
    mut tree: OutputTree,
    umask: u32,
    sync: bool,
) -> anyhow::Result<Vec<Other>> {
    let finished = Arc::clone(plan);
    Ok(session.wait("finish", move |_| {
        // A directory that could not be read is left out: with its source's mode the next run could not enter it.
        let unread: HashSet<&Path> = finished.failed().collect();
        let directories = finished.directories.iter().filter(|directory| !unread.contains(&*directory.source));
        let mut failed = tree.finish(directories, umask, sync);
        let mirrors_top = finished.directories.iter().any(|directory| directory.place.as_os_str().is_empty());
        if let (false, Err(error)) = (mirrors_top, tree.open_up(umask)) {
            failed.push(Other { path: tree.path.clone(), error: EntryError::ModeAndTimes(error) });
        }
        failed
    })?)
}

/// Writes each failed file with its cause, each skipped file, and each hint once.
fn tell_failures(summary: &BatchSummary) {
    let mut hints: HashSet<String> = HashSet::new();
    for Entry { index, ended, .. } in summary.troubled() {
        let source = &summary.plan.items[*index].source;
        match ended {
            Ended::Failed(error) => {
                problem::tell(&format!("pipeline: error: {}\n", words::failed_file(source, error)));
                if let Some(hint) = problem::hint(error).filter(|hint| hints.insert(hint.clone())) {
                    problem::tell(&format!("hint: {hint}\n"));
                }
            }
            Ended::Warned(warnings) => problem::warn(&words::warnings(source, warnings)),
            Ended::Done | Ended::Redone | Ended::Unchanged => {}
        }
    }
    for Other { path, error } in summary.others() {
        match error.is_skip() {
            true => problem::warn(&format!("{} is skipped: {error}", quoted(path))),
            false => problem::tell(&format!("pipeline: error: {}: {error}\n", quoted(path))),
        }
    }
    if let Some(stopped) = summary.results.stopped {
        let left = summary.counts().left;
        problem::tell(&format!("pipeline: error: {}; {left} files are left\n", words::stopped(stopped)));
    }
}

/// The exit of the batch.
fn exit_of(summary: &BatchSummary) -> Exit {
    let counts = summary.counts();
    match (summary.stopped_by(), summary.results.stopped) {
        (Some(error), _) => Exit::of(error),
        (None, Some(_)) => Exit::Failed,
        (None, None) if counts.failed + counts.skipped + counts.warned > 0 => Exit::Warned,
        (None, None) => Exit::Done,
    }
}

/// The journal's history of the files in `input`.
fn history_of(session: &mut Session, input: &Path) -> anyhow::Result<Arc<History>> {
    let (input, folder) = (input.to_owned(), state_folder());
    Ok(session.wait("journal", move |_| setup::history_of(&input, folder.as_deref()))??)
}

/// The user's state folder, for data that must not be stored in a tree.
fn state_folder() -> Option<PathBuf> {
    settings::folder(|name| std::env::var_os(name), "XDG_STATE_HOME", ".local/state")
}

/// Removes from the journal the outputs that have no input and no longer exist. Without `force`, keeps and returns those whose input
/// `--rm` deleted, because they were the only copy.
fn forget_gone(
    plan: &BatchPlan,
    history: &History,
    tree: &OutputTree,
    journal: &mut Journal,
    force: bool,
) -> Result<Vec<Other>, BatchError> {
    let is_gone =
        |place: &&Path| std::fs::symlink_metadata(tree.path.join(place)).is_err_and(|error| error.kind() == NotFound);
    let is_lost = |place: &&Path| history.records(place).last().is_some_and(|record| record.fate == InputFate::Deleted);
    let gone = unplanned(plan, history).into_iter().filter(is_gone);
    let (lost, gone): (Vec<_>, Vec<_>) = gone.partition(|place| is_lost(place) && !force);
    journal.forget(&gone).map_err(BatchError::JournalWrite)?;
    Ok(lost.into_iter().map(|place| Other { path: tree.path.join(place), error: EntryError::Lost }).collect())
}

/// The places that the journal knows and the plan does not, sorted.
fn unplanned<'a>(plan: &BatchPlan, history: &'a History) -> Vec<&'a Path> {
    let planned: HashSet<&Path> = plan.items.iter().map(|item| &*item.place).collect();
    let mut unplanned: Vec<&Path> = history.places().filter(|place| !planned.contains(place)).collect();
    unplanned.sort_unstable();
    unplanned
}

/// Scans the inputs and plans their outputs; `naming` derives their names. Writes nothing. No output, and with `is_rm` no input, may be
/// one of the files in `taken`.
fn plan(
    session: &mut Session,
    names: &BatchNames,
    list: &ListArgs,
    (taken, is_rm): (&[ReservedPath<'_>], bool),
    naming: impl Naming,
) -> anyhow::Result<BatchPlan> {
    let ListArgs { files_from, files0_from, filter } = list.clone();
    let (paths, output) = (names.inputs.clone(), names.output.clone());
    let spec = InputSpec { paths, files_from, files0_from, filter: filter_of(&filter) };
    let (read, wake) = (places_read(taken), session.wake.clone());
    Ok(session.wait("list", move |_| {
        let inputs = scan::scan(&spec)?;
        let roots = inputs.roots.clone();
        let plan = plan::plan(inputs, !spec.filter.include.is_empty(), &naming, &wake);
        plan::check(&plan, &output, &roots, &read)?;
        if is_rm {
            plan::check_inputs(&plan, &read)?;
        }
        Ok::<BatchPlan, BatchError>(plan)
    })??)
}

/// Scans one directory and plans outputs with the same names, none of which may be one of the files in `taken`.
fn plan_in_place(
    session: &mut Session,
    input: &Path,
    filter: &FilterArgs,
    taken: &[ReservedPath<'_>],
) -> anyhow::Result<BatchPlan> {
    let (input, filter, read) = (input.to_owned(), filter_of(filter), places_read(taken));
    let wake = session.wake.clone();
    Ok(session.wait("list", move |_| {
        let plan = plan::plan(scan::scan_in(&input, &filter)?, false, &OsStr::to_owned, &wake);
        plan::check_inputs(&plan, &read)?;
        Ok::<BatchPlan, BatchError>(plan)
    })??)
}

fn filter_of(args: &FilterArgs) -> Filter {
    let FilterArgs { include, exclude, gitignore, links } = args.clone();
    let links = match links {
        LinksArg::Copy => scan::Links::Copy,
        LinksArg::Follow => scan::Links::Follow,
        LinksArg::Skip => scan::Links::Skip,
    };
    Filter { include, exclude, gitignore, links }
}

/// The options of a batch. All files together stay within `width` and `budget_bytes`, which are those of one run.
fn options(args: &BatchArgs, width: Concurrency, budget_bytes: usize, output: OutputOptions) -> BatchOptions {
    let jobs = args.jobs.map_or(width.workers.get(), |jobs| jobs as usize);
    BatchOptions {
        jobs: NonZeroUsize::new(jobs).expect("checked to be at least 1"),
        cores: width.workers,
        budget_bytes: budget_bytes as u64,
        output,
        rm: false,
        checksum: args.checksum,
        on_error: match args.on_error {
            OnErrorArg::Skip => OnError::Skip,
            OnErrorArg::Stop => OnError::Stop,
        },
        breaker: args.max_failures.unwrap_or(Breaker::Never),
        retry: Retry { count: args.retries, base: args.retry_wait, max: args.retry_wait_max },
    }
}

/// The identities that open the files of `plan`, read once from flags and the environment. If there are none and a file needs a
/// passphrase, prompts for it.
fn keyring(session: &mut Session, plan: &BatchPlan, sources: &IdentitySources) -> anyhow::Result<Keyring> {
    forbid_core_dumps()?;
    let (sources, prompter, wake) = (sources.clone(), session.prompter(), session.wake.clone());
    let looked_at: Vec<Item> = plan.items.iter().take(LOOKED_AT).cloned().collect();
    Ok(session.wait("keys", move |_| {
        let mut keyring = Keyring::read(&sources, &prompter, tell)?;
        let files = || looked_at.iter().filter_map(|item| item.open(&mut None, &wake).ok()?.file.try_clone().ok());
        keyring.settle(|| files().any(wants_passphrase))?;
        Ok::<Keyring, BatchError>(keyring)
    })??)
}

/// The path of the list that is standard input, if one is; empty otherwise.
fn list_input(list: &ListArgs) -> &Path {
    let mut lists = list.files_from.iter().chain(&list.files0_from);
    lists.find(|list| resolve::is_stdin(list)).map_or(Path::new(""), |list| list)
}

fn taken_lists(list: &ListArgs) -> impl Iterator<Item = ReservedPath<'_>> {
    let lists = [("--files-from", &list.files_from), ("--files0-from", &list.files0_from)];
    lists.into_iter().flat_map(|(flag, paths)| taken_files(flag, paths))
}

/// Refuses a passphrase, which costs a second and 256 MiB for each file because each has its own salt.
fn refuse_passphrases(is_asked_for: bool) -> Result<(), Problem> {
    match is_asked_for {
        true => Err(Problem::usage("a passphrase would cost a second and 256 MiB of memory for each file").hint(
            "encrypt to a key, and the key with the passphrase: keygen -o KEY; process -r RECIPIENT; process -p --no-compress KEY",
        )),
        false => Ok(()),
    }
}

/// Refuses flags that do not go with many files or with each other.
fn refuse_flags(files: &FileArgs, list: &ListArgs, engine: EngineArg) -> Result<(), Problem> {
    if engine == EngineArg::Mutex {
        return Err(Problem::usage("--engine mutex is for one file"));
    }
    if files.rm && list.filter.links == LinksArg::Follow {
        return Err(Problem::usage("--rm with --links follow would delete what links lead to, wherever that is"));
    }
    resolve::refuse_rm_unsynced(files)
}
