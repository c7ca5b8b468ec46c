//! Tests of publication: a run replaces only the file that it saw, loses no file that another program puts there, and finds out what it cannot do
//! before it begins.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::child::{Running, child_of, end_of, spin, wait_until, wait_until_held};
use crate::support::mount::Mount;
use crate::support::{Need, Ran, TestDir, can_trace, finish, noise, share, skip};

/// What another program puts at the destination.
const NEWER: &[u8] = b"what another program put there";

/// Command lines that replace `at/out`, and the file that is there before.
const LINES: [(&str, &str); 5] = [
    ("rekey at/out --in-place -q -i key -R to2", "a"),
    ("rekey a at/out -f -q -i key -R to2", "a"),
    ("process in at/out -f -q --chunk-size 64K", "old"),
    ("restore z at/out -f -q", "old"),
    ("restore z at/out --salvage -f -q", "old"),
];

fn dir_with_files() -> TestDir {
    let (dir, recipient) = TestDir::with_key();
    dir.write("to", recipient.as_bytes());
    dir.write("to2", dir.keygen("-o key2").as_bytes());
    dir.write("in", &noise(300_000, 1));
    dir.write("old", b"what was there before, longer than what another program puts there");
    dir.ok("process in z -q --chunk-size 64K");
    dir.ok("process in a -q --chunk-size 64K -R to");
    fs::create_dir(dir.path("at")).unwrap();
    dir
}

fn names_at(dir: &TestDir) -> Vec<String> {
    let names = fs::read_dir(dir.path("at")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// The files beside `at/out` whose names end with `suffix`.
fn left(dir: &TestDir, suffix: &str) -> Vec<PathBuf> {
    let names = names_at(dir).into_iter().filter(|name| name.starts_with(".pipeline-") && name.ends_with(suffix));
    names.map(|name| dir.path("at").join(name)).collect()
}

/// strace that runs the binary with the words of `line` and injects `faults`.
fn traced(dir: &TestDir, faults: &[&str], line: &str) -> Command {
    let command = dir.command::<&str>([]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]);
    for fault in faults {
        strace.args(["-e", &format!("inject={fault}")]);
    }
    strace.arg(command.get_program()).args(line.split_whitespace()).current_dir(dir.root());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    strace
}

fn run_traced(dir: &TestDir, faults: &[&str], line: &str) -> Ran {
    finish(traced(dir, faults, line).output().unwrap())
}

/// Runs `line` with `faults`, and calls `meanwhile` with the temporary's path once it is complete. Returns exit code and standard error.
fn run_while(dir: &TestDir, faults: &[&str], line: &str, meanwhile: impl FnOnce(PathBuf)) -> (Option<i32>, String) {
    let mut child = Running(traced(dir, faults, line).spawn().unwrap());
    let mut temporary = None;
    wait_until("there is a temporary that is complete, since it has its mode", || {
        let is_complete = |path: &PathBuf| fs::metadata(path).is_ok_and(|there| there.mode() & 0o77 != 0);
        temporary = left(dir, ".tmp").into_iter().find(is_complete);
        temporary.is_some()
    });
    meanwhile(temporary.unwrap());
    let (said, code, _) = end_of(&mut child);
    (code, said)
}

/// Puts a new file at `at/out`, as `mv` does.
fn move_there(dir: &TestDir) {
    dir.write("newer", NEWER);
    fs::rename(dir.path("newer"), dir.path("at/out")).unwrap();
}

#[test]
fn a_file_that_is_put_in_place_meanwhile_is_not_replaced() {
    let dir = dir_with_files();
    if !can_trace() {
        return;
    }
    let put: [(&str, &dyn Fn()); 3] = [
        ("moved there", &|| move_there(&dir)),
        ("written to", &|| fs::write(dir.path("at/out"), NEWER).unwrap()),
        ("written to, and its time set back", &|| {
            let out = fs::File::options().write(true).open(dir.path("at/out")).unwrap();
            let before = out.metadata().unwrap();
            (&out).write_all(NEWER).unwrap();
            out.set_modified(before.modified().unwrap()).unwrap();
            assert_eq!(out.metadata().unwrap().len(), before.len());
        }),
    ];
    for (line, before) in LINES {
        for (what, put) in &put {
            dir.write("at/out", &dir.read(before));
            let (code, said) = run_while(&dir, &["fsync:delay_enter=300000:when=1"], line, |_| put());
            assert_eq!(code, Some(1), "{line}, {what}: {said}");
            assert!(dir.read("at/out").starts_with(NEWER), "{line}, {what}: it is lost");
            assert_eq!(names_at(&dir), ["out"], "{line}, {what}");
        }
    }
}

#[test]
fn of_many_races_with_another_program_none_loses_its_file() {
    let dir = dir_with_files();
    if !can_trace() {
        return;
    }
    let delays = ["fsync:delay_enter=20000", "renameat:delay_enter=15000", "renameat2:delay_enter=15000"];
    let round_count = share(30, 200);
    let randoms = noise(round_count, 5);
    let (mut refused_count, mut late_count) = (0, 0);
    for (round, random) in randoms.into_iter().enumerate() {
        let (line, before) = LINES[round % LINES.len()];
        dir.write("at/out", &dir.read(before));
        let wait = Duration::from_micros(u64::from(random) * 500);
        let (code, said) = run_while(&dir, &delays, line, |_| {
            spin(wait);
            move_there(&dir);
        });
        let kept =
            left(&dir, ".swap").into_iter().chain([dir.path("at/out")]).find(|path| fs::read(path).unwrap() == NEWER);
        assert!(kept.is_some(), "{line}: after {wait:?} the other file is lost: {code:?} {said}");
        assert!(left(&dir, ".tmp").is_empty(), "{line}: {:?}", names_at(&dir));
        match code {
            Some(0) => late_count += 1,
            code => {
                assert_eq!(code, Some(1), "{line}: {said}");
                refused_count += 1;
            }
        }
        left(&dir, ".swap").iter().for_each(|path| fs::remove_file(path).unwrap());
    }
    eprintln!("{round_count} races: {refused_count} refused, {late_count} were over before");
    assert!(refused_count > 0, "no race was one");
}

#[test]
fn a_new_name_that_another_program_takes_meanwhile_stays_its() {
    let dir = dir_with_files();
    if !can_trace() {
        return;
    }
    for line in ["process in at/out -q", "process in at/out -q -f", "restore z at/out -q -f"] {
        let (code, said) = run_while(&dir, &["fsync:delay_enter=200000:when=1"], line, |_| move_there(&dir));
        assert_eq!((code, dir.read("at/out")), (Some(1), NEWER.to_vec()), "{line}: {said}");
        assert_eq!(names_at(&dir), ["out"], "{line}");
        fs::remove_file(dir.path("at/out")).unwrap();
    }
}

#[test]
fn a_destination_that_is_gone_meanwhile_gets_the_output_but_not_in_place() {
    let dir = dir_with_files();
    if !can_trace() {
        return;
    }
    for (line, before) in LINES {
        dir.write("at/out", &dir.read(before));
        let gone = |_| fs::remove_file(dir.path("at/out")).unwrap();
        let (code, said) = run_while(&dir, &["fsync:delay_enter=200000:when=1"], line, gone);
        let expected = if line.contains("--in-place") { (Some(1), false) } else { (Some(0), true) };
        assert_eq!((code, dir.path("at/out").exists()), expected, "{line}: {said}");
        assert!(left(&dir, "").is_empty(), "{line}: {:?}", names_at(&dir));
    }
}

#[test]
fn a_temporary_that_another_program_replaces_is_not_published_and_not_removed() {
    let dir = dir_with_files();
    if !can_trace() {
        return;
    }
    for (line, before) in LINES {
        dir.write("at/out", &dir.read(before));
        dir.write("foreign", b"not what the run wrote");
        let mut temporary = PathBuf::new();
        let (code, said) = run_while(&dir, &["fsync:delay_enter=200000:when=1"], line, |path| {
            fs::rename(dir.path("foreign"), &path).unwrap();
            temporary = path;
        });
        assert_eq!((code, dir.read("at/out")), (Some(1), dir.read(before)), "{line}: {said}");
        assert_eq!(fs::read(&temporary).unwrap(), b"not what the run wrote", "{line}");
        fs::remove_file(temporary).unwrap();
    }
}

#[test]
fn a_file_of_a_tree_that_is_replaced_meanwhile_stays() {
    let dir = dir_with_files();
    if !can_trace() {
        return;
    }
    dir.write("tree/file", &noise(200_000, 3));
    dir.ok("process tree at -q");
    dir.write("tree/file", &noise(200_000, 4));
    let put = |_| {
        dir.write("newer", NEWER);
        fs::rename(dir.path("newer"), dir.path("at/file.zst")).unwrap();
    };
    let (code, said) = run_while(&dir, &["fsync:delay_enter=300000:when=1"], "process tree at -q", put);
    assert_eq!((code, dir.read("at/file.zst")), (Some(3), NEWER.to_vec()), "{said}");
}

/// Runs `line` and kills it once it has exchanged `out` with its temporary.
fn kill_at_exchange(dir: &TestDir, line: &str, out: &str) {
    let inode = |path: PathBuf| fs::metadata(path).map(|there| there.ino()).ok();
    let before = inode(dir.path(out));
    let child = Running(traced(dir, &["renameat2:delay_exit=300000"], line).spawn().unwrap());
    wait_until("the names are exchanged", || left(dir, ".swap").into_iter().any(|swap| inode(swap) == before));
    let run = child_of(child.id()).unwrap();
    kill_process(Pid::from_raw(run.cast_signed()).unwrap(), Signal::KILL).unwrap();
    drop(child);
    assert_eq!(left(dir, ".swap").len(), 1, "{line}: {:?}", names_at(dir));
}

#[test]
fn a_run_that_is_killed_while_it_replaces_leaves_the_other_file_and_the_next_run_names_it() {
    let dir = dir_with_files();
    if !can_trace() {
        return;
    }
    for (line, before) in LINES {
        dir.write("at/out", &dir.read(before));
        kill_at_exchange(&dir, line, "at/out");
        let swaps = left(&dir, ".swap");
        let [swap] = &swaps[..] else { panic!("{line}: {:?}", names_at(&dir)) };
        assert_eq!(fs::read(swap).unwrap(), dir.read(before), "{line}: the old file");
        let name = swap.file_name().unwrap().to_str().unwrap();
        for line in ["process in at/out -f -q", "process in at/out -f -q"] {
            let ran = dir.ok(line);
            let warnings: Vec<&str> = ran.stderr.lines().filter(|line| line.contains(name)).collect();
            assert!(warnings.len() == 1 && warnings[0].starts_with("pipeline: warning: "), "{line}: {ran}");
            assert_eq!(fs::read(swap).unwrap(), dir.read(before), "no run removes it");
        }
        fs::remove_file(swap).unwrap();
    }
    dir.write("tree/file", b"1");
    fs::remove_file(dir.path("at/out")).unwrap();
    dir.ok("process tree at -q");
    dir.write("tree/file", b"22");
    kill_at_exchange(&dir, "process tree at -q", "at/file.zst");
    // The output is done, and the next run has nothing to do beside it.
    let (report, _) = dir.batch_report("process tree at -q", 3);
    let files = report["files"].as_array().unwrap();
    let ended: Vec<&str> = files.iter().map(|file| file["ended"].as_str().unwrap()).collect();
    assert_eq!(ended, ["unchanged", "skipped"], "{report}");
    assert_eq!(left(&dir, ".swap").len(), 1);
}

/// Many network file systems exchange no names and know no rename without replacing, and some make no hard links.
#[test]
fn a_file_system_that_lacks_renames_is_found_out_before_the_work() {
    let dir = dir_with_files();
    if !can_trace() {
        return;
    }
    let (no_flags, no_links) = ("renameat2:error=EINVAL", "linkat:error=EPERM");
    for (line, before) in LINES {
        dir.write("at/out", &dir.read(before));
        let ran = run_traced(&dir, &[no_flags, no_links], line);
        assert!(
            ran.status.success() && names_at(&dir) == ["out"] && dir.read("at/out") != dir.read(before),
            "{line}: {ran}"
        );
        dir.write("at/out", &dir.read(before));
        let (code, said) = run_while(&dir, &[no_flags, "fsync:delay_enter=300000:when=1"], line, |_| move_there(&dir));
        assert_eq!((code, dir.read("at/out")), (Some(1), NEWER.to_vec()), "{line}: {said}");
    }
    fs::remove_file(dir.path("at/out")).unwrap();
    for (faults, flags, code) in
        [(&[no_flags][..], "", 0), (&[no_flags, no_links], "-f", 0), (&[no_flags, no_links], "", 1)]
    {
        // Nothing is read of an input that never comes: the run ends at once.
        let line = format!("process {} at/out -q {flags}", if code == 0 { "in" } else { "fifo" });
        let _ = dir.tool("mkfifo", &["fifo"], None);
        let ran = run_traced(&dir, faults, &line);
        assert_eq!(ran.status.code(), Some(code), "{line}: {ran}");
        assert_eq!(names_at(&dir), if code == 0 { vec!["out"] } else { vec![] }, "{line}");
        let _ = fs::remove_file(dir.path("at/out"));
    }
}

/// Nothing is read of an input that never comes: the run ends at once.
#[test]
fn a_file_that_may_not_be_replaced_is_found_out_before_the_work() {
    let dir = dir_with_files();
    if !rustix::process::geteuid().is_root() {
        return skip(Need::Right("root"));
    }
    dir.tool("mkfifo", &["fifo"], None);
    // Everybody may make files, and nobody may replace those of others.
    dir.write("at/out", b"old");
    fs::set_permissions(dir.root(), Permissions::from_mode(0o755)).unwrap();
    for mode in [0o1777, 0o1733] {
        fs::set_permissions(dir.path("at"), Permissions::from_mode(mode)).unwrap();
        let line = format!("exec {} process fifo at/out -f -q --stats json", env!("CARGO_BIN_EXE_pipeline"));
        let args = ["--reuid=65534", "--regid=65534", "--clear-groups", "timeout", "20", "sh", "-c", &line];
        let Some(ran) = dir.tool("setpriv", &args, None) else { return };
        assert!(ran.is_failure(1, "permission_denied"), "{mode:o}: {ran}");
        assert_eq!((names_at(&dir), dir.read("at/out")), (vec!["out".to_owned()], b"old".to_vec()), "{mode:o}");
    }
    fs::set_permissions(dir.path("at"), Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir_all(dir.path("at")).unwrap();
    let Some(_disk) = Mount::new_ext4(&dir.path("image"), dir.path("at")) else { return };
    dir.write("at/out", b"old");
    let change = |flag: &str| Command::new("chattr").arg(flag).arg(dir.path("at/out")).status();
    if !change("+i").is_ok_and(|status| status.success()) {
        return skip(Need::Right("immutable"));
    }
    let ran =
        dir.tool("timeout", &["20", env!("CARGO_BIN_EXE_pipeline"), "process", "fifo", "at/out", "-fq"], None).unwrap();
    assert_eq!((ran.status.code(), dir.read("at/out")), (Some(1), b"old".to_vec()), "{ran}");
    change("-i").unwrap();
}

#[test]
fn the_exit_code_tells_the_truth_about_the_output() {
    let dir = dir_with_files();
    if !can_trace() {
        return;
    }
    let keep = |name: &str| drop(dir.write("kept", &dir.read(name)));
    // OUT is complete, and IN stays, since it was moved or replaced.
    for (from, to) in [("kept", "moved"), ("newer", "kept")] {
        keep("in");
        dir.write("newer", NEWER);
        let rename = |_| fs::rename(dir.path(from), dir.path(to)).unwrap();
        let line = "process kept at/out -f --rm -q";
        let (code, said) = run_while(&dir, &["fsync:delay_enter=300000:when=1"], line, rename);
        assert_eq!(code, Some(3), "{from} to {to}: {said}");
        dir.ok("verify at/out --against in -q");
        assert!(dir.path(to).exists(), "{from} to {to}");
    }
    // The same just before IN is deleted: it is under another name for a moment, and gets its own back.
    for line in ["process kept at/out --rm -q", "process spool spooled --rm -q"] {
        let (kept, out) = if line.contains("spool") { ("spool/file", "spooled/file.zst") } else { ("kept", "at/out") };
        let _ = fs::remove_file(dir.path(out));
        dir.write(kept, &dir.read("in"));
        dir.write("newer", NEWER);
        let mut child = Running(traced(&dir, &["renameat2:delay_enter=500000"], line).spawn().unwrap());
        wait_until("OUT is there", || dir.path(out).exists());
        // IN was compared, and its rename is delayed.
        wait_until_held(child_of(child.id()).unwrap());
        fs::rename(dir.path("newer"), dir.path(kept)).unwrap();
        let (said, code, _) = end_of(&mut child);
        assert_eq!((code, dir.read(kept)), (Some(3), NEWER.to_vec()), "{line}: {said}");
        dir.ok(&format!("verify {out} --against in -q"));
    }
    // OUT has its name, but may not survive a power cut: the sync of its directory failed.
    keep("in");
    for line in ["process kept at/out -f --rm -q", "process kept at/new --rm -q"] {
        let ran = run_traced(&dir, &["fsync:error=EIO:when=2"], &format!("{line} --stats json"));
        assert!(ran.is_failure(1, "sync") && dir.path("kept").exists(), "{line}: {ran}");
        let out = line.split_whitespace().nth(2).unwrap();
        dir.ok(&format!("verify {out} --against in -q"));
        assert!(left(&dir, "").is_empty(), "{line}");
    }
}
