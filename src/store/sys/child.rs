//! Child processes: waited for in a way that can be ended, with what they used, and asked to end.

use std::fs::File;
use std::io;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use wait4::Wait4;

use super::WakeUp;

/// How a child ended, and what it and its own children used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// How it ended.
    pub status: ExitStatus,
    /// Time on any CPU, in user code and in the kernel.
    pub cpu: Duration,
    /// The most memory that was resident at once, in bytes. No less than what this process held when it started the child.
    pub peak_bytes: u64,
}

/// Waits until `child` has ended. Fails when `wake` wakes it.
pub fn wait_for(child: &mut Child, wake: &WakeUp) -> io::Result<Usage> {
    let descriptor = File::from(pidfd_open(Pid::from_child(child), PidfdFlags::empty())?);
    wake.wait(Some((&descriptor, PollFlags::IN)), None)?;
    let used = child.wait4()?;
    let cpu = used.rusage.utime + used.rusage.stime;
    Ok(Usage { status: used.status, cpu, peak_bytes: used.rusage.maxrss })
}

/// Asks `child` to end. One that has ended needs nothing.
pub fn ask_to_end(child: &Child) {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
}
