//! Tests of the documentation. They run every `sh` block of the README and of `docs/` with the built binary and compare
//! the output with the `output` block after it. They also check that the flags in the text exist and that links have a
//! target.
//!
//! The blocks of a page form one script. `bash -eu` runs it in a temporary directory, which [`set_up`] fills with the
//! same files for each page. In an `output` block `…` matches any text within a line; alone on a line it matches any
//! lines. A block that cannot run has `<!-- not run: reason -->` on the line above it and an entry in [`NOT_RUN`].

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Need, TestDir, finish, noise, skip, text};

/// Page, first command, and reason of every block that is not run. Keep it short: such blocks become outdated.
const NOT_RUN: [(&str, &str, &str); 3] = [
    ("README.md", "make demo", "it builds"),
    ("README.md", "make build pages && sudo make install", "it builds and installs"),
    ("docs/performance.md", "cargo bench --bench ladder", "it builds and measures for minutes"),
];

/// Other programs that the documentation uses. Where one is missing, the test skips the blocks that use it and records
/// that.
const TOOLS: [&str; 7] = ["zstd", "pzstd", "age", "age-keygen", "gpg", "7z", "ssh-keygen"];

/// The languages of a block: commands, their output, a file, or text that cannot run.
const LANGUAGES: [&str; 4] = ["sh", "output", "toml", "text"];

/// The content of a fenced block.
struct Block {
    language: String,
    /// The line of the opening fence, from 1.
    line: usize,
    text: String,
    /// The reason in the `not run` comment.
    not_run: Option<String>,
}

/// Every `cargo test` in docs/promises.md names an existing test binary and existing modules.
#[test]
fn the_commands_of_the_promises_run_tests() {
    let page = read("docs/promises.md");
    let mut count = 0;
    for command in page.split('`').filter_map(|code| code.strip_prefix("cargo test ")) {
        let (binary, modules) = command.strip_prefix("--test ").and_then(|rest| rest.split_once(" -- ")).unwrap();
        for module in modules.split(' ') {
            let file = format!("tests/{binary}/{}.rs", module.strip_suffix("::").unwrap());
            assert!(read(&file).contains("#[test]"), "{command}: {file} has no test");
            assert!(
                read(&format!("tests/{binary}/main.rs")).contains(&format!("mod {};", module.trim_end_matches("::")))
            );
            count += 1;
        }
    }
    assert!(count > 20, "only {count} modules are named");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of the README and of the pages in `docs/`.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()))
        .filter(|name| name.ends_with(".md"))
        .collect();
    pages.push("README.md".to_owned());
    pages.sort();
    pages
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap()
}

/// The blocks of a page, in order.
fn blocks(page: &str) -> Vec<Block> {
    let content = read(page);
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut above = "";
    for (index, line) in content.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                let mark = above.strip_prefix("<!-- not run: ").and_then(|mark| mark.strip_suffix(" -->"));
                let (language, not_run) = (language.to_owned(), mark.map(str::to_owned));
                open = Some(Block { language, line: index + 1, text: String::new(), not_run });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => writeln!(block.text, "{line}").unwrap(),
            (None, None) => {}
        }
        above = line;
    }
    assert!(open.is_none(), "{page}: a fence is not closed");
    blocks
}

/// The text of a page outside of its blocks.
fn prose(page: &str) -> String {
    read(page).split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// Makes a directory with the files that every page may use: `documents`, `big.tar` made from it, `stock.zst` made from
/// that by stock zstd, `app.log`, and a stand-in for `pg_dump`.
fn set_up() -> TestDir {
    let dir = TestDir::new();
    fs::create_dir_all(dir.path("work/documents/letters")).unwrap();
    dir.write("work/documents/notes.txt", &text(6_000_000, 1));
    dir.write("work/documents/picture.jpg", &noise(3_000_000, 2));
    dir.write("work/documents/letters/one.txt", b"Dear reader,\n");
    let log = (0..200_000).fold(String::new(), |mut log, i| {
        writeln!(log, "12:{:02}:{:02} request {i} took {} ms", i / 3600 % 60, i / 60 % 60, i * 7919 % 997).unwrap();
        log
    });
    dir.write("work/app.log", log.as_bytes());
    let tar = Command::new("tar").args(["-cf", "big.tar", "documents"]).current_dir(dir.path("work")).status();
    assert!(tar.unwrap().success());
    dir.write("work/stock.zst", &zstd::encode_all(&dir.read("work/big.tar")[..], 3).unwrap());
    fs::create_dir(dir.path("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_pipeline"), dir.path("bin/pipeline")).unwrap();
    let dump = "#!/bin/sh\n[ \"$1\" = shop ] || { echo \"pg_dump: error: no database $1\" >&2; exit 1; }\n\
                seq -f 'INSERT INTO orders VALUES (%.0f);' 100000\n";
    let dump = dir.write("bin/pg_dump", dump.as_bytes());
    fs::set_permissions(dump, fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// The first of [`TOOLS`] that `commands` use and that is not installed.
fn missing_tool(commands: &str) -> Option<&'static str> {
    let code = commands.lines().map(|line| line.split(" # ").next().unwrap_or_default());
    let words: BTreeSet<&str> = code.flat_map(|line| line.split([' ', '(', ')', ';', '|'])).collect();
    let installed = |tool: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
    };
    TOOLS.into_iter().find(|tool| words.contains(tool) && !installed(tool))
}

/// Runs the blocks of a page as one script, and compares their output with the `output` blocks.
fn run(page: &str) {
    let dir = set_up();
    let blocks = blocks(page);
    let mut script = String::new();
    let log = |index: usize| dir.path(format!("log-{index}"));
    let mut runs = Vec::new();
    for (index, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "sh") {
        if block.not_run.is_some() {
            continue;
        }
        if let Some(tool) = missing_tool(&block.text) {
            skip(Need::Tool(tool));
            continue;
        }
        write!(script, "exec > '{}' 2>&1\n{}", log(index).display(), block.text).unwrap();
        runs.push(index);
    }
    let script = dir.write("script", script.as_bytes());
    let status = bash(&dir, &script);
    let printed = |index: usize| fs::read_to_string(log(index)).unwrap_or_default();
    let reached = runs.iter().rev().find(|index| log(**index).exists()).copied();
    if let Some(index) = reached.filter(|_| !status.success()) {
        panic!("{page}:{}: {status}\n{}{}", blocks[index].line, blocks[index].text, printed(index));
    }
    assert!(status.success() && reached == runs.last().copied(), "{page}: {status}, and not all blocks were run");
    for index in runs {
        let Some(output) = blocks.get(index + 1).filter(|next| next.language == "output") else { continue };
        let (told, printed) = (output.text.as_str(), printed(index));
        assert!(matches(told, &printed), "{page}:{} tells\n{told}\nbut printed is\n{printed}", output.line);
    }
}

/// Runs `script` in the page's directory, which is also the home directory, with only the path from the environment of
/// the test.
fn bash(dir: &TestDir, script: &Path) -> std::process::ExitStatus {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = [dir.path("bin")].into_iter().chain(std::env::split_paths(&path)).collect();
    let mut command = Command::new("bash");
    command.arg("-eu").arg(script).current_dir(dir.path("work")).env_clear();
    command.env("PATH", std::env::join_paths(folders).unwrap()).env("LC_ALL", "C");
    command.env("HOME", dir.path("work")).env("XDG_CONFIG_HOME", dir.path("work/.config"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
}

/// Whether `printed` matches the `output` block `told`; see the top of this file.
fn matches(told: &str, printed: &str) -> bool {
    fn lines_match(told: &[&str], printed: &[&str]) -> bool {
        match told {
            [] => printed.is_empty(),
            ["…", rest @ ..] => (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..])),
            [line, rest @ ..] => {
                printed.first().is_some_and(|first| line_matches(line, first)) && lines_match(rest, &printed[1..])
            }
        }
    }
    lines_match(&told.lines().collect::<Vec<_>>(), &printed.lines().collect::<Vec<_>>())
}

fn line_matches(told: &str, printed: &str) -> bool {
    let Some((head, told)) = told.split_once('…') else { return told == printed.trim_end() };
    let (mut middle, tail) = match told.rsplit_once('…') {
        Some((middle, tail)) => (middle.split('…').collect(), tail),
        None => (Vec::new(), told),
    };
    let rest = printed.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail));
    middle.retain(|part| !part.is_empty());
    middle.iter().try_fold(rest.unwrap_or_default(), |rest, part| Some(rest.split_once(part)?.1)).is_some()
        && rest.is_some()
}

#[test]
fn the_readme_runs() {
    run("README.md");
}

#[test]
fn the_tutorial_runs() {
    run("docs/tutorial.md");
}

#[test]
fn what_is_told_to_those_who_come_from_other_tools_runs() {
    run("docs/coming-from.md");
}

#[test]
fn troubleshooting_shows_what_is_said_and_the_exit_codes() {
    run("docs/troubleshooting.md");
}

#[test]
fn every_other_page_runs() {
    let alone = ["README.md", "docs/tutorial.md", "docs/coming-from.md", "docs/troubleshooting.md"];
    for page in pages().iter().filter(|page| !alone.contains(&page.as_str())) {
        run(page);
    }
}

#[test]
fn blocks_that_are_not_run_are_listed_with_their_reasons() {
    let mut found = BTreeSet::new();
    for page in pages() {
        let marks = read(&page).matches("<!-- not run").count();
        let blocks = blocks(&page);
        let marked: Vec<&Block> = blocks.iter().filter(|b| b.language == "sh" && b.not_run.is_some()).collect();
        assert_eq!(marks, marked.len(), "{page}: a mark stands on the line above an `sh` block");
        for block in marked {
            let first = block.text.split(['#', '\n']).next().unwrap_or_default().trim_end().to_owned();
            found.insert((page.clone(), first, block.not_run.clone().unwrap()));
        }
    }
    let listed = NOT_RUN.map(|(page, first, reason)| (page.to_owned(), first.to_owned(), reason.to_owned()));
    assert_eq!(found, BTreeSet::from(listed));
}

#[test]
fn commands_stand_in_sh_blocks_only() {
    for page in pages() {
        for block in blocks(&page) {
            let (at, language) = (format!("{page}:{}", block.line), block.language.as_str());
            // A block without a language is a diagram or a report.
            assert!(language.is_empty() || LANGUAGES.contains(&language), "{at}: a block of {language}");
            let is_command = |line: &str| line.starts_with("pipeline ") || line.starts_with("$ ");
            assert!(language == "sh" || !block.text.lines().any(is_command), "{at}: a command that is not run");
        }
    }
}

#[test]
fn an_output_block_stands_behind_the_commands_that_print_it() {
    for page in pages() {
        let blocks = blocks(&page);
        for (index, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "output") {
            let before = index.checked_sub(1).map(|before| &blocks[before]);
            let is_run = before.is_some_and(|before| before.language == "sh" && before.not_run.is_none());
            assert!(is_run, "{page}:{}", block.line);
        }
    }
}

#[test]
fn commands_and_flags_that_the_text_names_exist() {
    let dir = TestDir::new();
    let help_of = |command: &str| -> Option<String> {
        let help = finish(dir.command([command, "--help"]).output().unwrap());
        help.status.success().then(|| String::from_utf8(help.stdout).unwrap())
    };
    let list = String::from_utf8(dir.ok("--help").stdout).unwrap();
    let list = list.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = list.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"process") && commands.contains(&"bench"), "{commands:?}");
    let all: String = commands.iter().filter_map(|command| help_of(command)).collect();
    for page in pages() {
        let prose = prose(&page);
        for span in prose.split('`').skip(1).step_by(2) {
            let span = span.split(" -- ").next().unwrap_or_default();
            let mut words = span.split([' ', '=']).filter(|word| !word.is_empty());
            let help = match words.clone().next() {
                Some("pipeline") => match words.nth(1) {
                    Some(command) if command.bytes().all(|b| b.is_ascii_lowercase()) => {
                        help_of(command).unwrap_or_else(|| panic!("{page}: there is no command {command}"))
                    }
                    _ => continue,
                },
                Some(word) if word.starts_with("--") || commands.contains(&word) => all.clone(),
                _ => continue,
            };
            for flag in words.filter(|word| word.starts_with("--") && word.len() > 2) {
                assert!(help.contains(flag), "{page}: there is no {flag} in `{span}`");
            }
        }
    }
}

#[test]
fn links_lead_to_files_and_headings_that_are_there() {
    for page in pages() {
        let folder = root().join(&page).parent().unwrap().to_owned();
        let prose = prose(&page);
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { root().join(&page) } else { folder.join(file) };
            assert!(path.exists(), "{page}: {target} is not there");
            assert!(heading.is_empty() || headings(&path).contains(heading), "{page}: no heading for {target}");
        }
    }
}

/// The headings of a page, in the form that links use.
fn headings(path: &Path) -> BTreeSet<String> {
    let content = fs::read_to_string(path).unwrap();
    let titles = content.lines().filter(|line| line.starts_with('#'));
    let slug = |title: &str| -> String {
        let title = title.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        title.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
    };
    titles.map(slug).collect()
}

#[test]
fn an_ellipsis_stands_for_anything_in_a_line_or_for_lines() {
    assert!(matches("a …c\n…\nend\n", "a bbb c\nx\ny\nend\n"));
    assert!(matches("…\n", "") && matches("a…b…c", "a1b2c") && matches("…", "x\n\ny"));
    assert!(!matches("a …c\n", "a bbb\n") && !matches("a\n", "a\nb\n") && !matches("a…b…c", "a1c"));
    assert!(!matches("exit 4\n", "exit 1\n") && !matches("aa…aa", "aaa"));
}
