//! The commands, a file each: open, run, commit, say.

pub mod cat;
pub mod inspect;
pub mod keygen;
pub mod process;
pub mod rekey;
pub mod restore;
pub mod verify;

use std::io::{self, Cursor, Read};

use anyhow::Context;

use crate::cli::args::{FileArgs, IdentityArgs, TalkArgs};
use crate::cli::input::Input;
use crate::cli::keys;
use crate::cli::output::Output;
use crate::cli::peel::{PeelError, Peeled, failure_of, peel};
use crate::cli::problem::{self, Exit, Problem, quoted};
use crate::cli::report::{ReportFile, Verb};
use crate::cli::resolve::{Environment, Names};
use crate::cli::session::Session;
use crate::cli::sys;
use crate::format::age::header::Header;
use crate::format::age::keys::{Identity, SCRYPT_TAG};
use crate::format::age::stream::PayloadKey;
use crate::format::detect::{Layer, detect};
use crate::pipeline::error::Failure;
use crate::pipeline::plan::{Content, ContentRange, Decompress, Expect, Restore, Start};
use crate::pipeline::report::Report;
use crate::pipeline::shutdown::Cancel;

/// Refuses what would destroy IN or OUT, while nothing has been read yet, and makes the report's file ready.
fn prepare(
    files: &FileArgs,
    talk: &TalkArgs,
    names: &Names,
    input: &Input,
    output: &Output,
) -> anyhow::Result<ReportFile> {
    let is_link = || std::fs::symlink_metadata(&names.input).is_ok_and(|metadata| metadata.is_symlink());
    if files.rm && (!output.is_regular_file() || !input.metadata.is_file() || is_link()) {
        return Err(Problem::usage("--rm needs IN and OUT to be regular files, by their own names").into());
    }
    ReportFile::prepare(talk, &[input], Some(output))
}

/// Makes OUT durable under its name.
fn finish(session: &mut Session, input: &Input, output: Output) -> anyhow::Result<()> {
    Ok(session.commit(output, input)?)
}

/// Shows the report, and says what has to be said of a run whose output is in its place.
fn tell(report: &Report, verb: Verb, file: ReportFile, talk: &TalkArgs, input: &Input) -> Exit {
    let mut exit = Exit::Done;
    if let Err(error) = file.show(report, verb, talk) {
        problem::warn(&format!("{error:#}"));
        exit = Exit::Warned;
    }
    if input.has_changed() {
        problem::warn(&format!("{} changed while it was read", input.name));
        exit = Exit::Warned;
    }
    exit
}

/// Deletes IN, if asked, when nothing speaks against it and it still has the name it was opened by.
fn delete_if_asked(files: &FileArgs, input: &Input, names: &Names, exit: Exit) -> anyhow::Result<Exit> {
    if !files.rm || exit != Exit::Done {
        return Ok(exit);
    }
    let cannot_delete = || format!("{} is complete, but {} cannot be deleted", quoted(&names.output), input.name);
    let now = std::fs::symlink_metadata(&names.input).with_context(cannot_delete)?;
    if sys::identity(&now) != sys::identity(&input.metadata) {
        return Err(Problem::failed("it is another file by now")).with_context(cannot_delete);
    }
    std::fs::remove_file(&names.input).with_context(cannot_delete)?;
    Ok(exit)
}

/// Looks a variable of the process's environment up.
fn process_environment(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// The environment of this process.
fn environment() -> Environment<'static> {
    Environment::new(&process_environment)
}

/// What an input turned out to be, and how to read it.
struct Layers {
    /// From the first frame, or the first segment of an age payload.
    reader: Box<dyn Read + Send>,
    /// The key of the age layer, where there is one.
    open: Option<PayloadKey>,
    /// Where the payload begins in a binary age file.
    payload_offset: u64,
    /// The types of the age layer's stanzas.
    stanzas: Vec<String>,
    /// The age layer came in armor.
    is_armored: bool,
    /// What the innermost layer that was looked at is.
    inner: Layer,
}

/// Looks at `head`, the first bytes of an input, and takes the age header off if there is one. `reader` goes on behind `head`.
fn open_layers(
    session: &mut Session,
    head: Vec<u8>,
    reader: Box<dyn Read + Send>,
    args: &IdentityArgs,
) -> anyhow::Result<Layers> {
    let layer = layer_of(&head, args)?;
    let reader: Box<dyn Read + Send> = Box::new(Cursor::new(head.clone()).chain(reader));
    if !matches!(layer, Layer::Age | Layer::AgeArmor) {
        require_zstd(&head)?;
        return Ok(Layers {
            reader,
            open: None,
            payload_offset: 0,
            stanzas: Vec::new(),
            is_armored: false,
            inner: Layer::Zstd,
        });
    }
    let (identities, work_factor_max) = (identities_for(args)?, args.max_work_factor);
    // What the task gives back must be Sync; the payload's reader is not, so it comes back in a lock-free cell of one.
    let (give, take) = std::sync::mpsc::sync_channel(1);
    let peeled = session.task("open", Cancel::default(), move |_| {
        let peeled = peel(reader, layer, identities, work_factor_max)?;
        let _ = give.send(peeled);
        Ok(())
    });
    peeled.map_err(failure_of_task)?;
    let Peeled { payload, key, payload_offset, stanzas, inner } = take.recv().context("cannot open")?;
    let is_armored = layer == Layer::AgeArmor;
    Ok(Layers { reader: payload, open: Some(key), payload_offset, stanzas, is_armored, inner })
}

/// What a task failed with that takes an age header off.
fn failure_of_task(failure: Failure) -> anyhow::Error {
    failure.into_task_error::<PeelError>().map_or_else(Into::into, failure_of)
}

/// The layer that `head` begins. Whoever gives a key says that this is an age file: then what looks like none is a damaged one.
fn layer_of(head: &[u8], args: &IdentityArgs) -> anyhow::Result<Layer> {
    let has_key = !args.identity.is_empty() || keys::given_passphrase(&args.passphrases)?.is_some();
    Ok(match detect(head) {
        Layer::Other | Layer::Empty if has_key => {
            if head.trim_ascii_start().starts_with(b"-") {
                Layer::AgeArmor
            } else {
                Layer::Age
            }
        }
        layer => layer,
    })
}

/// The identities to try on a header: those in files; for a passphrase's stanza the passphrase, asked for where nothing gives it.
fn identities_for(
    args: &IdentityArgs,
) -> anyhow::Result<impl FnOnce(&Header) -> Result<Vec<Identity>, PeelError> + Send + use<>> {
    sys::forbid_core_dumps().context("cannot turn core dumps off")?;
    let mut identities = keys::identities(&args.identity)?;
    let given = keys::given_passphrase(&args.passphrases)?;
    let has_files = !identities.is_empty();
    Ok(move |header: &Header| {
        if header.stanzas.iter().any(|stanza| stanza.tag == SCRYPT_TAG) {
            let passphrase = match given {
                Some(passphrase) => passphrase,
                None if has_files => return Ok(identities),
                None => {
                    keys::ask("passphrase").map_err(|error| PeelError::Io(io::Error::other(format!("{error:#}"))))?
                }
            };
            identities.push(Identity::Passphrase(passphrase));
        }
        Ok(identities)
    })
}

/// What a restore of `layers` does.
fn restore_work(layers: &Layers, range: ContentRange, window_log_max: u32, decompress: bool) -> Restore {
    let frames = Decompress { window_log_max, start: Start::default(), range: range.clone(), expect: Expect::Tables };
    let content = match layers.inner {
        Layer::Zstd if decompress => Content::Frames(frames),
        _ => Content::Plain(range),
    };
    Restore { open: layers.open.clone(), content }
}

/// Refuses an input that does not begin as a zstd file.
fn require_zstd(head: &[u8]) -> Result<(), Problem> {
    match detect(head) {
        Layer::Zstd => Ok(()),
        // Whatever it was, it was cut to nothing.
        Layer::Empty => Err(Problem::damaged("it is empty: it has neither an age header nor a zstd frame")),
        Layer::Age | Layer::AgeArmor | Layer::Other => {
            let first = &head[..head.len().min(8)];
            let first = quoted(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(first));
            Err(Problem::failed(format!("it is neither a zstd nor an age file: it begins with {first}")))
        }
    }
}
