//! The cases of a comparison: for each task, this program's settings and the installed peers.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::pipeline::plan::EngineKind;

/// A task that the compared tools perform on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Compress and encrypt.
    Process,
    /// Compress.
    Compress,
    /// Encrypt.
    Encrypt,
    /// Decrypt and decompress.
    Restore,
    /// Decompress.
    Decompress,
    /// Decrypt.
    Decrypt,
    /// Decrypt and decode, and write nothing.
    Verify,
}

impl Task {
    /// The name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Task::Process => "compress and encrypt",
            Task::Compress => "compress",
            Task::Encrypt => "encrypt",
            Task::Restore => "decrypt and decompress to a file",
            Task::Decompress => "decompress to a file",
            Task::Decrypt => "decrypt to a file",
            Task::Verify => "decrypt and decode, nothing written",
        }
    }

    /// The name in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Task::Process => "process",
            Task::Compress => "compress",
            Task::Encrypt => "encrypt",
            Task::Restore => "restore",
            Task::Decompress => "decompress",
            Task::Decrypt => "decrypt",
            Task::Verify => "verify",
        }
    }
}

/// Settings of a run of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Execution engine.
    pub engine: EngineKind,
    /// Workers in each parallel stage.
    pub workers: u32,
    /// The capacity of each channel, in items.
    pub channel_depth: u32,
}

/// A case: a tool at a task.
#[derive(Clone, Debug)]
pub struct Case {
    /// The task.
    pub task: Task,
    /// The zstd level, if the task has one.
    pub level: Option<i32>,
    /// The tool, as shown.
    pub name: String,
    /// Settings, for this program only.
    pub setting: Option<Setting>,
    /// Whether it is the reference: the tool that users run today.
    pub is_reference: bool,
    /// The commands.
    pub pipe: Pipe,
}

/// Commands joined by pipes.
#[derive(Clone, Debug)]
pub struct Pipe {
    /// Program and arguments of each command.
    pub commands: Vec<Vec<OsString>>,
    /// The output file, if any.
    pub output: Option<PathBuf>,
    /// Whether the output is the last command's standard output.
    pub is_to_stdout: bool,
}

impl Pipe {
    fn to_file(command: Vec<OsString>, output: &Path) -> Pipe {
        Pipe { commands: vec![command], output: Some(output.to_owned()), is_to_stdout: false }
    }

    fn from_stdout(commands: Vec<Vec<OsString>>, output: &Path) -> Pipe {
        Pipe { commands, output: Some(output.to_owned()), is_to_stdout: true }
    }
}

/// Paths of a comparison: the input, outputs, keys.
#[derive(Clone, Debug)]
pub struct Places {
    /// The pipeline program.
    pub program: PathBuf,
    /// The input.
    pub input: PathBuf,
    /// The directory for outputs.
    pub folder: PathBuf,
    /// A recipient.
    pub recipient: String,
}

impl Places {
    /// The identity of `recipient`.
    pub fn identity(&self) -> PathBuf {
        self.folder.join("identity")
    }

    /// The output of each run.
    pub fn output(&self) -> PathBuf {
        self.folder.join("output")
    }

    /// The report of this program's run.
    pub fn report(&self) -> PathBuf {
        self.folder.join("report")
    }

    /// The file that `task` reads.
    pub fn source(&self, task: Task) -> PathBuf {
        match task {
            Task::Process | Task::Compress | Task::Encrypt => self.input.clone(),
            Task::Restore | Task::Verify => self.folder.join("both"),
            Task::Decompress => self.folder.join("compressed"),
            Task::Decrypt => self.folder.join("encrypted"),
        }
    }
}

/// Settings to try.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The engines.
    pub engines: Vec<EngineKind>,
    /// The numbers of workers.
    pub workers: Vec<u32>,
    /// The channel depths; not empty.
    pub channel_depths: Vec<u32>,
    /// The zstd levels.
    pub levels: Vec<i32>,
    /// The chunk length in bytes; `None` for the default.
    pub chunk_bytes: Option<u64>,
    /// Run other tools too.
    pub with_peers: bool,
}

impl Choice {
    /// The setting compared with peers: the channel engine with all workers, at the default depth if that is tried.
    pub fn main(&self) -> Setting {
        let engine =
            if self.engines.contains(&EngineKind::Channels) { EngineKind::Channels } else { EngineKind::Mutex };
        let workers = self.workers.iter().copied().max().unwrap_or(1);
        let default = self.channel_depths.iter().copied().find(|depth| *depth == 4);
        let channel_depth = default.or_else(|| self.channel_depths.first().copied()).unwrap_or(4);
        Setting { engine, workers, channel_depth }
    }

    /// All settings. The mutex mode has no channels, so it gets only the first depth.
    fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for engine in &self.engines {
            for workers in &self.workers {
                let depths =
                    if *engine == EngineKind::Mutex { &self.channel_depths[..1] } else { &self.channel_depths };
                settings.extend(depths.iter().map(|depth| Setting {
                    engine: *engine,
                    workers: *workers,
                    channel_depth: *depth,
                }));
            }
        }
        settings
    }
}

/// The cases of `choice`, task by task; this program first in each task.
pub fn cases(choice: &Choice, places: &Places) -> Vec<Case> {
    let others = |task, level| if choice.with_peers { peers(task, level, places) } else { Vec::new() };
    let mut cases = Vec::new();
    for level in &choice.levels {
        let settings = choice.settings();
        cases.extend(settings.iter().map(|setting| ours(Task::Process, Some(*level), *setting, choice, places)));
        cases.extend(others(Task::Process, *level));
        cases.push(ours(Task::Compress, Some(*level), choice.main(), choice, places));
        cases.extend(others(Task::Compress, *level));
    }
    for task in [Task::Encrypt, Task::Restore, Task::Decompress, Task::Decrypt, Task::Verify] {
        cases.push(ours(task, None, choice.main(), choice, places));
        cases.extend(others(task, 0));
    }
    cases
}

/// The case of `pipeline` at `task`, with its report in a file.
pub fn ours(task: Task, level: Option<i32>, setting: Setting, choice: &Choice, places: &Places) -> Case {
    let Setting { engine, workers, channel_depth } = setting;
    let (source, output, identity) = (places.source(task), places.output(), places.identity());
    let verb = match task {
        Task::Process | Task::Compress | Task::Encrypt => "process",
        Task::Restore | Task::Decompress | Task::Decrypt => "restore",
        Task::Verify => "verify",
    };
    let mut command = words(&[&places.program, &verb, &source, &format!("--workers={workers}")]);
    command.extend(words(&[&format!("--channel-depth={channel_depth}"), &"--progress=never", &"--no-config"]));
    command.extend(words(&[&"--stats=json", &"--stats-file", &places.report()]));
    if task != Task::Verify {
        command.extend(words(&[&output, &"--force", &"--no-sync", &"--engine", &engine.word()]));
    }
    command.extend(match task {
        Task::Process => words(&[&"--recipient", &places.recipient]),
        Task::Encrypt => words(&[&"--recipient", &places.recipient, &"--no-compress"]),
        Task::Restore | Task::Verify => words(&[&"--identity", &identity]),
        Task::Decrypt => words(&[&"--identity", &identity, &"--no-decompress"]),
        Task::Compress | Task::Decompress => Vec::new(),
    });
    command.extend(level.map(|level| format!("--level={level}").into()));
    command.extend(level.and(choice.chunk_bytes).map(|bytes| format!("--chunk-size={bytes}").into()));
    let workers_word = if workers == 1 { "worker" } else { "workers" };
    let name = match engine {
        EngineKind::Channels => format!("pipeline, {workers} {workers_word}, depth {channel_depth}"),
        EngineKind::Mutex => format!("pipeline, {workers} {workers_word}, mutex"),
    };
    let output = (task != Task::Verify).then_some(output);
    let pipe = Pipe { commands: vec![command], output, is_to_stdout: false };
    Case { task, level, name, setting: Some(setting), is_reference: false, pipe }
}

/// The installed peers for `task`; the first is the reference.
fn peers(task: Task, level: i32, places: &Places) -> Vec<Case> {
    let mut pipes: Vec<Pipe> = match task {
        Task::Process | Task::Compress => compressing_peers(task, level, places),
        _ => other_peers(task, places),
    };
    pipes.retain(|pipe| pipe.commands.iter().all(|command| is_installed(&command[0])));
    let level = matches!(task, Task::Process | Task::Compress).then_some(level);
    let cases = pipes.into_iter().enumerate().map(|(i, pipe)| {
        let name = pipe.commands.iter().map(|command| shown(command)).collect::<Vec<_>>().join(" | ");
        Case { task, level, name, setting: None, is_reference: i == 0, pipe }
    });
    cases.collect()
}

/// 7-Zip, at its fastest level, also compresses and encrypts in one pass, but to its own format and with a passphrase.
fn compressing_peers(task: Task, level: i32, places: &Places) -> Vec<Pipe> {
    let (source, output) = (places.source(task), places.output());
    let zstd_level = match level {
        20.. => words(&[&"--ultra", &format!("-{level}")]),
        1.. => words(&[&format!("-{level}")]),
        _ => words(&[&format!("--fast={}", level.unsigned_abs())]),
    };
    let zstd =
        |rest: &[&dyn AsRef<OsStr>]| [words(&[&"zstd", &"-q", &"-T0"]), zstd_level.clone(), words(rest)].concat();
    if task == Task::Compress {
        let pzstd = [words(&[&"pzstd", &"-q"]), zstd_level.clone(), words(&[&"-f", &"-o", &output, &source])].concat();
        // pzstd has no negative levels.
        let others = (level > 0).then(|| Pipe::to_file(pzstd, &output));
        return [Pipe::to_file(zstd(&[&"-f", &"-o", &output, &source]), &output)].into_iter().chain(others).collect();
    }
    let sealed_by = |tool: &str| {
        Pipe::from_stdout(vec![zstd(&[&"-c", &source]), words(&[&tool, &"-r", &places.recipient])], &output)
    };
    // 7-Zip adds `.7z` to a name without a suffix.
    let archive = output.with_extension("7z");
    let seven_zip = |tool: &str| {
        let command = words(&[&tool, &"a", &"-bd", &"-y", &"-mx=1", &"-psesame", &archive, &source]);
        Pipe::to_file(command, &archive)
    };
    vec![sealed_by("age"), sealed_by("rage"), seven_zip("7z"), seven_zip("7zz")]
}

fn other_peers(task: Task, places: &Places) -> Vec<Pipe> {
    let (source, output, identity) = (places.source(task), places.output(), places.identity());
    let opened_by = |tool: &str| words(&[&tool, &"-d", &"-i", &identity, &source]);
    let pipe = |tool: &str| match task {
        Task::Encrypt => {
            let command = words(&[&tool, &"-r", &places.recipient, &"-o", &output, &source]);
            Pipe::to_file(command, &output)
        }
        Task::Decrypt => {
            let command = words(&[&tool, &"-d", &"-i", &identity, &"-o", &output, &source]);
            Pipe::to_file(command, &output)
        }
        Task::Decompress => {
            let command = words(&[&tool, &"-q", &"-d", &"-f", &"-o", &output, &source]);
            Pipe::to_file(command, &output)
        }
        Task::Restore => Pipe::from_stdout(vec![opened_by(tool), words(&[&"zstd", &"-q", &"-d", &"-c"])], &output),
        _ => {
            Pipe { commands: vec![opened_by(tool), words(&[&"zstd", &"-q", &"-t"])], output: None, is_to_stdout: false }
        }
    };
    let tools = if task == Task::Decompress { ["zstd", "pzstd"] } else { ["age", "rage"] };
    tools.map(pipe).into()
}

/// A command as shown: without file names, keys and their flags.
fn shown(command: &[OsString]) -> String {
    const HIDDEN: [&str; 9] = ["-q", "-o", "-f", "-c", "-i", "-r", "-y", "-bd", "-psesame"];
    let is_shown = |word: &&str| !word.contains('/') && !word.starts_with("age1") && !HIDDEN.contains(word);
    command.iter().filter_map(|word| word.to_str()).filter(is_shown).collect::<Vec<_>>().join(" ")
}

fn is_installed(program: &OsStr) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn words(words: &[&dyn AsRef<OsStr>]) -> Vec<OsString> {
    words.iter().map(|word| word.as_ref().to_owned()).collect()
}
