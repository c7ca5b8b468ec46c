//! The commands on many files: settled once for all of them, then worked off together.

mod opener;
pub mod process;
pub mod rekey;
pub mod restore;
pub mod verify;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind::NotFound;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use crate::batch::journal::{Fate, Journal, Known};
use crate::batch::plan::Plan;
use crate::batch::start::{self, BatchNames, JournalKind};
use crate::batch::summary::{Other, Summary};
use crate::batch::tree::Tree;
use crate::batch::work::Work;
use crate::batch::{self, Batch, Conduct, Ran};
use crate::cli::args::{EngineArg, FileArgs, IdentityArgs, Links, ListArgs};
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::pipeline::crew::Width;
use crate::pipeline::plan::Engine;
use crate::pipeline::report::Report;
use crate::pipeline::shutdown::Cancel;
use crate::pipeline::write;
use crate::report::{Reports, Taken};
use crate::store::output::Manner;
use crate::store::sys::WakeUp;
use crate::task::keys;

/// What is said of an output that was all there was.
const LOST: &str = "it is missing, and --rm had deleted its input; --force forgets it";

/// What all kinds of work have in common.
struct Setup<'a> {
    plan: Plan,
    /// Where outputs go, and where their journal is; nowhere where nothing is written.
    output: Option<(&'a Path, JournalKind)>,
    conduct: Conduct,
    /// The plan is of all that shall be there: what the journal knows beyond it, and is not there, is not missed.
    is_whole: bool,
    /// Of a large file's pipeline.
    width: Width,
    wake: WakeUp,
}

/// Works the files of a batch off, and says what came of them.
fn carry_out(
    session: &mut Session,
    reports: &mut Reports<'_>,
    setup: Setup<'_>,
    work: Arc<dyn Work>,
) -> anyhow::Result<Exit> {
    let Setup { plan, output, conduct, is_whole, width, wake } = setup;
    let (plan, Manner { force, sync, umask }) = (Arc::new(plan), conduct.manner);
    // What touches a tree is done on threads of their own, so that signals end it.
    let opened = output.map(|(path, kind)| {
        let path = path.to_owned();
        session.task("journal", Cancel::default(), move |_| Ok(start::open_tree(&path, kind, &conduct)))?
    });
    let opened = opened.transpose()?;
    let mut others = others(&plan);
    let (tree, journal, known) = match opened {
        Some((mut tree, mut journal, known)) => {
            if let (true, Some(journal)) = (is_whole && plan.failed.is_empty(), &mut journal) {
                others.extend(forget_gone(&plan, &known, &tree, journal, force)?);
            }
            let mirrored = Arc::clone(&plan);
            let (tree, not_made) = session.task("mirror", Cancel::default(), move |_| {
                let not_made = tree.mirror(&mirrored.directories, &mirrored.links);
                Ok((tree, not_made))
            })?;
            others.extend(not_made.into_iter().map(failed));
            (Some(tree), journal, known)
        }
        None => (None, None, Arc::default()),
    };
    let batch = Batch { plan: Arc::clone(&plan), conduct, tree, journal, known, wake };
    let Ran { ledger, tree, figures, wall, progress, failure } = batch::run(session, batch, work);
    let cut_off_count = tree.as_ref().map_or(0, |tree| tree.cut_off_count);
    // After a signal nothing is finished: the next run does it.
    if let (Some(mut tree), None) = (tree, &failure) {
        let finished = Arc::clone(&plan);
        let not_finished = session.task("finish", Cancel::default(), move |_| {
            // One that could not be read was not finished, and the next run has to get in.
            let unread: HashSet<&Path> = finished.failed.iter().map(|(path, _)| &**path).collect();
            let directories = finished.directories.iter().filter(|directory| !unread.contains(&*directory.source));
            Ok(tree.finish(directories, umask, sync))
        })?;
        others.extend(not_finished.into_iter().map(failed));
    }
    let summary = Summary { plan, ledger, others, cut_off_count };
    summary.tell_failures();
    if let Some(failure) = failure {
        let done = summary.counts();
        let went_on = format!("{} of {} files ended before; another run goes on from there", done.ended(), done.files);
        return Err(anyhow::Error::new(failure).context(went_on));
    }
    let exit = summary.exit();
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
            problem::warn(&format!("{error:#}"));
            Ok(if exit == Exit::Done { Exit::Warned } else { exit })
        }
    }
}

/// What is known of the files in `input`.
fn known_of(session: &mut Session, input: &Path) -> anyhow::Result<Arc<Known>> {
    let input = input.to_owned();
    session.task("journal", Cancel::default(), move |_| Ok(start::known_of(&input)))?
}

/// Lets the journal forget outputs whose input is gone, and that somebody has deleted. Gives those that were all there was, which it forgets
/// with `force` only.
fn forget_gone(
    plan: &Plan,
    known: &Known,
    tree: &Tree,
    journal: &mut Journal,
    force: bool,
) -> anyhow::Result<Vec<Other>> {
    let is_gone =
        |place: &&Path| std::fs::symlink_metadata(tree.path.join(place)).is_err_and(|error| error.kind() == NotFound);
    let is_lost = |place: &&Path| known.records(place).last().is_some_and(|record| record.fate == Fate::Deleted);
    let gone = unplanned(plan, known).into_iter().filter(is_gone);
    let (lost, gone): (Vec<_>, Vec<_>) = gone.partition(|place| is_lost(place) && !force);
    journal.forget(&gone).context("cannot write the journal")?;
    Ok(lost.into_iter().map(|place| failed((tree.path.join(place), LOST.to_owned()))).collect())
}

/// Places that the journal knows and the plan does not, in order.
fn unplanned<'a>(plan: &Plan, known: &'a Known) -> Vec<&'a Path> {
    let planned: HashSet<&Path> = plan.items.iter().map(|item| &*item.place).collect();
    let mut unplanned: Vec<&Path> = known.places().filter(|place| !planned.contains(place)).collect();
    unplanned.sort_unstable();
    unplanned
}

/// Looks at the inputs on a thread of its own, so that signals end it.
fn look(
    session: &mut Session,
    names: &BatchNames,
    list: &ListArgs,
    name: impl Fn(&OsStr) -> OsString + Send + 'static,
) -> anyhow::Result<Plan> {
    let (names, list) = (names.clone(), list.clone());
    session.task("list", Cancel::default(), move |_| Ok(start::plan(&names, &list, name)))?
}

/// What cannot be worked on.
fn others(plan: &Plan) -> Vec<Other> {
    let skipped = plan.skipped.iter().cloned().map(|(path, reason)| Other { path, reason, is_skipped: true });
    plan.failed.iter().cloned().map(failed).chain(skipped).collect()
}

fn failed((path, reason): (PathBuf, String)) -> Other {
    Other { path, reason, is_skipped: false }
}

/// What is read of standard input.
fn list_input(list: &ListArgs) -> &Path {
    list.files_from.as_deref().or(list.files0_from.as_deref()).unwrap_or(Path::new(""))
}

fn taken_lists(list: &ListArgs) -> impl Iterator<Item = Taken<'_>> {
    let lists = [("--files-from", &list.files_from), ("--files0-from", &list.files0_from)];
    lists.into_iter().filter_map(|(flag, path)| Some(Taken::In(flag, path.as_deref()?)))
}

fn check_identities(input: &Path, identities: &IdentityArgs) -> Result<(), Problem> {
    keys::check_sources(input, &identities.passphrases, &[("--identity", &identities.identity)])
}

/// A passphrase costs a second and 256 MiB for each file, since each has a salt of its own.
fn refuse_passphrases(is_asked_for: bool) -> Result<(), Problem> {
    match is_asked_for {
        true => Err(Problem::usage("a passphrase would cost a second and 256 MiB of memory for each file").hint(
            "encrypt to a key, and the key with the passphrase: keygen -o KEY; process -r RECIPIENT; process -p --no-compress KEY",
        )),
        false => Ok(()),
    }
}

/// Flags that do not go with many files, or with each other.
fn refuse_flags(files: &FileArgs, list: &ListArgs, engine: EngineArg) -> Result<(), Problem> {
    if engine == EngineArg::Mutex {
        return Err(Problem::usage("--engine mutex is for one file"));
    }
    if files.rm && list.filter.links == Links::Follow {
        return Err(Problem::usage("--rm with --links follow would delete what links lead to, wherever that is"));
    }
    resolve::refuse_rm_unsynced(files)
}
