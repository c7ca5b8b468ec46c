//! All histograms of a run as an HdrHistogram interval log: one interval, one tagged line per histogram.
//!
//! The log has version 1.3 and the compressed V2 encoding. Values are nanoseconds or items, as the tag says, and are not scaled.

use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::pipeline::metrics::{Figures, Histogram};
use crate::pipeline::report::Report;

/// The log of `report`, whose run started at `started_at`.
pub fn log(report: &Report, started_at: SystemTime) -> Vec<u8> {
    let (mut bytes, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Logged with pipeline]")
        .add_comment("[Histogram log format version 1.3]")
        .with_start_time(started_at)
        .with_base_time(started_at)
        .begin_log_with(&mut bytes, &mut serializer)
        .expect("writing to a Vec does not fail");
    for (tag, histogram) in tagged(&report.figures) {
        let tag = Tag::new(&tag).expect("internal error: a tag with a space or a comma");
        log.write_histogram(histogram, Duration::ZERO, report.wall, Some(tag))
            .expect("a histogram can be encoded, and writing to a Vec does not fail");
    }
    bytes
}

/// Each histogram with its tag, for example `compress.service_ns`: the stage or channel, the measurement, the unit.
fn tagged(figures: &Figures) -> Vec<(String, &Histogram)> {
    let mut all = Vec::new();
    for stage in &figures.stages {
        all.push((tag(&stage.name, "service_ns"), &stage.service_ns));
    }
    for channel in &figures.channels {
        all.push((tag(&channel.name, "wait_ns"), &channel.wait_ns));
        all.push((tag(&channel.name, "depth"), &channel.depth));
    }
    for reorder in &figures.reorders {
        all.push((tag(&reorder.name, "reorder_wait_ns"), &reorder.wait_ns));
        all.push((tag(&reorder.name, "reorder_depth"), &reorder.depth));
    }
    for wait in &figures.waits {
        all.push((tag(&wait.name, "wait_ns"), &wait.wait_ns));
    }
    all
}

fn tag(name: &impl std::fmt::Display, measured: &str) -> String {
    format!("{name}.{measured}")
}
