//! Tests of `restore --salvage`: intact content is restored, wrong content never is, and every loss is reported.

use std::ops::Range;

use pipeline::format::zstd::seek_table::Entry;

use crate::support::child::{Running, end_of};
use crate::support::{TestDir, noise, text};

const SEGMENT: usize = 64 * 1024;
const CHUNK: usize = 64 * 1024;

/// The losses that a run reported: ranges filled with zeros, and offsets at which content is left out.
#[derive(Debug, Default)]
struct Told {
    filled: Vec<Range<usize>>,
    left_out: Vec<usize>,
    unlisted: Vec<Range<usize>>,
}

/// Salvages `bytes` with the key in `key`. Returns the content, the exit code, and the reported losses.
fn salvage(dir: &TestDir, bytes: &[u8]) -> (Vec<u8>, Option<i32>, Told) {
    dir.write("bad", bytes);
    let ran = dir.run("restore bad saved --salvage -i key -q -f --no-sync");
    let mut told = Told::default();
    for line in ran.stderr.lines() {
        let numbers: Vec<usize> =
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
        if line.contains("of the content, zeros are in their place") {
            told.filled.push(numbers[0]..numbers[1]);
        } else if line.contains("not the one that the seek table lists") {
            told.unlisted.push(numbers[0]..numbers[1]);
        } else if line.contains("left out at byte") {
            told.left_out.push(numbers[2]);
        } else if line.contains("the end is missing") {
            told.left_out.push(numbers[0]);
        } else {
            let is_other = line.contains("error: ") || line.contains("warning: ") || line.starts_with("hint: ");
            assert!(is_other, "{line}");
        }
    }
    let saved = if dir.path("saved").exists() { dir.read("saved") } else { Vec::new() };
    let _ = std::fs::remove_file(dir.path("saved"));
    (saved, ran.status.code(), told)
}

/// Asserts that `saved` equals `content` except for zeros in the reported ranges.
fn assert_filled(saved: &[u8], content: &[u8], told: &Told, what: &str) {
    assert_eq!(saved.len(), content.len(), "{what}: {told:?}");
    let mut expected = content.to_vec();
    told.filled.iter().for_each(|range| expected[range.clone()].fill(0));
    assert!(saved == expected, "{what}: bytes that are wrong came out, {told:?}");
}

/// Flags of `process` for each combination of layers.
fn kinds(recipient: &str) -> [String; 3] {
    [String::new(), format!("-r {recipient}"), format!("-r {recipient} --no-compress")]
}

#[test]
fn a_whole_file_is_salvaged_whole_and_exit_is_0() {
    let (dir, recipient) = TestDir::with_key();
    for len in [0, 1, SEGMENT, 5 * CHUNK + 77] {
        let content = text(len, 1);
        dir.write("in", &content);
        for flags in kinds(&recipient) {
            dir.ok(&format!("process in out --chunk-size 64K -q -f {flags}"));
            let (saved, code, told) = salvage(&dir, &dir.read("out"));
            assert!(saved == content && code == Some(0) && told.filled.is_empty(), "{len} {flags}: {code:?} {told:?}");
        }
    }
}

/// Salvage once looked for the end of a skippable frame without content in the bytes after it. At the end of a file
/// there are none, and the frame was reported as lost.
#[test]
fn a_skippable_frame_without_content_at_the_end_is_whole() {
    let (dir, _) = TestDir::with_key();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let stream = std::fs::read(folder.join("skippable-empty-at-end.zst")).unwrap();
    let (saved, code, told) = salvage(&dir, &stream);
    assert!(saved == b"hello" && code == Some(0), "{code:?} {told:?}");
}

#[test]
fn a_flipped_bit_costs_the_frame_or_the_segment_it_is_in_and_no_more() {
    let (dir, recipient) = TestDir::with_key();
    let content = [text(3 * CHUNK, 1), noise(2 * CHUNK + 500, 2)].concat();
    dir.write("in", &content);
    for flags in kinds(&recipient) {
        dir.ok(&format!("process in out --chunk-size 64K -q -f {flags}"));
        let good = dir.read("out");
        // With both layers one segment can hold parts of three frames, and the seek table.
        let lost_max = if flags.ends_with(&recipient) { 4 * CHUNK } else { CHUNK };
        let header = if flags.is_empty() { 0 } else { 250 };
        let table = good.len() - 120;
        for at in (header..table).step_by(good.len() / 150 + 1).chain(table..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            let (saved, code, told) = salvage(&dir, &bad);
            let what = format!("{flags}, byte {at} of {}", good.len());
            if told.left_out.is_empty() {
                assert_filled(&saved, &content, &told, &what);
            } else {
                // Without a table the length of a frame with a broken header is unknown.
                assert!(is_with_a_piece_left_out(&saved, &content), "{what}: {told:?}");
            }
            let lost: usize = told.filled.iter().map(ExactSizeIterator::len).sum();
            assert!(lost <= lost_max, "{what}: {told:?}");
            // Without its footer a table is not a table, and all frames are intact.
            let is_footer = flags.is_empty() && at + 9 + 12 * 6 + 8 >= good.len();
            assert!(code == Some(4) || (is_footer && code == Some(0) && saved == content), "{what}: {code:?} {told:?}");
        }
    }
}

/// Whether `saved` is `content` with one piece removed and nothing filled.
fn is_with_a_piece_left_out(saved: &[u8], content: &[u8]) -> bool {
    let front = saved.iter().zip(content).take_while(|(a, b)| a == b).count();
    let back = saved.iter().rev().zip(content.iter().rev()).take_while(|(a, b)| a == b).count();
    saved.len() <= content.len() && front + back >= saved.len()
}

#[test]
fn the_seek_table_inside_age_tells_where_frames_are_that_follow_a_lost_segment() {
    let (dir, recipient) = TestDir::with_key();
    let content = noise(12 * CHUNK, 3);
    dir.write("in", &content);
    dir.ok(&format!("process in out --chunk-size 64K -q -f -r {recipient}"));
    let mut bad = dir.read("out");
    let payload = bad.len() - (12 * (CHUNK + 15) + 12 * 12 + 17 + 13 * 16).min(bad.len());
    for segment in [0, 3, 7] {
        bad[payload + segment * (SEGMENT + 16) + 5000] ^= 0x10;
    }
    let (saved, code, told) = salvage(&dir, &bad);
    assert_filled(&saved, &content, &told, "three segments");
    assert_eq!((code, told.left_out.len()), (Some(4), 0));
    let lost: usize = told.filled.iter().map(ExactSizeIterator::len).sum();
    assert!((3 * CHUNK..=6 * CHUNK).contains(&lost), "{told:?}");
}

#[test]
fn a_cut_file_gives_what_is_in_front_of_the_cut() {
    let (dir, recipient) = TestDir::with_key();
    let content = noise(6 * CHUNK + 1234, 4);
    dir.write("in", &content);
    for flags in kinds(&recipient) {
        dir.ok(&format!("process in out --chunk-size 64K -q -f {flags}"));
        let good = dir.read("out");
        for len in (300..good.len()).step_by(good.len() / 60 + 1) {
            let (saved, code, told) = salvage(&dir, &good[..len]);
            // A segment that is cut in the middle has a known length, which is filled with zeros.
            let zeros: usize = told.filled.iter().map(ExactSizeIterator::len).sum();
            let intact = &saved[..saved.len() - zeros];
            assert!(content.starts_with(intact), "{flags}, cut at {len}: {told:?}");
            assert!(intact.len() + 2 * CHUNK + 4096 >= len.min(content.len()), "{flags}, cut at {len}: {told:?}");
            assert_eq!(code, Some(4), "{flags}, cut at {len}: {told:?}");
        }
    }
}

#[test]
fn frames_of_other_writers_are_found_by_their_chain() {
    let dir = TestDir::new();
    dir.ok("keygen -o key");
    let parts: Vec<Vec<u8>> = (0..6u64).map(|i| text(30_000, i)).collect();
    let frames: Vec<Vec<u8>> = parts
        .iter()
        .map(|part| {
            dir.write("part", part);
            let ran = dir.ok("process part - -q").stdout;
            // Its one frame, without the table after it.
            ran[..ran.len() - (8 + 12 + 9)].to_vec()
        })
        .collect();
    let all = frames.concat();
    let start_of = |index: usize| frames[..index].iter().map(Vec::len).sum::<usize>();
    let (saved, code, _) = salvage(&dir, &all);
    assert!(saved == parts.concat() && code == Some(0));
    // A damaged body under intact headers: the declared length is known.
    let mut bad = all.clone();
    bad[start_of(2) + 2000] ^= 1;
    let (saved, _, told) = salvage(&dir, &bad);
    assert_filled(&saved, &parts.concat(), &told, "a body");
    // A damaged magic number: the lost length is unknown.
    let mut bad = all.clone();
    bad[start_of(2)] ^= 1;
    let (saved, code, told) = salvage(&dir, &bad);
    assert_eq!((code, told.left_out), (Some(4), vec![60_000]));
    assert!(saved == [&parts[..2], &parts[3..]].concat().concat());
    // A damaged magic number of the first frame.
    let mut bad = all.clone();
    bad[0] ^= 1;
    let (saved, code, _) = salvage(&dir, &bad);
    assert!(saved == parts[1..].concat() && code == Some(4));
}

/// Content that contains a frame must not be taken for the frame after a break.
#[test]
fn frames_inside_of_content_are_not_taken_for_frames_of_the_file() {
    let dir = TestDir::new();
    dir.ok("keygen -o key");
    dir.write("inner", &text(5000, 1));
    let inner = dir.ok("process inner - -q").stdout;
    // Noise around the frame keeps zstd from compressing it, so the frame is in the file unchanged.
    let content = [noise(40_000, 2), inner, noise(20_000, 3)].concat();
    dir.write("in", &content);
    let whole = dir.ok("process in - -q").stdout;
    let mut bad = whole[..whole.len() - (8 + 12 + 9)].to_vec();
    bad[0] ^= 1;
    let (saved, code, _) = salvage(&dir, &bad);
    assert!(saved.is_empty() && code == Some(4), "{} bytes, {code:?}", saved.len());
}

#[test]
fn a_wrong_entry_of_the_table_loses_nothing() {
    let dir = TestDir::new();
    dir.ok("keygen -o key");
    let content = text(4 * CHUNK, 1);
    dir.write("in", &content);
    let mut bad = dir.ok("process in - --chunk-size 64K -q").stdout;
    let entry = bad.len() - 9 - 2 * 12;
    bad[entry + 8] ^= 1;
    let (saved, code, told) = salvage(&dir, &bad);
    assert!(saved == content && code == Some(4) && told.filled.is_empty() && told.left_out.is_empty(), "{told:?}");
}

#[test]
fn a_header_that_is_not_authentic_gives_nothing_and_flags_that_do_not_go_together_are_refused() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", &text(1000, 1));
    dir.ok(&format!("process in out -q -r {recipient}"));
    dir.ok("process in plain -q");
    let mut bad = dir.read("out");
    let mac = bad.windows(4).position(|bytes| bytes == b"--- ").unwrap() + 6;
    bad[mac] = if bad[mac] == b'A' { b'B' } else { b'A' };
    dir.write("bad", &bad);
    dir.fails("restore bad saved --salvage -i key -q", 4);
    dir.fails("restore out.age --salvage -i key -q", 2);
    dir.fails("restore plain saved --salvage --rm -q", 2);
    dir.fails("restore plain saved --salvage --require-table -q", 2);
    dir.fails("restore - saved --salvage -q", 2);
    dir.fails("restore in saved --salvage -q", 1);
    dir.fails("restore plain plain --salvage -q -f", 1);
}

/// A payload cut to less than a segment was once reported as whole.
#[test]
fn a_payload_of_less_than_a_tag_is_damaged() {
    let (dir, recipient) = TestDir::with_key();
    for content in [&b"hello world"[..], b""] {
        dir.write("in", content);
        for flags in ["", "--no-compress"] {
            let whole = dir.ok(&format!("process in - -q -r {recipient} {flags}")).stdout;
            let payload = whole.windows(4).position(|part| part == b"--- ").unwrap() + 48 + 16;
            for len in payload..whole.len() {
                let (saved, code, told) = salvage(&dir, &whole[..len]);
                assert!(saved.iter().all(|byte| *byte == 0) && code == Some(4), "{len}: {code:?} {told:?}");
            }
            let mut flipped = whole.clone();
            *flipped.last_mut().unwrap() ^= 1;
            assert_eq!(salvage(&dir, &flipped).1, Some(4));
        }
    }
}

#[test]
fn frames_behind_a_lost_first_segment_are_found_without_a_table() {
    let (dir, recipient) = TestDir::with_key();
    let parts: Vec<Vec<u8>> = (0..8u64).map(|seed| noise(30_000, seed)).collect();
    let frame = |part: &Vec<u8>| {
        dir.write("part", part);
        let file = dir.ok("process part - -q").stdout;
        file[..file.len() - (8 + 12 + 9)].to_vec()
    };
    // Sealed as stock age does it, without a layer of its own.
    let recipient: age::x25519::Recipient = recipient.parse().unwrap();
    let mut sealed = age::encrypt(&recipient, &parts.iter().map(frame).collect::<Vec<_>>().concat()).unwrap();
    let payload = sealed.windows(4).position(|part| part == b"--- ").unwrap() + 48 + 16;
    sealed[payload + 1000] ^= 1;
    let (saved, code, told) = salvage(&dir, &sealed);
    // The first segment holds two frames and the start of the third.
    assert!(saved == parts[3..].concat() && code == Some(4), "{} bytes, {code:?} {told:?}", saved.len());
}

#[test]
fn frames_that_are_gone_or_moved_are_told_by_the_table() {
    let dir = TestDir::new();
    dir.ok("keygen -o key");
    let content = noise(5 * CHUNK, 1);
    dir.write("in", &content);
    let whole = dir.ok("process in - --chunk-size 64K -q").stdout;
    let frame_len = (whole.len() - (8 + 5 * 12 + 9)) / 5;
    let (frames, table) = whole.split_at(5 * frame_len);
    let with = |order: &[usize]| {
        let frames: Vec<&[u8]> = order.iter().map(|index| &frames[index * frame_len..][..frame_len]).collect();
        [frames.concat().as_slice(), table].concat()
    };
    for order in [&[0, 1, 3, 4][..], &[0, 1, 2, 2, 3, 4], &[4], &[]] {
        let (_, code, told) = salvage(&dir, &with(order));
        assert_eq!(code, Some(4), "{order:?}: {told:?}");
        // Frames before a seekable file are valid zstd, so restore warns; verify refuses the file.
        let is_warned = order.len() > 5 && dir.ok("restore bad back -f").stderr.contains("warning: ");
        assert!(is_warned || dir.run("restore bad other -q").status.code() == Some(4), "{order:?}");
        dir.fails("verify bad -q", 4);
    }
    let (_, code, told) = salvage(&dir, &with(&[0, 2, 1, 3, 4]));
    assert_eq!((code, told.unlisted), (Some(4), vec![CHUNK..2 * CHUNK, 2 * CHUNK..3 * CHUNK]));
}

/// Salvages `bytes`, which would take minutes if a part of them were walked again and again. Returns what is saved and the exit code.
fn salvage_in_time(dir: &TestDir, bytes: &[u8]) -> (Vec<u8>, Option<i32>) {
    dir.write("bad", bytes);
    let mut command = dir.command("restore bad saved --salvage -q -f --no-sync".split(' '));
    let mut child = Running(command.stderr(std::process::Stdio::null()).spawn().unwrap());
    let (_, code, _) = end_of(&mut child);
    (dir.read("saved"), code)
}

/// Starts of frames, 9 bytes each, whose first block ends where all of them do; so what follows is the rest of each of them.
fn starts_of_frames(count: usize) -> Vec<u8> {
    let start = |index: usize| {
        let block_bytes = u32::try_from(9 * (count - 1 - index)).unwrap();
        [&[0x28, 0xB5, 0x2F, 0xFD, 0, 0x50][..], &(block_bytes << 3).to_le_bytes()[..3]].concat()
    };
    (0..count).flat_map(start).collect()
}

/// Blocks of one byte, and an end that is none.
fn blocks(count: usize) -> Vec<u8> {
    [&[8, 0, 0, b'x'].repeat(count)[..], &[0xFF; 20]].concat()
}

/// Chains that all break at one place. The search for one that does not break took time with the square of their number.
#[test]
fn hostile_chains_cost_some_frames_behind_them_and_linear_time() {
    let dir = TestDir::new();
    let content = noise(20 * CHUNK, 1);
    let frames: Vec<Vec<u8>> = content.chunks(CHUNK).map(crate::in_memory::frame).collect();
    let skippables = [0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0].repeat(1_300_000);
    for hostile in [skippables, [starts_of_frames(7000), blocks(500_000)].concat()] {
        let hostile = [b"no frame", &hostile[..], b"no frame either"].concat();
        let (saved, code) = salvage_in_time(&dir, &[&frames[0][..], &hostile, &frames[1..].concat()].concat());
        assert_eq!(code, Some(4));
        let (front, behind) = saved.split_at(CHUNK);
        assert!(front == &content[..CHUNK] && content.ends_with(behind), "wrong bytes are saved");
        assert!(behind.len() >= 16 * CHUNK, "{} bytes are saved behind the hostile ones", behind.len());
    }
}

/// A walk from a listed frame goes no further than the table says the frame does.
#[test]
fn hostile_frames_that_a_table_lists_cost_linear_time() {
    let dir = TestDir::new();
    let (starts, blocks) = (starts_of_frames(7000), blocks(500_000));
    let entry = |compressed_len| Entry { compressed_len, content_len: 0, checksum: 0 };
    let rest = u32::try_from(blocks.len()).unwrap();
    let entries: Vec<Entry> = std::iter::repeat_n(entry(9), 7000).chain([entry(rest)]).collect();
    let (saved, _) = salvage_in_time(&dir, &[starts, blocks, crate::in_memory::table(&entries)].concat());
    assert_eq!(saved, b"");
}

/// Thousands of frames of a few bytes lie across every edge at which a reader could cut them.
#[test]
fn nothing_of_a_whole_file_of_tiny_frames_is_lost() {
    let (dir, recipient) = TestDir::with_key();
    for prefix_len in [0, 1, 13, 60] {
        let content = [noise(prefix_len, 1), vec![0; 40 << 20]].concat();
        dir.write("in", &content);
        for flags in [String::new(), format!("-r {recipient}")] {
            dir.ok(&format!("process in out -q -f --no-sync --chunk-size 64K {flags}"));
            let ran = dir.run("restore --salvage out saved -q -f -i key --no-sync");
            assert!(ran.status.success() && dir.read("saved") == content, "{prefix_len} {flags}: {ran}");
        }
    }
}
