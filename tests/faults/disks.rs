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
    "process in at/out -qf --stats json",
    "process in at/out -qf -R to --stats json",
    "process in at/out -qf --engine mutex --stats json",
    "restore z at/out -qf --stats json",
    "rekey a at/out -qf -i key -R to --stats json",
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

/// Asserts that `line` exits with 1, reports a failure of `kind` at `at/out`, prints one line that names it, and leaves `at` unchanged.
fn assert_fails(dir: &TestDir, line: &str, kind: &str) {
    assert_failed(dir, line, &dir.run(line), kind);
}

fn assert_failed(dir: &TestDir, line: &str, ran: &Ran, kind: &str) {
    assert!(ran.is_failure(1, kind) && ran.error()["path"] == "'at/out'", "{line}: {ran}");
    let said: Vec<&str> = ran.stderr.lines().filter(|line| !line.starts_with('{')).collect();
    let is_one_line = said.len() == 1 && said[0].starts_with("pipeline: error: ");
    assert!(is_one_line && said[0].contains("'at/out'"), "{line}: {ran}");
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
        assert_fails(&dir, line, "no_space");
    }
}

#[test]
fn a_disk_without_room_for_another_name_is_told_and_the_old_file_stays() {
    let dir = dir_with_files();
    let Some(_disk) = Mount::tmpfs(dir.path("at"), "nr_inodes=2") else { return };
    dir.write("at/out", b"old");
    for line in LINES {
        assert_fails(&dir, line, "no_space");
    }
}

#[test]
fn a_read_only_file_system_is_told() {
    let dir = dir_with_files();
    let Some(disk) = Mount::tmpfs(dir.path("at"), "size=1m") else { return };
    dir.write("at/out", b"old");
    disk.remount("ro");
    for line in LINES {
        assert_fails(&dir, line, "permission_denied");
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
        assert_failed(&dir, line, &ran, "no_space");
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
    for what in ["at/out", "at"] {
        if !change("+i", what) {
            skip(Need::Right("immutable"));
            return;
        }
        for line in LINES {
            assert_fails(&dir, line, "permission_denied");
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
    for mode in [0o555, 0o400, 0o000] {
        allow(&dir.path("at"), mode);
        for line in LINES {
            assert_failed(&dir, line, &run(line), "permission_denied");
        }
    }
    dir.write("secret", b"x");
    allow(&dir.path("secret"), 0o600);
    let ran = run("process secret out --stats json");
    assert!(ran.is_failure(1, "permission_denied") && ran.error()["path"] == "'secret'", "{ran}");
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
    // It asks whether the file may be replaced, and removes nothing.
    if call.contains("AT_REMOVEDIR") {
        return None;
    }
    let is_sync = call.contains("fsync(") || call.contains("fdatasync(");
    assert!(call.ends_with(" = 0") || call.contains("exited"), "a step failed or was cut in two: {call}");
    match call {
        // The file was opened without a name.
        _ if is_sync && call.contains("/at/#") => Some("sync file"),
        _ if is_sync && call.contains("/at>") => Some("sync directory"),
        _ if call.contains("rename") && call.contains("\"out\"") => Some("rename"),
        // It gets another name, and is removed under that.
        _ if call.contains("rename") && call.contains(&format!("\"{source}\"")) => Some("delete source"),
        _ => None,
    }
}
