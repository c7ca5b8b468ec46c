//! Tests of what `--rm`, `rekey` and `verify` of a tree may destroy or report: an input is deleted only when its output
//! exists, is right, and is not the only copy of something else.

use std::fs;

use crate::support::TestDir;
use crate::support::tree::{finished, plant_small};

#[test]
fn a_name_that_comes_again_does_not_replace_what_rm_left_of_the_one_before() {
    let dir = TestDir::new();
    fs::create_dir(dir.path("logs")).unwrap();
    for again in ["process logs archive -q --rm", "process logs archive -q"] {
        dir.write("logs/app.log", b"the first day");
        dir.ok("process logs archive -q --rm");
        assert!(!dir.path("logs/app.log").exists());
        dir.write("logs/app.log", b"the second day, longer");
        let kept = vec![("logs/app.log".to_owned(), "would_overwrite".to_owned())];
        assert_eq!(dir.failed_kinds(again, 3), kept, "{again}");
        assert!(dir.run(again).stderr.contains("\nhint: --force"), "{again}");
        assert_eq!(dir.ok("cat archive/app.log.zst").stdout, b"the first day");
        assert!(dir.path("logs/app.log").exists());
        dir.ok("process logs archive -q --force");
        assert_eq!(dir.ok("cat archive/app.log.zst").stdout, b"the second day, longer");
        fs::remove_dir_all(dir.path("archive")).unwrap();
    }
}

#[test]
fn an_input_whose_output_nothing_shows_to_be_whole_stays_however_often_rm_is_asked_for() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 3);
    dir.ok("process tree made -q");
    // A file without a table, as zstd writes it.
    dir.write("plain", &b"content ".repeat(1000));
    dir.tool("zstd", &["-q", "plain", "-o", "made/foreign.zst"], None);
    for _ in 0..3 {
        dir.run("restore made back -q --rm");
        assert_eq!(finished(&dir.path("made")).len(), 1);
        assert_eq!(dir.read("back/foreign"), dir.read("plain"));
    }
    // --require-table refuses a file that an earlier run accepted.
    let refused = vec![("made/foreign.zst".to_owned(), "table_missing".to_owned())];
    assert_eq!(dir.failed_kinds("restore made back -q --require-table", 3), refused);
}

#[test]
fn rm_of_what_an_earlier_run_did_deletes_no_input_whose_output_is_wrong() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 5);
    dir.ok("process tree out -q --no-sync");
    // Other bytes with the same length, inode and time: a disk that loses a write gives this.
    let path = dir.path("out/d000/f00001.zst");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let (report, said) = dir.batch_report("process tree out -q --rm", 3);
    let warned = report["files"].as_array().unwrap().iter().filter(|file| file["ended"] == "warned");
    assert_eq!(warned.map(|file| file["source"].as_str().unwrap()).collect::<Vec<_>>(), ["tree/d000/f00001"], "{said}");
    assert_eq!(finished(&dir.path("tree")).len(), 1);
}

#[test]
fn a_tree_that_holds_compressed_files_and_is_encrypted_alone_is_verified_well() {
    let (dir, recipient) = TestDir::with_key();
    plant_small(&dir.path("tree"), 3);
    dir.ok("process tree/d000/f00000 tree/a.zst -q");
    dir.ok(&format!("process tree out -q --no-compress -r {recipient}"));
    dir.ok("verify out -q -i key");
}

#[test]
fn a_tree_with_new_recipients_elsewhere_is_verified_well_and_made_again_in_another_form() {
    let (dir, recipient) = TestDir::with_key();
    let other = dir.keygen("-o key2");
    plant_small(&dir.path("tree"), 3);
    dir.ok(&format!("process tree out -q -r {recipient}"));
    dir.ok(&format!("rekey out copy -q -i key -r {other}"));
    dir.ok("verify copy -q -i key2");
    let (report, _) = dir.batch_report(&format!("rekey out copy -q -i key -r {other} --armor"), 0);
    assert_eq!(report["batch"]["redone_count"], 3);
    assert!(dir.read("copy/d000/f00001.zst.age").starts_with(b"-----BEGIN AGE"));
    let (report, _) = dir.batch_report(&format!("rekey out copy -q -i key -r {other} --armor"), 0);
    assert_eq!(report["batch"]["unchanged_count"], 3);
}

#[test]
fn rekey_in_place_leaves_permission_bits_of_directories_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, recipient) = TestDir::with_key();
    let other = dir.keygen("-o key2");
    plant_small(&dir.path("tree"), 3);
    dir.ok(&format!("process tree out -q -r {recipient}"));
    fs::set_permissions(dir.path("out/d000"), fs::Permissions::from_mode(0o2775)).unwrap();
    dir.ok(&format!("rekey --in-place out -q -i key -r {other}"));
    assert_eq!(fs::metadata(dir.path("out/d000")).unwrap().permissions().mode() & 0o7777, 0o2775);
    dir.ok("restore out back -q -i key2");
}

#[test]
fn an_output_directory_that_was_there_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 3);
    fs::create_dir(dir.path("out")).unwrap();
    fs::set_permissions(dir.path("out"), fs::Permissions::from_mode(0o1710)).unwrap();
    dir.ok("process tree out -q");
    assert_eq!(fs::metadata(dir.path("out")).unwrap().permissions().mode() & 0o7777, 0o1710);
}

#[test]
fn salvage_leaves_what_was_restored_whole() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 3);
    dir.ok("process tree out -q");
    dir.ok("restore out back -q");
    let mut bytes = dir.read("out/d000/f00001.zst");
    bytes[12] ^= 1;
    dir.write("out/d000/f00001.zst", &bytes);
    dir.run("restore --salvage out back -q");
    crate::support::tree::assert_same(&dir.path("tree"), &dir.path("back"), "salvage over a good tree");
}

#[test]
fn an_output_in_a_tree_that_is_read_by_another_name_is_refused() {
    let dir = TestDir::new();
    plant_small(&dir.path("sub"), 3);
    plant_small(&dir.path("other"), 3);
    let ran = dir.run("process sub other -o .");
    assert_eq!(ran.status.code(), Some(2), "{ran}");
    assert_eq!(finished(&dir.path("sub")).len(), 3);
}

#[test]
fn what_was_deleted_on_both_sides_is_missed_until_the_next_whole_run() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 4);
    dir.ok("process tree out -q");
    fs::remove_file(dir.path("tree/d000/f00002")).unwrap();
    fs::remove_file(dir.path("out/d000/f00002.zst")).unwrap();
    let missing = vec![("out/d000/f00002.zst".to_owned(), "journal_differs".to_owned())];
    assert_eq!(dir.failed_kinds("verify out -q", 3), missing);
    dir.ok("process tree out -q --exclude f00001");
    assert_eq!(dir.run("verify out -q").status.code(), Some(3), "only a run of the whole tree tells");
    dir.ok("process tree out -q");
    dir.ok("verify out -q");
}
