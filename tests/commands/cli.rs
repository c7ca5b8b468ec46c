//! Tests of the command line contract, as transcripts of the built binary: exit code, messages, and files after the
//! run.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::support::child::{signal, wait, wait_until, wait_until_waiting};
use crate::support::{TestDir, can_trace, finish, noise, text};
use rustix::process::Signal;

fn dir_with_input() -> (TestDir, Vec<u8>) {
    let dir = TestDir::new();
    let content = text(300_000, 1);
    dir.write("in", &content);
    (dir, content)
}

#[test]
fn errors_are_one_line_with_the_path_and_the_cause() {
    let (dir, _) = dir_with_input();
    fs::create_dir(dir.path("dir")).unwrap();
    dir.write("empty", b"");
    dir.write("plain", b"plain text");
    dir.write("out.log", b"another input, it seems");
    dir.write("recipients", b"# the team\n\nnobody\n");
    dir.write("age", b"age-encryption.org/v1\n-> X25519 abc\n");
    dir.ok("process in in.zst -q");
    // A run that could not start has no report, so only its message can tell the name.
    for (line, code, kind, name) in [
        ("process missing out", 1, "not_found", "'missing'"),
        ("process dir", 2, "", "'dir'"),
        ("inspect dir", 1, "", "'dir'"),
        ("process in missing/out", 1, "not_found", "'missing/out'"),
        ("process - dir", 2, "", "'dir'"),
        ("process in in.zst", 1, "would_overwrite", "'in.zst'"),
        ("process in", 1, "would_overwrite", "'in.zst'"),
        ("process in in -f", 1, "same_file", "'in'"),
        ("process in /dev/full", 1, "no_space", "'/dev/full'"),
        ("restore empty out", 4, "empty", "'empty'"),
        ("restore plain out", 1, "unrecognized", "'plain te'"),
        ("restore age out", 4, "damaged_header", "'age'"),
        ("process in out.age", 2, "", "hint: -r"),
        ("process in out --no-compress", 2, "", "--no-compress"),
        ("process in out -a", 2, "", "--armor"),
        ("process in out -r nobody", 2, "bad_key", "--recipient"),
        ("process in out -R empty", 2, "bad_key", "'empty'"),
        ("process in out --passphrase-file empty", 2, "bad_key", "'empty'"),
        ("restore in.zst out --no-decompress", 2, "usage", "--no-decompress"),
        ("restore in.zst in", 1, "would_overwrite", "'in'"),
        ("verify plain", 1, "unrecognized", "'plain'"),
        ("cat plain", 1, "unrecognized", "'plain'"),
        ("inspect plain", 1, "", "'plain'"),
        ("verify in.zst --against missing", 1, "not_found", "'missing'"),
        ("restore plain", 2, "", "'plain'"),
        ("process in out --channel-depth 0", 2, "", "4096"),
        ("process in out --workers 99999", 2, "", "99999"),
        ("process in out --chunk-size 100", 2, "", "64K"),
        ("process in out --chunk-size 1T", 2, "", "1099511627776"),
        ("process in out --chunk-size 4X", 2, "", "\"X\""),
        ("process in out --level 0", 2, "", "0"),
        ("process in out --level 23", 2, "", "23"),
        ("process in out --levle 3", 2, "", "'--level'"),
        ("process in out -R recipients", 2, "bad_key", "'recipients', line 3"),
        ("restore in out -i recipients", 2, "bad_key", "'recipients', line 3"),
        ("process in out -9", 2, "", "--level N"),
        ("process in out -19", 2, "", "--level N"),
        ("process in out.log", 1, "would_overwrite", "'out.log'"),
        ("process", 2, "", "IN"),
        ("process in - --rm", 2, "", "--rm"),
        ("cat in.zst --range 5..2", 2, "", "5"),
        ("cat in.zst --range 1..400000", 1, "range_past_end", "300000"),
        ("restore in.zst out --window-max 3M", 2, "", "3M"),
        ("frobnicate in out", 2, "", "'frobnicate'"),
    ] {
        let said = dir.fails(line, code);
        assert!(said.contains(name), "{line}: {said}");
        if !kind.is_empty() {
            dir.fails_as(line, code, kind);
        }
    }
    assert!(dir.run("").status.code() == Some(2));
}

#[test]
fn help_and_version_go_to_stdout() {
    let dir = TestDir::new();
    for line in ["--help", "--version", "process --help", "restore -h"] {
        let ran = dir.ok(line);
        assert!(!ran.stdout.is_empty() && ran.stderr.is_empty(), "{line}");
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let status = dir.command(line.split_whitespace()).stdout(full).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{line} to a full disk");
    }
}

#[test]
fn the_command_line_of_the_readme_works() {
    let (dir, content) = dir_with_input();
    let said = dir.ok("process in out --channel-depth=4").stderr;
    for word in [
        "processed: ",
        "read>compress",
        "compress>write",
        "reorder at write",
        "tokens of compress",
        "peak memory",
        "bottleneck: ",
    ] {
        assert!(said.contains(word), "{word} is missing: {said}");
    }
    dir.ok("restore out back");
    assert_eq!(dir.read("back"), content);
}

#[test]
fn out_is_named_after_in() {
    let (dir, content) = dir_with_input();
    dir.ok("process in -q");
    fs::remove_file(dir.path("in")).unwrap();
    dir.ok("restore in.zst -q");
    assert_eq!(dir.read("in"), content);
    assert_eq!(dir.names(), ["in", "in.zst"]);
    dir.ok("restore in.zst -o other -q");
    assert_eq!(dir.read("other"), content);
}

#[test]
fn mode_and_times_are_the_sources() {
    let (dir, _) = dir_with_input();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(dir.path("in")).unwrap().set_modified(then).unwrap();
    fs::set_permissions(dir.path("in"), fs::Permissions::from_mode(0o640)).unwrap();
    dir.ok("process in out -q");
    dir.ok("restore out back -q");
    for name in ["out", "back"] {
        let metadata = fs::metadata(dir.path(name)).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.modified().unwrap()), (0o640, then), "{name}");
    }
}

#[test]
fn a_forced_output_replaces_the_file_a_link_leads_to_and_keeps_the_link() {
    let (dir, content) = dir_with_input();
    dir.write("target", b"old");
    symlink("target", dir.path("link")).unwrap();
    symlink("nowhere", dir.path("dangling")).unwrap();
    dir.fails_as("process in link -q", 1, "would_overwrite");
    dir.ok("process in link -qf");
    dir.ok("process in dangling -q");
    assert!(fs::symlink_metadata(dir.path("link")).unwrap().is_symlink());
    for name in ["target", "nowhere"] {
        dir.ok(&format!("restore {name} back -qf"));
        assert_eq!(dir.read("back"), content);
    }
}

#[test]
fn input_and_output_may_not_be_the_same_file_by_whatever_name() {
    let (dir, content) = dir_with_input();
    symlink("in", dir.path("link")).unwrap();
    fs::hard_link(dir.path("in"), dir.path("hard")).unwrap();
    for out in ["in", "./in", "link", "hard", "../PARENT/in"] {
        let out = out.replace("PARENT", dir.root().file_name().unwrap().to_str().unwrap());
        dir.fails_as(&format!("process in {out} -qf"), 1, "same_file");
    }
    let appending = fs::File::options().append(true).open(dir.path("in")).unwrap();
    let ran = dir.command(["process", "in", "-"]).stdout(appending).output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(dir.read("in"), content);
}

#[test]
fn rm_deletes_the_source_only_once_all_is_well() {
    let (dir, content) = dir_with_input();
    dir.write("old", b"");
    dir.fails_as("process in old --rm -q", 1, "would_overwrite");
    assert_eq!(dir.read("in"), content);
    dir.fails("process in new --rm --no-sync -q", 2);
    dir.fails("process in /dev/null --rm -q", 2);
    dir.ok("process in out --rm -q");
    assert_eq!(dir.names(), ["old", "out"]);
    symlink("out", dir.path("link")).unwrap();
    dir.fails("restore link back --rm -q", 2);
    // A file without its table may not be whole, so it is kept.
    dir.write("cut", &dir.read("out")[..dir.read("out").len() - 29]);
    let ran = dir.run("restore cut back --rm");
    assert!(ran.status.code() == Some(3) && dir.path("cut").exists(), "{ran:?}");
}

/// Asserts that `stderr` is one warning that names `name`.
fn assert_warned_of(stderr: &[u8], name: &str) {
    let said = String::from_utf8_lossy(stderr);
    assert!(said.starts_with("pipeline: warning: ") && said.contains(name) && said.lines().count() == 1, "{said}");
}

#[test]
fn a_source_that_changes_while_it_is_read_is_told_and_never_deleted() {
    let (dir, _) = dir_with_input();
    let Some(_) = dir.tool("mkfifo", &["fifo"], None) else { return };
    let mut command = dir.command(["process", "in", "fifo", "-q"]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    // The run has opened its input and waits for a reader of the FIFO.
    wait_until_waiting(&child);
    fs::File::options().append(true).open(dir.path("in")).unwrap().write_all(b"more").unwrap();
    std::io::copy(&mut fs::File::open(dir.path("fifo")).unwrap(), &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_warned_of(&output.stderr, "'in'");
}

#[test]
fn a_source_that_changes_while_it_is_rekeyed_is_told() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", b"content");
    dir.ok(&format!("process in a -q -r {recipient}"));
    let Some(_) = dir.tool("mkfifo", &["fifo"], None) else { return };
    let line = format!("rekey a fifo -q -i key -r {recipient}");
    let child = dir.command(line.split_whitespace()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until_waiting(&child);
    fs::File::options().write(true).open(dir.path("a")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    std::io::copy(&mut fs::File::open(dir.path("fifo")).unwrap(), &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_warned_of(&output.stderr, "'a'");
}

#[test]
fn a_report_never_overwrites_input_or_output_and_is_opened_before_the_run() {
    let (dir, content) = dir_with_input();
    dir.ok("process in good -q");
    let good = dir.read("good");
    for line in [
        "process in out --stats-file in -q",
        "process in out --stats-file out -q",
        "process in out --stats-file ./out -q",
        "verify good --stats-file good -q",
        "verify good --against in --stats-file in -q",
        "cat good --stats-file good -q",
    ] {
        dir.fails(line, 2);
    }
    dir.fails_as("process in out --stats-file missing/report -q", 1, "not_found");
    dir.write("bad", &good[..good.len() / 2]);
    dir.fails("restore bad out --stats-file report -q", 4);
    dir.fails_as("restore bad out -q", 4, "truncated_frame");
    assert_eq!((dir.read("in"), dir.read("good")), (content, good));
    dir.write("report", b"processed: an old and longer report".repeat(1000).as_slice());
    dir.ok("verify good --stats json --stats-file report");
    serde_json::from_slice::<serde_json::Value>(&dir.read("report")).unwrap();
}

#[test]
fn a_closed_standard_output_is_an_error_where_data_goes_there() {
    let (dir, _) = dir_with_input();
    dir.ok("process in good -q");
    for (line, kind) in [
        ("process in - -q --stats json >&-", "write"),
        ("cat good --stats json >&-", "write"),
        ("process in - -q --stats json 1<>/dev/null", "write"),
    ] {
        let script = format!("{} {line}", env!("CARGO_BIN_EXE_pipeline"));
        let ran = dir.tool("bash", &["-c", &script], None).unwrap();
        assert!(ran.is_failure(1, kind), "{line}: {ran:?}");
    }
    assert_eq!(dir.names(), ["good", "in"]);
    // Supervisors open /dev/null for reading and writing, which looks like a closed descriptor.
    for (line, code) in [
        ("--version", 0),
        ("process in all -q", 0),
        ("process - none -q", 0),
        ("process in - -q", 1),
        ("process in - -qf", 0),
        ("inspect good", 0),
        ("verify all -q", 0),
        ("keygen", 1),
        ("keygen -o key", 0),
    ] {
        let script = format!("{} {line} 0<>/dev/null 1<>/dev/null 2<>/dev/null", env!("CARGO_BIN_EXE_pipeline"));
        let ran = dir.tool("bash", &["-c", &script], None).unwrap();
        assert_eq!(ran.status.code(), Some(code), "{line}");
    }
    assert_eq!(dir.ok("cat none").stdout, b"");
}

#[test]
fn standard_output_by_another_name_is_written_not_replaced() {
    let (dir, content) = dir_with_input();
    for out in ["/dev/stdout", "/dev/fd/1"] {
        let script =
            format!("{{ echo head; {} process in {out} -qf; echo tail; }} > all", env!("CARGO_BIN_EXE_pipeline"));
        let ran = dir.tool("bash", &["-c", &script], None).unwrap();
        assert!(ran.status.success(), "{out}: {ran:?}");
        let all = dir.read("all");
        assert!(all.starts_with(b"head\n") && all.ends_with(b"tail\n"), "{out}");
        assert_eq!(dir.run_with("restore - -q", &all[5..all.len() - 5]).stdout, content, "{out}");
    }
    // A named pipe, as bash makes it for >(...); the script ends when the reader has ended.
    let script = format!(
        "{} process in >(cat > through; echo done > finished) -q; until test -e finished; do :; done",
        env!("CARGO_BIN_EXE_pipeline")
    );
    let ran = dir.tool("bash", &["-c", &script], None).unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(dir.run("restore through - -q").stdout, content);
}

#[test]
fn a_private_file_that_is_replaced_stays_private() {
    let (dir, content) = dir_with_input();
    dir.write("out", b"old");
    fs::set_permissions(dir.path("out"), fs::Permissions::from_mode(0o600)).unwrap();
    let ran = dir.run_with("process - out -qf", &content);
    assert!(ran.status.success());
    assert_eq!(fs::metadata(dir.path("out")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn signals_that_were_ignored_before_stay_ignored() {
    let (dir, content) = dir_with_input();
    let script = format!("trap '' INT HUP; exec {} process - out -q", env!("CARGO_BIN_EXE_pipeline"));
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script]).current_dir(dir.root()).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    wait_until_waiting(&child);
    signal(&child, Signal::INT);
    signal(&child, Signal::HUP);
    child.stdin.take().unwrap().write_all(&content).unwrap();
    wait(child, 0);
    assert_eq!(dir.run("restore out - -q").stdout, content);
}

#[test]
fn a_file_system_without_modes_is_no_reason_to_fail() {
    let (dir, _) = dir_with_input();
    for fault in ["fchmod:error=EPERM", "fchmod:error=EOPNOTSUPP", "utimensat:error=EPERM"] {
        let inject = format!("inject={fault}");
        let args =
            ["-f", "-qq", "-o", "trace", "-e", &inject, env!("CARGO_BIN_EXE_pipeline"), "process", "in", "out", "-qf"];
        let Some(ran) = dir.tool("strace", &args, None) else { return };
        assert!(ran.status.success(), "{fault}: {}", ran.stderr);
        assert!(String::from_utf8(dir.read("trace")).unwrap().contains("INJECTED"), "{fault} did not strike");
    }
}

#[test]
fn devices_and_fifos_are_written_and_stay_what_they_are() {
    let (dir, content) = dir_with_input();
    dir.ok("process in /dev/null -q");
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    let Some(_) = dir.tool("mkfifo", &["fifo"], None) else { return };
    let writer = dir.command(["process", "in", "fifo", "-q"]).spawn().unwrap();
    let mut compressed = Vec::new();
    fs::File::open(dir.path("fifo")).unwrap().read_to_end(&mut compressed).unwrap();
    wait(writer, 0);
    assert!(fs::metadata(dir.path("fifo")).unwrap().file_type().is_fifo());
    let reader = dir.command(["restore", "fifo", "back", "-q"]).spawn().unwrap();
    fs::File::options().write(true).open(dir.path("fifo")).unwrap().write_all(&compressed).unwrap();
    wait(reader, 0);
    assert_eq!(dir.read("back"), content);
}

#[test]
fn a_reader_of_stdout_that_goes_away_ends_it_without_a_word() {
    let dir = TestDir::new();
    dir.write("in", &noise(8 << 20, 1));
    dir.ok("process in out -q");
    for line in ["process in -", "cat out", "restore out - --progress always"] {
        let mut command = dir.command(line.split_whitespace());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(141), &b""[..]), "{line}");
    }
}

#[test]
fn stdout_carries_data_only_and_a_full_disk_is_an_error() {
    let (dir, content) = dir_with_input();
    let ran = dir.ok("process in -");
    assert!(ran.stdout.starts_with(b"\x28\xb5\x2f\xfd"));
    dir.write("out", &ran.stdout);
    assert_eq!(dir.ok("restore out -").stdout, content);
    for line in ["cat out --range 0..+1K", "restore out -", "process in -"] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = dir.command(line.split_whitespace().chain(["--stats", "json"]));
        let ran = finish(command.stdout(full).output().unwrap());
        assert!(ran.is_failure(1, "no_space"), "{line}: {ran}");
    }
}

#[test]
fn temporaries_are_private_while_they_last() {
    let (dir, content) = dir_with_input();
    let line = ["process", "-", "out", "--chunk-size", "64K", "-q"];
    let is_private = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        assert!(metadata.is_file() && metadata.mode() & 0o7777 == 0o600, "{path:?}");
    };
    // It has no name until it is complete.
    let mut child = dir.command(line).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(&content).unwrap();
    wait_until_waiting(&child);
    assert_eq!(dir.names(), ["in"]);
    let descriptors = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().map(|entry| entry.unwrap().path());
    let leads_here = |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to.starts_with(dir.root()));
    let nameless: Vec<PathBuf> = descriptors.filter(leads_here).filter(|path| path.is_file()).collect();
    assert_eq!(nameless.len(), 1);
    is_private(&nameless[0]);
    drop(child.stdin.take());
    wait(child, 0);
    assert_eq!(dir.names(), ["in", "out"]);
    // Where the file system cannot name it later, it has a name from the start.
    if !can_trace() {
        return;
    }
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=linkat:error=EPERM", env!("CARGO_BIN_EXE_pipeline")]);
    let mut child = strace.args(line).arg("-f").current_dir(dir.root()).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(&content).unwrap();
    let named = || dir.names().into_iter().find(|name| name.starts_with(".pipeline-"));
    wait_until("there is a temporary", || {
        named().is_some_and(|name| dir.path(&name).metadata().is_ok_and(|is| is.len() > 0))
    });
    is_private(&dir.path(named().unwrap()));
    drop(child.stdin.take());
    wait(child, 0);
    assert_eq!(dir.names(), ["in", "out"]);
}

#[test]
fn the_environment_counts_where_there_is_no_flag() {
    let (dir, _) = dir_with_input();
    let workers = |command: &mut std::process::Command| {
        let output = command.output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        (report["workers"].as_u64().unwrap(), report["channel_depth"].as_u64().unwrap())
    };
    let line = || dir.command("process in - --chunk-size 64K --stats json".split_whitespace());
    assert_eq!(workers(line().env("PIPELINE_WORKERS", "3").env("PIPELINE_CHANNEL_DEPTH", "2")), (3, 2));
    assert_eq!(workers(line().env("ZSTD_NBTHREADS", "4")), (4, 4));
    assert_eq!(workers(line().env("PIPELINE_WORKERS", "3").args(["-T", "1"])), (1, 4));
    let output = line().env("ZSTD_CLEVEL", "99").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "a variable of zstd's that makes no sense is not ours to refuse");
    let output = line().env("PIPELINE_LEVEL", "99").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = line().env("PIPELINE_WORKERS", "lots").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("PIPELINE_WORKERS") && said.contains("'lots'"), "{said}");
}

#[test]
fn reports_go_where_they_are_asked_to() {
    let (dir, _) = dir_with_input();
    assert_eq!(dir.ok("process in a -q").stderr, "");
    assert_eq!(dir.ok("process in b --stats none").stderr, "");
    assert_eq!(dir.ok("process in c --stats json --stats-file report").stderr, "");
    let report: serde_json::Value = serde_json::from_slice(&dir.read("report")).unwrap();
    assert_eq!((&report["command"], &report["frame_count"]), (&"processed".into(), &1.into()));
    for (engine, waits) in [("channels", 0), ("mutex", 2)] {
        let report = dir.report(&format!("process in d-{engine} --engine {engine}"));
        assert_eq!(report["waits"].as_array().unwrap().len(), waits);
        assert!(report["peak_memory_bytes"].as_u64().unwrap() > 0);
    }
    let waits = dir.report("process in e --engine mutex")["waits"].clone();
    assert!(waits.as_array().unwrap().iter().any(|wait| wait["name"] == "permit"), "{waits}");
}

#[test]
fn inspect_tells_what_a_file_holds() {
    let (dir, _) = dir_with_input();
    dir.ok("process in out --chunk-size 64K -q");
    let from_file = dir.ok("inspect out --json").stdout;
    let found: serde_json::Value = serde_json::from_slice(&from_file).unwrap();
    assert_eq!(found["frame_count"], 5);
    assert_eq!(found["content_bytes"], 300_000);
    assert_eq!(found["checksummed_frame_count"], 5);
    assert_eq!(found["seek_table"], true);
    assert!(found["seek_table_problem"].is_null());
    assert_eq!(found["file_bytes"], dir.read("out").len());
    let piped = dir.run_with("inspect - --json", &dir.read("out"));
    let piped: serde_json::Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!((&piped["frame_count"], &piped["content_bytes"]), (&5.into(), &300_000.into()));
    let text = String::from_utf8(dir.ok("inspect out").stdout).unwrap();
    assert!(text.contains("frames      5 (5 with a checksum)"), "{text}");
    let cut = &dir.read("out")[..9000];
    dir.write("cut", cut);
    assert!(dir.fails("inspect cut", 4).contains("9000"));
    assert_eq!(dir.fails_as("verify cut", 4, "truncated_frame")["frame"], 0);
}

#[test]
fn windows_above_the_limit_are_refused_with_a_hint() {
    let dir = TestDir::new();
    let content = text(40 << 20, 2);
    let Some(ran) = dir.tool("zstd", &["-q", "-1", "--long=28", "-c", "-"], Some(&content)) else { return };
    dir.write("wide", &ran.stdout);
    dir.fails_as("restore wide out -q", 1, "window_too_large");
    let said = dir.fails("restore wide out -q", 1);
    assert!(said.contains("268435456") && said.contains("\nhint: --window-max 256M"), "{said}");
    dir.ok("restore wide out -q -M 256M");
    assert!(dir.read("out") == content);
}

#[test]
fn the_mutex_mode_refuses_what_does_not_fit_memory() {
    let dir = TestDir::new();
    let sparse = fs::File::create(dir.path("sparse")).unwrap();
    sparse.set_len(1 << 43).unwrap();
    dir.fails_as("process sparse out --engine mutex -q", 1, "too_large");
    let said = dir.fails("process sparse out --engine mutex -q", 1);
    assert!(said.contains("\nhint: --engine channels"), "{said}");
}

#[test]
fn names_that_are_no_text_are_shown_escaped() {
    use std::os::unix::ffi::OsStrExt;

    let dir = TestDir::new();
    let name = std::ffi::OsStr::from_bytes(b"new\nline \xff");
    fs::write(dir.path(name), b"content").unwrap();
    let output = dir.command(["process".as_ref(), name, "missing/out".as_ref()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let output = dir.command(["restore".as_ref(), name, "out".as_ref()]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("'new\\nline \\xff'") && said.contains("'content'") && said.lines().count() == 1, "{said}");
    let ran = dir.command(["process".as_ref(), name, "-q".as_ref()]).output().unwrap();
    assert!(ran.status.success() && dir.names().len() == 2);
}

#[test]
fn sigusr1_asks_how_far_it_is_and_stops_nothing() {
    let (dir, content) = dir_with_input();
    let mut command = dir.command(["process", "-", "out", "-q", "--chunk-size", "64K"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&content).unwrap();
    wait_until_waiting(&child);
    signal(&child, Signal::USR1);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("pipeline: ") && line.contains("293 KiB"), "{line}");
    drop(stdin);
    assert!(child.wait().unwrap().success());
    dir.ok("verify out --against in -q");
}

#[test]
fn tune_prints_a_command_line_that_works_and_the_figures_behind_it() {
    let dir = TestDir::new();
    dir.write("in put", &text(3_000_000, 1));
    let mut command = dir.command(["tune", "in put", "--rounds", "1", "--sample", "2M", "--json"]);
    let ran = finish(command.output().unwrap());
    let json: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(json["sample_bytes"], 2 << 20, "{json}");
    let settings: Vec<&str> =
        json["steps"].as_array().unwrap().iter().map(|it| it["setting"].as_str().unwrap()).collect();
    assert_eq!(settings, ["workers", "channel-depth", "chunk-size", "level"]);
    for step in json["steps"].as_array().unwrap() {
        let taken = step["trials"].as_array().unwrap().iter().filter(|trial| trial["is_taken"] == true).count();
        assert_eq!(taken, 1, "{step}");
    }
    let words: Vec<&str> = json["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!((words[0], words[2]), ("pipeline", "in put"));
    assert!(finish(dir.command(&words[1..]).output().unwrap()).status.success());
    assert!(dir.path("in put.zst").exists());
    let mut command =
        dir.command(["tune", "in put", "--rounds", "1", "--sample", "2M", "--level", "1", "--at-least", "1"]);
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(said.lines().last().unwrap().starts_with("pipeline process 'in put' --workers="), "{said}");
    assert!(said.lines().last().unwrap().ends_with("--level=19"), "the highest keeps up with a byte a second: {said}");
    dir.fails("tune -", 2);
    dir.write("empty", b"");
    assert!(dir.fails("tune empty", 2).contains("'empty'"));
    let ran = dir.run("tune empty-but-one --rounds 1");
    assert_eq!(ran.status.code(), Some(1));
    let ran = finish(
        dir.command(["tune", "in put", "-q", "--rounds", "1", "--sample", "1M", "--at-least", "1T"]).output().unwrap(),
    );
    assert!(ran.status.code() == Some(3) && ran.stderr.starts_with("pipeline: warning: "), "{ran}");
}

#[test]
fn an_input_that_is_processed_already_is_pointed_out() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", &text(300_000, 1));
    assert!(!dir.ok("process in in.zst").stderr.contains("hint: "));
    dir.ok(&format!("process in in.age -r {recipient} -q"));
    dir.ok(&format!("process in in.txt -a -r {recipient} -q"));
    for (line, name, layer) in [
        ("process in.zst a", "hint: 'in.zst'", "zstd"),
        (&format!("process in.zst b --no-compress -r {recipient}"), "note: 'in.zst'", "zstd"),
        ("process in.age c", "hint: 'in.age'", "age"),
        (&format!("process in.txt d.age -r {recipient}"), "hint: 'in.txt'", "age"),
    ] {
        let said = dir.ok(line).stderr;
        let hint = said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{line}: {said}"));
        assert!(hint.split(' ').any(|word| word == layer), "{line}: {hint}");
    }
    assert_eq!(dir.ok("process in.zst e -q").stderr, "");
}

/// Makes a directory with `sealed` of several segments and a tree that contains it. Returns it with the recipient.
fn bench_with_sealed() -> (TestDir, String) {
    let (dir, recipient) = TestDir::with_key();
    dir.write("tree/in", &noise(400_000, 1));
    dir.ok(&format!("process tree/in one.age -r {recipient} -q"));
    dir.ok(&format!("process tree sealed -r {recipient} -q"));
    (dir, recipient)
}

#[test]
fn rekey_of_one_file_writes_the_reports_that_are_asked_for() {
    let (dir, recipient) = bench_with_sealed();
    let reports = "--stats json --stats-file stats --prometheus metrics.prom --hdr-log log";
    dir.ok(&format!("rekey one.age two.age -i key -r {recipient} -q {reports}"));
    let report: serde_json::Value = serde_json::from_slice(&dir.read("stats")).unwrap();
    assert_eq!((&report["command"], &report["error"]), (&"rekeyed".into(), &serde_json::Value::Null));
    assert_eq!(report["read_bytes"], dir.read("one.age").len());
    assert_eq!(report["written_bytes"], dir.read("two.age").len());
    assert!(!dir.read("metrics.prom").is_empty() && !dir.read("log").is_empty());
}

#[test]
fn rekey_and_salvage_are_no_faster_than_is_asked_for() {
    let (dir, recipient) = bench_with_sealed();
    dir.ok("process tree/in whole.zst -q");
    for line in [
        format!("rekey one.age two.age -i key -r {recipient} -q"),
        "restore one.age back -i key --salvage -q".to_owned(),
        "restore whole.zst back2 --salvage -q".to_owned(),
    ] {
        let start = Instant::now();
        dir.ok(&format!("{line} --limit-rate 400K"));
        // 400,000 bytes take a second, minus a burst of a tenth and the size of the last read.
        assert!(start.elapsed() >= Duration::from_millis(500), "{line}: {:?}", start.elapsed());
    }
}

#[test]
fn rekey_heeds_memory_for_one_file_and_for_many() {
    let (dir, recipient) = bench_with_sealed();
    let before = dir.read("sealed/in.zst.age");
    dir.fails(&format!("rekey one.age two.age -i key -r {recipient} --memory 1M"), 2);
    dir.fails(&format!("rekey sealed --in-place -i key -r {recipient} --memory 1M"), 2);
    assert!(dir.read("sealed/in.zst.age") == before);
    dir.ok(&format!("rekey one.age two.age -i key -r {recipient} --memory 64M -q"));
    dir.ok(&format!("rekey sealed --in-place -i key -r {recipient} --memory 64M -q"));
}

#[test]
fn a_report_of_rekey_never_overwrites_the_configuration() {
    let (dir, recipient) = bench_with_sealed();
    dir.write("config.toml", b"level = 3\n");
    for flag in ["--stats-file", "--prometheus", "--hdr-log"] {
        let rekey = format!("-i key -r {recipient} --config config.toml {flag} config.toml");
        dir.fails(&format!("rekey sealed --in-place {rekey}"), 2);
        dir.fails(&format!("rekey one.age two.age {rekey}"), 2);
        assert_eq!(dir.read("config.toml"), b"level = 3\n", "{flag}");
    }
}

#[test]
fn a_flag_that_is_not_used_is_an_error_and_a_setting_is_not() {
    let (dir, recipient) = bench_with_sealed();
    dir.ok("process tree/in whole.zst -q");
    for line in [
        "process tree/in out --jobs 2".to_owned(),
        "restore whole.zst back --include x".to_owned(),
        "restore whole.zst back --salvage --workers 2".to_owned(),
        "verify whole.zst --retries 2".to_owned(),
        "process tree out --size-hint 1M".to_owned(),
        format!("rekey one.age two.age -i key -r {recipient} --jobs 2"),
    ] {
        dir.fails(&line, 2);
    }
    for line in ["restore whole.zst back -q", "restore whole.zst back -q -f --salvage"] {
        let mut command = dir.command(line.split_whitespace());
        command.env("PIPELINE_JOBS", "2").env("PIPELINE_RETRIES", "2").env("PIPELINE_WORKERS", "2");
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{line}: {ran:?}");
    }
}
