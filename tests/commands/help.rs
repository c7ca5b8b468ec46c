//! Help, man pages and completions, as the built binary gives them.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Bench, finish};
use clap::Command;
use pipeline::cli::args::help;

/// Lines that `-h` may have at 80 columns: a screen, less a prompt and the line that was typed.
const SHORT_HELP_LINES_MAX: usize = 40;

/// The words that call each command, from none for the program itself to `config show`.
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

/// What `line` prints to a terminal of 80 columns.
fn help_of(bench: &Bench, line: &str) -> String {
    let ran = finish(bench.command(line.split_whitespace()).env("COLUMNS", "80").output().unwrap());
    assert!(ran.status.success() && ran.stderr.is_empty(), "{line}: {ran}");
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn the_short_help_of_every_command_fits_a_screen() {
    let bench = Bench::new();
    for command in commands() {
        let help = help_of(&bench, &format!("{command} -h"));
        let lines = help.lines().count();
        assert!(lines <= SHORT_HELP_LINES_MAX, "{command} -h has {lines} lines:\n{help}");
        let widest = help.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "{command} -h is {widest} columns wide:\n{help}");
    }
}

#[test]
fn the_long_help_has_every_flag() {
    let bench = Bench::new();
    let short = help_of(&bench, "process -h");
    let long = help_of(&bench, "process --help");
    for flag in ["--channel-depth", "--engine", "--stats-file", "--config"] {
        assert!(long.contains(flag) && !short.contains(flag), "{flag}");
    }
    for flag in ["--level", "--recipient", "--verify", "--workers", "--quiet"] {
        assert!(long.contains(flag) && short.contains(flag), "{flag}");
    }
}

#[test]
fn every_command_has_two_to_four_examples_and_their_flags_exist() {
    let bench = Bench::new();
    for command in commands() {
        let help = help_of(&bench, &format!("{command} --help"));
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

/// The words of each call of `pipeline` in a line for a shell, without what the shell takes for itself.
fn calls(line: &str) -> Vec<Vec<&str>> {
    line.split(" | ")
        .map(|part| part.split(" > ").next().unwrap().split_whitespace().collect::<Vec<&str>>())
        .filter(|words| words.first() == Some(&"pipeline"))
        .collect()
}

#[test]
fn the_long_version_tells_the_library_and_the_formats_and_the_short_one_is_a_line() {
    let bench = Bench::new();
    let short = help_of(&bench, "-V");
    assert_eq!(short, format!("pipeline {}\n", env!("CARGO_PKG_VERSION")));
    let long = help_of(&bench, "--version");
    assert!(long.starts_with(&short), "{long}");
    for word in ["libzstd 1.", "RFC 8878", "seekable format 0.1.0", "age v1"] {
        assert!(long.contains(word), "{word}: {long}");
    }
}

#[test]
fn completions_parse_in_their_shells() {
    let bench = Bench::new();
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        bench.write(shell, help_of(&bench, &format!("completions {shell}")).as_bytes());
        if let Some(ran) = bench.tool(shell, &[check, shell], None) {
            assert!(ran.status.success() && ran.stderr.is_empty(), "{shell}: {ran}");
        }
    }
    for shell in ["elvish", "powershell"] {
        assert!(help_of(&bench, &format!("completions {shell}")).contains("channel-depth"), "{shell}");
    }
    bench.fails("completions csh", 2);
}

#[test]
fn bash_completes_commands_and_flags() {
    let bench = Bench::new();
    bench.write("script", help_of(&bench, "completions bash").as_bytes());
    for (typed, word, completed) in [
        ("pipeline resto", 1, "restore"),
        ("pipeline process --chan", 2, "--channel-depth"),
        ("pipeline restore --engine mu", 3, "mutex"),
    ] {
        let line = format!(
            "source ./script; COMP_WORDS=({typed}); COMP_CWORD={word}; _pipeline pipeline \"${{COMP_WORDS[-1]}}\" \
             \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let Some(ran) = bench.tool("bash", &["-c", &line], None) else { return };
        assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), completed, "{typed}: {ran}");
    }
}

#[test]
fn every_command_has_a_man_page_that_renders_without_a_warning() {
    let bench = Bench::new();
    bench.ok("man pages/man1");
    let wanted: BTreeSet<String> = commands()
        .iter()
        .map(|command| format!("{}.1", format!("pipeline {command}").trim().replace(' ', "-")))
        .collect();
    let there: BTreeSet<String> = fs::read_dir(bench.path("pages/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, wanted);
    for name in wanted {
        let path = format!("pages/man1/{name}");
        let page = fs::read_to_string(bench.path(&path)).unwrap();
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
            if let Some(ran) = bench.tool(tool, args, None) {
                assert!(ran.status.success() && ran.stderr.is_empty(), "{tool} {name}: {ran}");
            }
        }
    }
}

#[test]
fn man_pages_that_are_there_are_overwritten_only_by_force() {
    let bench = Bench::new();
    bench.ok("man pages");
    let page = bench.read("pages/pipeline.1");
    bench.write("pages/pipeline.1", b"mine");
    fs::remove_file(bench.path("pages/pipeline-cat.1")).unwrap();
    let said = bench.fails("man pages", 1);
    assert!(said.contains("already exists"), "{said}");
    assert!(bench.read("pages/pipeline.1") == b"mine" && !bench.path("pages/pipeline-cat.1").exists());
    bench.ok("man pages --force");
    assert_eq!(bench.read("pages/pipeline.1"), page);
}

#[test]
fn the_same_program_writes_the_same_pages() {
    let bench = Bench::new();
    bench.ok("man one");
    bench.ok("man two");
    for entry in fs::read_dir(bench.path("one")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert_eq!(bench.read(&format!("one/{name}")), bench.read(&format!("two/{name}")), "{name}");
    }
}
