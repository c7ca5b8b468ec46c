//! A fuzz target for seek tables at the end of arbitrary files, and of arbitrary entries.
//!
//! A table that parses is the same bytes when encoded again. Its frames are contiguous and end where the table begins.
//! Parsed as a stream, in pieces of any length, it gives the same table, and it is valid for exactly the frames that it
//! lists. A range is located within the frames, or is after the content.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use pipeline::format::zstd::scan::SKIPPABLE_HEADER_LEN;
use pipeline::format::zstd::seek_table::{Entry, FOOTER_LEN, TableCheck, TableReader, TableStatus};
use pipeline::pipeline::error::Cause;
use pipeline::pipeline::plan::ContentRange;
use pipeline::pipeline::range::locate;
use pipeline::pipeline::table::{Reopen, SeekTable, read_table};
use pipeline_fuzz::choices::Choices;
use pipeline_fuzz::engine::WINDOW_LOG_MAX;
use pipeline_fuzz::pieces::pieces;
use pipeline_fuzz::seekable;

/// Limit on the compressed length of a generated frame.
const FRAME_LEN_MAX: u32 = 512;

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    let (kind, seed) = (choices.byte(), choices.byte());
    let (start, end) = (choices.u64(), choices.u64());
    let file = if kind.is_multiple_of(2) { choices.rest().to_vec() } else { file_of_entries(choices) };
    let Ok(table) = read_table(&mut Cursor::new(&file)) else { return };
    let (entries, table_offset) = check_frames(&file, &table);
    let bytes = &file[usize::try_from(table_offset).expect("within the file")..];
    check_encoding(&table, &entries, bytes);
    check_streaming(&entries, bytes, seed);
    for range in [ContentRange::All, ContentRange::From(start), ContentRange::Within(start.min(end)..end)] {
        check_range(&file, &table, &range, table_offset);
    }
});

/// A file with a table of arbitrary entries, after as many zeros as the frames are long.
fn file_of_entries(mut choices: Choices<'_>) -> Vec<u8> {
    let mut entries = Vec::new();
    while !choices.is_empty() {
        let compressed_len = u32::from(choices.u16()) % FRAME_LEN_MAX;
        entries.push(Entry { compressed_len, content_len: choices.u32(), checksum: choices.u32() });
    }
    let frames_len: usize = entries.iter().map(|entry| entry.compressed_len as usize).sum();
    [vec![0; frames_len], seekable::table(&entries)].concat()
}

/// Returns the entries, and the offset of the table.
fn check_frames(file: &[u8], table: &SeekTable) -> (Vec<Entry>, u64) {
    let (mut frames, mut file, mut entries) = (table.frames(), Cursor::new(file), Vec::new());
    let (mut offset, mut content_offset) = (0, 0);
    while let Some(frame) = frames.next(&mut file).expect("it was walked before") {
        assert_eq!((frame.index, frame.offset, frame.content_offset), (entries.len() as u64, offset, content_offset));
        let mut same = table.frames().from(frame);
        assert_eq!(same.next(&mut file).expect("it was walked before"), Some(frame));
        assert_eq!(frame.content_range().start, content_offset);
        offset += u64::from(frame.entry.compressed_len);
        content_offset = frame.content_range().end;
        entries.push(frame.entry);
    }
    assert_eq!(table.content_bytes(), content_offset);
    (entries, offset)
}

fn check_encoding(table: &SeekTable, entries: &[Entry], bytes: &[u8]) {
    let encoded = seekable::table(entries);
    if table.has_checksums() {
        // Two bits of the descriptor are unused and not checked.
        let mut bytes = bytes.to_vec();
        let descriptor = bytes.len() - FOOTER_LEN + 4;
        bytes[descriptor] &= !3;
        assert!(encoded == bytes, "encoded it is another table");
    } else {
        assert!(entries.iter().all(|entry| entry.checksum == 0));
        assert_eq!(encoded.len(), bytes.len() + 4 * entries.len());
    }
}

/// Parses the table as a stream and checks it against the frames that it lists.
fn check_streaming(entries: &[Entry], bytes: &[u8], seed: u8) {
    let body = &bytes[SKIPPABLE_HEADER_LEN..];
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = TableReader::new(u32::try_from(body.len()).expect("a small table"));
        pieces.for_each(|piece| reader.push(piece));
        reader.finish()
    };
    let summary = read(&mut [body].into_iter()).expect("it parses, so it is a table");
    assert_eq!(read(&mut pieces(body, seed)), Some(summary), "in pieces it differs");
    let status = |entries: &[Entry]| {
        let mut check = TableCheck::default();
        for entry in entries {
            check.frame(entry.compressed_len.into(), entry.content_len.into(), entry.checksum);
        }
        check.table(summary);
        check.finish()
    };
    assert_eq!(status(entries), TableStatus::Valid);
    let Some((last, others)) = entries.split_last() else { return };
    assert_ne!(status(others), TableStatus::Valid, "a frame is missing");
    let longer = Entry { content_len: last.content_len ^ 1, ..*last };
    assert_ne!(status(&[others, &[longer]].concat()), TableStatus::Valid, "a frame is another");
}

fn check_range(file: &[u8], table: &SeekTable, range: &ContentRange, table_offset: u64) {
    let (start, end) = match range {
        ContentRange::All => (0, 0),
        ContentRange::From(start) => (*start, *start),
        ContentRange::Within(range) => (range.start, range.end),
    };
    let reopen = Reopen::new(|| Ok(Cursor::new(Vec::new())));
    match locate(&mut Cursor::new(file), table, range, WINDOW_LOG_MAX, reopen) {
        Err(Cause::RangePastEnd { range_end, content_bytes }) => {
            assert_eq!((range_end, content_bytes), (end, table.content_bytes()));
            assert!(end > table.content_bytes(), "the content holds the range");
        }
        Err(cause) => panic!("{cause}"),
        Ok(plan) => {
            assert!(end <= table.content_bytes(), "the range is behind the content");
            assert!(plan.file_range.start <= plan.file_range.end && plan.file_range.end <= table_offset);
            assert!(plan.work.start.content_offset <= start, "it starts behind the range");
            let is_open = !matches!(range, ContentRange::Within(_));
            let has_frames = plan.file_range.end > plan.file_range.start;
            assert!(!is_open || !has_frames || plan.file_range.end == table_offset, "it stops in front of the table");
        }
    }
}
