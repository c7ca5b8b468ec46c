//! Child processes: a wait that can be cancelled, and the request to end.

use std::fs::File;
use std::io;
use std::process::Child;

use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::wait::WakeUp;

/// Waits until `child` can be reaped without blocking. Fails when `wake` wakes it.
pub fn wait_for_end(child: &Child, wake: &WakeUp) -> io::Result<()> {
    let descriptor = File::from(pidfd_open(Pid::from_child(child), PidfdFlags::empty())?);
    wake.wait(Some((&descriptor, PollFlags::IN)), None).map(drop)
}

/// Asks `child` to end. One that has ended needs nothing.
pub fn ask_to_end(child: &Child) {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
}
