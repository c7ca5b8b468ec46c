//! Opens an input: detects its layers from its first bytes and removes the age layer.

use std::ffi::OsStr;
use std::io::{Cursor, Read, Seek};
use std::os::unix::ffi::OsStrExt;

use super::error::{Notice, TaskError};
use super::executor::Executor;
use super::keys::{IdentitySources, Keyring};
use crate::format::age::armor;
use crate::format::age::stream::PayloadKey;
use crate::format::detect::{DETECT_LEN, Layer, Part, detect, old_zstd_version, part_of};
use crate::pipeline::age_header::{Peeled, peel_with, read_header};
use crate::pipeline::names::Stage;
use crate::pipeline::plan::{Content, ContentRange, Decompress, Expect, Restore, Start};
use crate::store::digest::{DigestHandle, digest_reader};
use crate::store::error::Doing;
use crate::store::input::Input;
use crate::store::name::quoted;
use crate::store::prompt::Prompter;
use crate::store::rate_limit::{RateLimit, paced};
use crate::store::sys::{self, WakeUp};

/// The keys for an input.
#[derive(Clone)]
pub enum Keys {
    /// Read only for an age file: a bare one needs no key file.
    Sources {
        /// The sources.
        sources: IdentitySources,
        /// Asks for a passphrase that no source gives.
        prompter: Prompter,
        /// Gets a notice for identity files that others can read.
        tell: fn(&Notice),
    },
    /// Already read, for many files.
    Read(Box<Keyring>),
}

impl Keys {
    /// Whether any key is given; the input is then assumed to be an age file.
    pub fn is_any(&self) -> bool {
        match self {
            Keys::Sources { sources, .. } => sources.is_any(),
            Keys::Read(keyring) => !keyring.is_empty(),
        }
    }

    /// Reads the keys. Disables core dumps first, since keys will be in memory.
    pub fn keyring(self, executor: &mut impl Executor) -> Result<Keyring, TaskError> {
        match self {
            Keys::Read(keyring) => Ok(*keyring),
            Keys::Sources { sources, prompter, tell } => {
                forbid_core_dumps()?;
                executor.wait("keys", move |_| Keyring::read(&sources, &prompter, tell))?
            }
        }
    }
}

/// Disables core dumps, since keys are in memory.
pub fn forbid_core_dumps() -> Result<(), TaskError> {
    sys::forbid_core_dumps().map_err(|error| TaskError::Start("turn core dumps off", error))
}

/// An input with known layers, ready to be read.
pub struct Opened {
    /// From the first frame, or the first segment of an age payload.
    pub reader: Box<dyn Read + Send>,
    /// The first bytes of the input.
    pub head: Vec<u8>,
    /// The payload key, if there is an age layer.
    pub open: Option<PayloadKey>,
    /// Offset of the payload in a binary age file.
    pub payload_offset: u64,
    /// Types of the age stanzas.
    pub stanzas: Vec<String>,
    /// The age layer is armored.
    pub is_armored: bool,
    /// The innermost layer that was detected.
    pub inner: Layer,
    /// The digest of the bytes read, if requested.
    pub read: Option<DigestHandle>,
}

/// Options for reading an input.
#[derive(Clone)]
pub struct ReadOptions {
    /// Interrupts a blocked read.
    pub wake: WakeUp,
    /// Limits the read rate.
    pub rate_limit: Option<RateLimit>,
    /// Whether to digest the bytes read.
    pub digest: bool,
}

/// An input whose first bytes were read: these bytes, a reader of the rest, and a handle to the digest of all bytes if [`ReadOptions::digest`].
pub type Begun = (Vec<u8>, Box<dyn Read + Send>, Option<DigestHandle>);

/// Reads the first [`DETECT_LEN`] bytes of `input`.
pub fn read(executor: &mut impl Executor, input: &Input, options: &ReadOptions) -> Result<Begun, TaskError> {
    let reader = paced(input.reader(&options.wake)?, options.rate_limit.as_ref());
    let (reader, digest) = digest_reader(reader, options.digest);
    let (head, reader) = match input.is_seekable() {
        true => head_of(reader),
        false => executor.wait("detect", move |_| head_of(reader))?,
    }
    .map_err(Doing::Read.failed(&input.name))?;
    Ok((head, reader, digest))
}

fn head_of(mut reader: Box<dyn Read + Send>) -> std::io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = Vec::with_capacity(DETECT_LEN);
    reader.by_ref().take(DETECT_LEN as u64).read_to_end(&mut head)?;
    Ok((head, reader))
}

/// Opens `input`, with `keys` if it is an age file.
pub fn open(
    executor: &mut impl Executor,
    input: &Input,
    keys: &Keys,
    options: &ReadOptions,
) -> Result<Opened, TaskError> {
    let (head, reader, read) = self::read(executor, input, options)?;
    let opened = open_stream(executor, head, reader, keys)?;
    Ok(Opened { read, ..opened })
}

/// Opens a stream that begins with `head`; `reader` gives the rest.
pub fn open_stream(
    executor: &mut impl Executor,
    head: Vec<u8>,
    reader: Box<dyn Read + Send>,
    keys: &Keys,
) -> Result<Opened, TaskError> {
    let layer = layer_of(&head, keys.is_any());
    let reader: Box<dyn Read + Send> = Box::new(Cursor::new(head.clone()).chain(reader));
    if !matches!(layer, Layer::Age | Layer::AgeArmor) {
        require_zstd(&head)?;
        return Ok(Opened {
            reader,
            head,
            open: None,
            payload_offset: 0,
            stanzas: Vec::new(),
            is_armored: false,
            inner: Layer::Zstd,
            read: None,
        });
    }
    let mut keyring = keys.clone().keyring(executor)?;
    let (header, rest) = executor.wait("open", move |_| read_header(reader, layer))??;
    let (file_key, header) =
        executor.compute(Stage::Unwrap, move |_| keyring.unwrap(&header).map(|file_key| (file_key, header)))??;
    let peeled = executor.wait("open", move |_| peel_with(&header, &file_key, rest))??;
    let Peeled { payload, key, payload_offset, stanzas, inner } = peeled;
    let is_armored = layer == Layer::AgeArmor;
    Ok(Opened { reader: payload, head, open: Some(key), payload_offset, stanzas, is_armored, inner, read: None })
}

/// The layer that `head` begins. With a key, unrecognized bytes count as a damaged age file.
pub fn layer_of(head: &[u8], has_key: bool) -> Layer {
    match detect(head) {
        Layer::Other | Layer::Empty if has_key => {
            let begin = armor::BEGIN.as_bytes();
            let holds_begin = head.windows(begin.len()).any(|part| part == begin);
            let is_armor = holds_begin || head.trim_ascii_start().starts_with(b"-");
            if is_armor { Layer::AgeArmor } else { Layer::Age }
        }
        layer => layer,
    }
}

/// The work of restoring `opened`.
pub fn restore_work(opened: &Opened, range: ContentRange, window_log_max: u32, decompress: bool) -> Restore {
    let frames = Decompress { window_log_max, start: Start::default(), range: range.clone(), expect: Expect::Tables };
    let content = match opened.inner {
        Layer::Zstd if decompress => Content::Frames(frames),
        _ => Content::Plain(range),
    };
    Restore { open: opened.open.clone(), content }
}

/// The current offset in `input`; 0 if it is not seekable.
pub fn position(input: &Input) -> Result<u64, TaskError> {
    match input.is_seekable() {
        true => Ok((&*input.file).stream_position().map_err(Doing::Read.failed(&input.name))?),
        false => Ok(0),
    }
}

/// Fails unless `head` begins a zstd file.
fn require_zstd(head: &[u8]) -> Result<(), TaskError> {
    match detect(head) {
        Layer::Zstd => Ok(()),
        // Any file may have been truncated to nothing.
        Layer::Empty => Err(TaskError::Empty),
        Layer::Age | Layer::AgeArmor | Layer::Other => {
            match part_of(head) {
                Some(Part::Magic) => return Err(TaskError::CutMagic),
                Some(Part::AgeLine) => return Err(TaskError::CutAgeLine),
                None => {}
            }
            if let Some(version) = old_zstd_version(head) {
                return Err(TaskError::OldZstd(version));
            }
            let first = &head[..head.len().min(8)];
            Err(TaskError::Unrecognized(quoted(OsStr::from_bytes(first))))
        }
    }
}
