//! Tests of unusual sources: files that change during the read, that are not regular, that report a wrong size, or that
//! have unusual names.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::child::{Running, bytes_read, end_of, wait_until, wait_until_waiting};
use crate::support::{TestDir, noise, share, text};

/// Runs `line` and calls `change` while the run waits for its output to be read. Returns exit code, stderr and stdout.
fn run_while(dir: &TestDir, line: &str, change: impl FnOnce()) -> (Option<i32>, String, Vec<u8>) {
    let mut command = dir.command(line.split_whitespace());
    let mut child = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    wait_until_waiting(&child);
    change();
    let (mut stdout, mut stderr) = (Vec::new(), String::new());
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (child.wait().unwrap().code(), stderr, stdout)
}

type Change<'a> = &'a dyn Fn(&File);

#[test]
fn a_source_that_changes_while_it_is_read_is_told_with_exit_3() {
    let (dir, recipient) = TestDir::with_key();
    let content = noise(8 << 20, 1);
    let changes: [(&str, Change); 3] = [
        ("grows", &|mut file| {
            file.seek(SeekFrom::End(0)).unwrap();
            file.write_all(b"more").unwrap();
        }),
        ("shrinks", &|file| file.set_len(5 << 20).unwrap()),
        ("is written to", &|file| file.write_all_at(b"other", 7 << 20).unwrap()),
    ];
    for (what, change) in changes {
        for line in [
            "process in - --chunk-size 64K -q".to_owned(),
            format!("process in - --chunk-size 64K -q -r {recipient}"),
            format!("process in - --no-compress -q -r {recipient}"),
        ] {
            dir.write("in", &content);
            let file = File::options().read(true).write(true).open(dir.path("in")).unwrap();
            let (code, said, _) = run_while(&dir, &line, || change(&file));
            let is_warned = said.starts_with("pipeline: warning: 'in' ") && said.lines().count() == 1;
            assert!(code == Some(3) && is_warned, "{what} {line}: {code:?} {said}");
        }
    }
}

/// Makes a directory with `in`, its forms `z`, `a` and `armored`, and the recipient in `to`.
fn dir_with_forms() -> TestDir {
    let (dir, recipient) = TestDir::with_key();
    dir.write("to", recipient.as_bytes());
    dir.write("in", &noise(4 << 20, 3));
    dir.ok("process in z --chunk-size 64K -q");
    dir.ok("process in a --chunk-size 64K -q -R to");
    dir.ok("process in armored --chunk-size 64K -q -R to --armor");
    dir
}

/// Command lines that read `source`, a copy of the named file, slowly enough to be changed meanwhile.
const SLOW_LINES: [(&str, &str); 8] = [
    ("in", "process source out --rm -q --limit-rate 4M"),
    ("in", "process source out --rm -q --limit-rate 4M -R to --verify"),
    ("in", "process source out --rm -q --limit-rate 4M -R to --no-compress"),
    ("in", "process source out --rm -q --limit-rate 4M --engine mutex"),
    ("z", "restore source out --rm -q --limit-rate 4M"),
    ("a", "restore source out --rm -q --limit-rate 4M -i key"),
    ("armored", "restore source out --rm -q --limit-rate 4M -i key"),
    ("a", "verify source -q --limit-rate 4M -i key"),
];

/// Runs `line`, and calls `change` with `source` once a part of it was read. Returns exit code and standard error.
fn run_on_changing(dir: &TestDir, (form, line): (&str, &str), change: impl FnOnce(&File)) -> (Option<i32>, String) {
    dir.write("source", &dir.read(form));
    let _ = fs::remove_file(dir.path("out"));
    let file = File::options().read(true).write(true).open(dir.path("source")).unwrap();
    let mut command = dir.command(line.split_whitespace());
    let mut child = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    wait_until("a part is read", || bytes_read(&child) > 1 << 20);
    change(&file);
    let (said, code, _) = end_of(&mut child);
    (code, said)
}

/// A program that writes at both ends sets the times back, as one that wants to stay unseen would.
#[test]
fn a_source_that_is_written_to_is_noticed_even_if_its_time_is_set_back() {
    let dir = dir_with_forms();
    for (form, line) in SLOW_LINES {
        let (code, said) = run_on_changing(&dir, (form, line), |file| {
            let before = file.metadata().unwrap();
            for at in [1000, before.len() - 1000] {
                file.write_all_at(&noise(100, 9), at).unwrap();
            }
            file.set_modified(before.modified().unwrap()).unwrap();
        });
        // Restored, the part that was not read yet is damaged.
        let expected = if form == "in" { Some(3) } else { Some(4) };
        assert_eq!(code, expected, "{line}: {said}");
        assert!(dir.path("source").exists(), "{line}: it is gone");
    }
}

#[test]
fn a_source_that_gets_another_mode_link_or_time_is_read_again_and_is_no_warning() {
    let dir = dir_with_forms();
    for (number, (form, line)) in SLOW_LINES.into_iter().enumerate() {
        let path = dir.path("source");
        let (code, said) = run_on_changing(&dir, (form, line), |_| match number % 3 {
            0 => fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap(),
            1 => fs::hard_link(&path, dir.path(format!("link{number}"))).unwrap(),
            _ => {
                File::open(&path).unwrap().set_times(fs::FileTimes::new().set_accessed(std::time::UNIX_EPOCH)).unwrap()
            }
        });
        assert_eq!((code, &*said), (Some(0), ""), "{line}");
        if line.contains("--rm") {
            assert!(!path.exists(), "{line}");
            match line.starts_with("process") {
                true => assert!(dir.ok("restore out - -q -i key").stdout == dir.read("in"), "{line}"),
                false => assert!(dir.read("out") == dir.read("in"), "{line}"),
            }
        }
    }
}

#[test]
fn a_source_that_is_rekeyed_in_place_and_gets_another_mode_keeps_it() {
    let dir = dir_with_forms();
    let recipient = dir.keygen("-o key2");
    let line = format!("rekey source --in-place -q --limit-rate 4M -i key -r {recipient}");
    let path = dir.path("source");
    let change = |_: &File| fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let (code, said) = run_on_changing(&dir, ("a", &line), change);
    assert_eq!((code, &*said), (Some(0), ""));
    dir.ok("verify source -q -i key2 --against in");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
}

#[test]
fn a_source_that_grows_without_end_is_read_to_the_length_that_it_had() {
    let dir = dir_with_forms();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let line = "process source out -q --limit-rate 4M";
        let (code, said) = run_on_changing(&dir, ("in", line), |file| {
            let mut file = file.try_clone().unwrap();
            let is_over = &is_over;
            scope.spawn(move || {
                file.seek(SeekFrom::End(0)).unwrap();
                // Faster than it is read, for as long as a run that chases the end would take.
                for _ in 0..200 {
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    file.write_all(&[7; 200_000]).unwrap();
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            });
        });
        is_over.store(true, Ordering::SeqCst);
        assert_eq!(code, Some(3), "{said}");
    });
    assert!(dir.ok("restore out - -q").stdout == dir.read("in"));
}

#[test]
fn a_compressed_source_that_changes_is_damaged_or_told() {
    let dir = TestDir::new();
    dir.write("in", &noise(8 << 20, 2));
    dir.ok("process in whole --chunk-size 64K -q");
    let changes: [(&str, Change); 2] = [
        ("shrinks", &|file| file.set_len(7 << 20).unwrap()),
        ("grows", &|mut file| {
            file.seek(SeekFrom::End(0)).unwrap();
            file.write_all(b"\x50\x2A\x4D\x18\x01\0\0\0x").unwrap();
        }),
    ];
    for (what, change) in changes {
        fs::copy(dir.path("whole"), dir.path("file")).unwrap();
        let file = File::options().read(true).write(true).open(dir.path("file")).unwrap();
        let (code, said, _) = run_while(&dir, "restore file - -q", || change(&file));
        assert!(matches!(code, Some(3 | 4)) && !said.is_empty(), "{what}: {code:?} {said}");
    }
}

/// Such files report a length of 0 or none at all.
#[test]
fn files_of_the_system_fifos_and_sockets_are_read_to_their_end() {
    let dir = TestDir::new();
    dir.ok("process /proc/self/limits out -q");
    dir.ok("restore out back -q");
    assert!(String::from_utf8(dir.read("back")).unwrap().contains("Max open files"));
    let content = text(3_000_000, 1);
    dir.write("in", &content);
    for source in ["cat in | ", "mkfifo fifo; cat in > fifo & "] {
        let name = if source.contains("fifo") { "fifo" } else { "-" };
        let script = format!("{source} {} process {name} piped -q -f", env!("CARGO_BIN_EXE_pipeline"));
        let ran = dir.tool("bash", &["-c", &script], None).unwrap();
        assert!(ran.status.success(), "{script}: {}", ran.stderr);
        dir.ok("verify piped --against in -q");
    }
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let feeder = std::thread::spawn(move || theirs.write_all(&content));
    let stdin: std::os::fd::OwnedFd = ours.into();
    let status = dir.command(["process", "-", "socket", "-q"]).stdin(stdin).status().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(status.success());
    dir.ok("verify socket --against in -q");
}

#[test]
fn a_sparse_file_longer_than_4_gib_goes_both_ways() {
    let (dir, recipient) = TestDir::with_key();
    let len = share(300 << 20, (4u64 << 30) + 1);
    let file = File::create(dir.path("in")).unwrap();
    file.set_len(len).unwrap();
    file.write_all_at(b"the end", len - 7).unwrap();
    for flags in [String::new(), format!("-r {recipient}"), format!("--no-compress -r {recipient}")] {
        dir.ok(&format!("process in out -q -f --no-sync {flags}"));
        dir.ok("verify out --against in -q -i key");
        let range = format!("cat out --range {}.. -q -i key", len - 7);
        assert_eq!(dir.ok(&range).stdout, b"the end", "{flags}");
    }
}

#[test]
fn a_name_may_be_any_bytes_and_is_shown_escaped() {
    let dir = TestDir::new();
    let content = text(1000, 1);
    for (name, shown) in [
        (&b"new\nline"[..], r"'new\nline'"),
        (b"\xff\xfe", r"'\xff\xfe'"),
        (b"\x1b[31mred", r"'\u{1b}[31mred'"),
        (b"-dash", "'-dash'"),
        ("größe 文".as_bytes(), "'größe 文'"),
        (b"a b'c\"d", r#"'a b\'c"d'"#),
    ] {
        let name = OsStr::from_bytes(name);
        fs::write(dir.path(name), &content).unwrap();
        let run = |args: [&OsStr; 4]| dir.command(args).output().unwrap();
        let [process, restore, q, dashes] = ["process", "restore", "-q", "--"].map(OsStr::new);
        assert!(run([process, q, dashes, name]).status.success(), "{shown}");
        let mut packed = name.to_owned();
        packed.push(".zst");
        // The name exists already, and the message escapes it.
        let said = String::from_utf8(run([restore, q, dashes, &packed]).stderr).unwrap();
        assert!(said.contains(shown) && said.lines().count() == 2, "{said:?}");
        fs::remove_file(dir.path(name)).unwrap();
        assert!(run([restore, q, dashes, &packed]).status.success(), "{shown}");
        assert_eq!(fs::read(dir.path(name)).unwrap(), content);
        let said = String::from_utf8(run([process, q, dashes, OsStr::from_bytes(b"no\nsuch\xff")]).stderr).unwrap();
        assert!(said.contains(r"'no\nsuch\xff'") && said.lines().count() == 1, "{said:?}");
    }
}

#[test]
fn the_source_is_never_modified() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", &text(300_000, 1));
    dir.ok(&format!("process in sealed -q -r {recipient}"));
    let state = |name: &str| {
        let metadata = fs::metadata(dir.path(name)).unwrap();
        (dir.read(name), metadata.ino(), metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), metadata.nlink())
    };
    let before = (state("in"), state("sealed"));
    symlink("in", dir.path("link")).unwrap();
    for line in [
        "process link out -q".to_owned(),
        format!("process in out2 -q --verify -r {recipient}"),
        "restore sealed back -q -i key".to_owned(),
        "verify sealed -q -i key --against in".to_owned(),
        "cat sealed -q -i key --range 5..9".to_owned(),
        "inspect sealed -i key".to_owned(),
        format!("rekey sealed rekeyed -q -i key -r {recipient}"),
        "restore sealed saved --salvage -q -i key".to_owned(),
    ] {
        dir.ok(&line);
        assert!((state("in"), state("sealed")) == before, "{line}");
    }
}
