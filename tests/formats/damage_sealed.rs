//! Tests of changed sealed files: a flipped bit, a cut, and moved segments and frames are refused. The output before
//! the damage is always a prefix of the content.

use std::io::Cursor;

use crate::in_memory::{decompress, run};
use crate::support::{noise, text};
use pipeline::format::age::keys::{Identity, Recipient, unwrap};
use pipeline::format::age::stream::SEALED_LEN;
use pipeline::format::detect::{Layer, detect};
use pipeline::format::zstd::codec::Level;
use pipeline::pipeline::age_header::{age_failure, peel};
use pipeline::pipeline::plan::{Compress, Content, ContentRange, Process, Restore, Work};
use pipeline::pipeline::supervisor::Supervisor;
use pipeline::store::prompt::Prompter;
use pipeline::store::sys::WakeUp;
use pipeline::task::wrap::{ArmorWriter, seal_for};

struct TestDir {
    supervisor: Supervisor,
    identity: age::x25519::Identity,
    prompter: Prompter,
}

impl TestDir {
    fn new() -> TestDir {
        let supervisor = Supervisor::new([]).unwrap();
        let prompter = Prompter::new(WakeUp::new().unwrap(), |_| ());
        TestDir { supervisor, identity: age::x25519::Identity::generate(), prompter }
    }

    /// A sealed file, and the offset of its first segment.
    fn seal(&mut self, content: &[u8], compress: bool) -> (Vec<u8>, usize) {
        let recipient = Recipient::parse(&self.identity.to_public().to_string()).unwrap();
        let seal = seal_for(&[recipient], &self.prompter).unwrap();
        let prefix_len = seal.prefix.len();
        let compress = compress.then_some(Compress { chunk_len: 64 * 1024, level: Level::DEFAULT });
        let work = Work::Process(Process { compress, seal: Some(seal) });
        let (ran, out) = run(&mut self.supervisor, work, Box::new(Cursor::new(content.to_vec())));
        ran.unwrap();
        (out, prefix_len)
    }

    /// Whether restore of `bytes` succeeds, and its output.
    fn restore(&mut self, bytes: &[u8]) -> (bool, Vec<u8>) {
        use age::secrecy::ExposeSecret;

        // With a key given, a file without an age header counts as a damaged age file.
        let layer = if detect(bytes) == Layer::AgeArmor { Layer::AgeArmor } else { Layer::Age };
        let identity = [Identity::parse(self.identity.to_string().expose_secret()).unwrap()];
        let key = |header: &_| unwrap(header, &identity, &self.prompter, 20).map_err(age_failure);
        let Ok(peeled) = peel(Box::new(Cursor::new(bytes.to_vec())), layer, key) else {
            return (false, Vec::new());
        };
        let Work::Restore(restore) = decompress(ContentRange::All) else { unreachable!() };
        let content = if peeled.inner == Layer::Zstd { restore.content } else { Content::Plain(ContentRange::All) };
        let work = Work::Restore(Restore { open: Some(peeled.key), content });
        let (ran, out) = run(&mut self.supervisor, work, peeled.payload);
        (ran.is_ok(), out)
    }

    /// Asserts that `bytes` are refused, and that their output is a prefix of `content`.
    fn refuse(&mut self, bytes: &[u8], content: &[u8], what: &str) {
        let (is_accepted, out) = self.restore(bytes);
        assert!(!is_accepted, "{what}: accepted");
        assert!(content.starts_with(&out), "{what}: {} wrong bytes came out", out.len());
    }
}

fn armored(file: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut text = Vec::new();
    let mut writer = ArmorWriter::new(&mut text);
    writer.write_all(file).and_then(|()| writer.flush()).unwrap();
    drop(writer);
    text
}

#[test]
fn every_bit_and_every_cut_of_a_sealed_file_counts() {
    let mut dir = TestDir::new();
    let content = text(200, 1);
    for compress in [true, false] {
        let (file, _) = dir.seal(&content, compress);
        assert_eq!(dir.restore(&file), (true, content.clone()));
        for bit in 0..8 * file.len() {
            let mut bad = file.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            dir.refuse(&bad, &content, &format!("bit {bit}, compressed {compress}"));
        }
        for len in 0..file.len() {
            dir.refuse(&file[..len], &content, &format!("cut at {len}, compressed {compress}"));
        }
        for more in [&b"\0"[..], b"\n", &[0; 16], &file] {
            dir.refuse(&[&file, more].concat(), &content, "bytes behind it");
        }
    }
}

/// Some changes of armor do not change its meaning: none of them gives other bytes.
#[test]
fn every_bit_and_every_cut_of_armor_gives_the_same_bytes_or_an_error() {
    let mut dir = TestDir::new();
    let content = text(100, 1);
    let file = armored(&dir.seal(&content, false).0);
    assert_eq!(dir.restore(&file), (true, content.clone()));
    let mut harmless_count = 0;
    for bit in 0..8 * file.len() {
        let mut bad = file.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let (is_accepted, out) = dir.restore(&bad);
        assert!(content.starts_with(&out) && (!is_accepted || out == content), "bit {bit}");
        harmless_count += usize::from(is_accepted);
    }
    // The final line end may become another white space.
    assert!(harmless_count <= 4, "{harmless_count} flips went unnoticed");
    for len in 0..file.len() - 1 {
        dir.refuse(&file[..len], &content, &format!("cut at {len}"));
    }
}

#[test]
fn segments_that_are_moved_doubled_or_gone_are_noticed() {
    let mut dir = TestDir::new();
    let content = noise(4 * 64 * 1024 + 100, 1);
    for compress in [true, false] {
        let (file, prefix_len) = dir.seal(&content, compress);
        let (prefix, payload) = file.split_at(prefix_len);
        let segments: Vec<&[u8]> = payload.chunks(SEALED_LEN).collect();
        assert_eq!(segments.len(), 5);
        let with = |order: &[usize]| {
            let parts: Vec<&[u8]> = order.iter().map(|index| segments[*index]).collect();
            [prefix, &parts.concat()].concat()
        };
        assert!(dir.restore(&with(&[0, 1, 2, 3, 4])).0);
        for order in [
            &[1, 0, 2, 3, 4][..],
            &[0, 1, 3, 2, 4],
            &[0, 1, 2, 4, 3],
            &[0, 0, 1, 2, 3, 4],
            &[0, 1, 2, 3, 4, 4],
            &[0, 1, 2, 3, 3, 4],
            &[0, 1, 2, 3],
            &[0, 1, 2, 4],
            &[1, 2, 3, 4],
            &[0, 2, 3, 4],
            &[4],
            &[0],
            &[],
            &[0, 1, 2, 3, 4, 0, 1, 2, 3, 4],
        ] {
            dir.refuse(&with(order), &content, &format!("{order:?}, compressed {compress}"));
        }
        // A segment of another file, with another key, at the same place.
        let (other, other_prefix_len) = dir.seal(&content, compress);
        let foreign = &other[other_prefix_len..][SEALED_LEN..2 * SEALED_LEN];
        let mixed = [prefix, segments[0], foreign, segments[2], segments[3], segments[4]].concat();
        dir.refuse(&mixed, &content, "a segment of another file");
        dir.refuse(&[prefix, &other[other_prefix_len..]].concat(), &content, "the payload of another file");
    }
}
