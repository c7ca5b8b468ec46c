//! `pipeline process`: compresses and encrypts one file.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{output_name, refuse_contradictions, taken_files};
use crate::cli::args::{ProcessArgs, ProgressArg, Typed};
use crate::cli::problem::{self, Exit, Problem, quoted};
use crate::cli::resolve;
use crate::cli::session::{Session, refuse_terminal};
use crate::cli::settings::{Settings, known};
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::pipeline::kind::Kind;
use crate::pipeline::memory;
use crate::pipeline::plan::{Compress, Seal, layer_of_zstd};
use crate::pipeline::threads::Concurrency;
use crate::report::options::ReportOptions;
use crate::store::error::StoreError;
use crate::store::input::Input;
use crate::store::output::{Origin, OutputOptions};
use crate::store::producer::{Producer, ProducerReader};
use crate::store::reserved::{INPUT, ReservedPath};
use crate::store::sys;
use crate::task::executor::Executor;
use crate::task::keys::RecipientSources;
use crate::task::open::forbid_core_dumps;
use crate::task::process::{ProcessSpec, Source, begins_like_zstd, process};
use crate::task::{self, Produced, Verb, wrap};

/// The resolved request.
struct Request {
    names: resolve::Names,
    width: Concurrency,
    compress: Option<Compress>,
    /// The recipients, if encryption was requested.
    recipients: Option<RecipientSources>,
    verify: Verify,
    report: ReportOptions,
}

/// Whether the output is read back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verify {
    No,
    /// A setting requests it: done only if OUT is a regular file.
    WherePossible,
    /// A flag requests it: an error if OUT is not a regular file.
    Yes,
}

/// Runs the command.
pub fn run(mut args: ProcessArgs, typed: &Typed, settings: &Settings) -> anyhow::Result<Exit> {
    take_names_behind_dashes(&mut args)?;
    if !args.stdin_from_command
        && let Some(names) = super::batch::names(&args.files, &args.list)?
    {
        return super::batch::process::run(args, typed, &names, settings);
    }
    typed.refuse_batch_flags()?;
    let mut request = resolve(&args, settings)?;
    request.report.force = args.files.force;
    let mut session = Session::start(&request.report)?;
    let mut taken = vec![ReservedPath::Out(&request.names.output)];
    if !args.stdin_from_command {
        taken.push(ReservedPath::In(INPUT, &request.names.input));
        taken.extend(args.files.rm.then_some(ReservedPath::Deleted(&request.names.input)));
    }
    let recipients = request.recipients.as_ref();
    taken.extend(taken_files("--recipients-file", recipients.map_or(&[], |recipients| &recipients.files)));
    taken.extend(taken_files("--passphrase-file", args.passphrases.passphrase_file.as_slice()));
    taken.extend(settings.file().map(|path| ReservedPath::In("--config", path)));
    super::with_reports((Verb::Process, &request.report), &taken, &mut session, |session, reports| {
        let (input, produced) = carry_out(&args, &request, session)?;
        let state = produced.input_state;
        let exit = super::tell(produced, reports, &input);
        Ok(super::delete_if_asked(&args.files, &request.names, state, exit))
    })
}

/// Writes and publishes the output.
fn carry_out(args: &ProcessArgs, request: &Request, session: &mut Session) -> anyhow::Result<(Input, Produced)> {
    let Request { names, width, compress, recipients, verify, report } = request;
    let file = (!args.stdin_from_command).then(|| session.open(&names.input)).transpose()?;
    let output_options = OutputOptions { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let output = super::prepare(&names.output, &Vec::from_iter(&file), output_options)
        .map_err(|error| hint_at_two_inputs(error, &names.output))?;
    let is_armored = recipients.is_some() && args.encrypt.armor;
    refuse_terminal(&output, args.files.force || is_armored)?;
    if *verify == Verify::Yes && !output.is_regular_file() {
        return Err(Problem::usage(format!("--verify reads OUT back, which {} does not allow", output.name())).into());
    }
    let is_verified = *verify != Verify::No && output.is_regular_file();
    let seal = recipients.as_ref().map(|recipients| seal(session, recipients, &names.input)).transpose()?;
    // The command starts only after all prompts, and after OUT proved writable.
    let (input, producer) = match file {
        Some(input) => (input, None),
        None => Producer::start(&args.command).map(|(input, producer)| (input, Some(producer)))?,
    };
    super::check_rm(&args.files, names, &input, &output)?;
    super::check_preserve(args.files.preserve, &input, &output)?;
    let wake = session.wake.clone();
    let mut reader = input.reader(&wake)?;
    if let Some(producer) = producer {
        reader = Box::new(ProducerReader::new(reader, producer, wake.clone()));
    }
    let spec = ProcessSpec {
        width: *width,
        engine: resolve::engine(args.engine),
        compress: *compress,
        is_armored,
        is_verified,
        digest: false,
        rate_limit: resolve::rate_limit(&args.pace, &wake)?,
    };
    if !report.quiet {
        hint_at_layers(&input, compress.is_some());
    }
    let source = Source { input: &input, reader, bytes: input.bytes() };
    let mut produced = process(session, &spec, seal, source, &output, &wake).map_err(task::at(
        Verb::Process,
        &input,
        Some(&output),
    ))?;
    if produced.is_layered && !report.quiet {
        let why = "so that restore gives it back as it is";
        let name = &input.name;
        problem::tell(&format!(
            "note: {name} begins like a zstd file and gets a zstd layer in spite of --no-compress, {why}\n"
        ));
    }
    if let (Some(file_bytes), false) = (produced.verified_bytes, report.quiet) {
        problem::tell(&format!("verified: {file_bytes} bytes read back, their content is what was read\n"));
    }
    let origin = Origin { attributes: input.attributes(args.files.preserve)?, must_replace: None };
    produced.warnings.extend(super::publish(session, output, origin)?);
    Ok((input, produced))
}

/// Reads the recipients of `sources`, with prompts if necessary, and makes a header for them.
fn seal(session: &mut Session, sources: &RecipientSources, input: &Path) -> anyhow::Result<Seal> {
    let what = || format!("process {}", quoted(input));
    forbid_core_dumps().with_context(what)?;
    let (sources, prompter) = (sources.clone(), session.prompter());
    let asked = prompter.clone();
    let recipients = session.wait("keys", move |_| sources.read(&asked))?.with_context(what)?;
    wrap::seal(session, &recipients, &prompter).with_context(what)
}

/// Resolves and checks everything that needs no file access, but for OUT's default name.
fn resolve(args: &ProcessArgs, settings: &Settings) -> Result<Request, Problem> {
    let report = resolve::report_options(&args.report, settings, ProgressArg::Auto)?;
    let passphrase = resolve::new_passphrase(&args.encrypt, &args.passphrases, settings);
    let recipients = resolve::recipients(&args.encrypt, passphrase, settings);
    // The command gets its own standard input.
    let input = args.files.input.as_deref().filter(|_| !args.stdin_from_command).unwrap_or(Path::new(""));
    resolve::check_sources(input, &args.passphrases, &[("--recipients-file", &recipients.files)])?;
    let recipients = Some(recipients).filter(RecipientSources::is_any);
    let level = resolve::level(args.level, settings)?;
    let chunk_len = resolve::chunk_len(args.chunk_size, level, settings)?;
    let width = resolve::width(&args.width, settings)?;
    let compress = (!args.no_compress).then_some(Compress { chunk_len, level });
    let needed = |width| memory::process_bytes(width, compress.or_else(|| Some(layer_of_zstd())), recipients.is_some());
    let less = "smaller chunks or a lower level take less; they change what is written";
    let width = resolve::fitted(width, &args.width, settings, needed).map_err(|problem| problem.or_hint(less))?;
    let is_layered = || args.no_compress && is_like_zstd(input);
    let name = |name: &OsStr| Some(output_name(name, compress.is_some() || is_layered(), recipients.is_some()));
    let names = match args.stdin_from_command {
        true => resolve::names_of_command(&args.files)?,
        false => resolve::names(&args.files, name)?,
    };
    refuse_contradictions(args, recipients.is_some())?;
    refuse_age_without_key(recipients.is_some(), &names.output)?;
    let verify = match settings.get(&known::VERIFY, None)? {
        _ if args.verify => Verify::Yes,
        Some(true) => Verify::WherePossible,
        _ => Verify::No,
    };
    Ok(Request { names, width, compress, recipients, verify, report })
}

/// Treats words after `--` as file names, which may start with a dash, unless they are the command of `--stdin-from-command`.
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

fn refuse_age_without_key(is_sealed: bool, output: &Path) -> Result<(), Problem> {
    if !is_sealed && output.extension() == Some(OsStr::new("age")) {
        let problem =
            Problem::usage(format!("{} asks for encryption, but nobody to encrypt to is given", quoted(output)));
        return Err(problem.hint("-r RECIPIENT, -R FILE or -p"));
    }
    Ok(())
}

/// Advises users of zstd, who may take OUT for a second input, when OUT exists and is not named like an output.
fn hint_at_two_inputs(error: StoreError, output: &Path) -> anyhow::Error {
    let is_named_like_output = ["zst", "age"].map(OsStr::new).contains(&output.extension().unwrap_or_default());
    match error {
        StoreError::Exists(_) if !is_named_like_output => Problem::new(Kind::WouldOverwrite, error.to_string())
            .hint("IN and OUT are one file each; --force overwrites OUT")
            .into(),
        error => error.into(),
    }
}

/// Writes a hint if the input is already a zstd or age file.
fn hint_at_layers(input: &Input, is_compressed: bool) {
    use std::os::unix::fs::FileExt;

    let mut head = [0; DETECT_LEN];
    let read = if input.is_seekable() { input.file.read_at(&mut head, 0) } else { Ok(0) };
    let hint = match read.map_or(Layer::Other, |len| detect(&head[..len])) {
        Layer::Zstd if is_compressed => "a zstd file already, and gets no smaller; restore brings back what is in it",
        Layer::Age | Layer::AgeArmor => "an age file already, and gets no smaller; restore brings back what is in it",
        Layer::Zstd | Layer::Other | Layer::Empty => return,
    };
    problem::tell(&format!("hint: {} is {hint}\n", input.name));
}

/// Whether the content of `path` begins like a zstd file. `false` for anything that can be read only once.
fn is_like_zstd(path: &Path) -> bool {
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    is_file && sys::open_to_read(path, None).is_ok_and(|file| begins_like_zstd(file).unwrap_or(false))
}
