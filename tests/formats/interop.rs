//! Tests with stock tools: they read all files that the pipeline writes, and the pipeline reads all files that they
//! write.

use std::io::Write;

use crate::support::{TestDir, noise, text};

fn assert_restores(dir: &TestDir, file: &str, content: &[u8]) -> serde_json::Value {
    let report = dir.report(&format!("restore {file} back --no-sync -f"));
    assert!(dir.read("back") == content, "{file} came back as something else");
    for workers in [1, 5] {
        dir.ok(&format!("restore {file} back --no-sync -qf -w {workers} --channel-depth 1"));
        assert!(dir.read("back") == content, "{file} with {workers} workers came back as something else");
    }
    let piped = dir.run_with("restore - -q", &dir.read(file));
    assert!(piped.status.success() && piped.stdout == content, "{file} through a pipe: {}", piped.stderr);
    report
}

fn mixed() -> Vec<u8> {
    [text(3 << 20, 1), vec![0; 2 << 20], noise(1 << 20, 2), text(500, 3)].concat()
}

#[test]
fn stock_zstd_reads_all_we_write() {
    let dir = TestDir::new();
    for (len, chunk) in
        [(0, "64K"), (1, "64K"), (65535, "64K"), (65536, "64K"), (65537, "64K"), (7 << 20, "1M"), (7 << 20, "4M")]
    {
        let content = text(len, 9);
        dir.write("in", &content);
        dir.ok(&format!("process in out.zst --chunk-size {chunk} --no-sync -qf"));
        for args in [&["-t", "out.zst"][..], &["-l", "out.zst"], &["-dqf", "out.zst", "-o", "back"]] {
            let Some(ran) = dir.tool("zstd", args, None) else { return };
            assert!(ran.status.success(), "zstd {args:?} on {len} bytes: {}", ran.stderr);
        }
        assert!(dir.read("back") == content, "{len} bytes");
    }
}

#[test]
fn we_read_what_stock_zstd_writes() {
    let dir = TestDir::new();
    let content = mixed();
    dir.write("in", &content);
    for args in [
        &["-q", "-1"][..],
        &["-q", "-19", "-T1"],
        &["-q", "-T4", "-B1M"],
        &["-q", "--no-check"],
        &["-q", "--single-thread"],
        &["-q", "--long=27"],
        &["-q", "--fast=5"],
    ] {
        let args = [args, &["-f", "in", "-o", "out.zst"]].concat();
        let Some(ran) = dir.tool("zstd", &args, None) else { return };
        assert!(ran.status.success(), "{}", ran.stderr);
        let report = assert_restores(&dir, "out.zst", &content);
        assert_eq!(report["frame_count"], 1, "{args:?}");
    }
    let piped = dir.tool("zstd", &["-q", "-c"], Some(&content)).unwrap();
    dir.write("piped.zst", &piped.stdout);
    assert_restores(&dir, "piped.zst", &content);
}

#[test]
fn we_read_what_pzstd_writes_on_all_workers() {
    let dir = TestDir::new();
    let content = [mixed(), mixed(), mixed(), mixed()].concat();
    dir.write("in", &content);
    let Some(ran) = dir.tool("pzstd", &["-q", "-f", "-p", "4", "-1", "in", "-o", "out.zst"], None) else { return };
    assert!(ran.status.success(), "{}", ran.stderr);
    let report = assert_restores(&dir, "out.zst", &content);
    assert!(report["frame_count"].as_u64().unwrap() > 4, "{report}");
    assert_eq!(report["seek_table"], "no seek table");
}

#[test]
fn a_frame_too_large_for_the_workers_is_decoded_as_a_stream_in_bounded_memory() {
    let dir = TestDir::new();
    let content = text(200 << 20, 4);
    let Some(ran) = dir.tool("zstd", &["-q", "-1", "-c", "-"], Some(&content)) else { return };
    dir.write("out.zst", &ran.stdout);
    let report = dir.report("restore out.zst back --no-sync -f -q -w 2");
    assert!(dir.read("back") == content);
    assert_eq!(report["frame_count"], 1);
    let peak = report["peak_memory_bytes"].as_u64().unwrap();
    assert!(peak < 100 << 20, "{} MiB for a frame of 200 MiB", peak >> 20);
}

#[test]
fn we_read_what_an_independent_seekable_writer_writes_and_its_reader_reads_ours() {
    let dir = TestDir::new();
    let content = mixed();
    let mut theirs = Vec::new();
    let mut encoder = zeekstd::EncodeOptions::new()
        .checksum_flag(true)
        .frame_size_policy(zeekstd::FrameSizePolicy::Uncompressed(100_000))
        .into_encoder(&mut theirs)
        .unwrap();
    encoder.write_all(&content).unwrap();
    encoder.finish().unwrap();
    dir.write("theirs.zst", &theirs);
    let report = assert_restores(&dir, "theirs.zst", &content);
    assert_eq!(report["seek_table"], "valid");
    assert!(report["frame_count"].as_u64().unwrap() > 60);
    dir.ok("verify theirs.zst -q");
    let ran = dir.ok("cat theirs.zst --range 3000000..+100000");
    assert_eq!(ran.stdout, &content[3_000_000..3_100_000]);

    dir.write("in", &content);
    dir.ok("process in ours.zst --chunk-size 1M --no-sync -q");
    let ours = std::fs::File::open(dir.path("ours.zst")).unwrap();
    let mut decoder = zeekstd::Decoder::new(ours).unwrap();
    let mut back = Vec::new();
    std::io::copy(&mut decoder, &mut back).unwrap();
    assert!(back == content);
}

#[test]
fn frames_tables_and_skippable_frames_may_follow_each_other_in_any_order() {
    let dir = TestDir::new();
    let (a, b) = (text(200_000, 1), noise(70_000, 2));
    let compress = |content: &[u8]| dir.run_with("process - -q --chunk-size 64K", content).stdout;
    let (ours_a, ours_b) = (compress(&a), compress(&b));
    let skippable = |nibble: u8, len: usize| {
        let mut frame = vec![0x50 | nibble, 0x2A, 0x4D, 0x18];
        frame.extend_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
        frame.extend(noise(len, 3));
        frame
    };
    let content = [&a[..], &b].concat();
    for (name, parts, is_proven) in [
        ("one behind the other", vec![ours_a.clone(), ours_b.clone()], true),
        ("skippable first", vec![skippable(0, 0), ours_a.clone(), ours_b.clone()], false),
        ("skippable between", vec![ours_a.clone(), skippable(14, 9), ours_b.clone()], false),
        ("skippable behind", vec![ours_a.clone(), ours_b.clone(), skippable(5, 300_000)], false),
        ("empty skippable at the end", vec![ours_a.clone(), ours_b.clone(), skippable(15, 0)], false),
    ] {
        dir.write("out.zst", &parts.concat());
        let report = assert_restores(&dir, "out.zst", &content);
        assert_eq!(report["seek_table"] == "valid", is_proven, "{name}");
    }
}
