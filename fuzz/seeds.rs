//! Writes the seeds, generated inputs that reach deep into each target, for the fuzzer to start from.
//!
//! `cargo run --example seeds` writes them to `corpus/<target>/` beside this file, and keeps what the fuzzer added there.

use std::io;
use std::path::Path;

use age::{NoCallbacks, Recipient as _};
use age_core::format::Stanza;
use pipeline::format::age::header::encode;
use pipeline::format::age::keys::{Identity, Recipient, wrap};
use pipeline_fuzz::sealed::{self, armored, file_key};
use pipeline_fuzz::seekable::Seekable;
use pipeline_fuzz::{content, identities, journal};

#[path = "../tests/fixtures/generate.rs"]
#[allow(dead_code, missing_docs, reason = "its main is for the example")]
mod generate;

/// Seeds, each with its name.
type Seeds = Vec<(String, Vec<u8>)>;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, seeds) in [
        ("header", headers()),
        ("armor", armors()),
        ("keys", keys()),
        ("segments", chosen(10, 40)),
        ("frame_scanner", behind(&[&[2]], &streams())),
        ("seek_table", tables()),
        ("finder", behind(&[&[3, 3], &[7, 12]], &streams())),
        ("reorder", chosen(70, 300)),
        ("range", chosen(4, 120)),
        ("salvage", [behind(&[&[0]], &streams()), chosen(8, 120)].concat()),
        ("restore", restores()),
        ("journal", journals()),
    ] {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        seeds.iter().try_for_each(|(name, bytes)| std::fs::write(folder.join(format!("seed-{name}")), bytes))?;
    }
    Ok(())
}

/// Headers for each kind of recipient, for two recipients, for a passphrase, and with stanzas of unknown types.
fn headers() -> Seeds {
    let mut stanza_lists: Vec<Vec<Stanza>> = recipients()
        .iter()
        .map(|recipient| wrap(&file_key(), &[parse(recipient)], &NoCallbacks).expect("a key"))
        .collect();
    let two = [parse(&recipients()[0]), parse(&recipients()[2])];
    stanza_lists.push(wrap(&file_key(), &two, &NoCallbacks).expect("keys that mix"));
    let mut passphrase = age::scrypt::Recipient::new("passphrase".into());
    passphrase.set_work_factor(1);
    stanza_lists.push(passphrase.wrap_file_key(&file_key()).expect("a passphrase").0);
    for body_len in [0, 1, 47, 48, 49, 96] {
        let stanza =
            Stanza { tag: "grease".to_owned(), args: vec!["x".to_owned(); body_len % 3], body: vec![1; body_len] };
        stanza_lists.push(vec![stanza]);
    }
    let headers = stanza_lists.iter().map(|stanzas| encode(stanzas, &file_key()));
    headers.enumerate().map(|(i, bytes)| (i.to_string(), bytes)).collect()
}

fn armors() -> Seeds {
    let mut seeds = Seeds::new();
    for len in [0, 1, 47, 48, 49, 96, 100] {
        let text = armored(&content::noise(len, 1));
        let crlf = String::from_utf8(text.clone()).expect("ASCII").replace('\n', "\r\n").into_bytes();
        seeds.push((format!("{len}-lf"), [&[4], &text[..]].concat()));
        seeds.push((format!("{len}-crlf"), [&[1], &b" \t\r\n"[..], &crlf, b"\n \n"].concat()));
    }
    seeds
}

fn keys() -> Seeds {
    let plugin = age::plugin::Identity::default_for_plugin("test").expect("a name").to_string();
    let mut texts: Vec<String> = identities::TEXTS.iter().map(|text| (*text).to_owned()).collect();
    texts.extend(recipients());
    texts.push(format!("# a comment\n\n{}\n{plugin}\n", identities::TEXTS[0]));
    texts.extend([plugin, identities::ENCRYPTED_SSH.to_owned()]);
    texts.into_iter().enumerate().map(|(i, text)| (i.to_string(), text.into_bytes())).collect()
}

/// The recipients of the test identities.
fn recipients() -> Vec<String> {
    let native = identities::all().into_iter().filter_map(|identity| match identity {
        Identity::X25519(identity) => Some(identity.to_public().to_string()),
        Identity::Hybrid(identity) => Some(identity.to_recipient().to_string()),
        _ => None,
    });
    native.chain(identities::SSH_RECIPIENTS.map(|text| text.trim().to_owned())).collect()
}

fn parse(recipient: &str) -> Recipient {
    Recipient::parse(recipient).expect("a recipient")
}

/// Streams of frames: the fixtures, files with and without a table, and a frame too heavy to be gathered.
fn streams() -> Seeds {
    let mut streams: Seeds = generate::all().into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    for (name, content) in [("lines", content::lines(2500, 1)), ("noise", content::noise(2500, 1))] {
        let whole = Seekable::new(&content, &[1000, 0, 1, 1499]);
        streams.push((name.to_owned(), whole.bytes()));
        streams.push((format!("{name}-bare"), whole.frames.concat()));
    }
    let blocks: Vec<Vec<u8>> = (1..=150u8).map(|i| generate::rle(i, 128 << 10, i == 150)).collect();
    streams.push(("heavy".to_owned(), generate::frame(&[0x00, 10 << 3], &blocks)));
    streams
}

fn tables() -> Seeds {
    let number = |value: u64| value.to_le_bytes();
    let front = |kind: u8| [&[kind, 3], &number(700)[..], &number(1100)].concat();
    let mut seeds = behind(&[&front(0)], &streams());
    seeds.extend(behind(&[&front(1)], &[("entries".to_owned(), content::noise(100, 1))]));
    seeds
}

fn restores() -> Seeds {
    let mut files = streams();
    for (name, content) in
        [("frames", Seekable::new(&content::lines(500, 1), &[300, 200]).bytes()), ("plain", vec![1; 90])]
    {
        let file = sealed::file(&content);
        files.push((format!("armored-{name}"), armored(&file)));
        files.push((format!("sealed-{name}"), file));
    }
    [behind(&[&[0]], &files), chosen(8, 120)].concat()
}

/// Records of all kinds and versions, as texts for the target to make lines of, and as whole journals.
fn journals() -> Seeds {
    let input = r#","in":{"device":1,"inode":2,"bytes":3,"mtime_ns":-4,"hash":"5"}"#;
    let forgotten = [
        r#"{"out":"a/b","hash":"0","settings":{"form":"0","recipients":"0"}}"#,
        r#"{"out":"a/b","hash":"0","made":"salvaged"}"#,
    ];
    let mut seeds = Seeds::new();
    for (version, head) in journal::HEADS.into_iter().enumerate() {
        let records = [
            &journal::records(r#""out":"a/b""#, input)[version],
            &journal::records(r#""out_hex":"61ff""#, r#","fate":"deleted""#)[version],
            &journal::records(r#""out":"../up""#, r#","fate":"needed""#)[version],
            forgotten[version],
        ];
        let whole = [head].into_iter().chain(records).flat_map(|text| journal::line(text.as_bytes())).collect();
        seeds.extend(behind(&[&[2, 9]], &[(format!("whole-{version}"), whole)]));
        seeds.extend(behind(&[&[version as u8, 9]], &[(format!("texts-{version}"), records.join("\n").into_bytes())]));
    }
    seeds
}

/// Each of `seeds` with each of `fronts` in front of it.
fn behind(fronts: &[&[u8]], seeds: &[(String, Vec<u8>)]) -> Seeds {
    let pairs = fronts.iter().enumerate().flat_map(|front| seeds.iter().map(move |seed| (front, seed)));
    pairs.map(|((i, front), (name, bytes))| (format!("{name}-{i}"), [front, &bytes[..]].concat())).collect()
}

/// Seeds for targets that make files from choices: each first byte below `count`, followed by random bytes.
fn chosen(count: u8, len: usize) -> Seeds {
    let with = |first: u8, seed: u64| [&[first], &content::noise(len, seed)[..]].concat();
    (0..count).flat_map(|first| (0..4).map(move |seed| (format!("{first}-{seed}"), with(first, seed)))).collect()
}
