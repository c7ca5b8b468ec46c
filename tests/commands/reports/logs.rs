//! Tests of the output of `--hdr-log`, with an independent reader.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

use super::dir_with_input;

#[test]
fn every_histogram_of_the_report_is_in_the_log() {
    let (dir, recipient) = dir_with_input();
    let process = format!("process in out-ENGINE -r {recipient} --chunk-size 64K --engine ENGINE");
    for line in [process.as_str(), "restore out-ENGINE back-ENGINE -i key --engine ENGINE"] {
        for engine in ["channels", "mutex"] {
            let line = line.replace("ENGINE", engine);
            dir.ok(&format!("{line} --stats json --stats-file report --hdr-log log"));
            let report: Value = serde_json::from_slice(&dir.read("report")).unwrap();
            hold_against(&dir.read("log"), &report);
        }
    }
}

/// The documented tags, with the histograms of the report.
fn tagged(report: &Value) -> Vec<(String, &Value)> {
    let list = |name: &str| report[name].as_array().unwrap().iter();
    let tag = |name: &Value, measured: &str| format!("{}.{measured}", name.as_str().unwrap());
    let stages = list("stages").map(|stage| (tag(&stage["name"], "service_ns"), &stage["service_ns"]));
    let channels = list("channels")
        .flat_map(|channel| ["wait_ns", "depth"].map(|measured| (tag(&channel["name"], measured), &channel[measured])));
    let reorders = list("reorders").flat_map(|reorder| {
        ["wait_ns", "depth"]
            .map(|measured| (tag(&reorder["stage"], &format!("reorder_{measured}")), &reorder[measured]))
    });
    let waits = list("waits").map(|wait| (tag(&wait["name"], "wait_ns"), &wait["wait_ns"]));
    stages.chain(channels).chain(reorders).chain(waits).collect()
}

fn hold_against(log: &[u8], report: &Value) {
    let (mut starts, mut found) = (Vec::new(), Vec::new());
    for entry in IntervalLogIterator::new(log) {
        match entry.unwrap() {
            LogEntry::StartTime(time) | LogEntry::BaseTime(time) => starts.push(time),
            LogEntry::Interval(interval) => {
                assert_eq!(interval.start_timestamp(), Duration::ZERO);
                let wall_ms = report["wall_ns"].as_f64().unwrap() / 1e6;
                assert!((interval.duration().as_secs_f64() * 1e3 - wall_ms).abs() <= 1.0);
                let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
                let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                assert_eq!(interval.max(), histogram.max() as f64);
                found.push((interval.tag().unwrap().as_str().to_owned(), histogram));
            }
        }
    }
    assert_eq!(starts.len(), 2);
    let ago = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + starts[0]).unwrap();
    assert!(starts[0] == starts[1] && ago < Duration::from_secs(3600));
    let wanted = tagged(report);
    assert_eq!(
        found.iter().map(|(tag, _)| tag).collect::<Vec<_>>(),
        wanted.iter().map(|(tag, _)| tag).collect::<Vec<_>>()
    );
    for ((tag, histogram), (_, wanted)) in found.iter().zip(wanted) {
        assert_eq!(wanted["count"], histogram.len(), "{tag}");
        assert_eq!(wanted["max"], histogram.max(), "{tag}");
        assert!((wanted["mean"].as_f64().unwrap() - histogram.mean()).abs() <= 1e-6 * histogram.mean(), "{tag}");
        for (field, quantile) in [("p25", 0.25), ("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p99", 0.99)] {
            assert_eq!(wanted[field], histogram.value_at_quantile(quantile), "{tag} {field}");
        }
    }
}
