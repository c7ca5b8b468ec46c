//! A shell on a pseudo-terminal: what it shows, and what is typed.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::TestDir;

/// Runs `script` in a shell on a pseudo-terminal. Each of `answers` is a prompt to wait for and the text to type then.
/// Returns all output of the terminal.
pub fn on_a_terminal(dir: &TestDir, script: &str, answers: &[(&str, &str)]) -> String {
    // Default signal handling as after a login, even if this process ignores some signals.
    let mut command = Command::new("env");
    command
        .args(["--default-signal", "script", "-qec", script, "/dev/null"])
        .current_dir(dir.root())
        .env("SHELL", "/bin/bash");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is in bsdutils");
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut seen_len) = (Vec::new(), 0);
    let mut more = |shown: &mut Vec<u8>| {
        let mut piece = [0; 1024];
        let len = screen.read(&mut piece).unwrap_or(0);
        shown.extend_from_slice(&piece[..len]);
        len > 0
    };
    for (prompt, typed) in answers {
        loop {
            let rest = String::from_utf8_lossy(&shown[seen_len..]).into_owned();
            if let Some(at) = rest.find(prompt) {
                seen_len += at + prompt.len();
                break;
            }
            assert!(more(&mut shown), "{script}: no {prompt:?} in {:?}", String::from_utf8_lossy(&shown));
        }
        keyboard.write_all(typed.as_bytes()).unwrap();
    }
    while more(&mut shown) {}
    child.wait().unwrap();
    String::from_utf8_lossy(&shown).into_owned()
}
