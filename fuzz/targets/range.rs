//! A fuzz target for ranges of seekable files, bare and sealed, with wrong tables or damaged bytes.
//!
//! The output is the requested slice, or a prefix of it and an error. Without a usable table, moved frames and a cut
//! between frames appear as a missing table; all other checks still apply.

#![no_main]

use std::io::{Cursor, Read, Seek, SeekFrom};

use libfuzzer_sys::fuzz_target;
use pipeline::format::age::stream::SEALED_LEN;
use pipeline::format::zstd::seek_table::{Entry, TableStatus};
use pipeline::pipeline::plan::{Content, ContentRange, Restore};
use pipeline::pipeline::range::{check_headers_before, locate};
use pipeline::pipeline::sealed::SealedReader;
use pipeline::pipeline::table::{RangeError, Reopen, read_table};
use pipeline_fuzz::choices::Choices;
use pipeline_fuzz::engine::{Restored, WINDOW_LOG_MAX, decompress, restore};
use pipeline_fuzz::seekable::{Seekable, table};
use pipeline_fuzz::{damage, sealed};

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    let kind = choices.byte();
    let whole = Seekable::choose(&mut choices);
    let range = choose_range(&mut choices, whole.content.len());
    let (restored, is_damaged) = match kind % 4 {
        0 => {
            let mut entries = whole.entries.clone();
            (0..choices.byte() % 4).for_each(|_| lie(&mut entries, &mut choices));
            let file = [whole.frames.concat(), table(&entries)].concat();
            (read_bare(&file, &range, false), entries != whole.entries)
        }
        1 => {
            let mut file = whole.bytes();
            // Only one change, since a header and a table with the same wrong value agree.
            damage::slight(&mut file, 1, &mut choices);
            (read_bare(&file, &range, false), file != whole.bytes())
        }
        2 => {
            let mut frames = whole.frames.clone();
            damage::rearrange(&mut frames, choices.byte(), &mut choices);
            let file = [frames.concat(), table(&whole.entries)].concat();
            (read_bare(&file, &range, true), frames != whole.frames)
        }
        _ => {
            let payload = sealed::payload(&whole.bytes());
            let mut damaged = payload.clone();
            damage::any(&mut damaged, SEALED_LEN, &mut choices);
            let is_damaged = damaged != payload;
            (read_sealed(damaged, &range), is_damaged)
        }
    };
    check(&whole.content, &range, restored, is_damaged);
});

/// Chooses a range that begins and ends in the content, at its edges or after it.
fn choose_range(choices: &mut Choices<'_>, content_len: usize) -> ContentRange {
    let kind = choices.byte();
    let mut place = || choices.below(content_len + 3) as u64;
    let (one, other) = (place(), place());
    match kind % 4 {
        0 => ContentRange::All,
        1 => ContentRange::From(one),
        2 => ContentRange::Within(one.min(other)..u64::MAX - one),
        _ => ContentRange::Within(one.min(other)..one.max(other)),
    }
}

/// Changes the entries of a table so that its lengths may still add up.
fn lie(entries: &mut Vec<Entry>, choices: &mut Choices<'_>) {
    let (kind, at, by) = (choices.byte(), choices.below(entries.len()), u32::from(choices.byte()));
    let Some(next) = (at + 1 < entries.len()).then_some(at + 1) else { return };
    match kind % 6 {
        0 => {
            entries[at].compressed_len = entries[at].compressed_len.wrapping_add(by);
            entries[next].compressed_len = entries[next].compressed_len.saturating_sub(by);
        }
        1 => {
            entries[at].content_len = entries[at].content_len.wrapping_add(by);
            entries[next].content_len = entries[next].content_len.saturating_sub(by);
        }
        2 => entries[at].content_len = choices.u32(),
        3 => entries[at].checksum ^= by,
        4 => {
            let merged = entries.remove(at);
            let Entry { compressed_len, content_len, .. } = &mut entries[at];
            *compressed_len = compressed_len.wrapping_add(merged.compressed_len);
            *content_len = content_len.wrapping_add(if by.is_multiple_of(2) { 0 } else { merged.content_len });
        }
        _ => damage::rearrange(entries, kind / 6, choices),
    }
}

/// Reads a bare file as `cat` does. `None` if that fails before the run, or if no check applies.
fn read_bare(file: &[u8], range: &ContentRange, has_moved_frames: bool) -> Option<Restored> {
    let mut cursor = Cursor::new(file.to_vec());
    let planned = read_table(&mut cursor).and_then(|table| {
        let again = cursor.clone();
        let reopen = Reopen::new(move || Ok(again.clone()));
        let Ok(plan) = locate(&mut cursor, &table, range, WINDOW_LOG_MAX, reopen) else { return Ok(None) };
        check_headers_before(&mut cursor, &table, plan.file_range.start, || false)?;
        Ok(Some(plan))
    });
    let (file_range, content) = match planned {
        Ok(plan) => plan.map(|plan| (plan.file_range, Content::Frames(plan.work)))?,
        // A run that decodes from the start does not detect moved frames.
        Err(RangeError::NoTable(_)) if has_moved_frames => return None,
        Err(RangeError::NoTable(_)) => (0..file.len() as u64, decompress(range.clone())),
        Err(_) => return None,
    };
    cursor.seek(SeekFrom::Start(file_range.start)).expect("any place can be sought");
    let input = cursor.take(file_range.end - file_range.start);
    Some(restore(Restore { open: None, content }, Box::new(input)))
}

/// Reads a sealed file as `cat` does: its table is authentic.
fn read_sealed(payload: Vec<u8>, range: &ContentRange) -> Option<Restored> {
    let open = move || SealedReader::new(Cursor::new(payload.clone()), 0, &sealed::key());
    let mut sealed = open().ok()?;
    let table = read_table(&mut sealed).ok()?;
    let plan = locate(&mut sealed, &table, range, WINDOW_LOG_MAX, Reopen::new(open)).ok()?;
    sealed.seek(SeekFrom::Start(plan.file_range.start)).expect("any place can be sought");
    let input = sealed.take(plan.file_range.end - plan.file_range.start);
    Some(restore(Restore { open: None, content: Content::Frames(plan.work) }, Box::new(input)))
}

fn check(content: &[u8], range: &ContentRange, restored: Option<Restored>, is_damaged: bool) {
    let (start, end) = match range {
        ContentRange::All => (0, content.len() as u64),
        ContentRange::From(start) => (*start, (*start).max(content.len() as u64)),
        ContentRange::Within(range) => (range.start, range.end),
    };
    let is_there = end <= content.len() as u64;
    let within = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(content.len());
    let slice = &content[within(start)..within(end)];
    let Some(Restored { output, ended }) = restored else {
        assert!(is_damaged || !is_there, "an undamaged file was refused");
        return;
    };
    assert!(slice.starts_with(&output), "other bytes came out");
    if let Ok(report) = &ended {
        // An unusable table is reported; then only a range with an end detects missing content.
        let is_told = matches!(report.summary.table, Some(TableStatus::Unusable(_)));
        let is_open = !matches!(range, ContentRange::Within(_));
        // An empty range reads nothing, and trusts the content length in the table.
        let is_right = output == slice && (is_there || start == end);
        assert!(is_right || (is_told && is_open), "bytes are missing");
    }
    assert!(ended.is_ok() || is_damaged || !is_there, "{:?}", ended.err());
}
