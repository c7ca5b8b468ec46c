//! Restores in memory with two workers and the shortest channels.
//!
//! Every run must end, with all its threads, and none of them may panic.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipeline::pipeline::endpoints::Endpoints;
use pipeline::pipeline::error::{Cause, Failure};
use pipeline::pipeline::plan::{Content, ContentRange, Decompress, Engine, Expect, Plan, Restore, Start, Work};
use pipeline::pipeline::report::Report;
use pipeline::pipeline::shutdown::Cancel;
use pipeline::pipeline::supervisor::{Supervisor, Watch};
use pipeline::pipeline::threads::Concurrency;

/// The most bytes that an output takes; then it reports a full disk.
pub const OUTPUT_LEN_MAX: usize = 24 * 1024 * 1024;
/// The default of the largest window that a restore accepts, as its logarithm to base 2.
pub const WINDOW_LOG_MAX: u32 = 27;

thread_local! {
    static SUPERVISOR: RefCell<Supervisor> = RefCell::new(Supervisor::new([]).expect("a runtime"));
}

/// The result of a run.
pub struct Restored {
    /// All bytes written, even if the run failed.
    pub output: Vec<u8>,
    /// The report or the failure.
    pub ended: Result<Report, Failure>,
}

impl Restored {
    /// Whether the run failed because the output was full.
    pub fn is_cut_short(&self) -> bool {
        matches!(&self.ended, Err(Failure { cause: Cause::Write(_), .. }))
    }
}

/// The work that decodes frames from the start of the input, limited to `range`.
pub fn decompress(range: ContentRange) -> Content {
    let (start, expect) = (Start::default(), Expect::Tables);
    Content::Frames(Decompress { window_log_max: WINDOW_LOG_MAX, start, range, expect })
}

/// Runs `work` on `input`. Panics if a thread panics or outlives the run.
pub fn restore(work: Restore, input: Box<dyn Read + Send>) -> Restored {
    let two = NonZeroUsize::MIN.saturating_add(1);
    let width = Concurrency { workers: two, channel_depth: NonZeroUsize::MIN };
    let plan = Plan { width, engine: Engine::Channels, work: Work::Restore(work) };
    let taken = Arc::new(Mutex::new(Vec::new()));
    let alive = Arc::new(());
    let ends = Endpoints {
        input: Box::new(Held { input, _alive: Arc::clone(&alive) }),
        input_bytes: None,
        output: Box::new(ReservedPath(Arc::clone(&taken))),
        cancel: Cancel::default(),
        progress: Arc::default(),
    };
    let watch = &mut Watch { tick_every: Duration::from_secs(1), on_tick: &mut |_, _| () };
    let ended = SUPERVISOR
        .with_borrow_mut(|supervisor| pipeline::pipeline::run(&plan, &Default::default(), ends, supervisor, watch));
    if let Err(Failure { cause: cause @ (Cause::Panicked(_) | Cause::EndedEarly | Cause::Spawn(_)), .. }) = &ended {
        panic!("{cause}");
    }
    assert!(Arc::strong_count(&alive) == 1 && Arc::strong_count(&taken) == 1, "a thread was left behind");
    let output = std::mem::take(&mut *taken.lock().expect("no thread panicked"));
    Restored { output, ended }
}

/// An input whose `_alive` shows whether its reader still exists.
struct Held {
    input: Box<dyn Read + Send>,
    _alive: Arc<()>,
}

impl Read for Held {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.input.read(bytes)
    }
}

/// An output in memory, limited to [`OUTPUT_LEN_MAX`].
struct ReservedPath(Arc<Mutex<Vec<u8>>>);

impl Write for ReservedPath {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = self.0.lock().expect("no thread panicked");
        if taken.len() + bytes.len() > OUTPUT_LEN_MAX {
            return Err(ErrorKind::StorageFull.into());
        }
        taken.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
