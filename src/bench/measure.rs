//! Runs a case once and measures wall time, CPU time, memory and output.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use wait4::Wait4;

use super::cases::{Pipe, Places};
use crate::store::sys::{self, WakeUp};

/// The measurements of one run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The time from the start of the first command to the end of the last.
    pub wall: Duration,
    /// The CPU time of all commands.
    pub cpu: Duration,
    /// The sum of the commands' peaks of resident memory, in bytes.
    pub peak_bytes: u64,
    /// The length of the output file, in bytes; 0 without one.
    pub output_bytes: u64,
    /// The JSON report, if the command is pipeline.
    pub report: Option<Value>,
}

/// Runs `pipe` and leaves its output in place. Fails with the last line on standard error if a command fails, and if `wake` is woken.
pub fn run(pipe: &Pipe, places: &Places, wake: &WakeUp) -> anyhow::Result<Run> {
    for path in [Some(&places.report()), pipe.output.as_ref()].into_iter().flatten() {
        let _ = std::fs::remove_file(path);
    }
    let said = places.folder.join("said");
    let started_at = Instant::now();
    let usages = Children::start(pipe, &said)?.wait(wake)?;
    let wall = started_at.elapsed();
    if let Some((name, usage)) = usages.iter().rev().find(|(_, usage)| !usage.status.success()) {
        let said = std::fs::read(&said).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing");
        bail!("{name} failed, {}: {line}", usage.status);
    }
    let output_bytes = pipe.output.as_ref().and_then(|output| Some(std::fs::metadata(output).ok()?.len())).unwrap_or(0);
    let report = std::fs::read(places.report()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(Run {
        wall,
        cpu: usages.iter().map(|(_, usage)| usage.cpu).sum(),
        peak_bytes: usages.iter().map(|(_, usage)| usage.peak_bytes).sum(),
        output_bytes,
        report,
    })
}

/// The running commands of a pipe, in order, with their names; dropping them asks them to end and waits.
struct Children(VecDeque<(String, Child)>);

impl Children {
    /// Starts `pipe`, with the standard error of all commands in the file `said`.
    fn start(pipe: &Pipe, said: &Path) -> anyhow::Result<Children> {
        let said = File::create(said).context("cannot write to --dir")?;
        let mut children = Children(VecDeque::new());
        let mut input = Stdio::null();
        for (index, words) in pipe.commands.iter().enumerate() {
            let (program, arguments) = words.split_first().context("internal error: a command of no words")?;
            let is_last = index + 1 == pipe.commands.len();
            let output = match &pipe.output {
                Some(path) if is_last && pipe.is_to_stdout => {
                    File::create(path).context("cannot write to --dir")?.into()
                }
                _ if is_last => Stdio::null(),
                _ => Stdio::piped(),
            };
            let name = Path::new(program).file_name().unwrap_or(program).display().to_string();
            let mut command = Command::new(program);
            command.args(arguments).stdin(input).stdout(output).stderr(said.try_clone().context("cannot start")?);
            let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
            input = child.stdout.take().map_or_else(Stdio::null, Stdio::from);
            children.0.push_back((name, child));
        }
        Ok(children)
    }

    fn wait(mut self, wake: &WakeUp) -> anyhow::Result<Vec<(String, Usage)>> {
        let mut usages = Vec::new();
        while let Some((name, child)) = self.0.front_mut() {
            let usage = usage_of(child, wake).with_context(|| format!("cannot wait for {name}"))?;
            usages.push((std::mem::take(name), usage));
            self.0.pop_front();
        }
        Ok(usages)
    }
}

/// How a command ended, and what it and its own children used.
struct Usage {
    status: ExitStatus,
    /// In user code and in the kernel, on any CPU.
    cpu: Duration,
    /// Resident at once, in bytes. No less than what this process held when it started the command.
    peak_bytes: u64,
}

/// Waits until `child` has ended. Fails when `wake` wakes it.
fn usage_of(child: &mut Child, wake: &WakeUp) -> std::io::Result<Usage> {
    sys::wait_for_end(child, wake)?;
    let used = child.wait4()?;
    let cpu = used.rusage.utime + used.rusage.stime;
    Ok(Usage { status: used.status, cpu, peak_bytes: used.rusage.maxrss })
}

impl Drop for Children {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            sys::ask_to_end(child);
        }
        for (_, child) in &mut self.0 {
            // Nothing more can be done about a child that cannot be waited for.
            let _ = child.wait();
        }
    }
}
