//! Writes a file with holes: blocks of zeros are skipped, and the file system keeps no space for them.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::sync::Arc;

use crate::format::zeros::are_zeros;

/// Unit of what is skipped: the page, and the block of most file systems. Where blocks are larger, a hole within one takes space.
const BLOCK_LEN: usize = 4096;

/// When content of zeros becomes a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparse {
    /// In new files.
    Auto,
    /// In standard output too, where it is a file that grows.
    Always,
    /// Never.
    Never,
}

/// Writes to a file from its end on. A flush, called once at the end, gives the file its length.
pub struct SparseWriter {
    file: Arc<File>,
    /// Offset of the next byte.
    position: u64,
    /// Whether the bytes in front of it are zeros that were skipped.
    is_behind_hole: bool,
}

impl SparseWriter {
    /// A writer to `file`, whose offset is at its end or behind it.
    pub fn new(file: Arc<File>) -> io::Result<SparseWriter> {
        let position = (&*file).stream_position()?;
        Ok(SparseWriter { file, position, is_behind_hole: false })
    }

    /// Moves the file's offset over what was skipped.
    fn leave_hole(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_behind_hole) {
            let moved = (&*self.file).seek(SeekFrom::Start(self.position));
            // Behind the longest file of a file system, where a write would say so.
            moved.map_err(|error| match error.kind() {
                ErrorKind::InvalidInput => ErrorKind::FileTooLarge.into(),
                _ => error,
            })?;
        }
        Ok(())
    }
}

impl Write for SparseWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (mut len, is_zeros) = first_run(bytes, self.position);
        if is_zeros {
            self.is_behind_hole = true;
        } else {
            self.leave_hole()?;
            len = (&*self.file).write(&bytes[..len])?;
        }
        self.position += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Never shortens a file that others write to.
        if self.is_behind_hole && self.file.metadata()?.len() < self.position {
            self.file.set_len(self.position)?;
        }
        self.leave_hole()
    }
}

/// The length of the blocks that `bytes` begin with and that are all zeros, or all are not; and whether they are zeros. `offset` is where the bytes
/// are in the file; the blocks at both ends may be parts of one.
fn first_run(bytes: &[u8], offset: u64) -> (usize, bool) {
    let in_block = usize::try_from(offset % BLOCK_LEN as u64).expect("it is below BLOCK_LEN");
    let (first, rest) = bytes.split_at(bytes.len().min(BLOCK_LEN - in_block));
    let is_zeros = are_zeros(first);
    let alike = rest.chunks(BLOCK_LEN).take_while(|block| are_zeros(block) == is_zeros);
    (first.len() + alike.map(<[u8]>::len).sum::<usize>(), is_zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_end_where_a_block_of_the_file_is_of_the_other_kind() {
        let (zeros, text) = ([0; 2 * BLOCK_LEN], [b'x'; BLOCK_LEN]);
        let bytes = [&zeros[..], &text, &zeros[..10]].concat();
        assert_eq!(first_run(&bytes, 0), (2 * BLOCK_LEN, true));
        assert_eq!(first_run(&bytes[2 * BLOCK_LEN..], 0), (BLOCK_LEN, false));
        assert_eq!(first_run(&bytes[3 * BLOCK_LEN..], 0), (10, true));
        // Another offset, other blocks: two of them have some of the text.
        assert_eq!(first_run(&bytes, 1), (2 * BLOCK_LEN - 1, true));
        assert_eq!(first_run(&bytes[2 * BLOCK_LEN - 1..], BLOCK_LEN as u64), (BLOCK_LEN + 11, false));
        assert_eq!(first_run(&[], 7), (0, true));
    }

    #[test]
    fn what_is_written_in_any_pieces_is_what_the_file_holds() {
        let mut content = vec![0; 100_000];
        [0, 5000, 50_000, 50_001].into_iter().for_each(|at| content[at] = 7);
        for (piece_len, len) in [(1, 9000), (1000, 100_000), (4096, 98_304), (5000, 50_002), (1 << 20, 100_000)] {
            let file = Arc::new(tempfile::tempfile().unwrap());
            let mut writer = SparseWriter::new(Arc::clone(&file)).unwrap();
            content[..len].chunks(piece_len).for_each(|piece| writer.write_all(piece).unwrap());
            writer.flush().unwrap();
            let mut there = Vec::new();
            (&*file).rewind().unwrap();
            io::Read::read_to_end(&mut &*file, &mut there).unwrap();
            assert!(there == content[..len], "{piece_len}, {len}");
        }
    }
}
