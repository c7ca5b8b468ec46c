//! Tests that many files need no more than a few: the number of descriptors and threads is constant, and memory grows
//! only by the record of each file.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use crate::support::child::Running;
use crate::support::tree::{assert_same, finished, plant_small, remove, temporaries};
use crate::support::{TestDir, share};

/// Enough files to fill every stage.
const FEW: usize = 400;

/// The record of a file in memory: its paths, its result, its journal entry.
const BYTES_PER_FILE_MAX: u64 = 2 << 10;

/// Variation of the allocator between runs.
const SLACK_BYTES: u64 = 8 << 20;

/// Descriptors of files between a worker and the commit: half of the usual limit of a process.
const DESCRIPTORS_OF_FILES: usize = 1024 / 2;

/// Other descriptors: those of the workers, directories on the path, the journals, standard streams.
const DESCRIPTORS_BESIDE: usize = 48;

/// The peak of each resource during a run.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    descriptors: usize,
    threads: u64,
    bytes: u64,
}

/// Runs `line`, which must succeed, and samples it all the time.
fn peak_of(dir: &TestDir, line: &str) -> Peak {
    let mut child = Running(dir.command(line.split_whitespace()).stderr(Stdio::null()).spawn().unwrap());
    let (proc, mut peak) = (PathBuf::from(format!("/proc/{}", child.id())), Peak::default());
    loop {
        let status = fs::read_to_string(proc.join("status")).unwrap_or_default();
        let number = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        peak.threads = peak.threads.max(number("Threads:"));
        peak.bytes = peak.bytes.max(number("VmHWM:") * 1024);
        peak.descriptors = peak.descriptors.max(fs::read_dir(proc.join("fd")).map_or(0, Iterator::count));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{line}: {status}");
            return peak;
        }
    }
}

#[test]
fn descriptors_and_threads_do_not_grow_with_the_number_of_files_and_memory_by_little() {
    let (dir, recipient) = TestDir::with_key();
    let many = share(1000, 10_000);
    plant_small(&dir.path("few"), FEW);
    plant_small(&dir.path("many"), many);
    for (process, restore) in [
        ("process TREE out -q -w 2 --jobs 4".to_owned(), "restore out back -q -w 2 --jobs 4".to_owned()),
        (format!("process TREE out -q -w 2 -r {recipient}"), "restore out back -q -w 2 -i key --no-sync".to_owned()),
    ] {
        let mut peaks = Vec::new();
        for tree in ["few", "many"] {
            // The second process finds all files in the journal and has nothing to do.
            for line in [process.clone(), process.clone(), restore.clone(), "verify out -q -w 2 -i key".to_owned()] {
                peaks.push((line.clone(), peak_of(&dir, &line.replace("TREE", tree))));
            }
            assert_same(&dir.path(tree), &dir.path("back"), &process);
            for root in ["out", "back"] {
                assert_eq!(temporaries(&dir.path(root)), Vec::<PathBuf>::new());
                assert_eq!(finished(&dir.path(root)).len(), if tree == "few" { FEW } else { many });
                remove(&dir.path(root));
            }
        }
        // A run of few files may end before its peak is sampled; all runs have the same number of jobs.
        let threads = peaks[..4].iter().map(|(_, few)| few.threads).max().unwrap();
        for ((line, few), (_, much)) in peaks[..4].iter().zip(&peaks[4..]) {
            eprintln!("{line}: {few:?}, {much:?}");
            assert!(much.threads <= threads, "{line}: {} threads, and not {threads}", much.threads);
            let allowed = DESCRIPTORS_OF_FILES + DESCRIPTORS_BESIDE;
            assert!(much.descriptors <= allowed, "{line}: {} descriptors, and not {allowed}", much.descriptors);
            let bytes_max = few.bytes + SLACK_BYTES + BYTES_PER_FILE_MAX * many as u64;
            assert!(much.bytes <= bytes_max, "{line}: {} bytes, and not {bytes_max}", much.bytes);
        }
    }
}

/// The limits are those of strict systems, and below the demand of a full group of files.
#[test]
fn a_batch_keeps_within_the_descriptors_that_it_is_given() {
    let dir = TestDir::new();
    plant_small(&dir.path("tree"), 600);
    for count in [256, 64] {
        let limit = format!("--nofile={count}");
        let args = [&limit, env!("CARGO_BIN_EXE_pipeline"), "process", "tree", "out", "-q"];
        let Some(ran) = dir.tool("prlimit", &args, None) else { return };
        assert!(ran.status.success(), "{count} descriptors: {ran}");
        assert_eq!(finished(&dir.path("out")).len(), 600);
        remove(&dir.path("out"));
    }
}
