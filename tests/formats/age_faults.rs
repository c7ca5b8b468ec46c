//! Tests of faults in age files, one at a time, in every line of the header, in the armor and in the payload: each
//! gives its kind of failure.
//!
//! The test kit samples these faults; this file makes all of them, from the grammar of C2SP age. It builds a header
//! line by line, inserts a fault, and computes the MAC over the result, so that only the fault is wrong.

use crate::support::verdict::verdict_of;
use crate::support::{Ran, TestDir};
use age::secrecy::SecretString;
use age::{Identity as _, Recipient as _};
use age_core::format::{FileKey, Stanza};
use age_core::primitives::hkdf;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD as BASE64};
use hmac::{Hmac, Mac};
use pipeline::format::age::header::payload_key;
use pipeline::format::age::hybrid;
use pipeline::format::age::stream::{Place, SegmentCipher, TAG_LEN};

const FILE_KEY: [u8; 16] = *b"YELLOW SUBMARINE";
const SEGMENT: usize = 64 * 1024;
const NONCE: [u8; 16] = [3; 16];

/// A fault in a stanza.
type Change<'a> = &'a dyn Fn(&mut Stanza);

/// The segments of a payload.
type Segments<'a> = &'a [(Place, &'a [u8])];

/// The keys that open the files of this module.
struct Keys {
    dir: TestDir,
    x25519: age::x25519::Recipient,
    hybrid: hybrid::Recipient,
}

fn file_key() -> FileKey {
    FileKey::new(Box::new(FILE_KEY))
}

impl Keys {
    fn new() -> Keys {
        let (dir, recipient) = TestDir::with_key();
        let hybrid = hybrid::Recipient::parse(&dir.keygen("--pq -o pq")).unwrap();
        dir.keygen("-o other");
        Keys { dir, x25519: recipient.parse().unwrap(), hybrid }
    }

    fn x25519(&self) -> Stanza {
        self.x25519.wrap_file_key(&file_key()).unwrap().0.remove(0)
    }

    fn hybrid(&self) -> Stanza {
        self.hybrid.wrap_file_key(&file_key()).unwrap().0.remove(0)
    }

    fn scrypt(&self) -> Stanza {
        let mut recipient = age::scrypt::Recipient::new(SecretString::from("password".to_owned()));
        recipient.set_work_factor(10);
        recipient.wrap_file_key(&file_key()).unwrap().0.remove(0)
    }

    /// Runs the binary on `file` with the X25519 identity, the post-quantum identity and the passphrase.
    fn run(&self, file: &[u8]) -> Ran {
        self.dir.write("file", file);
        let line = "restore file - -i key -i pq -q --stats json";
        let output = self.dir.command(line.split(' ')).env("AGE_PASSPHRASE", "password").output().unwrap();
        Ran {
            status: output.status,
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn expect(&self, verdict: &str, file: &[u8], fault: &str) -> Vec<u8> {
        let ran = self.run(file);
        assert_eq!(verdict_of(&ran), verdict, "{fault}: {}", ran.stderr);
        assert!(verdict == "success" || verdict == "payload failure" || ran.stdout.is_empty(), "{fault}");
        ran.stdout
    }

    /// Expects `verdict` of a header with the text `stanzas`.
    fn expect_header(&self, verdict: &str, stanzas: &str, fault: &str) {
        let content = self.expect(verdict, &file(stanzas), fault);
        assert!(verdict != "success" || content == b"content", "{fault}");
    }
}

fn copy(stanza: &Stanza) -> Stanza {
    Stanza { tag: stanza.tag.clone(), args: stanza.args.clone(), body: stanza.body.clone() }
}

/// A stanza as text of a header.
fn lines(stanza: &Stanza) -> String {
    let mut text = format!("-> {} {}\n", stanza.tag, stanza.args.join(" "));
    for line in BASE64.encode(&stanza.body).as_bytes().chunks(64) {
        text += &format!("{}\n", std::str::from_utf8(line).unwrap());
    }
    if stanza.body.len().is_multiple_of(48) {
        text += "\n";
    }
    text
}

fn mac(covered: &str) -> [u8; 32] {
    let key = hkdf(&[], b"header", &FILE_KEY);
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(covered.as_bytes());
    mac.finalize().into_bytes().into()
}

fn header_with(stanzas: &str) -> String {
    let covered = format!("age-encryption.org/v1\n{stanzas}---");
    format!("{covered} {}\n", BASE64.encode(mac(&covered)))
}

fn payload(segments: Segments) -> Vec<u8> {
    let cipher = SegmentCipher::new(&payload_key(&file_key(), &NONCE));
    let mut bytes = NONCE.to_vec();
    for (index, (place, text)) in segments.iter().enumerate() {
        let mut segment = [*text, &[0; TAG_LEN]].concat();
        cipher.seal(index as u64, *place, &mut segment);
        bytes.extend(segment);
    }
    bytes
}

fn file(stanzas: &str) -> Vec<u8> {
    [header_with(stanzas).as_bytes(), &payload(&[(Place::Final, b"content")])].concat()
}

/// The same base64 with an unused final bit set.
fn not_canonical(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    assert_ne!(text.len() % 4, 0, "no bits to spare");
    let index = ALPHABET.iter().position(|c| *c == *text.as_bytes().last().unwrap()).unwrap();
    format!("{}{}", &text[..text.len() - 1], char::from(ALPHABET[index + 1]))
}

#[test]
fn stanzas_keep_to_their_types_rules() {
    let keys = Keys::new();
    let with = |stanza: &Stanza, change: &dyn Fn(&mut Stanza)| {
        let mut changed = copy(stanza);
        change(&mut changed);
        lines(&changed)
    };
    for (stanza, other_case) in
        [(keys.x25519(), "x25519"), (keys.hybrid(), "MLKEM768X25519"), (keys.scrypt(), "Scrypt")]
    {
        let tag = stanza.tag.as_str();
        keys.expect_header("success", &lines(&stanza), tag);
        keys.expect_header("no match", &with(&stanza, &|s| s.tag = other_case.to_owned()), &format!("{tag}: case"));
        let failures: [(&str, Change); 8] = [
            ("an argument more", &|s| s.args.push("more".to_owned())),
            ("an argument less", &|s| {
                s.args.pop();
            }),
            ("no argument", &|s| s.args.clear()),
            ("a longer first argument", &|s| {
                s.args[0] = BASE64.encode([&BASE64.decode(&s.args[0]).unwrap()[..], b"x"].concat())
            }),
            ("a shorter first argument", &|s| s.args[0] = BASE64.encode(&BASE64.decode(&s.args[0]).unwrap()[1..])),
            ("a padded first argument", &|s| s.args[0] += "="),
            ("a longer body", &|s| s.body.push(0)),
            ("a body of another file key's length", &|s| s.body.extend([0; 16])),
        ];
        for (fault, change) in failures {
            keys.expect_header("header failure", &with(&stanza, change), &format!("{tag}: {fault}"));
        }
        if stanza.args[0].len() % 4 != 0 {
            let change = |s: &mut Stanza| s.args[0] = not_canonical(&s.args[0]);
            keys.expect_header("header failure", &with(&stanza, &change), &format!("{tag}: not canonical"));
        }
        keys.expect_header("no match", &with(&stanza, &|s| s.body[31] ^= 1), &format!("{tag}: a wrong tag"));
        let body = BASE64.encode(&stanza.body);
        let text = lines(&stanza).replace(&body, &not_canonical(&body));
        keys.expect_header("header failure", &text, &format!("{tag}: the body is not canonical"));
        let text = lines(&stanza).replace(&body, &format!("{body}="));
        keys.expect_header("header failure", &text, &format!("{tag}: the body is padded"));
    }
}

#[test]
fn shares_of_low_order_are_refused_and_broken_ones_match_nobody() {
    let keys = Keys::new();
    // A point of order 8, and the neutral element.
    let order_8: [u8; 32] = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ];
    for share in [order_8, [0; 32]] {
        let mut stanza = keys.x25519();
        stanza.args[0] = BASE64.encode(share);
        keys.expect_header("header failure", &lines(&stanza), "x25519, low order");
        let mut stanza = keys.hybrid();
        let mut enc = BASE64.decode(&stanza.args[0]).unwrap();
        enc[1088..].copy_from_slice(&share);
        stanza.args[0] = BASE64.encode(&enc);
        keys.expect_header("header failure", &lines(&stanza), "post-quantum, low order");
    }
    for at in [0, 500, 1087, 1088, 1110] {
        let mut stanza = keys.hybrid();
        let mut enc = BASE64.decode(&stanza.args[0]).unwrap();
        enc[at] ^= 0xff;
        stanza.args[0] = BASE64.encode(&enc);
        keys.expect_header("no match", &lines(&stanza), &format!("byte {at} of enc"));
    }
}

#[test]
fn a_passphrases_stanza_stands_alone_and_its_work_factor_is_a_plain_number() {
    let keys = Keys::new();
    let scrypt = keys.scrypt();
    for (text, fault) in [
        (lines(&scrypt) + &lines(&keys.x25519()), "an X25519 stanza behind it"),
        (lines(&keys.x25519()) + &lines(&scrypt), "an X25519 stanza in front"),
        (lines(&scrypt) + &lines(&scrypt), "twice"),
        (lines(&scrypt) + "-> grease\n\n", "grease behind it"),
    ] {
        keys.expect_header("header failure", &text, fault);
    }
    for number in
        ["0", "010", "0xa", "+10", "-10", "1e1", "10x", "x10", "21", "23", "64", "255", "256", "4294967306", "1٠"]
    {
        let mut stanza = copy(&scrypt);
        number.clone_into(&mut stanza.args[1]);
        keys.expect_header("header failure", &lines(&stanza), &format!("work factor {number}"));
    }
    let mut stanza = scrypt;
    "11".clone_into(&mut stanza.args[1]);
    keys.expect_header("no match", &lines(&stanza), "another work factor");
}

#[test]
fn stanzas_that_nobody_knows_are_passed_over_if_they_keep_to_the_grammar() {
    let keys = Keys::new();
    let known = lines(&keys.x25519());
    let full = "A".repeat(64);
    for (stanza, fault) in [
        (lines(&keys.hybrid()), "another type that fits too"),
        ("-> empty\n\n".to_owned(), "no arguments, no body"),
        (format!("-> full arg\n{full}\n\n"), "a body of one full line"),
        (format!("-> full arg\n{full}\n{full}\nAAAA\n"), "three lines"),
        ("-> !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~ ~\n\n".to_owned(), "all visible characters"),
        ("-> --- ->\n\n".to_owned(), "words of the grammar"),
    ] {
        keys.expect_header("success", &(stanza.clone() + &known), fault);
        keys.expect_header("success", &(known.clone() + &stanza), fault);
    }
    for (stanza, fault) in [
        ("->empty\n\n", "no space"),
        ("-> \n\n", "no type"),
        ("->  a\n\n", "two spaces"),
        ("-> a \n\n", "a space at the end"),
        ("-> a  b\n\n", "an empty argument"),
        ("-> a\tb\n\n", "a tab"),
        ("-> ä\n\n", "not ASCII"),
        ("-> a\u{7f}\n\n", "a control character"),
        ("-> a\r\n\n", "CR in the arguments"),
        ("-> a\n\r\n", "CR in the body"),
        ("-> a\nAAAA\r\n", "CR behind the body"),
        ("-> a\n", "no body"),
        ("-> a\nAAA=\n", "a padded body"),
        ("-> a\nAAB\n", "a body that is not canonical"),
        ("-> a\nAA*A\n", "a body that is no base64"),
        ("-> a\nAAAA\nAAAA\n", "two short lines"),
        ("-> a\nA\n", "a line of one character"),
        ("-- a\n\n", "another start"),
        ("=> a\n\n", "yet another start"),
        ("\n", "an empty line"),
    ] {
        keys.expect_header("header failure", &(stanza.to_owned() + &known), fault);
        keys.expect_header("header failure", &(known.clone() + stanza), fault);
    }
    for (stanza, fault) in [
        (format!("-> a\n{full}\n"), "no short line"),
        (format!("-> a\n{full}A\n\n"), "a line too long"),
        (format!("-> a\n{full}AAAA\n"), "a long line that ends the body"),
    ] {
        keys.expect_header("header failure", &(stanza.clone() + &known), fault);
        keys.expect_header("header failure", &(known.clone() + &stanza), fault);
    }
    keys.expect_header("header failure", "", "no stanza");
}

#[test]
fn the_version_line_and_the_mac_are_exact() {
    let keys = Keys::new();
    let header = header_with(&lines(&keys.x25519()));
    let content = payload(&[(Place::Final, b"content")]);
    let (covered, mac) = header.trim_end().rsplit_once(' ').unwrap();
    let other_mac = BASE64.encode([7; 32]);
    let cases = [
        ("success", header.clone(), "nothing"),
        ("header failure", header.replacen("/v1", "/v2", 1), "another version"),
        ("header failure", header.replacen("/v1", "/v1 ", 1), "a space behind the version"),
        ("header failure", header.replacen("/v1\n", "/v1\r\n", 1), "CRLF behind the version"),
        ("header failure", header.replace('\n', "\r\n"), "CRLF everywhere"),
        ("header failure", format!("\n{header}"), "an empty line in front"),
        ("HMAC failure", format!("{covered} {other_mac}\n"), "another MAC"),
        ("header failure", format!("{covered}\n"), "no MAC"),
        ("header failure", format!("{covered} \n"), "an empty MAC"),
        ("header failure", format!("{covered}{mac}\n"), "no space"),
        ("header failure", format!("{covered}  {mac}\n"), "two spaces"),
        ("header failure", format!("{covered} {mac} \n"), "a space behind"),
        ("header failure", format!("{covered} {mac}=\n"), "padding"),
        ("header failure", format!("{covered} {}\n", &mac[..42]), "a shorter MAC"),
        ("header failure", format!("{covered} {mac}A\n"), "a longer MAC"),
        ("header failure", format!("{covered} {mac}\r\n"), "CRLF behind the MAC"),
        ("header failure", format!("{covered} {}\n", not_canonical(mac)), "not canonical"),
    ];
    for (verdict, header, fault) in cases {
        keys.expect(verdict, &[header.as_bytes(), &content].concat(), fault);
    }
    for len in 0..16 {
        keys.expect("header failure", &[header.as_bytes(), &content[..len]].concat(), "a nonce cut short");
    }
    for len in 0..header.len() {
        keys.expect("header failure", &header.as_bytes()[..len], &format!("cut at {len}"));
    }
    // Identities are tried in turn: a stanza for another identity is not a match.
    let other = age::x25519::Identity::generate();
    assert!(other.unwrap_stanza(&keys.x25519()).is_none());
    keys.expect_header("no match", &lines(&other.to_public().wrap_file_key(&file_key()).unwrap().0[0]), "another's");
}

#[test]
fn segments_are_final_once_and_at_the_end() {
    use Place::{Final, Inner};
    let keys = Keys::new();
    let header = header_with(&lines(&keys.x25519()));
    let full = vec![b'f'; SEGMENT];
    let full = full.as_slice();
    let short: &[u8] = b"content";
    // Segments, verdict, and length of the released plaintext.
    let cases: [(Segments, &str, usize); 17] = [
        (&[(Final, b"")], "success", 0),
        (&[(Final, short)], "success", 7),
        (&[(Final, full)], "success", SEGMENT),
        (&[(Inner, full), (Final, short)], "success", SEGMENT + 7),
        (&[(Inner, full), (Final, full)], "success", 2 * SEGMENT),
        (&[(Inner, full), (Inner, full), (Final, short)], "success", 2 * SEGMENT + 7),
        (&[], "payload failure", 0),
        (&[(Inner, b"")], "payload failure", 0),
        (&[(Inner, short)], "payload failure", 0),
        (&[(Inner, full)], "payload failure", SEGMENT),
        (&[(Inner, full), (Inner, full)], "payload failure", 2 * SEGMENT),
        (&[(Inner, full), (Inner, short)], "payload failure", SEGMENT),
        (&[(Inner, full), (Final, b"")], "payload failure", SEGMENT),
        (&[(Final, full), (Final, b"")], "payload failure", SEGMENT),
        (&[(Final, full), (Final, full)], "payload failure", SEGMENT),
        (&[(Final, full), (Final, short)], "payload failure", SEGMENT),
        (&[(Final, short), (Final, short)], "payload failure", 0),
    ];
    for (index, (segments, verdict, released_len)) in cases.into_iter().enumerate() {
        let released =
            keys.expect(verdict, &[header.as_bytes(), &payload(segments)].concat(), &format!("case {index}"));
        assert_eq!(released.len(), released_len, "case {index}");
    }
    let two = payload(&[(Inner, full), (Final, short)]);
    for (cut, released_len) in [(1, SEGMENT), (7, SEGMENT), (22, SEGMENT), (23, SEGMENT), (24, 0)] {
        let cut = &two[..two.len() - cut];
        let released = keys.expect("payload failure", &[header.as_bytes(), cut].concat(), "cut");
        assert_eq!(released.len(), released_len);
    }
    for garbage in [&b"x"[..], &[0; 16], &[0; 17], &[0; SEGMENT + 16], &[0; SEGMENT + 17]] {
        let one = payload(&[(Final, full)]);
        let released = keys.expect("payload failure", &[header.as_bytes(), &one, garbage].concat(), "garbage behind");
        assert_eq!(released.len(), SEGMENT);
    }
}

#[test]
fn armor_is_exact_and_white_space_stands_only_around_it() {
    let keys = Keys::new();
    // `rest` is the length of the file modulo 3, which sets the padding of its base64.
    let header = header_with(&lines(&keys.x25519()));
    let pad_to = |rest: usize| {
        let len = (0..3).find(|len| (header.len() + 16 + 16 + len) % 3 == rest).unwrap();
        [header.as_bytes(), &payload(&[(Place::Final, &b"abc"[..len])])].concat()
    };
    const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
    const END: &str = "-----END AGE ENCRYPTED FILE-----";
    let body_of = |file: &[u8]| -> Vec<String> {
        let text = BASE64_STANDARD.encode(file);
        text.as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
    };
    let body = body_of(&pad_to(1));
    let text = body.join("\n");
    assert!(text.ends_with("==") && body.len() > 3);
    let armored = |body: &str| format!("{BEGIN}\n{body}\n{END}\n");
    let first_short = format!("{}\n{}", &body[0][..60], text.replacen(&body[0][..60], "", 1).replacen('\n', "", 1));
    let success = [
        armored(&text),
        armored(&body_of(&pad_to(2)).join("\n")),
        armored(&body_of(&pad_to(0)).join("\n")),
        armored(&text).trim_end().to_owned(),
        armored(&text).replace('\n', "\r\n"),
        format!(" \t\r\n\n{}\n \t\r\n", armored(&text)),
    ];
    for (index, file) in success.iter().enumerate() {
        keys.expect("success", file.as_bytes(), &format!("good armor {index}"));
    }
    let (start, last) = text.rsplit_once('\n').unwrap();
    let failures = [
        (format!("garbage\n{}", armored(&text)), "garbage in front"),
        (format!("{}garbage\n", armored(&text)), "garbage behind"),
        (format!("{}\n{}", armored(&text), armored(&text)), "two of them"),
        (format!("{BEGIN}\nHeaders: are\nNot: allowed\n\n{text}\n{END}\n"), "headers"),
        (format!("{BEGIN}\n\n{text}\n{END}\n"), "an empty line behind the begin marker"),
        (format!("{BEGIN}\n{text}\n\n{END}\n"), "an empty line in front of the end marker"),
        (format!("{BEGIN}\n{}\n\n{last}\n{END}\n", start), "an empty line inside"),
        (format!("{BEGIN}\n{text}\n"), "no end marker"),
        (format!("{BEGIN}\n{text}\n-----END AGE ENCRYPTED FILE----"), "half an end marker"),
        (format!("{BEGIN}\n{text}\n----- END AGE ENCRYPTED FILE -----\n"), "another end marker"),
        (format!("----- BEGIN AGE ENCRYPTED FILE -----\n{text}\n{END}\n"), "another begin marker"),
        (armored(&text).replace("AGE ENC", "AGE  ENC"), "two spaces in the markers"),
        (armored(&text).replace("AGE ENCRYPTED FILE", "MESSAGE"), "another type"),
        (armored(&text).replace("AGE ENCRYPTED", "age encrypted"), "lower case"),
        (armored(text.trim_end_matches('=')), "no padding"),
        (armored(&text.replacen("==", "=\n=", 1)), "a line end in the padding"),
        (armored(&format!("{text}\n=AAAA")), "a checksum"),
        (armored(&format!("{text}\nAAAA")), "data behind padding"),
        (armored(&first_short), "a short line inside"),
        (armored(&text.replacen('\n', "", 1)), "a long line"),
        (armored(&format!("{start}\n*{}", &last[1..])), "a character that is no base64"),
        (armored(&format!("{start}\n {last}")), "a space in front of a line"),
        (armored(&format!("{start} \n{last}")), "a space behind a line"),
        (armored(&format!("{start}\n{last} ")), "a space behind the final line"),
        (armored(&format!("{start}\t\n{last}")), "a tab behind a line"),
        (armored(&text).replace("\n", "\r"), "CR alone"),
        (armored(&format!("{start}\n{}", last.replace("==", "-="))), "URL alphabet"),
    ];
    for (file, fault) in failures {
        keys.expect("armor failure", file.as_bytes(), fault);
    }
    let len = (0..48).find(|len| (header.len() + 16 + 16 + len).is_multiple_of(48)).unwrap();
    let full = body_of(&[header.as_bytes(), &payload(&[(Place::Final, &[b'x'; 48][..len])])].concat()).join("\n");
    keys.expect("success", armored(&full).as_bytes(), "a full final line");
    keys.expect("armor failure", armored(&format!("{full}\n")).as_bytes(), "an empty line behind a full final line");
    let last_data = last.trim_end_matches('=');
    let canonical = format!("{start}\n{}==", not_canonical(last_data));
    keys.expect("armor failure", armored(&canonical).as_bytes(), "not canonical");
    keys.expect("header failure", format!("{BEGIN}\n{END}\n").as_bytes(), "nothing in it");
    keys.expect("header failure", armored(&BASE64_STANDARD.encode("garbage")).as_bytes(), "garbage in it");
}
