//! Tests of damaged input: cuts, flips, moved frames and wrong tables are never taken for a whole file.

use crate::in_memory::{entry, frame, restore, run, seekable, table};
use crate::support::{TestDir, noise, text};
use pipeline::format::zstd::codec::{Level, content_checksum};
use pipeline::format::zstd::seek_table::{Entry, TableError, TableStatus};
use pipeline::format::zstd::{Damage, ZstdError};
use pipeline::pipeline::error::{Cause, Failure};
use pipeline::pipeline::plan::{Compress, Process, Work};
use pipeline::pipeline::supervisor::Supervisor;

fn zstd_error(failure: Failure) -> ZstdError {
    match failure.cause {
        Cause::Zstd(error) => error,
        cause => panic!("{cause}"),
    }
}

fn small_file() -> (Vec<u8>, Vec<u8>, Vec<usize>) {
    let (a, b, c) = (text(300, 1), noise(100, 2), vec![7; 500]);
    let (file, edges) = seekable(&[&a, &b, &c]);
    (file, [a, b, c].concat(), edges)
}

#[test]
fn every_cut_is_noticed_but_one_at_a_frame_edge_which_lacks_its_table() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let (file, content, edges) = small_file();
    for len in 1..file.len() {
        let (ran, out) = restore(&mut supervisor, &file[..len]);
        assert!(content.starts_with(&out), "cut at {len}: wrong bytes came out");
        match ran {
            Ok(report) => {
                assert!(edges.contains(&len), "cut at {len}: accepted");
                assert_eq!(report.summary.table, Some(TableStatus::Unusable(TableError::Missing)));
            }
            Err(failure) => match zstd_error(failure) {
                ZstdError::NotZstd(_) => assert!(len < 4),
                ZstdError::Damaged { frame_index, damage: Damage::Truncated(at), .. } => {
                    assert_eq!(at, len as u64);
                    assert_eq!(frame_index, edges.iter().filter(|edge| **edge < len).count() as u64);
                }
                error => panic!("cut at {len}: {error}"),
            },
        }
    }
}

#[test]
fn every_flipped_bit_gives_the_same_bytes_or_an_error() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let (file, content, _) = small_file();
    let mut harmless_count = 0;
    for bit in 0..8 * file.len() {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (ran, out) = restore(&mut supervisor, &flipped);
        if let Ok(report) = ran {
            assert!(out == content, "bit {bit}: wrong bytes accepted");
            harmless_count += usize::from(report.summary.table == Some(TableStatus::Valid));
        } else {
            assert!(content.starts_with(&out), "bit {bit}: wrong bytes came out before the error");
        }
    }
    // The harmless bits: the unused bit of three frame headers and of the table's descriptor, and bits of window sizes.
    assert!(harmless_count <= 3 * 9 + 2, "{harmless_count} flips went unnoticed");
}

/// The block has neither literals nor sequences. libzstd accepts it in a stream and refuses it in a whole frame, so the
/// verdict once depended on whether the frame was light enough to be gathered.
#[test]
fn a_compressed_block_without_bytes_is_damage_in_light_and_in_heavy_frames() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let rle = |is_last: bool| [((128 << 10) << 3 | 1 << 1 | u32::from(is_last)).to_le_bytes()[..3].to_vec(), vec![7]];
    for rle_count in [1, 400] {
        let blocks: Vec<u8> = (1..=rle_count).flat_map(|i| rle(i == rle_count).concat()).collect();
        let frame = |first: &[u8]| [b"\x28\xb5\x2f\xfd\x00\x38", first, &blocks].concat();
        let (ran, out) = restore(&mut supervisor, &frame(b""));
        assert!(ran.is_ok() && out.len() == rle_count << 17);
        let (ran, out) = restore(&mut supervisor, &frame(b"\x04\0\0"));
        let error = zstd_error(ran.unwrap_err());
        let is_damage = matches!(error, ZstdError::Damaged { frame_index: 0, offset: 0, damage: Damage::Decode(_) });
        assert!(is_damage && out.is_empty(), "{error}");
    }
}

#[test]
fn frames_that_moved_are_told_by_the_table() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let (a, b) = (text(300, 1), noise(100, 2));
    let (frame_a, frame_b) = (frame(&a), frame(&b));
    let whole = table(&[entry(&frame_a, a.len()), entry(&frame_b, b.len())]);
    for (name, parts, status) in [
        ("right", vec![&frame_a, &frame_b, &whole], TableStatus::Valid),
        ("swapped", vec![&frame_b, &frame_a, &whole], TableStatus::Unusable(TableError::OtherFrames)),
        ("doubled", vec![&frame_a, &frame_b, &frame_b, &whole], TableStatus::Unusable(TableError::FewerFrames)),
        ("missing", vec![&frame_a, &whole], TableStatus::Unusable(TableError::OtherFrames)),
        ("appended", vec![&frame_a, &frame_b, &whole, &frame_a], TableStatus::Unusable(TableError::Missing)),
        ("two tables", vec![&frame_a, &frame_b, &whole, &whole], TableStatus::Unusable(TableError::OtherFrames)),
    ] {
        let bytes: Vec<u8> = parts.into_iter().flatten().copied().collect();
        let (ran, _) = restore(&mut supervisor, &bytes);
        assert_eq!(ran.unwrap().summary.table, Some(status), "{name}");
    }
}

#[test]
fn garbage_behind_a_frame_is_damage_with_its_offset() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let (mut file, content, _) = small_file();
    let len = file.len() as u64;
    file.extend(b"garbage");
    let (ran, out) = restore(&mut supervisor, &file);
    let error = zstd_error(ran.unwrap_err());
    let damage = Damage::TrailingGarbage("67 61 72 62".to_owned());
    assert_eq!(error, ZstdError::Damaged { frame_index: 3, offset: len, damage });
    assert!(error.is_damage());
    assert_eq!(out, content, "what was right in front of the garbage came out first");
}

#[test]
fn a_wrong_checksum_names_the_frame_and_its_offset() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let (mut file, content, edges) = small_file();
    file[edges[1] - 1] ^= 1;
    let (ran, out) = restore(&mut supervisor, &file);
    let damage = ZstdError::Damaged { frame_index: 1, offset: edges[0] as u64, damage: Damage::Checksum };
    assert_eq!(zstd_error(ran.unwrap_err()), damage);
    assert!(content.starts_with(&out) && out.len() <= 300);
}

/// A flipped bit in a raw block without a checksum of its own leaves valid zstd with other bytes.
#[test]
fn a_table_that_contradicts_the_frames_is_damage_unless_it_is_ignored() {
    let (dir, recipient) = TestDir::with_key();
    let recipient: age::x25519::Recipient = recipient.parse().unwrap();
    let raw = |content: &[u8; 5]| [&b"\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00"[..], content].concat();
    let right = Entry { compressed_len: 14, content_len: 5, checksum: content_checksum(b"plain") };
    let plain = frame(b"front");
    for (name, parts, code) in [
        ("right", vec![raw(b"plain"), table(&[right])], 0),
        ("two files", vec![raw(b"plain"), table(&[right]), raw(b"plain"), table(&[right])], 0),
        // What is in front of a seekable file may have had no table.
        ("frames in front", vec![plain.clone(), raw(b"plain"), table(&[right])], 3),
        ("flipped", vec![raw(b"plaim"), table(&[right])], 4),
        ("other length", vec![raw(b"plain"), table(&[Entry { content_len: 6, ..right }])], 4),
        ("missing frame", vec![raw(b"plain"), table(&[right, right])], 4),
        ("flipped, then a whole file", vec![raw(b"plaim"), table(&[right]), raw(b"plain"), table(&[right])], 4),
        (
            "frames in front, then flipped",
            vec![plain, raw(b"plain"), table(&[right]), raw(b"plaim"), table(&[right])],
            4,
        ),
    ] {
        dir.write("in", &parts.concat());
        let run = |line: &str| dir.run(&format!("{line} -qf --stats json")).status.code();
        assert_eq!(run("restore in out"), Some(if code == 4 { 4 } else { 0 }), "{name}");
        assert_eq!(dir.path("out").exists(), code != 4, "{name}");
        let is_warned =
            dir.run("restore in out -f --ignore-table --stats none").stderr.starts_with("pipeline: warning: ");
        assert_eq!((is_warned, dir.path("out").exists()), (code != 0, true), "{name}");
        std::fs::remove_file(dir.path("out")).unwrap();
        if code == 4 {
            for line in ["restore in out", "restore in out --engine mutex", "restore in out --require-table"] {
                dir.fails_as(&format!("{line} -q"), 4, "table_contradicts");
            }
            for line in ["verify in -q", "verify in -q --foreign"] {
                dir.fails_as(line, 4, "table_contradicts");
            }
        }
        // The same below an age layer, which proves only that nobody changed it.
        dir.write("sealed", &age::encrypt(&recipient, &parts.concat()).unwrap());
        assert_eq!(run("restore sealed out -i key"), Some(if code == 4 { 4 } else { 0 }), "{name}, sealed");
        let _ = std::fs::remove_file(dir.path("out"));
    }
    dir.fails("restore in out --ignore-table --require-table", 2);
}

/// An input that fails, or panics, at the end of its bytes.
struct Dies(std::io::Cursor<Vec<u8>>, bool);

impl std::io::Read for Dies {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(bytes)? {
            0 if self.1 => panic!("reader died"),
            0 => Err(std::io::Error::other("disk died")),
            len => Ok(len),
        }
    }
}

#[test]
fn an_input_that_dies_leaves_no_valid_looking_end() {
    let mut supervisor = Supervisor::new([]).unwrap();
    std::panic::set_hook(Box::new(|_| ()));
    for panics in [false, true] {
        for len in [0, 1, 65536, 300_000] {
            let work = Work::Process(Process {
                compress: Some(Compress { chunk_len: 65536, level: Level::DEFAULT }),
                seal: None,
            });
            let input = Box::new(Dies(std::io::Cursor::new(text(len, 1)), panics));
            let (ran, out) = run(&mut supervisor, work, input);
            assert_eq!(ran.unwrap_err().stage, pipeline::pipeline::names::Stage::Read);
            let (ran, _) = restore(&mut supervisor, &out);
            let ends_well = ran.is_ok_and(|report| report.summary.table == Some(TableStatus::Valid));
            assert!(!ends_well, "{len} bytes, then death, and the output looks whole");
        }
    }
}

#[test]
fn a_damaged_file_leaves_no_output_and_exits_with_4() {
    let dir = TestDir::new();
    dir.write("in", &text(200_000, 1));
    dir.ok("process in good --chunk-size 64K -q");
    let good = dir.read("good");
    let mut flipped = good.clone();
    flipped[5000] ^= 4;
    for (name, kind, bytes) in [
        ("flipped", "damaged_frame", flipped),
        ("cut", "truncated_frame", good[..good.len() / 2].to_vec()),
        ("garbage", "trailing_garbage", [&good[..], b"more"].concat()),
        ("cut by one", "truncated_frame", good[..good.len() - 1].to_vec()),
    ] {
        dir.write("bad", &bytes);
        for line in ["restore bad back -q", "restore bad back -q --engine mutex", "verify bad -q", "cat bad -q"] {
            let said = dir.fails(line, 4);
            let error = dir.fails_as(line, 4, kind);
            let (frame, offset) = (error["frame"].as_u64().unwrap(), error["offset"].as_u64().unwrap());
            assert!(said.contains(&format!("frame {frame} at offset {offset}: ")), "{name}, {line}: {said}");
        }
        dir.write("old", b"old content");
        dir.fails("restore bad old -qf", 4);
        assert_eq!(dir.read("old"), b"old content", "{name}");
        std::fs::remove_file(dir.path("old")).unwrap();
    }
}

#[test]
fn a_file_cut_at_a_frame_edge_is_restored_with_a_warning_and_refused_by_verify() {
    let dir = TestDir::new();
    let content = noise(200_000, 1);
    dir.write("in", &content);
    dir.ok("process in good --chunk-size 64K -q");
    let first_frame_len = 65536 + 3 + 9 + 4;
    let good = dir.read("good");
    let cut =
        (first_frame_len - 8..first_frame_len + 8).find(|at| good[*at..].starts_with(b"\x28\xb5\x2f\xfd")).unwrap();
    dir.write("cut", &good[..cut]);
    let said = dir.ok("restore cut back --stats none").stderr;
    assert!(said.starts_with("pipeline: warning: 'cut': ") && said.lines().count() == 1, "{said}");
    assert_eq!(dir.read("back"), &content[..65536]);
    std::fs::remove_file(dir.path("back")).unwrap();
    dir.fails_as("restore cut back -q --require-table", 4, "table_missing");
    dir.fails_as("verify cut -q", 4, "table_missing");
    dir.ok("verify cut -q --foreign");
    dir.ok("verify good -q");
}

#[test]
fn verify_compares_with_the_original() {
    let dir = TestDir::new();
    let content = text(200_000, 1);
    dir.write("in", &content);
    dir.ok("process in good --chunk-size 64K -q");
    dir.ok("verify good -q --against in");
    for (name, other, at) in [
        ("shorter", content[..150_000].to_vec(), 150_000),
        ("longer", [&content[..], b"x"].concat(), 200_000),
        ("empty", Vec::new(), 0),
        ("changed", [&content[..99_999], b"\0", &content[100_000..]].concat(), 99_999),
    ] {
        dir.write("other", &other);
        dir.fails_as("verify good -q --against other", 1, "content_differs");
        let said = dir.fails("verify good -q --against other", 1);
        assert!(said.contains("'other'") && said.ends_with(&format!(" {at}\n")), "{name}: {said}");
    }
}
