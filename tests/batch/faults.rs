//! Tests of faults below a batch: system calls that fail for one of many files, and a second run with the same output.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::child::{Running, wait_until};
use crate::support::tree::{assert_same, finished, plant_small, remove, temporaries};
use crate::support::{Need, Ran, TestDir, can_trace, finish, skip};
use serde_json::Value;

/// The report and the messages of a run under strace with `flags`; `None`, with a recorded skip, where tracing does not
/// work.
fn traced(dir: &TestDir, flags: &[&str], line: &str, code: i32) -> Option<(Value, String)> {
    if !can_trace() {
        return None;
    }
    let state = format!("XDG_STATE_HOME={}", dir.path("state").display());
    let mut args = vec!["-f", "-qq", "-o", "trace", "-E", &state];
    args.extend(flags);
    args.push(env!("CARGO_BIN_EXE_pipeline"));
    args.extend(line.split_whitespace().chain(["--stats", "json", "--retry-wait", "1ms"]));
    let ran = dir.tool("strace", &args, None)?;
    assert_eq!(ran.status.code(), Some(code), "{flags:?} {line}: {ran}");
    let trace = String::from_utf8_lossy(&dir.read("trace")).into_owned();
    assert!(trace.contains("(INJECTED)"), "{flags:?} {line}: {trace}");
    // Drops the lines in which strace reports how it resolves a path.
    let lines = ran.stderr.lines().filter(|line| !line.starts_with("strace: "));
    let (json, said): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('{'));
    Some((serde_json::from_str(json[0]).unwrap(), said.join("\n")))
}

/// How a file ended, and at which attempt.
fn end_of(report: &Value, source: &str) -> (String, u64) {
    let file = report["files"].as_array().unwrap().iter().find(|file| file["source"] == source).unwrap();
    (file["ended"].as_str().unwrap().to_owned(), file["tries"].as_u64().unwrap())
}

#[test]
fn what_fails_once_is_tried_again_and_done_and_what_fails_for_ever_is_named() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 9);
    dir.ok("process tree made -q");
    let done = |tries| ("done".to_owned(), tries);
    for (line, bad, other) in [
        ("process tree out -q", "tree/d000/f00004", "tree/d000/f00005"),
        ("restore made out -q", "made/d000/f00004.zst", "made/d000/f00005.zst"),
    ] {
        // The run opens the file by its name relative to the directory.
        let inside = bad.split_once('/').unwrap().1;
        for call in ["read", "openat2"] {
            let trace = format!("trace={call}");
            let once = format!("inject={call}:error=EIO:when=1");
            let flags = ["-P", bad, "-P", inside, "-e", &trace, "-e", &once];
            let Some((report, said)) = traced(&dir, &flags, line, 0) else { return };
            assert_eq!((end_of(&report, bad), end_of(&report, other)), (done(2), done(1)), "{call}, {line}: {said}");
            assert_eq!(report["batch"]["done_count"], 9);
            remove(&dir.path("out"));

            let always = format!("inject={call}:error=EIO:when=1+");
            let flags = ["-P", bad, "-P", inside, "-e", &trace, "-e", &always];
            let retries = format!("{line} --retries 4");
            let Some((report, said)) = traced(&dir, &flags, &retries, 3) else { return };
            assert_eq!((end_of(&report, bad), end_of(&report, other)), (("failed".to_owned(), 5), done(1)));
            assert_eq!((said.lines().count(), said.contains(bad)), (1, true), "{said}");
            assert_eq!((finished(&dir.path("out")).len(), temporaries(&dir.path("out")).len()), (8, 0));
            let (report, _) = dir.batch_report(line, 0);
            assert_eq!((&report["batch"]["done_count"], &report["batch"]["unchanged_count"]), (&1.into(), &8.into()));
            remove(&dir.path("out"));
        }
    }
}

/// The disk may have lost the data of a failed fsync, and a second fsync would not report that.
#[test]
fn when_nothing_passes_any_more_nothing_is_waited_for() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 40);
    let flags = ["-e", "trace=openat2", "-e", "inject=openat2:error=EIO:when=1+"];
    let Some((report, _)) = traced(&dir, &flags, "process tree out -q --jobs 1 --retries 2", 3) else { return };
    let tries: Vec<u64> =
        report["files"].as_array().unwrap().iter().map(|file| file["tries"].as_u64().unwrap()).collect();
    assert_eq!(tries, [[3; 8].as_slice(), &[1; 32]].concat());
    assert_eq!(report["batch"]["failed_count"], 40);
    // Missing files do not count as a sign of that.
    let flags = [
        "-e",
        "trace=openat2",
        "-e",
        "inject=openat2:error=ENOENT:when=1..20",
        "-e",
        "inject=openat2:error=EIO:when=21+",
    ];
    let Some((report, _)) = traced(&dir, &flags, "process tree out -q --jobs 1 --retries 2", 3) else { return };
    let tries = |index: usize| report["files"][index]["tries"].as_u64().unwrap();
    assert_eq!([tries(0), tries(19), tries(20), tries(27), tries(28)], [1, 1, 3, 3, 1]);
}

#[test]
fn a_sync_that_fails_is_never_tried_again_and_its_file_gets_no_name() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 9);
    let flags = ["-y", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1"];
    // strace counts calls per thread: the sync of the directories, after all files, fails as well.
    let Some((report, said)) = traced(&dir, &flags, "process tree out -q --jobs 1 --retries 5", 3) else { return };
    let files = report["files"].as_array().unwrap();
    let failed: Vec<&Value> = files.iter().filter(|file| file["ended"] == "failed" && file["tries"] == 1).collect();
    assert_eq!(failed.len(), 1, "one try, and one file: {said}");
    let source = failed[0]["source"].as_str().unwrap();
    assert_eq!(said.lines().filter(|line| line.contains(source)).count(), 1, "{said}");
    assert!(!dir.path(format!("out{}.zst", source.strip_prefix("tree").unwrap())).exists(), "{source} has its name");
    assert_eq!((finished(&dir.path("out")).len(), temporaries(&dir.path("out")).len()), (8, 0));
    let trace = String::from_utf8_lossy(&dir.read("trace")).into_owned();
    // strace shows the file as it was opened: without a name.
    let injected = trace.lines().find(|line| line.contains("(INJECTED)") && line.contains("/#")).unwrap();
    let name = &injected[injected.find('<').unwrap()..=injected.find('>').unwrap()];
    assert_eq!(trace.matches(name).count(), 1, "{name} was synced again: {trace}");
    dir.ok("process tree out -q");
    dir.ok("restore out back -q");
    assert_same(&dir.path("tree"), &dir.path("back"), "after a sync that failed");
}

/// Without a record the next run would take the output for a foreign file.
#[test]
fn without_a_record_on_the_disk_no_output_gets_its_name() {
    let (dir, recipient) = TestDir::with_key();
    plant_small(&dir.path("tree"), 9);
    for (layers, back) in [(String::new(), ""), (format!("-r {recipient}"), "-i key")] {
        let line = format!("process tree out -q --jobs 1 {layers}");
        let flags = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1+"];
        let Some((report, _)) = traced(&dir, &flags, &line, 1) else { return };
        let files = report["files"].as_array().unwrap();
        assert_eq!(files.iter().filter(|file| file["kind"] == "journal_unusable").count(), 9, "{report}");
        assert_eq!(report["batch"]["failed_count"], 9);
        assert_eq!((finished(&dir.path("out")).len(), temporaries(&dir.path("out")).len()), (0, 0));
        let (report, _) = dir.batch_report(&line, 0);
        assert_eq!(report["batch"]["done_count"], 9);
        dir.ok(&format!("restore out back -q {back}"));
        assert_same(&dir.path("tree"), &dir.path("back"), &line);
        remove(&dir.path("out"));
        remove(&dir.path("back"));
    }
}

#[test]
fn of_two_runs_at_once_on_one_output_the_second_is_refused() {
    let (dir, recipient) = TestDir::with_key();
    plant_small(&dir.path("tree"), 200);
    dir.ok("process tree made -q --no-sync");
    for line in [
        "process tree out -q".to_owned(),
        format!("process tree out -q -r {recipient}"),
        "restore made out -q".to_owned(),
    ] {
        let slow = format!("{line} --limit-rate 5K");
        let mut first = Running(dir.command(slow.split_whitespace()).stderr(Stdio::null()).spawn().unwrap());
        wait_until("the first has finished a file", || !finished_now(&dir).is_empty());
        for again in [line.clone(), format!("{line} -f"), format!("{line} --jobs 1")] {
            dir.fails_as(&again, 1, "journal_locked");
        }
        assert_eq!(first.try_wait().unwrap(), None, "the first is still at work");
        // A run with another output is not blocked.
        dir.ok(&line.replace(" out ", " out2 "));
        first.kill().unwrap();
        first.wait().unwrap();
        let before = finished(&dir.path("out"));
        let (report, _) = dir.batch_report(&line, 0);
        assert_eq!(report["batch"]["unchanged_count"], before.len() as u64, "{line}");
        remove(&dir.path("out"));
        remove(&dir.path("out2"));
    }
}

/// Names in the first output directory of a run in progress.
fn finished_now(dir: &TestDir) -> Vec<Vec<u8>> {
    let names = fs::read_dir(dir.path("out/d000")).into_iter().flatten();
    let names = names.map(|entry| entry.unwrap().file_name().into_encoded_bytes());
    names.filter(|name| !name.starts_with(b".pipeline-")).collect()
}

/// A file whose record is unreadable is still an output of the program, and the run reports that it processes the file
/// again.
#[test]
fn what_a_damaged_line_of_the_journal_told_of_is_not_ours_any_more() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 5);
    dir.ok("process tree out -q");
    let journal = String::from_utf8(dir.read("out/.pipeline-journal")).unwrap();
    dir.write("out/.pipeline-journal", journal.replacen("f00002.zst", "f00009.zst", 1).as_bytes());
    let (report, said) = dir.batch_report("process tree out -q", 3);
    let warning = said.lines().find(|line| line.starts_with("pipeline: warning: ")).unwrap_or_default();
    assert!(warning.contains("'out'") && said.contains("\nhint: --force"), "{said}");
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.iter().filter(|file| file["kind"] == "would_overwrite").count(), 1, "{report}");
    assert_eq!((&report["batch"]["unchanged_count"], &report["batch"]["failed_count"]), (&4.into(), &1.into()));
    dir.ok("process tree out -q --force");
    assert_eq!(dir.batch_report("process tree out -q", 0).0["batch"]["unchanged_count"], 5);
}

#[test]
fn a_journal_that_is_none_is_refused_and_left_as_it_is() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 5);
    fs::create_dir(dir.path("out")).unwrap();
    let journal = dir.path("out/.pipeline-journal");
    let refused = || {
        let ran = dir.run("process tree out -q");
        assert_eq!(ran.status.code(), Some(1), "{ran}");
        assert_eq!((ran.stderr.lines().count(), finished(&dir.path("out")).len()), (1, 0), "{ran}");
    };
    for content in ["text of mine\n", "0123456789abcdef {\"pipeline_journal\":1,\"id\":\"../../x\"}\n"] {
        fs::write(&journal, content).unwrap();
        refused();
        assert_eq!(fs::read_to_string(&journal).unwrap(), content);
    }
    fs::remove_file(&journal).unwrap();
    std::os::unix::fs::symlink(dir.path("victim"), &journal).unwrap();
    refused();
    assert!(!dir.path("victim").exists());
    fs::remove_file(&journal).unwrap();
    dir.tool("mkfifo", &["out/.pipeline-journal"], None);
    refused();
}

const NOBODY: u32 = 65534;

/// Sets the permission bits of `path` and gives it to the user of [`run_as_nobody`].
fn give_away(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

/// Runs the copy of the binary in the directory, without the rights of root.
fn run_as_nobody(dir: &TestDir, line: &str) -> Ran {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(dir.path("pipeline"));
    command.args(line.split_whitespace()).current_dir(dir.root()).env("XDG_STATE_HOME", dir.path("state"));
    finish(command.output().unwrap())
}

/// Makes a tree owned by nobody, with an unreadable directory, an unreadable file and a read-only directory. Returns
/// `None`, and records a skip, without root.
fn dir_of_nobody() -> Option<TestDir> {
    if !rustix::process::geteuid().is_root() {
        skip(Need::Right("root"));
        return None;
    }
    let dir = TestDir::new();
    fs::copy(env!("CARGO_BIN_EXE_pipeline"), dir.path("pipeline")).unwrap();
    give_away(dir.root(), 0o755);
    for (name, mode) in [("tree/closed/a", 0o644), ("tree/dark/b", 0o644), ("tree/d/c", 0o000), ("tree/d/e", 0o644)] {
        fs::create_dir_all(dir.path(name).parent().unwrap()).unwrap();
        fs::write(dir.path(name), name).unwrap();
        give_away(&dir.path(name), mode);
    }
    for (name, mode) in [("tree/closed", 0o555), ("tree/dark", 0o000), ("tree/d", 0o755), ("tree", 0o755)] {
        give_away(&dir.path(name), mode);
    }
    Some(dir)
}

#[test]
fn what_permissions_forbid_is_named_once_and_the_rest_is_done() {
    let Some(dir) = dir_of_nobody() else { return };
    let names =
        || -> Vec<String> { finished(&dir.path("out")).into_keys().map(|name| name.display().to_string()).collect() };
    let ran = run_as_nobody(&dir, "process tree out -q");
    assert_eq!((ran.status.code(), ran.stderr.lines().count()), (Some(3), 2), "{ran}");
    for name in ["'tree/d/c'", "'tree/dark'"] {
        assert_eq!(ran.stderr.lines().filter(|line| line.contains(name)).count(), 1, "{ran}");
    }
    assert_eq!(names(), ["closed/a.zst", "d/e.zst"]);
    // The mirror of a read-only directory is written to as well, and is read-only at the end.
    fs::write(dir.path("tree/closed/new"), b"new").unwrap();
    assert_eq!(run_as_nobody(&dir, "process tree out -q").status.code(), Some(3));
    assert_eq!(names(), ["closed/a.zst", "closed/new.zst", "d/e.zst"]);
    assert_eq!(fs::metadata(dir.path("out/closed")).unwrap().permissions().mode() & 0o777, 0o555);
}

#[test]
fn a_directory_that_could_not_be_read_is_done_when_it_can_be() {
    let Some(dir) = dir_of_nobody() else { return };
    assert_eq!(run_as_nobody(&dir, "process tree out -q").status.code(), Some(3));
    let ran = run_as_nobody(&dir, "process tree out -q");
    assert_eq!((ran.status.code(), ran.stderr.lines().count()), (Some(3), 2), "named once each: {ran}");
    give_away(&dir.path("tree/dark"), 0o755);
    give_away(&dir.path("tree/d/c"), 0o644);
    let ran = run_as_nobody(&dir, "process tree out -q");
    assert!(ran.status.success(), "{ran}");
    assert_eq!(finished(&dir.path("out")).len(), 4);
}
