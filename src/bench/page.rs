//! The results of a bench as one self-contained HTML page: no scripts, no fonts, no network.

use std::fmt::Write as _;

use anyhow::Context;

use super::plots;
use super::results::Results;
use super::table::table;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:82rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:0 0 .3rem}p{max-width:48rem}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,36rem),1fr));gap:1.2rem;align-items:start}\
figure{margin:0;padding:.8rem;border:1px solid #ddd;border-radius:6px}figcaption{font-size:.85rem;color:#555}\
svg{width:100%;height:auto;display:block}pre{overflow-x:auto;font-size:.8rem;background:#f6f6f6;padding:1rem;border-radius:6px}";

/// The HTML text. Fails if a plot cannot be drawn.
pub fn page(results: &Results) -> anyhow::Result<String> {
    let mut out = String::new();
    let version = env!("CARGO_PKG_VERSION");
    let title = format!("pipeline {version} on {}", escaped(&results.input_name));
    let head = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
                <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">";
    write!(out, "{head}<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>")?;
    write!(
        out,
        "<p>{} bytes, {} CPUs ({}), {} rounds. In a round every case runs once, as processes of its own; bars and points are medians \
         over the rounds. Nothing is synced. Memory is the sum of what the processes of a case held at most.</p><div class=\"plots\">",
        results.input_bytes,
        results.cpu_count,
        escaped(&results.cpu_name),
        results.round_count
    )?;
    for (task, level, group) in results.groups() {
        let level = level.map_or(String::new(), |level| format!(", level {level}"));
        figure(
            &mut out,
            &format!("{}{level}", task.title()),
            "Blue is pipeline, light blue its mutex mode, grey what others do.",
            &plots::bars(results, &group)?,
        )?;
    }
    let plots = [
        ("Throughput against workers", "Compress and encrypt, at the first level.", plots::workers(results)),
        ("Throughput against channel depth", "Compress and encrypt, with all workers.", plots::depths(results)),
        (
            "How long items wait in each channel",
            "Of one run. A channel in which items wait long has the bottleneck behind it.",
            plots::waits(results),
        ),
        ("Peak memory against the input's length", "Compress and encrypt.", plots::memory(results)),
    ];
    for (title, caption, plot) in plots {
        figure(&mut out, title, caption, &plot.context("cannot draw a plot")?)?;
    }
    writeln!(out, "</div><h2>All figures</h2><pre>{}</pre></body></html>", escaped(&table(results)))?;
    Ok(out)
}

fn figure(out: &mut String, title: &str, caption: &str, plot: &str) -> std::fmt::Result {
    write!(out, "<figure><h2>{title}</h2>{plot}<figcaption>{caption}</figcaption></figure>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_become_markup() {
        assert_eq!(escaped("<a&\"b\">"), "&lt;a&amp;&quot;b&quot;&gt;");
    }
}
