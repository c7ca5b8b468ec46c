//! Tests that settings bound memory, not the input or a number in it: every run has a control group of 64 MiB.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::child::{Running, wait_until_waiting};
use crate::support::{Need, Ran, TestDir, finish, noise, share, skip, text};

const LIMIT_BYTES: u64 = 64 << 20;
const GIB: u64 = 1 << 30;

/// How many more bytes the pages of the unoptimised test binary take. `tests/slow/gigabyte.sh` tests the release build.
const UNOPTIMISED_BYTES: u64 = 4 << 20;

/// A control group that limits memory to [`LIMIT_BYTES`], page cache included, plus [`UNOPTIMISED_BYTES`]. Removed on
/// drop.
struct Group(PathBuf);

impl Group {
    /// Returns `None`, and records a skip, where no group can be made.
    fn new(name: &str) -> Option<Group> {
        let name = format!("pipeline-{name}-{}", std::process::id());
        let (v1, v2) = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup");
        for (root, file) in [(v1, "memory.limit_in_bytes"), (v2, "memory.max")] {
            let folder = PathBuf::from(root).join(&name);
            if fs::create_dir(&folder).is_ok() {
                let group = Group(folder);
                let limit_bytes = LIMIT_BYTES + if cfg!(debug_assertions) { UNOPTIMISED_BYTES } else { 0 };
                if fs::write(group.0.join(file), limit_bytes.to_string()).is_ok() {
                    let _ = fs::write(group.0.join("memory.swap.max"), "0");
                    return Some(group);
                }
            }
        }
        skip(Need::Right("cgroup"));
        None
    }

    /// A command for the binary with the words of `line`, in this group.
    fn command(&self, dir: &TestDir, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$0" && exec "$@""#]);
        command.arg(self.0.join("cgroup.procs")).arg(env!("CARGO_BIN_EXE_pipeline")).args(line.split_whitespace());
        command.current_dir(dir.root()).stdin(Stdio::null());
        command
    }

    fn run(&self, dir: &TestDir, line: &str) -> Ran {
        let output = self.command(dir, line).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ran { status: output.status, stdout: output.stdout, stderr }
    }

    fn ok(&self, dir: &TestDir, line: &str) {
        let ran = self.run(dir, line);
        assert!(ran.status.success(), "{line}: {:?} {}", ran.status, ran.stderr);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // All processes of the group have ended.
        let _ = fs::remove_dir(&self.0);
    }
}

fn sparse(dir: &TestDir, name: &str, bytes: u64) {
    fs::File::create(dir.path(name)).unwrap().set_len(bytes).unwrap();
}

#[test]
fn a_huge_sparse_input_goes_both_ways_in_64_mib() {
    let Some(group) = Group::new("sparse") else { return };
    let (dir, recipient) = TestDir::with_key();
    sparse(&dir, "in", share(3 * GIB, 100 * GIB));
    group.ok(&dir, "process in out -w 2 -q --no-sync");
    group.ok(&dir, &format!("process in sealed -w 2 -q --no-sync -r {recipient}"));
    group.ok(&dir, "verify out -w 2 -q");
    group.ok(&dir, "restore sealed /dev/null -f -w 2 -q -i key");
    group.ok(&dir, "cat sealed --range 2G..+64K -q -i key");
    group.ok(&dir, "inspect sealed -i key");
    group.ok(&dir, "restore out /dev/null --salvage -q -f");
}

#[test]
fn what_compresses_and_what_does_not_goes_both_ways_in_64_mib() {
    let Some(group) = Group::new("both") else { return };
    let (dir, recipient) = TestDir::with_key();
    for (name, content) in [("noise", noise(96 << 20, 1)), ("text", text(96 << 20, 2))] {
        dir.write(name, &content);
        drop(content);
        for flags in [
            "-w 2".to_owned(),
            "-w 2 --verify".to_owned(),
            format!("-w 2 -r {recipient}"),
            format!("-w 2 -r {recipient} -L 6 --verify"),
            format!("-w 2 -a -r {recipient}"),
            format!("-w 2 --no-compress -r {recipient}"),
        ] {
            group.ok(&dir, &format!("process {name} out -q -f --no-sync {flags}"));
            group.ok(&dir, "restore out back -q -f --no-sync -w 2 -i key");
            group.ok(&dir, &format!("verify out -q -w 2 -i key --against {name}"));
            if flags.contains("-r ") {
                group.ok(&dir, &format!("rekey out rekeyed -q -f --no-sync -i key -r {recipient}"));
            }
        }
    }
}

/// A run whose output nobody reads has the most data in flight.
#[test]
fn a_reader_that_waits_makes_nothing_grow_beyond_64_mib() {
    let Some(group) = Group::new("waiting") else { return };
    let (dir, recipient) = TestDir::with_key();
    for (name, content) in [("noise", noise(96 << 20, 3)), ("text", text(96 << 20, 4))] {
        dir.write(name, &content);
        for layer in [String::new(), format!("-r {recipient}")] {
            dir.ok(&format!("process {name} {name}.done -f -q --no-sync {layer}"));
            let restore = format!("restore {name}.done - -w 2 -q -i key");
            for line in [format!("process {name} - -w 2 -q {layer}"), restore] {
                let mut command = group.command(&dir, &line);
                let mut child = Running(command.stdout(Stdio::piped()).spawn().unwrap());
                wait_until_waiting(&child);
                let mut output = child.stdout.take().unwrap();
                let taken_bytes = std::io::copy(&mut output, &mut std::io::sink()).unwrap();
                assert!(child.wait().unwrap().success() && taken_bytes > 10 << 20, "{line}");
            }
        }
    }
}

#[test]
fn a_bomb_is_decoded_in_64_mib() {
    let Some(group) = Group::new("bomb") else { return };
    let dir = TestDir::new();
    sparse(&dir, "in", share(2 * GIB, 8 * GIB));
    // One frame, as stock zstd writes it.
    let Some(ran) = dir.tool("zstd", &["-q", "-1", "--long=23", "in", "-o", "bomb"], None) else { return };
    assert!(ran.status.success(), "{}", ran.stderr);
    assert!(fs::metadata(dir.path("bomb")).unwrap().len() < 1 << 20);
    group.ok(&dir, "verify bomb --foreign -w 2 -q");
    group.ok(&dir, "restore bomb /dev/null -f -w 2 -q");
    group.ok(&dir, "cat bomb --range 1G..+1 -q");
    group.ok(&dir, "inspect bomb");
}

#[test]
fn hostile_numbers_are_refused_in_64_mib() {
    let Some(group) = Group::new("hostile") else { return };
    let dir = TestDir::new();
    let frame_with = |descriptor: u8, fields: &[u8]| [&[0x28, 0xB5, 0x2F, 0xFD, descriptor][..], fields].concat();
    let table = |count: u32| {
        let footer = [&count.to_le_bytes()[..], &[0x80], &0x8F92_EAB1u32.to_le_bytes()].concat();
        [&0x184D_2A5Eu32.to_le_bytes()[..], &count.wrapping_mul(12).wrapping_add(9).to_le_bytes(), &footer].concat()
    };
    let valid = {
        dir.write("x", b"content");
        dir.ok("process x - -q").stdout
    };
    let cases: [(&str, Vec<u8>, i32); 8] = [
        // Window_Descriptor with exponent 31 - 10 and mantissa 0: 2 GiB, more than the accepted 128 MiB.
        ("a window of 2 GiB", frame_with(0x00, &[21 << 3, 1, 0, 0]), 1),
        ("the largest window there is", frame_with(0x00, &[0xFF, 1, 0, 0]), 1),
        // A single segment of 2^64 - 1 bytes: its window has the same size.
        ("a content of 16 EiB", frame_with(0xE0, &[0xFF; 8]), 1),
        // The blocks hold less than the declared content: one raw block of one byte.
        ("a declared content of 1 GiB", frame_with(0x80, &[0x58, 0, 0, 0, 0x40, 9, 0, 0, b'x']), 4),
        ("a table of 4 G entries", [&valid[..], &table(u32::MAX)].concat(), 4),
        ("a table of 300 M entries", [&valid[..], &table(300_000_000)].concat(), 4),
        // Cut after the header of a skippable frame that claims 4 GiB.
        ("a skippable frame of 4 GiB", [&valid[..], &[0x50, 0x2A, 0x4D, 0x18, 0xFF, 0xFF, 0xFF, 0xFF]].concat(), 4),
        ("half a header", frame_with(0xE0, &[0xFF; 3]), 4),
    ];
    for (what, bytes, code) in cases {
        dir.write("hostile", &bytes);
        for line in
            ["restore hostile out -q", "verify hostile -q", "cat hostile -q", "restore hostile out --salvage -q"]
        {
            let ran = group.run(&dir, line);
            let is_salvage = line.ends_with("--salvage -q");
            let is_expected =
                ran.status.code() == Some(code) || (is_salvage && matches!(ran.status.code(), Some(0..=4)));
            let is_table_only = what.starts_with("a table") && !line.starts_with("verify");
            assert!(is_expected || is_table_only, "{what}, {line}: {:?} {}", ran.status, ran.stderr);
            assert!(ran.status.code().is_some(), "{what}, {line}: died of a signal");
            let _ = fs::remove_file(dir.path("out"));
        }
        let ran = group.run(&dir, "inspect hostile");
        assert!(ran.status.code().is_some(), "{what}: inspect died of a signal");
    }
    // Many skippable and empty frames: memory does not grow with their number.
    let skippable = [&0x184D_2A51u32.to_le_bytes()[..], &[0; 4]].concat();
    dir.write("hostile", &[&valid[..], &skippable.repeat(2_000_000)].concat());
    group.ok(&dir, "verify hostile --foreign -q");
    let empty = frame_with(0x20, &[0, 1, 0, 0]);
    dir.write("hostile", &empty.repeat(1_000_000));
    group.ok(&dir, "verify hostile --foreign -q");
    group.ok(&dir, "inspect hostile");
}

/// A file that claims `count` frames of 8 bytes each. All are holes, and so is the table if there are no `entries`.
fn claim(dir: &TestDir, count: u32, entries: bool) {
    let file = fs::File::create(dir.path("claim")).unwrap();
    let (frames_bytes, entries_bytes) = (8 * u64::from(count), 12 * count);
    // One frame without content.
    file.write_all_at(&[0x28, 0xB5, 0x2F, 0xFD, 0x20, 0, 1, 0, 0], 0).unwrap();
    let header = [0x184D_2A5E_u32.to_le_bytes(), (entries_bytes + 9).to_le_bytes()].concat();
    file.write_all_at(&header, frames_bytes).unwrap();
    if entries {
        let entry = [8_u32, 0, 0].map(u32::to_le_bytes).concat();
        file.write_all_at(&entry.repeat(count as usize), frames_bytes + 8).unwrap();
    }
    let footer = [&count.to_le_bytes()[..], &[0x80], &0x8F92_EAB1_u32.to_le_bytes()].concat();
    file.write_all_at(&footer, frames_bytes + 8 + u64::from(entries_bytes)).unwrap();
}

/// A table of holes took 1.58 GB, and one that adds up 12 bytes for each frame it claims.
#[test]
fn a_seek_table_takes_no_memory_for_the_frames_it_claims() {
    let Some(group) = Group::new("table") else { return };
    let dir = TestDir::new();
    for (count, entries) in [((1 << 27) - 1, false), (6 << 20, true)] {
        claim(&dir, count, entries);
        let ran = group.run(&dir, "cat claim --range 0..1 --stats json");
        assert!(ran.status.code() == Some(4) || ran.is_failure(1, "range_past_end"), "{count} frames: {ran}");
        assert_eq!(group.run(&dir, "inspect claim").status.code(), Some(4), "{count} frames");
        let code = group.run(&dir, "restore claim out --salvage -q -f --no-sync").status.code();
        assert!(matches!(code, Some(0 | 4)), "{count} frames: {code:?}");
    }
}

#[test]
fn a_work_factor_beyond_the_limit_costs_nothing() {
    let Some(group) = Group::new("scrypt") else { return };
    let dir = TestDir::new();
    dir.write("in", b"content");
    dir.write("passphrase", b"sesame");
    dir.ok("process in out --passphrase-file passphrase -q");
    let sealed = dir.read("out");
    let at = sealed.windows(4).position(|part| part == b" 18\n").unwrap();
    for factor in [b"21", b"30", b"63"] {
        let mut hostile = sealed.clone();
        hostile[at + 1..at + 3].copy_from_slice(factor);
        dir.write("hostile", &hostile);
        let ran = group.run(&dir, "restore hostile back --passphrase-file passphrase -q --stats json");
        assert!(ran.is_failure(4, "work_factor_too_large"), "{ran}");
    }
    // An endless header is refused before it is stored.
    dir.write("hostile", &[&b"age-encryption.org/v1\n-> x\n"[..], &b"AAAA".repeat(30 << 20)].concat());
    let ran = group.run(&dir, "restore hostile back -i /dev/null -q");
    assert!(matches!(ran.status.code(), Some(2 | 4)), "{:?} {}", ran.status, ran.stderr);
    dir.ok("keygen -o key");
    let ran = group.run(&dir, "restore hostile back -i key -q");
    assert!(ran.status.code() == Some(4), "{:?} {}", ran.status, ran.stderr);
}

/// Runs without a control group, which would reduce the number of workers.
#[test]
fn two_workers_stay_within_64_mib_untold() {
    let (dir, recipient) = TestDir::with_key();
    for (name, content) in [("noise", noise(160 << 20, 7)), ("text", text(160 << 20, 8))] {
        dir.write(name, &content);
        drop(content);
        for layer in [String::new(), format!("-r {recipient}"), format!("--no-compress -r {recipient}")] {
            for line in [format!("process {name} out -f --no-sync {layer}"), "restore out /dev/null -f -i key".into()] {
                let report = dir.report(&format!("{line} -w 2"));
                let peak_bytes = report["peak_memory_bytes"].as_u64().unwrap();
                assert!(peak_bytes <= LIMIT_BYTES + UNOPTIMISED_BYTES, "{line}: {peak_bytes} bytes");
            }
        }
    }
}

#[test]
fn memory_that_runs_out_is_an_error_and_leaves_nothing() {
    let dir = TestDir::new();
    sparse(&dir, "in", GIB);
    let line = "process in out -q -w 2 --chunk-size 64M --stats json";
    let script = format!("ulimit -v 400000; exec {} {line}", env!("CARGO_BIN_EXE_pipeline"));
    let ran = finish(Command::new("sh").args(["-c", &script]).current_dir(dir.root()).output().unwrap());
    assert!(ran.is_failure(1, "no_memory"), "{ran}");
    assert_eq!(dir.names(), ["in"]);
}

#[test]
fn a_limit_narrows_the_run_and_not_what_it_writes() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", &text(40 << 20, 1));
    let wide = dir.report("process in wide -w 3 --no-sync");
    let narrow = dir.report("process in narrow -w 3 --memory 40M --no-sync");
    assert_eq!(dir.read("wide"), dir.read("narrow"));
    let width =
        |report: &serde_json::Value| (report["workers"].as_u64().unwrap(), report["channel_depth"].as_u64().unwrap());
    assert_eq!((width(&wide), width(&narrow)), ((3, 4), (2, 1)));
    assert!(narrow["peak_memory_bytes"].as_u64().unwrap() <= 40 << 20);
    let mut command = dir.command(["restore", "wide", "back", "-q", "--stats", "json"]);
    let said = command.env("PIPELINE_MEMORY", "32M").output().unwrap().stderr;
    assert_eq!(width(&serde_json::from_slice(&said).unwrap()), (1, 1));
    assert!(dir.read("back") == dir.read("in"));
    let said = dir.fails("process in out --memory 1M -q", 2);
    assert!(said.contains("1.00 MiB") && said.contains("\nhint: "), "{said}");
    dir.fails(&format!("process in out --memory lots -q -r {recipient}"), 2);
    // The run reduces its width to fit the limit of a container, without a message, as far as possible.
    let Some(group) = Group::new("narrow") else { return };
    let ran = group.run(&dir, "process in grouped -w 8 --no-sync --stats json");
    assert!(ran.status.success(), "{}", ran.stderr);
    assert!(width(&serde_json::from_str(&ran.stderr).unwrap()) < (8, 4));
    assert_eq!(dir.read("wide"), dir.read("grouped"));
}
