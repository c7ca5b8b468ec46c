//! Tests of trees, journals and directories that are copied, belong to somebody else, or change during a run: a run
//! reads, writes and deletes nothing outside of its arguments, and reports nothing as done that is not.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use crate::support::child::{Running, bytes_read, wait_until};
use crate::support::tree::{finished, plant_small, remove};
use crate::support::{TestDir, noise};

#[test]
fn two_copies_of_an_encrypted_tree_do_not_answer_for_each_other() {
    let (dir, recipient) = TestDir::with_key();
    let counts = |line: &str| {
        let (report, _) = dir.batch_report(&format!("{line} -q -r {recipient}"), 0);
        ["redone_count", "unchanged_count"].map(|count| report["batch"][count].as_u64().unwrap())
    };
    dir.write("in/file", b"the first version");
    counts("process in first");
    dir.tool("cp", &["-a", "first", "second"], None);
    dir.write("in/file", b"the second version");
    assert_eq!(counts("process in first"), [1, 0]);
    dir.write("in/file", b"the third version, of another length");
    counts("process in second --force");
    assert_eq!(counts("process in second"), [0, 1]);
    assert_eq!(counts("process in first --rm"), [1, 0], "the other copy's run is not this one's");
    for tree in ["first", "second"] {
        dir.ok(&format!("verify {tree} -q -i key"));
        let back = dir.ok(&format!("cat {tree}/file.zst.age -i key")).stdout;
        assert_eq!(back, b"the third version, of another length");
    }
}

#[test]
fn a_link_that_takes_the_place_of_a_directory_meanwhile_leads_nowhere() {
    let dir = TestDir::new();
    for flags in ["", "--rm"] {
        dir.write("spool/a", &noise(3_000_000, 1));
        dir.write("spool/sub/secret", b"bait");
        dir.write("victim/secret", b"what is nobody's business");
        let line = format!("process spool out -q -j 1 --limit-rate 1M {flags}");
        let mut child = Running(dir.command(line.split_whitespace()).stderr(Stdio::piped()).spawn().unwrap());
        // The scan of the tree is complete, and the first file takes three seconds.
        wait_until("its first file is worked on", || bytes_read(&child) > 500_000);
        fs::rename(dir.path("spool/sub"), dir.path("elsewhere")).unwrap();
        symlink(dir.path("victim"), dir.path("spool/sub")).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3), "{line}");
        assert_eq!(finished(&dir.path("out")).len(), 1, "{line}");
        assert_eq!(dir.read("victim/secret"), b"what is nobody's business");
        assert!(dir.path("elsewhere/secret").exists() && !dir.path("out/sub/secret.zst").exists());
        ["spool", "elsewhere", "out"].iter().for_each(|name| remove(&dir.path(name)));
    }
}

#[test]
fn what_rm_left_as_all_there_is_is_missed_until_that_is_said_to_be_right() {
    let dir = TestDir::new();
    let missing = |name: &str| vec![(name.to_owned(), "journal_differs".to_owned())];
    dir.write("spool/day1", b"the first day");
    dir.ok("process spool out -q --rm");
    fs::remove_file(dir.path("out/day1.zst")).unwrap();
    dir.write("spool/day2", b"the second day");
    for _ in 0..2 {
        assert_eq!(dir.failed_kinds("process spool out -q --rm", 3), missing("out/day1.zst"));
        assert_eq!(dir.failed_kinds("verify out -q", 3), missing("out/day1.zst"));
    }
    dir.ok("process spool out -q --rm --force");
    dir.ok("verify out -q");
    // A run for one part of the tree does not change the record of the rest.
    dir.write("p/one", b"one");
    dir.write("q/two", b"two");
    dir.ok("process p q -o both -q");
    fs::remove_file(dir.path("both/q/two.zst")).unwrap();
    dir.ok("process p q/ p/one -o both -q --force --exclude two");
    dir.ok("process p/one both/ -q --force");
    assert_eq!(dir.failed_kinds("verify both -q", 3), missing("both/q/two.zst"));
}

#[test]
fn salvage_leaves_what_was_restored_whole_of_an_older_input_and_says_so() {
    let dir = TestDir::new();
    dir.write("in/file", b"the first version");
    dir.ok("process in made -q");
    dir.ok("restore made back -q");
    dir.write("in/file", b"the second version, which is longer");
    dir.ok("process in made -q");
    let kept = vec![("made/file.zst".to_owned(), "would_overwrite".to_owned())];
    assert_eq!(dir.failed_kinds("restore --salvage made back -q", 3), kept);
    assert_eq!(dir.read("back/file"), b"the first version");
    dir.ok("restore --salvage made back -q --force");
    assert_eq!(dir.read("back/file"), b"the second version, which is longer");
}

#[test]
fn a_dash_in_a_list_is_a_file_of_that_name() {
    let dir = TestDir::new();
    dir.write("-", b"what is in the file");
    dir.write("list", b"-\n");
    for line in ["process --files-from list -o out -q", "process --files-from - -o out -q"] {
        let ran = dir.run_with(line, b"-\n");
        assert!(ran.status.success(), "{line}: {ran}");
        assert_eq!(dir.ok("cat out/-.zst").stdout, b"what is in the file", "{line}");
        remove(&dir.path("out"));
    }
}

#[test]
fn what_links_lead_to_is_not_deleted() {
    let dir = TestDir::new();
    dir.write("victim/file", b"not in the tree");
    fs::create_dir(dir.path("tree")).unwrap();
    symlink("../victim", dir.path("tree/link")).unwrap();
    let said = dir.fails("process tree out -q --links follow --rm", 2);
    assert!(said.contains("--rm") && said.contains("--links follow"), "{said}");
    dir.ok("process tree out -q --rm");
    assert!(dir.path("victim/file").exists() && dir.path("tree/link").is_symlink());
}

#[test]
fn a_tree_brings_no_journal_and_no_temporaries_with_it() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 2);
    dir.ok("process tree made -q");
    let other = dir.read("made/d000/f00000.zst");
    for name in ["made/.pipeline-journal.zst", "made/d000/.pipeline-0123456789abcdef-0123456789abcdef.tmp.zst"] {
        dir.write(name, &other);
    }
    dir.write("made/..zst", &other);
    dir.write("made/...zst", &other);
    let (report, _) = dir.batch_report("restore made back -q", 3);
    assert_eq!((&report["batch"]["skipped_count"], &report["batch"]["failed_count"]), (&2.into(), &0.into()));
    assert_eq!((dir.read("back/..zst"), finished(&dir.path("back")).len()), (dir.read("tree/d000/f00000"), 4));
    assert_eq!(dir.read("back/d000/f00001"), dir.read("tree/d000/f00001"));
}
