//! `pipeline verify`: decodes everything, writes nothing, and holds it against the original if asked.

use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::Context;

use crate::cli::args::VerifyArgs;
use crate::cli::problem::{Exit, Problem};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::format::detect::DETECT_LEN;
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::crew::Width;
use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::memory::restore_bytes;
use crate::pipeline::plan::{ContentRange, Engine, Plan, Work};
use crate::report::{Reports, Taken, Verb};
use crate::store::input::Input;
use crate::store::rate_limit::{Pace, paced};
use crate::store::sys::WakeUp;
use crate::task::keys;
use crate::task::layers;

/// Runs the command.
pub fn run(mut args: VerifyArgs, settings: &Settings) -> anyhow::Result<Exit> {
    if args.input != Path::new("-") && args.input.is_dir() {
        return super::batch::verify::run(args, settings);
    }
    resolve::talk(&mut args.talk, settings)?;
    resolve::identities(&mut args.identities, settings)?;
    keys::check_sources(&args.input, &args.identities.passphrases, &[("--identity", &args.identities.identity)])?;
    let width = resolve::width(&args.width, settings)?;
    let width = resolve::fitted(width, &args.width, settings, restore_bytes)?;
    let window_log_max = resolve::window_log_max(args.limits.window_log_max, settings)?;

    let stdin = Path::new("-");
    if args.input == stdin && args.against.as_deref() == Some(stdin) {
        return Err(Problem::usage("standard input cannot be both IN and ORIGINAL").into());
    }
    let mut session = Session::start(&args.talk)?;
    let mut taken = vec![Taken::In("IN", &args.input)];
    taken.extend(args.against.as_deref().map(|path| Taken::In("ORIGINAL", path)));
    taken.extend(super::taken_keys(&args.identities));
    taken.extend(settings.file().map(|path| Taken::In("--config", path)));
    super::with_reports((Verb::Verified, &args.talk), &taken, &mut session, |session, reports| {
        verify(&args, width, window_log_max, session, reports)
    })
}

fn verify(
    args: &VerifyArgs,
    width: Width,
    window_log_max: u32,
    session: &mut Session,
    reports: &mut Reports<'_>,
) -> anyhow::Result<Exit> {
    let input = Input::open(&args.input)?;
    let what = || format!("verify {}", input.name);
    let head = session.head(&input, DETECT_LEN).with_context(what)?;
    let wake = WakeUp::new().context("cannot start")?;
    let pace = Pace::of(&args.pace, &wake)?;
    let reader = paced(input.reader(&wake)?, pace.as_ref());
    let layers = layers::open_layers(session, &wake, head, reader, &args.identities).with_context(what)?;
    let original = args.against.as_deref().map(Input::open).transpose()?;
    let writer: Box<dyn Write + Send> = match &original {
        Some(original) => Box::new(Comparer { original: original.reader(&wake)?, position: 0, bytes: Vec::new() }),
        None => Box::new(io::sink()),
    };
    let work = layers::restore_work(&layers, ContentRange::All, window_log_max, true);
    let is_bare = layers.open.is_none();
    let plan = Plan { width, engine: Engine::Channels, work: Work::Restore(work) }.narrowed_to(input.bytes());
    let report = session
        .run(&plan, layers.reader, input.bytes(), writer, &wake)
        .map_err(|failure| name_the_original(failure, original.as_ref()))
        .with_context(what)?;
    let table = report.summary.table.as_ref().filter(|_| is_bare && !args.foreign);
    if let Some(TableStatus::Unusable(error)) = table {
        let message = format!("verify {}: {error}, so frames that are missing would not be noticed", input.name);
        return Err(Problem::damaged(message).hint("--foreign accepts a file without a valid seek table").into());
    }
    Ok(super::tell(report, reports, &input))
}

/// What is "written" is compared instead.
struct Comparer {
    original: Box<dyn Read + Send>,
    position: u64,
    bytes: Vec<u8>,
}

/// Why a comparison ended.
#[derive(Debug, thiserror::Error)]
enum Mismatch {
    #[error("differs from the content at byte {0}")]
    Differs(u64),
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
}

impl Comparer {
    /// Fills `bytes` from the original as far as that goes.
    fn read_original(&mut self, len: usize) -> io::Result<()> {
        self.bytes.resize(len.max(self.bytes.len()), 0);
        let mut filled_len = 0;
        while filled_len < len {
            match self.original.read(&mut self.bytes[filled_len..len]) {
                Ok(0) => break,
                Ok(read_len) => filled_len += read_len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io::Error::other(Mismatch::Unreadable(error))),
            }
        }
        self.bytes.truncate(filled_len);
        Ok(())
    }
}

impl Write for Comparer {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.read_original(content.len())?;
        if self.bytes != content {
            let same_len = self.bytes.iter().zip(content).take_while(|(a, b)| a == b).count();
            return Err(io::Error::other(Mismatch::Differs(self.position + same_len as u64)));
        }
        self.position += content.len() as u64;
        Ok(content.len())
    }

    /// The end of the content has to be the original's.
    fn flush(&mut self) -> io::Result<()> {
        self.read_original(1)?;
        match self.bytes.len() {
            0 => Ok(()),
            _ => Err(io::Error::other(Mismatch::Differs(self.position))),
        }
    }
}

fn name_the_original(failure: Failure, original: Option<&Input>) -> anyhow::Error {
    let mismatch = match &failure.cause {
        Cause::Write(error) => error.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>()),
        _ => None,
    };
    match (mismatch, original) {
        (Some(mismatch), Some(original)) => Problem::failed(format!("{} {mismatch}", original.name)).into(),
        _ => failure.into(),
    }
}
