//! Child processes: an interruptible wait that returns resource usage, and SIGTERM.

use std::fs::File;
use std::io;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use wait4::Wait4;

use super::WakeUp;

/// Exit status and resource usage of a child, including its own children.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Exit status.
    pub status: ExitStatus,
    /// CPU time, user and system.
    pub cpu: Duration,
    /// Peak resident memory in bytes. No less than this process held when it started the child.
    pub peak_bytes: u64,
}

/// Waits until `child` exits. Fails when `wake` wakes it.
pub fn wait_for(child: &mut Child, wake: &WakeUp) -> io::Result<Usage> {
    let descriptor = File::from(pidfd_open(Pid::from_child(child), PidfdFlags::empty())?);
    wake.wait(Some((&descriptor, PollFlags::IN)), None)?;
    let used = child.wait4()?;
    let cpu = used.rusage.utime + used.rusage.stime;
    Ok(Usage { status: used.status, cpu, peak_bytes: used.rusage.maxrss })
}

/// Sends SIGTERM to `child`; ignores errors, for instance if it has exited.
pub fn ask_to_end(child: &Child) {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
}
