//! Tests of help, man pages and completions, as the built binary prints them.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{TestDir, finish};
use clap::Command;
use pipeline::cli::args::help;

/// Lines of `-h` at 80 columns: a screen, minus a prompt and the typed line.
const SHORT_HELP_LINES_MAX: usize = 40;

/// The words of each command, from none for the program itself to `config show`.
fn commands() -> Vec<String> {
    fn add(command: &Command, words: &str, all: &mut Vec<String>) {
        all.push(words.to_owned());
        for below in command.get_subcommands() {
            add(below, format!("{words} {}", below.get_name()).trim(), all);
        }
    }
    let mut all = Vec::new();
    add(&help::command(), "", &mut all);
    assert!(all.len() > 10, "{all:?}");
    all
}

/// The output of `line` on a terminal of 80 columns.
fn help_of(dir: &TestDir, line: &str) -> String {
    let ran = finish(dir.command(line.split_whitespace()).env("COLUMNS", "80").output().unwrap());
    assert!(ran.status.success() && ran.stderr.is_empty(), "{line}: {ran}");
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn the_short_help_of_every_command_fits_a_screen() {
    let dir = TestDir::new();
    for command in commands() {
        let help = help_of(&dir, &format!("{command} -h"));
        let lines = help.lines().count();
        assert!(lines <= SHORT_HELP_LINES_MAX, "{command} -h has {lines} lines:\n{help}");
        let widest = help.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "{command} -h is {widest} columns wide:\n{help}");
    }
}

#[test]
fn the_long_help_has_every_flag() {
    let dir = TestDir::new();
    let short = help_of(&dir, "process -h");
    let long = help_of(&dir, "process --help");
    for flag in ["--channel-depth", "--engine", "--stats-file", "--config"] {
        assert!(long.contains(flag) && !short.contains(flag), "{flag}");
    }
    for flag in ["--level", "--recipient", "--verify", "--workers", "--quiet"] {
        assert!(long.contains(flag) && short.contains(flag), "{flag}");
    }
}

#[test]
fn every_command_has_two_to_four_examples_and_their_flags_exist() {
    let dir = TestDir::new();
    for command in commands() {
        let help = help_of(&dir, &format!("{command} --help"));
        let (_, examples) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{command}: no examples"));
        let lines: Vec<&str> = examples.lines().filter(|line| !line.starts_with("      ")).collect();
        assert!((2..=4).contains(&lines.len()), "{command}: {lines:?}");
        for line in lines {
            let calls = calls(line);
            assert!(calls.iter().any(|call| call.join(" ").starts_with(&format!("pipeline {command}"))), "{line}");
            for call in calls {
                help::command().try_get_matches_from(call).unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }
}

/// The words of each call of `pipeline` in a shell line, without pipes and redirections.
fn calls(line: &str) -> Vec<Vec<&str>> {
    line.split(" | ")
        .map(|part| part.split(" > ").next().unwrap().split_whitespace().collect::<Vec<&str>>())
        .filter(|words| words.first() == Some(&"pipeline"))
        .collect()
}

#[test]
fn the_long_version_tells_the_library_and_the_formats_and_the_short_one_is_a_line() {
    let dir = TestDir::new();
    let short = help_of(&dir, "-V");
    assert_eq!(short, format!("pipeline {}\n", env!("CARGO_PKG_VERSION")));
    let long = help_of(&dir, "--version");
    assert!(long.starts_with(&short), "{long}");
    for word in ["libzstd 1.", "RFC 8878", "seekable format 0.1.0", "age v1"] {
        assert!(long.contains(word), "{word}: {long}");
    }
}

#[test]
fn completions_parse_in_their_shells() {
    let dir = TestDir::new();
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        dir.write(shell, help_of(&dir, &format!("completions {shell}")).as_bytes());
        if let Some(ran) = dir.tool(shell, &[check, shell], None) {
            assert!(ran.status.success() && ran.stderr.is_empty(), "{shell}: {ran}");
        }
    }
    for shell in ["elvish", "powershell"] {
        assert!(help_of(&dir, &format!("completions {shell}")).contains("channel-depth"), "{shell}");
    }
    dir.fails("completions csh", 2);
}

#[test]
fn bash_completes_commands_and_flags() {
    let dir = TestDir::new();
    dir.write("script", help_of(&dir, "completions bash").as_bytes());
    for (typed, word, completed) in [
        ("pipeline resto", 1, "restore"),
        ("pipeline process --chan", 2, "--channel-depth"),
        ("pipeline restore --engine mu", 3, "mutex"),
    ] {
        let line = format!(
            "source ./script; COMP_WORDS=({typed}); COMP_CWORD={word}; _pipeline pipeline \"${{COMP_WORDS[-1]}}\" \
             \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let Some(ran) = dir.tool("bash", &["-c", &line], None) else { return };
        assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), completed, "{typed}: {ran}");
    }
}

#[test]
fn every_command_has_a_man_page_that_renders_without_a_warning() {
    let dir = TestDir::new();
    dir.ok("man pages/man1");
    let wanted: BTreeSet<String> = commands()
        .iter()
        .map(|command| format!("{}.1", format!("pipeline {command}").trim().replace(' ', "-")))
        .collect();
    let there: BTreeSet<String> = fs::read_dir(dir.path("pages/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, wanted);
    for name in wanted {
        let path = format!("pages/man1/{name}");
        let page = fs::read_to_string(dir.path(&path)).unwrap();
        assert!(page.is_ascii() && page.contains(".SH EXAMPLES") && page.contains(".SH \"SEE ALSO\""), "{name}");
        let mut lines = page.lines();
        while lines.by_ref().any(|line| line == ".TP") {
            let tag = lines.next().unwrap();
            let text = lines.next().unwrap_or_default();
            assert!(!text.is_empty() && !text.starts_with('.'), "{name}: nothing is said of {tag}");
        }
        for (tool, args) in [
            ("man", &["--warnings", "--local-file", &path] as &[&str]),
            ("groff", &["-ww", "-z", "-man", "-Tutf8", &path]),
            ("mandoc", &["-Tlint", "-W", "error", &path]),
        ] {
            if let Some(ran) = dir.tool(tool, args, None) {
                assert!(ran.status.success() && ran.stderr.is_empty(), "{tool} {name}: {ran}");
            }
        }
    }
}

#[test]
fn man_pages_that_are_there_are_overwritten_only_by_force() {
    let dir = TestDir::new();
    dir.ok("man pages");
    let page = dir.read("pages/pipeline.1");
    dir.write("pages/pipeline.1", b"mine");
    fs::remove_file(dir.path("pages/pipeline-cat.1")).unwrap();
    dir.fails("man pages", 1);
    assert!(dir.read("pages/pipeline.1") == b"mine" && !dir.path("pages/pipeline-cat.1").exists());
    dir.ok("man pages --force");
    assert_eq!(dir.read("pages/pipeline.1"), page);
}

#[test]
fn the_same_program_writes_the_same_pages() {
    let dir = TestDir::new();
    dir.ok("man one");
    dir.ok("man two");
    for entry in fs::read_dir(dir.path("one")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert_eq!(dir.read(&format!("one/{name}")), dir.read(&format!("two/{name}")), "{name}");
    }
}
