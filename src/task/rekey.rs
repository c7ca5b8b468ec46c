//! New recipients over the same payload. The header is written anew, the payload copied byte for byte, each segment authenticated on the
//! way, so that damage is never blessed with a new header.

use std::io::{self, Read, Write};

use age_core::format::FileKey;

use crate::format::age::header::{Header, payload_key};
use crate::format::age::keys::Recipient;
use crate::format::age::stream::{PayloadKey, SEALED_LEN};
use crate::format::detect::Layer;
use crate::pipeline::peel::{Unwrapped, read_failure, unwrap, write_failure};
use crate::pipeline::sealed::OpeningReader;
use crate::store::prompt::Prompter;
use crate::task::wrap::header_for;

/// Writes the age file that `input` gives, in armor if `layer` says so, to `output`, with a header for `recipients` in the place of its own.
/// `unwrap_key` gives the file key.
pub fn rewrap(
    input: Box<dyn Read + Send>,
    layer: Layer,
    unwrap_key: impl FnOnce(&Header) -> anyhow::Result<FileKey>,
    recipients: &[Recipient],
    prompter: &Prompter,
    output: &mut impl Write,
) -> anyhow::Result<()> {
    let Unwrapped { file_key, nonce, payload, .. } = unwrap(input, layer, unwrap_key)?;
    output.write_all(&header_for(recipients, &file_key, prompter)?).map_err(write_failure)?;
    output.write_all(&nonce).map_err(write_failure)?;
    copy_authentic(payload, &payload_key(&file_key, &nonce), output)
}

/// Copies sealed segments, each once it is seen to be authentic.
fn copy_authentic(payload: impl Read, key: &PayloadKey, output: &mut impl Write) -> anyhow::Result<()> {
    let mut opener = OpeningReader::new(Tee { payload, copied: Vec::with_capacity(SEALED_LEN) }, key);
    let mut text = vec![0; SEALED_LEN];
    loop {
        // One read gives at most one segment, so what was copied since is just that.
        let len = opener.read(&mut text).map_err(read_failure)?;
        let copied = &mut opener.get_mut().copied;
        output.write_all(copied).map_err(write_failure)?;
        copied.clear();
        if len == 0 {
            return Ok(output.flush().map_err(write_failure)?);
        }
    }
}

/// Keeps a copy of what is read.
struct Tee<R> {
    payload: R,
    copied: Vec<u8>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let len = self.payload.read(bytes)?;
        self.copied.extend_from_slice(&bytes[..len]);
        Ok(len)
    }
}
