//! Tests of the program on a terminal: prompts, echo, signals of keys, what may be shown.

use crate::support::terminal::on_a_terminal;
use crate::support::{TestDir, text};

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");

/// The filter once looked at each write by itself.
#[test]
fn a_terminal_gets_text_and_no_control_characters_however_they_are_split() {
    let dir = TestDir::new();
    let far = |tail: &[u8]| [&[b'x'; 4095], tail].concat();
    for (content, code) in
        [(far("\u{201C}À\u{201D}".as_bytes()), 0), (far(b"\xC2\x9B2J"), 1), (far(b"\xC2"), 0), (b"a\x9B2J".to_vec(), 1)]
    {
        dir.write("in", &content);
        dir.ok("process in out -qf");
        let shown = on_a_terminal(&dir, &format!("{PIPELINE} restore out - -q; echo code $?"), &[]);
        assert!(shown.contains(&format!("code {code}")), "{:02x?}", &content[content.len() - 4..]);
    }
}

#[test]
fn a_passphrase_is_asked_for_on_the_terminal_also_when_data_comes_through_stdin_and_is_not_shown() {
    let dir = TestDir::new();
    let content = text(100_000, 1);
    dir.write("in", &content);
    let twice = [("new passphrase: ", "sesame\n"), ("the same again: ", "sesame\n")];
    let shown = on_a_terminal(&dir, &format!("cat in | {PIPELINE} process - out -p -q; echo code $?"), &twice);
    assert!(shown.contains("code 0") && !shown.contains("sesame"), "{shown}");
    let once = [("passphrase: ", "sesame\n")];
    let shown = on_a_terminal(&dir, &format!("cat out | {PIPELINE} restore - back -q; echo code $?"), &once);
    assert!(shown.contains("code 0") && !shown.contains("sesame"), "{shown}");
    assert!(dir.read("back") == content);
    let differ = [("new passphrase: ", "sesame\n"), ("the same again: ", "sesam\n")];
    let line = "process in other -p -q --stats json";
    let shown = on_a_terminal(&dir, &format!("{PIPELINE} {line}; echo code $?"), &differ);
    assert!(shown.contains("\"kind\":\"no_answer\"") && shown.contains("code 1"), "{shown}");
    let line = "restore out b2 -q --stats json";
    let shown = on_a_terminal(&dir, &format!("{PIPELINE} {line}; echo code $?"), &[("passphrase: ", "x\n")]);
    assert!(shown.contains("\"kind\":\"wrong_passphrase\"") && shown.contains("code 5"), "{shown}");
    assert_eq!(dir.names(), ["back", "in", "out"]);
}

/// A signal at a prompt once left the terminal without echo, and could not end a prompt before the run.
#[test]
fn a_signal_at_a_prompt_ends_it_and_leaves_the_terminal_as_it_was() {
    let dir = TestDir::new();
    dir.write("in", b"content");
    dir.write("passphrase", b"sesame");
    dir.ok("process in sealed --passphrase-file passphrase -q");
    dir.ok("keygen -o key");
    dir.ok("process key key.age --no-compress --passphrase-file passphrase -q");
    for (line, prompt) in [
        ("process in out -p -q", "new passphrase: "),
        ("restore sealed out -q", "passphrase: "),
        ("restore sealed out -i key.age -q", "passphrase of 'key.age': "),
        ("rekey sealed out -p -q", "new passphrase: "),
    ] {
        let script = format!("trap : INT; {PIPELINE} {line} --stats json; echo code $?; stty -a");
        let shown = on_a_terminal(&dir, &script, &[(prompt, "\x03")]);
        assert!(shown.contains("code 130") && shown.contains("\"kind\":\"stopped\""), "{line}: {shown}");
        assert!(shown.contains(" echo ") && !shown.contains("-echo "), "{line}: {shown}");
    }
    assert_eq!(dir.names(), ["in", "key", "key.age", "passphrase", "sealed"]);
}

/// The terminal once stayed without echo for the shell, and showed what was typed after `fg`.
#[test]
fn a_prompt_that_is_suspended_gives_echo_back_and_takes_it_again() {
    let dir = TestDir::new();
    dir.write("in", b"content");
    let script = format!("set -m; {PIPELINE} process in out -p -q; stty -a; echo suspended; fg; echo code $?; stty -a");
    let answers = [
        ("new passphrase: ", "half\x1a"),
        ("suspended", ""),
        ("new passphrase: ", "sesame\n"),
        ("the same again: ", "\x1a"),
        ("code ", ""),
    ];
    let shown = on_a_terminal(&dir, &script, &answers);
    let (stopped, resumed) = shown.split_once("suspended").unwrap();
    assert!(stopped.contains(" echo ") && !stopped.contains("-echo ") && !stopped.contains("half"), "{shown}");
    assert!(resumed.contains(" echo ") && !resumed.contains("-echo ") && !shown.contains("sesame"), "{shown}");
    let script = format!("set -m; {PIPELINE} process in out -p -q; fg; echo code $?");
    let answers = [("new passphrase: ", "\x1a"), ("new passphrase: ", "sesame\n"), ("the same again: ", "sesame\n")];
    let shown = on_a_terminal(&dir, &script, &answers);
    assert!(shown.contains("code 0") && !shown.contains("sesame"), "{shown}");
    let (first, both) = ("cat in | ", "the job of both");
    let script = format!("set -m; sleep 1000 | {PIPELINE} process in b2 -p -q; echo {both}; kill %1; fg");
    let shown = on_a_terminal(&dir, &script, &[("new passphrase: ", "\x1a"), (both, "")]);
    assert!(shown.contains(both) && !shown.contains(first), "{shown}");
}

#[test]
fn the_quit_key_at_a_prompt_leaves_the_terminal_as_it_was() {
    let dir = TestDir::new();
    dir.write("in", b"content");
    let script = format!("trap : QUIT; {PIPELINE} process in out -p -q --stats json; echo code $?; stty -a");
    let shown = on_a_terminal(&dir, &script, &[("new passphrase: ", "half\x1c")]);
    assert!(shown.contains("code 131") && shown.contains("\"kind\":\"stopped\""), "{shown}");
    assert!(shown.contains(" echo ") && !shown.contains("-echo "), "{shown}");
    assert_eq!(dir.names(), ["in"]);
}
