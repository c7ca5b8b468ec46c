//! Tests against the age crate as an independent reader and writer, at the edges of segments and chunks, with each kind
//! of key. The crate shares the wrapping of file keys with this program, but no code for armor, header or payload.

use std::io::{Read, Write};

use crate::support::{TestDir, noise, text};
use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::SecretString;

const SEGMENT: usize = 64 * 1024;
/// Edges of chunks and edges of segments differ with this length.
const CHUNK: usize = 3 * SEGMENT;

/// Nothing, one byte, one segment, two segments, one chunk, each with its neighbours, and several chunks.
const LENS: [usize; 12] = [
    0,
    1,
    SEGMENT - 1,
    SEGMENT,
    SEGMENT + 1,
    2 * SEGMENT - 1,
    2 * SEGMENT,
    2 * SEGMENT + 1,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    5 * CHUNK + 77,
];

fn crate_opens(sealed: &[u8], identity: &dyn age::Identity) -> Vec<u8> {
    let decryptor = age::Decryptor::new_buffered(ArmoredReader::new(sealed)).unwrap();
    let mut content = Vec::new();
    decryptor.decrypt(std::iter::once(identity)).unwrap().read_to_end(&mut content).unwrap();
    content
}

fn crate_seals(content: &[u8], recipient: &dyn age::Recipient, format: Format) -> Vec<u8> {
    let armor = ArmoredWriter::wrap_output(Vec::new(), format).unwrap();
    let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient)).unwrap();
    let mut writer = encryptor.wrap_output(armor).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().and_then(ArmoredWriter::finish).unwrap()
}

/// Encrypts and decrypts contents of `lens` in both directions, compressible or not, compressed or not: `to` holds the
/// flags of process, `with` those of restore.
fn both_ways(
    dir: &TestDir,
    lens: &[usize],
    (to, with): (&str, &str),
    identity: &dyn age::Identity,
    recipient: &dyn age::Recipient,
) {
    let format = || if to.starts_with("-a ") { Format::AsciiArmor } else { Format::Binary };
    for &len in lens {
        for content in [text(len, 1), noise(len, 2)] {
            dir.write("in", &content);
            dir.ok("process in plain --chunk-size 192K --no-sync -qf");
            dir.ok(&format!("process in out --chunk-size 192K {to} --no-sync -qf"));
            assert!(crate_opens(&dir.read("out"), identity) == dir.read("plain"), "{len} bytes {to}");
            dir.ok(&format!("restore out back {with} --no-sync -qf"));
            assert!(dir.read("back") == content, "{len} bytes {to}");
            dir.ok(&format!("process in out --no-compress {to} --no-sync -qf"));
            assert!(crate_opens(&dir.read("out"), identity) == content, "{len} bytes {to}, not compressed");
            for (inner, what) in [(content.clone(), "plain"), (dir.read("plain"), "compressed")] {
                dir.write("theirs", &crate_seals(&inner, recipient, format()));
                dir.ok(&format!("restore theirs back {with} --no-sync -qf"));
                assert!(dir.read("back") == content, "{len} bytes {with}, theirs, {what}");
            }
        }
    }
}

fn x25519(dir: &TestDir) -> age::x25519::Identity {
    String::from_utf8(dir.read("key")).unwrap().lines().last().unwrap().parse().unwrap()
}

#[test]
fn classic_keys() {
    let (dir, recipient) = TestDir::with_key();
    let identity = x25519(&dir);
    both_ways(&dir, &LENS, (&format!("-r {recipient}"), "-i key"), &identity, &identity.to_public());
}

#[test]
fn armor() {
    let (dir, recipient) = TestDir::with_key();
    let identity = x25519(&dir);
    both_ways(&dir, &LENS, (&format!("-a -r {recipient}"), "-i key"), &identity, &identity.to_public());
}

#[test]
fn ssh_keys() {
    let dir = TestDir::new();
    dir.add_ssh_keys();
    for (name, lens) in [("ssh-ed25519", &LENS[..]), ("ssh-rsa", &LENS[3..5])] {
        let identity = age::ssh::Identity::from_buffer(&dir.read(name)[..], None).unwrap();
        let recipient: age::ssh::Recipient =
            String::from_utf8(dir.read(&format!("{name}.pub"))).unwrap().parse().unwrap();
        both_ways(&dir, lens, (&format!("-R {name}.pub"), &format!("-i {name}")), &identity, &recipient);
    }
}

/// Each case derives a key from the passphrase, which is slow on purpose.
#[test]
fn passphrases() {
    let dir = TestDir::new();
    let passphrase = SecretString::from("correct horse".to_owned());
    dir.write("passphrase", b"correct horse\n");
    let identity = age::scrypt::Identity::new(passphrase.clone());
    let mut recipient = age::scrypt::Recipient::new(passphrase);
    recipient.set_work_factor(10);
    for len in LENS {
        let content = noise(len, 3);
        dir.write("in", &content);
        dir.ok("process in out --no-compress --passphrase-file passphrase --no-sync -qf");
        assert!(crate_opens(&dir.read("out"), &identity) == content, "{len} bytes");
        dir.write("theirs", &crate_seals(&content, &recipient, Format::Binary));
        dir.ok("restore theirs back --passphrase-file passphrase --no-sync -qf");
        assert!(dir.read("back") == content, "{len} bytes, theirs");
    }
}

#[test]
fn every_width_and_both_engines_write_what_the_crate_reads() {
    let (dir, recipient) = TestDir::with_key();
    let identity = x25519(&dir);
    for len in LENS {
        let content = text(len, 4);
        dir.write("in", &content);
        dir.ok("process in plain --chunk-size 64K --no-sync -qf");
        for flags in ["-w 1 --channel-depth 1", "-w 2", "-w 5", "--engine mutex"] {
            let to = format!("-r {recipient} --no-sync -qf {flags}");
            dir.ok(&format!("process in out --chunk-size 64K {to}"));
            assert!(crate_opens(&dir.read("out"), &identity) == dir.read("plain"), "{len} bytes, {flags}");
            dir.ok(&format!("restore out back -i key --no-sync -qf {flags}"));
            assert!(dir.read("back") == content, "{len} bytes, {flags}");
            dir.ok(&format!("process in out --no-compress {to}"));
            assert!(crate_opens(&dir.read("out"), &identity) == content, "{len} bytes, {flags}, not compressed");
            dir.ok(&format!("restore out back -i key --no-sync -qf {flags}"));
            assert!(dir.read("back") == content, "{len} bytes, {flags}, not compressed");
        }
        dir.ok(&format!("process in out --chunk-size 64K -r {recipient} --no-sync -qf"));
        dir.ok("restore out inner -i key --no-decompress --no-sync -qf");
        assert_eq!(dir.read("inner"), dir.read("plain"));
    }
}
