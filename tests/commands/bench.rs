//! Tests of `pipeline bench`: it runs every case as often as requested and leaves nothing behind.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::child::{Running, child_of, signal, wait_until};
use crate::support::{TestDir, text};

fn json(stdout: &[u8]) -> Value {
    serde_json::from_slice(stdout).unwrap()
}

#[test]
fn every_case_is_run_in_every_round_and_nothing_stays() {
    let dir = TestDir::new();
    dir.write("in", &text(3 << 20, 1));
    dir.ok("bench in --rounds 3 --workers 1,3 --channel-depth 2,4 --level 1,-5 --dir . --json --html page -q");
    assert_eq!(dir.names(), ["in", "page"]);
    let ran = dir.ok("bench in --rounds 3 --workers 1,3 --channel-depth 2,4 --level 1,-5 --dir . --json --no-peers -q");
    let results = json(&ran.stdout);
    let cases = results["cases"].as_array().unwrap();
    let settings = |case: &&Value| case["task"] == "process";
    // Two values each: two widths by two depths, and two widths of the mutex mode.
    assert_eq!(cases.iter().filter(settings).count(), 2 * (4 + 2), "{results}");
    let tasks = ["process", "compress", "encrypt", "restore", "decompress", "decrypt", "verify"];
    for task in tasks {
        assert!(cases.iter().any(|case| case["task"] == task), "{task}");
    }
    for case in cases {
        assert_eq!(case["wall_ns_by_round"].as_array().unwrap().len(), 3, "{case}");
        let is_written = case["task"] != "verify";
        assert_eq!(case["output_bytes"].as_u64().unwrap() > 0, is_written, "{case}");
        assert!(case["peak_memory_bytes"].as_u64().unwrap() > 1 << 20, "{case}");
        let (workers, report) = (&case["workers"], &case["report"]);
        assert!(report["workers"].as_u64() <= workers.as_u64() && report["engine"] == case["engine"] || !is_written);
        assert!(case["reference"].is_null(), "{case}");
    }
    let memory = results["memory"].as_array().unwrap();
    let lens: Vec<u64> = memory.iter().map(|point| point["input_bytes"].as_u64().unwrap()).collect();
    assert_eq!(lens, [8, 8, 4, 4, 2, 2, 1, 1].map(|part| (3 << 20) / part));
}

#[test]
fn the_page_has_all_plots_and_asks_nobody_for_anything() {
    let dir = TestDir::new();
    dir.write("<in> & out", &text(200_000, 1));
    let mut command = dir.command(["bench", "<in> & out", "--rounds=1", "--html=page", "--dir=.", "-q"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let page = String::from_utf8(dir.read("page")).unwrap();
    assert_eq!(page.matches("<figure>").count(), 7 + 4);
    assert_eq!(page.matches("<svg ").count(), page.matches("<figure>").count());
    assert!(page.contains("&lt;in&gt; &amp; out") && !page.contains("<in>"));
    let others = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!others.contains("http") && !others.contains("<script") && !others.contains("url("));
    // Standard output has the same cases as the page.
    assert!(String::from_utf8(output.stdout).unwrap().contains("level 3"));
}

#[test]
fn peers_stand_beside_ours_with_a_ratio() {
    let dir = TestDir::new();
    dir.write("in", &text(1 << 20, 1));
    let Some(_) = dir.tool("age", &["--version"], None) else { return };
    let results = json(&dir.ok("bench in --rounds 3 --dir . --json -q -w 2 --channel-depth 4").stdout);
    let cases = results["cases"].as_array().unwrap();
    let name_of = |task: &str| {
        let is_peer = |case: &&Value| case["task"] == task && case["is_ours"] == false;
        cases.iter().find(is_peer).map(|case| case["name"].as_str().unwrap().to_owned())
    };
    assert_eq!(name_of("process").as_deref(), Some("zstd -T0 -3 | age"));
    assert_eq!(name_of("restore").as_deref(), Some("age -d | zstd -d"));
    assert_eq!(name_of("verify").as_deref(), Some("age -d | zstd -t"));
    for case in cases {
        assert!(case["wall_ratio"].as_f64().unwrap() > 0.0, "{case}");
        assert_eq!(case["reference"].as_str().unwrap(), name_of(case["task"].as_str().unwrap()).unwrap());
    }
}

/// A failing peer is reported and left out; the others are still measured.
#[test]
fn a_tool_that_fails_is_named_and_left_out() {
    let dir = TestDir::new();
    dir.write("in", &text(100_000, 1));
    std::fs::create_dir(dir.path("bin")).unwrap();
    let age = dir.write("bin/age", b"#!/bin/sh\necho no-age-today >&2; exit 7\n");
    std::fs::set_permissions(age, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = dir.command(["bench", "in", "--rounds=2", "--dir=.", "--json", "-q", "-w1"]);
    let path = format!("{}:{}", dir.path("bin").display(), std::env::var("PATH").unwrap());
    let output = command.env("PATH", path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("age") && said.contains("7: no-age-today"), "{said}");
    let results = json(&output.stdout);
    assert!(results["cases"].as_array().unwrap().iter().all(|case| case["name"] != "age"));
    assert_eq!(dir.names(), ["bin", "in"]);
}

#[test]
fn a_signal_ends_it_with_its_children_and_leaves_nothing() {
    let dir = TestDir::new();
    dir.write("in", &text(64 << 20, 1));
    let mut command = dir.command(["bench", "in", "--rounds=1000", "--dir=.", "-q", "--html=page"]);
    let mut child = Running(command.stdout(Stdio::null()).spawn().unwrap());
    wait_until("a case runs", || child_of(child.id()).is_some());
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(dir.names(), ["in"]);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let dir = TestDir::new();
    dir.write("in", b"content");
    dir.write("page", b"old");
    dir.fails("bench /dev/null", 2);
    dir.fails("bench -", 2);
    dir.fails("bench in --html page", 1);
    dir.fails("bench in --html in --force", 1);
    dir.fails("bench in --level 0", 2);
    dir.fails("bench in --workers 9999", 2);
    dir.fails("bench in --channel-depth 0", 2);
    dir.fails("bench in --dir nowhere", 1);
    assert_eq!(dir.read("page"), b"old");
}
