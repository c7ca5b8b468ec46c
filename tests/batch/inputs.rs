//! Tests of the inputs of a batch, in all forms of naming them, and of what is refused before the first byte is
//! written.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::TestDir;
use crate::support::tree::{Node, look, plant_small, remove};

/// Makes a few files in a few directories, a link of each kind, and a FIFO.
fn dir_with_files() -> TestDir {
    let dir = TestDir::new();
    for name in ["tree/a.txt", "tree/b.log", "tree/sub/c.txt", "tree/sub/d.log", "tree/sub/deep/e.txt", "one", "two"] {
        let path = dir.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("content of {name}")).unwrap();
    }
    fs::create_dir(dir.path("tree/empty")).unwrap();
    dir
}

/// The names in `root` without the journal: directories end with a slash, links show their target.
fn names(root: &Path) -> Vec<String> {
    let seen = look(root).into_iter().filter(|(name, _)| !name.as_os_str().is_empty());
    let seen = seen.filter(|(name, _)| name != Path::new(".pipeline-journal"));
    let shown = seen.map(|(name, seen)| match seen.node {
        Node::Directory => format!("{}/", name.display()),
        Node::Link(target) => format!("{} -> {}", name.display(), target.display()),
        Node::File(_) | Node::Other => name.display().to_string(),
    });
    shown.collect()
}

/// Asserts that `process` with `arguments` makes the `expected` names in `out`, each with the right content, then
/// removes `out`.
#[track_caller]
fn assert_makes(dir: &TestDir, arguments: &str, expected: &[&str]) {
    let ran = dir.ok(&format!("process -q {arguments}"));
    assert_eq!(names(&dir.path("out")), expected, "{arguments}: {ran}");
    remove(&dir.path("out"));
}

#[test]
fn inputs_of_every_kind_go_where_they_belong() {
    let dir = dir_with_files();
    let all_below = [
        "tree/",
        "tree/a.txt.zst",
        "tree/b.log.zst",
        "tree/empty/",
        "tree/sub/",
        "tree/sub/c.txt.zst",
        "tree/sub/d.log.zst",
        "tree/sub/deep/",
        "tree/sub/deep/e.txt.zst",
    ];
    let all: Vec<&str> = all_below[1..].iter().map(|name| name.strip_prefix("tree/").unwrap()).collect();
    // A single directory is mirrored, in any spelling of its path.
    for line in ["tree out", "tree/ out", "./tree out/", "-o out tree", "tree/../tree -o out"] {
        assert_makes(&dir, line, &all);
    }
    // Several inputs keep their names.
    assert_makes(&dir, "-o out one two", &["one.zst", "two.zst"]);
    assert_makes(&dir, "-o out one two tree/sub/c.txt", &["c.txt.zst", "one.zst", "two.zst"]);
    assert_makes(&dir, "-o out one tree", &[&["one.zst"], &all_below[..]].concat());
    // A single file goes into a directory if the output is written as a directory.
    assert_makes(&dir, "one out/", &["one.zst"]);
    // Lists keep paths, in any form, and combine with names.
    dir.write("lines", b"one\n\ntree/sub/c.txt\n./two");
    dir.write("zeros", b"one\0tree/sub/c.txt\0two\0");
    let listed = ["one.zst", "tree/", "tree/sub/", "tree/sub/c.txt.zst", "two.zst"];
    assert_makes(&dir, "--files-from lines -o out", &listed);
    assert_makes(&dir, "--files0-from zeros -o out", &listed);
    dir.write("line", b"tree/sub");
    assert_makes(
        &dir,
        "--files-from line -o out two",
        &[
            "tree/",
            "tree/sub/",
            "tree/sub/c.txt.zst",
            "tree/sub/d.log.zst",
            "tree/sub/deep/",
            "tree/sub/deep/e.txt.zst",
            "two.zst",
        ],
    );
    for (flag, list) in [("--files-from", &b"one\ntwo\n"[..]), ("--files0-from", b"one\0two\0")] {
        let ran = dir.run_with(&format!("process -q {flag} - -o out"), list);
        assert!(ran.status.success(), "{flag}: {ran}");
        assert_eq!(names(&dir.path("out")), ["one.zst", "two.zst"]);
        remove(&dir.path("out"));
    }
    // An absolute path.
    let absolute = dir.path("one");
    dir.write("absolute", absolute.as_os_str().as_encoded_bytes());
    dir.ok("process -q --files-from absolute -o out");
    let below = dir.path("out").join(absolute.strip_prefix("/").unwrap());
    assert!(Path::new(&format!("{}.zst", below.display())).exists());
}

#[test]
fn names_that_are_no_text_go_through_a_list_of_zero_bytes() {
    let dir = TestDir::new();
    let names: [&[u8]; 3] = [b"caf\xe9", b"two\nlines", b" spaces "];
    for name in names {
        fs::write(dir.path(OsStr::from_bytes(name)), name).unwrap();
    }
    dir.write("list", &names.join(&0));
    dir.ok("process -q --files0-from list -o out");
    dir.ok("restore -q out back");
    for name in names {
        assert_eq!(fs::read(dir.path("back").join(OsStr::from_bytes(name))).unwrap(), name);
    }
}

#[test]
fn globs_and_ignore_files_choose_in_directories() {
    let dir = dir_with_files();
    let texts = ["a.txt.zst", "sub/", "sub/c.txt.zst", "sub/deep/", "sub/deep/e.txt.zst"];
    assert_makes(&dir, "tree out --include *.txt", &texts);
    assert_makes(&dir, "tree out --exclude *.log --exclude empty", &texts);
    assert_makes(&dir, "tree out --exclude sub", &["a.txt.zst", "b.log.zst", "empty/"]);
    assert_makes(&dir, "tree out --include *.txt --exclude deep", &["a.txt.zst", "sub/", "sub/c.txt.zst"]);
    assert_makes(&dir, "tree out --include sub/*.log", &["sub/", "sub/d.log.zst"]);
    assert_makes(&dir, "tree out --include /*.log", &["b.log.zst"]);
    // Globs do not exclude a directory that is named as an argument.
    assert_makes(
        &dir,
        "one tree -o out --include *.log",
        &["one.zst", "tree/", "tree/b.log.zst", "tree/sub/", "tree/sub/d.log.zst"],
    );
    dir.write("tree/.gitignore", b"*.log\n/sub/deep/\n");
    dir.write("tree/sub/.ignore", b"c.*\n");
    dir.write("tree/.hidden", b"hidden");
    assert_makes(
        &dir,
        "tree out --gitignore --exclude empty",
        &[".gitignore.zst", ".hidden.zst", "a.txt.zst", "sub/", "sub/.ignore.zst"],
    );
    dir.ok("process -q tree out");
    assert_eq!(names(&dir.path("out")).len(), 11, "without --gitignore all is taken");
    dir.fails("process -q tree out2 --include [", 2);
    dir.fails("process -q tree out2 --exclude a{", 2);
}

#[test]
fn links_are_copied_followed_or_left_out() {
    let dir = dir_with_files();
    symlink("a.txt", dir.path("tree/to-file")).unwrap();
    symlink("../one", dir.path("tree/sub/out-of-it")).unwrap();
    symlink("sub/deep", dir.path("tree/to-directory")).unwrap();
    let files = "tree out --exclude *.log --exclude c.txt --exclude empty";
    let without = ["a.txt.zst", "sub/", "sub/deep/", "sub/deep/e.txt.zst"];
    assert_makes(&dir, &format!("{files} --links skip"), &without);
    let copied = [
        "a.txt.zst",
        "sub/",
        "sub/deep/",
        "sub/deep/e.txt.zst",
        "sub/out-of-it -> ../one",
        "to-directory -> sub/deep",
        "to-file -> a.txt",
    ];
    assert_makes(&dir, files, &copied);
    fs::remove_file(dir.path("tree/sub/out-of-it")).unwrap();
    symlink("../../one", dir.path("tree/sub/out-of-it")).unwrap();
    assert_makes(
        &dir,
        &format!("{files} --links follow"),
        &[
            "a.txt.zst",
            "sub/",
            "sub/deep/",
            "sub/deep/e.txt.zst",
            "sub/out-of-it.zst",
            "to-directory/",
            "to-directory/e.txt.zst",
            "to-file.zst",
        ],
    );
    // A link that is named as an argument is followed.
    symlink("tree/sub", dir.path("named")).unwrap();
    assert_makes(&dir, "named out --include c.txt", &["c.txt.zst"]);
    // A link that cannot be followed fails, and is named.
    symlink("nowhere", dir.path("tree/dangling")).unwrap();
    symlink("..", dir.path("tree/sub/loop")).unwrap();
    let (report, said) = dir.batch_report("process -q tree out --links follow", 3);
    assert_eq!(report["batch"]["failed_count"], 2, "{said}");
    for name in ["dangling", "loop"] {
        assert_eq!(said.lines().filter(|line| line.contains(name)).count(), 1, "{name}: {said}");
    }
}

#[test]
fn what_is_neither_file_directory_nor_link_is_skipped_and_named() {
    let dir = dir_with_files();
    dir.tool("mkfifo", &["tree/fifo"], None);
    let _socket = std::os::unix::net::UnixListener::bind(dir.path("tree/socket")).unwrap();
    let (report, said) = dir.batch_report("process tree out -q", 3);
    assert_eq!((&report["batch"]["skipped_count"], &report["batch"]["done_count"]), (&2.into(), &5.into()));
    for name in ["tree/fifo", "tree/socket"] {
        assert_eq!(said.matches(&format!("'{name}'")).count(), 1, "{said}");
        let file = report["files"].as_array().unwrap().iter().find(|file| file["source"] == name).unwrap();
        assert_eq!((&file["ended"], &file["kind"]), (&"skipped".into(), &serde_json::Value::Null));
    }
}

/// Asserts that `line` is refused, that the message has the words `named`, and that the run writes nothing.
#[track_caller]
fn assert_refused(dir: &TestDir, line: &str, named: &[&str]) {
    let before = everything(dir);
    let said = dir.fails(line, 2);
    assert!(named.iter().all(|word| said.contains(word)), "{line}: {said}");
    assert!(everything(dir) == before, "{line}: something was written");
}

/// All names in the directory, without the user's state folder.
fn everything(dir: &TestDir) -> Vec<(PathBuf, Node, (i64, i64))> {
    let seen = look(dir.root()).into_iter().filter(|(name, _)| !name.starts_with("state"));
    seen.map(|(name, seen)| (name, seen.node, seen.mtime)).collect()
}

#[test]
fn a_plan_that_would_write_over_something_is_refused_before_anything_is_written() {
    let dir = dir_with_files();
    for name in ["x/same", "y/same"] {
        fs::create_dir_all(dir.path(name).parent().unwrap()).unwrap();
        dir.write(name, name.as_bytes());
    }
    for (line, named) in [
        ("process -o out x/same y/same", &["'x/same'", "'y/same'", "'same.zst'"][..]),
        ("process -o out one one", &["'one'", "'one.zst'"]),
        ("process -o out one two tree/../one", &["'one'", "'tree/../one'", "'one.zst'"]),
        ("process tree tree/out", &["'tree/out'"]),
        ("process tree tree", &["'tree'"]),
        ("process tree tree/sub/deep/", &["'tree/sub/deep/'"]),
        ("process . out", &["'out'"]),
        ("process -o out one -", &[]),
        ("process tree -", &[]),
        ("process tree", &["OUT"]),
        ("process one two tree", &["IN", "OUT"]),
        ("process --files-from list one", &["-o"]),
        ("process tree out --engine mutex", &["--engine mutex"]),
        ("process tree out --passphrase-file one", &["\nhint: "]),
    ] {
        assert_refused(&dir, line, named);
    }
    dir.write("list", b"one\n../one\n");
    assert_refused(&dir, "process --files-from list -o out", &["'../one'"]);
    // The same through a link, and through another name of the directory.
    symlink("tree", dir.path("link")).unwrap();
    assert_refused(&dir, "process tree link/out", &["'link/out'"]);
    assert_refused(&dir, "process link tree/out", &["'tree/out'"]);
}

#[test]
fn an_output_that_is_an_input_by_another_name_is_refused() {
    let dir = dir_with_files();
    fs::create_dir(dir.path("out")).unwrap();
    fs::hard_link(dir.path("one"), dir.path("out/two.zst")).unwrap();
    assert_refused(&dir, "process -o out one two", &["'out/two.zst'", "'two'"]);
    assert_refused(&dir, "process -o out one two -f", &["'out/two.zst'", "'two'"]);
    symlink(dir.path("one"), dir.path("out/one.zst")).unwrap();
    fs::remove_file(dir.path("out/two.zst")).unwrap();
    assert_refused(&dir, "process -o out one two -f", &["'out/one.zst'", "'one'"]);
}

#[test]
fn restored_names_that_would_be_one_are_refused() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 5);
    dir.ok("process tree out -q");
    fs::copy(dir.path("out/d000/f00001.zst"), dir.path("out/d000/f00001")).unwrap();
    assert_refused(&dir, "restore out back", &["'d000/f00001'"]);
    assert_refused(&dir, "restore out out/back", &["'out/back'"]);
    assert_refused(&dir, "restore out out", &["'out'"]);
}

/// On request, restore opens the age layer alone and keeps compressed content as it is.
#[test]
fn a_tree_that_holds_compressed_files_comes_back_from_an_age_layer_alone() {
    let (dir, recipient) = TestDir::with_key();
    plant_small(&dir.path("tree"), 5);
    dir.ok("process tree/d000/f00001 tree/d000/f00001.zst -q");
    dir.ok(&format!("process tree out -q --no-compress -r {recipient}"));
    dir.ok("restore out back -q -i key");
    crate::support::tree::assert_same(&dir.path("tree"), &dir.path("back"), "each with its layers");
    // As stock age encrypts them: there is no other layer, and of a name only its suffixes tell.
    std::fs::create_dir(dir.path("stock")).unwrap();
    dir.ok(&format!("process tree/d000/f00001 stock/one.age -q --no-compress -r {recipient}"));
    std::fs::copy(dir.path("stock/one.age"), dir.path("stock/one.zst.age")).unwrap();
    assert_refused(&dir, "restore stock there -i key", &["'one'"]);
    dir.ok("restore stock there -q -i key --no-decompress");
    assert_eq!(dir.read("there/one"), dir.read("there/one.zst"));
}

#[test]
fn several_lists_count_all() {
    let dir = dir_with_files();
    dir.write("first", b"one\n");
    dir.write("second", b"two\n");
    dir.write("third", b"one\0two\0");
    let (report, _) = dir.batch_report("process --files-from first --files-from second -o out -q", 0);
    assert_eq!(report["batch"]["done_count"], 2);
    let (report, _) = dir.batch_report("process --files0-from third -o out2 -q", 0);
    assert_eq!(report["batch"]["done_count"], 2);
    // A file of both lists has two outputs of one name; two lists cannot both be standard input.
    dir.fails("process --files0-from third --files0-from third -o out3 -q", 2);
    dir.fails("process --files-from - --files-from - -o out3 -q", 2);
}

/// A name whose kind changed between two runs.
#[test]
fn a_name_that_became_of_another_kind_is_told_by_restore_and_one_of_both_can_be_left_out() {
    for (first, second) in [("link", "file"), ("file", "directory"), ("directory", "file"), ("file", "link")] {
        let dir = TestDir::new();
        plant_small(&dir.path("tree"), 5);
        let path = dir.path("tree/d000/name");
        for kind in [first, second] {
            match kind {
                "link" => symlink("f00001", &path).unwrap(),
                "file" => fs::write(&path, b"a file").unwrap(),
                _ => fs::create_dir(&path).unwrap(),
            }
            dir.ok("process tree out -q");
            if kind == first {
                let is_directory = path.is_dir() && !path.is_symlink();
                if is_directory { fs::remove_dir(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
            }
        }
        // A backup keeps deleted files: it holds both, and only one of them can be restored under the name.
        let ran = dir.run("restore out back -q");
        assert_eq!(ran.status.code(), Some(2), "{first}, then {second}: {ran}");
        assert!(ran.stderr.contains("'d000/name'\nhint: --exclude"), "{ran}");
        assert!(!dir.path("back").exists());
        let older = if second == "file" { "/d000/name" } else { "/d000/name.zst" };
        dir.ok(&format!("restore out back -q --exclude {older}"));
        crate::support::tree::assert_same(&dir.path("tree"), &dir.path("back"), &format!("{first}, then {second}"));
    }
}
