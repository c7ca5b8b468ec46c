//! Tests of access: an output lets in nobody whom its source, or the file that it replaces, kept out; and what `--preserve` keeps.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use rustix::fs::XattrFlags;

use crate::support::child::{Running, bytes_read, end_of, signal, wait_until};
use crate::support::{Need, Ran, TestDir, finish, noise, skip};

/// The owner of the source, and its group.
const OWNER: (u32, u32) = (3001, 4001);

/// The group of the destination's directory, if that passes on its group.
const OTHER_GROUP: u32 = 4002;

/// A user that ACLs name.
const NAMED: u32 = 3002;

/// Users and their groups: one that ACLs name, one in each group, one in root's, and one in none.
const PEOPLE: [(u32, u32); 5] = [(NAMED, 5000), (3003, OWNER.1), (3004, OTHER_GROUP), (3005, 0), (3006, 5001)];

const ACL: &str = "system.posix_acl_access";
const DEFAULT_ACL: &str = "system.posix_acl_default";

/// An ACL of (tag, permission bits, user or group) in the kernel's form (linux/posix_acl_xattr.h).
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let entry =
        |(tag, bits, id): &(u16, u16, u32)| [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat();
    [2u32.to_le_bytes().to_vec(), entries.iter().flat_map(entry).collect()].concat()
}

/// An ACL that gives the owner 6, and the bits of the user that it names, of the owning group, of the mask, and of others.
fn acl_of([named, group, mask, others]: [u16; 4]) -> Vec<u8> {
    const NONE: u32 = u32::MAX;
    acl(&[(1, 6, NONE), (2, named, NAMED), (4, group, NONE), (0x10, mask, NONE), (0x20, others, NONE)])
}

fn set(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1000];
    let len = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

/// What each of [`PEOPLE`] may do with the files `names`: a word of `r` and `w` for each.
fn rights(dir: &TestDir, names: &[&str]) -> Vec<Vec<String>> {
    let looks = names.iter().map(|name| format!("x=; test -r {name} && x=r; test -w {name} && x=${{x}}w; echo .$x;"));
    let script: String = looks.collect();
    let ask = |(user, group): &(u32, u32)| {
        let (user, group) = (format!("--reuid={user}"), format!("--regid={group}"));
        let ran = dir.tool("setpriv", &[&user, &group, "--clear-groups", "sh", "-c", &script], None).unwrap();
        String::from_utf8(ran.stdout).unwrap().lines().map(|line| line[1..].to_owned()).collect()
    };
    PEOPLE.iter().map(ask).collect()
}

/// Asserts that nobody may do with `out` what not all of `befores` let them do.
#[track_caller]
fn assert_no_more(dir: &TestDir, what: &str, befores: &[&str], out: &str) {
    let names: Vec<&str> = befores.iter().copied().chain([out]).collect();
    for (person, rights) in PEOPLE.iter().zip(rights(dir, &names)) {
        let (out, befores) = rights.split_last().unwrap();
        let is_less = out.chars().all(|right| befores.iter().all(|before| before.contains(right)));
        assert!(is_less, "{what}: {person:?} may {out:?}, and before {befores:?}");
    }
}

/// Makes a directory that every user may enter, if this is root.
fn public_dir() -> Option<TestDir> {
    if !rustix::process::geteuid().is_root() {
        skip(Need::Right("root"));
        return None;
    }
    let (dir, recipient) = TestDir::with_key();
    dir.write("to", recipient.as_bytes());
    for name in ["key", "to"] {
        fs::set_permissions(dir.path(name), Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(dir.root(), Permissions::from_mode(0o755)).unwrap();
    Some(dir)
}

/// Runs the binary as the source's owner.
fn run_as_owner(dir: &TestDir, line: &str) -> Ran {
    let command = dir.command::<&str>([]);
    let program = command.get_program().to_owned();
    let mut setpriv = std::process::Command::new("setpriv");
    setpriv.args([format!("--reuid={}", OWNER.0), format!("--regid={}", OWNER.1), "--clear-groups".to_owned()]);
    setpriv.arg(program).args(line.split_whitespace()).current_dir(dir.root());
    finish(setpriv.stdin(std::process::Stdio::null()).output().unwrap())
}

type MakePlace<'a> = (&'a str, &'a dyn Fn(&Path));

#[test]
fn an_output_lets_in_nobody_whom_its_source_kept_out() {
    let Some(dir) = public_dir() else { return };
    let acls = [[0, 4, 4, 4], [4, 0, 4, 0], [6, 4, 6, 0], [6, 6, 4, 4], [0, 0, 4, 4]];
    let sources: Vec<(u32, Option<[u16; 4]>)> = [0o600, 0o640, 0o660, 0o604, 0o644, 0o606, 0o666, 0o440]
        .into_iter()
        .map(|mode| (mode, None))
        .chain(acls.map(|bits| (0o600, Some(bits))))
        .collect();
    let places: [MakePlace<'_>; 3] = [
        ("plain", &|_| ()),
        ("setgid", &|at| {
            chown(at, None, Some(OTHER_GROUP)).unwrap();
            fs::set_permissions(at, Permissions::from_mode(0o2777)).unwrap();
        }),
        ("with a default ACL", &|at| {
            set(at, DEFAULT_ACL, &acl_of([6, 6, 6, 6]));
            fs::set_permissions(at, Permissions::from_mode(0o777)).unwrap();
        }),
    ];
    dir.write("list", b"source\n");
    for (place, make) in places {
        for (mode, bits) in &sources {
            let what = format!("{place}, {mode:o} {bits:?}");
            dir.write("source", &noise(100, 1));
            chown(dir.path("source"), Some(OWNER.0), Some(OWNER.1)).unwrap();
            fs::set_permissions(dir.path("source"), Permissions::from_mode(*mode)).unwrap();
            if let Some(bits) = bits {
                set(&dir.path("source"), ACL, &acl_of(*bits));
            }
            fs::create_dir(dir.path("at")).unwrap();
            fs::set_permissions(dir.path("at"), Permissions::from_mode(0o777)).unwrap();
            make(&dir.path("at"));
            dir.ok("process source at/of-root -q");
            assert_no_more(&dir, &what, &["source"], "at/of-root");
            dir.ok("process source at/kept -q --preserve");
            assert_no_more(&dir, &format!("{what}, kept"), &["source"], "at/kept");
            dir.ok("restore at/kept at/back -q");
            assert_no_more(&dir, &format!("{what}, restored"), &["source"], "at/back");
            let ran = run_as_owner(&dir, "process source at/of-owner -q");
            assert!(ran.status.success(), "{what}: {ran}");
            assert_no_more(&dir, &what, &["source"], "at/of-owner");
            dir.ok("process --files-from list -o tree -q");
            assert_no_more(&dir, &format!("{what}, tree"), &["source"], "tree/source.zst");
            for name in ["at", "tree"] {
                fs::remove_dir_all(dir.path(name)).unwrap();
            }
            fs::remove_file(dir.path("source")).unwrap();
        }
    }
}

#[test]
fn an_output_lets_in_nobody_whom_the_file_that_it_replaces_kept_out() {
    let Some(dir) = public_dir() else { return };
    dir.write("source", &noise(100, 1));
    chown(dir.path("source"), Some(OWNER.0), Some(OWNER.1)).unwrap();
    fs::set_permissions(dir.path("source"), Permissions::from_mode(0o666)).unwrap();
    for (mode, bits) in [
        (0o600, None),
        (0o640, None),
        (0o604, None),
        (0o644, None),
        (0o600, Some([0, 4, 4, 4])),
        (0o600, Some([4, 0, 4, 0])),
    ] {
        for flags in ["", "--preserve"] {
            let replace = |name: &str| {
                dir.write(name, b"old");
                chown(dir.path(name), None, Some(OTHER_GROUP)).unwrap();
                fs::set_permissions(dir.path(name), Permissions::from_mode(mode)).unwrap();
                if let Some(bits) = bits {
                    set(&dir.path(name), ACL, &acl_of(bits));
                }
            };
            replace("out");
            replace("before");
            let ran = dir.run(&format!("process source out -f -q {flags}"));
            assert!(matches!(ran.status.code(), Some(0 | 3)), "{ran}");
            assert_no_more(&dir, &format!("{mode:o} {bits:?} {flags}"), &["source", "before"], "out");
        }
    }
    // Of a stream there is no mode: the old one stays.
    fs::remove_file(dir.path("out")).unwrap();
    dir.write("out", b"old");
    fs::set_permissions(dir.path("out"), Permissions::from_mode(0o640)).unwrap();
    assert!(dir.run_with("process - out -f -q", b"content").status.success());
    assert_eq!(fs::metadata(dir.path("out")).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn preserve_keeps_owner_group_mode_times_acl_and_attributes() {
    let Some(dir) = public_dir() else { return };
    let source = dir.write("source", &noise(100, 1));
    chown(&source, Some(OWNER.0), Some(OWNER.1)).unwrap();
    // A setuid bit is never put on an output.
    fs::set_permissions(&source, Permissions::from_mode(0o6750)).unwrap();
    set(&source, ACL, &acl_of([4, 4, 4, 0]));
    for (name, value) in [("user.note", &b"kept"[..]), ("trusted.note", b"of root"), ("user.long", &[7; 2000])] {
        set(&source, name, value);
    }
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(&source).unwrap().set_modified(time).unwrap();
    let same = |name: &str, what: &str| {
        let (source, out) = (fs::metadata(&source).unwrap(), fs::metadata(dir.path(name)).unwrap());
        assert_eq!((out.uid(), out.gid(), out.mode() & 0o7777), (OWNER.0, OWNER.1, source.mode() & 0o777), "{what}");
        assert_eq!(out.modified().unwrap(), time, "{what}");
        for attribute in [ACL, "user.note", "trusted.note"] {
            assert_eq!(get(&dir.path(name), attribute), get(&dir.path("source"), attribute), "{what}: {attribute}");
        }
        assert!(rustix::fs::getxattr(dir.path(name), "user.long", &mut [0; 2000][..]).is_ok(), "{what}");
    };
    dir.ok("process source sealed -q --preserve -R to");
    same("sealed", "processed");
    dir.ok("restore sealed back -q --preserve -i key");
    same("back", "restored");
    dir.ok("restore sealed saved --salvage -q --preserve -i key");
    same("saved", "salvaged");
    let recipient = dir.keygen("-o key2");
    dir.ok(&format!("rekey sealed rekeyed -q --preserve -i key -r {recipient}"));
    same("rekeyed", "rekeyed");
    dir.ok(&format!("rekey sealed --in-place -q -i key -r {recipient}"));
    same("sealed", "rekeyed in place");
    fs::create_dir(dir.path("tree")).unwrap();
    fs::rename(dir.path("rekeyed"), dir.path("tree/file.age")).unwrap();
    dir.ok(&format!("rekey tree --in-place -q -i key2 -r {recipient}"));
    same("tree/file.age", "rekeyed in place, in a tree");
}

#[test]
fn what_could_not_be_kept_is_named_with_exit_3() {
    let Some(dir) = public_dir() else { return };
    fs::create_dir(dir.path("at")).unwrap();
    fs::set_permissions(dir.path("at"), Permissions::from_mode(0o777)).unwrap();
    let source = dir.write("at/source", &noise(100, 1));
    fs::set_permissions(&source, Permissions::from_mode(0o644)).unwrap();
    set(&source, ACL, &acl_of([4, 4, 4, 4]));
    let ran = run_as_owner(&dir, "process at/source at/out -q --preserve --rm");
    let warnings: Vec<&str> = ran.stderr.lines().collect();
    assert!(ran.status.code() == Some(3) && warnings.len() == 1, "{ran}");
    for what in ["owner", "group", "access control list"] {
        assert!(warnings[0].contains(what), "{what}: {ran}");
    }
    assert!(source.exists(), "--rm deletes nothing after a warning");
    // What the source does not have is not missed.
    dir.write("at/plain", &noise(100, 1));
    fs::set_permissions(dir.path("at/plain"), Permissions::from_mode(0o644)).unwrap();
    let ran = run_as_owner(&dir, "process at/plain at/out2 -q --preserve");
    assert!(ran.status.code() == Some(3) && ran.stderr.contains("owner") && !ran.stderr.contains("control"), "{ran}");
    dir.fails("process at tree --preserve", 2);
    for line in ["process at/source - --preserve", "process - out --preserve", "restore at/out - --preserve"] {
        dir.fails_as(line, 2, "usage");
    }
}

/// Also of a run that is stopped: nobody looks into a tree whose source he cannot enter.
#[test]
fn a_tree_lets_in_nobody_while_it_is_made() {
    let dir = TestDir::new();
    for name in ["tree/first", "tree/sub/second", "tree/third"] {
        dir.write(name, &noise(1_000_000, 1));
    }
    for name in ["tree", "tree/sub"] {
        fs::set_permissions(dir.path(name), Permissions::from_mode(0o700)).unwrap();
    }
    // One that was there before is narrowed before anything is written there.
    fs::create_dir_all(dir.path("before/sub")).unwrap();
    let mode = |name: &str| fs::metadata(dir.path(name)).map_or(0, |metadata| metadata.mode() & 0o777);
    for (line, closed) in [
        ("process tree out -q --limit-rate 1M -j 1", &["out", "out/sub"][..]),
        ("process tree before -q --limit-rate 1M -j 1", &["before/sub"]),
    ] {
        let mut child = Running(dir.command(line.split_whitespace()).spawn().unwrap());
        wait_until("it is at work", || bytes_read(&child) > 300_000);
        closed.iter().for_each(|name| assert_eq!(mode(name) & 0o077, 0, "{line}: {name} {:o}", mode(name)));
        signal(&child, rustix::process::Signal::TERM);
        assert_eq!(end_of(&mut child).1, Some(143), "{line}");
        closed.iter().for_each(|name| assert_eq!(mode(name) & 0o077, 0, "{line}, stopped: {name} {:o}", mode(name)));
    }
    dir.ok("process tree out -q");
    assert_eq!((mode("out"), mode("out/sub")), (0o700, 0o700));
    // Several inputs mirror no directory: theirs is one like any other.
    dir.ok("process tree/first tree/third -o several -q");
    assert_eq!(mode("several"), 0o777 & !umask());
}

fn umask() -> u32 {
    let made = tempfile::tempdir().unwrap();
    let path = made.path().join("made");
    fs::create_dir(&path).unwrap();
    0o777 & !(fs::metadata(path).unwrap().mode() & 0o777)
}
