//! What the arguments of a batch come to: which names it is about, how it is done, where its journals are.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Conduct;
use super::inputs;
use super::journal::{self, Inputs, Journal, JournalError, Known};
use super::plan::{self, Plan};
use super::policy::{Breaker, OnError, Retry};
use super::tree::Tree;
use crate::cli::args::{BatchArgs, FileArgs, FilterArgs, ListArgs, OnErrorArg, TalkArgs};
use crate::cli::problem::{self, Problem, quoted};
use crate::cli::settings;
use crate::pipeline::crew::Width;
use crate::store::output::Manner;
use crate::store::sys::Directory;

/// What a batch reads and where it writes.
#[derive(Clone, Debug)]
pub struct BatchNames {
    /// Files and directories, as they were named.
    pub inputs: Vec<PathBuf>,
    /// The directory of all outputs.
    pub output: PathBuf,
}

/// The names of a batch, where `files` and `list` ask for one: a directory, several inputs, a list, or a directory to write to.
pub fn names(files: &FileArgs, list: &ListArgs) -> Result<Option<BatchNames>, Problem> {
    let has_list = list.files_from.is_some() || list.files0_from.is_some();
    let positionals = files.input.iter().chain(&files.out).chain(&files.more).cloned();
    let (inputs, output): (Vec<PathBuf>, _) = match (&files.output, has_list) {
        (Some(output), _) => (positionals.collect(), Some(output.clone())),
        (None, true) => return Err(Problem::usage("a list of files goes with -o DIR")),
        (None, false) if !files.more.is_empty() => {
            let problem = Problem::usage("IN and OUT are one name each");
            return Err(problem.hint("several inputs go with -o DIR"));
        }
        (None, false) => (files.input.iter().cloned().collect(), files.out.clone()),
    };
    let is_directory = |path: &PathBuf| path != Path::new("-") && path.is_dir();
    let goes_to_directory =
        output.as_ref().is_some_and(|output| is_directory(output) || output.as_os_str().as_bytes().ends_with(b"/"));
    let is_one_file = inputs.len() < 2 && !inputs.first().is_some_and(is_directory);
    if is_one_file && !has_list && !goes_to_directory {
        return Ok(None);
    }
    let Some(output) = output else {
        let problem = Problem::usage(format!("{} is a directory, and OUT is missing", quoted(&inputs[0])));
        return Err(problem.hint("give a directory for its outputs, beside it and not in it"));
    };
    let suffix = output.extension().and_then(std::ffi::OsStr::to_str);
    let is_named_like_a_file = matches!(suffix, Some("zst" | "age" | "tzst")) && !output.exists();
    if is_named_like_a_file && !has_list && inputs.len() == 1 && is_directory(&inputs[0]) {
        let message = format!("{} is a directory, and {} is named like a file", quoted(&inputs[0]), quoted(&output));
        let hint = "a directory for its outputs; or one file by process --stdin-from-command OUT.tar.zst -- tar -c DIR";
        return Err(Problem::usage(message).hint(hint));
    }
    match inputs.iter().any(|input| input == Path::new("-")) || output == Path::new("-") {
        true if goes_to_directory && inputs.len() == 1 => {
            Err(Problem::usage(format!("standard input has no name that an output in {} could have", quoted(&output))))
        }
        true => Err(Problem::usage("several files do not go with standard input or output")),
        false => Ok(Some(BatchNames { inputs, output })),
    }
}

/// How a batch is done: `width` and what it takes in memory are those of one run, and all files stay within them.
pub fn conduct(args: &BatchArgs, talk: &TalkArgs, width: Width, budget_bytes: usize, manner: Manner) -> Conduct {
    let workers = width.workers.get();
    let jobs = args.jobs.map_or(workers, |jobs| jobs as usize);
    Conduct {
        jobs: NonZeroUsize::new(jobs).expect("checked to be at least 1"),
        cores: width.workers,
        budget_bytes: budget_bytes as u64,
        manner,
        rm: false,
        checksum: args.checksum,
        on_error: match args.on_error {
            OnErrorArg::Skip => OnError::Skip,
            OnErrorArg::Stop => OnError::Stop,
        },
        breaker: args.max_failures.unwrap_or(Breaker::Never),
        retry: Retry { count: args.retries, base: args.retry_wait, max: args.retry_wait_max },
        quiet: talk.quiet,
    }
}

/// Looks at all inputs and settles their outputs, of which `name` makes the file names. Nothing is written.
pub fn plan(names: &BatchNames, list: &ListArgs, name: impl Fn(&std::ffi::OsStr) -> OsString) -> anyhow::Result<Plan> {
    let looked = inputs::look(&names.inputs, list)?;
    let roots = looked.roots.clone();
    let plan = plan::plan(looked, !list.filter.include.is_empty(), name);
    plan::check(&plan, &names.output, &roots)?;
    Ok(plan)
}

/// Looks at the files of one directory, of which nothing is written.
pub fn plan_in_place(input: &Path, filter: &FilterArgs) -> anyhow::Result<Plan> {
    let looked = inputs::look_in(input, filter)?;
    Ok(plan::plan(looked, false, |name| name.to_owned()))
}

/// Opens the directory of all outputs and its journal, and says what has to be said of it.
pub fn open_tree(
    output: &Path,
    kind: JournalKind,
    conduct: &Conduct,
) -> anyhow::Result<(Tree, Option<Journal>, Arc<Known>)> {
    let mut tree = Tree::open(output, conduct.rm && conduct.manner.sync)?;
    let umask = conduct.manner.umask;
    let folder = match kind {
        JournalKind::Beside => None,
        JournalKind::Apart | JournalKind::Elsewhere => state_folder(),
    };
    let opened = match (kind, &folder) {
        (JournalKind::Beside, _) => Journal::open(tree.root(), journal::NAME.as_ref(), Inputs::Beside, tree.is_ours),
        (JournalKind::Apart, Some(folder)) => {
            Journal::open(tree.root(), journal::NAME.as_ref(), Inputs::Apart(folder), tree.is_ours)
        }
        (JournalKind::Apart, None) => {
            problem::warn(
                "there is no folder to keep what is known of inputs in: the next run will do all of it again",
            );
            Journal::open(tree.root(), journal::NAME.as_ref(), Inputs::Nowhere, tree.is_ours)
        }
        (JournalKind::Elsewhere, Some(folder)) => {
            let path = output.canonicalize().unwrap_or_else(|_| output.to_owned());
            let name = format!("restore-{:016x}.journal", twox_hash::XxHash64::oneshot(0, path.as_os_str().as_bytes()));
            Journal::open(folder, name.as_ref(), Inputs::Beside, tree.is_ours)
        }
        (JournalKind::Elsewhere, None) => {
            problem::warn("there is no folder for a journal: another run will not know what this one has done");
            tree.settle(umask)?;
            return Ok((tree, None, Arc::default()));
        }
    };
    let (journal, known) = opened.map_err(|error| journal_problem(output, error))?;
    tree.is_ours |= journal.is_of_made_tree();
    tree.settle(umask)?;
    if known.damaged_count > 0 {
        let (count, name) = (known.damaged_count, quoted(output));
        problem::warn(&format!(
            "{count} lines of the journal of {name} are damaged: outputs that only they told of are not known, and stay as they are"
        ));
    }
    Ok((tree, Some(journal), Arc::new(known)))
}

/// Where the journal of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalKind {
    /// In the tree.
    Beside,
    /// In the tree, but for what tells of the content.
    Apart,
    /// In the user's own folder: a tree that is brought back holds nothing that was not in it.
    Elsewhere,
}

/// What is known of the files in `input`, where there is a journal.
pub fn known_of(input: &Path) -> anyhow::Result<Arc<Known>> {
    let tree = Directory::open(input).map_err(|error| journal_problem(input, error.into()))?;
    let folder = state_folder();
    Ok(Arc::new(Known::read(&tree, folder.as_ref()).map_err(|error| journal_problem(input, error))?))
}

fn journal_problem(tree: &Path, error: JournalError) -> Problem {
    match error {
        JournalError::Io(error) => Problem::failed(format!("cannot open the journal of {}: {error}", quoted(tree))),
        error => Problem::failed(format!("{}: {error}", quoted(tree))),
    }
}

/// The user's own folder, for its owner alone.
fn state_folder() -> Option<Directory> {
    let folder = settings::folder(|name| std::env::var_os(name), "XDG_STATE_HOME", ".local/state")?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    Directory::open(&folder).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str], output: Option<&str>) -> FileArgs {
        let mut names = names.iter().map(PathBuf::from);
        let (input, out) = (names.next(), names.next());
        FileArgs {
            input,
            out,
            more: names.collect(),
            output: output.map(PathBuf::from),
            force: false,
            rm: false,
            no_sync: false,
        }
    }

    fn list(files_from: Option<&str>) -> ListArgs {
        ListArgs {
            files_from: files_from.map(PathBuf::from),
            files0_from: None,
            filter: FilterArgs {
                include: Vec::new(),
                exclude: Vec::new(),
                gitignore: false,
                links: crate::cli::args::Links::Copy,
            },
        }
    }

    #[test]
    fn a_batch_is_asked_for_by_a_directory_several_inputs_a_list_or_a_directory_to_write_to() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_str().unwrap();
        let of = |given: &[&str], output, from| {
            names(&files(given, output), &list(from)).map(|names| names.map(|names| names.inputs.len()))
        };
        for one_file in [&["in"][..], &["in", "out"], &["-"], &["in", "-"], &[]] {
            assert_eq!(of(one_file, None, None).unwrap(), None, "{one_file:?}");
        }
        assert_eq!(of(&["in"], Some("out"), None).unwrap(), None);
        assert_eq!(of(&[folder, "out"], None, None).unwrap(), Some(1));
        assert_eq!(of(&["in", folder], None, None).unwrap(), Some(1));
        assert_eq!(of(&["in"], Some("out/"), None).unwrap(), Some(1));
        assert_eq!(of(&["in"], Some("out.zst/"), None).unwrap(), Some(1), "its slash says what it is");
        of(&[folder, "out.zst"], None, None).unwrap_err();
        assert_eq!(of(&["a", "b", "c"], Some("out"), None).unwrap(), Some(3));
        assert_eq!(of(&[], Some("out"), Some("list")).unwrap(), Some(0));
        for bad in [&["a", "b", "c"][..], &[folder], &["-", folder]] {
            of(bad, None, None).unwrap_err();
        }
        of(&[], None, Some("list")).unwrap_err();
        of(&["a", "-"], Some("out"), None).unwrap_err();
    }
}
