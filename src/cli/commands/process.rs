//! `pipeline process`: a file into a seekable zstd file, an age file, or the one inside the other.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::batch::start;
use crate::cli::args::ProcessArgs;
use crate::cli::problem::{Exit, Problem, quoted};
use crate::cli::session::{Session, name_the_output, refuse_terminal};
use crate::cli::settings::{Settings, known};
use crate::cli::{problem, resolve};
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::pipeline::crew::Width;
use crate::pipeline::memory;
use crate::pipeline::plan::{Compress, Plan, Process, Seal, Work};
use crate::report::{Reports, Taken, Verb};
use crate::store::digest::{DigestReader, Heard};
use crate::store::input::Input;
use crate::store::output::{Manner, Output};
use crate::store::producer::{Producer, ProducerReader, name_the_command};
use crate::store::rate_limit::{Pace, paced};
use crate::store::sys::{self, WakeUp};
use crate::task::keys;
use crate::task::verify_output::read_back;
use crate::task::wrap::{armored, seal_for};

/// What the arguments come to.
struct Settled {
    names: resolve::Names,
    width: Width,
    compress: Option<Compress>,
    is_sealed: bool,
    verify: Verify,
}

/// Whether what was written is read back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verify {
    No,
    /// A setting asks for it, where it can be done.
    WherePossible,
    /// A flag does.
    Yes,
}

/// Runs the command.
pub fn run(mut args: ProcessArgs, settings: &Settings) -> anyhow::Result<Exit> {
    take_names_behind_dashes(&mut args)?;
    if !args.stdin_from_command
        && let Some(names) = start::names(&args.files, &args.list)?
    {
        return super::batch::process::run(args, &names, settings);
    }
    let settled = settle(&mut args, settings)?;
    let mut session = Session::start(&args.talk)?;
    let mut taken = vec![Taken::Out(&settled.names.output)];
    if !args.stdin_from_command {
        taken.push(Taken::In("IN", &settled.names.input));
    }
    taken.extend(super::taken_files("--recipients-file", &args.encrypt.recipients_file));
    taken.extend(super::taken_files("--passphrase-file", args.passphrases.passphrase_file.as_slice()));
    taken.extend(settings.file().map(|path| Taken::In("--config", path)));
    super::with_reports((Verb::Processed, &args.talk), &taken, &mut session, |session, reports| {
        process(&args, &settled, session, reports)
    })
}

fn process(
    args: &ProcessArgs,
    settled: &Settled,
    session: &mut Session,
    reports: &mut Reports<'_>,
) -> anyhow::Result<Exit> {
    let Settled { names, width, compress, is_sealed, verify } = settled;
    let (width, compress, is_sealed, verify) = (*width, *compress, *is_sealed, *verify);
    let file = (!args.stdin_from_command).then(|| Input::open(&names.input)).transpose()?;
    let manner = Manner { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let output = Output::prepare(&names.output, &Vec::from_iter(&file), manner).map_err(|error| {
        // Two names look like two inputs to whoever comes from zstd.
        let is_ours = ["zst", "age"].map(OsStr::new).contains(&names.output.extension().unwrap_or_default());
        match error.downcast::<Problem>() {
            Ok(problem) if !is_ours && !args.files.force => problem
                .instead_of_hint("--force overwrites it", "IN and OUT are one file each; --force overwrites OUT")
                .into(),
            Ok(problem) => problem.into(),
            Err(error) => error,
        }
    })?;
    let is_text = is_sealed && args.encrypt.armor;
    refuse_terminal(&output, args.files.force || is_text)?;
    if verify == Verify::Yes && !output.is_regular_file() {
        return Err(Problem::usage(format!("--verify reads OUT back, which {} does not allow", output.name())).into());
    }
    let is_verified = verify != Verify::No && output.is_regular_file();

    let wake = WakeUp::new().context("cannot start")?;
    let seal = is_sealed.then(|| seal(session, &wake, args)).transpose();
    let seal = seal.with_context(|| format!("process {}", quoted(&names.input)))?;
    // Only now, when keys are asked for and OUT can be written, is a command started.
    let (input, producer) = match file {
        Some(input) => (input, None),
        None => Producer::start(&args.command).map(|(input, producer)| (input, Some(producer)))?,
    };
    let what = || format!("process {}", input.name);
    super::check_rm(&args.files, names, &input, &output)?;
    let pace = Pace::of(&args.pace, &wake)?;
    let (reader, expected) = reader(&input, producer, is_verified, &wake)?;
    let reader = paced(reader, pace.as_ref());
    let writer = armored(output.writer(&wake)?, is_text);
    let work = Work::Process(Process { compress, seal });
    let plan = Plan { width, engine: resolve::engine(args.engine), work }.narrowed_to(input.bytes());
    if !args.talk.quiet {
        hint_at_layers(&input, compress.is_some());
    }
    let report = session
        .run(&plan, reader, input.bytes(), writer, &wake)
        .map_err(|failure| name_the_output(name_the_command(failure), &output))
        .with_context(what)?;
    if let Some(expected) = expected {
        let back = read_back(session, &output, &plan, is_text, expected.digest()?);
        let file_bytes = back.with_context(|| format!("what was written to {} is not right", output.name()))?;
        if !args.talk.quiet {
            problem::tell(&format!("verified: {file_bytes} bytes read back, their content is what was read\n"));
        }
    }
    super::finish(session, &input, output)?;
    let exit = super::tell(report, reports, &input);
    super::delete_if_asked(&args.files, &input, names, exit)
}

/// Resolves and checks what can be without looking at a file.
fn settle(args: &mut ProcessArgs, settings: &Settings) -> Result<Settled, Problem> {
    resolve::talk(&mut args.talk, settings)?;
    resolve::recipients(&mut args.encrypt, Some(&args.passphrases), settings);
    // The input of a command that is started is not ours.
    let input = args.files.input.as_deref().filter(|_| !args.stdin_from_command).unwrap_or(Path::new(""));
    let files = [("--recipients-file", args.encrypt.recipients_file.as_slice())];
    keys::check_sources(input, &args.passphrases, &files)?;
    let level = resolve::level(args.level, settings)?;
    let chunk_len = resolve::chunk_len(args.chunk_size, level, settings)?;
    let width = resolve::width(&args.width, settings)?;
    let is_sealed = keys::is_encryption_asked_for(&args.encrypt, Some(&args.passphrases));
    let compress = (!args.no_compress).then_some(Compress { chunk_len, level });
    let needed = |width| memory::process_bytes(width, compress, is_sealed);
    let less = "smaller chunks or a lower level take less; they change what is written";
    let width = resolve::fitted(width, &args.width, settings, needed).map_err(|problem| problem.or_hint(less))?;
    let name = |name: &OsStr| Some(output_name(name, compress.is_some(), is_sealed));
    let names = match args.stdin_from_command {
        true => resolve::names_of_command(&args.files)?,
        false => resolve::names(&args.files, name)?,
    };
    refuse_contradictions(args, is_sealed)?;
    refuse_age_without_key(is_sealed, &names.output)?;
    let verify = match settings.get(&known::VERIFY, None)? {
        _ if args.verify => Verify::Yes,
        Some(true) => Verify::WherePossible,
        _ => Verify::No,
    };
    Ok(Settled { names, width, compress, is_sealed, verify })
}

/// What is read: `input`, which may be what `producer` writes, digested for `--verify`.
fn reader(
    input: &Input,
    producer: Option<Producer>,
    is_verified: bool,
    wake: &WakeUp,
) -> anyhow::Result<(Box<dyn Read + Send>, Option<Heard>)> {
    let mut reader = input.reader(wake)?;
    if let Some(producer) = producer {
        reader = Box::new(ProducerReader::new(reader, producer, wake.clone()));
    }
    if !is_verified {
        return Ok((reader, None));
    }
    let (digesting, expected) = DigestReader::new(reader);
    Ok((Box::new(digesting), Some(expected)))
}

/// `--` in front of file names keeps those that begin with a dash from being flags. In front of a command it belongs to
/// `--stdin-from-command`.
fn take_names_behind_dashes(args: &mut ProcessArgs) -> Result<(), Problem> {
    if args.stdin_from_command {
        return match args.command.is_empty() {
            true => Err(Problem::usage("--stdin-from-command OUT -- CMD: the command is missing")),
            false => Ok(()),
        };
    }
    for name in args.command.drain(..).map(PathBuf::from) {
        match (&mut args.files.input, &mut args.files.out) {
            (input @ None, _) => *input = Some(name),
            (_, out @ None) => *out = Some(name),
            _ => args.files.more.push(name),
        }
    }
    Ok(())
}

/// A new header for the recipients that `args` give.
fn seal(session: &mut Session, wake: &WakeUp, args: &ProcessArgs) -> anyhow::Result<Seal> {
    sys::forbid_core_dumps().context("cannot turn core dumps off")?;
    let (encrypt, passphrases) = (args.encrypt.clone(), args.passphrases.clone());
    session.task_that_asks("wrap", wake, move |prompter| {
        seal_for(&keys::recipients(&encrypt, Some(&passphrases), prompter)?.list, prompter)
    })
}

/// IN's name with the suffix of each layer.
pub(super) fn output_name(name: &OsStr, is_compressed: bool, is_sealed: bool) -> OsString {
    let mut name = name.to_owned();
    name.push(if is_compressed { ".zst" } else { "" });
    name.push(if is_sealed { ".age" } else { "" });
    name
}

/// Flags that do not go together.
pub(super) fn refuse_contradictions(args: &ProcessArgs, is_sealed: bool) -> Result<(), Problem> {
    if !is_sealed && args.no_compress {
        return Err(Problem::usage("--no-compress without a recipient or a passphrase leaves nothing to do"));
    }
    if !is_sealed && args.encrypt.armor {
        return Err(Problem::usage("--armor is for encrypted files: give a recipient or a passphrase"));
    }
    Ok(())
}

fn refuse_age_without_key(is_sealed: bool, output: &Path) -> Result<(), Problem> {
    if !is_sealed && output.extension() == Some(OsStr::new("age")) {
        let problem =
            Problem::usage(format!("{} asks for encryption, but nobody to encrypt to is given", quoted(output)));
        return Err(problem.hint("-r RECIPIENT, -R FILE or -p"));
    }
    Ok(())
}

/// An input that is what this command makes may not be what was meant.
fn hint_at_layers(input: &Input, is_compressed: bool) {
    use std::os::unix::fs::FileExt;

    let mut head = [0; DETECT_LEN];
    let read = if input.is_seekable() { input.file.read_at(&mut head, 0) } else { Ok(0) };
    let hint = match read.map_or(Layer::Other, |len| detect(&head[..len])) {
        Layer::Zstd if is_compressed => "a zstd file already, and gets no smaller; restore brings back what is in it",
        Layer::Zstd => "a zstd file, so restore will decompress it; --no-decompress does not",
        Layer::Age | Layer::AgeArmor => "an age file already, and gets no smaller; restore brings back what is in it",
        Layer::Other | Layer::Empty => return,
    };
    problem::tell(&format!("hint: {} is {hint}\n", input.name));
}
