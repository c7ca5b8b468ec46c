//! The community test kit for age: every vector gives its verdict and its plaintext, through every command that reads.
//!
//! The vectors are in `../shared/testdata/age-testkit`, or in `PIPELINE_TESTDATA`. There is no list of exceptions.

use std::collections::HashMap;
use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::verdict::verdict_of;
use crate::support::{Need, Ran, TestDir, skip};
use sha2::{Digest, Sha256};

struct Vector {
    name: String,
    expect: String,
    /// SHA-256 of all plaintext that may be released.
    payload: Option<String>,
    identities: Vec<String>,
    passphrases: Vec<String>,
    file: Vec<u8>,
}

fn folder() -> Option<PathBuf> {
    let root = std::env::var_os("PIPELINE_TESTDATA").map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/testdata")));
    let folder = root.join("age-testkit");
    if !folder.is_dir() {
        skip(Need::Data("age-testkit"));
        return None;
    }
    Some(folder)
}

/// Reads a vector. Returns `None`, and records a skip, if it has an unknown field.
fn parse(name: String, bytes: &[u8]) -> Option<Vector> {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
    let mut values: HashMap<&str, Vec<String>> = HashMap::new();
    for line in std::str::from_utf8(&bytes[..end]).unwrap().lines() {
        let (key, value) = line.split_once(": ").unwrap();
        let known = ["expect", "payload", "file key", "identity", "passphrase", "armored", "compressed", "comment"];
        if !known.contains(&key) {
            skip(Need::Data(&name));
            return None;
        }
        values.entry(known[known.iter().position(|known| *known == key).unwrap()]).or_default().push(value.to_owned());
    }
    let mut take = |key| values.remove(key).unwrap_or_default();
    Some(Vector {
        expect: take("expect").remove(0),
        payload: take("payload").pop(),
        identities: take("identity"),
        passphrases: take("passphrase"),
        file: match take("compressed").first().map(String::as_str) {
            None => bytes[end + 2..].to_vec(),
            Some("zlib") => {
                let mut file = Vec::new();
                flate2::read::ZlibDecoder::new(&bytes[end + 2..]).read_to_end(&mut file).unwrap();
                file
            }
            Some(other) => panic!("{name} is compressed with {other}"),
        },
        name,
    })
}

fn vectors() -> Vec<Vector> {
    let Some(folder) = folder() else { return Vec::new() };
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(|entry| entry.file_name());
    let vectors: Vec<Vector> = entries
        .into_iter()
        .filter_map(|entry| parse(entry.file_name().into_string().unwrap(), &std::fs::read(entry.path()).unwrap()))
        .collect();
    assert!(vectors.len() > 90, "only {} vectors were read", vectors.len());
    vectors
}

fn run(dir: &TestDir, vector: &Vector, line: &str) -> Ran {
    dir.write("vector", &vector.file);
    let mut identities = String::new();
    vector.identities.iter().for_each(|identity| identities.push_str(&format!("{identity}\n")));
    std::fs::set_permissions(dir.write("identities", identities.as_bytes()), Permissions::from_mode(0o600)).unwrap();
    let line = if vector.identities.is_empty() { line.to_owned() } else { format!("{line} -i identities") };
    let mut command = dir.command(line.split_whitespace());
    if let Some(passphrase) = vector.passphrases.first() {
        command.env("AGE_PASSPHRASE", passphrase);
    }
    let output = command.output().unwrap();
    Ran { status: output.status, stdout: output.stdout, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

#[test]
fn every_vector_gives_its_verdict_and_its_plaintext() {
    let dir = TestDir::new();
    let mut wrong = Vec::new();
    for vector in vectors() {
        let mut restored = Vec::new();
        for line in ["restore vector -", "cat vector", "verify vector", "inspect vector", "restore vector back"] {
            // `inspect` has no report, and so tells only its exit code.
            let is_inspect = line.starts_with("inspect");
            let ran = run(&dir, &vector, &format!("{line}{}", if is_inspect { "" } else { " -q --stats json" }));
            let code = ran.status.code();
            let verdict = match is_inspect && code == Some(4) {
                true if !matches!(vector.expect.as_str(), "success" | "no match") => &vector.expect,
                _ => verdict_of(&ran),
            };
            if verdict != vector.expect {
                wrong.push(format!("{}: {line} says {verdict} for {}: {}", vector.name, vector.expect, ran.stderr));
            }
            let is_file_left = dir.path("back").exists();
            if is_file_left != (line.ends_with("back") && vector.expect == "success") {
                wrong.push(format!("{}: {line}: the file is there: {is_file_left}", vector.name));
            }
            let released = match line {
                "verify vector" | "inspect vector" => continue,
                "restore vector back" if is_file_left => dir.read("back"),
                "restore vector back" => continue,
                _ => ran.stdout,
            };
            let hash: String = Sha256::digest(&released).iter().map(|byte| format!("{byte:02x}")).collect();
            if line == "restore vector -" {
                restored = released.clone();
            }
            // A range read authenticates the end first, so it may release less of a damaged payload, but never other
            // bytes.
            let may_release_less = line == "cat vector" && vector.expect == "payload failure";
            let is_less = may_release_less && restored.starts_with(&released);
            if vector.payload.as_ref().is_some_and(|payload| *payload != hash) && !is_less {
                wrong.push(format!("{}: {line} released {} bytes, not the expected ones", vector.name, released.len()));
            }
            let _ = std::fs::remove_file(dir.path("back"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
