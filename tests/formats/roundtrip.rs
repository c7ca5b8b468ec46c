//! Tests of round trips: restore gives the input back, for the boundary lengths, both engines, files and pipes, and any
//! number of workers.

use crate::support::{TestDir, noise, text};

const CHUNK: usize = 64 * 1024;

/// Lengths around the edges of a chunk of `n` bytes.
fn edges(n: usize) -> [usize; 7] {
    [0, 1, n - 1, n, n + 1, 2 * n, 2 * n + 500]
}

#[test]
fn every_length_comes_back_at_every_width_from_both_engines() {
    let dir = TestDir::new();
    for len in edges(CHUNK) {
        let content = text(len, len as u64);
        dir.write("in", &content);
        let mut first = None;
        for workers in [1, 2, 5] {
            for depth in [1, 4] {
                for engine in ["channels", "mutex"] {
                    let flags = format!("--workers {workers} --channel-depth {depth} --engine {engine} --no-sync -qf");
                    dir.ok(&format!("process in out --chunk-size 64K {flags}"));
                    let compressed = dir.read("out");
                    let first = first.get_or_insert_with(|| compressed.clone());
                    assert_eq!(
                        &compressed, first,
                        "{len} bytes, {flags}: other bytes than with another width or engine"
                    );
                    dir.ok(&format!("restore out back {flags}"));
                    assert_eq!(dir.read("back"), content, "{len} bytes, {flags}");
                }
            }
        }
    }
}

#[test]
fn every_length_comes_back_through_pipes() {
    let dir = TestDir::new();
    for len in edges(CHUNK) {
        let content = text(len, 7);
        let compressed = dir.run_with("process - --chunk-size 64K -w 2 -q", &content);
        assert_eq!(compressed.status.code(), Some(0), "{}", compressed.stderr);
        dir.write("in", &content);
        dir.ok("process in out --chunk-size 64K --no-sync -qf");
        assert_eq!(compressed.stdout, dir.read("out"), "a pipe gives the bytes that a file gives");
        let restored = dir.run_with("restore - -q", &compressed.stdout);
        assert_eq!((restored.status.code(), restored.stdout), (Some(0), content), "{len} bytes");
    }
}

#[test]
fn the_default_chunk_has_edges_too() {
    let dir = TestDir::new();
    for len in [(4 << 20) - 1, 4 << 20, (4 << 20) + 1] {
        let content = noise(len, 3);
        dir.write("in", &content);
        let report = dir.report("process in out --no-sync -f");
        assert_eq!(report["frame_count"], if len > 4 << 20 { 2 } else { 1 });
        dir.ok("restore out back --no-sync -qf");
        assert!(dir.read("back") == content, "{len} bytes");
    }
}

#[test]
fn levels_and_chunks_of_all_sizes_come_back() {
    let dir = TestDir::new();
    let content = text(9 << 20, 5);
    dir.write("in", &content);
    for flags in ["-L -5", "-L 1", "-L 9", "-L 19 --chunk-size 1M", "-L 22 --chunk-size 64M", "--chunk-size 64K"] {
        dir.ok(&format!("process in out {flags} --no-sync -qf"));
        dir.ok("restore out back --no-sync -qf");
        assert!(dir.read("back") == content, "{flags}");
    }
}

#[test]
fn windows_stay_within_eight_mebibytes_at_the_highest_level() {
    let dir = TestDir::new();
    dir.write("in", &noise(9 << 20, 5));
    for level in [19, 20, 22] {
        dir.ok(&format!("process in out -L {level} --chunk-size 64M --no-sync -qf"));
        let found: serde_json::Value = serde_json::from_slice(&dir.ok("inspect out --json").stdout).unwrap();
        assert!(found["window_bytes_max"].as_u64().unwrap() <= 8 << 20, "level {level}: {found}");
    }
}

#[test]
fn zeros_and_noise_and_tiny_frames_pass_at_depth_one() {
    let dir = TestDir::new();
    for (name, content) in [("zeros", vec![0; 20 << 20]), ("noise", noise(5 << 20, 1))] {
        dir.write(name, &content);
        dir.ok(&format!("process {name} out --chunk-size 64K --channel-depth 1 --no-sync -qf"));
        dir.ok("restore out back --channel-depth 1 --no-sync -qf");
        assert!(dir.read("back") == content, "{name}");
    }
    // 20,000 frames of 13 bytes each: in turn an empty frame and a frame of one byte.
    let frame = |content: &[u8]| dir.run_with("process - -q", content).stdout;
    let (one, none) = (frame(b"x"), frame(b""));
    let tiny = [&one[..one.len() - 29], &none[..none.len() - 29]].concat().repeat(10_000);
    dir.write("tiny", &tiny);
    let report = dir.report("restore tiny back --channel-depth 1 --no-sync -f");
    assert_eq!(report["frame_count"], 20_000);
    assert_eq!(dir.read("back"), vec![b'x'; 10_000]);
}

/// Contents that could be taken for a layer, by name.
fn contents_like_layers(dir: &TestDir) -> Vec<(&'static str, Vec<u8>)> {
    let fixture = |name: &str| std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    dir.write("plain", &text(150_000, 7));
    dir.ok("process plain seekable -q --chunk-size 64K");
    dir.ok("process plain sealed -q -R to");
    dir.ok("process plain armored -q -R to --armor");
    let seekable = dir.read("seekable");
    let table = seekable[seekable.len() - 8 - 17 - 3 * 12..].to_vec();
    vec![
        ("stock zstd", zstd::encode_all(&text(200_000, 8)[..], 3).unwrap()),
        ("cut zstd", seekable[..seekable.len() / 2].to_vec()),
        ("a seek table alone", table),
        ("skippable frame first", fixture("skippable-first.zst")),
        ("skippable frames only", fixture("skippable-only.zst")),
        ("the last skippable magic number", b"\x5f\x2a\x4d\x18".to_vec()),
        ("a magic number and noise", [b"\x28\xb5\x2f\xfd".to_vec(), noise(100_000, 9)].concat()),
        ("three bytes of a magic number", b"\x28\xb5\x2f".to_vec()),
        ("seekable", seekable),
        ("age", dir.read("sealed")),
        ("armor", dir.read("armored")),
        ("the first line of age", b"age-encryption.org/v1\n".to_vec()),
        ("nothing", Vec::new()),
    ]
}

/// With `--no-compress` too, where the content of an age file would be taken for a layer of it.
#[test]
fn whatever_an_input_looks_like_restore_gives_it_back() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("to", recipient.as_bytes());
    for (what, content) in contents_like_layers(&dir) {
        dir.write("in", &content);
        for flags in
            ["", "-R to", "-R to --no-compress", "-R to --no-compress --armor", "-R to --no-compress --engine mutex"]
        {
            dir.ok(&format!("process in out -f -q --verify {flags}"));
            dir.ok("restore out back -f -q -i key");
            assert!(dir.read("back") == content, "{what}: {flags}");
            let piped = dir.run_with(&format!("process - - -q {flags}"), &content).stdout;
            let back = dir.run_with("restore - - -q -i key", &piped);
            assert!(back.status.success() && back.stdout == content, "{what}, piped: {flags}: {back}");
        }
    }
}

#[test]
fn what_begins_like_zstd_gets_a_layer_that_its_name_tells_and_stock_tools_read() {
    let (dir, recipient) = TestDir::with_key();
    dir.write("to", recipient.as_bytes());
    for (name, content, out) in [
        ("stock.zst", zstd::encode_all(&b"content"[..], 3).unwrap(), "stock.zst.zst.age"),
        ("notes", b"plain text".to_vec(), "notes.age"),
        ("named.age", b"no age file".to_vec(), "named.age.age"),
    ] {
        dir.write(name, &content);
        let told = dir.ok(&format!("process {name} --no-compress -R to --stats none")).stderr;
        assert_eq!(told.lines().count(), usize::from(out.contains("zst")), "{told}");
        let Some(opened) = dir.tool("age", &["-d", "-i", "key", out], None) else { return };
        let opened = if out.contains("zst") { zstd::decode_all(&opened.stdout[..]).unwrap() } else { opened.stdout };
        assert!(opened == content, "{name}");
        std::fs::remove_file(dir.path(name)).unwrap();
        dir.ok(&format!("restore {out} -q -i key"));
        assert!(dir.read(name) == content, "{name}");
        dir.write(&format!("tree/{name}"), &content);
    }
    dir.ok("process tree copies --no-compress -R to -q");
    assert_eq!(crate::support::tree::finished(&dir.path("copies")).len(), 3);
    assert!(dir.path("copies/stock.zst.zst.age").exists() && dir.path("copies/notes.age").exists());
    let again = dir.batch_report("process tree copies --no-compress -R to", 0).0;
    assert_eq!(again["batch"]["unchanged_count"], 3, "{again}");
    dir.ok("restore copies back -q -i key");
    crate::support::tree::assert_same(&dir.path("tree"), &dir.path("back"), "restored");
}
