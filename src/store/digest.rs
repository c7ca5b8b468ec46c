//! Stream digests: the length and XXH64 of all bytes read or written, so that an output can be compared with its input later.

use std::hash::Hasher as _;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use twox_hash::XxHash64;

/// Length and XXH64 of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Length in bytes.
    pub bytes: u64,
    /// XXH64 with seed 0.
    pub hash: u64,
}

impl Digest {
    /// The digest of `input`. Fails once `go_on`, called after each read, returns false.
    pub fn of(mut input: impl Read, mut go_on: impl FnMut() -> bool) -> io::Result<Digest> {
        let (mut digester, mut piece) = (Digester::default(), vec![0; 256 * 1024]);
        loop {
            match input.read(&mut piece) {
                Ok(0) => return Ok(digester.digest()),
                Ok(_) if !go_on() => return Err(io::Error::other("stopped")),
                Ok(len) => digester.push(&piece[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Counts and hashes bytes.
#[derive(Default)]
struct Digester {
    bytes: u64,
    hash: XxHash64,
}

impl Digester {
    fn push(&mut self, bytes: &[u8]) {
        self.hash.write(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn digest(&self) -> Digest {
        Digest { bytes: self.bytes, hash: self.hash.finish() }
    }
}

/// Receives the digest of a stream at its end.
pub struct DigestHandle(Receiver<Digest>);

impl DigestHandle {
    /// The digest. Panics before the end of the stream, and on a second call.
    pub fn digest(&self) -> Digest {
        self.0.try_recv().expect("internal error: the digest of a stream that has not ended, or was taken before")
    }
}

/// `reader`, and if `is_wanted` a handle to the digest of its bytes.
pub fn digest_reader(reader: Box<dyn Read + Send>, is_wanted: bool) -> (Box<dyn Read + Send>, Option<DigestHandle>) {
    if !is_wanted {
        return (reader, None);
    }
    let (reader, handle) = DigestReader::new(reader);
    (Box::new(reader), Some(handle))
}

/// `writer`, and if `is_wanted` a handle to the digest of its bytes.
pub fn digest_writer(writer: Box<dyn Write + Send>, is_wanted: bool) -> (Box<dyn Write + Send>, Option<DigestHandle>) {
    if !is_wanted {
        return (writer, None);
    }
    let (writer, handle) = DigestWriter::new(writer);
    (Box::new(writer), Some(handle))
}

/// Digests an input as it is read; sends the digest at the end.
pub struct DigestReader {
    input: Box<dyn Read + Send>,
    digester: Digester,
    said: SyncSender<Digest>,
}

impl DigestReader {
    /// A reader of `input` and the handle to its digest.
    pub fn new(input: Box<dyn Read + Send>) -> (DigestReader, DigestHandle) {
        let (said, heard) = sync_channel(1);
        (DigestReader { input, digester: Digester::default(), said }, DigestHandle(heard))
    }
}

impl Read for DigestReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(bytes)?;
        self.digester.push(&bytes[..len]);
        if len == 0 {
            // A second read at the end sends nothing: the channel is full.
            let _ = self.said.try_send(self.digester.digest());
        }
        Ok(len)
    }
}

/// Digests an output as it is written; sends the digest on flush, which is called once, at the end.
pub struct DigestWriter {
    output: Box<dyn Write + Send>,
    digester: Digester,
    said: SyncSender<Digest>,
}

impl DigestWriter {
    /// A writer to `output` and the handle to its digest.
    pub fn new(output: Box<dyn Write + Send>) -> (DigestWriter, DigestHandle) {
        let (said, heard) = sync_channel(1);
        (DigestWriter { output, digester: Digester::default(), said }, DigestHandle(heard))
    }
}

impl Write for DigestWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.output.write(bytes)?;
        self.digester.push(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()?;
        let _ = self.said.try_send(self.digester.digest());
        Ok(())
    }
}
