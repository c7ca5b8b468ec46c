//! Tests of trees: a round trip with every kind of content, and second runs, which process only what changed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::support::tree::{
    Node, allow, assert_same, finished, look, plant_everything, plant_mixed, plant_small, remove, temporaries,
};
use crate::support::{TestDir, text};
use serde_json::Value;

/// Makes the trees writable on drop, so that the directory can be removed even if the test fails.
struct Trees<'a>(&'a TestDir);

impl Drop for Trees<'_> {
    fn drop(&mut self) {
        for name in ["tree", "out", "back"] {
            if self.0.path(name).exists() {
                allow(&self.0.path(name));
            }
        }
    }
}

/// The counts in the report of a batch by name, without zeros.
fn counts(report: &Value) -> BTreeMap<String, u64> {
    let counts = report["batch"].as_object().unwrap().iter();
    let counts = counts.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// Expected counts in the form that [`counts`] returns.
fn words<const N: usize>(words: [(&str, u64); N]) -> BTreeMap<String, u64> {
    words.into_iter().map(|(word, count)| (word.to_owned(), count)).collect()
}

fn files_of(root: &Path) -> u64 {
    look(root).values().filter(|seen| matches!(seen.node, Node::File(_))).count() as u64
}

#[test]
fn a_tree_with_everything_in_it_comes_back_as_it_was_in_every_layer() {
    let (dir, recipient) = TestDir::with_key();
    let trees = Trees(&dir);
    let (tree, out, back) = (dir.path("tree"), dir.path("out"), dir.path("back"));
    plant_everything(&tree);
    let before = look(&tree);
    let files = files_of(&tree);
    for (flags, suffix, back_flags) in [
        (String::new(), ".zst", ""),
        (format!("-r {recipient}"), ".zst.age", "-i key"),
        (format!("-r {recipient} -a"), ".zst.age", "-i key"),
        (format!("-r {recipient} --no-compress"), ".age", "-i key --no-decompress"),
        (format!("-r {recipient} --no-compress --armor --verify --jobs 1"), ".age", "-i key"),
        ("--level 19 --jobs 9 -w 1".to_owned(), ".zst", "--jobs 9 -w 1"),
    ] {
        let line = format!("process tree out -q --chunk-size 64K {flags}");
        assert_eq!(
            counts(&dir.batch_report(&line, 0).0),
            words([("file_count", files), ("done_count", files)]),
            "{flags}"
        );
        let names: Vec<PathBuf> = finished(&out).into_keys().collect();
        assert_eq!(names.len() as u64, files, "{flags}");
        for name in names {
            let name = name.as_os_str().as_encoded_bytes().strip_suffix(suffix.as_bytes()).unwrap();
            let name = Path::new(OsStr::from_bytes(name));
            assert!(matches!(before[name].node, Node::File(_)), "{flags}: {name:?}");
        }
        dir.ok(&format!("verify out -q {}", back_flags.trim_end_matches("--no-decompress")));
        assert_eq!(
            counts(&dir.batch_report(&line, 0).0),
            words([("file_count", files), ("unchanged_count", files)]),
            "{flags}"
        );
        let restore = format!("restore out back -q {back_flags}");
        assert_eq!(
            counts(&dir.batch_report(&restore, 0).0),
            words([("file_count", files), ("done_count", files)]),
            "{flags}"
        );
        assert_same(&tree, &back, &flags);
        assert_eq!(
            counts(&dir.batch_report(&restore, 0).0),
            words([("file_count", files), ("unchanged_count", files)])
        );
        assert_same(&tree, &back, "after a run that had nothing to do");
        for root in [&out, &back] {
            assert_eq!(temporaries(root), Vec::<PathBuf>::new(), "{flags}");
            remove(root);
        }
        assert!(before.keys().eq(look(&tree).keys()), "{flags}: the tree was changed");
    }
    drop(trees);
}

#[test]
fn a_report_names_every_file_and_its_entries_add_up() {
    let dir = TestDir::new();
    plant_mixed(&dir.path("tree"), 50);
    for line in ["process tree out -q --chunk-size 64K", "verify out -q", "restore out back -q"] {
        let (report, _) = dir.batch_report(line, 0);
        let files = report["files"].as_array().unwrap();
        assert_eq!(files.len(), 57, "{line}");
        for field in ["read_bytes", "written_bytes", "content_bytes"] {
            let sum: u64 = files.iter().map(|file| file[field].as_u64().unwrap()).sum();
            assert_eq!(report[field], sum, "{line}: {field}");
        }
        for file in files {
            assert_eq!((&file["ended"], &file["tries"]), (&"done".into(), &1.into()), "{line}: {file}");
            let len = |path: &Path| fs::metadata(path).unwrap().len();
            assert_eq!(file["read_bytes"], len(&dir.path(file["source"].as_str().unwrap())), "{line}: {file}");
            let out = line.split_whitespace().nth(2).unwrap();
            if out != "-q" {
                let output = dir.path(out).join(file["output"].as_str().unwrap());
                assert_eq!(file["written_bytes"], len(&output), "{line}: {file}");
            }
        }
    }
}

#[test]
fn a_file_of_a_tree_becomes_the_bytes_that_it_becomes_alone() {
    let dir = TestDir::new();
    plant_mixed(&dir.path("tree"), 20);
    for flags in ["", "--chunk-size 64K", "--level 9 -w 1", "--level -7 --chunk-size 1M"] {
        dir.ok(&format!("process tree out -q {flags} --jobs 1"));
        for name in finished(&dir.path("tree")).keys().map(|name| name.display()) {
            dir.ok(&format!("process tree/{name} alone -q -f {flags}"));
            assert!(dir.read("alone") == dir.read(&format!("out/{name}.zst")), "{flags}: {name}");
        }
        remove(&dir.path("out"));
    }
}

#[test]
fn stock_tools_read_every_output() {
    let (dir, recipient) = TestDir::with_key();
    plant_mixed(&dir.path("tree"), 10);
    dir.ok("process tree bare -q --chunk-size 64K");
    dir.ok(&format!("process tree sealed -q --chunk-size 64K -r {recipient}"));
    dir.ok(&format!("process tree armored -q -a -r {recipient}"));
    dir.ok(&format!("process tree plain -q --no-compress -r {recipient}"));
    for name in finished(&dir.path("tree")).keys().map(|name| name.display()) {
        let content = dir.read(&format!("tree/{name}"));
        let decompress = |bytes: &[u8]| dir.tool("zstd", &["-d", "-c", "-q"], Some(bytes)).map(|ran| ran.stdout);
        let open = |file: &str| dir.tool("age", &["-d", "-i", "key", file], None).map(|ran| ran.stdout);
        if let Some(bare) = decompress(&dir.read(&format!("bare/{name}.zst"))) {
            assert!(bare == content, "bare, {name}");
        }
        for tree in ["sealed", "armored"] {
            let opened = open(&format!("{tree}/{name}.zst.age"));
            if let Some(back) = opened.and_then(|opened| decompress(&opened)) {
                assert!(back == content, "{tree}, {name}");
            }
        }
        if let Some(back) = open(&format!("plain/{name}.age")) {
            assert!(back == content, "plain, {name}");
        }
    }
}

/// Sets the time of a file without a change of its bytes.
fn touch(path: &Path, seconds: u64) {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
}

#[test]
fn a_second_run_does_what_is_new_or_has_changed_and_leaves_the_rest_alone() {
    let (dir, recipient) = TestDir::with_key();
    for flags in [String::new(), format!("-r {recipient}")] {
        plant_small(&dir.path("tree"), 40);
        let line = format!("process tree out -q {flags}");
        dir.ok(&line);
        let first = finished(&dir.path("out"));
        let suffix = if flags.is_empty() { "zst" } else { "zst.age" };
        dir.write("tree/d000/f00003", b"changed");
        touch(&dir.path("tree/d000/f00004"), 1000);
        dir.write("tree/d000/new", b"new");
        fs::remove_file(dir.path(format!("out/d000/f00005.{suffix}"))).unwrap();
        let expected = words([("file_count", 41), ("unchanged_count", 37), ("redone_count", 2), ("done_count", 2)]);
        assert_eq!(counts(&dir.batch_report(&line, 0).0), expected, "{flags}");
        let second = finished(&dir.path("out"));
        let changed = ["3", "4"].map(|number| PathBuf::from(format!("d000/f0000{number}.{suffix}")));
        for (name, inode) in &first {
            // A new file may reuse the inode number of a deleted one.
            if !name.ends_with(format!("f00005.{suffix}")) {
                assert_eq!(second[name] == *inode, !changed.contains(name), "{flags}: {name:?}");
            }
        }
        dir.ok("restore out back -q -i key");
        assert_same(&dir.path("tree"), &dir.path("back"), &flags);
        // Restore also redoes a file whose output alone changed.
        dir.write("tree/d001/f00030", b"changed again");
        dir.ok(&line);
        let expected = words([("file_count", 41), ("unchanged_count", 40), ("redone_count", 1)]);
        assert_eq!(counts(&dir.batch_report("restore out back -q -i key", 0).0), expected, "{flags}");
        assert_same(&dir.path("tree"), &dir.path("back"), &flags);
        ["tree", "out", "back"].iter().for_each(|name| remove(&dir.path(name)));
    }
}

#[test]
fn checksum_tells_a_change_from_the_content_and_not_from_the_time() {
    let (dir, recipient) = TestDir::with_key();
    for flags in [String::new(), format!("-r {recipient}")] {
        plant_small(&dir.path("tree"), 30);
        let line = format!("process tree out -q {flags}");
        let with_checksum = format!("{line} --checksum");
        dir.ok(&line);
        let unchanged = words([("file_count", 30), ("unchanged_count", 30)]);
        assert_eq!(counts(&dir.batch_report(&with_checksum, 0).0), unchanged);
        touch(&dir.path("tree/d000/f00007"), 1000);
        assert_eq!(counts(&dir.batch_report(&with_checksum, 0).0), unchanged, "{flags}: a touch changes nothing");
        let one = words([("file_count", 30), ("unchanged_count", 29), ("redone_count", 1)]);
        assert_eq!(counts(&dir.batch_report(&line, 0).0), one, "{flags}: without --checksum it does");
        // Other content with the same length and time.
        let path = dir.path("tree/d000/f00008");
        let at = fs::metadata(&path).unwrap().modified().unwrap();
        let mut content = fs::read(&path).unwrap();
        content[3] ^= 1;
        fs::write(&path, content).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        assert_eq!(counts(&dir.batch_report(&line, 0).0), unchanged, "{flags}: time and length tell nothing");
        assert_eq!(counts(&dir.batch_report(&with_checksum, 0).0), one, "{flags}: the content tells");
        assert_eq!(counts(&dir.batch_report(&with_checksum, 0).0), unchanged);
        dir.ok("restore out back -q -i key");
        assert_same(&dir.path("tree"), &dir.path("back"), &flags);
        ["tree", "out", "back"].iter().for_each(|name| remove(&dir.path(name)));
    }
}

#[test]
fn other_settings_do_all_of_it_again_and_the_same_do_nothing() {
    let (dir, recipient) = TestDir::with_key();
    let other = dir.keygen("-o other");
    dir.write("to", format!("# those who may\n{recipient}\n\n{other}\n").as_bytes());
    plant_small(&dir.path("tree"), 25);
    let sealed = format!("-r {recipient}");
    let both = format!("-r {recipient} -r {other}");
    let armored = format!("-r {recipient} -a");
    let (all_new, all_again) =
        (words([("file_count", 25), ("done_count", 25)]), words([("file_count", 25), ("redone_count", 25)]));
    let nothing = words([("file_count", 25), ("unchanged_count", 25)]);
    for (flags, expected) in [
        ("", &all_new),
        ("--level 4", &all_again),
        ("--level 4 -w 1 --jobs 1 --channel-depth 1 --no-sync --retries 0", &nothing),
        ("--level 4 --chunk-size 64K", &all_again),
        (&sealed, &all_new),
        (&both, &all_again),
        ("-R to", &nothing),
        (&armored, &all_again),
    ] {
        let (report, _) = dir.batch_report(&format!("process tree out -q {flags}"), 0);
        assert_eq!(&counts(&report), expected, "{flags}");
    }
    // Bare and sealed outputs are next to each other, and both are right.
    dir.ok("verify out -q -i key");
}

#[test]
fn an_output_that_no_run_wrote_is_left_alone_unless_forced() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 20);
    fs::create_dir_all(dir.path("out/d000")).unwrap();
    dir.write("out/d000/f00004.zst", b"not ours");
    dir.write("out/mine", b"nobody's business");
    let (report, said) = dir.batch_report("process tree out -q", 3);
    assert_eq!(counts(&report), words([("file_count", 20), ("done_count", 19), ("failed_count", 1)]));
    assert!(said.contains("'out/d000/f00004.zst'"), "{said}");
    let left_alone = vec![("tree/d000/f00004".to_owned(), "would_overwrite".to_owned())];
    assert_eq!(dir.failed_kinds("process tree out -q", 3), left_alone);
    assert_eq!(dir.read("out/d000/f00004.zst"), b"not ours");
    let (report, _) = dir.batch_report("process tree out -q -f", 0);
    assert_eq!(counts(&report), words([("file_count", 20), ("done_count", 1), ("unchanged_count", 19)]));
    // An output that somebody else changed belongs to them.
    dir.write("out/d000/f00005.zst", b"changed by somebody");
    let (report, _) = dir.batch_report("process tree out -q", 3);
    assert_eq!(counts(&report), words([("file_count", 20), ("failed_count", 1), ("unchanged_count", 19)]));
    assert_eq!(dir.read("out/mine"), b"nobody's business");
}

#[test]
fn rm_deletes_inputs_whose_outputs_are_there_and_no_others() {
    let (dir, recipient) = TestDir::with_key();
    plant_mixed(&dir.path("tree"), 30);
    plant_mixed(&dir.path("same"), 30);
    fs::create_dir_all(dir.path("out/d000/f00004.zst.age")).unwrap();
    let line = format!("process tree out -q --rm --verify -r {recipient}");
    let (report, _) = dir.batch_report(&line, 3);
    assert_eq!(counts(&report), words([("file_count", 37), ("done_count", 36), ("failed_count", 1)]));
    assert_eq!(finished(&dir.path("tree")).into_keys().collect::<Vec<_>>(), [PathBuf::from("d000/f00004")]);
    fs::remove_dir(dir.path("out/d000/f00004.zst.age")).unwrap();
    dir.ok(&line);
    assert_eq!(files_of(&dir.path("tree")), 0);
    dir.ok("restore out back -q -i key --rm");
    assert_eq!(finished(&dir.path("out")).len(), 0);
    let contents = |root: &str| -> Vec<(PathBuf, Node)> {
        look(&dir.path(root)).into_iter().map(|(name, seen)| (name, seen.node)).collect()
    };
    assert!(contents("back") == contents("same"));
    dir.fails("process same out2 -q --rm --no-sync", 2);
}

/// A reader of the sealed tree learns only its names and lengths.
#[test]
fn the_journal_of_a_sealed_tree_tells_nothing_of_its_inputs() {
    let (dir, recipient) = TestDir::with_key();
    fs::create_dir(dir.path("tree")).unwrap();
    let content = text(3000, 1);
    dir.write("tree/secret", &content);
    dir.ok("process tree bare -q");
    dir.ok(&format!("process tree sealed -q -r {recipient}"));
    let hash = format!("{:016x}", twox_hash::XxHash64::oneshot(0, &content));
    let journal = |tree: &str| String::from_utf8(dir.read(&format!("{tree}/.pipeline-journal"))).unwrap();
    assert!(journal("bare").contains(&hash) && journal("bare").contains("\"in\":"));
    assert!(!journal("sealed").contains(&hash) && !journal("sealed").contains("\"in\":"), "{}", journal("sealed"));
    // On another machine the record of the inputs is missing: the run processes all files again, and loses nothing.
    fs::remove_dir_all(dir.path("state")).unwrap();
    let (report, _) = dir.batch_report(&format!("process tree sealed -q -r {recipient}"), 0);
    assert_eq!(counts(&report), words([("file_count", 1), ("redone_count", 1)]));
    dir.ok("verify sealed -q -i key");
}
