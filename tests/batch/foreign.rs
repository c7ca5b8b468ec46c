//! Trees, journals and directories that were copied, are somebody else's, or are changed while they are read: nothing outside of what was named
//! is read, written or deleted, and nothing is called done that is not.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use crate::support::child::{Running, wait_until};
use crate::support::tree::{finished, plant_small, remove, temporaries};
use crate::support::{Bench, noise};

#[test]
fn two_copies_of_an_encrypted_tree_do_not_answer_for_each_other() {
    let (bench, recipient) = Bench::with_key();
    let counts = |line: &str| {
        let (report, _) = bench.batch_report(&format!("{line} -q -r {recipient}"), 0);
        ["redone_count", "unchanged_count"].map(|count| report["batch"][count].as_u64().unwrap())
    };
    bench.write("in/file", b"the first version");
    counts("process in first");
    bench.tool("cp", &["-a", "first", "second"], None);
    bench.write("in/file", b"the second version");
    assert_eq!(counts("process in first"), [1, 0]);
    bench.write("in/file", b"the third version, of another length");
    counts("process in second --force");
    assert_eq!(counts("process in second"), [0, 1]);
    assert_eq!(counts("process in first --rm"), [1, 0], "the other copy's run is not this one's");
    for tree in ["first", "second"] {
        bench.ok(&format!("verify {tree} -q -i key"));
        let back = bench.ok(&format!("cat {tree}/file.zst.age -i key")).stdout;
        assert_eq!(back, b"the third version, of another length");
    }
}

#[test]
fn a_link_that_takes_the_place_of_a_directory_meanwhile_leads_nowhere() {
    let bench = Bench::new();
    for flags in ["", "--rm"] {
        bench.write("spool/a", &noise(3_000_000, 1));
        bench.write("spool/sub/secret", b"bait");
        bench.write("victim/secret", b"what is nobody's business");
        let line = format!("process spool out -q -j 1 --limit-rate 1M {flags}");
        let mut child = Running(bench.command(line.split_whitespace()).stderr(Stdio::piped()).spawn().unwrap());
        // The tree was looked at, and its first file takes three seconds.
        wait_until("its first file is worked on", || !temporaries(&bench.path("out")).is_empty());
        fs::rename(bench.path("spool/sub"), bench.path("elsewhere")).unwrap();
        symlink(bench.path("victim"), bench.path("spool/sub")).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3), "{line}");
        assert_eq!(finished(&bench.path("out")).len(), 1, "{line}");
        assert_eq!(bench.read("victim/secret"), b"what is nobody's business");
        assert!(bench.path("elsewhere/secret").exists() && !bench.path("out/sub/secret.zst").exists());
        ["spool", "elsewhere", "out"].iter().for_each(|name| remove(&bench.path(name)));
    }
}

#[test]
fn what_rm_left_as_all_there_is_is_missed_until_that_is_said_to_be_right() {
    let bench = Bench::new();
    let lost = "'out/day1.zst': it is missing, and --rm had deleted its input; --force forgets it";
    bench.write("spool/day1", b"the first day");
    bench.ok("process spool out -q --rm");
    fs::remove_file(bench.path("out/day1.zst")).unwrap();
    bench.write("spool/day2", b"the second day");
    for _ in 0..2 {
        let ran = bench.run("process spool out -q --rm");
        assert!(ran.status.code() == Some(3) && ran.stderr.contains(lost), "{ran}");
        let ran = bench.run("verify out -q");
        assert!(ran.status.code() == Some(3) && ran.stderr.contains("day1.zst': it is missing"), "{ran}");
    }
    bench.ok("process spool out -q --rm --force");
    bench.ok("verify out -q");
    // A run for some of it tells nothing of the rest.
    bench.write("p/one", b"one");
    bench.write("q/two", b"two");
    bench.ok("process p q -o both -q");
    fs::remove_file(bench.path("both/q/two.zst")).unwrap();
    bench.ok("process p q/ p/one -o both -q --force --exclude two");
    bench.ok("process p/one both/ -q --force");
    assert!(bench.run("verify both -q").stderr.contains("two.zst': it is missing"));
}

#[test]
fn salvage_leaves_what_was_restored_whole_of_an_older_input_and_says_so() {
    let bench = Bench::new();
    bench.write("in/file", b"the first version");
    bench.ok("process in made -q");
    bench.ok("restore made back -q");
    bench.write("in/file", b"the second version, which is longer");
    bench.ok("process in made -q");
    let ran = bench.run("restore --salvage made back -q");
    assert!(ran.status.code() == Some(3) && ran.stderr.contains("was restored whole, from what has changed"), "{ran}");
    assert_eq!(bench.read("back/file"), b"the first version");
    bench.ok("restore --salvage made back -q --force");
    assert_eq!(bench.read("back/file"), b"the second version, which is longer");
}

#[test]
fn a_dash_in_a_list_is_a_file_of_that_name() {
    let bench = Bench::new();
    bench.write("-", b"what is in the file");
    bench.write("list", b"-\n");
    for line in ["process --files-from list -o out -q", "process --files-from - -o out -q"] {
        let ran = bench.run_with(line, b"-\n");
        assert!(ran.status.success(), "{line}: {ran}");
        assert_eq!(bench.ok("cat out/-.zst").stdout, b"what is in the file", "{line}");
        remove(&bench.path("out"));
    }
}

#[test]
fn what_links_lead_to_is_not_deleted() {
    let bench = Bench::new();
    bench.write("victim/file", b"not in the tree");
    fs::create_dir(bench.path("tree")).unwrap();
    symlink("../victim", bench.path("tree/link")).unwrap();
    let ran = bench.run("process tree out -q --links follow --rm");
    assert!(ran.status.code() == Some(2) && ran.stderr.contains("would delete what links lead to"), "{ran}");
    bench.ok("process tree out -q --rm");
    assert!(bench.path("victim/file").exists() && bench.path("tree/link").is_symlink());
}

#[test]
fn a_tree_brings_no_journal_and_no_temporaries_with_it() {
    let bench = Bench::new();
    plant_small(&bench.path("tree"), 2);
    bench.ok("process tree made -q");
    let other = bench.read("made/d000/f00000.zst");
    for name in ["made/.pipeline-journal.zst", "made/d000/.pipeline-0123456789abcdef-0123456789abcdef.tmp.zst"] {
        bench.write(name, &other);
    }
    bench.write("made/..zst", &other);
    bench.write("made/...zst", &other);
    let ran = bench.run("restore made back -q");
    assert!(ran.status.code() == Some(3) && ran.stderr.matches("would have a name that").count() == 2, "{ran}");
    assert_eq!((bench.read("back/..zst"), finished(&bench.path("back")).len()), (bench.read("tree/d000/f00000"), 4));
    assert_eq!(bench.read("back/d000/f00001"), bench.read("tree/d000/f00001"));
}
