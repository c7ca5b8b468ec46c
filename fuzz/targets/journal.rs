//! A fuzz target for journals of trees from anybody: arbitrary bytes, and arbitrary lines with the right checksums.
//!
//! Every recorded place is below the tree. A partial line at the end adds no record and removes none. A damaged line is
//! counted, and the lines next to it keep their meaning.

#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use pipeline::batch::journal::{History, JournalError, Record};
use pipeline_fuzz::choices::Choices;
use pipeline_fuzz::journal::{HEADS, line, records};

/// The place in the added lines.
const PLACE: &str = "a/place of its own";

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::new(input);
    let (kind, cut_len) = (choices.byte(), choices.byte());
    let bytes = match HEADS.get(usize::from(kind % 3)) {
        None => choices.rest().to_vec(),
        Some(head) => {
            [head.as_bytes()].into_iter().chain(choices.rest().split(|byte| *byte == b'\n')).flat_map(line).collect()
        }
    };
    let known = match History::parse(&bytes) {
        Ok(known) => known,
        Err(JournalError::Unknown { .. } | JournalError::Newer { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    for place in known.places() {
        assert!(place.components().all(|component| matches!(component, Component::Normal(_))), "{place:?}");
        let records = known.records(place);
        assert!(!records.is_empty() && records.iter().all(|record| record.place == place));
        assert!(records.iter().all(|record| known.record(place, &record.output).is_some()));
    }
    // The bytes after the last line end are a partial line, as a crash leaves it.
    let whole_len = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let whole = &bytes[..whole_len];
    assert_eq!(all(&History::parse(whole).expect("it was one with less")), all(&known));
    if whole.is_empty() {
        return;
    }
    // A journal reads only lines of its own version.
    let more = records(&format!(r#""out":"{PLACE}""#), "").map(|record| line(record.as_bytes()));
    let cut = &more[usize::from(kind % 2)][..usize::from(cut_len) % more[0].len().min(more[1].len())];
    assert_eq!(all(&History::parse(&[whole, cut].concat()).expect("a line was cut off")), all(&known));
    let damaged = [whole, b"x\n", &more[0], &more[1]].concat();
    let damaged = History::parse(&damaged).expect("a line is damaged");
    assert_eq!(damaged.damaged_count, known.damaged_count + 1);
    assert!(!damaged.records(Path::new(PLACE)).is_empty());
});

/// All records, in order.
fn all(known: &History) -> Vec<&Record> {
    let mut places: Vec<&Path> = known.places().collect();
    places.sort_unstable();
    places.into_iter().flat_map(|place| known.records(place)).collect()
}
