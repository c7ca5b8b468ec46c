//! Tests of reports for machines: metrics, the histogram log, JSON. They compare each report with the others and with
//! its documentation.

mod exposition;
mod logs;
mod metrics;
mod schemas;
use crate::support::{TestDir, text};

/// Makes a directory with an identity in `key`, and `in` of several chunks of 64 KiB.
fn dir_with_input() -> (TestDir, String) {
    let (dir, recipient) = TestDir::with_key();
    dir.write("in", &text(300_000, 1));
    (dir, recipient)
}

#[test]
fn a_file_that_is_read_or_written_takes_no_report_and_is_refused_before_anything_is_read() {
    let (dir, recipient) = dir_with_input();
    dir.ok(&format!("process in sealed -r {recipient} -q"));
    dir.ok("process in good -q");
    dir.write("old", b"old");
    std::os::unix::fs::symlink(".", dir.path("dir")).unwrap();
    let before = ["in", "good", "key", "old"].map(|name| dir.read(name));
    for flag in ["--stats-file", "--prometheus", "--hdr-log"] {
        for (line, code) in [
            ("process in out FLAG in", 2),
            ("process in out FLAG out", 2),
            ("process in out FLAG dir/out", 2),
            ("process in old --force FLAG dir/old", 2),
            ("process in out -R key FLAG key", 2),
            ("restore sealed out -i key FLAG key", 2),
            ("verify good --against in FLAG in", 2),
            ("cat good FLAG ./good", 2),
            ("process in out FLAG -", 2),
            ("process in out FLAG missing/report", 1),
            ("process in out FLAG dir", 1),
            ("restore good out --salvage FLAG report", 2),
        ] {
            dir.fails(&line.replace("FLAG", flag), code);
        }
    }
    for line in [
        "process in out --stats-file a --hdr-log a",
        "process in out --prometheus a --hdr-log ./a",
        "process in out --prometheus old --stats-file dir/old",
    ] {
        dir.fails(line, 2);
    }
    assert_eq!(["in", "good", "key", "old"].map(|name| dir.read(name)), before);
    // Several reports may go to the same device.
    dir.ok("process in out --stats-file /dev/null --prometheus /dev/null --hdr-log /dev/null");
}

#[test]
fn quiet_runs_write_their_files_and_so_does_cat() {
    let (dir, _) = dir_with_input();
    for line in ["process in out -q", "restore out back -q", "verify out -q", "cat out", "cat out --range 5..7"] {
        let ran = dir.ok(&format!("{line} --stats-file stats --prometheus metrics.prom --hdr-log log"));
        assert_eq!(ran.stderr, "", "{line}");
        for name in ["stats", "metrics.prom", "log"] {
            assert!(!dir.read(name).is_empty(), "{line}: {name}");
            std::fs::remove_file(dir.path(name)).unwrap();
        }
    }
    let said = dir.ok("cat out --stats text --hdr-log log").stderr;
    assert!(said.starts_with("read: "), "{said}");
}
