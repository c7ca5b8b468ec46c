//! Lines of a journal, with valid checksums.

use pipeline::store::digest::Digest;

/// The text of the first line in each version of the journal.
pub const HEADS: [&str; 2] =
    [r#"{"pipeline_journal":1,"id":"0123456789abcdef"}"#, r#"{"pipeline_journal":2,"id":"0123456789abcdef"}"#];

/// The line of `text`, which must hold no LF, with its checksum.
pub fn line(text: &[u8]) -> Vec<u8> {
    let digest = Digest::of(text, || true).expect("bytes in memory");
    [format!("{:016x} ", digest.hash).as_bytes(), text, b"\n"].concat()
}

/// The record of an output, in each version of the journal.
pub fn records(place: &str, input: &str) -> [String; 2] {
    let output = r#""output":{"device":1,"inode":2,"bytes":3,"mtime_ns":4},"hash":"5""#;
    let specs = [
        r#""settings":{"form":"6","recipients":"7"}"#,
        r#""made":{"processed":{"compress":{"chunk_bytes":65536,"level":3},"recipients":"7"}}"#,
    ];
    specs.map(|spec| format!(r#"{{{place},{output},{spec}{input}}}"#))
}
