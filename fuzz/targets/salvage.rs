//! Fuzzes `restore --salvage` in memory with arbitrary bytes, and with damaged seekable files and age payloads.
//!
//! Nothing panics or hangs, and the output is bounded by what the input could hold. A stream that libzstd decodes is saved with the same
//! content. A damaged file gives whole frames in order, or segments at their place, and reported zeros; never other bytes.

#![no_main]

use std::io::{Cursor, Write};
use std::ops::Range;

use libfuzzer_sys::fuzz_target;
use pipeline::format::age::stream::{SEALED_LEN, SEGMENT_LEN};
use pipeline::format::zstd::scan::FrameScanner;
use pipeline::pipeline::salvage::frames::FrameSaver;
use pipeline::pipeline::salvage::segments::{SegmentReader, save_plain};
use pipeline::pipeline::salvage::{Loss, Rescue};
use pipeline_fuzz::choices::Choices;
use pipeline_fuzz::reference::decode;
use pipeline_fuzz::seekable::Seekable;
use pipeline_fuzz::{content, damage, sealed};

/// The most output that is checked; a decompression bomb may hold more.
const OUTPUT_LEN_MAX: usize = 16 << 20;

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    match choices.byte() % 4 {
        0 => arbitrary(choices.rest()),
        1 => damaged_payload(choices),
        _ => damaged_frames(choices),
    }
});

/// A stream that libzstd decodes and the scanner accepts is saved with the same content; its table may be wrong.
fn arbitrary(stream: &[u8]) {
    let Some(saved) = save_frames(stream) else { return };
    let reference = decode(stream);
    if reference.is_whole && is_walked(stream) {
        assert!(saved.filled.is_empty() && saved.bytes == reference.content, "libzstd decodes it to other bytes");
    }
}

fn is_walked(mut stream: &[u8]) -> bool {
    let mut scanner = FrameScanner::new(u64::MAX);
    loop {
        match scanner.advance(stream) {
            Ok((len, Some(_))) => stream = &stream[len..],
            Ok((_, None)) => return scanner.finish().is_ok(),
            Err(_) => return false,
        }
    }
}

/// The output, and the ranges of it that are zeros for lost content.
#[derive(Default)]
struct Saved {
    bytes: Vec<u8>,
    filled: Vec<Range<u64>>,
}

/// An output that takes at most [`OUTPUT_LEN_MAX`] bytes.
struct Bounded<'a>(&'a mut Vec<u8>);

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_LEN_MAX {
            return Err(std::io::Error::other("more than is looked at"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn save_frames(file: &[u8]) -> Option<Saved> {
    let mut stream = Cursor::new(file);
    let mut saver = FrameSaver::new(&mut stream, 20).ok()?;
    rescued(|rescue| saver.save(rescue).is_ok())
}

fn rescued(save: impl FnOnce(&mut Rescue<'_>) -> bool) -> Option<Saved> {
    let mut saved = Saved::default();
    let (mut bytes, mut filled) = (Vec::new(), Vec::new());
    let mut output = Bounded(&mut bytes);
    let mut on_loss = |loss: &Loss| {
        if let Loss::Filled { content, .. } = loss {
            filled.push(content.clone());
        }
    };
    let mut rescue = Rescue::new(&mut output, &mut on_loss, &|| false);
    let is_saved = save(&mut rescue);
    let salvaged = rescue.finish().ok().filter(|_| is_saved)?;
    assert_eq!(salvaged.written_bytes, bytes.len() as u64);
    (saved.bytes, saved.filled) = (bytes, filled);
    Some(saved)
}

fn damaged_frames(mut choices: Choices<'_>) {
    let whole = Seekable::choose(&mut choices);
    let mut file = whole.bytes();
    damage::slight(&mut file, 3, &mut choices);
    let Some(saved) = save_frames(&file) else { return };
    let mut rest = Vec::new();
    let mut at = 0;
    for range in &saved.filled {
        let (start, end) = (range.start as usize, range.end as usize);
        rest.extend_from_slice(&saved.bytes[at..start]);
        assert!(saved.bytes[start..end].iter().all(|byte| *byte == 0), "what is lost is zeros");
        at = end;
    }
    rest.extend_from_slice(&saved.bytes[at..]);
    let chunks = chunks_of(&whole);
    let is_some_of_them = (0..1u32 << chunks.len()).any(|chosen| {
        let kept = chunks.iter().enumerate().filter(|(index, _)| chosen & (1 << index) != 0);
        kept.flat_map(|(_, chunk)| chunk.iter()).eq(rest.iter())
    });
    assert!(is_some_of_them, "bytes came out that no frames hold");
}

fn chunks_of(whole: &Seekable) -> Vec<&[u8]> {
    let mut rest = &whole.content[..];
    let cut = |entry: &pipeline::format::zstd::seek_table::Entry| {
        let (chunk, behind) = rest.split_at(entry.content_len as usize);
        rest = behind;
        chunk
    };
    whole.entries.iter().map(cut).collect()
}

fn damaged_payload(mut choices: Choices<'_>) {
    let content = content::noise(choices.below(4 * SEGMENT_LEN), 1);
    let mut payload = sealed::payload(&content);
    damage::any(&mut payload, SEALED_LEN, &mut choices);
    let Ok(mut reader) = SegmentReader::new(Cursor::new(payload), 0, &sealed::key()) else { return };
    let Some(saved) = rescued(|rescue| save_plain(&mut reader, rescue).is_ok()) else { return };
    let mut expected = content;
    expected.resize(saved.bytes.len().max(expected.len()), 0);
    expected.truncate(saved.bytes.len());
    for range in saved.filled {
        expected[range.start as usize..range.end as usize].fill(0);
    }
    assert!(saved.bytes == expected, "a segment came out that is not in its place");
}
