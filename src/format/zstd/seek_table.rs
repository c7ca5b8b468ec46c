//! The seek table of the zstd seekable format 0.1.0: a skippable frame after the frames that lists their lengths.
//!
//! ```text
//! 0x184D2A5E u32 | Frame_Size u32 | entries | Number_Of_Frames u32 | Seek_Table_Descriptor u8 | 0x8F92EAB1 u32
//! entry: Compressed_Size u32 | Decompressed_Size u32 | Checksum u32 (if the descriptor's top bit is set)
//! ```
//!
//! A table is untrusted: [`Footer::check_header`] checks that its size fits the file; [`TableCheck`] compares a table read as a stream with
//! the frames before it, in constant memory.

use std::hash::Hasher;
use std::ops::Range;

use twox_hash::XxHash64;

use super::codec::content_checksum;
use super::scan::SKIPPABLE_HEADER_LEN;

/// Magic number of the skippable frame that holds a seek table.
pub const TABLE_MAGIC: u32 = 0x184D_2A5E;
/// Seekable_Magic_Number, the last four bytes of a seekable file.
const FOOTER_MAGIC: u32 = 0x8F92_EAB1;
/// Number_Of_Frames, Seek_Table_Descriptor, Seekable_Magic_Number.
pub const FOOTER_LEN: usize = 9;
const DESCRIPTOR_CHECKSUMS: u8 = 0b1000_0000;
const DESCRIPTOR_RESERVED: u8 = 0b0111_1100;
const ENTRY_LEN: usize = 8;
const ENTRY_WITH_CHECKSUM_LEN: usize = 12;

/// Most frames in a table: the limit of the reference implementation, well within Frame_Size.
pub const FRAME_COUNT_MAX: u32 = 0x0800_0000;

/// Length of the shortest frame: a skippable one without user data.
pub const FRAME_BYTES_MIN: u64 = SKIPPABLE_HEADER_LEN as u64;

/// One entry: a frame as the table describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Length of the frame in the file, in bytes.
    pub compressed_len: u32,
    /// Length of its content, in bytes.
    pub content_len: u32,
    /// Low 32 bits of XXH64 of its content; 0 in a table without checksums.
    pub checksum: u32,
}

impl Entry {
    fn encode(self) -> [u8; ENTRY_WITH_CHECKSUM_LEN] {
        let mut bytes = [0; ENTRY_WITH_CHECKSUM_LEN];
        bytes[..4].copy_from_slice(&self.compressed_len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.content_len.to_le_bytes());
        bytes[8..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Parses the bytes of one entry: 12, or 8 without a checksum.
    pub fn parse(bytes: &[u8]) -> Entry {
        let checksum = if bytes.len() == ENTRY_WITH_CHECKSUM_LEN { u32_at(bytes, 8) } else { 0 };
        Entry { compressed_len: u32_at(bytes, 0), content_len: u32_at(bytes, 4), checksum }
    }
}

/// Collects entries while frames are written, and encodes the table. Takes 12 bytes per frame.
#[derive(Debug, Default)]
pub struct TableBuilder {
    entries: Vec<u8>,
}

impl TableBuilder {
    /// Adds the next frame. Returns `false`, and adds nothing, if the table is full.
    #[must_use]
    pub fn push(&mut self, entry: Entry) -> bool {
        if self.frame_count() == FRAME_COUNT_MAX {
            return false;
        }
        self.entries.extend_from_slice(&entry.encode());
        true
    }

    /// Entries so far.
    pub fn frame_count(&self) -> u32 {
        u32::try_from(self.entries.len() / ENTRY_WITH_CHECKSUM_LEN).expect("push keeps to FRAME_COUNT_MAX")
    }

    /// The table in three parts, in the order to write them: header, entries, footer.
    pub fn finish(&self) -> ([u8; SKIPPABLE_HEADER_LEN], &[u8], [u8; FOOTER_LEN]) {
        let content_len = u32::try_from(self.entries.len() + FOOTER_LEN).expect("push keeps to FRAME_COUNT_MAX");
        let mut header = [0; SKIPPABLE_HEADER_LEN];
        header[..4].copy_from_slice(&TABLE_MAGIC.to_le_bytes());
        header[4..].copy_from_slice(&content_len.to_le_bytes());
        let footer = Footer { frame_count: self.frame_count(), has_checksums: true };
        (header, &self.entries, footer.encode())
    }
}

/// Why a file has no usable seek table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The file does not end with Seekable_Magic_Number.
    #[error("no seek table")]
    Missing,
    /// Reserved bits of the descriptor are set.
    #[error("the seek table sets reserved bits")]
    ReservedBits,
    /// The footer's frame count does not lead to a skippable frame of the right size and magic number.
    #[error("the seek table says it holds {0} frames, which does not fit the file")]
    WrongSize(u32),
    /// The lengths of the frames do not add up to the file's.
    #[error("the seek table says its frames are {table_bytes} bytes long, the file holds {file_bytes}")]
    WrongSum {
        /// Sum of all Compressed_Size.
        table_bytes: u64,
        /// Bytes before the table.
        file_bytes: u64,
    },
    /// The table gives this frame a length that no frame has.
    #[error("the seek table says that frame {0} is shorter than any frame")]
    ShortFrame(u64),
    /// Only the table gives the content size of this frame before the range.
    #[error("frame {0} does not declare its content's size, so the seek table cannot be held against it")]
    Unproven(u64),
    /// The table lists as many frames as are in front of it, or more, and gives other lengths or checksums.
    #[error("the seek table does not list the frames in front of it")]
    OtherFrames,
    /// The table lists fewer frames than are in front of it, as when a file without a table was put in front.
    #[error("the seek table lists fewer frames than are in front of it")]
    FewerFrames,
}

impl TableError {
    /// Whether the table shows that frames are wrong or missing. Without a table, or with frames in front of those it lists, nothing tells.
    pub fn is_contradiction(&self) -> bool {
        match self {
            TableError::Missing | TableError::Unproven(_) | TableError::FewerFrames => false,
            TableError::ReservedBits
            | TableError::WrongSize(_)
            | TableError::WrongSum { .. }
            | TableError::ShortFrame(_)
            | TableError::OtherFrames => true,
        }
    }
}

/// The last [`FOOTER_LEN`] bytes of a seekable file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Number_Of_Frames.
    pub frame_count: u32,
    /// Whether entries hold a checksum.
    pub has_checksums: bool,
}

impl Footer {
    fn encode(self) -> [u8; FOOTER_LEN] {
        let mut bytes = [0; FOOTER_LEN];
        bytes[..4].copy_from_slice(&self.frame_count.to_le_bytes());
        bytes[4] = if self.has_checksums { DESCRIPTOR_CHECKSUMS } else { 0 };
        bytes[5..].copy_from_slice(&FOOTER_MAGIC.to_le_bytes());
        bytes
    }

    /// Parses the last [`FOOTER_LEN`] bytes of a file.
    pub fn parse(bytes: &[u8; FOOTER_LEN]) -> Result<Footer, TableError> {
        if u32_at(bytes, 5) != FOOTER_MAGIC {
            return Err(TableError::Missing);
        }
        if bytes[4] & DESCRIPTOR_RESERVED != 0 {
            return Err(TableError::ReservedBits);
        }
        Ok(Footer { frame_count: u32_at(bytes, 0), has_checksums: bytes[4] & DESCRIPTOR_CHECKSUMS != 0 })
    }

    /// Length of the whole table, including its skippable frame header, in bytes.
    pub fn table_bytes(&self) -> u64 {
        let entry_bytes = u64::from(self.frame_count) * self.entry_len() as u64;
        (SKIPPABLE_HEADER_LEN + FOOTER_LEN) as u64 + entry_bytes
    }

    /// Checks that a table with this footer fits a file of `file_bytes`. `header` is what the file holds where the table must begin.
    pub fn check_header(&self, header: [u8; SKIPPABLE_HEADER_LEN], file_bytes: u64) -> Result<(), TableError> {
        let content_bytes = self.table_bytes() - SKIPPABLE_HEADER_LEN as u64;
        let frames_bytes = file_bytes.checked_sub(self.table_bytes());
        let fits = self.frame_count <= FRAME_COUNT_MAX
            && frames_bytes.is_some_and(|bytes| bytes >= FRAME_BYTES_MIN * u64::from(self.frame_count))
            && u32_at(&header, 0) == TABLE_MAGIC
            && u64::from(u32_at(&header, 4)) == content_bytes;
        if fits { Ok(()) } else { Err(TableError::WrongSize(self.frame_count)) }
    }

    /// Length of one entry, in bytes.
    pub fn entry_len(&self) -> usize {
        if self.has_checksums { ENTRY_WITH_CHECKSUM_LEN } else { ENTRY_LEN }
    }
}

/// The position of one frame in the file and in the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Index of its entry in the table.
    pub index: u64,
    /// Offset of the frame in the file, in bytes.
    pub offset: u64,
    /// Offset of its content in the whole content, in bytes.
    pub content_offset: u64,
    /// Its entry.
    pub entry: Entry,
}

impl Located {
    /// The range of the whole content that this frame holds.
    pub fn content_range(&self) -> Range<u64> {
        self.content_offset..self.content_offset + u64::from(self.entry.content_len)
    }
}

/// A skippable frame with [`TABLE_MAGIC`], read as a stream: footer and digest to compare with the frames before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSummary {
    footer: Footer,
    entries_digest: u64,
}

/// Reads a table as a stream, in constant memory.
pub struct TableReader {
    entries_bytes_left: u64,
    entries_digest: XxHash64,
    entries_bytes: u64,
    footer: Vec<u8>,
}

impl TableReader {
    /// A reader of `content_bytes` of user data.
    pub fn new(content_bytes: u32) -> TableReader {
        let entries_bytes = u64::from(content_bytes).saturating_sub(FOOTER_LEN as u64);
        let (entries_digest, footer) = (XxHash64::with_seed(0), Vec::with_capacity(FOOTER_LEN));
        TableReader { entries_bytes_left: entries_bytes, entries_digest, entries_bytes, footer }
    }

    /// Consumes the next piece of the user data.
    pub fn push(&mut self, piece: &[u8]) {
        let entries_len = usize::try_from(self.entries_bytes_left).map_or(piece.len(), |left| left.min(piece.len()));
        let (entries, footer) = piece.split_at(entries_len);
        self.entries_digest.write(entries);
        self.entries_bytes_left -= entries_len as u64;
        self.footer.extend_from_slice(footer);
    }

    /// `None` if the skippable frame is not a seek table.
    pub fn finish(self) -> Option<TableSummary> {
        let footer = Footer::parse(self.footer.first_chunk::<FOOTER_LEN>()?).ok()?;
        let is_whole = footer.table_bytes() == (SKIPPABLE_HEADER_LEN + FOOTER_LEN) as u64 + self.entries_bytes;
        is_whole.then(|| TableSummary { footer, entries_digest: self.entries_digest.finish() })
    }
}

/// The verdict on a stream's seek tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableStatus {
    /// Every frame is listed by a table after it, and the stream ends with a table.
    Valid,
    /// Why a cut at a frame edge would go unnoticed.
    Unusable(TableError),
}

/// Compares the frames of a stream with the seek tables after them. Concatenated seekable files have several tables; each lists the
/// frames since the previous table.
pub struct TableCheck {
    with_checksums: XxHash64,
    without_checksums: XxHash64,
    frame_count: u64,
    is_listable: bool,
    table_count: u64,
    error: Option<TableError>,
}

impl Default for TableCheck {
    fn default() -> TableCheck {
        let (with_checksums, without_checksums) = (XxHash64::with_seed(0), XxHash64::with_seed(0));
        TableCheck { with_checksums, without_checksums, frame_count: 0, is_listable: true, table_count: 0, error: None }
    }
}

impl TableCheck {
    /// Records a skippable frame that is no table; a table lists it without content.
    pub fn skippable(&mut self, compressed_bytes: u64) {
        self.frame(compressed_bytes, 0, content_checksum(&[]));
    }

    /// Records a frame.
    pub fn frame(&mut self, compressed_bytes: u64, content_bytes: u64, checksum: u32) {
        self.frame_count += 1;
        match (u32::try_from(compressed_bytes), u32::try_from(content_bytes)) {
            (Ok(compressed_len), Ok(content_len)) => {
                let entry = Entry { compressed_len, content_len, checksum }.encode();
                self.with_checksums.write(&entry);
                self.without_checksums.write(&entry[..ENTRY_LEN]);
            }
            _ => self.is_listable = false,
        }
    }

    /// Compares a table with the frames since the previous table.
    pub fn table(&mut self, table: TableSummary) {
        let hash = if table.footer.has_checksums { &self.with_checksums } else { &self.without_checksums };
        let lists_the_frames = self.is_listable
            && u64::from(table.footer.frame_count) == self.frame_count
            && table.entries_digest == hash.finish();
        let found = match u64::from(table.footer.frame_count) < self.frame_count {
            _ if lists_the_frames => None,
            true => Some(TableError::FewerFrames),
            false => Some(TableError::OtherFrames),
        };
        // A contradiction outweighs what tells nothing.
        let is_worse = found.as_ref().is_some_and(TableError::is_contradiction);
        let error = match self.error.take() {
            Some(before) if before.is_contradiction() || !is_worse => Some(before),
            _ => found,
        };
        *self = TableCheck { table_count: self.table_count + 1, error, ..TableCheck::default() };
    }

    /// The verdict at the end of the stream.
    pub fn finish(&self) -> TableStatus {
        match &self.error {
            Some(error) => TableStatus::Unusable(error.clone()),
            None if self.table_count == 0 || self.frame_count > 0 => TableStatus::Unusable(TableError::Missing),
            None => TableStatus::Valid,
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk::<4>().expect("callers pass whole fields"))
}
