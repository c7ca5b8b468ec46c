//! Tests of the output of `--prometheus`.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::dir_with_input;
use super::exposition::{Family, Labels, parse};
use crate::support::TestDir;

type Families = BTreeMap<String, Family>;

fn metrics(dir: &TestDir, name: &str) -> Families {
    parse(&String::from_utf8(dir.read(name)).unwrap())
}

/// The sample of `name` with exactly `labels`, plus the label of the run.
fn value(families: &Families, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let family = ["", "_sum", "_count"].iter().find_map(|suffix| families.get(name.strip_suffix(suffix)?))?;
    let mut found = family.samples.iter().filter(|((known, has), _)| {
        let mut has = has.clone();
        has.remove("run").unwrap();
        let wanted: Labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        known == name && has == wanted
    });
    found.next().map(|(_, value)| *value)
}

#[test]
fn metrics_are_in_the_text_format_and_say_what_the_report_says() {
    let (dir, recipient) = dir_with_input();
    let process = format!("process in out-ENGINE -r {recipient} --chunk-size 64K --engine ENGINE");
    for line in [process.as_str(), "restore out-ENGINE back-ENGINE -i key --engine ENGINE"] {
        for engine in ["channels", "mutex"] {
            let line = line.replace("ENGINE", engine);
            dir.ok(&format!("{line} --stats json --stats-file report --prometheus home.prom"));
            let report: Value = serde_json::from_slice(&dir.read("report")).unwrap();
            hold_against(&metrics(&dir, "home.prom"), &report);
        }
    }
    let mode = std::fs::metadata(dir.path("home.prom")).unwrap().permissions().mode();
    assert_eq!(mode & 0o444, 0o444, "node_exporter is another user");
}

#[test]
fn files_of_a_batch_are_told_by_how_they_ended_and_a_batch_that_stops_is_no_success() {
    let (dir, _) = dir_with_input();
    std::fs::create_dir_all(dir.path("tree/d")).unwrap();
    for name in ["tree/a", "tree/b", "tree/d/c"] {
        dir.write(name, b"content");
    }
    std::fs::create_dir_all(dir.path("out/b.zst")).unwrap();
    let files = |ended| value(&metrics(&dir, "home.prom"), "pipeline_files", &[("ended", ended)]);
    let run = |flags: &str, code| {
        let ran = dir.run(&format!("process tree out --prometheus home.prom {flags}"));
        assert_eq!(ran.status.code(), Some(code), "{ran}");
        value(&metrics(&dir, "home.prom"), "pipeline_run_success", &[])
    };
    assert_eq!(run("", 3), Some(1.0));
    assert_eq!(["done", "unchanged", "failed", "left"].map(files), [2.0, 0.0, 1.0, 0.0].map(Some));
    assert_eq!(run("", 3), Some(1.0));
    assert_eq!(["done", "unchanged", "failed", "left"].map(files), [0.0, 2.0, 1.0, 0.0].map(Some));
    assert_eq!((run("--max-failures 1", 1), files("failed")), (Some(0.0), None));
}

fn hold_against(families: &Families, report: &Value) {
    let is = |name: &str, labels: &[(&str, &str)], wanted: &Value, scale: f64| {
        let (found, wanted) = (value(families, name, labels), wanted.as_f64().unwrap() / scale);
        let found = found.unwrap_or_else(|| panic!("{name} {labels:?} is missing"));
        assert!((found - wanted).abs() <= 1e-9 * wanted.abs(), "{name} {labels:?}: {found} is not {wanted}");
    };
    is("pipeline_run_success", &[], &1.into(), 1.0);
    is("pipeline_run_exit_code", &[], &0.into(), 1.0);
    is("pipeline_run_duration_seconds", &[], &report["wall_ns"], 1e9);
    is("pipeline_read_bytes", &[], &report["read_bytes"], 1.0);
    is("pipeline_written_bytes", &[], &report["written_bytes"], 1.0);
    is("pipeline_content_bytes", &[], &report["content_bytes"], 1.0);
    is("pipeline_frames", &[], &report["frame_count"], 1.0);
    is("pipeline_workers", &[], &report["workers"], 1.0);
    let summary = |name: &str, key: &str, member: &Value, histogram: &Value, scale: f64| {
        let member = member.as_str().unwrap();
        is(&format!("{name}_count"), &[(key, member)], &histogram["count"], 1.0);
        for (quantile, field) in [("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99"), ("1", "max")] {
            if histogram["count"] != 0 {
                is(name, &[(key, member), ("quantile", quantile)], &histogram[field], scale);
            }
        }
    };
    let list = |name: &str| report[name].as_array().unwrap().iter();
    for stage in list("stages") {
        let name = stage["name"].as_str().unwrap();
        is("pipeline_stage_busy_ratio", &[("stage", name)], &stage["busy_share"], 1.0);
        is("pipeline_stage_busy_seconds", &[("stage", name)], &stage["busy_ns"], 1e9);
        summary("pipeline_stage_service_seconds", "stage", &stage["name"], &stage["service_ns"], 1e9);
    }
    for channel in list("channels") {
        summary("pipeline_channel_wait_seconds", "channel", &channel["name"], &channel["wait_ns"], 1e9);
        summary("pipeline_channel_depth_items", "channel", &channel["name"], &channel["depth"], 1.0);
    }
    for reorder in list("reorders") {
        summary("pipeline_reorder_wait_seconds", "stage", &reorder["stage"], &reorder["wait_ns"], 1e9);
        summary("pipeline_reorder_depth_items", "stage", &reorder["stage"], &reorder["depth"], 1.0);
    }
    for wait in list("waits") {
        summary("pipeline_mutex_wait_seconds", "for", &wait["name"], &wait["wait_ns"], 1e9);
    }
}

#[test]
fn names_say_their_unit_and_only_what_counts_up_is_a_counter() {
    let (dir, _) = dir_with_input();
    dir.ok("process in out -q --prometheus home.prom");
    for (name, family) in metrics(&dir, "home.prom") {
        assert!(name.starts_with("pipeline_"), "{name}");
        assert!(!["_total", "_count", "_sum", "_bucket", "_ns"].iter().any(|end| name.ends_with(end)), "{name}");
        // A file describes one run, so no metric counts up from file to file.
        assert_ne!(family.kind, "counter", "{name}");
        assert!(family.help.ends_with('.'), "{name}");
    }
}

#[test]
fn a_run_that_fails_says_so_and_when_one_last_did_not() {
    let (dir, _) = dir_with_input();
    dir.ok("process in out -q --prometheus home.prom");
    let good = metrics(&dir, "home.prom");
    let succeeded_at = value(&good, "pipeline_run_last_success_timestamp_seconds", &[]).unwrap();
    assert_eq!(value(&good, "pipeline_run_end_timestamp_seconds", &[]), Some(succeeded_at));
    let content = dir.read("out");
    dir.write("bad", &content[..content.len() / 2]);
    for (line, code) in [
        ("process missing out2", 1),
        ("process in out", 1),
        ("restore bad back", 4),
        ("verify bad", 4),
        ("cat bad", 4),
        ("process in out2 --stats-file missing/stats", 1),
    ] {
        dir.fails(&format!("{line} --prometheus home.prom"), code);
        let families = metrics(&dir, "home.prom");
        assert_eq!(families.len(), 5, "{line}: {families:?}");
        let is = |name: &str| value(&families, name, &[]).unwrap();
        assert_eq!(is("pipeline_run_success"), 0.0, "{line}");
        assert_eq!(is("pipeline_run_exit_code"), f64::from(code), "{line}");
        assert_eq!(is("pipeline_run_last_success_timestamp_seconds"), succeeded_at, "{line}");
        assert!(is("pipeline_run_end_timestamp_seconds") >= succeeded_at, "{line}");
    }
    // Nothing is kept from a missing or foreign file.
    for name in ["new.prom", "other.prom"] {
        dir.write("other.prom", b"# HELP pipeline_\xff\xff");
        assert_eq!(dir.run(&format!("verify bad --prometheus {name}")).status.code(), Some(4));
        assert_eq!(metrics(&dir, name).len(), 4);
    }
}

#[test]
fn the_file_is_replaced_at_once_and_named_in_every_sample() {
    let (dir, _) = dir_with_input();
    let name = "a \"b\\c\nd.prom";
    let old = b"# HELP pipeline_old x\n";
    std::fs::write(dir.path("old"), old).unwrap();
    std::fs::hard_link(dir.path("old"), dir.path(name)).unwrap();
    let output = dir.command(["process", "in", "out", "-q", "--prometheus", name]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(dir.read("old"), old, "what a reader has open stays whole");
    for family in metrics(&dir, name).values() {
        for (_, labels) in family.samples.keys() {
            assert_eq!(labels["run"], "a \"b\\c\nd");
        }
    }
    assert_eq!(dir.names(), [name, "in", "key", "old", "out"], "no temporary stays");
}

#[test]
fn promtool_finds_nothing_to_say() {
    let (dir, _) = dir_with_input();
    dir.ok("process in out -q --prometheus good.prom");
    assert_eq!(dir.run("verify in -q --prometheus bad.prom").status.code(), Some(1));
    for name in ["good.prom", "bad.prom"] {
        let Some(ran) = dir.tool("promtool", &["check", "metrics"], Some(&dir.read(name))) else { return };
        assert!(ran.status.success() && ran.stderr.is_empty(), "{name}: {ran}");
    }
}
