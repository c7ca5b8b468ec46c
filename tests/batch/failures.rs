//! Tests of bad files among good ones: a run names each bad file once and processes all others correctly.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::tree::{Node, finished, look, plant_small, remove, temporaries};
use crate::support::{TestDir, noise, share, text};
use serde_json::Value;

/// Length of the seek table of a file of one frame: a skippable frame with one entry and a footer.
const TABLE_OF_ONE_LEN: usize = 8 + 12 + 9;

/// The number of files in a tree.
fn count() -> usize {
    share(300, 1000)
}

/// Makes a tree of many files, and its outputs in `made`: every other directory is bare, the others are sealed.
fn dir_with_files() -> TestDir {
    let (dir, recipient) = TestDir::with_key();
    dir.write("to", recipient.as_bytes());
    plant_small(&dir.path("tree"), count());
    fs::write(dir.path("tree/d000/long"), text(300_000, 5)).unwrap();
    fs::write(dir.path("tree/d006/words"), text(3000, 6)).unwrap();
    dir.ok("process tree made -q --no-sync --chunk-size 64K --include d??[02468]/** --include d??[02468]");
    dir.ok("process tree made -q --no-sync --chunk-size 64K --include d??[13579]/** --include d??[13579] -R to");
    assert_eq!(finished(&dir.path("made")).len(), count() + 2);
    dir
}

/// The bad files, by the names that a run must report.
struct Bad<'a> {
    dir: &'a TestDir,
    names: BTreeSet<String>,
}

impl Bad<'_> {
    fn spoil(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.dir.path(format!("made/{name}"));
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
        self.add(&format!("made/{name}"));
    }

    fn add(&mut self, name: &str) {
        assert!(self.names.insert(name.to_owned()), "{name} is bad already");
    }

    /// Damages the bytes of some files in ways that every command detects.
    fn spoil_bytes(&mut self) {
        self.spoil("d000/f00003.zst", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
        self.spoil("d000/f00004.zst", |bytes| bytes.truncate(bytes.len() / 2));
        self.spoil("d002/f00041.zst", |bytes| bytes[0] ^= 0xff);
        self.spoil("d002/f00042.zst", Vec::clear);
        self.spoil("d004/f00083.zst", |bytes| *bytes = b"no zstd at all, and no age either".to_vec());
        // Cut in the middle of one of several frames, so that only the first ones are whole.
        self.spoil("d000/long.zst", |bytes| bytes.truncate(bytes.len() * 2 / 3));
        self.spoil("d001/f00021.zst.age", |bytes| {
            let mac = bytes.windows(5).position(|part| part == b"\n--- ").unwrap() + 5;
            bytes[mac] = if bytes[mac] == b'A' { b'B' } else { b'A' };
        });
        self.spoil("d001/f00022.zst.age", |bytes| *bytes.last_mut().unwrap() ^= 1);
        self.spoil("d003/f00061.zst.age", |bytes| bytes.truncate(bytes.len() - 17));
        self.spoil("d003/f00062.zst.age", |bytes| bytes.truncate(100));
        let other = self.dir.keygen("-o other-key");
        self.dir.ok(&format!("process tree/d003/f00064 for-another -q -r {other}"));
        let for_another = self.dir.read("for-another");
        self.spoil("d003/f00064.zst.age", |bytes| *bytes = for_another);
    }

    /// Asserts that the messages name each bad file once as failed, and no other file.
    #[track_caller]
    fn assert_told(&self, said: &str, report: &Value) {
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("pipeline: error: ")).collect();
        for name in &self.names {
            let quoted = format!("'{name}'");
            let told = errors.iter().filter(|line| line.contains(&quoted)).count();
            assert_eq!(told, 1, "{name} is told {told} times: {said}");
        }
        assert_eq!(errors.len(), self.names.len(), "{said}");
        let failed = report["files"].as_array().unwrap().iter().filter(|file| file["ended"] == "failed");
        let failed: Vec<String> = failed.map(|file| file["source"].as_str().unwrap().to_owned()).collect();
        assert_eq!(failed.len(), self.names.len(), "{failed:?}");
        assert_eq!(failed.into_iter().collect::<BTreeSet<String>>(), self.names);
        assert_eq!(report["batch"]["failed_count"], self.names.len() as u64);
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn restore_brings_every_good_file_back_and_names_each_bad_one_once() {
    let dir = dir_with_files();
    let mut bad = Bad { dir: &dir, names: BTreeSet::new() };
    bad.spoil_bytes();
    fs::write(dir.path("made/d004/foreign.txt"), noise(5000, 77)).unwrap();
    bad.add("made/d004/foreign.txt");
    // Outputs whose names are taken by directories.
    fs::create_dir_all(dir.path("back/made/d005/f00107")).unwrap();
    bad.add("made/d005/f00107.zst.age");
    dir.write("back/made/d005/f00108", b"not ours");
    bad.add("made/d005/f00108.zst.age");
    fs::create_dir_all(dir.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(dir.path("elsewhere"), dir.path("back/made/d005/f00109")).unwrap();
    bad.add("made/d005/f00109.zst.age");
    // A listed file that does not exist.
    let mut list: Vec<String> =
        finished(&dir.path("made")).keys().map(|name| format!("made/{}", name.display())).collect();
    list.extend(["made/d006/gone.zst", "made/no/such.zst"].map(str::to_owned));
    bad.add("made/d006/gone.zst");
    bad.add("made/no/such.zst");
    dir.write("list", list.join("\n").as_bytes());

    let (report, said) = dir.batch_report("restore --files-from list -o back -q --no-sync -i key", 3);
    bad.assert_told(&said, &report);
    let (tree, back) = (look(&dir.path("tree")), look(&dir.path("back/made")));
    let mut good_count = 0;
    for (name, seen) in tree.iter().filter(|(_, seen)| matches!(seen.node, Node::File(_))) {
        let is_bad = bad.names.iter().any(|bad| {
            let bad = Path::new(bad).strip_prefix("made").unwrap().to_str().unwrap();
            Path::new(bad.trim_end_matches(".age").trim_end_matches(".zst")) == name
        });
        match back.get(name) {
            Some(is) if !is_bad => {
                assert!((&is.node, is.mtime) == (&seen.node, seen.mtime), "{name:?} is not what it was");
                good_count += 1;
            }
            Some(is) => {
                assert!(!matches!(is.node, Node::File(ref content) if content != b"not ours"), "{name:?} came to be");
            }
            None => assert!(is_bad, "{name:?} did not come back"),
        }
    }
    assert_eq!(report["batch"]["done_count"], good_count as u64);
    assert_eq!(dir.read("back/made/d005/f00108"), b"not ours");
    assert_eq!(fs::read_dir(dir.path("elsewhere")).unwrap().count(), 0);
    assert_eq!(temporaries(&dir.path("back")), Vec::<PathBuf>::new());

    // The next run tries the bad files again, and no other.
    let (report, said) = dir.batch_report("restore --files-from list -o back -q --no-sync -i key", 3);
    bad.assert_told(&said, &report);
    assert_eq!((&report["batch"]["unchanged_count"], &report["batch"]["done_count"]), (&good_count.into(), &0.into()));
}

#[test]
fn verify_passes_every_good_file_and_names_each_bad_one_once() {
    let dir = dir_with_files();
    let mut bad = Bad { dir: &dir, names: BTreeSet::new() };
    let (report, _) = dir.batch_report("verify made -q -i key", 0);
    assert_eq!(report["batch"]["done_count"], count() as u64 + 2);
    bad.spoil_bytes();
    // Whole frames, but without the last frame and the table.
    bad.spoil("d006/f00120.zst", |bytes| bytes.truncate(bytes.len() - TABLE_OF_ONE_LEN));
    // Valid in itself but different from the recorded output: other content, and the same content in other bytes.
    dir.write("other", b"other content");
    dir.ok("process other other.zst -q");
    let other = dir.read("other.zst");
    bad.spoil("d006/f00121.zst", |bytes| *bytes = other);
    dir.ok("process tree/d006/words twice.zst -q -L -50");
    let twice = dir.read("twice.zst");
    bad.spoil("d006/words.zst", |bytes| *bytes = twice);
    dir.ok("process tree/d005/f00110 sealed-again.zst.age -q -R to");
    let again = dir.read("sealed-again.zst.age");
    bad.spoil("d005/f00110.zst.age", |bytes| *bytes = again);
    fs::write(dir.path("made/d006/foreign.txt"), b"somebody's").unwrap();
    bad.add("made/d006/foreign.txt");
    fs::remove_file(dir.path("made/d006/f00123.zst")).unwrap();
    bad.add("made/d006/f00123.zst");
    let before: Vec<PathBuf> = look(&dir.path("made")).into_keys().collect();

    let (report, said) = dir.batch_report("verify made -q -i key", 3);
    bad.assert_told(&said, &report);
    let files = finished(&dir.path("made")).len() as u64;
    // One of the bad files does not exist any more.
    assert_eq!(report["batch"]["done_count"], files - (bad.names.len() as u64 - 1));
    assert!(before == look(&dir.path("made")).into_keys().collect::<Vec<PathBuf>>(), "verify writes nothing");
}

/// `/proc/self/mem` is a regular file whose beginning nobody can read.
#[test]
fn process_does_every_good_file_and_names_each_bad_one_once() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), count());
    let mut bad = Bad { dir: &dir, names: BTreeSet::new() };
    let mut list: Vec<String> =
        finished(&dir.path("tree")).keys().map(|name| format!("tree/{}", name.display())).collect();
    for unreadable in ["/proc/self/mem", "tree/gone", "no/such", "tree/d000/f00001/below-a-file"] {
        list.insert(list.len() / 2, unreadable.to_owned());
        bad.add(unreadable);
    }
    dir.tool("mkfifo", &["fifo"], None);
    list.push("fifo".to_owned());
    fs::create_dir_all(dir.path("out/tree/d001/f00025.zst")).unwrap();
    bad.add("tree/d001/f00025");
    dir.write("out/tree/d001/f00026.zst", b"not ours");
    bad.add("tree/d001/f00026");
    std::os::unix::fs::symlink("nowhere", dir.path("out/tree/d001/f00027.zst")).unwrap();
    bad.add("tree/d001/f00027");
    // The link is not followed: outputs would end up elsewhere.
    fs::create_dir(dir.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(dir.path("elsewhere"), dir.path("out/tree/d002")).unwrap();
    dir.write("out/tree/d003", b"a file where a directory has to be");
    (40..80).for_each(|index| bad.add(&format!("tree/d00{}/f000{index}", index / 20)));
    dir.write("list", list.join("\n").as_bytes());

    let line = "process --files-from list -o out -q --no-sync --retry-wait 1ms";
    let (report, said) = dir.batch_report(line, 3);
    bad.assert_told(&said, &report);
    assert_eq!(report["batch"]["skipped_count"], 1);
    assert_eq!(said.matches("'fifo'").count(), 1, "{said}");
    let files = report["files"].as_array().unwrap();
    let tries = |name: &str| files.iter().find(|file| file["source"] == name).unwrap()["tries"].clone();
    assert_eq!((tries("/proc/self/mem"), tries("tree/d000/f00001")), (3.into(), 1.into()), "EIO may pass");
    assert_eq!(dir.read("out/tree/d001/f00026.zst"), b"not ours");
    assert_eq!(fs::read_dir(dir.path("elsewhere")).unwrap().count(), 0);
    assert_eq!(temporaries(&dir.path("out")), Vec::<PathBuf>::new());
    let good: Vec<String> = list.iter().filter(|name| !bad.names.contains(*name) && *name != "fifo").cloned().collect();
    for name in &good {
        dir.ok(&format!("verify out/{name}.zst -q --against {name}"));
    }
    assert_eq!(report["batch"]["done_count"], good.len() as u64);
}

#[test]
fn on_error_stop_ends_the_batch_with_the_exit_code_of_the_file_that_failed() {
    let dir = dir_with_files();
    let mut bad = Bad { dir: &dir, names: BTreeSet::new() };
    bad.spoil("d000/f00000.zst", |bytes| bytes[9] ^= 0x40);
    for (line, code) in [
        ("restore made/ back -q -i key --on-error stop --jobs 1", 4),
        // An output of its own: the first run may have done more files before it stopped.
        ("restore made/ other -q --on-error stop --jobs 1 --include d001/**", 5),
        ("restore made/ back -q -i key --on-error stop", 4),
    ] {
        let (report, said) = dir.batch_report(line, code);
        let count = |name: &str| report["batch"][name].as_u64().unwrap();
        // Files that end together are reported together, and the batch may have only twenty.
        assert!(count("left_count") > 0 || count("file_count") == 20, "{line}: {}", report["batch"]);
        assert_eq!(
            count("file_count"),
            count("done_count") + count("unchanged_count") + count("failed_count") + count("left_count")
        );
        assert!(report["batch"]["stopped"].is_string(), "{}", report["batch"]);
        let errors = said.lines().filter(|line| line.starts_with("pipeline: error: ")).count() as u64;
        assert_eq!(errors, count("failed_count") + 1, "{line}: each file, and that it stops there: {said}");
        assert_eq!(temporaries(&dir.path("back")), Vec::<PathBuf>::new());
    }
    dir.ok("process tree/d000/f00000 made/d000/f00000.zst -q -f --chunk-size 64K");
    dir.ok("restore made back -q -i key --on-error stop");
    // Two runs made `tree`, and the last one set the times of its directories.
    assert_eq!(contents(&dir.path("tree")), contents(&dir.path("back")));
}

fn contents(root: &Path) -> Vec<(PathBuf, Node)> {
    look(root).into_iter().map(|(name, seen)| (name, seen.node)).collect()
}

#[test]
fn failures_end_a_batch_at_a_count_or_at_a_share() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 400);
    let spoil = |step: usize| {
        remove(&dir.path("out"));
        for folder in 0..20 {
            fs::create_dir_all(dir.path(format!("out/d{folder:03}"))).unwrap();
        }
        for index in (0..400).step_by(step) {
            fs::write(dir.path(format!("out/d{:03}/f{index:05}.zst", index / 20)), b"not ours").unwrap();
        }
    };
    // One file in `step` is bad; then the flags and the exit code.
    for (step, flags, code) in [
        (1, "--max-failures 5", 1),
        (1, "--max-failures 1", 1),
        (1, "--max-failures 50%", 1),
        (2, "--max-failures 20%", 1),
        (40, "--max-failures 10", 1),
        (40, "--max-failures 11", 3),
        (40, "--max-failures 50%", 3),
        (40, "", 3),
    ] {
        spoil(step);
        let line = format!("process tree out -q --no-sync --jobs 2 {flags}");
        let (report, said) = dir.batch_report(&line, code);
        let count = |name: &str| report["batch"][name].as_u64().unwrap();
        assert_eq!(
            count("done_count") + count("failed_count") + count("left_count"),
            400,
            "{line}: {}",
            report["batch"]
        );
        let errors = said.lines().filter(|line| line.starts_with("pipeline: error: ")).count() as u64;
        if code == 3 {
            assert_eq!((count("failed_count"), count("left_count"), errors), (10, 0, 10), "{line}: {said}");
        } else {
            assert_eq!(errors, count("failed_count") + 1, "{line}: {said}");
            assert!(said.contains("--max-failures") && report["batch"]["stopped"].is_string(), "{line}: {said}");
            // The last of ten bad files may be the last file of all.
            assert!(count("left_count") > 0 || step == 40, "{line}: {}", report["batch"]);
        }
        assert_eq!(finished(&dir.path("out")).len() as u64, 400 / step as u64 + count("done_count"), "{line}");
        assert_eq!(temporaries(&dir.path("out")), Vec::<PathBuf>::new());
    }
}
