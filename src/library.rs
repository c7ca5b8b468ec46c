//! The interface for other programs: a [`Plan`], a reader, a writer, and [`run`].
//!
//! It reads no arguments, files, environment or terminal, and sets no signal handler. Each run makes its own keys, so a plan can run any
//! number of times.

use std::io::{Cursor, Read, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use age::NoCallbacks;

use crate::format::age::keys::{self, Identity, Recipient};
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::format::zstd::codec::Level;
use crate::pipeline::age_header::{Peeled, age_failure, peel};
use crate::pipeline::cpu_slots::CpuSlots;
use crate::pipeline::endpoints::Endpoints;
use crate::pipeline::error::{Cause, Failure};
use crate::pipeline::metrics::Progress;
use crate::pipeline::names::Stage;
use crate::pipeline::plan::{
    CHANNEL_DEPTH_DEFAULT, CHUNK_GRAIN, CHUNK_MAX, Compress, Content, ContentRange, Decompress, Engine, Expect,
    Process, Restore, Start, WINDOW_LOG_MAX_DEFAULT, WORK_FACTOR_MAX_DEFAULT, Work, chunk_len_default, layer_of_zstd,
};
use crate::pipeline::report::Report;
use crate::pipeline::shutdown::Cancel;
use crate::pipeline::supervisor::{Supervisor, Watch};
use crate::pipeline::threads::Concurrency;
use crate::pipeline::{self, plan};
use crate::task::process::peek_zstd;
use crate::task::wrap::{WrapError, seal_for};

/// Interval of progress ticks, which a library's run does not use.
const TICK: Duration = Duration::from_secs(60);

/// What to do with an input, and on how many cores.
pub struct Plan {
    width: Concurrency,
    todo: Todo,
}

enum Todo {
    Process { compress: Option<Compress>, recipients: Vec<Recipient> },
    Restore { identities: Vec<Identity> },
}

impl Plan {
    /// Compresses into zstd frames with a seek table.
    pub fn compress(level: Level) -> Plan {
        Plan::new(Todo::Process {
            compress: Some(Compress { chunk_len: chunk_len_default(level), level }),
            recipients: Vec::new(),
        })
    }

    /// Encrypts into an age file that any of `recipients` opens; a run without recipients fails. An input that begins like a zstd file gets a zstd
    /// layer too, so that [`restore`](Plan::restore) gives it back as it is.
    pub fn encrypt(recipients: impl IntoIterator<Item = Recipient>) -> Plan {
        Plan::new(Todo::Process { compress: None, recipients: recipients.into_iter().collect() })
    }

    /// Compresses, then encrypts.
    pub fn compress_and_encrypt(level: Level, recipients: impl IntoIterator<Item = Recipient>) -> Plan {
        let compress = Some(Compress { chunk_len: chunk_len_default(level), level });
        Plan::new(Todo::Process { compress, recipients: recipients.into_iter().collect() })
    }

    /// Restores a zstd file, an age file that one of `identities` opens, or a zstd file inside an age file; the first bytes of the input
    /// decide which.
    ///
    /// A bare zstd file that was cut between two frames is valid. [`Summary::table`](crate::Summary) of the report says whether a seek
    /// table proves that no frame is missing.
    pub fn restore(identities: impl IntoIterator<Item = Identity>) -> Plan {
        Plan::new(Todo::Restore { identities: identities.into_iter().collect() })
    }

    fn new(todo: Todo) -> Plan {
        let workers = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Plan { width: Concurrency { workers, channel_depth: CHANNEL_DEPTH_DEFAULT }, todo }
    }

    /// Sets the workers in each parallel stage, by default as many as CPUs. Neither they nor the depth change the output.
    pub fn with_workers(mut self, workers: NonZeroUsize) -> Plan {
        self.width.workers = workers;
        self
    }

    /// Sets how many items each bounded channel holds, by default 4.
    pub fn with_channel_depth(mut self, channel_depth: NonZeroUsize) -> Plan {
        self.width.channel_depth = channel_depth;
        self
    }

    /// Sets the bytes of input in a frame, by default 4 MiB, or 8 MiB from level 9 on: rounded up to a multiple of 64 KiB, from 64 KiB to 64 MiB.
    pub fn with_chunk_len(mut self, len: usize) -> Plan {
        if let Todo::Process { compress: Some(compress), .. } = &mut self.todo {
            compress.chunk_len = len.clamp(CHUNK_GRAIN, CHUNK_MAX).next_multiple_of(CHUNK_GRAIN);
        }
        self
    }
}

/// Runs `plan` on all of `input`, and returns the figures of the run and `output`, flushed. Blocks until that is done, on threads of its
/// own; in an async runtime call it where blocking is allowed (tokio's `spawn_blocking`).
///
/// # Errors
///
/// The first failure, in the order of the input: a reader or writer that fails, damage, no identity that matches. `output` then holds no
/// whole file. A reader that ends early because of an error must return that error: an end of input counts as the end of the data.
pub fn run<R, W>(plan: &Plan, input: R, output: W) -> Result<(Report, W), Failure>
where
    R: Read + Send + 'static,
    W: Write + Send + 'static,
{
    let (work, input) = match &plan.todo {
        Todo::Process { compress, recipients } => process(*compress, recipients, Box::new(input))?,
        Todo::Restore { identities } => restore(Box::new(input), identities)?,
    };
    let plan = plan::Plan { width: plan.width, engine: Engine::Channels, work };
    let (give_back, given_back) = sync_channel(1);
    let ends = Endpoints {
        input,
        input_bytes: None,
        output: Box::new(Lent { output: Some(output), give_back }),
        cancel: Cancel::default(),
        progress: Arc::new(Progress::default()),
    };
    let mut supervisor =
        Supervisor::without_signals().map_err(|error| failure(Stage::Supervisor, Cause::Spawn(error)))?;
    let report = pipeline::run(
        &plan,
        &CpuSlots::default(),
        ends,
        &mut supervisor,
        &mut Watch { tick_every: TICK, on_tick: &mut |_, _| () },
    )?;
    let output = given_back.try_recv().expect("internal error: a run ended well and kept its output");
    Ok((report, output))
}

/// Creates a new file key and nonce for every run.
fn process(
    compress: Option<Compress>,
    recipients: &[Recipient],
    input: Box<dyn Read + Send>,
) -> Result<(Work, Box<dyn Read + Send>), Failure> {
    if compress.is_some() && recipients.is_empty() {
        return Ok((Work::Process(Process { compress, seal: None }), input));
    }
    let seal = seal_for(recipients, &NoCallbacks).map_err(|error| {
        let cause = match error {
            WrapError::Random(error) => Cause::Random(error),
            WrapError::Recipients(error) => Cause::Wrap(error),
        };
        failure(Stage::Wrap, cause)
    })?;
    if compress.is_some() {
        return Ok((Work::Process(Process { compress, seal: Some(seal) }), input));
    }
    let (input, is_zstd) = peek_zstd(input).map_err(|error| failure(Stage::Read, Cause::of_read(error)))?;
    let compress = is_zstd.then(layer_of_zstd);
    Ok((Work::Process(Process { compress, seal: Some(seal) }), input))
}

/// The work that the first bytes of `input` call for, and `input` from its first frame or segment on.
fn restore(mut input: Box<dyn Read + Send>, identities: &[Identity]) -> Result<(Work, Box<dyn Read + Send>), Failure> {
    let mut head = Vec::with_capacity(DETECT_LEN);
    let read = input.by_ref().take(DETECT_LEN as u64).read_to_end(&mut head);
    read.map_err(|error| failure(Stage::Read, Cause::of_read(error)))?;
    let layer = detect(&head);
    let input: Box<dyn Read + Send> = Box::new(Cursor::new(head).chain(input));
    let frames = Content::Frames(Decompress {
        window_log_max: WINDOW_LOG_MAX_DEFAULT,
        start: Start::default(),
        range: ContentRange::All,
        expect: Expect::Tables,
    });
    if !matches!(layer, Layer::Age | Layer::AgeArmor) {
        return Ok((Work::Restore(Restore { open: None, content: frames }), input));
    }
    let Peeled { payload, key, inner, .. } = peel(input, layer, |header| {
        keys::unwrap(header, identities, &NoCallbacks, WORK_FACTOR_MAX_DEFAULT).map_err(age_failure)
    })?;
    let content = if inner == Layer::Zstd { frames } else { Content::Plain(ContentRange::All) };
    Ok((Work::Restore(Restore { open: Some(key), content }), payload))
}

fn failure(stage: Stage, cause: Cause) -> Failure {
    Failure { stage, seq: None, cause }
}

/// An output that returns to the caller when the writing stage drops it.
struct Lent<W> {
    output: Option<W>,
    give_back: SyncSender<W>,
}

impl<W: Write> Lent<W> {
    fn output(&mut self) -> &mut W {
        self.output.as_mut().expect("it is taken when dropped")
    }
}

impl<W: Write> Write for Lent<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.output().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output().flush()
    }
}

impl<W> Drop for Lent<W> {
    fn drop(&mut self) {
        if let Some(output) = self.output.take() {
            // The channel has room for one; after a failed run nobody receives it.
            let _ = self.give_back.try_send(output);
        }
    }
}
