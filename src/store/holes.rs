//! Holes of a sparse input: its reader makes their zeros itself, and reads only the data from the disk.
//!
//! It knows one hole and the data after it, and asks for the next two when it has passed them. A file that is written meanwhile may be read as it was
//! a moment before, as with any reader; [`Input::change`](super::input::Input::change) notices.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::store::sys;

/// Unit of [`Metadata::blocks`], on every file system.
const BLOCK_BYTES: u64 = 512;

/// A reader of `file`, a regular file or a block device, from its current offset.
pub fn reader(file: &Arc<File>, metadata: &Metadata) -> Box<dyn Read + Send> {
    let is_sparse = metadata.is_file() && metadata.blocks().saturating_mul(BLOCK_BYTES) < metadata.len();
    match is_sparse.then(|| sys::reopen_to_read(file)) {
        Some(Ok(search)) => Box::new(HoleReader::new(Arc::clone(file), search)),
        _ => Box::new(Arc::clone(file)),
    }
}

/// Reads a sparse file. Every read moves the file's offset by its length, in a hole too: other processes may share the offset.
struct HoleReader {
    file: Arc<File>,
    /// The same file with an offset of its own, which a search for data moves.
    search: File,
    /// A part of the file without data.
    hole: Range<u64>,
    /// The end of the data after `hole`.
    data_end: u64,
}

impl HoleReader {
    fn new(file: Arc<File>, search: File) -> HoleReader {
        HoleReader { file, search, hole: 0..0, data_end: 0 }
    }

    /// Finds the hole at `position`, which may be empty, and the data after it.
    fn find(&mut self, position: u64) {
        let data = match sys::data_from(&self.search, position) {
            Ok(Some(data)) => data,
            // Behind the hole is the end of the file, or what is appended from now on.
            Ok(None) => self.search.metadata().map_or(position, |metadata| metadata.len().max(position))..u64::MAX,
            // A file system that does not tell.
            Err(_) => position..u64::MAX,
        };
        (self.hole, self.data_end) = (position..data.start, data.end);
    }
}

impl Read for HoleReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let position = (&*self.file).stream_position()?;
        if !(self.hole.start..self.data_end).contains(&position) {
            self.find(position);
        }
        let is_hole = self.hole.contains(&position);
        let end = if is_hole { self.hole.end } else { self.data_end };
        let len = usize::try_from(end - position).map_or(bytes.len(), |left| left.min(bytes.len()));
        let mut file = &*self.file;
        if !is_hole {
            return file.read(&mut bytes[..len]);
        }
        file.seek(SeekFrom::Start(position + len as u64))?;
        bytes[..len].fill(0);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    const MIB: u64 = 1 << 20;

    /// A file of a mebibyte, a hole but for four bytes of data at each of `data`; the reader has an offset of its own.
    fn sparse(data: &[u64]) -> (File, HoleReader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(MIB).unwrap();
        data.iter().for_each(|at| file.write_all_at(b"data", *at).unwrap());
        let open = || File::open(&path).unwrap();
        (file, HoleReader::new(Arc::new(open()), open()))
    }

    /// A mebibyte of zeros with four bytes of data at each of `data`.
    fn content(data: &[u64]) -> Vec<u8> {
        let mut content = vec![0; MIB as usize];
        data.iter().for_each(|at| content[*at as usize..][..4].copy_from_slice(b"data"));
        content
    }

    #[test]
    fn holes_and_data_come_out_in_order_in_reads_of_any_length() {
        for data in [&[][..], &[0], &[MIB - 4], &[0, 500_000, MIB - 4]] {
            for read_len in [1000, 65_536, 4 << 20] {
                let (_, mut reader) = sparse(data);
                let (mut all, mut piece) = (Vec::new(), vec![7; read_len]);
                loop {
                    match reader.read(&mut piece).unwrap() {
                        0 => break,
                        len => all.extend_from_slice(&piece[..len]),
                    }
                }
                assert!(all == content(data), "{data:?}, {read_len}");
                assert_eq!((&*reader.file).stream_position().unwrap(), MIB, "{data:?}, {read_len}");
            }
        }
    }

    #[test]
    fn what_is_appended_behind_a_hole_is_read_and_a_file_cut_in_one_comes_to_an_end() {
        let (file, mut reader) = sparse(&[0]);
        reader.read_exact(&mut [0; 500_000]).unwrap();
        file.write_all_at(b"more", MIB).unwrap();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert!(rest == [&content(&[0])[500_000..], b"more"].concat());

        let (file, mut reader) = sparse(&[0]);
        reader.read_exact(&mut [0; 500_000]).unwrap();
        file.set_len(10).unwrap();
        assert!(reader.read_to_end(&mut Vec::new()).unwrap() <= MIB as usize);
    }
}
