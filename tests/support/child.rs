//! Child processes that a test watches through /proc and signals at a chosen point.

use std::io::Read;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything takes that does not hang, even on a busy machine.
pub const HANG: Duration = Duration::from_secs(60);

/// A child that is killed at the end of the test, even if the test fails.
pub struct Running(pub Child);

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The child may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Polls until `is_so`. The test fails after [`HANG`] instead of hanging.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < HANG, "waited for ever until {what}");
        std::thread::yield_now();
    }
}

/// The state of each thread of process `pid`: `S` for sleeping, `t` for stopped by a tracer, and so on.
pub fn thread_states(pid: u32) -> Vec<char> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    stats.filter_map(|stat| stat.rsplit(')').next()?.trim_start().chars().next()).collect()
}

/// Waits until `child` has several threads and all of them sleep: the run has begun and waits.
pub fn wait_until_waiting(child: &Child) {
    let mut in_a_row = 0;
    wait_until("all threads sleep", || {
        let states = thread_states(child.id());
        let waits = states.len() > 1 && states.iter().all(|state| *state == 'S');
        in_a_row = if waits { in_a_row + 1 } else { 0 };
        in_a_row == 50
    });
}

/// Bytes that `child` has read so far, from files and pipes.
pub fn bytes_read(child: &Child) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).unwrap_or(0)
}

/// A child of process `pid`, started by any of its threads: the process that a tracer runs, for instance.
pub fn child_of(pid: u32) -> Option<u32> {
    let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks.find_map(|task| {
        let children = std::fs::read_to_string(task.ok()?.path().join("children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    })
}

/// Waits until a thread of process `pid` is held by its tracer, in a call whose begin is delayed.
pub fn wait_until_held(pid: u32) {
    let mut in_a_row = 0;
    wait_until("a thread is held", || {
        in_a_row = if thread_states(pid).contains(&'t') { in_a_row + 1 } else { 0 };
        in_a_row == 500
    });
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits for the end, and keeps the pipes of `child` open until then.
pub fn wait(mut child: Child, code: i32) {
    let pipes = (child.stdin.take(), child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(code));
    drop(pipes);
}

/// Waits for the end, for at most [`HANG`]. Returns standard error if that is a pipe, the exit code, and the duration.
/// Keeps the pipes of `child` open until then.
pub fn end_of(child: &mut Child) -> (String, Option<i32>, Duration) {
    let begun = Instant::now();
    let mut ended = None;
    wait_until("the run ends", || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    let took = begun.elapsed();
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said).unwrap();
    }
    (said, ended.unwrap().code(), took)
}

/// How long one run of `command` takes; the run must succeed.
pub fn duration_of(mut command: Command) -> Duration {
    let begun = Instant::now();
    assert!(command.status().unwrap().success(), "{command:?}");
    begun.elapsed()
}

/// Busy-waits for `after`: a sleep is too coarse for a moment within a run.
pub fn spin(after: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < after {
        std::thread::yield_now();
    }
}
