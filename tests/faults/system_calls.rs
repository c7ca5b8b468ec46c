//! The fault sweep: the first, second, … Nth system call of every kind fails, once or from then on, until a run meets
//! no fault. After any fault the destination is old or complete, and the run reports the failure. It does not crash or
//! hang, and leaves nothing behind.
//!
//! strace injects the faults. It counts per thread, so the Nth call fails in every thread that reaches it. A share of
//! the sweep always runs; `PIPELINE_TESTS=slow` runs all of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Ran, TestDir, can_trace, finish, share, text};

/// A longer run hangs; a run without a fault takes 50 ms.
const HANG_S: &str = "20";

const SIGKILL: i32 = 9;

/// More than the system calls of one kind in one thread of any run: a sweep ends before.
const CALLS_MAX: usize = 400;

/// One of this many sweeps is in the share that always runs. It does not divide the number of kinds of calls or faults,
/// so each kind gets its turn.
const SHARE: usize = 5;

/// System calls that fail together, and how a run may react.
struct Kind {
    calls: &'static str,
    may: May,
    /// Whether signals interrupt them, by signal(7): that is not a failure.
    is_interruptible: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    /// Fail cleanly: one line, an exit code, nothing left behind.
    Fail,
    /// The same, or report a broken assumption in one line: the manual documents no such failure.
    Panic,
    /// The same, or abort and leave a temporary: memory or a thread is missing, or the Rust runtime could not start.
    Abort,
}

const fn kind(calls: &'static str, may: May, is_interruptible: bool) -> Kind {
    Kind { calls, may, is_interruptible }
}

const KINDS: [Kind; 21] = [
    kind("openat,open", May::Fail, true),
    kind("read,pread64", May::Fail, true),
    kind("write,pwrite64", May::Fail, true),
    kind("close", May::Fail, false),
    kind("fsync,fdatasync", May::Fail, true),
    kind("ftruncate,fallocate,fadvise64", May::Fail, true),
    kind("rename,renameat,renameat2,linkat", May::Fail, false),
    kind("unlink,unlinkat", May::Fail, false),
    kind("mmap,mprotect,brk", May::Abort, false),
    kind("clone,clone3", May::Abort, false),
    kind("fchmod,fchown,utimensat", May::Fail, true),
    kind("getrandom", May::Panic, true),
    kind("flock", May::Fail, true),
    kind("lseek", May::Fail, false),
    kind("statx,newfstatat,fstat", May::Fail, false),
    kind("readlink,readlinkat,getdents64", May::Fail, false),
    kind("epoll_create1,epoll_ctl,eventfd2", May::Fail, false),
    // Of tokio, for signals; that descriptors run out, it is asked before.
    kind("socketpair", May::Panic, false),
    kind("poll,epoll_wait", May::Abort, true),
    kind("fcntl,ioctl", May::Fail, false),
    kind("rt_sigaction,sigaltstack,prctl,prlimit64", May::Abort, false),
];

/// The error of each fault, and which calls from the Nth on it hits.
const FAULTS: [(&str, &str); 6] =
    [("EIO", ""), ("EIO", "+"), ("ENOSPC", ""), ("ENOSPC", "+"), ("EINTR", ""), ("EINTR", "..")];

/// A command line, and the correct result of a run that succeeds.
struct Scenario {
    line: &'static str,
    /// The content of `out` before the run.
    old: Option<&'static str>,
    right: Right,
}

enum Right {
    /// `out` equals this file, byte for byte.
    File(&'static str),
    /// `out` opens with this identity and gives the content.
    Opens(&'static str),
    /// Standard output is this part of the content.
    Prints(std::ops::Range<usize>),
    /// `out` equals the content, or, with exit code 4, the readable part of it: salvage allows that.
    Saves,
    /// The run only reads, and may report success or failure.
    Reads,
    /// The run never succeeds.
    Never,
}

const SCENARIOS: [Scenario; 22] = [
    Scenario { line: "process in out -q -w 2 --chunk-size 64K", old: None, right: Right::File("z") },
    Scenario { line: "process in out -q -w 2 --chunk-size 64K -f", old: Some("old"), right: Right::File("z") },
    Scenario { line: "process in out -q -w 2 --chunk-size 64K -R to", old: None, right: Right::Opens("key") },
    Scenario { line: "process in out -q -w 2 --chunk-size 64K -R to -f", old: Some("old"), right: Right::Opens("key") },
    Scenario { line: "process in out -q --engine mutex -f", old: Some("old"), right: Right::File("mutex") },
    Scenario { line: "process in out -q -w 2 --chunk-size 64K --verify -f", old: Some("old"), right: Right::File("z") },
    Scenario {
        line: "process --stdin-from-command out -q --stats json -w 2 --chunk-size 64K -f -- cat in",
        old: Some("old"),
        right: Right::File("z"),
    },
    Scenario { line: "restore z out --salvage -q -f", old: Some("old"), right: Right::Saves },
    Scenario { line: "restore a out --salvage -q -i key", old: None, right: Right::Saves },
    Scenario { line: "restore z out -q -w 2", old: None, right: Right::File("in") },
    Scenario { line: "restore z out -q -w 2 -f", old: Some("old"), right: Right::File("in") },
    Scenario { line: "restore a out -q -w 2 -i key -f", old: Some("old"), right: Right::File("in") },
    Scenario { line: "process holes out -q -w 2 --chunk-size 64K -f", old: Some("old"), right: Right::File("hz") },
    Scenario { line: "restore hz out -q -w 2 -f", old: Some("old"), right: Right::File("holes") },
    Scenario { line: "restore bad out -q -w 2 -f", old: Some("old"), right: Right::Never },
    Scenario { line: "rekey a out -q -i key -R to2", old: None, right: Right::Opens("key2") },
    Scenario { line: "rekey a out -q -i key -R to2 -f", old: Some("old"), right: Right::Opens("key2") },
    Scenario { line: "rekey out --in-place -q -i key -R to2", old: Some("a"), right: Right::Opens("key2") },
    Scenario { line: "verify z -q -w 2", old: None, right: Right::Reads },
    Scenario { line: "verify bad -q -w 2", old: None, right: Right::Never },
    Scenario { line: "cat z", old: None, right: Right::Prints(0..200_000) },
    Scenario { line: "cat a -i key --range 70000..90000", old: None, right: Right::Prints(70_000..90_000) },
];

/// One sweep: a scenario whose calls fail in one way.
struct Sweep {
    scenario: &'static Scenario,
    kind: &'static Kind,
    error: &'static str,
    from: &'static str,
}

/// A directory with inputs that no run changes, a place for `out`, and one for traces.
struct Site {
    dir: TestDir,
    traces: TestDir,
    inputs: BTreeMap<String, Vec<u8>>,
}

/// What a sweep found.
#[derive(Default)]
struct Found {
    fault_count: usize,
    violations: Vec<String>,
}

#[test]
fn whatever_system_call_fails_the_destination_is_old_or_complete_and_the_exit_code_tells() {
    if !can_trace() {
        return;
    }
    let sweeps: Vec<Sweep> = sweeps().into_iter().step_by(share(SHARE, 1)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let (site, mut found) = (Site::new(), Found::default());
        while let Some(sweep) = sweeps.get(next.fetch_add(1, Ordering::Relaxed)) {
            site.sweep(sweep, &mut found);
        }
        found
    };
    let found: Vec<Found> = std::thread::scope(|scope| {
        let width = std::thread::available_parallelism().map_or(2, |width| width.get());
        let workers: Vec<_> = (0..width).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let fault_count: usize = found.iter().map(|found| found.fault_count).sum();
    let violations: Vec<&String> = found.iter().flat_map(|found| &found.violations).collect();
    eprintln!("{} sweeps, {fault_count} faults, {} violations", sweeps.len(), violations.len());
    assert!(fault_count >= share(1000, 8000), "only {fault_count} faults struck");
    let list: String = violations.iter().map(|violation| format!("\n{violation}")).collect();
    assert!(violations.is_empty(), "{} of {fault_count} faults broke a promise:{list}", violations.len());
}

fn sweeps() -> Vec<Sweep> {
    let mut sweeps = Vec::new();
    for scenario in &SCENARIOS {
        for kind in &KINDS {
            // A failed close still closes the descriptor, but an injected failure does not: the pipe of a command then
            // never ends.
            let is_endless = kind.calls == "close" && scenario.line.contains("--stdin-from-command");
            for (error, from) in FAULTS {
                if !is_endless && (error != "EINTR" || kind.is_interruptible) {
                    sweeps.push(Sweep { scenario, kind, error, from });
                }
            }
        }
    }
    sweeps
}

impl Site {
    fn new() -> Site {
        let dir = TestDir::new();
        let content = text(200_000, 1);
        dir.write("in", &content);
        dir.write("old", b"what was there before");
        for (key, to) in [("key", "to"), ("key2", "to2")] {
            let recipient = dir.keygen(&format!("-o {key}"));
            dir.write(to, recipient.as_bytes());
        }
        dir.ok("process in z -q --chunk-size 64K");
        dir.ok("process in mutex -q --engine mutex");
        dir.ok("process in a -q --chunk-size 64K -R to");
        dir.write("holes", &content[..70_000]);
        File::options().append(true).open(dir.path("holes")).unwrap().set_len(200_000).unwrap();
        dir.ok("process holes hz -q --chunk-size 64K");
        let mut bad = dir.read("z");
        let last = bad.len() - 200;
        bad[last] ^= 1;
        dir.write("bad", &bad);
        let inputs = dir.names().into_iter().map(|name| (name.clone(), dir.read(&name))).collect();
        Site { dir, traces: TestDir::new(), inputs }
    }

    /// Fails the first, second, … call until a run meets no fault.
    fn sweep(&self, sweep: &Sweep, found: &mut Found) {
        for number in 1..CALLS_MAX {
            let when = match sweep.from {
                ".." => format!("{number}..{}", number + 99),
                from => format!("{number}{from}"),
            };
            let Sweep { kind: Kind { calls, .. }, error, scenario, .. } = sweep;
            let inject = format!("inject={calls}:error={error}:when={when}");
            self.set_out(scenario.old);
            let ran = self.run(calls, &inject, scenario.line);
            let trace = String::from_utf8_lossy(&self.traces.read("trace")).into_owned();
            if !trace.contains("(INJECTED)") {
                return;
            }
            found.fault_count += 1;
            for broken in self.broken(sweep, &ran, &trace) {
                found.violations.push(format!("{broken}: strace -f -e {inject} pipeline {}: {ran}", scenario.line));
            }
        }
        found.violations.push(format!("{} never came to an end of {}", sweep.scenario.line, sweep.kind.calls));
    }

    fn set_out(&self, old: Option<&str>) {
        for name in self.dir.names() {
            if !self.inputs.contains_key(&name) {
                std::fs::remove_file(self.dir.path(name)).unwrap();
            }
        }
        if let Some(old) = old {
            self.dir.write("out", &self.inputs[old]);
        }
    }

    fn run(&self, calls: &str, inject: &str, line: &str) -> Ran {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", HANG_S, "strace", "-f", "-qq", "-o"]).arg(self.traces.path("trace"));
        command.args(["-e", &format!("trace={calls}"), "-e", inject]).arg(env!("CARGO_BIN_EXE_pipeline"));
        command.args(line.split_whitespace()).current_dir(self.dir.root()).stdin(Stdio::null());
        // Removes what Cargo sets: it changes where the loader searches, and makes messages longer than a line.
        command.env_remove("LD_LIBRARY_PATH").env_remove("RUST_BACKTRACE");
        finish(command.output().unwrap())
    }

    fn broken(&self, sweep: &Sweep, ran: &Ran, trace: &str) -> Vec<String> {
        let mut broken = Vec::new();
        let out = std::fs::read(self.dir.path("out")).ok();
        let is_old = out.as_deref() == sweep.scenario.old.map(|old| &self.inputs[old][..]);
        let is_right = || match &sweep.scenario.right {
            Right::File(name) => out.as_ref() == Some(&self.inputs[*name]),
            Right::Opens(key) => {
                out.is_some() && self.dir.run(&format!("restore out - -q -i {key}")).stdout == self.inputs["in"]
            }
            Right::Prints(range) => ran.stdout == self.inputs["in"][range.clone()],
            Right::Saves => out.as_ref() == Some(&self.inputs["in"]),
            Right::Reads => true,
            Right::Never => false,
        };
        if ran.status.success() && !is_right() {
            broken.push("it says that all is well, which is not so".to_owned());
        }
        let is_saved = matches!(sweep.scenario.right, Right::Saves) && ran.status.code() == Some(4);
        if !ran.status.success() && !is_old && !is_right() && !is_saved {
            broken.push("the destination is neither old nor complete".to_owned());
        }
        let calls = joined(trace);
        let mut after_failed_sync =
            calls.iter().skip_while(|call| !(call.contains("sync(") && call.contains("(INJECTED)")));
        if sweep.error != "EINTR" && after_failed_sync.next().is_some() {
            if ran.status.success() {
                broken.push("it says that all is durable, and the disk did not".to_owned());
            }
            if after_failed_sync.any(|call| call.contains("sync(") && !call.contains("(INJECTED)")) {
                broken.push("a failed sync is final, never tried again".to_owned());
            }
        }
        for (name, content) in &self.inputs {
            if std::fs::read(self.dir.path(name)).ok().as_ref() != Some(content) {
                broken.push(format!("{name} was changed"));
            }
        }
        if ran.status.signal() == Some(SIGKILL) {
            broken.push("it hangs".to_owned());
        } else if !ran.status.success() {
            broken.extend(self.badly_failed(sweep.kind, ran, trace));
        }
        // The command handles a fault in its own way, and the run reports its failure.
        let is_others = ran.stderr.contains(r#""kind":"command_failed""#);
        let may_fail = matches!(sweep.scenario.right, Right::Never) || is_others;
        if ran.status.code() == Some(1) && sweep.error == "EINTR" && !may_fail {
            broken.push("an interrupted call is no failure".to_owned());
        }
        broken
    }

    /// What is wrong with the way a run failed.
    fn badly_failed(&self, kind: &Kind, ran: &Ran, trace: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        // The loader prints its own message, before the program has made anything.
        let is_loader = ran.status.code() == Some(127) && ran.stderr.contains("while loading shared libraries");
        let calls = joined(trace);
        let struck = |what: &str| calls.iter().any(|call| call.contains("(INJECTED)") && call.contains(what));
        // The eventfd write that wakes the thread waiting for signals cannot fail, and its caller assumes so.
        let may = if struck(r#", "\1\0\0\0\0\0\0\0", 8"#) { May::Abort } else { kind.may };
        let is_aborted = ran.status.signal().is_some() || ran.stderr.contains("panicked at");
        if is_loader || may == May::Abort && is_aborted {
            return wrong;
        }
        if ran.status.signal().is_some() {
            wrong.push("it died of a signal".to_owned());
        }
        let is_error = |line: &str| {
            let is_panic = may == May::Panic && line.starts_with("pipeline: internal error: ");
            line.starts_with("pipeline: error: ") || is_panic
        };
        let is_warning = |line: &str| ran.status.code() == Some(3) && line.starts_with("pipeline: warning: ");
        let said = ran.stderr.lines().filter(|line| is_error(line) || is_warning(line)).count();
        // If the message itself could not be written, the exit code reports the failure.
        if said != 1 && !struck("write(2,") {
            wrong.push("an error is one line".to_owned());
        }
        let is_ours = |name: &String| name == "out" || self.inputs.contains_key(name);
        if !kind.calls.starts_with("unlink") && !self.dir.names().iter().all(is_ours) {
            wrong.push("a temporary was left".to_owned());
        }
        wrong
    }
}

/// The calls of a trace in the order they ended. A call that another thread interrupted in the trace is joined from its
/// two halves.
fn joined(trace: &str) -> Vec<String> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap_or(("", line));
        match call.strip_suffix("<unfinished ...>") {
            Some(first_half) => drop(begun.insert(thread, first_half)),
            None => calls.push(begun.remove(thread).unwrap_or_default().to_owned() + call),
        }
    }
    calls
}
