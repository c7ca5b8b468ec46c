//! Tests of the rules of the source tree that a reader of the code relies on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file below `root` with its content, without the tests at the end of the file.
fn sources(root: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(root)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
                found.push((path, code));
            }
        }
    }
    assert!(!found.is_empty(), "{root} holds no code");
    found
}

/// Files below `root` that use one of `words` outside of comments.
fn users_of(root: &str, words: &[&str]) -> BTreeSet<String> {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    sources(root)
        .into_iter()
        .filter(|(_, code)| code.lines().filter(is_code).any(|line| words.iter().any(|word| line.contains(word))))
        .map(|(path, _)| path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string())
        .collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The layers, from bottom to top.
const FLOORS: [&str; 8] = ["format", "pipeline", "store", "task", "batch", "report", "bench", "cli"];

#[test]
fn floors_use_only_what_is_below_them() {
    for (height, floor) in FLOORS.into_iter().enumerate() {
        let above: Vec<String> = FLOORS[height + 1..].iter().map(|above| format!("crate::{above}")).collect();
        let above: Vec<&str> = above.iter().map(String::as_str).collect();
        let users = users_of(&format!("src/{floor}"), &above);
        assert_eq!(users, names(&[]), "{floor} uses a floor above it");
    }
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let folders = folders.map(|entry| entry.unwrap()).filter(|entry| entry.file_type().unwrap().is_dir());
    let folders: BTreeSet<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(folders, names(&FLOORS), "a folder that is no floor");
}

/// The paths that a `use` tree names: `a::{b, c::{d, e}}` is `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let body = &rest[..rest.rfind('}').unwrap()];
    let (mut depth, mut start, mut paths) = (0, 0, Vec::new());
    for (at, byte) in body.bytes().chain([b',']).enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                let part = body[start..at].trim();
                paths.extend(
                    expand(part).into_iter().filter(|_| !part.is_empty()).map(|path| head.trim().to_owned() + &path),
                );
                start = at + 1;
            }
            _ => {}
        }
    }
    paths
}

/// Each file of `src` by its module path, with the files that it imports from.
fn imports() -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: BTreeMap<Vec<String>, String> = sources("src")
        .into_iter()
        .map(|(path, code)| {
            let path = path.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Vec<String> = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if module.last().is_some_and(|name| name == "mod") || module == ["lib"] {
                module.pop();
            }
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            (module, format!("\n{code}"))
        })
        .collect();
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let of_file = |module: &Vec<String>, code: &str| {
        let statements = code.split("\nuse ").chain(code.split("\npub use ").skip(1)).skip(1);
        let mut paths: Vec<String> =
            statements.flat_map(|rest| expand(&rest.split(';').next().unwrap().replace('\n', " "))).collect();
        let is_inline_module = |path: &str| {
            path.strip_prefix("super::").is_some_and(|rest| {
                let name = rest.split("::").next().unwrap();
                code.contains(&format!("\nmod {name} {{"))
            })
        };
        // Paths in the code itself, which need no `use`.
        paths.extend(
            code.split(|c| !word(c)).filter(|path| path.contains("::") && !path.ends_with("::")).map(str::to_owned),
        );
        paths.retain(|path| !is_inline_module(path));
        let resolve = |path: String| {
            let mut parts: Vec<&str> = path.split("::").collect();
            let mut full = module.clone();
            match parts[0] {
                "crate" => full.clear(),
                "super" | "self" => {}
                child if files.contains_key(&[&module[..], &[child.to_owned()]].concat()) => parts.insert(0, "self"),
                _ => return None,
            }
            for part in parts {
                match part {
                    "crate" | "self" => {}
                    "super" => drop(full.pop()),
                    name => full.push(name.to_owned()),
                }
            }
            while !files.contains_key(&full) {
                full.pop()?;
            }
            Some(full).filter(|full| full != module)
        };
        paths.into_iter().filter_map(resolve).collect()
    };
    files.iter().map(|(module, code)| (module.clone(), of_file(module, code))).collect()
}

#[test]
fn no_circle_of_imports_joins_files() {
    let mut imports = imports();
    assert!(imports.len() > 100 && imports.values().map(BTreeSet::len).sum::<usize>() > 500, "imports are found");
    // Removes files that import no remaining file or that no remaining file imports, until only circles remain.
    loop {
        let before = imports.len();
        let left: BTreeSet<Vec<String>> = imports.keys().cloned().collect();
        imports.retain(|_, of| of.iter().any(|file| left.contains(file)));
        let used: BTreeSet<Vec<String>> = imports.values().flatten().cloned().collect();
        imports.retain(|file, _| used.contains(file));
        if imports.len() == before {
            break;
        }
    }
    let circles: Vec<String> = imports.keys().map(|module| module.join("::")).collect();
    assert!(circles.is_empty(), "in circles, or between two: {circles:?}");
}

#[test]
fn what_only_the_command_line_needs_stays_there() {
    for words in [&["clap::", "anyhow::"][..], &["toml::"]] {
        let users = users_of("src", words);
        assert!(
            !users.is_empty()
                && users.iter().all(|path| path.starts_with("src/cli/") || path.starts_with("src/bench/")),
            "{words:?}: {users:?}"
        );
    }
}

/// Files of the pipeline that may know the formats: recipes, steps and their parts. The loops of the engine may not.
const KNOW_FORMATS: &[&str] = &[
    "cpu_slots",
    "error",
    "frame_splitter",
    "kind",
    "legacy",
    "memory",
    "age_header",
    "plan",
    "range",
    "recipes",
    "salvage/frames",
    "salvage/segments",
    "seal",
    "sealed",
    "inline",
    "steps",
    "table",
    "frame_at",
    "write",
];

#[test]
fn the_loops_of_the_engine_do_not_know_the_formats() {
    let know = users_of("src/pipeline", &["crate::format"]);
    let known: BTreeSet<String> = KNOW_FORMATS.iter().map(|file| format!("src/pipeline/{file}.rs")).collect();
    assert_eq!(know, known);
}

#[test]
fn the_format_floor_has_no_threads_files_clocks_environment_or_output() {
    let outside =
        ["std::thread", "std::fs", "std::time", "std::env", "std::io", "println!", "tokio", "async_channel", "tracing"];
    assert_eq!(users_of("src/format", &outside), names(&[]));
}

#[test]
fn libzstd_is_reached_in_one_file_and_system_calls_in_one_folder() {
    assert_eq!(users_of("src", &["zstd_safe", "use zstd::"]), names(&["src/format/zstd/codec.rs"]));
    assert_eq!(
        users_of("src", &["rustix::", "nix::sys", "nix::unistd"]),
        names(
            &["attributes", "child", "descriptors", "directory", "files", "process", "rename", "terminal", "wait"]
                .map(|file| format!("src/store/sys/{file}.rs"))
                .each_ref()
                .map(String::as_str)
        )
    );
}

#[test]
fn only_the_legacy_mode_locks() {
    assert_eq!(users_of("src", &["Mutex<", "Mutex::new", "RwLock", "Semaphore"]), names(&["src/pipeline/legacy.rs"]));
}

#[test]
fn nothing_leaves_the_process_but_by_returning_from_main() {
    assert_eq!(users_of("src", &["process::exit", "process::abort"]), names(&[]));
}

#[test]
fn nothing_is_printed_by_macros_that_panic_when_nobody_reads() {
    assert_eq!(users_of("src", &["println!", "print!(", "eprint!("]), names(&[]));
}

#[test]
fn there_is_no_unwrap_outside_of_tests() {
    assert_eq!(users_of("src", &[".unwrap()"]), names(&[]));
}

/// The string literals in `code` that a `str` method searches for.
fn searched_for(code: &str) -> Vec<&str> {
    let methods = [".contains(\"", ".starts_with(\"", ".ends_with(\"", ".matches(\"", ".find(\""];
    let literals = |method| code.split(method).skip(1).filter_map(|rest: &str| rest.split('"').next());
    methods.into_iter().flat_map(literals).collect()
}

/// Whether `text` has three words of English in a row, as a message has.
fn is_prose(text: &str) -> bool {
    let is_word =
        |word: &&str| word.len() > 1 && word.trim_end_matches([',', ':', '.']).bytes().all(|b| b.is_ascii_lowercase());
    let words: Vec<&str> = text.split(' ').collect();
    words.windows(3).any(|words| words.iter().all(is_word))
}

/// Failures have kinds, so that messages can be mended without a test that quotes them.
#[test]
fn no_test_reads_a_message() {
    assert!(
        is_prose("'a' already exists and was not") && !is_prose("frame 0 at offset 14: ") && !is_prose("hint: -i FILE")
    );
    assert_eq!(searched_for(r#"said.contains("no such file") && said.ends_with("x")"#), ["no such file", "x"]);
    // The losses of a salvage are reported by messages alone; the messages of the loader, the allocator and a panic are not ours.
    let reads_messages = names(&["formats/salvage.rs", "faults/limits.rs", "faults/system_calls.rs"]);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let readers = sources("tests").into_iter().filter(|(_, code)| searched_for(code).into_iter().any(is_prose));
    let readers = readers.map(|(path, _)| path.strip_prefix(&tests).unwrap().display().to_string());
    assert_eq!(readers.filter(|path| path != "commands/rules.rs").collect::<BTreeSet<String>>(), reads_messages);
}

#[test]
fn files_are_one_idea_long() {
    for (path, code) in sources("src") {
        let lines = code.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//")).count();
        assert!(lines <= 330, "{}: {lines} lines of code", path.display());
    }
}

#[test]
fn every_fixture_is_listed_in_the_readme_beside_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    let listed: BTreeSet<String> =
        readme.lines().filter_map(|line| line.strip_prefix("- `")?.split('`').next().map(str::to_owned)).collect();
    let there: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md" && name != "generate.rs")
        .collect();
    assert_eq!(there, listed);
}

#[test]
fn every_package_of_the_lock_file_is_listed_with_its_licence() {
    let read = |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let listed = read("THIRD-PARTY.md");
    let lock = read("Cargo.lock");
    let field = |package: &str, name: &str| {
        let value = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        value.unwrap().trim_matches('"').to_owned()
    };
    for package in lock.split("[[package]]").skip(1) {
        let (name, version) = (field(package, "name"), field(package, "version"));
        let row = listed.lines().find_map(|line| line.strip_prefix(&format!("| {name} | {version} | ")));
        let licence = row.and_then(|row| row.split('|').next()).unwrap_or_default().trim();
        assert!(name == "pipeline" || !licence.is_empty(), "{name} {version} is not listed: make third-party");
    }
}
