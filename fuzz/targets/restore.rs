//! Fuzzes whole restores in memory, with arbitrary bytes and with damaged files.
//!
//! Nothing panics or hangs, and memory is bounded. Arbitrary frames decode to the same content as with libzstd alone. A damaged file gives a
//! prefix of its content, and all of it if the restore succeeds. The table reveals moved or missing frames; in an age file, any move is
//! an error.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use pipeline::format::age::stream::SEALED_LEN;
use pipeline::format::detect::{DETECT_LEN, Layer, detect};
use pipeline::format::zstd::seek_table::TableStatus;
use pipeline::pipeline::plan::{Content, ContentRange, Restore};
use pipeline_fuzz::choices::Choices;
use pipeline_fuzz::engine::{Restored, decompress, restore};
use pipeline_fuzz::reference::decode;
use pipeline_fuzz::seekable::{Seekable, table};
use pipeline_fuzz::{content, damage, sealed};

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    match choices.byte() % 8 {
        0..=2 => arbitrary(choices.rest()),
        3 | 4 => damaged_frames(choices),
        5 => moved_frames(choices),
        _ => damaged_age(choices),
    }
});

fn arbitrary(file: &[u8]) {
    let Some(restored) = restore_any(file) else { return };
    if detect(&file[..file.len().min(DETECT_LEN)]) != Layer::Zstd {
        return;
    }
    let reference = decode(file);
    assert!(reference.content.starts_with(&restored.output), "libzstd decodes it to other bytes");
    if restored.ended.is_ok() {
        assert!(reference.is_whole && reference.content.len() == restored.output.len(), "libzstd decodes it otherwise");
    }
}

fn damaged_frames(mut choices: Choices<'_>) {
    let whole = Seekable::choose(&mut choices);
    let mut file = whole.bytes();
    damage::slight(&mut file, 3, &mut choices);
    let Some(restored) = restore_any(&file) else { return };
    assert!(whole.content.starts_with(&restored.output), "other bytes came out");
    if let Ok(report) = restored.ended {
        let is_all = restored.output == whole.content;
        assert!(
            is_all || report.summary.table != Some(TableStatus::Valid),
            "bytes are missing, and the table is valid"
        );
    }
}

fn moved_frames(mut choices: Choices<'_>) {
    let whole = Seekable::choose(&mut choices);
    let mut frames = whole.frames.clone();
    damage::rearrange(&mut frames, choices.byte(), &mut choices);
    let file = [frames.concat(), table(&whole.entries)].concat();
    let Some(restored) = restore_any(&file) else { return };
    let report = restored.ended.expect("each frame is whole");
    let is_valid = report.summary.table == Some(TableStatus::Valid);
    assert_eq!(is_valid, frames == whole.frames, "the table tells what is there");
    assert!(!is_valid || restored.output == whole.content);
}

fn damaged_age(mut choices: Choices<'_>) {
    let kind = choices.byte();
    let (content, inside) = if kind.is_multiple_of(2) {
        let whole = Seekable::choose(&mut choices);
        (whole.content.clone(), whole.bytes())
    } else {
        let plain = content::noise(choices.below(3 * SEALED_LEN), 1);
        (plain.clone(), plain)
    };
    let mut file = sealed::file(&inside);
    if kind & 2 != 0 {
        file = sealed::armored(&file);
    }
    let before = file.clone();
    damage::any(&mut file, SEALED_LEN, &mut choices);
    let Some(restored) = restore_any(&file) else {
        assert!(file != before, "it could not be opened");
        return;
    };
    assert!(content.starts_with(&restored.output), "other bytes came out");
    assert!(restored.ended.is_err() || restored.output == content, "bytes are missing");
    assert!(restored.ended.is_ok() || file != before, "{:?}", restored.ended.err());
}

/// Restores a file as `restore` does; `None` if it is refused before a run starts.
fn restore_any(file: &[u8]) -> Option<Restored> {
    match detect(&file[..file.len().min(DETECT_LEN)]) {
        Layer::Zstd => {
            let work = Restore { open: None, content: decompress(ContentRange::All) };
            Some(restore(work, Box::new(Cursor::new(file.to_vec()))))
        }
        layer @ (Layer::Age | Layer::AgeArmor) => {
            let peeled = sealed::open(file.to_vec(), layer)?;
            let content = match peeled.inner {
                Layer::Zstd => decompress(ContentRange::All),
                _ => Content::Plain(ContentRange::All),
            };
            Some(restore(Restore { open: Some(peeled.key), content }, peeled.payload))
        }
        Layer::Empty | Layer::Other => None,
    }
}
