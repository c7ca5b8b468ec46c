//! `pipeline cat`: a range of the content to stdout, by seek table where there is one.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::cli::args::{CatArgs, ProgressWhen};
use crate::cli::problem::{self, Exit};
use crate::cli::resolve;
use crate::cli::session::{Session, name_the_output};
use crate::cli::settings::Settings;
use crate::format::age::stream::PayloadKey;
use crate::format::detect::{DETECT_LEN, Layer};
use crate::pipeline::crew::Width;
use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::memory::restore_bytes;
use crate::pipeline::plan::{Content, ContentRange, Decompress, Engine, Expect, Plan, Restore, Start, Work};
use crate::pipeline::range::{RangeError, RangePlan, check_headers_before, locate, read_table};
use crate::pipeline::sealed::SealedReader;
use crate::pipeline::shutdown::Cancel;
use crate::report::{Reports, Taken, Verb};
use crate::store::input::Input;
use crate::store::output::{Manner, Output};
use crate::store::sys::WakeUp;
use crate::task::keys;
use crate::task::layers::{self, Layers};

/// Runs the command.
pub fn run(mut args: CatArgs, settings: &Settings) -> anyhow::Result<Exit> {
    // What is read goes to a terminal or to a program that writes to one: what is said beside it has to be asked for here and now.
    args.talk.progress.get_or_insert(ProgressWhen::Never);
    resolve::identities(&mut args.identities, settings)?;
    keys::check_sources(&args.input, &args.identities.passphrases, &[("--identity", &args.identities.identity)])?;
    let width = resolve::width(&args.width, settings)?;
    let width = resolve::fitted(width, &args.width, settings, restore_bytes)?;
    let window_log_max = resolve::window_log_max(args.limits.window_log_max, settings)?;

    let mut session = Session::start(&args.talk)?;
    let mut taken = vec![Taken::In("IN", &args.input), Taken::Out(Path::new("-"))];
    taken.extend(super::taken_keys(&args.identities));
    taken.extend(settings.file().map(|path| Taken::In("--config", path)));
    super::with_reports((Verb::Read, &args.talk), &taken, &mut session, |session, reports| {
        cat(&args, width, window_log_max, session, reports)
    })
}

fn cat(
    args: &CatArgs,
    width: Width,
    window_log_max: u32,
    session: &mut Session,
    reports: &mut Reports<'_>,
) -> anyhow::Result<Exit> {
    let input = Input::open(&args.input)?;
    let what = || format!("cat {}", input.name);
    let manner = Manner { force: args.force, sync: true, umask: session.umask };
    let output = Output::prepare(Path::new("-"), &[&input], manner)?;
    let start = if input.is_seekable() { (&*input.file).stream_position().with_context(what)? } else { 0 };
    let head = session.head(&input, DETECT_LEN).with_context(what)?;
    let behind_head = start + head.len() as u64;
    let wake = WakeUp::new().context("cannot start")?;
    let layers =
        layers::open_layers(session, &wake, head.clone(), input.reader(&wake)?, &args.identities).with_context(what)?;
    let is_whole_file = input.is_seekable() && start == 0;
    let (reader, work): (Box<dyn Read + Send>, Restore) = match &layers.open {
        Some(key) if is_whole_file && !layers.is_armored => {
            let sealed = seek_sealed(session, &input, layers.payload_offset, key).with_context(what)?;
            plan_sealed(session, sealed, &layers, args, window_log_max).with_context(what)?
        }
        None if is_whole_file => match plan_by_table(session, &input, args, window_log_max).with_context(what)? {
            Some(RangePlan { file_range, work }) => {
                (&*input.file).seek(SeekFrom::Start(file_range.start)).with_context(what)?;
                let reader = input.reader(&wake)?.take(file_range.end - file_range.start);
                (Box::new(reader), Restore { open: None, content: Content::Frames(work) })
            }
            None => {
                (&*input.file).seek(SeekFrom::Start(behind_head)).with_context(what)?;
                let work = layers::restore_work(&layers, args.range.clone(), window_log_max, true);
                (Box::new(Cursor::new(head).chain(input.reader(&wake)?)), work)
            }
        },
        _ => {
            let work = layers::restore_work(&layers, args.range.clone(), window_log_max, true);
            (layers.reader, work)
        }
    };
    let plan = Plan { width, engine: Engine::Channels, work: Work::Restore(work) };
    let writer = output.writer(&wake)?;
    let report = session
        .run(&plan, reader, None, writer, &wake)
        .map_err(|failure| name_the_output(failure, &output))
        .with_context(what)?;
    super::finish(session, &input, output)?;
    Ok(super::tell(report, reports, &input))
}

/// What the seek table says of the range; `None` where there is no table that can be used, and a warning that says so.
fn plan_by_table(
    session: &mut Session,
    input: &Input,
    args: &CatArgs,
    window_log_max: u32,
) -> anyhow::Result<Option<RangePlan>> {
    let (mut file, range) = (input.file.try_clone().context("cannot read")?, args.range.clone());
    let planned = session.task("locate", Cancel::default(), move |cancel| {
        Ok(read_table(&mut file).and_then(|table| {
            let table = Arc::new(table);
            let plan = match locate(&table, &range, window_log_max) {
                Ok(plan) => plan,
                Err(cause) => return Ok(Err(cause)),
            };
            check_headers_before(&mut file, &table, plan.file_range.start, || cancel.is_set())?;
            Ok(Ok(plan))
        }))
    });
    match planned? {
        Ok(plan) => plan.map(Some).map_err(failure),
        Err(RangeError::NoTable(error)) => {
            if args.range != ContentRange::All && !args.talk.quiet {
                problem::warn(&format!("{}: {error}: decoding from the start to find the range", input.name));
            }
            Ok(None)
        }
        Err(RangeError::Damaged(error)) => Err(failure(error.into())),
        Err(RangeError::Io(error)) => Err(error).context("cannot read"),
    }
}

/// The payload of an age file, its final segment authenticated, so that it can be read from any place.
fn seek_sealed(
    session: &mut Session,
    input: &Input,
    payload_offset: u64,
    key: &PayloadKey,
) -> anyhow::Result<SealedReader<File>> {
    let (file, key) = (input.file.try_clone().context("cannot read")?, key.clone());
    let opened = session.task("locate", Cancel::default(), move |_| Ok(SealedReader::new(file, payload_offset, &key)));
    opened?.map_err(|error| failure(Cause::of_read(error)))
}

/// The part of the payload that holds the range: by the seek table, which is authentic in here; all of it where there is none.
fn plan_sealed(
    session: &mut Session,
    mut sealed: SealedReader<File>,
    layers: &Layers,
    args: &CatArgs,
    window_log_max: u32,
) -> anyhow::Result<(Box<dyn Read + Send>, Restore)> {
    if layers.inner != Layer::Zstd {
        let (start, range) = match &args.range {
            ContentRange::All => (0, ContentRange::All),
            ContentRange::From(start) => (*start, ContentRange::All),
            ContentRange::Within(range) => (range.start, ContentRange::Within(0..range.end - range.start)),
        };
        let content_bytes = sealed.content_bytes();
        let range_end = if let ContentRange::Within(range) = &args.range { range.end } else { start };
        if range_end > content_bytes {
            return Err(failure(Cause::RangePastEnd { range_end, content_bytes }));
        }
        sealed.seek(SeekFrom::Start(start)).context("cannot read")?;
        let wanted_bytes = if let ContentRange::Within(range) = &range { range.end } else { content_bytes - start };
        return Ok((Box::new(sealed.take(wanted_bytes)), Restore { open: None, content: Content::Plain(range) }));
    }
    let range = args.range.clone();
    let (mut sealed, table) = session.task("locate", Cancel::default(), move |_| {
        let table = read_table(&mut sealed);
        Ok((sealed, table))
    })?;
    let (file_range, work) = match table {
        Ok(table) => {
            let RangePlan { file_range, work } = locate(&Arc::new(table), &range, window_log_max).map_err(failure)?;
            (file_range, work)
        }
        Err(RangeError::NoTable(_)) => {
            let work = Decompress { window_log_max, start: Start::default(), range, expect: Expect::Tables };
            (0..sealed.content_bytes(), work)
        }
        Err(RangeError::Damaged(error)) => return Err(failure(error.into())),
        Err(RangeError::Io(error)) => return Err(failure(Cause::of_read(error))),
    };
    sealed.seek(SeekFrom::Start(file_range.start)).context("cannot read")?;
    let reader = sealed.take(file_range.end - file_range.start);
    Ok((Box::new(reader), Restore { open: None, content: Content::Frames(work) }))
}

fn failure(cause: Cause) -> anyhow::Error {
    Failure { stage: "locate", seq: None, cause }.into()
}
