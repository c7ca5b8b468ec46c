//! Stream digests: the length and XXH64 of all bytes read or written, so that an output can be compared with its input later.

use std::hash::Hasher as _;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use twox_hash::XxHash64;

/// Length and XXH64 of what went by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Its length.
    pub bytes: u64,
    /// Its hash.
    pub hash: u64,
}

impl Digest {
    /// Of all that `input` gives; `go_on` is asked now and then.
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

/// Sums up what goes by.
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

/// Where the digest comes out, once all went by.
pub struct DigestHandle(Receiver<Digest>);

impl DigestHandle {
    /// The digest. To be called once, when the stream was read or written to its end.
    pub fn digest(&self) -> Digest {
        self.0.try_recv().expect("internal error: the digest of a stream that has not ended, or was taken before")
    }
}

/// `reader`, and a handle on the digest of what it gives, if one `is_wanted`.
pub fn digest_reader(reader: Box<dyn Read + Send>, is_wanted: bool) -> (Box<dyn Read + Send>, Option<DigestHandle>) {
    if !is_wanted {
        return (reader, None);
    }
    let (reader, handle) = DigestReader::new(reader);
    (Box::new(reader), Some(handle))
}

/// `writer`, and a handle on the digest of what it is given, if one `is_wanted`.
pub fn digest_writer(writer: Box<dyn Write + Send>, is_wanted: bool) -> (Box<dyn Write + Send>, Option<DigestHandle>) {
    if !is_wanted {
        return (writer, None);
    }
    let (writer, handle) = DigestWriter::new(writer);
    (Box::new(writer), Some(handle))
}

/// Reads an input and sums it up; the digest is said at its end.
pub struct DigestReader {
    input: Box<dyn Read + Send>,
    digester: Digester,
    said: SyncSender<Digest>,
}

impl DigestReader {
    /// The reader, and where the digest comes out.
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
            // Said once; an end that is read again is the same.
            let _ = self.said.try_send(self.digester.digest());
        }
        Ok(len)
    }
}

/// Writes to an output and sums it up; the digest is said with the flush, which comes once, at the end.
pub struct DigestWriter {
    output: Box<dyn Write + Send>,
    digester: Digester,
    said: SyncSender<Digest>,
}

impl DigestWriter {
    /// The writer, and where the digest comes out.
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
