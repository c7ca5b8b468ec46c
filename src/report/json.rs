//! The report as one JSON object, described in docs/json.md and docs/schemas.

use std::time::Duration;

use serde_json::{Value, json};

use super::advice::advice;
use super::exit::Exit;
use super::exit::FailedRun;
use super::quantities::{past, quantiles};
use super::text::batch_core_share;
use super::{notice, words};
use crate::batch::messages::{Ended, Entry};
use crate::batch::plan::Item;
use crate::batch::results::{BatchSummary, Counts};
use crate::format::zstd::seek_table::TableStatus;
use crate::pipeline::metrics::{ChannelFigures, Histogram, ReorderFigures, StageFigures, WaitFigures, WindowFigures};
use crate::pipeline::report::Report;
use crate::store::sys;
use crate::task::Verb;

/// The version of the JSON object; it increases when a field is removed or changes its meaning.
const JSON_VERSION: u32 = 1;

/// The report, for a batch with its files.
pub fn json(report: &Report, batch: Option<&BatchSummary>, verb: Verb) -> Value {
    let figures = &report.figures;
    // The bottleneck of many files is not a stage of one of them.
    let bottleneck = if batch.is_none() { report.bottleneck() } else { None };
    json!({
        "version": JSON_VERSION,
        "command": past(verb),
        "error": null,
        "engine": report.engine.name(),
        "workers": report.workers,
        "channel_depth": report.channel_depth,
        "cpu_count": report.cpu_count,
        "wall_ns": ns(report.wall),
        "read_bytes": report.read_bytes,
        "written_bytes": report.written_bytes,
        "content_bytes": report.summary.content_bytes,
        "frame_count": report.summary.frame_count,
        "seek_table": report.summary.table.as_ref().map(table_word),
        "peak_memory_bytes": sys::peak_memory_bytes(),
        "buffers": { "made_count": figures.buffers.made_count, "taken_count": figures.buffers.taken_count },
        "stages": figures.stages.iter().map(|stage| stage_json(stage, report.wall)).collect::<Vec<_>>(),
        "channels": figures.channels.iter().map(channel_json).collect::<Vec<_>>(),
        "reorders": figures.reorders.iter().map(reorder_json).collect::<Vec<_>>(),
        "windows": figures.windows.iter().map(window_json).collect::<Vec<_>>(),
        "waits": figures.waits.iter().map(wait_json).collect::<Vec<_>>(),
        "batch": batch.map(|batch| batch_json(report, batch)),
        "files": batch.map(files_json),
        "bottleneck": bottleneck.map(|bottleneck| json!({
            "stage": bottleneck.stage.name(),
            "busy_share": bottleneck.busy_share,
            "workers_enough": bottleneck.workers_enough,
            "speedup_max": bottleneck.speedup_max,
            "advice": advice(report),
        })),
    })
}

/// The report of a failed run.
pub fn failed(failed: &FailedRun, verb: Verb) -> Value {
    let FailedRun { kind, message, path, offset, frame, segment, exit } = failed;
    json!({
        "version": JSON_VERSION,
        "command": past(verb),
        "error": {
            "kind": kind,
            "message": message,
            "path": path,
            "offset": offset,
            "frame": frame,
            "segment": segment,
            "exit_code": exit.code(),
        },
    })
}

fn batch_json(report: &Report, batch: &BatchSummary) -> Value {
    let Counts { files, done, redone, unchanged, warned, failed, skipped, left } = batch.counts();
    json!({
        "file_count": files,
        "done_count": done,
        "redone_count": redone,
        "unchanged_count": unchanged,
        "warned_count": warned,
        "failed_count": failed,
        "skipped_count": skipped,
        "left_count": left,
        "cut_off_count": batch.cut_off_count,
        "stopped": batch.results.stopped.map(words::stopped),
        "core_share": batch_core_share(report),
    })
}

fn files_json(batch: &BatchSummary) -> Value {
    let files = batch.results.entries.iter().map(|entry| file_json(&batch.plan.items[entry.index], entry));
    let others = batch.others().map(|other| {
        let kind = other.error.kind();
        json!({
            "source": other.path.to_string_lossy(),
            "output": null,
            "ended": if kind.is_some() { "failed" } else { "skipped" },
            "read_bytes": 0,
            "written_bytes": 0,
            "content_bytes": 0,
            "took_ns": 0,
            "tries": 0,
            "message": other.error.to_string(),
            "kind": kind.map(|kind| kind.word()),
            "exit_code": null,
        })
    });
    files.chain(others).collect()
}

fn file_json(item: &Item, entry: &Entry) -> Value {
    let (ended, message, error) = match &entry.ended {
        Ended::Done => ("done", None, None),
        Ended::Redone => ("redone", None, None),
        Ended::Unchanged => ("unchanged", None, None),
        Ended::Warned(warnings) => ("warned", Some(words::warnings(&item.source, warnings)), None),
        Ended::Failed(error) => ("failed", Some(notice::chain(error)), Some(error)),
    };
    let [read_bytes, written_bytes, content_bytes] = entry.bytes;
    json!({
        "source": item.source.to_string_lossy(),
        "output": item.place.to_string_lossy(),
        "ended": ended,
        "read_bytes": read_bytes,
        "written_bytes": written_bytes,
        "content_bytes": content_bytes,
        "took_ns": ns(entry.took),
        "tries": entry.tries,
        "message": message,
        "kind": error.map(|error| error.kind().word()),
        "exit_code": error.map(|error| Exit::of(error).code()),
    })
}

fn table_word(status: &TableStatus) -> String {
    match status {
        TableStatus::Valid => "valid".to_owned(),
        TableStatus::Unusable(error) => error.to_string(),
    }
}

fn stage_json(stage: &StageFigures, wall: Duration) -> Value {
    json!({
        "name": stage.name.name(),
        "threads": stage.items_by_thread.len(),
        "items_by_thread": stage.items_by_thread,
        "busy_ns": stage.busy_ns,
        "busy_share": stage.busy_share(wall),
        "service_ns": histogram_json(&stage.service_ns),
    })
}

fn channel_json(channel: &ChannelFigures) -> Value {
    json!({
        "name": channel.name.to_string(),
        "capacity": channel.capacity,
        "depth": histogram_json(&channel.depth),
        "wait_ns": histogram_json(&channel.wait_ns),
        "blocked_ns": channel.blocked_ns,
        "idle_ns": channel.idle_ns,
    })
}

fn reorder_json(reorder: &ReorderFigures) -> Value {
    json!({
        "stage": reorder.name.name(),
        "depth": histogram_json(&reorder.depth),
        "wait_ns": histogram_json(&reorder.wait_ns),
    })
}

fn window_json(window: &WindowFigures) -> Value {
    json!({
        "stage": window.name.name(),
        "weight_max": window.weight_max,
        "item_count_max": window.item_count_max,
        "weight_in_flight_max": window.weight_in_flight_max,
        "wait_ns": window.wait_ns,
    })
}

fn wait_json(wait: &WaitFigures) -> Value {
    json!({ "name": wait.name, "wait_ns": histogram_json(&wait.wait_ns) })
}

fn histogram_json(histogram: &Histogram) -> Value {
    let [p50, p90, p99, max] = quantiles(histogram);
    let [p25, p75] = [0.25, 0.75].map(|quantile| histogram.value_at_quantile(quantile));
    let (count, mean) = (histogram.len(), histogram.mean());
    json!({ "count": count, "mean": mean, "p25": p25, "p50": p50, "p75": p75, "p90": p90, "p99": p99, "max": max })
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
