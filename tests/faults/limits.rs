//! Limits on what a process may have: descriptors, threads, address space, file size. Under any of them a run ends by itself: no panic, no
//! hang, one error, no temporary.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::child::{Running, end_of};
use crate::support::{Need, TestDir, is_missing, noise, share, skip, text};

/// Commands of every kind. `{R}` stands for a recipient.
const LINES: [&str; 17] = [
    "process in out -f",
    "process in out -f -r {R}",
    "process in out -f -r {R} --no-compress --verify",
    "process in out -f --engine mutex -w 4",
    "process tree outs -f",
    "restore z out -f",
    "restore a out -f -i key",
    "restore z out -f --engine mutex -w 4",
    "restore z out -f --salvage",
    "verify z",
    "verify a -i key",
    "cat z --range 70K..+70K",
    "cat a --range 70K..+70K -i key",
    "rekey a out -f -i key -r {R}",
    "inspect z",
    "inspect a -i key",
    "keygen",
];

/// Limits of one run; `None` is the limit of the test itself.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    descriptors: Option<u64>,
    processes: Option<u64>,
    address_bytes: Option<u64>,
    file_bytes: Option<u64>,
}

/// How a run under limits ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// With an exit code.
    Code(i32),
    /// It aborted: an allocation failed.
    NoMemory,
}

/// A directory, and a user of its own, whose processes nobody else adds to.
struct Cage {
    dir: TestDir,
    recipient: String,
    user: Option<u32>,
}

impl Cage {
    /// Returns `None`, and records a skip, where a limit cannot be set. `number` tells apart the users of tests in one process.
    fn new(number: u32) -> Option<Cage> {
        for tool in ["prlimit", "setpriv"] {
            if is_missing(tool) {
                skip(Need::Tool(tool));
                return None;
            }
        }
        let user = rustix::process::geteuid().is_root().then(|| 100_000 + std::process::id() * 4 + number);
        if user.is_none() {
            // The user's other processes count too, so a limit on processes says nothing about this run.
            skip(Need::Right("root"));
        }
        let (dir, recipient) = TestDir::with_key();
        dir.write("in", &text(1_500_000, 1));
        dir.write("empty", b"");
        for name in ["one", "two", "three/four"] {
            dir.write(&format!("tree/{name}"), &text(90_000, 2));
        }
        dir.ok("process in z -q --chunk-size 64K --no-sync");
        dir.ok(&format!("process in a -q --chunk-size 64K --no-sync -r {recipient}"));
        let mut broken = dir.read("z");
        broken[100_000..100_100].copy_from_slice(&noise(100, 3));
        dir.write("broken", &broken);
        fs::copy(env!("CARGO_BIN_EXE_pipeline"), dir.path("pipeline")).unwrap();
        let open = |name: &str, mode| fs::set_permissions(dir.path(name), Permissions::from_mode(mode)).unwrap();
        open("", 0o777);
        open("key", 0o644);
        open("tree", 0o777);
        Some(Cage { dir, recipient, user })
    }

    fn line(&self, line: &str) -> String {
        line.replace("{R}", &self.recipient)
    }

    /// Runs `line` within `limits`. It must end in time, without a panic, and leave no temporary.
    fn run(&self, limits: Limits, line: &str) -> Ended {
        let mut command = Command::new("prlimit");
        let Limits { descriptors, processes, address_bytes, file_bytes } = limits;
        let processes = processes.filter(|_| self.user.is_some());
        let set = [("nofile", descriptors), ("nproc", processes), ("as", address_bytes), ("fsize", file_bytes)];
        command.args(set.iter().filter_map(|(name, limit)| Some(format!("--{name}={0}:{0}", (*limit)?))));
        if let Some(user) = self.user {
            // The limits come last: setpriv itself would not start below them.
            let limit = std::mem::replace(&mut command, Command::new("setpriv"));
            command.args([&format!("--reuid={user}"), "--regid=65534", "--clear-groups"]);
            command.arg(limit.get_program()).args(limit.get_args());
        }
        command.arg(self.dir.path("pipeline")).args(self.line(line).split_whitespace());
        command.current_dir(self.dir.root()).env("XDG_CONFIG_HOME", self.dir.path("config"));
        command.env("XDG_STATE_HOME", self.dir.path("state"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Running(command.spawn().unwrap());
        let (said, _, _) = end_of(&mut child);
        let status = child.wait().unwrap();
        let what = format!("{limits:?}, {line}: {status}, {said:?}");
        let is_allocation = said.lines().any(|line| line.starts_with("memory allocation of "));
        let ended = match status.code() {
            Some(code) => Ended::Code(code),
            None if status.signal() == Some(6) && is_allocation => Ended::NoMemory,
            None => panic!("died of a signal: {what}"),
        };
        // The message of an abort may say of itself that it panicked.
        assert!(ended == Ended::NoMemory || !said.contains("panicked"), "{what}");
        assert!(!matches!(ended, Ended::Code(101)), "{what}");
        let left = temporaries(self.dir.root());
        // Even a run that aborts leaves none: an output has no name before it is complete.
        assert!(left.is_empty(), "{left:?} is left: {what}");
        self.clean();
        ended
    }

    /// Removes what a run wrote.
    fn clean(&self) {
        for name in temporaries(self.dir.root()).iter().chain(["out", "report"].map(String::from).iter()) {
            let _ = fs::remove_file(self.dir.path(name));
        }
        for name in ["outs", "state"] {
            let _ = fs::remove_dir_all(self.dir.path(name));
        }
    }
}

/// Paths of the temporaries below `root`.
fn temporaries(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(temporaries(&path)),
            false if path.extension().is_some_and(|extension| extension == "tmp") => {
                found.push(path.to_str().unwrap().to_owned());
            }
            false => {}
        }
    }
    found
}

#[test]
fn too_few_descriptors_are_an_error_in_every_command() {
    let Some(cage) = Cage::new(0) else { return };
    for line in LINES {
        // With three the loader cannot open a library; with 24 every command succeeds.
        for count in (4..=24).step_by(share(2, 1)).chain([7]) {
            let ended = cage.run(Limits { descriptors: Some(count), ..Limits::default() }, line);
            assert!(count < 24 || ended == Ended::Code(0), "{count} descriptors, {line}: {ended:?}");
        }
    }
}

/// The mutex mode waited for ever for a worker that was never started.
#[test]
fn a_thread_that_cannot_start_ends_the_run_in_every_command() {
    let Some(cage) = Cage::new(1) else { return };
    for line in LINES {
        let runs =
            [1, 2, 3, 4, 5, 6, 7, 40].map(|count| (count, Limits { processes: Some(count), ..Limits::default() }));
        for (count, limits) in runs {
            let line = if line.contains("in out") { format!("{line} --chunk-size 64K") } else { line.to_owned() };
            let ended = cage.run(limits, &line);
            assert!(matches!(ended, Ended::Code(0 | 1)), "{count} threads, {line}: {ended:?}");
            assert!(count < 40 || ended == Ended::Code(0), "{count} threads, {line}: {ended:?}");
        }
    }
}

/// What is large asks for memory first, and leaves room for what is small: that aborts when it fails. Before, a run in ten aborted here.
#[test]
fn too_little_address_space_is_an_error_and_hardly_ever_an_abort() {
    let Some(cage) = Cage::new(3) else { return };
    let (mut runs, mut failed, mut aborted) = (0, 0, 0);
    for line in
        ["process in out -f -w 4 -r {R} --chunk-size 64K", "restore a out -f -i key", "restore z out -f --salvage"]
    {
        for address_bytes in (20_000_000..60_000_000).step_by(share(1_600_000, 200_000)) {
            let ended = cage.run(Limits { address_bytes: Some(address_bytes), ..Limits::default() }, line);
            runs += 1;
            failed += usize::from(ended == Ended::Code(1));
            aborted += usize::from(ended == Ended::NoMemory);
        }
    }
    println!("address space: of {runs} runs {failed} failed with an error, {aborted} aborted");
    assert!(failed > runs / 10 && aborted * 50 <= runs, "{aborted} of {runs} aborted, {failed} failed");
}

/// A source of choices, the same for the same seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// For each of `flags`, which are alternatives, one or none.
    fn flags(&mut self, flags: &[&[&str]]) -> String {
        let mut drawn =
            |of: &&[&str]| if self.below(3) == 0 { self.one_of(of).to_owned() + " " } else { String::new() };
        flags.iter().map(&mut drawn).collect()
    }

    fn limit(&mut self, rarity: usize, from: u64, to: u64) -> Option<u64> {
        (self.below(rarity) == 0).then(|| from + self.below((to - from) as usize) as u64)
    }

    fn limits(&mut self) -> Limits {
        Limits {
            descriptors: self.limit(3, 4, 40),
            processes: self.limit(3, 1, 20),
            // Below 24 MB even the loader and the runtime fail; with 400 MB all succeed.
            address_bytes: self.limit(2, 24_000_000, 400_000_000),
            file_bytes: self.limit(4, 0, 2_000_000),
        }
    }

    fn line(&mut self) -> String {
        let quiet = self.one_of(&["", "-q", "-v", "--progress always"]);
        let width: &[&str] = &["-w 1", "-w 3", "-w 7", "--memory 40M", "--memory 8M"];
        let reports: &[&str] =
            &["--stats text", "--stats json", "--stats-file report", "--prometheus report", "--hdr-log report"];
        let common = self.flags(&[width, reports]) + quiet;
        let engine =
            self.flags(&[&["--engine mutex", "--channel-depth 1", "--channel-depth 9"], &["--limit-rate 90M"]]);
        let compress = self.flags(&[&["-L 1", "-L 9"], &["--chunk-size 64K", "--chunk-size 512K"]]);
        let process = self.flags(&[&["--verify"], &["--no-sync"]]);
        let seal = self.one_of(&["", "", "-r {R}", "-r {R} -a"]);
        let layers = match self.below(5) {
            0 => "--no-compress -r {R}".to_owned(),
            _ => format!("{compress} {seal}"),
        };
        let batch = self.flags(&[&["-j 1", "-j 5"], &["--retries 1 --retry-wait 1ms"], &["--max-failures 1"]]);
        let input = self.one_of(&["in", "empty", "z", "key"]);
        let made = self.one_of(&["z", "a", "broken", "in"]);
        match self.below(10) {
            0..=2 => format!("process {input} out -f {process} {layers} {engine} {common}"),
            3 => format!("process tree outs -f {process} {layers} {batch} {common}"),
            4 => format!("restore {made} out -f -i key {engine} {common}"),
            5 => format!("restore {made} out -f -i key --salvage {quiet}"),
            6 => format!("verify {made} -i key {common}"),
            7 => format!("cat {made} -i key --range {} {common}", self.one_of(&["0..5", "70K..+300K", "1M..", "9M.."])),
            8 => format!("rekey {made} out -f -i key -r {{R}} {quiet}"),
            _ => format!("inspect {made} -i key"),
        }
    }
}

#[test]
fn random_flags_under_random_limits_neither_panic_nor_hang_nor_leave_a_temporary() {
    let Some(cage) = Cage::new(2) else { return };
    let mut draw = Draw(0x5EED_CAFE_F00D_D00D);
    let (mut succeeded, mut misused, mut failed, mut aborted) = (0, 0, 0, 0);
    for _ in 0..share(120, 2000) {
        let (limits, line) = (draw.limits(), draw.line());
        match cage.run(limits, &line) {
            Ended::Code(0) => succeeded += 1,
            Ended::Code(2) => misused += 1,
            Ended::Code(_) => failed += 1,
            Ended::NoMemory => aborted += 1,
        }
    }
    println!(
        "random limits: {succeeded} runs succeeded, {failed} failed, {misused} had flags that do not fit, {aborted} aborted"
    );
    assert!(succeeded > 10 && failed > 10, "the limits are too tight or too loose");
}
