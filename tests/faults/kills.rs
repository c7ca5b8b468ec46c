//! Tests of signals: a killed run leaves its destination old or complete and does not disturb the next run. A run that
//! is asked to stop does so at any point, prints one line, and leaves nothing behind.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::child::{
    Running, bytes_read, child_of, duration_of, end_of, signal, spin, thread_states, wait_until, wait_until_held,
    wait_until_waiting,
};
use crate::support::{Need, TestDir, noise, share, skip, text};
use rustix::process::{Pid, Signal, kill_process};

/// Signals that stop a run cleanly, with exit code and name.
const STOPS: [(Signal, i32, &str); 4] = [
    (Signal::INT, 130, "SIGINT"),
    (Signal::TERM, 143, "SIGTERM"),
    (Signal::HUP, 129, "SIGHUP"),
    (Signal::QUIT, 131, "SIGQUIT"),
];

/// [`STOPS`] without the signals that this process ignores, as a background job of a shell does: runs inherit that.
fn stops() -> Vec<(Signal, i32, &'static str)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    let (heeded, ignored): (Vec<_>, Vec<_>) =
        STOPS.into_iter().partition(|(signal, ..)| ignored & (1 << (signal.as_raw() - 1)) == 0);
    for (.., name) in ignored {
        skip(Need::Right(name));
    }
    heeded
}

/// The promise is two seconds; a busy machine gets more.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// How long an fsync is delayed: longer than a stopped run waits for it.
const HELD: Duration = Duration::from_secs(8);

/// Command lines to kill, each with the command line that reads its output back.
const KILLED: [(&str, &str); 3] = [
    ("process in out -qf --chunk-size 64K", "restore out - -q"),
    ("process in out -qf --chunk-size 64K -R to", "restore out - -q -i key"),
    ("restore z out -qf", "process out - -q --chunk-size 64K"),
];

/// Makes a directory with an input of `len` bytes, its processed forms, and a FIFO.
fn bench(len: usize) -> TestDir {
    let (dir, recipient) = TestDir::with_key();
    dir.write("to", recipient.as_bytes());
    dir.write("in", &noise(len, 1));
    dir.ok("process in z -q --chunk-size 64K");
    dir.ok("process in a -q --chunk-size 64K -R to");
    dir.tool("mkfifo", &["fifo"], None);
    dir
}

/// Asserts that `out` is unchanged or complete.
fn assert_old_or_complete(dir: &TestDir, line: &str, back: &str) {
    if dir.read("out") == b"old" {
        return;
    }
    let complete = if line.starts_with("restore") { dir.read("z") } else { dir.read("in") };
    assert!(dir.run(back).stdout == complete, "{line}: what was killed is neither old nor complete");
}

fn temporaries(dir: &TestDir) -> Vec<String> {
    dir.names().into_iter().filter(|name| name.starts_with(".pipeline-")).collect()
}

#[test]
fn a_run_that_is_killed_at_any_time_leaves_the_destination_old_or_complete_and_the_next_run_in_peace() {
    let dir = bench(8 << 20);
    let randoms = noise(16 * share(20, 200), 7);
    for (line, back) in KILLED {
        let command = || dir.command(line.split_whitespace());
        let whole = duration_of(command());
        let (mut killed_count, mut left_count) = (0, 0);
        for random in randoms.chunks(16) {
            dir.write("out", b"old");
            let mut child = command().stderr(Stdio::null()).spawn().unwrap();
            let fraction = f64::from(u16::from_le_bytes([random[0], random[1]])) / f64::from(u16::MAX);
            spin(whole.mul_f64(fraction));
            child.kill().unwrap();
            killed_count += usize::from(child.wait().unwrap().signal() == Some(9));
            assert_old_or_complete(&dir, line, back);
            let left = temporaries(&dir);
            left_count += usize::from(!left.is_empty());
            dir.ok(line);
            assert!(dir.read("out") != b"old", "{line}: the next run did nothing");
            assert_old_or_complete(&dir, line, back);
            for name in temporaries(&dir) {
                std::fs::remove_file(dir.path(name)).unwrap();
            }
        }
        eprintln!("{line}: {killed_count} killed, {left_count} left a temporary");
        assert!(killed_count > 0, "no kill struck");
    }
}

#[test]
fn a_run_that_is_killed_at_a_step_of_its_commit_leaves_the_destination_old_or_complete() {
    let dir = bench(1 << 20);
    for (line, back) in KILLED {
        for (call, count) in [
            ("flock", 1),
            ("write", 4),
            ("fchmod", 1),
            ("utimensat", 1),
            ("fsync", 2),
            ("renameat", 1),
            ("renameat2", 2),
        ] {
            for number in 1..=count {
                dir.write("out", b"old");
                let inject = format!("inject={call}:signal=SIGKILL:when={number}");
                let mut args = vec!["-f", "-qq", "-o", "trace", "-e", &inject, env!("CARGO_BIN_EXE_pipeline")];
                args.extend(line.split_whitespace());
                let Some(ran) = dir.tool("strace", &args, None) else { return };
                assert_eq!(ran.status.signal(), Some(9), "{inject} did not strike {line}: {ran}");
                assert_old_or_complete(&dir, line, back);
                dir.ok(line);
                assert_old_or_complete(&dir, line, back);
            }
        }
    }
}

#[test]
fn the_next_run_removes_what_a_killed_one_left_and_nothing_else() {
    let dir = bench(1 << 20);
    // Before its sync an output has no name, and a killed run leaves nothing.
    let mut begun = Running(dir.command(["process", "-", "out", "-q"]).stdin(Stdio::piped()).spawn().unwrap());
    begun.stdin.as_mut().unwrap().write_all(&noise(300_000, 2)).unwrap();
    wait_until_waiting(&begun);
    begun.kill().unwrap();
    begun.wait().unwrap();
    assert_eq!(temporaries(&dir), Vec::<String>::new());
    for line in ["process in out -q", "process in other -q"] {
        let mut args = vec!["-f", "-qq", "-o", "trace", "-e", "inject=fsync:signal=SIGKILL:when=1"];
        args.push(env!("CARGO_BIN_EXE_pipeline"));
        args.extend(line.split_whitespace());
        let Some(ran) = dir.tool("strace", &args, None) else { return };
        assert_eq!(ran.status.signal(), Some(9), "{line}: {ran}");
    }
    let left = temporaries(&dir);
    assert_eq!(left.len(), 2, "each left its own");
    let Some((mut tracer, alive)) = start_syncing(&dir, "process in out -q --chunk-size 64K") else { return };
    let before: Vec<String> = temporaries(&dir);
    assert_eq!(before.len(), 2, "the one that is alive has removed what was left on the way to out, and has its own");
    dir.write(".pipeline-foreign.tmp", b"somebody else's");
    dir.ok("process in out -q");
    assert!(before.iter().all(|name| dir.path(name).exists()), "one is alive, the other was on the way elsewhere");
    assert!(dir.path(".pipeline-foreign.tmp").exists());
    // It finds that out has appeared.
    kill_process(alive, Signal::TERM).unwrap();
    assert_ne!(end_of(&mut tracer).1, Some(0));
    dir.ok("process in other -q");
    assert_eq!(temporaries(&dir), [".pipeline-foreign.tmp"]);
}

/// Signals `child` and asserts that it ends in time, prints one line, and leaves no file that is not in `before`.
fn assert_stops(dir: &TestDir, before: &[String], line: &str, mut child: Running, stop: (Signal, i32, &str)) {
    let (number, code, name) = stop;
    signal(&child, number);
    let (said, ended, took) = end_of(&mut child);
    assert_eq!(ended, Some(code), "{line}, {name}: {said}");
    assert_says_so(line, name, &said);
    assert_eq!(dir.names(), before, "{line}, {name}: something was left behind");
    assert!(took < STOP_TIME_MAX, "{line}, {name}: it took {took:?} to stop");
    if took > Duration::from_secs(2) {
        eprintln!("{line}, {name}: it took {took:?} to stop");
    }
}

fn assert_says_so(line: &str, name: &str, said: &str) {
    let is_one_line = said.lines().count() == 1 && said.starts_with("pipeline: error: ");
    assert!(is_one_line && said.ends_with(&format!(" {name}\n")), "{line}: {said:?}");
}

/// Whether `child` has a file of `dir` open that has no name: its output.
fn is_writing_in(dir: &TestDir, child: &Running) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    let links = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.unwrap().path()).ok());
    links.filter(|link| link.starts_with(dir.root())).any(|link| link.to_string_lossy().ends_with("(deleted)"))
}

/// Starts the binary with pipes as standard input, output and error.
fn start(dir: &TestDir, line: &str) -> Running {
    let mut command = dir.command(line.split_whitespace());
    Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

#[test]
fn signals_end_a_run_that_waits_for_its_first_byte() {
    let dir = bench(1 << 20);
    let before = dir.names();
    for line in [
        "process - out",
        "process - out --engine mutex",
        "process - out -R to",
        "process fifo out",
        "restore - out",
        "restore fifo out -i key",
        "verify -",
        "cat -",
        "inspect -",
        "rekey - out -i key -R to",
        "rekey fifo out -i key -R to",
    ] {
        for stop in stops() {
            let child = start(&dir, line);
            wait_until_waiting(&child);
            assert_stops(&dir, &before, line, child, stop);
        }
    }
}

#[test]
fn signals_end_a_run_that_waits_for_more() {
    let dir = bench(1 << 20);
    let before = dir.names();
    for (line, input) in [
        ("process - out -q --chunk-size 64K", "in"),
        ("process - out -q --chunk-size 64K -R to", "in"),
        ("process - out -q --engine mutex", "in"),
        ("restore - out -q", "z"),
        ("restore - out -q -i key", "a"),
        ("verify - -q", "z"),
        ("verify - -q -i key", "a"),
        ("inspect -", "z"),
        ("rekey - out -q -i key -R to", "a"),
    ] {
        for stop in stops() {
            let mut child = start(&dir, line);
            let input = dir.read(input);
            child.stdin.as_mut().unwrap().write_all(&input[..input.len() / 2]).unwrap();
            wait_until("all is read", || bytes_read(&child) >= input.len() as u64 / 2);
            wait_until_waiting(&child);
            assert_eq!(is_writing_in(&dir, &child), line.contains(" out "), "{line}: it is at work");
            assert_stops(&dir, &before, line, child, stop);
        }
    }
}

#[test]
fn signals_end_a_run_whose_output_nobody_takes() {
    let dir = bench(8 << 20);
    let before = dir.names();
    for line in [
        "process in - -q",
        "process in - -q --engine mutex",
        "process in - -q -R to",
        "restore z - -q",
        "cat a -i key",
        "rekey a - -q -i key -R to",
        "process in fifo -q",
        "restore z fifo -q",
        "rekey a fifo -q -i key -R to",
    ] {
        for stop in stops() {
            let child = start(&dir, line);
            wait_until_waiting(&child);
            assert_stops(&dir, &before, line, child, stop);
        }
    }
}

#[test]
fn signals_end_a_run_in_the_midst_of_its_work() {
    let dir = bench(1 << 20);
    dir.write("text", &text(32 << 20, 3));
    std::fs::File::create(dir.path("sparse")).unwrap().set_len(1 << 40).unwrap();
    // Frames of zeros: 256 GiB of content.
    dir.write("zeros", &vec![0; 64 << 20]);
    dir.ok("process zeros frame -q --chunk-size 64M");
    let table_len = 8 + 12 + 9;
    let frame = dir.read("frame");
    dir.write("zeros.zst", &frame[..frame.len() - table_len].repeat(4096));
    let before = dir.names();
    for line in [
        "process sparse out -q",
        "process sparse out -q -R to",
        "process text out -q --level 19",
        "process text out -q --level 19 --engine mutex",
        "restore zeros.zst out -q",
        "verify zeros.zst -q",
    ] {
        for stop in stops() {
            let child = start(&dir, line);
            wait_until("it is at work", || thread_states(child.id()).len() > 3);
            assert_stops(&dir, &before, line, child, stop);
        }
    }
}

/// Starts a run and waits until its fsync is delayed, for [`HELD`]. Returns the tracer and the traced process; `None`
/// where tracing does not work.
fn start_syncing(dir: &TestDir, line: &str) -> Option<(Running, Pid)> {
    let known = dir.names();
    let mut command = Command::new("strace");
    let inject = format!("inject=fsync:delay_enter={}", HELD.as_micros());
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", &inject]);
    command.arg(env!("CARGO_BIN_EXE_pipeline")).args(line.split_whitespace()).current_dir(dir.root());
    let Ok(tracer) = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn() else {
        skip(Need::Tool("strace"));
        return None;
    };
    let tracer = Running(tracer);
    let is_synced_next = |name: &String| {
        if known.contains(name) {
            return false;
        }
        let mode = std::fs::metadata(dir.path(name)).map_or(0, |metadata| metadata.permissions().mode());
        name.starts_with(".pipeline-") && mode & 0o777 != 0o600
    };
    wait_until("the temporary has got its mode", || dir.names().iter().any(is_synced_next));
    let pid = child_of(tracer.id()).unwrap();
    wait_until_held(pid);
    Some((tracer, Pid::from_raw(pid.cast_signed()).unwrap()))
}

/// The time from the first signal until a run that is blocked in fsync reports the stop and has cleaned up.
/// `is_repeated` keeps sending the signal. The tracer holds the rest of the process until the delay is over.
fn time_to_say_so(dir: &TestDir, line: &str, stop: (Signal, i32, &str), is_repeated: bool) -> Option<Duration> {
    let (number, code, name) = stop;
    let before = dir.names();
    let (mut tracer, pid) = start_syncing(dir, line)?;
    let mut stderr = BufReader::new(tracer.stderr.take().unwrap());
    let is_said = AtomicBool::new(false);
    let begun = Instant::now();
    kill_process(pid, number).unwrap();
    let mut said = String::new();
    std::thread::scope(|scope| {
        if is_repeated {
            // Pending signals of one kind merge into one, so they are sent repeatedly, with a pause.
            scope.spawn(|| {
                wait_until("it says so", || {
                    spin(Duration::from_millis(20));
                    kill_process(pid, number).is_err() || is_said.load(SeqCst)
                });
            });
        }
        stderr.read_line(&mut said).unwrap();
        is_said.store(true, SeqCst);
    });
    let took = begun.elapsed();
    assert_says_so(line, name, &said);
    assert_eq!(dir.names(), before, "{line}, {name}: something was left behind");
    assert_eq!(tracer.wait().unwrap().code(), Some(code), "{line}, {name}");
    assert_eq!(dir.names(), before, "{line}, {name}: something came into being behind the end");
    Some(took)
}

#[test]
fn signals_end_a_run_that_waits_for_the_disk_and_a_second_one_does_so_at_once() {
    let dir = bench(1 << 20);
    let lines = ["process in out -q", "restore z out -q", "rekey a out -q -i key -R to"];
    for line in &lines[..share(1, 3)] {
        for stop in stops().into_iter().take(share(1, 3)) {
            let Some(once) = time_to_say_so(&dir, line, stop, false) else { return };
            let Some(often) = time_to_say_so(&dir, line, stop, true) else { return };
            // After a single signal the run waits a whole second.
            assert!(often < once / 2, "{line}, {}: {often:?} after several signals, {once:?} after one", stop.2);
        }
    }
}
