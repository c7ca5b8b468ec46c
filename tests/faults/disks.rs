//! Tests of full, limited, read-only and foreign disks: a run reports one error with path and cause, keeps the old
//! file, and leaves nothing behind. They also test the order in which a run commits its output.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::mount::Mount;
use crate::support::{Need, Ran, TestDir, finish, noise, skip};

/// More bytes than the limited disks can hold.
const LARGE_LEN: usize = 4 << 20;

/// Command lines that write about `LARGE_LEN` bytes over `at/out`.
const LINES: [&str; 5] = [
    "process in at/out -qf",
    "process in at/out -qf -R to",
    "process in at/out -qf --engine mutex",
    "restore z at/out -qf",
    "rekey a at/out -qf -i key -R to",
];

/// Makes a directory with a large input and its processed forms.
fn dir_with_files() -> TestDir {
    let (dir, recipient) = TestDir::with_key();
    dir.write("to", recipient.as_bytes());
    dir.write("in", &noise(LARGE_LEN, 1));
    dir.ok("process in z -q --chunk-size 64K");
    dir.ok("process in a -q --chunk-size 64K -R to");
    dir
}

/// Asserts that `line` exits with 1, prints one line that names `cause` and `at/out`, and leaves `at` unchanged.
fn assert_fails(dir: &TestDir, line: &str, cause: &str) {
    assert_failed(dir, line, &dir.run(line), cause);
}

fn assert_failed(dir: &TestDir, line: &str, ran: &Ran, cause: &str) {
    assert_eq!(ran.status.code(), Some(1), "{line}: {ran}");
    let is_one_line = ran.stderr.lines().count() == 1 && ran.stderr.starts_with("pipeline: error: ");
    assert!(is_one_line && ran.stderr.contains("at/out'") && ran.stderr.contains(cause), "{line}: {ran}");
    assert_eq!(fs::read(dir.path("at/out")).unwrap(), b"old", "{line}: the old file is not what it was");
    let names: Vec<_> = fs::read_dir(dir.path("at")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let left: Vec<_> = names.into_iter().filter(|name| name != "out" && name != "lost+found").collect();
    assert!(left.is_empty(), "{line} left {left:?} behind");
}

#[test]
fn a_disk_that_gets_full_is_told_and_the_old_file_stays() {
    let dir = dir_with_files();
    let Some(_disk) = Mount::tmpfs(dir.path("at"), "size=1m") else { return };
    dir.write("at/out", b"old");
    for line in LINES {
        assert_fails(&dir, line, "No space left on device");
    }
}

#[test]
fn a_disk_without_room_for_another_name_is_told_and_the_old_file_stays() {
    let dir = dir_with_files();
    let Some(_disk) = Mount::tmpfs(dir.path("at"), "nr_inodes=2") else { return };
    dir.write("at/out", b"old");
    for line in LINES {
        assert_fails(&dir, line, "cannot create 'at/out': No space left on device");
    }
}

#[test]
fn a_read_only_file_system_is_told() {
    let dir = dir_with_files();
    let Some(disk) = Mount::tmpfs(dir.path("at"), "size=1m") else { return };
    dir.write("at/out", b"old");
    disk.remount("ro");
    for line in LINES {
        assert_fails(&dir, line, "cannot create 'at/out': Read-only file system");
    }
}

#[test]
fn a_file_size_limit_is_told_and_the_old_file_stays() {
    let dir = dir_with_files();
    fs::create_dir(dir.path("at")).unwrap();
    dir.write("at/out", b"old");
    for line in LINES {
        let script = format!("ulimit -f 500; exec {} {line}", env!("CARGO_BIN_EXE_pipeline"));
        let ran = dir.tool("bash", &["-c", &script], None).unwrap();
        assert_failed(&dir, line, &ran, "File too large");
    }
}

#[test]
fn a_destination_that_may_not_be_replaced_is_told_and_stays() {
    let dir = dir_with_files();
    // The tests need a file system with immutable files; the one they run on may not have them.
    let Some(_disk) = Mount::new_ext4(&dir.path("image"), dir.path("at")) else { return };
    dir.write("at/out", b"old");
    let change = |flag: &str, what: &str| {
        let changed = Command::new("chattr").arg(flag).arg(dir.path(what)).status();
        changed.is_ok_and(|status| status.success())
    };
    for (what, cause) in [
        ("at/out", "cannot name 'at/out': Operation not permitted"),
        ("at", "cannot create 'at/out': Operation not permitted"),
    ] {
        if !change("+i", what) {
            skip(Need::Right("immutable"));
            return;
        }
        for line in LINES {
            assert_fails(&dir, line, cause);
        }
        assert!(change("-i", what));
    }
}

#[test]
fn what_permissions_forbid_is_told_to_users_who_are_not_root() {
    let dir = dir_with_files();
    if !rustix::process::geteuid().is_root() {
        skip(Need::Right("root"));
        return;
    }
    let binary = dir.path("pipeline");
    fs::copy(env!("CARGO_BIN_EXE_pipeline"), &binary).unwrap();
    let run = |line: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary);
        finish(command.args(line.split_whitespace()).current_dir(dir.root()).output().unwrap())
    };
    let allow = |what: &Path, mode| fs::set_permissions(what, Permissions::from_mode(mode)).unwrap();
    allow(dir.root(), 0o755);
    allow(&dir.path("key"), 0o644);
    fs::create_dir(dir.path("at")).unwrap();
    dir.write("at/out", b"old");
    for (mode, cause) in [
        (0o555, "cannot create 'at/out': Permission denied"),
        (0o400, "cannot write 'at/out': Permission denied"),
        (0o000, "cannot write 'at/out': Permission denied"),
    ] {
        allow(&dir.path("at"), mode);
        for line in LINES {
            assert_failed(&dir, line, &run(line), cause);
        }
    }
    dir.write("secret", b"x");
    allow(&dir.path("secret"), 0o600);
    let said = run("process secret out").stderr;
    assert!(said.contains("cannot open 'secret': Permission denied"), "{said}");
}

#[test]
fn the_source_is_deleted_last_when_its_successor_is_durable() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("content", &noise(300_000, 1));
    for line in [
        "process in at/out -q --rm".to_owned(),
        "process in at/out -qf --rm".to_owned(),
        format!("process in at/out -qf --rm -r {recipient}"),
        "restore z at/out -qf --rm".to_owned(),
    ] {
        fs::create_dir_all(dir.path("at")).unwrap();
        dir.write("in", &dir.read("content"));
        dir.ok("process content z -qf");
        // -y shows the path of each descriptor.
        let calls = "trace=fsync,fdatasync,rename,renameat,renameat2,linkat,unlink,unlinkat";
        let mut args = vec!["-f", "-y", "-qq", "-o", "trace", "-e", calls, env!("CARGO_BIN_EXE_pipeline")];
        args.extend(line.split_whitespace());
        let Some(ran) = dir.tool("strace", &args, None) else { return };
        assert!(ran.status.success(), "{line}: {ran}");
        let trace = String::from_utf8(dir.read("trace")).unwrap();
        let source = line.split_whitespace().nth(1).unwrap();
        let steps: Vec<&str> = trace.lines().filter_map(|call| step(call, source)).collect();
        assert_eq!(steps, ["sync file", "rename", "sync directory", "delete source"], "{line}: {trace}");
    }
}

/// The step that a line of a trace performs in a run that reads `source` and writes `at/out`.
fn step(call: &str, source: &str) -> Option<&'static str> {
    let is_sync = call.contains("fsync(") || call.contains("fdatasync(");
    assert!(call.ends_with(" = 0") || call.contains("exited"), "a step failed or was cut in two: {call}");
    match call {
        _ if is_sync && call.contains("/at/.pipeline-") => Some("sync file"),
        _ if is_sync && call.contains("/at>") => Some("sync directory"),
        _ if call.contains("rename") && call.contains("\"out\"") => Some("rename"),
        _ if call.contains("unlink") && call.contains(&format!("\"{source}\"")) => Some("delete source"),
        _ => None,
    }
}
