//! Tests of secrets in the environment and on descriptors: read as they are, and kept from commands and plugins.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use crate::support::{TestDir, can_trace, finish, text};

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");

/// Lists the open descriptors of a shell, one a line.
const LIST: &str = "for fd in /proc/$$/fd/*; do echo fd ${fd##*/}; done";

/// What [`LIST`] printed in `text`.
fn descriptors(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let mut list: Vec<String> = text.lines().filter_map(|line| line.strip_prefix("fd ")).map(str::to_owned).collect();
    list.sort();
    list
}

#[test]
fn a_command_gets_no_secret_and_everything_else_that_its_caller_has() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("passphrase", b"sesame-open");
    dir.write("other", b"");
    let direct = dir.tool("bash", &["-c", &format!("sh -c '{LIST}' 5< other")], None).unwrap();
    let expected = descriptors(&direct.stdout);
    assert!(expected.contains(&"5".to_owned()) && !expected.contains(&"33".to_owned()), "{expected:?}");
    let (passphrase, key) = ("--passphrase-file passphrase", "-i key");
    for (secret, flags, redirection, back) in [
        ("", "--passphrase-fd 33", "33< passphrase", passphrase),
        ("AGE_PASSPHRASE_FD=33", "-p", "33< passphrase", passphrase),
        ("AGE_PASSPHRASE=sesame-open", "-p", "", passphrase),
        ("AGE_PASSPHRASE=sesame-open AGE_PASSPHRASE_FD=33", &format!("-r {recipient}"), "33< passphrase", key),
        ("PIPELINE_SECRET=sesame-open", "--passphrase-fd 33", "33< passphrase", passphrase),
    ] {
        let script = format!(
            "{secret} PIPELINE_LOG=error KEPT=kept {PIPELINE} process --stdin-from-command out -qf --no-compress {flags} \
             5< other {redirection} -- sh -c 'env; {LIST}'"
        );
        let ran = dir.tool("bash", &["-c", &script], None).unwrap();
        assert!(ran.status.success(), "{script}: {ran}");
        let told = dir.ok(&format!("restore out - -q {back}")).stdout;
        let shown = String::from_utf8_lossy(&told).into_owned();
        assert!(!shown.contains("sesame") && !shown.contains("AGE_PASSPHRASE"), "{script}: {shown}");
        assert!(shown.contains("PIPELINE_LOG=error\n") && shown.contains("KEPT=kept\n"), "{script}: {shown}");
        assert_eq!(descriptors(&told), expected, "{script}");
    }
}

#[test]
fn a_command_reads_the_lists_of_its_caller() {
    let dir = TestDir::new();
    dir.write("documents/a", b"content");
    let script = format!("{PIPELINE} process --stdin-from-command out -q -- tar -cT <(find documents -type f)");
    let ran = dir.tool("bash", &["-c", &script], None).unwrap();
    assert!(ran.status.success(), "{ran}");
    let names = dir.tool("tar", &["-t"], Some(&dir.ok("cat out -q").stdout)).unwrap();
    assert_eq!(names.stdout, b"documents/a\n");
}

#[test]
fn a_passphrase_on_standard_input_is_not_read_by_a_command() {
    let dir = TestDir::new();
    dir.write("passphrase", b"sesame");
    let ran = dir.run_with("process --stdin-from-command out -q --passphrase-fd 0 -- cat", b"sesame");
    assert!(ran.status.success(), "{ran}");
    assert_eq!(dir.ok("restore out - -q --passphrase-file passphrase").stdout, b"");
    let ran = dir.run_with("process --stdin-from-command plain -q -- cat", b"content");
    assert!(ran.status.success(), "{ran}");
    assert_eq!(dir.ok("restore plain - -q").stdout, b"content");
}

#[test]
fn a_plugin_gets_no_secret() {
    let dir = TestDir::new();
    dir.write("in", &text(1000, 1));
    dir.write("passphrase", b"sesame-open");
    let (recipient, _) = super::keys::plugin_keys("test");
    let plugins = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/keys");
    let told = dir.path("told");
    let run = format!("{{ env; {LIST}; }} > {}", told.display());
    for (secret, redirection) in [
        ("AGE_PASSPHRASE=sesame-open", "5< in"),
        ("AGE_PASSPHRASE_FD=33", "5< in 33< passphrase"),
        ("PIPELINE_SECRET=sesame-open", "5< in"),
    ] {
        let script = format!(
            "PATH={plugins}:$PATH AGE_PLUGIN_TEST_RUN='{run}' {secret} {PIPELINE} process in out -qf -r {recipient} {redirection}"
        );
        let ran = dir.tool("bash", &["-c", &script], None).unwrap();
        assert!(ran.status.success(), "{script}: {ran}");
        let told = std::fs::read(&told).unwrap();
        assert!(!String::from_utf8_lossy(&told).contains("sesame"), "{script}: {}", String::from_utf8_lossy(&told));
        let open = descriptors(&told);
        assert!(open.contains(&"5".to_owned()) && !open.contains(&"33".to_owned()), "{script}: {open:?}");
    }
}

/// It was opened anew, from its beginning, which a socket refuses.
#[test]
fn a_passphrase_descriptor_is_read_from_where_it_stands() {
    let dir = TestDir::new();
    dir.write("in", b"content");
    dir.write("passphrase", b"second");
    dir.write("lines", b"first\nsecond");
    let refused = "strace -f -qq -o trace -e trace=pidfd_getfd -e inject=pidfd_getfd:error=EPERM";
    for tracer in ["", refused] {
        if !tracer.is_empty() && !can_trace() {
            break;
        }
        let script = format!("read -r first <&3; {tracer} {PIPELINE} process in out -qf --passphrase-fd 3");
        let ran = dir.tool("bash", &["-c", &format!("{{ {script}; }} 3< lines")], None).unwrap();
        assert!(ran.status.success(), "{script}: {ran}");
        dir.ok("verify out -q --passphrase-file passphrase");
        let script = format!("{tracer} {PIPELINE} process in out -qf --passphrase-fd 3 3< <(echo second)");
        let ran = dir.tool("bash", &["-c", &script], None).unwrap();
        assert!(ran.status.success(), "{script}: {ran}");
        dir.ok("verify out -q --passphrase-file passphrase");
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(b"second\n").unwrap();
        drop(ours);
        let line = format!("{tracer} {PIPELINE} process in out -qf --passphrase-fd 0 --stats json");
        let mut command = std::process::Command::new("env");
        command.args(line.split_whitespace()).current_dir(dir.root()).stdin(OwnedFd::from(theirs));
        let ran = finish(command.output().unwrap());
        match tracer {
            "" => assert!(ran.status.success(), "{ran}"),
            _ => assert!(ran.is_failure(1, "read"), "{ran}"),
        }
    }
}

#[test]
fn the_environment_of_a_run_holds_no_secret_and_the_passphrase_is_used() {
    let dir = TestDir::new();
    dir.write("in", b"content");
    for passphrase in ["sesame\r", "sesame\n", "s"] {
        let mut command = dir.command(["process", "in", "out", "-qfp"]);
        assert!(command.env("AGE_PASSPHRASE", passphrase).status().unwrap().success());
        let mut command = dir.command(["cat", "out", "-q"]);
        assert_eq!(command.env("AGE_PASSPHRASE", passphrase).output().unwrap().stdout, b"content", "{passphrase:?}");
    }
    let mut command = dir.command(["process", "--stdin-from-command", "told", "-q", "--", "cat"]);
    let parent = "cat /proc/$PPID/environ";
    command.args(["/dev/null"]).env("AGE_PASSPHRASE", "sesame").env("PIPELINE_PASSED_ON", "0");
    assert!(command.status().unwrap().success());
    let mut command = dir.command(["process", "--stdin-from-command", "told", "-qf", "--", "sh", "-c", parent]);
    assert!(command.env("AGE_PASSPHRASE", "sesame").status().unwrap().success());
    let told = dir.ok("cat told -q").stdout;
    assert!(!told.is_empty() && !String::from_utf8_lossy(&told).contains("sesame"));
}
