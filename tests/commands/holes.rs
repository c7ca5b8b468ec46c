//! Tests of sparse files: holes of an input are not read, and content of zeros becomes holes of an output.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Stdio;

use crate::support::{Need, TestDir, can_trace, finish, noise, skip};

/// Long enough for several chunks of 1 MiB, all of whose bytes but a few are zeros.
const LEN: usize = 16 << 20;

/// Where the file of [`sparse_dir`] has data: 10,000 bytes each, but for the last.
const DATA: [usize; 4] = [0, 1 << 20, (5 << 20) + 7, (13 << 20) - 4096];

/// Most bytes that the data of that file takes, in whole blocks, and what the loader and the detection of formats may read of it.
const DATA_LEN_MAX: u64 = 256 * 1024;

/// Makes a directory with a sparse file `in`, which begins with data and ends in a hole, and `dense`, a copy without holes. Returns `None`, and
/// records a skip, where files have no holes.
fn sparse_dir() -> Option<TestDir> {
    let dir = TestDir::new();
    let file = File::create(dir.path("in")).unwrap();
    file.set_len(LEN as u64).unwrap();
    for (seed, at) in DATA.into_iter().enumerate() {
        file.write_all_at(&noise(10_000, seed as u64), at as u64).unwrap();
    }
    fs::write(dir.path("dense"), dir.read("in")).unwrap();
    if disk_bytes(&dir.path("in")) < DATA_LEN_MAX && disk_bytes(&dir.path("dense")) >= LEN as u64 {
        return Some(dir);
    }
    skip(Need::Right("holes"));
    None
}

fn disk_bytes(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// Bytes that a run of `line` reads of the file `name`, with that file as standard input if `is_stdin`. The run must succeed.
fn bytes_read_of(dir: &TestDir, name: &str, line: &str, is_stdin: bool) -> u64 {
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-qq", "-o", "trace", "-e", "trace=read,readv,pread64,preadv", "-P"]).arg(dir.path(name));
    command.arg(env!("CARGO_BIN_EXE_pipeline")).args(line.split_whitespace()).current_dir(dir.root());
    command.env("XDG_CONFIG_HOME", dir.path("config")).env("XDG_STATE_HOME", dir.path("state"));
    command.stdin(if is_stdin { File::open(dir.path(name)).unwrap().into() } else { Stdio::null() });
    let ran = finish(command.output().unwrap());
    assert!(ran.status.success(), "{line}: {ran}");
    let trace = String::from_utf8(dir.read("trace")).unwrap();
    let len_of = |call: &str| call.rsplit_once(" = ")?.1.split(' ').next()?.parse::<u64>().ok();
    trace.lines().filter_map(len_of).sum()
}

#[test]
fn holes_of_an_input_are_not_read_and_the_output_is_that_of_a_dense_file() {
    let (Some(dir), true) = (sparse_dir(), can_trace()) else { return };
    dir.keygen("-o key");
    let recipient = String::from_utf8(dir.ok("keygen -y key").stdout).unwrap();
    dir.write("to", recipient.as_bytes());
    for (flags, is_stdin) in [
        ("", false),
        ("", true),
        ("--workers 1 --channel-depth 1", false),
        ("--verify", false),
        ("--engine mutex", false),
        ("-R to", false),
        ("-R to --no-compress", false),
    ] {
        let name = if is_stdin { "-" } else { "in" };
        let line = |name: &str, out: &str| format!("process {name} {out} -qf --chunk-size 1M {flags}");
        let read_bytes = bytes_read_of(&dir, "in", &line(name, "out"), is_stdin);
        assert!((40_000..DATA_LEN_MAX).contains(&read_bytes), "{flags}: {read_bytes} bytes were read");
        if flags.contains("-R") {
            dir.ok("restore out back -qf -i key");
            assert!(dir.read("back") == dir.read("dense"), "{flags}");
        } else {
            dir.ok(&line("dense", "out2"));
            assert!(dir.read("out") == dir.read("out2"), "{flags}");
        }
    }
    let read_bytes = bytes_read_of(&dir, "in", "verify out -q -i key --against in", false);
    assert!((40_000..DATA_LEN_MAX).contains(&read_bytes), "verify read {read_bytes} bytes");
}

#[test]
fn holes_in_a_tree_are_not_read_nor_when_content_tells_what_has_changed() {
    let (Some(dir), true) = (sparse_dir(), can_trace()) else { return };
    fs::create_dir(dir.path("tree")).unwrap();
    fs::rename(dir.path("in"), dir.path("tree/in")).unwrap();
    dir.ok("process dense dense.zst -q");
    let read_bytes = bytes_read_of(&dir, "tree/in", "process tree out -q", false);
    assert!((40_000..DATA_LEN_MAX).contains(&read_bytes), "{read_bytes} bytes were read");
    assert!(dir.read("out/in.zst") == dir.read("dense.zst"));
    // A new time, and the same content.
    File::options().write(true).open(dir.path("tree/in")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let read_bytes = bytes_read_of(&dir, "tree/in", "process tree out -q --checksum", false);
    assert!((40_000..DATA_LEN_MAX).contains(&read_bytes), "{read_bytes} bytes were read");
}

/// Other processes may share the offset of standard input.
#[test]
fn standard_input_is_read_from_its_offset_and_left_at_its_end() {
    let Some(dir) = sparse_dir() else { return };
    let content = dir.read("dense");
    for start in [0, 5000, 3 << 20, (5 << 20) + 8, LEN - 5000, LEN, LEN + 1] {
        let mut file = File::open(dir.path("in")).unwrap();
        file.seek(SeekFrom::Start(start as u64)).unwrap();
        let mut command = dir.command(["process", "-", "out", "-qf"]);
        assert!(command.stdin(file.try_clone().unwrap()).status().unwrap().success());
        assert_eq!(file.stream_position().unwrap(), LEN.max(start) as u64, "from {start}");
        assert!(dir.ok("restore out -").stdout == content[start.min(LEN)..], "from {start}");
    }
}
