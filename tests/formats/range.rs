//! Tests of range reads: they give exactly the requested bytes, or fail, and read only the frames they need.

use crate::in_memory::{entry, frame, table};
use crate::support::{TestDir, noise, text};
use pipeline::format::zstd::codec::content_checksum;
use pipeline::format::zstd::seek_table::{Entry, TableError};
use pipeline::pipeline::error::Cause;
use pipeline::pipeline::kind::Kind;
use pipeline::pipeline::plan::{Content, ContentRange, Restore, Work};
use pipeline::pipeline::range::{check_headers_before, locate};
use pipeline::pipeline::supervisor::Supervisor;
use pipeline::pipeline::table::{RangeError, Reopen, read_table};
use std::io::{Cursor, Read, Seek, SeekFrom};

/// Reads a range of a file in memory as `cat` does.
fn cat(supervisor: &mut Supervisor, file: &[u8], range: ContentRange) -> Result<Vec<u8>, Kind> {
    let mut cursor = Cursor::new(file.to_vec());
    let table = read_table(&mut cursor).map_err(kind)?;
    let plan = locate(&mut cursor, &table, &range, 27, reopen(file)).map_err(|cause| cause.kind())?;
    check_headers_before(&mut cursor, &table, plan.file_range.start, || false).map_err(kind)?;
    cursor.seek(SeekFrom::Start(plan.file_range.start)).unwrap();
    let input = Box::new(cursor.take(plan.file_range.end - plan.file_range.start));
    let (ran, out) = crate::in_memory::run(
        supervisor,
        Work::Restore(Restore { open: None, content: Content::Frames(plan.work) }),
        input,
    );
    ran.map(|_| out).map_err(|failure| failure.cause.kind())
}

fn reopen(file: &[u8]) -> Reopen {
    let file = file.to_vec();
    Reopen::new(move || Ok(Cursor::new(file.clone())))
}

fn kind(error: RangeError) -> Kind {
    match error {
        RangeError::NoTable(error) => error.kind(),
        RangeError::Damaged(error) => error.kind(),
        RangeError::Io(error) => panic!("{error}"),
    }
}

#[test]
fn ten_thousand_random_ranges_equal_the_slices_of_the_original() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let content = text(40_000, 1);
    let pieces: Vec<&[u8]> = content.chunks(1234).collect();
    let (file, _) = crate::in_memory::seekable(&pieces);
    let numbers = noise(16 * 10_000, 3);
    for pair in numbers.chunks(16) {
        let number = |bytes: &[u8]| u64::from_le_bytes(*bytes.first_chunk().unwrap()) % 40_001;
        let (a, b) = (number(&pair[..8]), number(&pair[8..]));
        let range = a.min(b)..a.max(b);
        let slice = &content[range.start as usize..range.end as usize];
        assert!(cat(&mut supervisor, &file, ContentRange::Within(range.clone())).unwrap() == slice, "{range:?}");
    }
}

#[test]
fn edges_of_frames_are_no_edges_of_ranges() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let content = text(1000, 1);
    let (file, _) = crate::in_memory::seekable(&[&content[..400], b"", &content[400..700], &content[700..]]);
    for start in [0, 1, 399, 400, 401, 699, 700, 999, 1000] {
        for end in [start, 400, 401, 700, 701, 1000] {
            if start <= end {
                let got = cat(&mut supervisor, &file, ContentRange::Within(start..end)).unwrap();
                assert_eq!(got, &content[start as usize..end as usize], "{start}..{end}");
            }
        }
        assert_eq!(cat(&mut supervisor, &file, ContentRange::From(start)).unwrap(), &content[start as usize..]);
    }
    for (range, end) in [
        (ContentRange::Within(0..1001), 1001),
        (ContentRange::From(1001), 1001),
        (ContentRange::Within(5..u64::MAX), u64::MAX),
        (ContentRange::From(u64::MAX), u64::MAX),
    ] {
        let mut cursor = Cursor::new(&file);
        let table = read_table(&mut cursor).unwrap();
        let located = locate(&mut cursor, &table, &range, 27, reopen(&file));
        let Err(Cause::RangePastEnd { range_end, content_bytes }) = located else {
            panic!("{range:?} is not refused");
        };
        assert_eq!((range_end, content_bytes), (end, 1000), "{range:?}");
    }
}

#[test]
fn a_table_that_lies_yields_the_right_bytes_or_an_error() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let content = text(3000, 1);
    let frames: Vec<Vec<u8>> = content.chunks(1000).map(frame).collect();
    let entries: Vec<Entry> = frames.iter().map(|frame| entry(frame, 1000)).collect();
    let file = |entries: &[Entry]| [&frames.concat()[..], &table(entries)].concat();
    let with = |index: usize, change: fn(&mut Entry)| {
        let mut entries = entries.clone();
        change(&mut entries[index]);
        file(&entries)
    };
    for (name, bytes) in [
        ("content of frame 0 longer", with(0, |entry| entry.content_len += 1)),
        ("content of frame 0 shorter", with(0, |entry| entry.content_len -= 1)),
        ("content of frame 1 longer", with(1, |entry| entry.content_len += 1)),
        ("checksum of frame 1", with(1, |entry| entry.checksum ^= 1)),
        ("frame 0 longer", with(0, |entry| entry.compressed_len += 1)),
        ("swapped lengths", {
            let mut entries = entries.clone();
            entries.swap(0, 1);
            file(&entries)
        }),
        ("no entries", file(&[])),
        ("one entry for two frames", {
            let both = Entry {
                compressed_len: entries[0].compressed_len + entries[1].compressed_len,
                content_len: 2000,
                checksum: 0,
            };
            file(&[both, entries[2]])
        }),
    ] {
        let got = cat(&mut supervisor, &bytes, ContentRange::Within(1500..1510));
        assert!(got.as_ref().map_or(true, |got| got == &content[1500..1510]), "{name}: {got:?}");
        assert!(got.is_err(), "{name} went unnoticed");
    }
}

/// A table is not authenticated: a flip that turned 256 into 0 in its final entry once made the tail of the content
/// vanish.
#[test]
fn every_flipped_bit_gives_the_right_bytes_or_an_error_for_closed_and_open_ranges() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let content = noise(1024, 1);
    let (file, _) = crate::in_memory::seekable(&[&content[..512], &content[512..768], &content[768..]]);
    for bit in 0..8 * file.len() {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        for (range, slice) in [
            (ContentRange::All, &content[..]),
            (ContentRange::From(600), &content[600..]),
            (ContentRange::From(1024), &content[1024..]),
            (ContentRange::Within(700..800), &content[700..800]),
        ] {
            if let Ok(got) = cat(&mut supervisor, &flipped, range.clone()) {
                assert!(got == slice, "bit {bit}, {range:?}: {} bytes instead of {}", got.len(), slice.len());
            }
        }
    }
}

/// A range without end that began at the end of the content by the table was once taken as empty without a look at any
/// frame: bytes that the table did not count were lost without an error.
#[test]
fn a_range_that_begins_where_the_table_says_the_content_ends_is_held_against_the_final_frame() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let content = text(1000, 1);
    let frames = [frame(&content[..600]), frame(&content[600..]), frame(b"")];
    for content_len in 0..=400 {
        for count in [2, 3] {
            let mut entries = vec![entry(&frames[0], 600), entry(&frames[1], content_len), entry(&frames[2], 0)];
            entries.truncate(count);
            let file = [&frames[..count].concat()[..], &table(&entries)].concat();
            let got = cat(&mut supervisor, &file, ContentRange::From(600 + content_len as u64));
            match content_len {
                400 => assert_eq!(got.unwrap(), b""),
                _ => assert_eq!(got.unwrap_err(), Kind::TableContradicts, "{content_len}"),
            }
        }
    }
}

#[test]
fn frames_in_front_that_do_not_declare_their_size_leave_the_table_unproven() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let raw = [&b"\x28\xb5\x2f\xfd\x00\x00\x29\x00\x00"[..], b"plain"].concat();
    let sealed = frame(b"second");
    let second = entry(&sealed, 6);
    for content_len in [5, 4, 0] {
        let first = Entry { compressed_len: 14, content_len, checksum: 0 };
        let file = [&raw[..], &sealed, &table(&[first, second])].concat();
        let range = u64::from(content_len) + 1..u64::from(content_len) + 3;
        let got = cat(&mut supervisor, &file, ContentRange::Within(range));
        assert_eq!(got, Err(Kind::TableContradicts), "{content_len}");
    }
}

#[test]
fn tables_that_claim_absurd_sizes_are_refused_before_anything_is_allocated() {
    let whole = crate::in_memory::seekable(&[b"content"]).0;
    let with_count = |count: u32| {
        let mut file = whole.clone();
        let at = file.len() - 9;
        file[at..at + 4].copy_from_slice(&count.to_le_bytes());
        file
    };
    for count in [0, 2, 1000, u32::MAX] {
        let error = read_table(&mut Cursor::new(with_count(count))).unwrap_err();
        assert!(matches!(error, RangeError::NoTable(TableError::WrongSize(claimed)) if claimed == count), "{error}");
    }
    let mut reserved = whole.clone();
    let at = reserved.len() - 5;
    reserved[at] |= 0x40;
    assert!(matches!(read_table(&mut Cursor::new(reserved)), Err(RangeError::NoTable(TableError::ReservedBits))));
    for len in 0..whole.len() {
        let error = read_table(&mut Cursor::new(&whole[..len])).unwrap_err();
        assert!(matches!(error, RangeError::NoTable(TableError::Missing)), "cut at {len}");
    }
}

#[test]
fn only_the_frames_of_the_range_are_read_and_decoded() {
    let dir = TestDir::new();
    let content = noise(100 * 65536, 1);
    dir.write("in", &content);
    dir.ok("process in out --chunk-size 64K -q");
    for (range, frames) in [("3000000..+1", 1), ("65535..65537", 2), ("65536..131072", 1), ("1M..2M", 16), ("5..5", 0)]
    {
        let report = dir.report(&format!("cat out --range {range}"));
        assert_eq!(report["frame_count"], frames, "{range}");
        let read = report["read_bytes"].as_u64().unwrap();
        assert!(read <= frames * 65600, "{range}: read {read} bytes for {frames} frames");
    }
    let report = dir.report("cat out --range 1M..5M -w 2");
    let decompress = report["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "decompress").unwrap();
    assert_eq!(decompress["threads"], 2);
}

#[test]
fn without_a_table_frames_are_decoded_from_the_start_and_that_is_said() {
    let dir = TestDir::new();
    let content = text(500_000, 1);
    dir.write("in", &content);
    dir.ok("process in whole --chunk-size 64K -q");
    let whole = dir.read("whole");
    let without = &whole[..whole.len() - (17 + 12 * 8)];
    dir.write("without", without);
    let ran = dir.ok("cat without --range 100000..+1000");
    assert_eq!(ran.stdout, &content[100_000..101_000]);
    assert!(ran.stderr.starts_with("pipeline: warning: 'without': ") && ran.stderr.lines().count() == 1, "{ran}");
    let report = dir.report("cat without --range 100000..+1000 -q");
    assert!(report["frame_count"].as_u64().unwrap() < 8, "it stops behind the range: {report}");
    let piped = dir.run_with("cat - --range 100000..+1000", &whole);
    assert_eq!((piped.status.code(), &piped.stdout[..]), (Some(0), &content[100_000..101_000]));
    assert_eq!(dir.fails_as("cat without --range 100000..500001 -q", 1, "range_past_end")["offset"], 500_000);
}

#[test]
fn one_huge_frame_streams_and_a_wrong_checksum_shows_at_its_end() {
    let dir = TestDir::new();
    let content = text(60 << 20, 1);
    let Some(ran) = dir.tool("zstd", &["-q", "-1", "-c", "-"], Some(&content)) else { return };
    let mut stream = ran.stdout;
    dir.write("good", &stream);
    let ran = dir.ok("cat good --range 30M..+1M -q -w 1 --channel-depth 1");
    assert!(ran.stdout == content[30 << 20..31 << 20]);
    *stream.last_mut().unwrap() ^= 1;
    dir.write("bad", &stream);
    let ran = dir.run("cat bad --range 30M..+1M -q -w 1 --channel-depth 1");
    assert_eq!(ran.status.code(), Some(4), "{}", ran.stderr);
    assert!(ran.stdout == content[30 << 20..31 << 20], "the bytes go out before the checksum is known");
}

#[test]
fn the_checksum_of_a_table_counts_where_the_frame_has_none() {
    let mut supervisor = Supervisor::new([]).unwrap();
    // A frame of one raw block, without content size or checksum, as a streaming writer of seekable files makes it.
    let raw = [&b"\x28\xb5\x2f\xfd\x00\x00\x29\x00\x00"[..], b"plain"].concat();
    let right = Entry { compressed_len: 14, content_len: 5, checksum: content_checksum(b"plain") };
    let wrong = Entry { checksum: right.checksum ^ 1, ..right };
    let file = |entry| [&raw[..], &table(&[entry])].concat();
    assert_eq!(cat(&mut supervisor, &file(right), ContentRange::Within(1..3)).unwrap(), b"la");
    let got = cat(&mut supervisor, &file(wrong), ContentRange::Within(1..3));
    assert_eq!(got, Err(Kind::TableContradicts));
}

/// An entry as long as two frames, with the content of the first, once hid the second: later content was read from the
/// wrong place.
#[test]
fn an_entry_that_hides_a_frame_is_noticed_by_ranges_behind_it() {
    let dir = crate::support::TestDir::new();
    let contents: Vec<Vec<u8>> = (0..3).map(|seed| crate::support::noise(1000, seed)).collect();
    let frames: Vec<Vec<u8>> = contents.iter().map(|content| frame(content)).collect();
    let first = pipeline::format::zstd::seek_table::Entry {
        compressed_len: u32::try_from(frames[0].len() + frames[1].len()).unwrap(),
        ..entry(&frames[0], 1000)
    };
    dir.write("lie", &[frames.concat(), table(&[first, entry(&frames[2], 1000)])].concat());
    dir.fails_as("cat lie --range 1500..1510 -q", 4, "table_contradicts");
    dir.fails_as("cat lie --range 500..510 -q", 4, "table_contradicts");
}

#[test]
fn a_range_of_a_file_that_lacks_a_frame_is_refused_and_one_of_several_files_in_a_row_is_right() {
    let dir = TestDir::new();
    let content = noise(4 * 65_536, 3);
    dir.write("in", &content);
    dir.ok("process in z -q --chunk-size 64K");
    let whole = dir.read("z");
    let table_len = 8 + 4 * 12 + 9;
    let frame_len = (whole.len() - table_len) / 4;
    dir.write("cut", &[&whole[..frame_len], &whole[2 * frame_len..]].concat());
    dir.write("doubled", &[&whole[..frame_len], &whole[..]].concat());
    for line in ["cat cut", "cat cut --range 70000..+16", "cat cut --range 0..+16"] {
        let ran = dir.run(&line.replacen(' ', " --stats json ", 1));
        assert!(ran.is_failure(4, "table_contradicts"), "{line}: {ran}");
    }
    // Frames in front of those that a table lists may be a file without a table.
    for (name, parts) in [("doubled", [&content[..65_536], &content]), ("row", [&content[..], &content])] {
        dir.write("row", &[&whole[..], &whole].concat());
        let all = parts.concat();
        let ran = dir.ok(&format!("cat {name} --range 60000..150000 -q"));
        assert!(ran.stdout == all[60_000..150_000], "{name}");
    }
}
