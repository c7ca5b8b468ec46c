//! What an input is: its layers told apart by its first bytes, and the outer one taken off with a key.

use std::io::{self, Cursor, Read};

use anyhow::Context;

use super::args::IdentityArgs;
use super::keys;
use super::peel::{PeelError, Peeled, failure_of, peel};
use super::problem::{Problem, quoted};
use super::session::Session;
use super::sys;
use crate::format::age::header::Header;
use crate::format::age::keys::{Identity, SCRYPT_TAG};
use crate::format::age::stream::PayloadKey;
use crate::format::detect::{Layer, detect};
use crate::pipeline::error::Failure;
use crate::pipeline::plan::{Content, ContentRange, Decompress, Expect, Restore, Start};
use crate::pipeline::shutdown::Cancel;

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

/// Looks at `head`, the first bytes of an input, and takes the age header off if there is one. `reader` goes on behind `head`.
pub fn open_layers(
    session: &mut Session,
    head: Vec<u8>,
    reader: Box<dyn Read + Send>,
    args: &IdentityArgs,
) -> anyhow::Result<Layers> {
    let layer = layer_of(&head, args);
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
pub fn failure_of_task(failure: Failure) -> anyhow::Error {
    failure.into_task_error::<PeelError>().map_or_else(Into::into, failure_of)
}

/// The layer that `head` begins. Whoever gives a key says that this is an age file: then what looks like none is a damaged one.
pub fn layer_of(head: &[u8], args: &IdentityArgs) -> Layer {
    match detect(head) {
        Layer::Other | Layer::Empty if has_key(args) => {
            if head.trim_ascii_start().starts_with(b"-") {
                Layer::AgeArmor
            } else {
                Layer::Age
            }
        }
        layer => layer,
    }
}

/// Whether flags or the environment give anything to open an age file with.
pub fn has_key(args: &IdentityArgs) -> bool {
    !args.identity.is_empty() || keys::is_passphrase_given(&args.passphrases)
}

/// The identities to try on a header: those in files; for a passphrase's stanza the passphrase, asked for where nothing gives it.
pub fn identities_for(
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
pub fn restore_work(layers: &Layers, range: ContentRange, window_log_max: u32, decompress: bool) -> Restore {
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
