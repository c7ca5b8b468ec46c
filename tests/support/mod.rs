//! Helpers that the tests share: the built binary, temporary directories, data to compress.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its own part, and a test may panic")]

pub mod child;

pub mod mount;

pub mod terminal;

pub mod tree;

pub mod verdict;

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

/// The size of a test: `fast` by default, `slow` with `PIPELINE_TESTS=slow` in the environment.
pub fn share<T>(fast: T, slow: T) -> T {
    match std::env::var_os("PIPELINE_TESTS") {
        Some(value) if value == "slow" => slow,
        _ => fast,
    }
}

/// Something that a test needs and the machine may lack.
#[derive(Clone, Copy, Debug)]
pub enum Need<'a> {
    Tool(&'a str),
    /// A right that the kernel grants or denies: `mount`, `cgroup`, `ptrace`, `root`, `immutable`, `shutdown`.
    Right(&'a str),
    /// Files outside of the repository.
    Data(&'a str),
}

/// Records that the current test could not run in full because `need` is missing. `make test` counts and names such
/// tests at its end, since the harness hides the output of a passing test.
pub fn skip(need: Need<'_>) {
    let (kind, name) = match need {
        Need::Tool(name) => ("tool", name),
        Need::Right(name) => ("right", name),
        Need::Data(name) => ("data", name),
    };
    let thread = std::thread::current();
    let line = format!("{kind} {name}: {}\n", thread.name().unwrap_or("a test"));
    eprint!("SKIPPED: {line}");
    if let Some(list) = std::env::var_os("PIPELINE_SKIPPED") {
        let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}

/// Whether processes can be traced here; records a skip if not.
pub fn can_trace() -> bool {
    if is_missing("strace") {
        skip(Need::Tool("strace"));
        return false;
    }
    let can = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let can = can.is_ok_and(|status| status.success());
    if !can {
        skip(Need::Right("ptrace"));
    }
    can
}

/// A temporary directory, and the binary to run in it.
pub struct TestDir {
    directory: tempfile::TempDir,
}

/// The output of a command and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {:?}", self.status, self.stderr)
    }
}

impl Ran {
    /// The `error` of the JSON report of a run that failed and was given `--stats json`.
    pub fn error(&self) -> serde_json::Value {
        let json = self.stderr.lines().find(|line| line.starts_with('{')).unwrap_or_default();
        let report: serde_json::Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {self}"));
        assert_eq!(report["error"]["exit_code"].as_i64(), self.status.code().map(i64::from), "{self}");
        report["error"].clone()
    }

    /// Whether the run ended with `code` and reported a failure of `kind`.
    pub fn is_failure(&self, code: i32, kind: &str) -> bool {
        self.status.code() == Some(code) && self.error()["kind"] == kind
    }
}

impl TestDir {
    pub fn new() -> TestDir {
        TestDir { directory: tempfile::tempdir().unwrap() }
    }

    /// Makes a directory with an identity in `key`. Returns it with the recipient.
    pub fn with_key() -> (TestDir, String) {
        let dir = TestDir::new();
        let recipient = dir.keygen("-o key");
        (dir, recipient)
    }

    /// Makes an identity and returns its recipient.
    pub fn keygen(&self, flags: &str) -> String {
        let said = self.ok(&format!("keygen {flags}")).stderr;
        said.trim().strip_prefix("Public key: ").unwrap().to_owned()
    }

    /// Copies the throw-away keys of `tests/support/keys` into the directory.
    pub fn add_ssh_keys(&self) {
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/keys");
        for name in ["ssh-ed25519", "ssh-rsa", "ssh-encrypted"] {
            let private = self.write(name, &std::fs::read(keys.join(name)).unwrap());
            std::fs::set_permissions(private, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::fs::copy(keys.join(format!("{name}.pub")), self.path(format!("{name}.pub"))).unwrap();
        }
    }

    pub fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.directory.path().join(name.as_ref())
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The binary with `args`, in this directory, with a clean environment. Nothing is synced: tests do not cut the
    /// power.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipeline"));
        command.args(args).current_dir(self.directory.path()).stdin(Stdio::null());
        let ours = std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PIPELINE_"));
        for (name, _) in ours {
            command.env_remove(name);
        }
        command.env("XDG_CONFIG_HOME", self.path("config")).env("XDG_STATE_HOME", self.path("state"));
        command.env_remove("ZSTD_CLEVEL").env_remove("ZSTD_NBTHREADS");
        command
    }

    /// Runs the binary with the words of `line`.
    pub fn run(&self, line: &str) -> Ran {
        finish(self.command(line.split_whitespace()).output().unwrap())
    }

    /// Runs the binary with the words of `line` and `input` through a pipe.
    pub fn run_with(&self, line: &str, input: &[u8]) -> Ran {
        let mut command = self.command(line.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        feed(command, input)
    }

    /// Runs the binary; the run must succeed.
    pub fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert!(ran.status.success(), "{line}: {ran:?}");
        ran
    }

    /// Like [`fails`](TestDir::fails) with a JSON report, whose error must be of `kind`. Returns the error.
    pub fn fails_as(&self, line: &str, code: i32, kind: &str) -> serde_json::Value {
        let before = self.names();
        let ran = self.run(&line.replacen(' ', " --stats json ", 1));
        assert!(ran.is_failure(code, kind), "{line}, {code} {kind}: {ran}");
        assert_eq!(self.names(), before, "{line} left something behind");
        ran.error()
    }

    /// Runs the binary, which must exit with `code`, print one error line, and leave no new file.
    pub fn fails(&self, line: &str, code: i32) -> String {
        let before = self.names();
        let ran = self.run(line);
        assert_eq!(ran.status.code(), Some(code), "{line}: {ran:?}");
        assert_eq!(self.names(), before, "{line} left something behind");
        let errors: Vec<&str> =
            ran.stderr.lines().filter(|l| !l.starts_with("hint: ") && !l.contains("warning")).collect();
        assert_eq!(errors.len(), 1, "{line}: an error is one line: {:?}", ran.stderr);
        assert!(errors[0].starts_with("pipeline: error: "), "{line}: {:?}", ran.stderr);
        ran.stderr
    }

    /// The report of a successful run, as JSON.
    pub fn report(&self, line: &str) -> serde_json::Value {
        let ran = self.ok(&format!("{line} --stats json"));
        let json = ran.stderr.lines().find(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr))
    }

    /// The `kind` in the batch report of each file or other entry that failed, by its source. The batch must exit with `code`.
    pub fn failed_kinds(&self, line: &str, code: i32) -> Vec<(String, String)> {
        let (report, _) = self.batch_report(line, code);
        let failed = report["files"].as_array().unwrap().iter().filter(|file| file["ended"] == "failed");
        let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        failed.map(|file| (word(&file["source"]), word(&file["kind"]))).collect()
    }

    /// The report of a batch that exits with `code`, as JSON, and the other lines of standard error.
    pub fn batch_report(&self, line: &str, code: i32) -> (serde_json::Value, String) {
        let ran = self.run(&format!("{line} --stats json"));
        assert_eq!(ran.status.code(), Some(code), "{line}: {ran}");
        let (json, said): (Vec<&str>, Vec<&str>) = ran.stderr.lines().partition(|line| line.starts_with('{'));
        assert_eq!(json.len(), 1, "{line}: {ran}");
        (serde_json::from_str(json[0]).unwrap(), said.join("\n"))
    }

    /// All names in the directory, temporaries included.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Runs another program here. Returns `None`, and records a skip, where it is not installed.
    pub fn tool(&self, program: &str, args: &[&str], input: Option<&[u8]>) -> Option<Ran> {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.directory.path()).stdin(Stdio::null());
        if is_missing(program) {
            skip(Need::Tool(program));
            return None;
        }
        Some(match input {
            None => finish(command.output().unwrap()),
            Some(input) => {
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                feed(command, input)
            }
        })
    }
}

pub fn is_missing(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_err()
}

fn feed(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        // The program may end before it has read all input.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    finish(output)
}

/// Converts the output of an ended command.
pub fn finish(output: Output) -> Ran {
    let Output { status, stdout, stderr } = output;
    Ran { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
}

/// Incompressible bytes, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| next().to_le_bytes()).take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}

/// Text-like bytes: they compress to about a third, and no two places in them are alike.
pub fn text(len: usize, seed: u64) -> Vec<u8> {
    let words = noise(len / 4 + 16, seed);
    let mut text: Vec<u8> = words
        .chunks(2)
        .enumerate()
        .flat_map(|(i, pair)| format!("{} line {i} of {}\n", pair[0] % 16, pair[1 % pair.len()]).into_bytes())
        .take(len)
        .collect();
    text.resize(len, b'.');
    text
}
