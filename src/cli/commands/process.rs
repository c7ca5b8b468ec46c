//! `pipeline process`: a file into a seekable zstd file, an age file, or the one inside the other.

use std::ffi::{OsStr, OsString};
use std::io::Write;

use anyhow::Context;

use super::environment;
use crate::cli::args::ProcessArgs;
use crate::cli::input::Input;
use crate::cli::keys;
use crate::cli::output::{Manner, Output};
use crate::cli::problem::{Exit, Problem};
use crate::cli::session::{Session, name_the_output, refuse_terminal};
use crate::cli::sys::{self, WakeUp};
use crate::cli::wrap::{ArmorWriter, seal_for};
use crate::cli::{problem, report, resolve};
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::pipeline::plan::{Compress, Plan, Process, Seal, Work};

/// Runs the command.
pub fn run(args: ProcessArgs) -> anyhow::Result<Exit> {
    let level = resolve::level(args.level, &environment())?;
    let chunk_len = resolve::chunk_len(args.chunk_size, level, &environment())?;
    let width = resolve::width(&args.width, &environment())?;
    let is_sealed = keys::is_encryption_asked_for(&args.encrypt, Some(&args.passphrases));
    let compress = (!args.no_compress).then_some(Compress { chunk_len, level });
    let name = |name: &OsStr| output_name(name, compress.is_some(), is_sealed);
    let names = resolve::names(&args.files, name)?;
    refuse_contradictions(&args, is_sealed, &names)?;

    let mut session = Session::start(&args.talk)?;
    let input = Input::open(&names.input)?;
    let manner = Manner { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let output = Output::prepare(&names.output, &[&input], manner)?;
    let is_text = is_sealed && args.encrypt.armor;
    refuse_terminal(&output, args.files.force || is_text)?;
    let report_file = super::prepare(&args.files, &args.talk, &names, &input, &output)?;

    let what = || format!("process {}", input.name);
    let wake = WakeUp::new().context("cannot start")?;
    let seal = is_sealed.then(|| seal(&mut session, &wake, &args)).transpose().with_context(what)?;
    let reader = input.reader(&wake)?;
    let writer: Box<dyn Write + Send> = match is_text {
        true => Box::new(ArmorWriter::new(output.writer(&wake)?)),
        false => output.writer(&wake)?,
    };
    let work = Work::Process(Process { compress, seal });
    let plan = Plan { width, engine: resolve::engine(args.engine), work }.narrowed_to(input.bytes());
    if args.no_compress && !args.talk.quiet {
        hint_at_zstd(&input);
    }
    let report = session
        .run(&plan, reader, input.bytes(), writer, &wake)
        .map_err(|failure| name_the_output(failure, &output))
        .with_context(what)?;
    super::finish(&mut session, &input, output)?;
    let exit = super::tell(&report, report::Verb::Processed, report_file, &args.talk, &input);
    super::delete_if_asked(&args.files, &input, &names, exit)
}

/// A new header for the recipients that `args` give.
fn seal(session: &mut Session, wake: &WakeUp, args: &ProcessArgs) -> anyhow::Result<Seal> {
    sys::forbid_core_dumps().context("cannot turn core dumps off")?;
    let (encrypt, passphrases) = (args.encrypt.clone(), args.passphrases.clone());
    session.task_that_asks("wrap", wake, move |prompter| {
        seal_for(&keys::recipients(&encrypt, Some(&passphrases), prompter)?, prompter)
    })
}

/// IN's name with the suffix of each layer.
fn output_name(name: &OsStr, is_compressed: bool, is_sealed: bool) -> Option<OsString> {
    let mut name = name.to_owned();
    name.push(if is_compressed { ".zst" } else { "" });
    name.push(if is_sealed { ".age" } else { "" });
    Some(name)
}

/// Flags that do not go together, and a name that promises encryption that nobody asked for.
fn refuse_contradictions(args: &ProcessArgs, is_sealed: bool, names: &resolve::Names) -> Result<(), Problem> {
    if !is_sealed && args.no_compress {
        return Err(Problem::usage("--no-compress without a recipient or a passphrase leaves nothing to do"));
    }
    if !is_sealed && args.encrypt.armor {
        return Err(Problem::usage("--armor is for encrypted files: give a recipient or a passphrase"));
    }
    if !is_sealed && names.output.extension() == Some(OsStr::new("age")) {
        let problem = Problem::usage(format!(
            "{} asks for encryption, but nobody to encrypt to is given",
            problem::quoted(&names.output)
        ));
        return Err(problem.hint("-r RECIPIENT, -R FILE or -p"));
    }
    Ok(())
}

/// A zstd file that is only encrypted comes back decompressed, which may not be what was meant.
fn hint_at_zstd(input: &Input) {
    use std::os::unix::fs::FileExt;

    let mut head = [0; DETECT_LEN];
    let read = if input.is_seekable() { input.file.read_at(&mut head, 0) } else { Ok(0) };
    if read.is_ok_and(|len| detect(&head[..len]) == Layer::Zstd) {
        problem::tell(&format!(
            "hint: {} is a zstd file, so restore will decompress it; --no-decompress does not\n",
            input.name
        ));
    }
}
