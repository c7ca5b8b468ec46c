//! Tests of the fixtures: they equal the output of the generator, and each is read or refused as its README says.

#[path = "../fixtures/generate.rs"]
#[allow(dead_code, reason = "its main is for the example")]
mod generate;
use std::path::Path;

use crate::support::TestDir;
use pipeline::format::zstd::scan::{Edge, FrameScanner};
use pipeline::format::zstd::seek_table::{TableError, TableStatus};
use pipeline::pipeline::supervisor::Supervisor;

#[test]
fn the_files_are_what_the_generator_makes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for (name, bytes) in generate::all() {
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), bytes, "{name}: run `cargo run --example fixtures`");
    }
}

#[test]
fn good_fixtures_are_read() {
    let mut supervisor = Supervisor::new([]).unwrap();
    let long = "z".repeat(100_000);
    for (name, bytes) in generate::all() {
        let content = match name {
            _ if name.starts_with("bad-") || name.starts_with("refused-") => continue,
            "empty-frame.zst" | "skippable-only.zst" => "",
            "rle-block.zst" => &long,
            "no-content-size.zst" => "one, !!! two",
            _ => "hello",
        };
        let (ran, out) = crate::in_memory::restore(&mut supervisor, &bytes);
        let table = ran.unwrap_or_else(|failure| panic!("{name}: {failure}")).summary.table.unwrap();
        assert_eq!(out, content.as_bytes(), "{name}");
        let expected = match name {
            "table-without-checksums.zst" => TableStatus::Valid,
            "table-of-other-frames.zst" => TableStatus::Unusable(TableError::OtherFrames),
            _ => TableStatus::Unusable(TableError::Missing),
        };
        assert_eq!(table, expected, "{name}");
    }
}

#[test]
fn stock_zstd_agrees_on_every_fixture() {
    let dir = TestDir::new();
    for (name, bytes) in generate::all() {
        dir.write(name, &bytes);
        let Some(ran) = dir.tool("zstd", &["-t", "-q", name], None) else { return };
        let is_good = !name.starts_with("bad-") && !name.starts_with("refused-");
        assert_eq!(ran.status.success(), is_good, "{name}: {}", ran.stderr);
    }
}

#[test]
fn bad_fixtures_are_refused_by_the_kind_and_place_of_their_damage() {
    let dir = TestDir::new();
    for (name, bytes) in generate::all() {
        // The exit code, the kind, the frame and its offset, and a number that the message gives.
        let (code, kind, frame, offset, number) = match name {
            "bad-reserved-bit.zst" => (4, "damaged_frame", 0, 0, ""),
            "bad-reserved-block.zst" => (4, "damaged_frame", 0, 0, "block 0"),
            "bad-block-too-large.zst" => (4, "damaged_frame", 0, 0, "1025"),
            "bad-content-size-too-small.zst" => (4, "damaged_frame", 0, 0, ""),
            "bad-content-size-too-large.zst" => (4, "damaged_frame", 0, 0, ""),
            "bad-truncated.zst" => (4, "truncated_frame", 0, 0, "13"),
            "bad-trailing-garbage.zst" => (4, "trailing_garbage", 1, 14, ""),
            "bad-skippable-cut.zst" => (4, "truncated_frame", 1, 14, "24"),
            "refused-dictionary.zst" => (1, "needs_dictionary", 0, 0, "7"),
            "refused-window-2g.zst" => (1, "window_too_large", 0, 0, "2147483648"),
            good => {
                assert!(!good.starts_with("bad-") && !good.starts_with("refused-"), "{good} is not tried");
                continue;
            }
        };
        dir.write(name, &bytes);
        for line in
            ["restore FILE out -q", "restore FILE out -q --engine mutex", "verify FILE -q --foreign", "cat FILE -q"]
        {
            let error = dir.fails_as(&line.replace("FILE", name), code, kind);
            assert_eq!((&error["frame"], &error["offset"]), (&frame.into(), &offset.into()), "{name}: {error}");
            assert!(error["message"].as_str().unwrap().contains(number), "{name}: {error}");
        }
    }
}

#[test]
fn files_cut_at_their_beginning_and_files_of_old_formats_are_named_as_that() {
    let dir = TestDir::new();
    for (bytes, code, kind) in [
        (&b"\x28\xb5\x2f"[..], 4, "truncated_frame"),
        (b"\x28", 4, "truncated_frame"),
        (b"\x50\x2a\x4d", 4, "truncated_frame"),
        (b"age-encryption", 4, "damaged_header"),
        (b"\x27\xb5\x2f\xfd and so on", 1, "unrecognized"),
        (b"(text", 1, "unrecognized"),
    ] {
        dir.write("file", bytes);
        for line in ["restore file out -q", "verify file -q", "cat file -q"] {
            dir.fails_as(line, code, kind);
        }
    }
    dir.write("file", b"\x27\xb5\x2f\xfd and so on");
    assert!(dir.fails("inspect file", 1).contains("0.7"));
}

#[test]
fn any_cutting_of_the_input_gives_the_same_edges() {
    for (name, bytes) in generate::all() {
        let edges_of = |step: usize| {
            let mut scanner = FrameScanner::new(1 << 27);
            let mut edges = Vec::new();
            for mut piece in bytes.chunks(step) {
                loop {
                    match scanner.advance(piece) {
                        Ok((len, Some(edge))) => {
                            edges.push(Ok((edge, scanner.offset())));
                            piece = &piece[len..];
                        }
                        Ok((len, None)) => {
                            assert_eq!(len, piece.len(), "{name}: bytes were left without an edge");
                            break;
                        }
                        Err(error) => {
                            edges.push(Err(error));
                            return edges;
                        }
                    }
                }
            }
            edges.extend(scanner.finish().err().map(Err));
            edges
        };
        let whole = edges_of(bytes.len());
        assert!(!whole.is_empty() || name == "bad-truncated.zst", "{name}");
        for step in 1..bytes.len() {
            assert_eq!(edges_of(step), whole, "{name} in pieces of {step} bytes");
        }
        let frames = whole.iter().filter(|edge| matches!(edge, Ok((Edge::FrameEnd(_), _)))).count();
        assert!(frames <= 1, "{name}");
    }
}
