//! Tests that no run writes or deletes a file that it uses for something else, by whatever name, and that reports replace reports alone.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use clap::CommandFactory as _;
use pipeline::cli::args::Args;

use crate::support::mount::Mount;
use crate::support::tree::plant_small;
use crate::support::{Ran, TestDir, finish, noise};

/// The flags of `command` that take a path, read from its definition.
fn path_flags(command: &str) -> BTreeSet<String> {
    let mut args = Args::command();
    args.build();
    let found = args.find_subcommand(command).unwrap();
    let is_path = |arg: &&clap::Arg| arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    let flags = found.get_arguments().filter(is_path).filter_map(|arg| Some(format!("--{}", arg.get_long()?)));
    // The output itself; and lists of inputs, which only batches read.
    flags.filter(|flag| !["--output", "--files-from", "--files0-from"].contains(&flag.as_str())).collect()
}

/// Makes a directory with a file for each flag that has to hold something, and inputs.
fn dir_with_files() -> TestDir {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", &noise(200_000, 1));
    dir.write("recipients", recipient.as_bytes());
    dir.write("passphrase", b"sesame\n");
    dir.write("config.toml", b"level = 3\n");
    dir.write("other", b"what a flag of tomorrow may read");
    dir.ok("process in sealed -q -R recipients");
    dir
}

/// The file that `flag` needs.
fn file_of(flag: &str) -> &'static str {
    match flag {
        "--identity" => "key",
        "--recipients-file" => "recipients",
        "--passphrase-file" | "--new-passphrase-file" => "passphrase",
        "--config" => "config.toml",
        _ => "other",
    }
}

/// The content of all files in the directory, by name.
fn contents(dir: &TestDir) -> Vec<(String, Vec<u8>)> {
    let files = dir.names().into_iter().filter(|name| dir.path(name).is_file());
    files.map(|name| (name.clone(), dir.read(&name))).collect()
}

/// Asserts that `line` is refused with a failure of kind `same_file`, or as a usage error, and changes nothing.
#[track_caller]
fn assert_refused(dir: &TestDir, line: &str) {
    let before = contents(dir);
    let ran = dir.run(line);
    let is_told = ran.status.code() == Some(2) || is_same_file(&ran, line);
    assert!(is_told, "{line}: {ran}");
    assert!(contents(dir) == before, "{line}: something was written");
}

fn is_same_file(ran: &Ran, line: &str) -> bool {
    // A salvage has no JSON report.
    ran.status.code() == Some(1) && (line.contains("--salvage") || ran.error()["kind"] == "same_file")
}

#[test]
fn an_output_is_never_a_file_that_a_flag_names() {
    let dir = dir_with_files();
    let mut tried = 0;
    for (command, rest) in [
        ("process", "in OUT --force --stats json"),
        ("restore", "sealed OUT --force --stats json -i key"),
        ("restore", "sealed OUT --force --salvage -i key"),
        ("rekey", "sealed OUT --force --stats json -i key -R recipients"),
    ] {
        for flag in path_flags(command) {
            let file = file_of(&flag);
            fs::hard_link(dir.path(file), dir.path("hard")).unwrap();
            symlink(file, dir.path("link")).unwrap();
            let rest = rest.replace("-i key", if flag == "--identity" { "" } else { "-i key" });
            for out in [file, &format!("./{file}"), "hard", "link"] {
                assert_refused(&dir, &format!("{command} {} {flag} {file}", rest.replace("OUT", out)));
                tried += 1;
            }
            ["hard", "link"].iter().for_each(|name| fs::remove_file(dir.path(name)).unwrap());
        }
    }
    assert!(tried >= 4 * (5 + 5 + 5 + 7), "only {tried} were tried");
    // The input is deleted only if nothing else is read from it.
    assert_refused(&dir, "process recipients out --rm --stats json -R recipients");
    assert_refused(&dir, "process key out --rm --stats json -R recipients --config key");
    assert_refused(&dir, "rekey sealed key --force --stats json -i key -R recipients");
}

#[test]
fn an_output_of_a_tree_is_never_a_file_that_a_flag_names() {
    let (dir, recipient) = TestDir::with_key();
    plant_small(&dir.path("tree"), 3);
    dir.write("recipients", recipient.as_bytes());
    dir.ok("process tree sealed -q -R recipients");
    let file = "d000/f00001";
    for (line, name, kept) in [
        (format!("process tree out -f -R out/{file}.zst.age"), format!("out/{file}.zst.age"), "recipients"),
        (format!("restore sealed out -f -i out/{file}"), format!("out/{file}"), "key"),
        (format!("rekey sealed out -f -i out/{file}.zst.age -R recipients"), format!("out/{file}.zst.age"), "key"),
        (
            format!("rekey sealed --in-place -i sealed/{file}.zst.age -R recipients"),
            format!("sealed/{file}.zst.age"),
            "key",
        ),
        (format!("process tree out2 --rm -R tree/{file}"), format!("tree/{file}"), "recipients"),
    ] {
        fs::create_dir_all(dir.path(&name).parent().unwrap()).unwrap();
        fs::copy(dir.path(kept), dir.path(&name)).unwrap();
        dir.fails_as(&line, 1, "same_file");
        assert_eq!(dir.read(&name), dir.read(kept), "{line}");
    }
}

#[test]
fn the_disk_that_holds_the_input_is_not_written_over() {
    let dir = TestDir::new();
    let Some(_disk) = Mount::new_ext4(&dir.path("image"), dir.path("at")) else { return };
    dir.write("at/in", &noise(100_000, 1));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let at = dir.path("at").canonicalize().unwrap();
    let device = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (device, place) = (words.next()?, words.next()?);
        (at.to_str() == Some(place)).then(|| device.to_owned())
    });
    let device = device.unwrap();
    let before = fs::read(&device).unwrap();
    let ran = dir.run(&format!("process at/in {device} -qf --stats json"));
    assert!(ran.is_failure(1, "write"), "{ran}");
    assert!(fs::read(&device).unwrap() == before);
}

#[test]
fn a_report_replaces_an_earlier_one_or_an_empty_file_and_nothing_else_unless_forced() {
    let dir = TestDir::new();
    dir.write("in", &noise(10_000, 1));
    for flag in ["--stats-file", "--prometheus", "--hdr-log"] {
        for form in ["text", "json"] {
            let line = format!("process in out -f --stats {form} {flag}");
            dir.write("empty", b"");
            dir.ok(&format!("{line} empty"));
            let first = dir.read("empty");
            assert!(!first.is_empty());
            dir.ok(&format!("verify out --stats {form} {flag} empty"));
            // A failed run leaves a report that the next one replaces.
            dir.run(&format!("process missing out -f --stats {form} {flag} empty"));
            dir.ok(&format!("{line} empty"));
            for other in [&b"notes"[..], b"{\"mine\":1}", b"# HELP other_metric x", b"\xff\xfe"] {
                dir.write("other", other);
                dir.fails(&format!("process in new --stats {form} {flag} other"), 2);
                dir.fails(&format!("verify out --stats {form} {flag} other"), 2);
                assert_eq!(dir.read("other"), other);
                dir.ok(&format!("{line} other"));
                assert_ne!(dir.read("other"), other);
            }
            let report = dir.read("other");
            // A report of another kind is somebody's report.
            for another in ["--stats-file", "--prometheus", "--hdr-log"].into_iter().filter(|another| *another != flag)
            {
                dir.fails(&format!("process in new {another} other"), 2);
            }
            // What is written through a link is not where its name says.
            symlink("other", dir.path("link")).unwrap();
            symlink("nowhere", dir.path("dangling")).unwrap();
            for name in ["link", "dangling"] {
                dir.fails(&format!("{line} {name}"), 2);
            }
            assert_eq!(dir.read("other"), report);
            symlink("/dev/null", dir.path("null")).unwrap();
            dir.ok(&format!("{line} null"));
            ["link", "dangling", "null"].iter().for_each(|name| fs::remove_file(dir.path(name)).unwrap());
        }
        let script = format!("{} process in out -f {flag} /dev/fd/3 3> through", env!("CARGO_BIN_EXE_pipeline"));
        let ran = dir.tool("bash", &["-c", &script], None).unwrap();
        assert!(ran.status.success() && !dir.read("through").is_empty(), "{flag}: {ran}");
    }
}

#[test]
fn one_fifo_is_not_both_input_and_output() {
    let dir = TestDir::new();
    let Some(_) = dir.tool("mkfifo", &["fifo"], None) else { return };
    let ran = finish(dir.command("process fifo fifo -q --stats json".split(' ')).output().unwrap());
    assert!(ran.is_failure(1, "same_file"), "{ran}");
}
