//! Tests of sparse files: holes of an input are not read, and content of zeros becomes holes of an output.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Stdio;

use crate::support::mount::Mount;
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

/// Contents with zeros in different places, by name.
fn contents() -> Vec<(&'static str, Vec<u8>)> {
    let (data, zeros) = (noise(70_000, 1), vec![0; 2 << 20]);
    let mut one_byte = vec![0; 3 << 20];
    one_byte[(1 << 20) + 77] = 1;
    vec![
        ("nothing", Vec::new()),
        ("a few zeros", vec![0; 100]),
        ("zeros", zeros.clone()),
        ("zeros at the end", [&data[..], &zeros].concat()),
        ("zeros in front", [&zeros[..], &data].concat()),
        ("zeros between", [&data[..], &zeros, &data].concat()),
        ("one byte", one_byte),
        ("no zeros", data.repeat(20)),
    ]
}

/// Most bytes on the disk for `content` with holes: its blocks that are not all zeros, and the file system's own.
fn disk_bytes_max(content: &[u8]) -> u64 {
    4096 * content.chunks(4096).filter(|block| block.iter().any(|byte| *byte != 0)).count() as u64 + 16 * 1024
}

/// Asserts that the file `name` holds `content` and has holes where that is zeros, or none.
fn assert_written(dir: &TestDir, name: &str, content: &[u8], has_holes: bool, what: &str) {
    assert!(dir.read(name) == content, "{what}: {name} is not what went in");
    let (bytes, max) = (disk_bytes(&dir.path(name)), disk_bytes_max(content));
    match has_holes {
        true => assert!(bytes <= max, "{what}: {bytes} bytes on the disk, and {max} would do"),
        false => assert!(bytes >= content.len() as u64 / 4096 * 4096, "{what}: {bytes} bytes on the disk are a hole"),
    }
}

#[test]
fn a_restored_file_has_holes_where_its_content_is_zeros() {
    let Some(dir) = sparse_dir() else { return };
    let recipient = dir.keygen("-o key");
    for (what, content) in contents() {
        dir.write("plain", &content);
        let assert_restored = |layers: &str, flags: &str, has_holes| {
            dir.ok(&format!("restore z back -qf -i key {flags}"));
            assert_written(&dir, "back", &content, has_holes, &format!("{what}, {layers}, {flags}"));
        };
        for layers in [format!("-r {recipient}"), format!("-r {recipient} --no-compress"), String::new()] {
            dir.ok(&format!("process plain z -qf --chunk-size 128K {layers}"));
            assert_restored(&layers, "", true);
            assert_restored(&layers, "--salvage", true);
        }
        for flags in ["--sparse always", "--workers 1 --channel-depth 1 --sparse auto", "--engine mutex"] {
            assert_restored("", flags, true);
        }
        for flags in ["--sparse never", "--sparse never --salvage"] {
            assert_restored("", flags, false);
        }
    }
}

#[test]
fn a_restored_tree_has_holes_and_so_does_one_that_is_salvaged() {
    let Some(dir) = sparse_dir() else { return };
    for (what, content) in contents() {
        dir.write(&format!("tree/{what}"), &content);
    }
    fs::rename(dir.path("in"), dir.path("tree/large")).unwrap();
    dir.ok("process tree out -q");
    for (flags, has_holes) in [("", true), ("--salvage", true), ("--sparse never", false)] {
        let to = if flags.is_empty() { "plain" } else { flags.trim_start_matches('-') };
        dir.ok(&format!("restore out {} -q {flags}", to.replace(' ', "-")));
        for (what, content) in contents().into_iter().chain([("large", dir.read("dense"))]) {
            let name = format!("{}/{what}", to.replace(' ', "-"));
            assert_written(&dir, &name, &content, has_holes, flags);
        }
    }
}

/// The frames of other tools are of any length, so that blocks of the output lie in two of them; and too large ones come in pieces.
#[test]
fn the_content_of_foreign_frames_gets_holes_too() {
    let Some(dir) = sparse_dir() else { return };
    let content = dir.read("dense");
    let in_frames = |len| content.chunks(len).flat_map(|part| zstd::encode_all(part, 1).unwrap()).collect::<Vec<u8>>();
    for frame_len in [5_000, 777_777, LEN] {
        dir.write("z", &in_frames(frame_len));
        for flags in ["", "--workers 1 --channel-depth 1", "--engine mutex"] {
            dir.ok(&format!("restore z back -qf {flags}"));
            assert_written(&dir, "back", &content, true, &format!("frames of {frame_len} bytes, {flags}"));
        }
    }
}

#[test]
fn zeros_in_the_place_of_lost_content_are_a_hole() {
    let Some(dir) = sparse_dir() else { return };
    let content = noise(4 << 20, 1);
    dir.write("plain", &content);
    dir.ok("process plain z -q --chunk-size 1M");
    let mut damaged = dir.read("z");
    damaged[(1 << 20) + 500_000] ^= 1;
    dir.write("z", &damaged);
    assert_eq!(dir.run("restore z back -q --salvage").status.code(), Some(4));
    let mut saved = content;
    saved[1 << 20..2 << 20].fill(0);
    assert_written(&dir, "back", &saved, true, "salvage");
}

#[test]
fn a_setting_says_when_there_are_holes() {
    let Some(dir) = sparse_dir() else { return };
    let content = dir.read("dense");
    dir.ok("process in z -q");
    let restore = |flags: &str, value: &str| {
        let mut command = dir.command(format!("restore z back -qf {flags}").split_whitespace());
        assert!(command.env("PIPELINE_SPARSE", value).status().unwrap().success());
    };
    restore("", "never");
    assert_written(&dir, "back", &content, false, "PIPELINE_SPARSE");
    restore("--sparse auto", "never");
    assert_written(&dir, "back", &content, true, "a flag wins");
    dir.write("config/pipeline/config.toml", b"sparse = 'never'");
    dir.ok("restore z back -qf");
    assert_written(&dir, "back", &content, false, "the configuration file");
    dir.fails("restore z back -f --sparse sometimes", 2);
    dir.fails("process in out --sparse never", 2);
}

/// Standard output in its different forms; what follows the run goes where the run has ended.
#[test]
fn standard_output_has_holes_only_where_asked_for_and_never_in_place_of_what_is_there() {
    let Some(dir) = sparse_dir() else { return };
    let content = dir.read("dense");
    dir.ok("process in z -q");
    let old = noise(100_001, 9);
    let mut options = File::options();
    let writing = options.read(true).write(true).create(true).clone();
    let appending = File::options().append(true).create(true).clone();
    // Flags, the shell's redirection, the content before, the offset, and whether holes come out.
    for (flags, options, there, start, has_holes) in [
        ("", &writing, 0, 0, false),
        ("--sparse never", &writing, 0, 0, false),
        ("--sparse always", &writing, 0, 0, true),
        ("--sparse always", &writing, old.len(), old.len(), true),
        ("--sparse always", &writing, old.len(), 0, false),
        ("--sparse always", &writing, old.len(), old.len() - 1, false),
        ("--sparse always", &appending, old.len(), old.len(), false),
    ] {
        let what = format!("{flags:?}, {there} bytes there, from {start}");
        dir.write("back", &old[..there]);
        let mut back = options.open(dir.path("back")).unwrap();
        back.seek(SeekFrom::Start(start as u64)).unwrap();
        let mut command = dir.command(format!("restore z - -q {flags}").split_whitespace());
        assert!(command.stdout(back.try_clone().unwrap()).status().unwrap().success(), "{what}");
        back.write_all(b"behind").unwrap();
        assert_written(&dir, "back", &[&old[..start], &content, b"behind"].concat(), has_holes, &what);
    }
    // What is no regular file gets every byte.
    assert!(dir.ok("restore z - -q --sparse always").stdout == content);
    dir.ok("restore z /dev/null -qf --sparse always");
}

#[test]
fn holes_need_no_space_and_a_limit_on_the_length_of_a_file_counts_them() {
    let Some(dir) = sparse_dir() else { return };
    dir.write("plain", &[noise(100_000, 1), vec![0; 3 << 20]].concat());
    dir.ok("process plain z -q");
    let script = format!("ulimit -f 1000; exec {} restore z back --stats json", env!("CARGO_BIN_EXE_pipeline"));
    let Some(ran) = dir.tool("bash", &["-c", &script], None) else { return };
    assert!(ran.is_failure(1, "no_space"), "{ran}");
    assert!(!dir.names().iter().any(|name| name.contains("back") || name.starts_with(".pipeline-")));
    let Some(_disk) = Mount::tmpfs(dir.path("at"), "size=1m") else { return };
    dir.fails_as("restore z at/back --sparse never", 1, "no_space");
    dir.ok("restore z at/back -q");
    assert!(dir.read("at/back") == dir.read("plain"));
}
