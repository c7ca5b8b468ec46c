//! Lines of a tree's journal, with the checksums they have to have.

use pipeline::store::digest::Digest;

/// What the first line says.
pub const HEAD: &str = r#"{"pipeline_journal":1,"id":"0123456789abcdef"}"#;

/// A line that says `text`, which holds no LF.
pub fn line(text: &[u8]) -> Vec<u8> {
    let digest = Digest::of(text, || true).expect("bytes in memory");
    [format!("{:016x} ", digest.hash).as_bytes(), text, b"\n"].concat()
}

/// What a record of an output says.
pub fn record(place: &str, input: &str) -> String {
    let output = r#""output":{"device":1,"inode":2,"bytes":3,"mtime_ns":4},"hash":"5""#;
    let settings = r#""settings":{"form":"6","recipients":"7"}"#;
    format!(r#"{{{place},{output},{settings}{input}}}"#)
}
