//! Reads a range of a file's content. With a seek table, even inside an age layer,
//! decodes only the frames of the range; otherwise decodes from the start.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};

use super::Produced;
use super::error::{Notice, TaskError};
use super::executor::{Executor, RunEnds};
use super::open::{Opened, restore_work};
use super::unchanged::state_if_untouched;
use crate::format::age::stream::PayloadKey;
use crate::format::detect::Layer;
use crate::format::zstd::seek_table::{TableError, TableStatus};
use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::names::Stage;
use crate::pipeline::plan::{Content, ContentRange, Decompress, Engine, Expect, Plan, Restore, Start, Work};
use crate::pipeline::range::{RangePlan, check_headers_before, locate};
use crate::pipeline::sealed::SealedReader;
use crate::pipeline::table::{RangeError, Reopen, read_table};
use crate::pipeline::threads::Concurrency;
use crate::store::error::Doing;
use crate::store::input::{Input, PlacedReader};
use crate::store::output::Output;
use crate::store::sys::WakeUp;

/// How to read a range.
#[derive(Clone)]
pub struct RangeSpec {
    /// Workers and channel depth.
    pub width: Concurrency,
    /// The largest window accepted, as its logarithm to base 2.
    pub window_log_max: u32,
    /// The range, in bytes of content.
    pub range: ContentRange,
    /// Gets a notice if decoding begins at the start.
    pub tell: fn(&Notice),
}

/// Writes the range of `opened`, the content of `input`, to `output`. `start` is the file's offset in `input`.
pub fn read_range(
    executor: &mut impl Executor,
    spec: &RangeSpec,
    (input, start): (&Input, u64),
    opened: Opened,
    output: &Output,
    wake: &WakeUp,
) -> Result<Produced, TaskError> {
    let is_whole_file = input.is_seekable() && start == 0;
    let from_the_start = |opened: &Opened| restore_work(opened, spec.range.clone(), spec.window_log_max, true);
    let (reader, work): (Box<dyn Read + Send>, Restore) = match &opened.open {
        Some(key) if is_whole_file && !opened.is_armored => {
            let sealed = seek_sealed(executor, input, opened.payload_offset, key)?;
            match opened.inner {
                Layer::Zstd => plan_sealed(executor, spec, input, sealed, reopen_sealed(input, &opened, key)?)?,
                _ => plan_sealed_plain(&spec.range, input, sealed)?,
            }
        }
        None if is_whole_file => match plan_by_table(executor, spec, input)? {
            Ok(RangePlan { file_range, work }) => {
                seek(input, file_range.start)?;
                let reader = input.reader(wake)?.take(file_range.end - file_range.start);
                (Box::new(reader), Restore { open: None, content: Content::Frames(work) })
            }
            Err(error) => {
                seek(input, opened.head.len() as u64)?;
                let work =
                    Restore { content: held_against_tables(from_the_start(&opened).content, &error), open: None };
                (Box::new(Cursor::new(opened.head).chain(input.reader(wake)?)), work)
            }
        },
        _ => {
            let work = from_the_start(&opened);
            (opened.reader, work)
        }
    };
    let plan = Plan { width: spec.width, engine: Engine::Channels, work: Work::Restore(work) };
    let ends = RunEnds { input: reader, input_bytes: None, output: output.writer(wake)?, is_counted: true };
    let outcome = executor.run(&plan, ends)?;
    if let Some(TableStatus::Unusable(error)) = &outcome.summary.table
        && error.is_contradiction()
    {
        return Err(TaskError::TableContradicts(error.clone()));
    }
    Ok(Produced { input_state: state_if_untouched(input), ..Produced::of(outcome) })
}

/// `content`, decoded to its end if `error` says that the last table does not fit the file. That may be the table of the last of several files in a
/// row; or frames are missing or changed, and then no offset is what it was.
fn held_against_tables(content: Content, error: &TableError) -> Content {
    match content {
        Content::Frames(work) if error.is_contradiction() => {
            Content::Frames(Decompress { expect: Expect::AllTables, ..work })
        }
        content => content,
    }
}

fn seek(input: &Input, offset: u64) -> Result<(), TaskError> {
    (&*input.file).seek(SeekFrom::Start(offset)).map_err(Doing::Read.failed(&input.name))?;
    Ok(())
}

/// Plans the range by the seek table; the inner error says why the table is not usable.
fn plan_by_table(
    executor: &mut impl Executor,
    spec: &RangeSpec,
    input: &Input,
) -> Result<Result<RangePlan, TableError>, TaskError> {
    let mut file = PlacedReader::new(input)?;
    let (range, window_log_max) = (spec.range.clone(), spec.window_log_max);
    let again = file.clone();
    let stream = Reopen::new(move || Ok(again.clone()));
    let planned = executor.wait("locate", move |cancel| {
        read_table(&mut file).and_then(|table| {
            let plan = match locate(&mut file, &table, &range, window_log_max, stream) {
                Ok(plan) => plan,
                Err(cause) => return Ok(Err(cause)),
            };
            check_headers_before(&mut file, &table, plan.file_range.start, || cancel.is_set())?;
            Ok(Ok(plan))
        })
    })?;
    match planned {
        Ok(plan) => plan.map(Ok).map_err(failure),
        Err(RangeError::NoTable(error)) => {
            if spec.range != ContentRange::All {
                (spec.tell)(&Notice::NoTableForRange { input: input.name.clone(), error: error.clone() });
            }
            Ok(Err(error))
        }
        Err(RangeError::Damaged(error)) => Err(failure(error.into())),
        Err(RangeError::Io(error)) => Err(Doing::Read.failed(&input.name)(error).into()),
    }
}

/// A seekable reader of an age payload, its final segment authenticated.
fn seek_sealed(
    executor: &mut impl Executor,
    input: &Input,
    payload_offset: u64,
    key: &PayloadKey,
) -> Result<SealedReader<File>, TaskError> {
    let (file, key) = (input.file.try_clone().map_err(Doing::Read.failed(&input.name))?, key.clone());
    let opened = executor.wait("locate", move |_| SealedReader::new(file, payload_offset, &key))?;
    opened.map_err(|error| failure(Cause::of_read(error)))
}

/// Opens the payload of `input` again.
fn reopen_sealed(input: &Input, opened: &Opened, key: &PayloadKey) -> Result<Reopen, TaskError> {
    let (file, payload_offset, key) = (PlacedReader::new(input)?, opened.payload_offset, key.clone());
    Ok(Reopen::new(move || SealedReader::new(file.clone(), payload_offset, &key)))
}

/// The part of the payload with the range, by its seek table, which is authentic; without a table, the whole payload.
fn plan_sealed(
    executor: &mut impl Executor,
    spec: &RangeSpec,
    input: &Input,
    mut sealed: SealedReader<File>,
    stream: Reopen,
) -> Result<(Box<dyn Read + Send>, Restore), TaskError> {
    let (range, window_log_max) = (spec.range.clone(), spec.window_log_max);
    let wanted = range.clone();
    let (mut sealed, planned) = executor.wait("locate", move |_| {
        let planned = read_table(&mut sealed);
        let planned = planned.map(|table| locate(&mut sealed, &table, &wanted, window_log_max, stream));
        (sealed, planned)
    })?;
    let (file_range, work) = match planned {
        Ok(planned) => {
            let RangePlan { file_range, work } = planned.map_err(failure)?;
            (file_range, work)
        }
        Err(RangeError::NoTable(error)) => {
            let expect = if error.is_contradiction() { Expect::AllTables } else { Expect::Tables };
            (0..sealed.content_bytes(), Decompress { window_log_max, start: Start::default(), range, expect })
        }
        Err(RangeError::Damaged(error)) => return Err(failure(error.into())),
        Err(RangeError::Io(error)) => return Err(failure(Cause::of_read(error))),
    };
    sealed.seek(SeekFrom::Start(file_range.start)).map_err(Doing::Read.failed(&input.name))?;
    let reader = sealed.take(file_range.end - file_range.start);
    Ok((Box::new(reader), Restore { open: None, content: Content::Frames(work) }))
}

/// Like [`plan_sealed`], for a payload without frames.
fn plan_sealed_plain(
    range: &ContentRange,
    input: &Input,
    mut sealed: SealedReader<File>,
) -> Result<(Box<dyn Read + Send>, Restore), TaskError> {
    let content_bytes = sealed.content_bytes();
    let (start, range_end, inside) = match range {
        ContentRange::All => (0, 0, ContentRange::All),
        ContentRange::From(start) => (*start, *start, ContentRange::All),
        ContentRange::Within(range) => (range.start, range.end, ContentRange::Within(0..range.end - range.start)),
    };
    if range_end > content_bytes {
        return Err(failure(Cause::RangePastEnd { range_end, content_bytes }));
    }
    sealed.seek(SeekFrom::Start(start)).map_err(Doing::Read.failed(&input.name))?;
    let wanted_bytes = if let ContentRange::Within(range) = &inside { range.end } else { content_bytes - start };
    Ok((Box::new(sealed.take(wanted_bytes)), Restore { open: None, content: Content::Plain(inside) }))
}

fn failure(cause: Cause) -> TaskError {
    Failure { stage: Stage::Step("locate"), seq: None, cause }.into()
}
