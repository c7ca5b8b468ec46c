//! Tests of encryption: stock tools in both directions, damage, ranges, new keys and rekeying.

use std::collections::HashSet;
use std::fs;

use crate::support::{TestDir, noise, text};

const SEGMENT: usize = 64 * 1024;

#[test]
fn stock_age_and_zstd_read_what_we_write_and_we_read_theirs() {
    let (dir, recipient) = TestDir::with_key();
    for content in [text(5 << 20, 1), noise(3 * SEGMENT, 2), Vec::new()] {
        dir.write("in", &content);
        for armor in ["", "-a"] {
            dir.ok(&format!("process in out.age -r {recipient} {armor} -qf"));
            let Some(ran) = dir.tool("age", &["-d", "-i", "key", "-o", "inner.zst", "out.age"], None) else { return };
            assert!(ran.status.success(), "{}", ran.stderr);
            let ran = dir.tool("zstd", &["-dqf", "inner.zst", "-o", "back"], None).unwrap();
            assert!(ran.status.success() && dir.read("back") == content, "{}", ran.stderr);
            let args = ["-r", &recipient, "-o", "theirs", "in"];
            let args: Vec<&str> = armor.split_whitespace().chain(args).collect();
            let ran = dir.tool("age", &args, None).unwrap();
            assert!(ran.status.success(), "{}", ran.stderr);
            dir.ok("restore theirs back -i key -qf");
            assert!(dir.read("back") == content, "{armor}");
            for name in ["theirs", "inner.zst"] {
                fs::remove_file(dir.path(name)).unwrap();
            }
        }
    }
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_sealed_file_is_refused() {
    let (dir, recipient) = TestDir::with_key();
    let content = text(300, 1);
    dir.write("in", &content);
    dir.ok(&format!("process in out -r {recipient} -q"));
    let sealed = dir.read("out");
    let refuse = |bytes: &[u8], what: &str| {
        let ran = dir.run_with("restore - - -i key -q", bytes);
        assert!(matches!(ran.status.code(), Some(1 | 4 | 5)) && ran.stdout.is_empty(), "{what}: {:?}", ran.status);
    };
    for at in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[at] ^= 1 << (at % 8);
        refuse(&flipped, &format!("byte {at} flipped"));
    }
    for len in (0..sealed.len()).step_by(3) {
        refuse(&sealed[..len], &format!("cut at {len}"));
    }
    refuse(&[&sealed[..], b"x"].concat(), "a byte behind it");
}

#[test]
fn what_is_authentic_in_front_of_damage_comes_out_and_nothing_else() {
    let (dir, recipient) = TestDir::with_key();
    let content = noise(9 * SEGMENT + 100, 1);
    dir.write("in", &content);
    dir.ok(&format!("process in out --no-compress -r {recipient} -q"));
    let sealed = dir.read("out");
    let payload = sealed.len() - (content.len() + 10 * 16);
    for (at, index) in [(0, 0), (SEGMENT + 16, 1), (5 * (SEGMENT + 16) + 9, 5), (sealed.len() - payload - 1, 9)] {
        let mut flipped = sealed.clone();
        flipped[payload + at] ^= 1;
        dir.write("bad", &flipped);
        let ran = dir.run("restore bad - -i key -q --stats json");
        assert!(ran.is_failure(4, "damaged_segment"), "{ran}");
        assert!(ran.stdout == content[..index * SEGMENT], "segment {index}: {} bytes", ran.stdout.len());
        let offset = index * (SEGMENT + 16);
        assert_eq!((&ran.error()["segment"], &ran.error()["offset"]), (&index.into(), &offset.into()), "{ran}");
        dir.fails("restore bad back -i key -q", 4);
        dir.fails("verify bad -i key -q", 4);
    }
    for (cut, kind, segment) in [(5 * (SEGMENT + 16), "truncated_payload", 5), (100, "damaged_segment", 0)] {
        dir.write("bad", &sealed[..payload + cut]);
        let error = dir.fails_as("restore bad back -i key -q", 4, kind);
        assert_eq!((&error["segment"], &error["offset"]), (&segment.into(), &(segment * (SEGMENT + 16)).into()));
    }
}

#[test]
fn ten_thousand_ranges_of_a_sealed_file_equal_the_slices_of_the_original() {
    use pipeline::format::age::stream::{PayloadKey, Place, SegmentCipher, TAG_LEN};
    use pipeline::pipeline::plan::ContentRange;
    use pipeline::pipeline::range::locate;
    use pipeline::pipeline::sealed::SealedReader;
    use pipeline::pipeline::table::{Reopen, read_table};
    use pipeline::pipeline::{frame_splitter, steps};
    use std::io::{Cursor, Read, Seek, SeekFrom};

    let content = text(3 << 20, 1);
    let dir = TestDir::new();
    dir.write("in", &content);
    dir.ok("process in plain --chunk-size 64K -q");
    let key = PayloadKey::take(&mut [5; 32]);
    let (cipher, mut sealed) = (SegmentCipher::new(&key), Vec::new());
    let plain = dir.read("plain");
    let segments: Vec<&[u8]> = plain.chunks(SEGMENT).collect();
    for (index, part) in segments.iter().enumerate() {
        let mut segment = [part, &[0; TAG_LEN][..]].concat();
        let place = if index + 1 == segments.len() { Place::Final } else { Place::Inner };
        cipher.seal(index as u64, place, &mut segment);
        sealed.extend(segment);
    }
    let mut reader = SealedReader::new(Cursor::new(sealed), 0, &key).unwrap();
    let table = read_table(&mut reader).unwrap();
    let reopen = Reopen::new(|| Ok(Cursor::new(Vec::new())));
    let pool = pipeline::pipeline::buffer::BufferPool::new(64 << 20, 16);
    let mut decompressor = pipeline::format::zstd::codec::Decompressor::new().unwrap();
    for pair in noise(16 * 10_000, 3).chunks(16) {
        let start = u64::from_le_bytes(*pair.first_chunk().unwrap()) % (content.len() as u64 - 200);
        let range = start..start + u64::from(pair[8]) % 200;
        let wanted = ContentRange::Within(range.clone());
        let plan = locate(&mut reader, &table, &wanted, 27, reopen.clone()).unwrap();
        reader.seek(SeekFrom::Start(plan.file_range.start)).unwrap();
        let mut frames = vec![0; (plan.file_range.end - plan.file_range.start) as usize];
        reader.read_exact(&mut frames).unwrap();
        let limits = frame_splitter::Limits { window_log_max: 27, batch_bytes_max: 64 << 20 };
        let mut finder = frame_splitter::FrameFinder::new(plan.work.start, limits, pool.clone(), pool.clone());
        let mut got = Vec::new();
        let mut emit = |_, found| {
            let frame_splitter::Found::Batch(batch) = found else { panic!("small frames are not streamed") };
            got.extend_from_slice(&steps::decompress_batch(&mut decompressor, &pool, batch)?.content);
            Ok(())
        };
        finder.push(&frames, &mut emit).unwrap();
        finder.finish(&mut emit).unwrap();
        let skip = (range.start - plan.work.start.content_offset) as usize;
        let slice = &content[range.start as usize..range.end as usize];
        let got = if slice.is_empty() { &[][..] } else { &got[skip..skip + slice.len()] };
        assert_eq!(got, slice, "{range:?}");
    }
}

#[test]
fn a_thousand_runs_have_a_thousand_file_keys_and_nonces_and_equal_chunks_look_different() {
    use age::secrecy::ExposeSecret;
    use pipeline::format::age::header::{Header, Parsed};
    use pipeline::format::age::keys::{Identity, unwrap};
    use pipeline::store::prompt::Prompter;
    use pipeline::store::sys::WakeUp;

    let (dir, recipient) = TestDir::with_key();
    dir.write("in", &vec![b'x'; 2 * SEGMENT]);
    let identities = Identity::parse_file(&String::from_utf8(dir.read("key")).unwrap()).unwrap();
    let prompter = Prompter::new(WakeUp::new().unwrap(), |_| ());
    let (mut file_keys, mut nonces, mut segments) = (HashSet::new(), HashSet::new(), HashSet::new());
    for _ in 0..1000 {
        let sealed = dir.ok(&format!("process in - --no-compress -r {recipient} -q")).stdout;
        let Parsed::Whole(header) = Header::parse(&sealed).unwrap() else { panic!("a header is whole") };
        let file_key = unwrap(&header, &identities, &prompter, 20).unwrap();
        let payload = &sealed[header.len + 16..];
        assert!(file_keys.insert(*file_key.expose_secret()), "a file key came again");
        assert!(nonces.insert(sealed[header.len..][..16].to_vec()), "a nonce came again");
        assert_eq!(payload.len(), 2 * (SEGMENT + 16));
        for segment in payload.chunks(SEGMENT + 16) {
            assert!(segments.insert(segment[..32].to_vec()), "equal chunks look alike");
        }
    }
}

#[test]
fn inspect_tells_of_an_age_layer_without_a_key_and_of_everything_with_one() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", &text(300_000, 1));
    dir.ok(&format!("process in out --chunk-size 64K -r {recipient} -q"));
    let found: serde_json::Value = serde_json::from_slice(&dir.ok("inspect out --json").stdout).unwrap();
    assert_eq!(
        (&found["layers"], &found["age"]["stanzas"]),
        (&serde_json::json!(["age"]), &serde_json::json!(["X25519"]))
    );
    assert_eq!(
        (&found["age"]["is_authenticated"], &found["file_bytes"]),
        (&false.into(), &dir.read("out").len().into())
    );
    let with_key: serde_json::Value = serde_json::from_slice(&dir.ok("inspect out -i key --json").stdout).unwrap();
    assert_eq!(with_key["layers"], serde_json::json!(["age", "zstd"]));
    assert_eq!((&with_key["frame_count"], &with_key["content_bytes"]), (&5.into(), &300_000.into()));
    assert_eq!(with_key["age"]["segment_count"], found["age"]["segment_count"]);
    assert_eq!(with_key["age"]["is_authenticated"], true);
    assert_eq!((&with_key["seek_table"], &with_key["seek_table_problem"]), (&true.into(), &().into()));
}

#[test]
fn rekey_changes_who_opens_it_and_not_a_byte_of_the_payload() {
    let (dir, recipient) = TestDir::with_key();
    let content = text(500_000, 1);
    dir.write("in", &content);
    let new = dir.ok("keygen --pq -o new").stderr.trim().strip_prefix("Public key: ").unwrap().to_owned();
    for armor in ["", "-a"] {
        dir.ok(&format!("process in old --chunk-size 64K -r {recipient} {armor} -qf"));
        let said = dir.ok(&format!("rekey old rekeyed -i key -r {new} -f")).stderr;
        assert!(said.starts_with("note: "), "{said}");
        dir.fails_as("restore rekeyed back -i key -q", 5, "no_match");
        dir.ok("verify rekeyed -i new -q --against in");
    }
    dir.ok(&format!("process in old --chunk-size 64K -r {recipient} -qf"));
    dir.ok(&format!("rekey old rekeyed -i key -r {new} -qf"));
    let (old, rekeyed) = (dir.read("old"), dir.read("rekeyed"));
    let header_end = |file: &[u8]| {
        let mac = file.windows(5).position(|bytes| bytes == b"\n--- ").unwrap() + 1;
        mac + file[mac..].iter().position(|byte| *byte == b'\n').unwrap() + 1
    };
    assert!(old[header_end(&old)..] == rekeyed[header_end(&rekeyed)..]);
    dir.ok(&format!("rekey old --in-place -i key -r {new} -q"));
    dir.ok("verify old -i new -q --against in");
    dir.fails(&format!("rekey old -i new -r {new} -q"), 2);
    dir.fails_as(&format!("rekey old old -f -i new -r {new} -q"), 1, "same_file");
    dir.fails("rekey old out -i new -q", 2);
    dir.fails_as(&format!("rekey old out -i new -q -r {new} -r {recipient}"), 2, "usage");
}

#[test]
fn rekey_never_blesses_damage() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", &noise(3 * SEGMENT, 1));
    dir.ok(&format!("process in good --no-compress -r {recipient} -q"));
    let good = dir.read("good");
    for at in [200, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        dir.write("bad", &bad);
        for line in ["rekey bad out", "rekey bad --in-place"] {
            dir.fails(&format!("{line} -i key -r {recipient} -q"), 4);
            assert_eq!(dir.read("bad"), bad, "what was there stays as it was");
        }
    }
    dir.write("bad", &good[..good.len() - 1]);
    dir.fails(&format!("rekey bad out -i key -r {recipient} -q"), 4);
}
