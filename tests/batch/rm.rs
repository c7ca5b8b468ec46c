//! What `--rm`, `rekey` and `verify` of a tree may destroy or say, and never do: an input goes only when its output is there, is right, and is
//! not the only copy of something else.

use std::fs;

use crate::support::Bench;
use crate::support::tree::{finished, plant_small};

#[test]
fn a_name_that_comes_again_does_not_replace_what_rm_left_of_the_one_before() {
    let bench = Bench::new();
    fs::create_dir(bench.path("logs")).unwrap();
    for again in ["process logs archive -q --rm", "process logs archive -q"] {
        bench.write("logs/app.log", b"the first day");
        bench.ok("process logs archive -q --rm");
        assert!(!bench.path("logs/app.log").exists());
        bench.write("logs/app.log", b"the second day, longer");
        let ran = bench.run(again);
        assert_eq!(ran.status.code(), Some(3), "{again}: {ran}");
        assert!(ran.stderr.contains("may be all there is of an input that --rm deleted\nhint: --force"), "{ran}");
        assert_eq!(bench.ok("cat archive/app.log.zst").stdout, b"the first day");
        assert!(bench.path("logs/app.log").exists());
        bench.ok("process logs archive -q --force");
        assert_eq!(bench.ok("cat archive/app.log.zst").stdout, b"the second day, longer");
        fs::remove_dir_all(bench.path("archive")).unwrap();
    }
}

#[test]
fn an_input_whose_output_nothing_shows_to_be_whole_stays_however_often_rm_is_asked_for() {
    let bench = Bench::new();
    plant_small(&bench.path("tree"), 3);
    bench.ok("process tree made -q");
    // A file without a table, as zstd writes it.
    bench.write("plain", &b"content ".repeat(1000));
    bench.tool("zstd", &["-q", "plain", "-o", "made/foreign.zst"], None);
    for _ in 0..3 {
        bench.run("restore made back -q --rm");
        assert_eq!(finished(&bench.path("made")).len(), 1);
        assert_eq!(bench.read("back/foreign"), bench.read("plain"));
    }
    // What an earlier run let pass is refused when that is asked for.
    let ran = bench.run("restore made back -q --require-table");
    assert!(ran.stderr.contains("without --require-table it is restored"), "{ran}");
    assert_eq!(ran.status.code(), Some(3));
}

#[test]
fn rm_of_what_an_earlier_run_did_deletes_no_input_whose_output_is_wrong() {
    let bench = Bench::new();
    plant_small(&bench.path("tree"), 5);
    bench.ok("process tree out -q --no-sync");
    // The same length, inode and time, and other bytes: what a disk does that loses a write.
    let path = bench.path("out/d000/f00001.zst");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let ran = bench.run("process tree out -q --rm");
    assert_eq!(ran.status.code(), Some(3), "{ran}");
    assert!(ran.stderr.contains("f00001' is kept: its output is not what was written"), "{ran}");
    assert_eq!(finished(&bench.path("tree")).len(), 1);
}

#[test]
fn a_tree_that_holds_compressed_files_and_is_encrypted_alone_is_verified_well() {
    let (bench, recipient) = Bench::with_key();
    plant_small(&bench.path("tree"), 3);
    bench.ok("process tree/d000/f00000 tree/a.zst -q");
    bench.ok(&format!("process tree out -q --no-compress -r {recipient}"));
    bench.ok("verify out -q -i key");
}

#[test]
fn a_tree_with_new_recipients_elsewhere_is_verified_well_and_made_again_in_another_form() {
    let (bench, recipient) = Bench::with_key();
    let other = bench.keygen("-o key2");
    plant_small(&bench.path("tree"), 3);
    bench.ok(&format!("process tree out -q -r {recipient}"));
    bench.ok(&format!("rekey out copy -q -i key -r {other}"));
    bench.ok("verify copy -q -i key2");
    let (report, _) = bench.batch_report(&format!("rekey out copy -q -i key -r {other} --armor"), 0);
    assert_eq!(report["batch"]["redone_count"], 3);
    assert!(bench.read("copy/d000/f00001.zst.age").starts_with(b"-----BEGIN AGE"));
    let (report, _) = bench.batch_report(&format!("rekey out copy -q -i key -r {other} --armor"), 0);
    assert_eq!(report["batch"]["unchanged_count"], 3);
}

#[test]
fn rekey_in_place_leaves_permission_bits_of_directories_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (bench, recipient) = Bench::with_key();
    let other = bench.keygen("-o key2");
    plant_small(&bench.path("tree"), 3);
    bench.ok(&format!("process tree out -q -r {recipient}"));
    fs::set_permissions(bench.path("out/d000"), fs::Permissions::from_mode(0o2775)).unwrap();
    bench.ok(&format!("rekey --in-place out -q -i key -r {other}"));
    assert_eq!(fs::metadata(bench.path("out/d000")).unwrap().permissions().mode() & 0o7777, 0o2775);
    bench.ok("restore out back -q -i key2");
}

#[test]
fn an_output_directory_that_was_there_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    plant_small(&bench.path("tree"), 3);
    fs::create_dir(bench.path("out")).unwrap();
    fs::set_permissions(bench.path("out"), fs::Permissions::from_mode(0o1710)).unwrap();
    bench.ok("process tree out -q");
    assert_eq!(fs::metadata(bench.path("out")).unwrap().permissions().mode() & 0o7777, 0o1710);
}

#[test]
fn salvage_leaves_what_was_restored_whole() {
    let bench = Bench::new();
    plant_small(&bench.path("tree"), 3);
    bench.ok("process tree out -q");
    bench.ok("restore out back -q");
    let mut bytes = bench.read("out/d000/f00001.zst");
    bytes[12] ^= 1;
    bench.write("out/d000/f00001.zst", &bytes);
    bench.run("restore --salvage out back -q");
    crate::support::tree::assert_same(&bench.path("tree"), &bench.path("back"), "salvage over a good tree");
}

#[test]
fn an_output_in_a_tree_that_is_read_by_another_name_is_refused() {
    let bench = Bench::new();
    plant_small(&bench.path("sub"), 3);
    plant_small(&bench.path("other"), 3);
    let ran = bench.run("process sub other -o .");
    assert_eq!(ran.status.code(), Some(2), "{ran}");
    assert_eq!(finished(&bench.path("sub")).len(), 3);
}

#[test]
fn what_was_deleted_on_both_sides_is_missed_until_the_next_whole_run() {
    let bench = Bench::new();
    plant_small(&bench.path("tree"), 4);
    bench.ok("process tree out -q");
    fs::remove_file(bench.path("tree/d000/f00002")).unwrap();
    fs::remove_file(bench.path("out/d000/f00002.zst")).unwrap();
    let ran = bench.run("verify out -q");
    assert!(ran.status.code() == Some(3) && ran.stderr.contains("f00002.zst': it is missing"), "{ran}");
    bench.ok("process tree out -q --exclude f00001");
    assert_eq!(bench.run("verify out -q").status.code(), Some(3), "only a run of the whole tree tells");
    bench.ok("process tree out -q");
    bench.ok("verify out -q");
}
