//! What an input is: its layers told apart by its first bytes, and the outer one taken off with a key.

use std::io::{Cursor, Read};

use age_core::format::FileKey;
use anyhow::Context;

use crate::cli::args::IdentityArgs;
use crate::cli::problem::{Problem, quoted};
use crate::cli::session::Session;
use crate::format::age::armor;
use crate::format::age::header::Header;
use crate::format::age::stream::PayloadKey;
use crate::format::detect::{Layer, detect};
use crate::format::zstd::seek_table::TableError;
use crate::pipeline::peel::{Peeled, peel};
use crate::pipeline::plan::{Content, ContentRange, Decompress, Expect, Restore, Start};
use crate::store::sys::{self, WakeUp};
use crate::task::keys::{self, Keyring};

/// What an input turned out to be, and how to read it.
pub struct Layers {
    /// From the first frame, or the first segment of an age payload.
    pub reader: Box<dyn Read + Send>,
    /// The key of the age layer, where there is one.
    pub open: Option<PayloadKey>,
    /// Where the payload begins in a binary age file.
    pub payload_offset: u64,
    /// The types of the age layer's stanzas.
    pub stanzas: Vec<String>,
    /// The age layer came in armor.
    pub is_armored: bool,
    /// What the innermost layer that was looked at is.
    pub inner: Layer,
}

/// Looks at `head`, the first bytes of an input, and takes the age header off if there is one. `reader` goes on behind `head`;
/// `wake` ends its waiting.
pub fn open_layers(
    session: &mut Session,
    wake: &WakeUp,
    head: Vec<u8>,
    reader: Box<dyn Read + Send>,
    args: &IdentityArgs,
) -> anyhow::Result<Layers> {
    let layer = layer_of(&head, has_key(args));
    if !matches!(layer, Layer::Age | Layer::AgeArmor) {
        return Layers::of(layer, head, reader, |_| unreachable!("internal error: a header of no age file"));
    }
    sys::forbid_core_dumps().context("cannot turn core dumps off")?;
    let args = args.clone();
    session.task_that_asks("open", wake, move |prompter| {
        let mut keyring = Keyring::new(&args, prompter)?;
        Layers::of(layer, head, reader, |header| keyring.unwrap(header))
    })
}

impl Layers {
    /// Those of an input that begins with `head` and is taken for `layer`; `reader` goes on behind `head`, and `unwrap` gives the file key of
    /// an age header.
    pub fn of(
        layer: Layer,
        head: Vec<u8>,
        reader: Box<dyn Read + Send>,
        unwrap: impl FnOnce(&Header) -> anyhow::Result<FileKey>,
    ) -> anyhow::Result<Layers> {
        if !matches!(layer, Layer::Age | Layer::AgeArmor) {
            require_zstd(&head)?;
            return Ok(Layers {
                reader: Box::new(Cursor::new(head).chain(reader)),
                open: None,
                payload_offset: 0,
                stanzas: Vec::new(),
                is_armored: false,
                inner: Layer::Zstd,
            });
        }
        let reader: Box<dyn Read + Send> = Box::new(Cursor::new(head).chain(reader));
        let Peeled { payload, key, payload_offset, stanzas, inner } = peel(reader, layer, unwrap)?;
        let is_armored = layer == Layer::AgeArmor;
        Ok(Layers { reader: payload, open: Some(key), payload_offset, stanzas, is_armored, inner })
    }
}

/// The layer that `head` begins. Whoever gives a key says that this is an age file: then what looks like none is a damaged one.
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

/// Whether flags or the environment give anything to open an age file with.
pub fn has_key(args: &IdentityArgs) -> bool {
    !args.identity.is_empty() || keys::is_passphrase_given(&args.passphrases)
}

/// What a restore of `layers` does.
pub fn restore_work(layers: &Layers, range: ContentRange, window_log_max: u32, decompress: bool) -> Restore {
    let frames = Decompress { window_log_max, start: Start::default(), range: range.clone(), expect: Expect::Tables };
    let content = match layers.inner {
        Layer::Zstd if decompress => Content::Frames(frames),
        _ => Content::Plain(range),
    };
    Restore { open: layers.open.clone(), content }
}

/// What is said of a bare file without a table that shows that it is whole.
pub fn table_warning(name: &str, error: &TableError) -> String {
    let consequence = match error {
        TableError::Missing => "whether frames are missing at the end cannot be told",
        _ => "frames may be missing, or not those that were written",
    };
    format!("{name}: {error}: {consequence}")
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
