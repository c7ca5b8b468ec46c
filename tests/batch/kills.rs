//! Tests of interrupted batches: killed at any moment, or asked to stop. Finished outputs stay, the next run does the
//! rest, and the tree comes back byte for byte.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::support::child::{Running, duration_of, end_of, signal, spin, wait_until};
use crate::support::tree::{assert_same, finished, plant_mixed, remove, temporaries};
use crate::support::{TestDir, noise, share};
use rustix::process::Signal;
use serde_json::Value;

/// The promise is two seconds; a busy machine gets more.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// A kind of run to interrupt: its command line, its output, and how to compare that with the tree.
struct Kind {
    line: &'static str,
    out: &'static str,
    /// The flags that restore the output; `None` if the run itself restores.
    back: Option<&'static str>,
}

const BARE: Kind = Kind { line: "process tree out --chunk-size 64K -q", out: "out", back: Some("") };
const SEALED: Kind = Kind { line: "process tree out --chunk-size 64K -q -R to", out: "out", back: Some("-i key") };
const RESTORE: Kind = Kind { line: "restore made again -q -i key", out: "again", back: None };
const KINDS: [Kind; 3] = [BARE, SEALED, RESTORE];

/// Makes a tree of `count` small files and some larger ones, and its sealed form.
fn bench(count: usize) -> TestDir {
    let (dir, recipient) = TestDir::with_key();
    dir.write("to", recipient.as_bytes());
    plant_mixed(&dir.path("tree"), count);
    dir.ok("process tree made -q --no-sync --chunk-size 64K -R to");
    dir
}

/// Completes an interrupted run: finished files are left alone, and the rest is processed. Returns the report.
#[track_caller]
fn finish_it(dir: &TestDir, kind: &Kind, done_before: &BTreeMap<PathBuf, u64>, what: &str) -> Value {
    let out = dir.path(kind.out);
    let report = dir.report(kind.line);
    let count = |name: &str| report["batch"][name].as_u64().unwrap();
    let now = finished(&out);
    for (name, inode) in done_before {
        assert_eq!(now.get(name), Some(inode), "{what}: {name:?} was finished, and done again");
    }
    assert_eq!(count("unchanged_count"), done_before.len() as u64, "{what}: {}", report["batch"]);
    assert_eq!(count("done_count"), count("file_count") - count("unchanged_count"), "{what}: {}", report["batch"]);
    assert_eq!(now.len() as u64, count("file_count"), "{what}");
    assert_eq!(temporaries(&out), Vec::<PathBuf>::new(), "{what}: something is left over");
    report
}

/// Asserts that the output equals the tree, or restores to it.
#[track_caller]
fn assert_comes_back(dir: &TestDir, kind: &Kind, what: &str) {
    let Some(flags) = kind.back else { return assert_same(&dir.path("tree"), &dir.path(kind.out), what) };
    remove(&dir.path("back"));
    dir.ok(&format!("restore {} back -q --no-sync {flags}", kind.out));
    assert_same(&dir.path("tree"), &dir.path("back"), what);
}

#[test]
fn a_batch_that_is_killed_at_any_time_goes_on_where_it_was_and_nothing_is_done_twice() {
    let dir = bench(120);
    let count = share(12, 100);
    let randoms = noise(8 * count, 11);
    let whole = KINDS.map(|kind| {
        let whole = duration_of(dir.command(kind.line.split_whitespace()));
        remove(&dir.path(kind.out));
        whole
    });
    let (mut killed_count, mut midst_count, mut cut_off_count) = (0, 0, 0);
    for (index, random) in randoms.chunks(8).enumerate() {
        // Bare and sealed in turn; a round with a bare run also has a restore.
        for which in [index % 2, 2].into_iter().take(if index % 2 == 0 { 2 } else { 1 }) {
            let kind = &KINDS[which];
            let what = format!("attempt {index}, {}", kind.line);
            let fraction = f64::from(u16::from_le_bytes([random[which], random[which + 1]])) / f64::from(u16::MAX);
            let mut child = Running(dir.command(kind.line.split_whitespace()).stderr(Stdio::null()).spawn().unwrap());
            spin(whole[which].mul_f64(fraction));
            child.kill().unwrap();
            killed_count += usize::from(child.wait().unwrap().signal() == Some(9));
            let (before, left) = (finished(&dir.path(kind.out)), temporaries(&dir.path(kind.out)));
            midst_count += usize::from(!before.is_empty());
            cut_off_count += usize::from(!left.is_empty());
            let report = finish_it(&dir, kind, &before, &what);
            assert_eq!(report["batch"]["cut_off_count"], left.len() as u64, "{what}: {left:?}");
            assert_comes_back(&dir, kind, &what);
            remove(&dir.path(kind.out));
        }
    }
    eprintln!("{killed_count} killed, {midst_count} with files finished, {cut_off_count} left temporaries");
    assert!(killed_count > 0 && midst_count > 0, "no kill struck");
}

/// Repeats until a run completes: each run appends to the same journal.
#[test]
fn a_batch_that_is_killed_again_and_again_comes_to_its_end() {
    let dir = bench(200);
    for kind in &KINDS {
        let whole = duration_of(dir.command(kind.line.split_whitespace()));
        remove(&dir.path(kind.out));
        let mut before = BTreeMap::new();
        for attempt in 1..=share(6, 30) {
            let mut child = Running(dir.command(kind.line.split_whitespace()).stderr(Stdio::null()).spawn().unwrap());
            spin(whole.mul_f64(0.3));
            child.kill().unwrap();
            child.wait().unwrap();
            let now = finished(&dir.path(kind.out));
            for (name, inode) in &before {
                assert_eq!(now.get(name), Some(inode), "attempt {attempt}, {}: {name:?} was done twice", kind.line);
            }
            before = now;
        }
        eprintln!("{}: {} files were finished when it was let alone", kind.line, before.len());
        finish_it(&dir, kind, &before, kind.line);
        assert_comes_back(&dir, kind, kind.line);
    }
}

#[test]
fn a_batch_that_is_killed_at_a_step_of_its_commit_goes_on_where_it_was() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("to", recipient.as_bytes());
    std::fs::create_dir_all(dir.path("tree/b/empty")).unwrap();
    for name in ["a", "b/c", "b/d"] {
        dir.write(&format!("tree/{name}"), format!("content of {name}").as_bytes());
    }
    std::os::unix::fs::symlink("a", dir.path("tree/link")).unwrap();
    dir.ok("process tree made -q -R to");
    let mut struck_count = 0;
    for kind in &KINDS {
        for calls in
            ["flock", "write", "fsync,fdatasync", "renameat,renameat2", "utimensat,fchmod", "mkdir,mkdirat,symlinkat"]
        {
            for number in 1..40 {
                // strace counts calls per thread, and with one job the order is the same each time.
                let inject = format!("inject={calls}:signal=SIGKILL:when={number}");
                let state = format!("XDG_STATE_HOME={}", dir.path("state").display());
                let trace = format!("trace={calls}");
                let mut args = vec!["-f", "-qq", "-o", "trace", "-E", &state, "-e", &trace, "-e", &inject];
                args.push(env!("CARGO_BIN_EXE_pipeline"));
                args.extend(kind.line.split_whitespace().chain(["--jobs", "1"]));
                let Some(ran) = dir.tool("strace", &args, None) else { return };
                if ran.status.success() {
                    remove(&dir.path(kind.out));
                    break;
                }
                assert_eq!(ran.status.signal(), Some(9), "{inject}, {}: {ran}", kind.line);
                struck_count += 1;
                let what = format!("{inject}, {}", kind.line);
                finish_it(&dir, kind, &finished(&dir.path(kind.out)), &what);
                assert_comes_back(&dir, kind, &what);
                remove(&dir.path(kind.out));
            }
        }
    }
    eprintln!("{struck_count} kills");
    assert!(struck_count > 60, "only {struck_count} kills struck");
}

/// Starts a batch that takes minutes, and waits until it has finished some files and works on others.
fn start_slow(dir: &TestDir, kind: &Kind) -> Running {
    let line = format!("{} --limit-rate 200K", kind.line);
    let child = Running(dir.command(line.split_whitespace()).stderr(Stdio::piped()).spawn().unwrap());
    let out = dir.path(kind.out);
    wait_until("some files are finished, and others begun", || {
        let count = |is_temporary: bool| {
            let names = std::fs::read_dir(out.join("d000")).into_iter().flatten();
            let names = names.map(|entry| entry.unwrap().file_name().into_encoded_bytes());
            names.filter(|name| name.starts_with(b".pipeline-") == is_temporary).count()
        };
        count(false) > 2
    });
    child
}

#[test]
fn signals_end_a_batch_in_order_and_the_next_run_goes_on() {
    let dir = bench(60);
    for kind in &KINDS {
        for (number, code, name) in
            [(Signal::INT, 130, "SIGINT"), (Signal::TERM, 143, "SIGTERM"), (Signal::HUP, 129, "SIGHUP")]
                .into_iter()
                .take(share(2, 3))
        {
            let what = format!("{name}, {}", kind.line);
            let mut child = start_slow(&dir, kind);
            signal(&child, number);
            let (said, ended, took) = end_of(&mut child);
            assert_eq!(ended, Some(code), "{what}: {said}");
            assert!(took < STOP_TIME_MAX, "{what}: it took {took:?} to stop");
            assert!(said.ends_with(&format!("stopped by {name}\n")), "{what}: {said}");
            assert_eq!(temporaries(&dir.path(kind.out)), Vec::<PathBuf>::new(), "{what}");
            let before = finished(&dir.path(kind.out));
            assert!(!before.is_empty(), "{what}: nothing of what was finished is there");
            finish_it(&dir, kind, &before, &what);
            assert_comes_back(&dir, kind, &what);
            remove(&dir.path(kind.out));
        }
    }
}

/// Files in progress did not fail and are not among the ended ones.
#[test]
fn a_batch_that_is_stopped_says_so_in_one_line_and_blames_no_file() {
    let dir = bench(60);
    for kind in &KINDS {
        for _ in 0..share(10, 50) {
            let mut child = start_slow(&dir, kind);
            signal(&child, Signal::INT);
            let (said, ended, _) = end_of(&mut child);
            assert_eq!(ended, Some(130), "{}: {said}", kind.line);
            assert_eq!(said.lines().count(), 1, "{}: {said}", kind.line);
            let told: usize = said.split_whitespace().nth(2).unwrap().parse().unwrap();
            assert_eq!(told, finished(&dir.path(kind.out)).len(), "{}: {said}", kind.line);
            remove(&dir.path(kind.out));
        }
    }
}

#[test]
fn a_signal_at_any_time_leaves_no_temporary_and_what_was_finished() {
    let dir = bench(120);
    let randoms = noise(2 * share(8, 60), 13);
    for kind in &KINDS {
        let whole = duration_of(dir.command(kind.line.split_whitespace()));
        remove(&dir.path(kind.out));
        let mut stopped_count = 0;
        for random in randoms.chunks(2) {
            let fraction = f64::from(u16::from_le_bytes([random[0], random[1]])) / f64::from(u16::MAX);
            let mut child = Running(dir.command(kind.line.split_whitespace()).stderr(Stdio::piped()).spawn().unwrap());
            spin(whole.mul_f64(fraction));
            signal(&child, Signal::INT);
            let (said, ended, took) = end_of(&mut child);
            assert!(took < STOP_TIME_MAX, "{}: it took {took:?} to stop", kind.line);
            // Before the handler is installed and after the run has ended, the signal has its default effect.
            let is_stopped = ended == Some(130);
            assert!(is_stopped || ended == Some(0) || (ended.is_none() && said.is_empty()), "{}: {said}", kind.line);
            stopped_count += usize::from(is_stopped);
            assert_eq!(temporaries(&dir.path(kind.out)), Vec::<PathBuf>::new(), "{}: {said}", kind.line);
            finish_it(&dir, kind, &finished(&dir.path(kind.out)), kind.line);
            assert_comes_back(&dir, kind, kind.line);
            remove(&dir.path(kind.out));
        }
        assert!(stopped_count > 0, "{}: no signal struck", kind.line);
    }
}

/// The user asked for deletion of the inputs, and their outputs exist.
#[test]
fn inputs_that_a_killed_run_did_not_come_to_delete_are_deleted_by_the_next() {
    let dir = TestDir::new();
    crate::support::tree::plant_small(&dir.path("tree"), 5);
    let state = format!("XDG_STATE_HOME={}", dir.path("state").display());
    let inject = "inject=unlink,unlinkat:signal=SIGKILL:when=3";
    let mut args = vec!["-f", "-qq", "-o", "trace", "-E", &state, "-e", "trace=unlink,unlinkat", "-e", inject];
    args.push(env!("CARGO_BIN_EXE_pipeline"));
    args.extend("process tree out -q --rm".split_whitespace());
    let Some(ran) = dir.tool("strace", &args, None) else { return };
    assert_eq!(ran.status.signal(), Some(9), "{ran}");
    dir.ok("process tree out -q --rm");
    assert_eq!(finished(&dir.path("out")).len(), 5);
    assert_eq!(finished(&dir.path("tree")), BTreeMap::new());
}
