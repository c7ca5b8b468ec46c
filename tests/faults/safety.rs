//! Tests of what protects a source and its copy beyond a single run: verification of the output, and producers whose
//! failure counts.

use crate::support::{TestDir, can_trace, finish, noise, text};

#[test]
fn verify_passes_what_was_written_right_in_every_layer() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("passphrase", b"sesame");
    for (index, content) in [Vec::new(), text(700_000, 1), noise(300_000, 2)].into_iter().enumerate() {
        dir.write("in", &content);
        for flags in [
            String::new(),
            "--engine mutex".to_owned(),
            "--no-sync".to_owned(),
            format!("-r {recipient}"),
            format!("-a -r {recipient}"),
            format!("--no-compress -r {recipient}"),
            format!("--no-compress -a -r {recipient} --engine mutex"),
            "--passphrase-file passphrase".to_owned(),
        ] {
            let said = dir.ok(&format!("process in out --chunk-size 64K --verify -f {flags}")).stderr;
            assert!(said.lines().any(|line| line.starts_with("verified: ")), "{index} {flags}: {said}");
        }
    }
    dir.ok("process in gone.zst --verify --rm -q");
    assert!(!dir.path("in").exists() && dir.path("gone.zst").exists());
}

/// A failing disk can lose a write that the system reports as done.
#[test]
fn verify_finds_a_write_that_was_lost_and_keeps_the_source() {
    let (dir, recipient) = TestDir::with_key();
    if !can_trace() {
        return;
    }
    dir.write("in", &noise(900_000, 1));
    dir.write("old", b"old content");
    let pipeline = env!("CARGO_BIN_EXE_pipeline");
    for flags in [String::new(), format!("-r {recipient}"), format!("-r {recipient} --no-compress")] {
        let run = |check: &str, out: &str| {
            // Skips the second write of the writing thread and reports it as done.
            let line = format!(
                "-f -qq -o trace -e trace=write -e inject=write:retval=65536:when=2 \
                 {pipeline} process in {out} --chunk-size 64K -q --stats json -f {check} {flags}"
            );
            let ran = dir.tool("strace", &Vec::from_iter(line.split_whitespace()), None).unwrap();
            assert!(dir.read("trace").windows(8).any(|part| part == b"INJECTED"), "{line}");
            std::fs::remove_file(dir.path("trace")).unwrap();
            ran
        };
        assert!(run("", "unnoticed").status.success(), "without --verify nobody notices");
        std::fs::remove_file(dir.path("unnoticed")).unwrap();
        let before = dir.names();
        let ran = run("--verify --rm", "old");
        assert_eq!((ran.status.code(), &ran.error()["path"]), (Some(4), &"'old'".into()), "{flags}: {ran}");
        assert_eq!((dir.names(), dir.read("old")), (before, b"old content".to_vec()));
    }
}

#[test]
fn verify_needs_a_file_that_can_be_read_back() {
    let dir = TestDir::new();
    dir.write("in", b"content");
    assert_eq!(dir.run("process in - --verify").status.code(), Some(2));
    dir.fails("process in /dev/null -f --verify -q", 2);
}

#[test]
fn a_command_is_an_input_and_its_failure_is_the_runs() {
    let (dir, recipient) = TestDir::with_key();
    let content = text(3_000_000, 1);
    dir.write("data", &content);
    for flags in
        ["", "--engine mutex", "--verify", &format!("-r {recipient}"), &format!("-r {recipient} --no-compress")]
    {
        dir.ok(&format!("process --stdin-from-command out -q -f {flags} -- cat data"));
        dir.ok("restore out back -i key -q -f");
        assert!(dir.read("back") == content, "{flags}");
        std::fs::remove_file(dir.path("back")).unwrap();
        std::fs::remove_file(dir.path("out")).unwrap();
        for (script, status) in [("cat data; exit 3", "3"), ("cat data; kill -9 $$", "SIGKILL"), ("exit 1", "1")] {
            let before = dir.names();
            let line = format!("process --stdin-from-command out -q --stats json {flags} -- sh -c");
            let ran = finish(dir.command(line.split_whitespace().chain([script])).output().unwrap());
            let message = ran.error()["message"].as_str().unwrap().to_owned();
            let is_told = message.contains("'sh'") && message.contains(status);
            assert!(ran.is_failure(1, "command_failed") && is_told, "{flags} {script}: {ran}");
            assert_eq!(dir.names(), before, "{flags} {script}");
        }
    }
    let ran = dir
        .command([
            "process",
            "--stdin-from-command",
            "-",
            "-q",
            "--chunk-size",
            "64K",
            "--",
            "sh",
            "-c",
            "cat data; exit 3",
        ])
        .output();
    let ran = ran.unwrap();
    assert_eq!(ran.status.code(), Some(1));
    dir.write("partial", &ran.stdout);
    // What went to standard output lacks its end.
    dir.fails_as("verify partial -q", 4, "table_missing");
}

#[test]
fn a_command_that_cannot_run_or_is_missing_is_told() {
    let dir = TestDir::new();
    dir.write("in", b"content");
    let error = dir.fails_as("process --stdin-from-command out -q -- no-such-command", 1, "command_failed");
    assert!(error["message"].as_str().unwrap().contains("'no-such-command'"), "{error}");
    dir.fails("process --stdin-from-command out -q", 2);
    dir.fails("process --stdin-from-command in out -q -- cat", 2);
    dir.fails("process --stdin-from-command out --rm -q -- cat in", 2);
    dir.write("there", b"x");
    dir.write("started", b"");
    std::fs::remove_file(dir.path("started")).unwrap();
    dir.fails_as("process --stdin-from-command there -q -- touch started", 1, "would_overwrite");
    // After `--` a word is a file name, not a command.
    dir.write("-in", b"content");
    dir.ok("process -q -- -in -out");
    dir.ok("restore -q -o back -- -out");
    assert_eq!(dir.read("back"), b"content");
    dir.fails("process -q", 2);
    dir.fails("process -q -- a b c", 2);
}

/// A producer that outlives the run has no reader.
#[test]
fn a_command_is_asked_to_end_when_the_run_fails() {
    let dir = TestDir::new();
    let script = "trap 'echo asked > asked; exit' TERM; while :; do head -c 65536 /dev/zero || :; done";
    let full = "process --stdin-from-command /dev/full -f -q --chunk-size 64K --channel-depth 1 -L -50 -- bash -c";
    let ran = dir.command(full.split(' ').chain([script])).output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stderr));
    while !dir.path("asked").exists() {
        std::thread::yield_now();
    }
}
