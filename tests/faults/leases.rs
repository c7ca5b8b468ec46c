//! Tests of files under a lease, which a file server takes on what its clients have open.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::support::child::{Running, end_of, signal};
use crate::support::{Need, TestDir, is_missing, skip, text};
use rustix::process::Signal;

/// Takes a lease on a file, and says so; says when it is asked for, and gives it up then if the second argument is `give`.
const HOLDER: &str = "
import fcntl, os, signal, sys, time
def asked(*_):
    print('asked', flush=True)
    if sys.argv[2] == 'give':
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
signal.signal(signal.SIGIO, asked)
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
while True:
    signal.pause()
";

/// A process that holds a lease on `name`, and what it says.
fn lease(dir: &TestDir, name: &str, then: &str) -> Option<(Running, impl BufRead + use<>)> {
    if is_missing("python3") {
        skip(Need::Tool("python3"));
        return None;
    }
    let mut command = Command::new("python3");
    command.args(["-c", HOLDER]).arg(dir.path(name)).arg(then).stdout(Stdio::piped());
    let mut holder = Running(command.spawn().unwrap());
    let mut said = BufReader::new(holder.stdout.take().unwrap());
    assert_eq!(line(&mut said), "held\n");
    Some((holder, said))
}

fn line(said: &mut impl BufRead) -> String {
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    line
}

#[test]
fn a_file_under_a_lease_is_read_once_its_holder_gives_it_up() {
    let (dir, recipient) = TestDir::with_key();
    for name in ["in", "tree/a"] {
        dir.write(name, &text(300_000, 1));
    }
    dir.write("to", recipient.as_bytes());
    for (leased, run) in [
        ("in", "process in out -qf"),
        ("tree/a", "process tree -o outputs -q --retries 0"),
        ("tree/a", "process tree/a in -o others -q --retries 0"),
        ("to", "process in sealed -qf -R to"),
        ("key", "verify sealed -q -i key"),
        ("outputs/.pipeline-journal", "process tree -o outputs -q"),
    ] {
        let Some((_holder, mut said)) = lease(&dir, leased, "give") else { return };
        let ran = dir.run(run);
        assert!(ran.status.success(), "{run}: {ran}");
        assert_eq!(line(&mut said), "asked\n", "{run}");
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_lease() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", &text(300_000, 1));
    dir.write("tree/a", &text(300_000, 1));
    dir.write("to", recipient.as_bytes());
    for (leased, run) in [
        ("in", "process in out -q --stats json"),
        ("tree/a", "process tree -o outputs -q --retries 0 --stats json"),
        ("to", "process in sealed -q -R to --stats json"),
    ] {
        let Some((_holder, mut said)) = lease(&dir, leased, "keep") else { return };
        let mut child = Running(dir.command(run.split(' ')).stderr(Stdio::piped()).spawn().unwrap());
        assert_eq!(line(&mut said), "asked\n", "{run}");
        signal(&child, Signal::INT);
        let (stderr, code, _) = end_of(&mut child);
        assert_eq!(code, Some(130), "{run}: {stderr}");
        // It waited for the lease and nothing else: the holder is still there, and was asked once.
        drop(_holder);
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "{run}");
    }
}
