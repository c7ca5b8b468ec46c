//! Encryption: what stock tools and the age crate read and write, over the edges of segments and chunks, with every kind of key.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use support::{Bench, noise, text};

const SEGMENT: usize = 64 * 1024;

/// A bench with an identity in `key` and its recipient.
fn bench_with_key() -> (Bench, String) {
    let bench = Bench::new();
    let said = bench.ok("keygen -o key").stderr;
    let recipient = said.trim().strip_prefix("Public key: ").unwrap().to_owned();
    (bench, recipient)
}

fn edges() -> [usize; 10] {
    [
        0,
        1,
        SEGMENT - 1,
        SEGMENT,
        SEGMENT + 1,
        2 * SEGMENT - 1,
        2 * SEGMENT,
        2 * SEGMENT + 1,
        4 * SEGMENT,
        9 * SEGMENT + 5,
    ]
}

/// The age crate's own reader, which shares no code with ours below the header.
fn age_crate_opens(sealed: &[u8], key: &str) -> Vec<u8> {
    let identity: age::x25519::Identity = key.lines().last().unwrap().parse().unwrap();
    let decryptor = age::Decryptor::new_buffered(sealed).unwrap();
    let mut content = Vec::new();
    decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).unwrap().read_to_end(&mut content).unwrap();
    content
}

#[test]
fn the_age_crate_reads_what_we_write_at_every_edge_whatever_the_width() {
    let (bench, recipient) = bench_with_key();
    let key = String::from_utf8(bench.read("key")).unwrap();
    for len in edges() {
        let content = noise(len, len as u64);
        bench.write("in", &content);
        for flags in ["-w 1 --channel-depth 1", "-w 2", "-w 5", "--engine mutex"] {
            bench.ok(&format!("process in out --no-compress -r {recipient} --no-sync -qf {flags}"));
            assert!(age_crate_opens(&bench.read("out"), &key) == content, "{len} bytes, {flags}");
            bench.ok(&format!("restore out back -i key --no-sync -qf {flags}"));
            assert!(bench.read("back") == content, "{len} bytes, {flags}");
        }
    }
}

#[test]
fn compressed_and_encrypted_comes_back_at_every_edge_from_both_engines() {
    let (bench, recipient) = bench_with_key();
    let key = String::from_utf8(bench.read("key")).unwrap();
    for len in edges() {
        for content in [text(len, 1), noise(len, 2)] {
            bench.write("in", &content);
            bench.ok("process in plain --chunk-size 64K --no-sync -qf");
            for flags in ["-w 1 --channel-depth 1", "-w 3", "--engine mutex"] {
                bench.ok(&format!("process in out --chunk-size 64K -r {recipient} --no-sync -qf {flags}"));
                assert!(age_crate_opens(&bench.read("out"), &key) == bench.read("plain"), "{len} bytes, {flags}");
                bench.ok(&format!("restore out back -i key --no-sync -qf {flags}"));
                assert!(bench.read("back") == content, "{len} bytes, {flags}");
            }
            bench.ok("restore out inner -i key --no-decompress --no-sync -qf");
            assert_eq!(bench.read("inner"), bench.read("plain"));
        }
    }
}

#[test]
fn stock_age_and_zstd_read_what_we_write_and_we_read_theirs() {
    let (bench, recipient) = bench_with_key();
    for content in [text(5 << 20, 1), noise(3 * SEGMENT, 2), Vec::new()] {
        bench.write("in", &content);
        for armor in ["", "-a"] {
            bench.ok(&format!("process in out.age -r {recipient} {armor} -qf"));
            let Some(ran) = bench.tool("age", &["-d", "-i", "key", "-o", "inner.zst", "out.age"], None) else { return };
            assert!(ran.status.success(), "{}", ran.stderr);
            let ran = bench.tool("zstd", &["-dqf", "inner.zst", "-o", "back"], None).unwrap();
            assert!(ran.status.success() && bench.read("back") == content, "{}", ran.stderr);
            let args = ["-r", &recipient, "-o", "theirs", "in"];
            let args: Vec<&str> = armor.split_whitespace().chain(args).collect();
            let ran = bench.tool("age", &args, None).unwrap();
            assert!(ran.status.success(), "{}", ran.stderr);
            bench.ok("restore theirs back -i key -qf");
            assert!(bench.read("back") == content, "{armor}");
            for name in ["theirs", "inner.zst"] {
                fs::remove_file(bench.path(name)).unwrap();
            }
        }
    }
}

#[test]
fn every_kind_of_key_opens_what_was_encrypted_to_it() {
    let (bench, recipient) = bench_with_key();
    let content = text(200_000, 1);
    bench.write("in", &content);
    let post_quantum = bench.ok("keygen --pq -o pq").stderr;
    let post_quantum = post_quantum.trim().strip_prefix("Public key: ").unwrap();
    bench.write("pq.pub", format!("# a comment\n\n{post_quantum}\n").as_bytes());
    bench.write("passphrase", b"correct horse\n");
    bench.write(
        "both.pub",
        format!("{recipient}\n{}\n", bench.ok("keygen -o other").stderr.trim().strip_prefix("Public key: ").unwrap())
            .as_bytes(),
    );
    let mut cases = vec![
        (format!("-r {recipient}"), "-i key"),
        ("-R pq.pub".to_owned(), "-i pq"),
        ("-R both.pub".to_owned(), "-i other"),
        ("-R both.pub".to_owned(), "-i pq -i key"),
        ("--passphrase-file passphrase".to_owned(), "--passphrase-file passphrase"),
    ];
    for kind in ["ed25519", "rsa"] {
        let made = bench.tool("ssh-keygen", &["-q", "-t", kind, "-N", "", "-f", kind], None);
        if made.is_some_and(|ran| ran.status.success()) {
            cases.push((format!("-R {kind}.pub"), if kind == "rsa" { "-i rsa" } else { "-i ed25519" }));
        }
    }
    for (to, with) in cases {
        bench.ok(&format!("process in out {to} -qf"));
        bench.ok(&format!("restore out back {with} -qf"));
        assert!(bench.read("back") == content, "{to}, {with}");
        bench.ok(&format!("verify out {with} -q --against in"));
        assert_eq!(bench.ok(&format!("cat out {with} --range 100000..+10 -q")).stdout, &content[100_000..100_010]);
    }
}

#[test]
fn post_quantum_and_classic_recipients_do_not_mix_and_a_passphrase_stands_alone() {
    let (bench, recipient) = bench_with_key();
    bench.write("in", b"content");
    bench.write("passphrase", b"x");
    let post_quantum = bench.ok("keygen --pq -o pq").stderr.trim().strip_prefix("Public key: ").unwrap().to_owned();
    for flags in [format!("-r {post_quantum}"), "--passphrase-file passphrase".to_owned()] {
        let said = bench.fails(&format!("process in out -r {recipient} {flags} -q"), 2);
        assert!(said.contains("do not mix"), "{said}");
    }
}

#[test]
fn a_wrong_key_is_exit_5_and_says_what_the_file_has_and_what_was_tried() {
    let (bench, recipient) = bench_with_key();
    bench.write("in", b"content");
    bench.ok("keygen -o other");
    bench.ok(&format!("process in out -r {recipient} -q"));
    let said = bench.fails("restore out back -i other -q", 5);
    assert!(said.contains("no identity matches: the file has X25519, tried were X25519"), "{said}");
    let said = bench.fails("restore out back -q", 5);
    assert!(said.contains("tried were none\nhint: -i FILE"), "{said}");
    bench.write("good", b"right");
    bench.write("bad", b"wrong");
    bench.ok("process in pw --passphrase-file good -q");
    bench.fails("restore pw back --passphrase-file bad -q", 5);
    bench.ok("restore pw back --passphrase-file good -q");
}

/// A pipe can be read once: looking whether there is a passphrase must not use it up.
#[test]
fn a_passphrase_comes_through_a_descriptor_once() {
    let bench = Bench::new();
    bench.write("in", b"content");
    let pipeline = env!("CARGO_BIN_EXE_pipeline");
    for script in [
        format!("{pipeline} process in pw --passphrase-fd 3 -q 3< <(echo secret)"),
        format!("{pipeline} restore pw back --passphrase-fd 3 -q 3< <(echo secret)"),
        format!("AGE_PASSPHRASE_FD=3 {pipeline} verify pw -q 3< <(printf secret)"),
        format!("{pipeline} inspect pw --passphrase-fd 3 3< <(echo secret)"),
        format!("AGE_PASSPHRASE=secret {pipeline} cat pw --range 1..3 > range"),
    ] {
        let ran = bench.tool("bash", &["-c", &script], None).unwrap();
        assert!(ran.status.success(), "{script}: {}", ran.stderr);
    }
    assert_eq!((bench.read("back"), bench.read("range")), (b"content".to_vec(), b"on".to_vec()));
}

#[test]
fn mistakes_with_keys_are_told_with_a_hint_and_without_the_secret() {
    let (bench, recipient) = bench_with_key();
    bench.write("in", b"content");
    bench.write("recipient", recipient.as_bytes());
    fs::set_permissions(bench.path("recipient"), fs::Permissions::from_mode(0o600)).unwrap();
    let secret = String::from_utf8(bench.read("key")).unwrap().lines().last().unwrap().to_owned();
    let said = bench.fails(&format!("process in out -r {secret} -q"), 2);
    assert!(
        said.contains("this is an identity, which is secret") && said.contains("hint: ") && !said.contains(&secret)
    );
    bench.ok(&format!("process in sealed -r {recipient} -q"));
    let said = bench.fails("restore sealed out -i recipient -q", 2);
    assert!(said.contains("this is a recipient, not an identity\nhint: "), "{said}");
    fs::set_permissions(bench.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = bench.ok("verify sealed -i key -q").stderr;
    assert!(said.contains("warning: 'key' can be read by others"), "{said}");
    let mut command = bench.command(["process", "in", "plain", "-q"]);
    assert!(command.env("AGE_PASSPHRASE", "x").status().unwrap().success());
    assert!(bench.read("plain").starts_with(b"\x28\xb5\x2f\xfd"), "the environment does not ask for encryption");
    bench.fails("keygen -o key", 1);
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_sealed_file_is_refused() {
    let (bench, recipient) = bench_with_key();
    let content = text(300, 1);
    bench.write("in", &content);
    bench.ok(&format!("process in out -r {recipient} -q"));
    let sealed = bench.read("out");
    let refuse = |bytes: &[u8], what: &str| {
        let ran = bench.run_with("restore - - -i key -q", bytes);
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
    let (bench, recipient) = bench_with_key();
    let content = noise(9 * SEGMENT + 100, 1);
    bench.write("in", &content);
    bench.ok(&format!("process in out --no-compress -r {recipient} -q"));
    let sealed = bench.read("out");
    let payload = sealed.len() - (content.len() + 10 * 16);
    for (at, index) in [(0, 0), (SEGMENT + 16, 1), (5 * (SEGMENT + 16) + 9, 5), (sealed.len() - payload - 1, 9)] {
        let mut flipped = sealed.clone();
        flipped[payload + at] ^= 1;
        bench.write("bad", &flipped);
        let ran = bench.run("restore bad - -i key -q");
        assert_eq!(ran.status.code(), Some(4));
        assert!(ran.stdout == content[..index * SEGMENT], "segment {index}: {} bytes", ran.stdout.len());
        let offset = index * (SEGMENT + 16);
        assert!(
            ran.stderr.contains(&format!("segment {index} at offset {offset} of the payload: not authentic")),
            "{}",
            ran.stderr
        );
        bench.fails("restore bad back -i key -q", 4);
        bench.fails("verify bad -i key -q", 4);
    }
    for (cut, said) in
        [(5 * (SEGMENT + 16), "segment 5 at offset 327760 of the payload: missing"), (100, "not authentic")]
    {
        bench.write("bad", &sealed[..payload + cut]);
        let said_too = bench.fails("restore bad back -i key -q", 4);
        assert!(said_too.contains(said), "{said_too}");
    }
}

#[test]
fn ten_thousand_ranges_of_a_sealed_file_equal_the_slices_of_the_original() {
    use pipeline::format::age::stream::{PayloadKey, Place, SegmentCipher, TAG_LEN};
    use pipeline::pipeline::plan::ContentRange;
    use pipeline::pipeline::range::{locate, read_table};
    use pipeline::pipeline::sealed::SealedReader;
    use pipeline::pipeline::{find, steps};
    use std::io::{Cursor, Seek, SeekFrom};

    let content = text(3 << 20, 1);
    let bench = Bench::new();
    bench.write("in", &content);
    bench.ok("process in plain --chunk-size 64K -q");
    let key = PayloadKey::new([5; 32]);
    let (cipher, mut sealed) = (SegmentCipher::new(&key), Vec::new());
    let plain = bench.read("plain");
    let segments: Vec<&[u8]> = plain.chunks(SEGMENT).collect();
    for (index, part) in segments.iter().enumerate() {
        let mut segment = [part, &[0; TAG_LEN][..]].concat();
        let place = if index + 1 == segments.len() { Place::Final } else { Place::Inner };
        cipher.seal(index as u64, place, &mut segment);
        sealed.extend(segment);
    }
    let mut reader = SealedReader::new(Cursor::new(sealed), 0, &key).unwrap();
    let table = std::sync::Arc::new(read_table(&mut reader).unwrap());
    let pool = pipeline::pipeline::buffer::BufferPool::new(64 << 20, 16);
    let mut decompressor = pipeline::format::zstd::codec::Decompressor::new().unwrap();
    for pair in noise(16 * 10_000, 3).chunks(16) {
        let start = u64::from_le_bytes(*pair.first_chunk().unwrap()) % (content.len() as u64 - 200);
        let range = start..start + u64::from(pair[8]) % 200;
        let plan = locate(&table, &ContentRange::Within(range.clone()), 27).unwrap();
        reader.seek(SeekFrom::Start(plan.file_range.start)).unwrap();
        let mut frames = vec![0; (plan.file_range.end - plan.file_range.start) as usize];
        reader.read_exact(&mut frames).unwrap();
        let limits = find::Limits { window_log_max: 27, batch_bytes_max: 64 << 20 };
        let mut finder = find::FrameFinder::new(plan.work.start, limits, pool.clone());
        let mut got = Vec::new();
        let mut emit = |_, found| {
            let find::Found::Batch(batch) = found else { panic!("small frames are not streamed") };
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
fn file_keys_and_nonces_are_new_every_time_and_equal_chunks_look_different() {
    let (bench, recipient) = bench_with_key();
    bench.write("in", &vec![b'x'; 4 * SEGMENT]);
    let mut payloads = HashSet::new();
    for _ in 0..100 {
        let sealed = bench.ok(&format!("process in - --no-compress -r {recipient} -q")).stdout;
        let payload = sealed.len() - (4 * (SEGMENT + 16) + 16);
        assert!(payloads.insert(sealed[payload..payload + 16].to_vec()), "a nonce came again");
        assert!(payloads.insert(sealed[payload + 16..payload + 32].to_vec()), "a key stream came again");
        let segments: HashSet<&[u8]> = sealed[payload + 16..].chunks(SEGMENT + 16).collect();
        assert_eq!(segments.len(), 4);
    }
}

#[test]
fn inspect_tells_of_an_age_layer_without_a_key_and_of_everything_with_one() {
    let (bench, recipient) = bench_with_key();
    bench.write("in", &text(300_000, 1));
    bench.ok(&format!("process in out --chunk-size 64K -r {recipient} -q"));
    let found: serde_json::Value = serde_json::from_slice(&bench.ok("inspect out --json").stdout).unwrap();
    assert_eq!(
        (&found["layers"], &found["age"]["stanzas"]),
        (&serde_json::json!(["age"]), &serde_json::json!(["X25519"]))
    );
    assert_eq!(
        (&found["age"]["is_authenticated"], &found["file_bytes"]),
        (&false.into(), &bench.read("out").len().into())
    );
    let with_key: serde_json::Value = serde_json::from_slice(&bench.ok("inspect out -i key --json").stdout).unwrap();
    assert_eq!(with_key["layers"], serde_json::json!(["age", "zstd"]));
    assert_eq!((&with_key["frame_count"], &with_key["content_bytes"]), (&5.into(), &300_000.into()));
    assert_eq!(with_key["age"]["segment_count"], found["age"]["segment_count"]);
    assert_eq!(with_key["age"]["is_authenticated"], true);
}

#[test]
fn rekey_changes_who_opens_it_and_not_a_byte_of_the_payload() {
    let (bench, recipient) = bench_with_key();
    let content = text(500_000, 1);
    bench.write("in", &content);
    let new = bench.ok("keygen --pq -o new").stderr.trim().strip_prefix("Public key: ").unwrap().to_owned();
    for armor in ["", "-a"] {
        bench.ok(&format!("process in old --chunk-size 64K -r {recipient} {armor} -qf"));
        let said = bench.ok(&format!("rekey old rekeyed -i key -r {new} -f")).stderr;
        assert!(said.starts_with("note: the payload's key is the old one"), "{said}");
        bench.fails("restore rekeyed back -i key -q", 5);
        bench.ok("verify rekeyed -i new -q --against in");
    }
    bench.ok(&format!("process in old --chunk-size 64K -r {recipient} -qf"));
    bench.ok(&format!("rekey old rekeyed -i key -r {new} -qf"));
    let (old, rekeyed) = (bench.read("old"), bench.read("rekeyed"));
    let header_end = |file: &[u8]| {
        let mac = file.windows(5).position(|bytes| bytes == b"\n--- ").unwrap() + 1;
        mac + file[mac..].iter().position(|byte| *byte == b'\n').unwrap() + 1
    };
    assert!(old[header_end(&old)..] == rekeyed[header_end(&rekeyed)..]);
    bench.ok(&format!("rekey old --in-place -i key -r {new} -q"));
    bench.ok("verify old -i new -q --against in");
    bench.fails(&format!("rekey old -i new -r {new} -q"), 2);
    bench.fails(&format!("rekey old old -f -i new -r {new} -q"), 1);
    bench.fails("rekey old out -i new -q", 2);
    let said = bench.fails(&format!("rekey old out -i new -q -r {new} -r {recipient}"), 2);
    assert!(said.contains("post-quantum and classic recipients do not mix") && !said.contains("cannot read"), "{said}");
}

#[test]
fn rekey_never_blesses_damage() {
    let (bench, recipient) = bench_with_key();
    bench.write("in", &noise(3 * SEGMENT, 1));
    bench.ok(&format!("process in good --no-compress -r {recipient} -q"));
    let good = bench.read("good");
    for at in [200, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bench.write("bad", &bad);
        for line in ["rekey bad out", "rekey bad --in-place"] {
            bench.fails(&format!("{line} -i key -r {recipient} -q"), 4);
            assert_eq!(bench.read("bad"), bad, "what was there stays as it was");
        }
    }
    bench.write("bad", &good[..good.len() - 1]);
    bench.fails(&format!("rekey bad out -i key -r {recipient} -q"), 4);
}

#[test]
fn a_thousand_headers_have_a_thousand_file_keys_and_nonces() {
    use age::secrecy::ExposeSecret;
    use pipeline::cli::keys::Prompter;
    use pipeline::cli::wrap::seal_for;
    use pipeline::format::age::header::{Header, Parsed};
    use pipeline::format::age::keys::{Identity, Recipient, unwrap};

    let identity = age::x25519::Identity::generate();
    let recipient = [Recipient::parse(&identity.to_public().to_string()).unwrap()];
    let identity = [Identity::parse(identity.to_string().expose_secret()).unwrap()];
    let (mut file_keys, mut nonces) = (HashSet::new(), HashSet::new());
    for _ in 0..1000 {
        let prefix = seal_for(&recipient).unwrap().prefix;
        let Parsed::Whole(header) = Header::parse(&prefix).unwrap() else { panic!("a header is whole") };
        let file_key = unwrap(&header, &identity, &Prompter, 20).unwrap();
        assert!(file_keys.insert(*file_key.expose_secret()), "a file key came again");
        assert!(nonces.insert(prefix[header.len..].to_vec()), "a nonce came again");
    }
}
