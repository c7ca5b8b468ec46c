//! Decides from the names whether a command is a batch.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cli::args::{FileArgs, ListArgs};
use crate::cli::problem::{Problem, quoted};

/// The inputs and the output directory of a batch.
#[derive(Clone, Debug)]
pub struct BatchNames {
    /// The input files and directories, as typed.
    pub inputs: Vec<PathBuf>,
    /// The directory for all outputs.
    pub output: PathBuf,
}

/// The names of a batch; `None` if there is no directory, list, second input or output directory in `files` and `list`.
pub fn names(files: &FileArgs, list: &ListArgs) -> Result<Option<BatchNames>, Problem> {
    let lists = || list.files_from.iter().chain(&list.files0_from);
    let has_list = lists().next().is_some();
    if lists().filter(|list| *list == Path::new("-")).count() > 1 {
        return Err(Problem::usage("standard input cannot be two lists"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::FilterArgs;

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
            preserve: false,
        }
    }

    fn list(files_from: Option<&str>) -> ListArgs {
        ListArgs {
            files_from: files_from.map(PathBuf::from).into_iter().collect(),
            files0_from: Vec::new(),
            filter: FilterArgs {
                include: Vec::new(),
                exclude: Vec::new(),
                gitignore: false,
                links: crate::cli::args::LinksArg::Copy,
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
