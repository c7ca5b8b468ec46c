//! Tests of settings from flags, the environment, profiles and the configuration file, with the built binary.

use std::fs;

use crate::support::{TestDir, finish, text};

/// Makes a directory whose configuration file holds `config`.
fn bench_with(config: &str) -> TestDir {
    let dir = TestDir::new();
    fs::create_dir_all(dir.path("config/pipeline")).unwrap();
    dir.write("config/pipeline/config.toml", config.as_bytes());
    dir.write("in", &text(300_000, 1));
    dir
}

/// Workers, channel depth and frames of a run.
fn shape(dir: &TestDir, line: &str) -> (u64, u64, u64) {
    let report = dir.report(line);
    let number = |key: &str| report[key].as_u64().unwrap();
    (number("workers"), number("channel_depth"), number("frame_count"))
}

#[test]
fn the_configuration_file_is_found_where_the_platform_has_it() {
    let dir = bench_with("workers = 1\nchannel-depth = 9\nchunk-size = '64K'\n[profile.deep]\nchannel-depth = 11");
    assert_eq!(shape(&dir, "process in out -f"), (1, 9, 5));
    assert_eq!(shape(&dir, "process in out -f --profile deep"), (1, 11, 5));
    assert_eq!(shape(&dir, "--profile deep process in out -f --channel-depth 2"), (1, 2, 5));
    assert_eq!(shape(&dir, "process in out -f --no-config --workers 3"), (1, 4, 1));
    assert_eq!(shape(&dir, "process in out -f --profile debug"), (1, 1, 5));
    let mut command = dir.command("process in out -f --profile deep --stats json".split(' '));
    let said = finish(command.env("PIPELINE_CHANNEL_DEPTH", "7").output().unwrap()).stderr;
    assert!(said.contains(r#""channel_depth":7"#), "{said}");
    dir.write("other.toml", b"channel-depth = 3");
    assert_eq!(shape(&dir, "process in out -f --config other.toml").1, 3);
    // Without the variable the file is below the home directory.
    fs::rename(dir.path("config"), dir.path(".config")).unwrap();
    let mut command = dir.command("process in out -f --stats json".split(' '));
    let said = finish(command.env_remove("XDG_CONFIG_HOME").env("HOME", dir.root()).output().unwrap()).stderr;
    assert!(said.contains(r#""channel_depth":9"#), "{said}");
}

#[test]
fn mistakes_in_the_configuration_are_errors_of_every_command_and_name_their_line() {
    let dir = bench_with("level = 3\n\n[profile.never-used]\nlevel = 77\n");
    for line in ["process in out", "restore in out", "verify in", "cat in", "inspect in", "tune in", "config show"] {
        let said = dir.fails(line, 2);
        assert!(said.contains("config/pipeline/config.toml', line 4: level: "), "{line}: {said}");
        assert!(said.contains("77") && said.contains("\nhint: --no-config"), "{line}: {said}");
    }
    dir.ok("process in out --no-config");
    dir.ok("completions bash");
    dir.ok("keygen");
    dir.write("typo.toml", b"chanel-depth = 3");
    let said = dir.fails("process in out -f --config typo.toml", 2);
    assert!(said.contains("'chanel-depth'\nhint: ") && said.contains(": channel-depth\n"), "{said}");
    assert!(dir.fails("process in out -f --config missing.toml", 2).contains("'missing.toml'"));
    if dir.tool("mkfifo", &["fifo"], None).is_some() {
        assert!(dir.fails("process in out -f --config fifo", 2).contains("'fifo'"), "an error, not a wait");
    }
    dir.ok("process in out -f --config /dev/null");
    let said = dir.fails("process in out -f --no-config --profile mine", 2);
    assert!(said.contains("'mine'\nhint: ") && said.contains("debug, high-performance, standard\n"), "{said}");
    let said = dir.fails("process in out -f --no-config --profile standart", 2);
    assert!(said.contains("'standart'\nhint: ") && said.contains(": standard\n"), "{said}");
}

#[test]
fn a_profile_says_whom_to_encrypt_to_and_who_opens() {
    let (dir, recipient) = TestDir::with_key();
    let other = dir.keygen("-o other");
    dir.write("in", b"content");
    let config = format!("[profile.backup]\nrecipients = ['{recipient}']\nidentities = ['key']\nlevel = 9\n");
    dir.write("c.toml", config.as_bytes());
    dir.ok("process in --config c.toml --profile backup -q");
    dir.ok("restore in.zst.age back --config c.toml --profile backup -q");
    assert_eq!(dir.read("back"), b"content");
    // The configuration alone does not encrypt.
    dir.ok("process in --config c.toml -q");
    dir.ok("verify in.zst -q");
    // A flag replaces the value of the profile.
    dir.ok(&format!("process in theirs --config c.toml --profile backup -r {other} -q"));
    dir.ok("verify theirs -i other -q");
    dir.fails("verify theirs --config c.toml --profile backup", 5);
    dir.ok(&format!("rekey theirs ours -i other -r {recipient} -q"));
    dir.ok("verify ours --config c.toml --profile backup -q");
    dir.write("bad.toml", b"[profile.backup]\nlevel = 1\nrecipients = ['age1nobody']\n");
    let said = dir.fails("process in bad --config bad.toml --profile backup", 2);
    assert!(said.contains("'bad.toml', line 3: recipients: "), "{said}");
    dir.write("top.toml", b"recipients = ['age1nobody']\n");
    let said = dir.fails("process in bad --config top.toml", 2);
    assert!(said.contains("'top.toml', line 1: recipients "), "{said}");
    for (text, key) in [("recipients = []", "recipients"), ("recipients-files = ['']", "recipients-files")] {
        dir.write("empty.toml", format!("[profile.never-used]\n{text}").as_bytes());
        let said = dir.fails("process in bad --config empty.toml", 2);
        assert!(said.contains(&format!("'empty.toml', line 2: {key}: ")), "{said}");
    }
    // A passphrase in the environment adds to the profile, and opens an encrypted identity.
    dir.ok("process key locked --no-compress --passphrase-file in -q");
    dir.write("locked.toml", b"[profile.backup]\nidentities = ['locked']");
    for config in ["c.toml", "locked.toml"] {
        let line = format!("verify ours --config {config} --profile backup -q");
        let ran = finish(dir.command(line.split(' ')).env("AGE_PASSPHRASE", "content").output().unwrap());
        assert!(ran.status.success(), "{line}: {ran}");
    }
}

#[test]
fn verification_by_setting_is_done_where_it_can_be() {
    let dir = bench_with("verify = true");
    let verified = |ran: crate::support::Ran| ran.stderr.lines().any(|line| line.starts_with("verified: "));
    assert!(verified(dir.ok("process in out")) && !verified(dir.ok("process in other --no-config")));
    assert!(!dir.ok("process in - -q").stdout.is_empty());
    assert!(dir.fails("process in - --verify", 2).contains("--verify"));
}

#[test]
fn what_is_in_force_is_shown_with_its_source_and_gives_the_same_again() {
    let dir = bench_with("level = 9\n[profile.deep]\nchannel-depth = 11\n");
    let mut command = dir.command(["config", "show", "--profile", "deep"]);
    let shown = String::from_utf8(command.env("PIPELINE_WORKERS", "2").output().unwrap().stdout).unwrap();
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {shown}"));
    assert!(line("level = 9").ends_with("config/pipeline/config.toml', line 1"), "{shown}");
    assert!(line("channel-depth = 11").ends_with("line 3"), "{shown}");
    assert!(line("# memory").ends_with("# not set"), "{shown}");
    assert!(line("workers = 2").ends_with(" PIPELINE_WORKERS"), "{shown}");
    assert!(line("# chunk-size = \"8M\"").ends_with("# default"), "{shown}");
    dir.write("again.toml", shown.as_bytes());
    assert_eq!(shape(&dir, "process in out --config again.toml"), (1, 11, 1));
    assert!(
        dir.ok("config show --no-config --profile debug")
            .stdout
            .starts_with(b"# no configuration file\n# profile: debug\n")
    );
}

#[test]
fn what_is_logged_is_asked_for_and_holds_no_secret() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", &text(300_000, 1));
    assert!(!dir.ok("process in quiet").stderr.contains("DEBUG"));
    let logged = |line: &str, level: &str| {
        let ran = finish(dir.command(line.split(' ')).env("PIPELINE_LOG", level).output().unwrap());
        assert!(ran.status.success(), "{ran}");
        ran.stderr
    };
    let said = logged(&format!("process in out -r {recipient}"), "trace");
    for word in ["INFO", "a run begins", "DEBUG", "a thread ends", "TRACE", "service_ns", "OUT is complete"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let said = logged("restore out back -i key", "trace");
    let identity = String::from_utf8(dir.read("key")).unwrap();
    let secret = identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY")).unwrap();
    assert!(said.contains("a run ends") && !said.contains(secret), "{said}");
    assert!(!logged("process in -f", "pipeline::cli=debug").contains("a thread ends"));
    let mut command = dir.command(["process", "in", "-f"]);
    let ran = finish(command.env("PIPELINE_LOG", "loud").output().unwrap());
    assert!(ran.stderr.contains("PIPELINE_LOG: log: 'loud'"), "{ran}");
    assert_eq!(ran.status.code(), Some(2));
}

#[test]
fn a_flag_to_be_quiet_or_to_write_a_file_counts_before_a_setting_for_reports() {
    let dir = bench_with("stats = 'text'\nprogress = 'json'");
    assert_eq!(dir.ok("process in out -q").stderr, "");
    assert_eq!(dir.ok("cat out").stderr, "");
    dir.write("none.toml", b"stats = 'none'");
    dir.ok("process in out -f --config none.toml --stats-file said");
    assert!(dir.read("said").starts_with(b"processed: "));
    let said = dir.fails("process in out2 --config none.toml --stats-file none.toml", 2);
    assert!(said.contains("--stats-file") && said.contains("--config"), "{said}");
}
