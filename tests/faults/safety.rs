//! What makes a source and its copy safe beyond a single run: reading back what was written, and a producer whose failure counts.

use crate::support::{Bench, can_trace, noise, text};

#[test]
fn verify_passes_what_was_written_right_in_every_layer() {
    let (bench, recipient) = Bench::with_key();
    bench.write("passphrase", b"sesame");
    for (index, content) in [Vec::new(), text(700_000, 1), noise(300_000, 2)].into_iter().enumerate() {
        bench.write("in", &content);
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
            let said = bench.ok(&format!("process in out --chunk-size 64K --verify -f {flags}")).stderr;
            assert!(said.contains("read back, their content is what was read"), "{index} {flags}: {said}");
        }
    }
    bench.ok("process in gone.zst --verify --rm -q");
    assert!(!bench.path("in").exists() && bench.path("gone.zst").exists());
}

/// A write that the system says was done, and was not, is what a failing disk looks like.
#[test]
fn verify_finds_a_write_that_was_lost_and_keeps_the_source() {
    let (bench, recipient) = Bench::with_key();
    if !can_trace() {
        return;
    }
    bench.write("in", &noise(900_000, 1));
    bench.write("old", b"old content");
    let pipeline = env!("CARGO_BIN_EXE_pipeline");
    for flags in [String::new(), format!("-r {recipient}"), format!("-r {recipient} --no-compress")] {
        let run = |check: &str, out: &str| {
            // Of the writing thread's writes the second is said to be done.
            let line = format!(
                "-f -qq -o trace -e trace=write -e inject=write:retval=65536:when=2 \
                 {pipeline} process in {out} --chunk-size 64K -q -f {check} {flags}"
            );
            let ran = bench.tool("strace", &Vec::from_iter(line.split_whitespace()), None).unwrap();
            assert!(bench.read("trace").windows(8).any(|part| part == b"INJECTED"), "{line}");
            std::fs::remove_file(bench.path("trace")).unwrap();
            ran
        };
        assert!(run("", "unnoticed").status.success(), "without --verify nobody notices");
        std::fs::remove_file(bench.path("unnoticed")).unwrap();
        let before = bench.names();
        let ran = run("--verify --rm", "old");
        assert_eq!(ran.status.code(), Some(4), "{flags}: {}", ran.stderr);
        assert!(ran.stderr.contains("what was written to 'old' is not right"), "{}", ran.stderr);
        assert_eq!((bench.names(), bench.read("old")), (before, b"old content".to_vec()));
    }
}

#[test]
fn verify_needs_a_file_that_can_be_read_back() {
    let bench = Bench::new();
    bench.write("in", b"content");
    assert_eq!(bench.run("process in - --verify").status.code(), Some(2));
    bench.fails("process in /dev/null -f --verify -q", 2);
}

#[test]
fn a_command_is_an_input_and_its_failure_is_the_runs() {
    let (bench, recipient) = Bench::with_key();
    let content = text(3_000_000, 1);
    bench.write("data", &content);
    for flags in
        ["", "--engine mutex", "--verify", &format!("-r {recipient}"), &format!("-r {recipient} --no-compress")]
    {
        bench.ok(&format!("process --stdin-from-command out -q -f {flags} -- cat data"));
        bench.ok("restore out back -i key -q -f");
        assert!(bench.read("back") == content, "{flags}");
        std::fs::remove_file(bench.path("back")).unwrap();
        std::fs::remove_file(bench.path("out")).unwrap();
        for (script, said) in [
            ("cat data; exit 3", "output of 'sh': the command failed, exit status: 3"),
            ("cat data; kill -9 $$", "the command failed, signal: 9 (SIGKILL)"),
            ("exit 1", "the command failed, exit status: 1"),
        ] {
            let before = bench.names();
            let line = format!("process --stdin-from-command out -q {flags} -- sh -c");
            let ran = bench.command(line.split_whitespace().chain([script])).output().unwrap();
            let stderr = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.code() == Some(1) && stderr.contains(said), "{flags} {script}: {stderr}");
            assert_eq!(bench.names(), before, "{flags} {script}");
        }
    }
    let ran = bench
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
    bench.write("partial", &ran.stdout);
    assert!(bench.fails("verify partial -q", 4).contains("seek table"), "what went to stdout lacks its end");
}

#[test]
fn a_command_that_cannot_run_or_is_missing_is_told() {
    let bench = Bench::new();
    bench.write("in", b"content");
    assert!(
        bench
            .fails("process --stdin-from-command out -q -- no-such-command", 1)
            .contains("cannot run 'no-such-command'")
    );
    bench.fails("process --stdin-from-command out -q", 2);
    bench.fails("process --stdin-from-command in out -q -- cat", 2);
    bench.fails("process --stdin-from-command out --rm -q -- cat in", 2);
    bench.write("there", b"x");
    bench.write("started", b"");
    std::fs::remove_file(bench.path("started")).unwrap();
    bench.fails("process --stdin-from-command there -q -- touch started", 1);
    // Behind dashes stand names where no command is asked for.
    bench.write("-in", b"content");
    bench.ok("process -q -- -in -out");
    bench.ok("restore -q -o back -- -out");
    assert_eq!(bench.read("back"), b"content");
    bench.fails("process -q", 2);
    bench.fails("process -q -- a b c", 2);
}

/// A producer that outlives the run would go on for nobody.
#[test]
fn a_command_is_asked_to_end_when_the_run_fails() {
    let bench = Bench::new();
    let script = "trap 'echo asked > asked; exit' TERM; while :; do head -c 65536 /dev/zero || :; done";
    let full = "process --stdin-from-command /dev/full -f -q --chunk-size 64K --channel-depth 1 -L -50 -- bash -c";
    let ran = bench.command(full.split(' ').chain([script])).output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stderr));
    while !bench.path("asked").exists() {
        std::thread::yield_now();
    }
}
