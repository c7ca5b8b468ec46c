//! Tests of keys as users give them: every kind of key, prompts, plugins, encrypted identity files, and mistakes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::terminal::on_a_terminal;
use crate::support::{Ran, TestDir, finish, noise, text};
use age_core::primitives::bech32_encode;

#[test]
fn every_kind_of_key_opens_what_was_encrypted_to_it() {
    let (dir, recipient) = TestDir::with_key();
    let content = text(200_000, 1);
    dir.write("in", &content);
    let post_quantum = dir.keygen("--pq -o pq");
    dir.write("pq.pub", format!("# a comment\n\n{post_quantum}\n").as_bytes());
    dir.write("passphrase", b"correct horse\n");
    dir.write("both.pub", format!("{recipient}\n{}\n", dir.keygen("-o other")).as_bytes());
    let mut cases = vec![
        (format!("-r {recipient}"), "-i key"),
        ("-R pq.pub".to_owned(), "-i pq"),
        ("-R both.pub".to_owned(), "-i other"),
        ("-R both.pub".to_owned(), "-i pq -i key"),
        ("--passphrase-file passphrase".to_owned(), "--passphrase-file passphrase"),
    ];
    dir.add_ssh_keys();
    cases.push(("-R ssh-ed25519.pub".to_owned(), "-i ssh-ed25519"));
    cases.push(("-R ssh-rsa.pub".to_owned(), "-i ssh-rsa"));
    cases.push(("-R ssh-rsa.pub -R ssh-ed25519.pub".to_owned(), "-i ssh-ed25519"));
    for (to, with) in cases {
        dir.ok(&format!("process in out {to} -qf"));
        dir.ok(&format!("restore out back {with} -qf"));
        assert!(dir.read("back") == content, "{to}, {with}");
        dir.ok(&format!("verify out {with} -q --against in"));
        assert_eq!(dir.ok(&format!("cat out {with} --range 100000..+10 -q")).stdout, &content[100_000..100_010]);
    }
}

#[test]
fn post_quantum_and_classic_recipients_do_not_mix_and_a_passphrase_stands_alone() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", b"content");
    dir.write("passphrase", b"x");
    let post_quantum = dir.keygen("--pq -o pq");
    for flags in [format!("-r {post_quantum}"), "--passphrase-file passphrase".to_owned()] {
        dir.fails_as(&format!("process in out -r {recipient} {flags} -q"), 2, "usage");
    }
}

#[test]
fn a_wrong_key_is_exit_5_and_says_what_the_file_has_and_what_was_tried() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", b"content");
    dir.ok("keygen -o other");
    dir.ok(&format!("process in out -r {recipient} -q"));
    dir.fails_as("restore out back -i other -q", 5, "no_match");
    assert_eq!(
        dir.fails("restore out back -i other -q", 5).matches("X25519").count(),
        2,
        "what it has, what was tried"
    );
    dir.fails_as("restore out back -q", 5, "no_match");
    assert!(dir.fails("restore out back -q", 5).contains("\nhint: -i FILE"));
    dir.write("good", b"right");
    dir.write("bad", b"wrong");
    dir.ok("process in pw --passphrase-file good -q");
    dir.fails_as("restore pw back --passphrase-file bad -q", 5, "wrong_passphrase");
    dir.ok("restore pw back --passphrase-file good -q");
}

/// A pipe can be read once: a check for a passphrase must not consume it.
#[test]
fn a_passphrase_comes_through_a_descriptor_once() {
    let dir = TestDir::new();
    dir.write("in", b"content");
    let pipeline = env!("CARGO_BIN_EXE_pipeline");
    for script in [
        format!("{pipeline} process in pw --passphrase-fd 3 -q 3< <(echo secret)"),
        format!("{pipeline} restore pw back --passphrase-fd 3 -q 3< <(echo secret)"),
        format!("AGE_PASSPHRASE_FD=3 {pipeline} verify pw -q 3< <(printf secret)"),
        format!("{pipeline} inspect pw --passphrase-fd 3 3< <(echo secret)"),
        format!("AGE_PASSPHRASE=secret {pipeline} cat pw --range 1..3 > range"),
        // These pipes are still empty when the program opens them.
        format!("{pipeline} verify pw --passphrase-file <(sleep 0.1; echo secret) -q"),
        format!("{pipeline} keygen -o key && {pipeline} process in k -q -R <(sleep 0.1; sed 's/.*: //; q' key)"),
        format!("{pipeline} verify k -q -i <(sleep 0.1; cat key)"),
        format!("mkfifo fifo; (sleep 0.1; cat key > fifo) & {pipeline} verify k -q -i fifo"),
    ] {
        let ran = dir.tool("bash", &["-c", &script], None).unwrap();
        assert!(ran.status.success(), "{script}: {}", ran.stderr);
    }
    assert_eq!((dir.read("back"), dir.read("range")), (b"content".to_vec(), b"on".to_vec()));
}

#[test]
fn nothing_is_written_that_would_not_be_read() {
    let (dir, recipient) = TestDir::with_key();
    let post_quantum = dir.keygen("--pq -o pq");
    let content = text(1000, 1);
    dir.write("in", &content);
    for (recipient, few, many) in [(&recipient, 9_000, 11_000), (&post_quantum, 400, 680)] {
        dir.write("recipients", format!("{recipient}\n").repeat(many).as_bytes());
        for flags in ["--rm", "--rm --verify", "--rm -a"] {
            dir.fails_as(&format!("process in out -q {flags} -R recipients"), 1, "cannot_encrypt");
            assert_eq!(dir.read("in"), content);
        }
        dir.write("recipients", format!("{recipient}\n").repeat(few).as_bytes());
        dir.ok("process in sealed -qf -R recipients");
        dir.ok("verify sealed -q -i key -i pq --against in");
    }
    // A file of keys is read whole or not at all.
    let key = dir.read("key");
    for (name, content) in [("recipients", recipient.as_bytes()), ("identities", &key), ("passphrase", b"sesame")] {
        let comments = b"# a comment\n".repeat((16 << 20) / 12 + 1);
        std::fs::set_permissions(
            dir.write(name, &[content, b"\n", &comments].concat()),
            fs::Permissions::from_mode(0o600),
        )
        .unwrap();
    }
    dir.fails_as("process in out -q -R recipients", 1, "read");
    dir.fails_as("process in out -q --passphrase-file passphrase", 1, "read");
    dir.fails_as("verify sealed -q -i identities", 1, "read");
}

#[test]
fn mistakes_with_keys_are_told_with_a_hint_and_without_the_secret() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", b"content");
    dir.write("recipient", recipient.as_bytes());
    fs::set_permissions(dir.path("recipient"), fs::Permissions::from_mode(0o600)).unwrap();
    let secret = String::from_utf8(dir.read("key")).unwrap().lines().last().unwrap().to_owned();
    dir.fails_as(&format!("process in out -r {secret} -q"), 2, "bad_key");
    let said = dir.fails(&format!("process in out -r {secret} -q"), 2);
    assert!(said.contains("\nhint: ") && !said.contains(&secret), "{said}");
    dir.ok(&format!("process in sealed -r {recipient} -q"));
    dir.fails_as("restore sealed out -i recipient -q", 2, "bad_key");
    assert!(dir.fails("restore sealed out -i recipient -q", 2).contains("\nhint: "));
    fs::set_permissions(dir.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = dir.ok("verify sealed -i key -q").stderr;
    assert!(said.contains("warning: 'key' "), "{said}");
    let mut command = dir.command(["process", "in", "plain", "-q"]);
    assert!(command.env("AGE_PASSPHRASE", "x").status().unwrap().success());
    assert!(dir.read("plain").starts_with(b"\x28\xb5\x2f\xfd"), "the environment does not ask for encryption");
    assert!(dir.fails("keygen -o key", 1).contains("'key'"));
    assert!(dir.read("key").ends_with(format!("{secret}\n").as_bytes()));
}

#[test]
fn a_key_gets_its_name_when_it_is_whole_private_and_on_the_disk() {
    let dir = TestDir::new();
    let calls = "trace=write,fsync,rename,renameat,renameat2,linkat";
    let args = ["-f", "-y", "-qq", "-o", "trace", "-e", calls, PIPELINE, "keygen", "-o", "key"];
    let Some(ran) = dir.tool("strace", &args, None) else { return };
    assert!(ran.status.success(), "{ran}");
    assert_eq!(fs::metadata(dir.path("key")).unwrap().permissions().mode() & 0o7777, 0o600);
    let trace = String::from_utf8(dir.read("trace")).unwrap();
    let at =
        |what: &str| trace.lines().position(|call| call.contains(what)).unwrap_or_else(|| panic!("{what}: {trace}"));
    let (written, named) = (at("# public key: "), at("\"key\""));
    let syncs: Vec<usize> =
        (0..).zip(trace.lines()).filter(|(_, call)| call.contains("fsync(")).map(|(i, _)| i).collect();
    assert!(written < syncs[0] && syncs[0] < named && named < syncs[1], "{trace}");
}

/// A header of a mebibyte once took most of a minute, and its message was as long.
#[test]
fn no_message_is_longer_than_4_kib() {
    let dir = TestDir::new();
    dir.ok("keygen -o key");
    let stanzas: String = (0..100_000).map(|index| format!("-> {index:x}\n\n")).collect();
    let mac = format!("--- {}\n", "A".repeat(43));
    let long = format!("-> {} b\n\n", "x".repeat(900_000));
    for (stanzas, code) in [(stanzas, 5), (long, 5)] {
        dir.write("hostile", format!("age-encryption.org/v1\n{stanzas}{mac}{}", "n".repeat(40)).as_bytes());
        for line in ["restore hostile back -i key -q", "verify hostile -i key -q"] {
            let said = dir.fails(line, code);
            assert!(said.len() <= 8192 && said.lines().all(|line| line.len() <= 4096), "{line}: {} bytes", said.len());
        }
    }
    let name = "\u{1b}".repeat(250);
    let path = vec![name.as_str(); 15].join("/");
    for args in [["restore", &path, "back"], ["process", &path, "back"], ["frobnicate", &path, "x"]] {
        let ran = finish(dir.command(args).output().unwrap());
        assert!(
            !ran.status.success() && ran.stderr.lines().all(|line| line.len() <= 4096),
            "{} bytes",
            ran.stderr.len()
        );
    }
    let long = "y".repeat(100_000);
    let ran = finish(dir.command(["process", "in", "out", "--level", &long]).output().unwrap());
    assert!(
        ran.status.code() == Some(2) && ran.stderr.lines().all(|line| line.len() <= 4096),
        "{} bytes",
        ran.stderr.len()
    );
}

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");

#[test]
fn an_identity_file_may_be_encrypted_itself_and_hold_keys_of_all_kinds() {
    let (dir, recipient) = TestDir::with_key();
    let post_quantum = dir.keygen("--pq -o pq");
    dir.write("in", b"content");
    dir.write("passphrase", b"sesame\n");
    dir.write("keys", &[dir.read("key"), dir.read("pq")].concat());
    dir.ok("process keys keys.age --no-compress --passphrase-file passphrase -q");
    dir.ok("process keys keys.asc -a --no-compress --passphrase-file passphrase -q");
    for to in [recipient, post_quantum] {
        dir.ok(&format!("process in out -r {to} -qf"));
        for file in ["keys.age", "keys.asc"] {
            dir.ok(&format!("restore out back -i {file} --passphrase-file passphrase -qf"));
            assert_eq!(dir.read("back"), b"content");
        }
        let mut command = dir.command(["verify", "out", "-i", "keys.age", "-q"]);
        assert!(command.env("AGE_PASSPHRASE", "sesame").status().unwrap().success());
        let prompt = [("passphrase of 'keys.age': ", "sesame\n")];
        let shown = on_a_terminal(&dir, &format!("{PIPELINE} cat out -i keys.age; echo code $?"), &prompt);
        assert!(shown.contains("content") && shown.contains("code 0"), "{shown}");
    }
    dir.write("wrong", b"other");
    dir.fails_as("restore out b2 -i keys.age --passphrase-file wrong -q", 5, "wrong_passphrase");
    assert!(dir.fails("restore out b2 -i keys.age --passphrase-file wrong -q", 5).contains("'keys.age'"));
    let max = "--max-work-factor 17 --passphrase-file passphrase";
    dir.fails_as(&format!("restore out b2 -i keys.age {max} -q"), 4, "work_factor_too_large");
}

#[test]
fn an_encrypted_ssh_key_is_asked_for_its_passphrase_only_when_a_stanza_is_for_it() {
    let (dir, recipient) = TestDir::with_key();
    dir.add_ssh_keys();
    dir.write("in", b"content");
    dir.ok("process in out -R ssh-encrypted.pub -R ssh-rsa.pub -q");
    let prompt = [("passphrase of the ssh key: ", "secret\n")];
    let shown = on_a_terminal(&dir, &format!("{PIPELINE} cat out -i ssh-encrypted; echo code $?"), &prompt);
    assert!(shown.contains("content") && shown.contains("code 0") && !shown.contains("secret"), "{shown}");
    dir.write("secret", b"secret\n");
    dir.write("wrong", b"another\n");
    for line in ["verify out -q -i ssh-encrypted", "cat out -i ssh-encrypted", "verify out -q -i key -i ssh-encrypted"]
    {
        dir.ok(&format!("{line} --passphrase-file secret"));
        let mut command = dir.command(line.split(' '));
        assert!(command.env("AGE_PASSPHRASE", "secret").status().unwrap().success(), "{line}");
    }
    dir.fails_as("verify out -q -i ssh-encrypted --passphrase-file wrong", 5, "wrong_passphrase");
    // Another identity may open the file.
    dir.ok("verify out -q -i ssh-encrypted -i ssh-rsa --passphrase-file wrong");
    dir.write("tree/in", b"content");
    dir.ok("process tree sealed -q -R ssh-encrypted.pub");
    dir.ok("restore sealed back-again -q -i ssh-encrypted --passphrase-file secret");
    dir.ok(&format!("process in other -r {recipient} -q"));
    dir.fails_as("restore other back -i ssh-encrypted -q", 5, "no_match");
    dir.ok("restore other back -i ssh-encrypted -i key -q");
}

/// The recipient and the identity of the plugin `name`.
pub fn plugin_keys(name: &str) -> (String, String) {
    let hrp = |text: &str| bech32::Hrp::parse(text).unwrap();
    let recipient = bech32_encode(hrp(&format!("age1{name}")), b"anyone");
    (recipient, bech32_encode(hrp(&format!("age-plugin-{name}-")), b"anyone").to_uppercase())
}

fn with_plugin(dir: &TestDir, line: &str, environment: &[(&str, &str)]) -> Ran {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/keys");
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
    let mut command = dir.command(line.split_whitespace());
    let output = command.env("PATH", path).envs(environment.iter().copied()).output().unwrap();
    Ran { status: output.status, stdout: output.stdout, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

#[test]
fn a_plugin_wraps_and_unwraps() {
    let (dir, recipient) = TestDir::with_key();
    let (plugin, identity) = plugin_keys("test");
    dir.write("in", &text(300_000, 1));
    dir.write("plugin", identity.as_bytes());
    fs::set_permissions(dir.path("plugin"), fs::Permissions::from_mode(0o600)).unwrap();
    for to in [format!("-r {plugin}"), format!("-r {recipient} -r {plugin}")] {
        let ran = with_plugin(&dir, &format!("process in out {to} -qf"), &[]);
        assert!(ran.status.success(), "{}", ran.stderr);
        let ran = with_plugin(&dir, "restore out back -i plugin -qf", &[]);
        assert!(ran.status.success() && dir.read("back") == dir.read("in"), "{}", ran.stderr);
    }
    dir.ok("verify out -i key -q");
    dir.ok(&format!("process in other -r {recipient} -q"));
    let ran = with_plugin(&dir, "restore other b2 -i plugin -q", &[]);
    assert_eq!(ran.status.code(), Some(5), "{}", ran.stderr);
    // The plugin is not installed.
    dir.fails_as("restore out b2 -i plugin -q", 5, "plugin");
    dir.fails_as(&format!("process in b2 -r {plugin} -q"), 1, "cannot_encrypt");
    assert!(dir.fails(&format!("process in b2 -r {plugin} -q"), 1).contains("age-plugin-test"));
}

#[test]
fn a_plugin_may_ask_on_the_terminal_and_gives_labels() {
    let (dir, recipient) = TestDir::with_key();
    let (plugin, _) = plugin_keys("test");
    dir.write("in", b"content");
    let post_quantum = dir.keygen("--pq -o pq");
    let label = [("AGE_PLUGIN_TEST_LABEL", "postquantum")];
    let ran = with_plugin(&dir, &format!("process in out -r {plugin} -r {post_quantum} -q"), &label);
    assert!(ran.status.success(), "{}", ran.stderr);
    let ran = with_plugin(&dir, &format!("process in b2 -r {plugin} -r {recipient} -q --stats json"), &label);
    assert!(ran.is_failure(2, "usage"), "{ran}");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/keys");
    let script =
        format!("PATH={folder}:$PATH AGE_PLUGIN_TEST_ASK=1 {PIPELINE} process in b2 -r {plugin}; echo code $?");
    let shown = on_a_terminal(&dir, &script, &[("the PIN: ", "1234\n")]);
    assert!(shown.contains("it was 1234") && shown.contains("code 0"), "{shown}");
}

#[test]
fn a_plugin_name_that_is_a_path_is_refused() {
    let dir = TestDir::new();
    dir.write("in", b"content");
    fs::create_dir(dir.path("age-plugin-x")).unwrap();
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/keys/age-plugin-test"), dir.path("evil")).unwrap();
    for name in ["x/../evil", "/evil", "../evil", "x/../../../../../../../bin/sh"] {
        let (recipient, identity) = plugin_keys(name);
        dir.write("plugin", identity.as_bytes());
        fs::set_permissions(dir.path("plugin"), fs::Permissions::from_mode(0o600)).unwrap();
        dir.fails_as(&format!("process in out -r {recipient} -q"), 2, "bad_key");
        dir.fails_as("restore in out -i plugin -q", 2, "bad_key");
    }
}

/// Data written to the file while rekey makes the new header would be lost.
#[test]
fn rekey_in_place_leaves_a_file_alone_that_changes_meanwhile() {
    let dir = TestDir::new();
    let (plugin, identity) = plugin_keys("test");
    dir.write("in", &noise(300_000, 1));
    dir.write("plugin", identity.as_bytes());
    fs::set_permissions(dir.path("plugin"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(with_plugin(&dir, &format!("process in sealed -r {plugin} -q"), &[]).status.success());
    let sealed = dir.read("sealed");
    let rekey = format!("rekey sealed --in-place -i plugin -r {} -q --stats json", dir.keygen("-o key"));
    let touch = format!("touch -d 2001-01-01 {}", dir.path("sealed").display());
    let ran = with_plugin(&dir, &rekey, &[("AGE_PLUGIN_TEST_RUN", &touch)]);
    assert!(ran.is_failure(1, "changed"), "{ran}");
    assert_eq!(dir.read("sealed"), sealed);
    assert!(with_plugin(&dir, &rekey, &[]).status.success());
    dir.ok("verify sealed -i key -q --against in");
}

#[test]
fn an_empty_passphrase_in_the_environment_matters_only_where_one_is_wanted() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", b"content");
    dir.ok(&format!("process in out -r {recipient} -q"));
    let mut command = dir.command(["verify", "out", "-i", "key", "-q"]);
    assert!(command.env("AGE_PASSPHRASE", "").status().unwrap().success());
    let mut command = dir.command(["process", "in", "b2", "-p", "-q"]);
    assert_eq!(command.env("AGE_PASSPHRASE", "").output().unwrap().status.code(), Some(2));
}

/// The test searches for secrets in messages, in the arguments that other users see, and in core dumps.
#[test]
fn secrets_show_nowhere() {
    use crate::support::child::{Running, wait_until_waiting};

    let dir = TestDir::new();
    dir.ok("keygen -o key");
    dir.write("in", &noise(3 << 20, 1));
    dir.write("passphrase", b"sesame-open");
    let key = String::from_utf8(dir.read("key")).unwrap();
    let secret = key.lines().last().unwrap().to_owned();
    let recipient = key.lines().next().unwrap().strip_prefix("# public key: ").unwrap();
    let shows_none = |said: &[u8], line: &str| {
        let said = String::from_utf8_lossy(said);
        assert!(!said.contains("sesame-open") && !said.contains(&secret[20..]), "{line}: {said}");
    };
    for line in [
        format!("process in a -r {recipient} -v --stats json"),
        "process in p --passphrase-file passphrase -v".to_owned(),
        "restore a b -i key -v".to_owned(),
        "restore p b2 --passphrase-file passphrase -v --stats json".to_owned(),
        "restore p b3 -i key -v".to_owned(),
        "restore a b3 --passphrase-file passphrase -v".to_owned(),
        "inspect p --passphrase-file passphrase --json".to_owned(),
        format!("rekey p r --passphrase-file passphrase -r {recipient}"),
        "process in x -r key -v".to_owned(),
        "process in x -R key -v".to_owned(),
        "verify in -i passphrase -v".to_owned(),
    ] {
        let ran = dir.run(&line);
        shows_none(ran.stderr.as_bytes(), &line);
        shows_none(&ran.stdout, &line);
    }
    for line in ["restore p - --passphrase-file passphrase -q", "restore a - -i key -q", "process in - -p -q"] {
        let mut command = dir.command(line.split(' '));
        let mut child = Running(command.env("AGE_PASSPHRASE", "sesame-open").stdout(Stdio::piped()).spawn().unwrap());
        wait_until_waiting(&child);
        let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        let core = limits.lines().find(|limit| limit.starts_with("Max core ")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{line}");
        shows_none(&fs::read(format!("/proc/{}/cmdline", child.id())).unwrap(), line);
        child.kill().unwrap();
    }
}

#[test]
fn keygen_tells_the_recipients_of_identities() {
    let (dir, recipient) = TestDir::with_key();
    let post_quantum = dir.keygen("--pq -o pq");
    assert_eq!(dir.ok("keygen -y key").stdout, format!("{recipient}\n").as_bytes());
    dir.write("both", &[dir.read("key"), dir.read("pq")].concat());
    dir.ok("keygen -y both -o recipients");
    assert_eq!(dir.read("recipients"), format!("{recipient}\n{post_quantum}\n").as_bytes());
    dir.write("in", b"content");
    dir.write("passphrase", b"x");
    dir.ok("process key locked --no-compress --passphrase-file passphrase -q");
    let mut command = dir.command(["keygen", "-y", "locked"]);
    let ran = command.env("AGE_PASSPHRASE", "x").output().unwrap();
    assert_eq!(ran.stdout, format!("{recipient}\n").as_bytes());
    dir.add_ssh_keys();
    assert!(dir.fails("keygen -y ssh-ed25519", 1).contains("\nhint: "));
    assert!(dir.fails("keygen -y recipients", 2).contains("\nhint: "));
}

#[test]
fn a_key_is_never_taken_from_what_is_the_input_or_from_a_descriptor_that_is_not_open() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", b"content");
    dir.write("recipients", format!("{recipient}\n").as_bytes());
    // Descriptor 9 is free. A file opened later could get it, for instance the input, which --rm then deletes.
    for line in
        ["process in out --rm --passphrase-fd 9", "restore in out --passphrase-fd 9", "verify in --passphrase-fd 9"]
    {
        assert!(dir.fails(line, 2).contains("--passphrase-fd: "), "{line}");
    }
    dir.fails("process in out --passphrase-fd 1", 2);
    let mut command = dir.command(["process", "in", "out", "-p"]);
    let ran = finish(command.env("AGE_PASSPHRASE_FD", "9").output().unwrap());
    assert!(ran.status.code() == Some(2) && ran.stderr.contains("AGE_PASSPHRASE_FD: "), "{ran}");
    for line in [
        "process - out --passphrase-fd 0",
        "process - out --passphrase-file /dev/stdin",
        "process /dev/stdin out -R /dev/fd/0",
        "restore - out -i /dev/stdin",
        "rekey - out -i key -R /dev/stdin",
    ] {
        let ran = dir.run_with(line, b"content");
        assert_eq!(ran.status.code(), Some(2), "{line}: {ran}");
    }
    assert!(!dir.path("out").exists() && dir.path("in").exists());
    let ran = dir.run_with("process in out -q --passphrase-fd 0", b"secret\n");
    assert!(ran.status.success(), "{ran}");
    let ran = dir.run_with("restore out back -q --passphrase-file /dev/stdin", b"secret");
    assert!(ran.status.success() && dir.read("back") == b"content", "{ran}");
}

#[test]
fn two_variables_for_a_passphrase_are_refused_where_one_is_used() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", b"content");
    dir.write("passphrase", b"x");
    dir.ok(&format!("process in sealed -q -r {recipient}"));
    dir.ok("process in locked -q --passphrase-file passphrase");
    let run = |line: &str| {
        let mut command = dir.command(line.split(' ').chain(["--stats", "json"]));
        finish(command.env("AGE_PASSPHRASE", "x").env("AGE_PASSPHRASE_FD", "0").output().unwrap())
    };
    assert!(run("verify locked -q").is_failure(2, "usage"));
    assert!(run("process in other -p -q").is_failure(2, "usage"));
    for line in ["verify sealed -q -i key", "verify locked -q --passphrase-file passphrase", "process in bare -q"] {
        assert!(run(line).status.success(), "{line}");
    }
}

#[test]
fn rekey_takes_a_new_passphrase_from_a_file() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", b"content");
    dir.write("old", b"one");
    dir.write("new", b"two");
    dir.ok(&format!("process in sealed -q -r {recipient}"));
    dir.ok("rekey sealed locked -q -i key --new-passphrase-file new");
    dir.ok("verify locked -q --passphrase-file new");
    dir.ok("rekey locked again -q --passphrase-file new --new-passphrase-file old");
    dir.ok("verify again -q --passphrase-file old");
    dir.fails_as("verify again --passphrase-file new", 5, "wrong_passphrase");
    assert!(dir.fails("restore locked back -i key", 5).contains("\nhint: "));
    assert!(dir.fails("process in out -r new", 2).contains("\nhint: -R FILE"));
}
