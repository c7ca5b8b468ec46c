//! A reader that keeps the last piece it read, for walks over headers that lie close together: each would cost a seek and a read.

use std::io::{self, Read, Seek, SeekFrom};

/// Bytes read at once: a page, so that headers that lie far apart cost no more.
const PIECE_LEN: usize = 4096;

/// Reads `stream`, which nobody else may move.
pub struct NearbyReader<'a, S> {
    stream: &'a mut S,
    position: u64,
    piece: Vec<u8>,
    piece_offset: u64,
}

impl<'a, S: Read + Seek> NearbyReader<'a, S> {
    /// A reader at the start of `stream`.
    pub fn new(stream: &'a mut S) -> NearbyReader<'a, S> {
        NearbyReader { stream, position: 0, piece: Vec::new(), piece_offset: 0 }
    }

    /// What is kept of the stream from the position on.
    fn kept(&self) -> &[u8] {
        let at = self.position.checked_sub(self.piece_offset).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.piece.get(at..)).unwrap_or(&[])
    }

    /// Reads the next piece from the position on.
    fn read_piece(&mut self) -> io::Result<()> {
        self.stream.seek(SeekFrom::Start(self.position))?;
        self.piece.resize(PIECE_LEN, 0);
        let read = self.stream.read(&mut self.piece);
        // After a failure nothing is kept.
        self.piece.truncate(*read.as_ref().unwrap_or(&0));
        self.piece_offset = self.position;
        read.map(drop)
    }
}

impl<S: Read + Seek> Read for NearbyReader<'_, S> {
    /// Reads less than asked only at the end of the stream: a header that lies across two pieces is not cut.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.kept().is_empty() && bytes.len() >= PIECE_LEN {
            self.stream.seek(SeekFrom::Start(self.position))?;
            let len = self.stream.read(bytes)?;
            self.position += len as u64;
            return Ok(len);
        }
        let mut filled_len = 0;
        while filled_len < bytes.len() {
            if self.kept().is_empty() {
                self.read_piece()?;
            }
            let (kept, rest) = (self.kept(), &mut bytes[filled_len..]);
            let len = kept.len().min(rest.len());
            if len == 0 {
                break;
            }
            rest[..len].copy_from_slice(&kept[..len]);
            self.position += len as u64;
            filled_len += len;
        }
        Ok(filled_len)
    }
}

impl<S: Read + Seek> Seek for NearbyReader<'_, S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::End(_) => self.stream.seek(to)?,
            SeekFrom::Current(offset) => {
                self.position.checked_add_signed(offset).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?
            }
        };
        Ok(self.position)
    }
}
