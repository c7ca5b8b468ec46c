//! The results of a bench as plots, each the text of an SVG element.

use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::Color;
use serde_json::Value;

use super::cases::Task;
use super::results::{Measured, Results};
use crate::pipeline::plan::EngineKind;

/// Width and height of a plot, in pixels.
const SIZE: (u32, u32) = (620, 320);

/// Height of a bar with its gap, in pixels.
const BAR_HEIGHT: u32 = 30;

/// The font of all text.
const FONT: (&str, i32) = ("sans-serif", 14);

/// Colours that are distinct for colour-blind people (Okabe and Ito).
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
];

/// The shown quantiles of waits, with their fields in the report.
const QUANTILES: [(&str, &str); 6] =
    [("p25", "25 %"), ("p50", "50 %"), ("p75", "75 %"), ("p90", "90 %"), ("p99", "99 %"), ("max", "all")];

/// A line of a plot, with its name.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Throughput in MB/s against workers, one line for each engine, at the main depth and the first level.
pub fn workers(results: &Results) -> anyhow::Result<String> {
    let series = [EngineKind::Channels, EngineKind::Mutex].map(|engine| {
        let is_shown = |measured: &&Measured| {
            let is_main_depth = |depth| engine == EngineKind::Mutex || depth == results.main.channel_depth;
            measured
                .case
                .setting
                .is_some_and(|setting| setting.engine == engine && is_main_depth(setting.channel_depth))
        };
        let x = |measured: &Measured| measured.case.setting.map_or(0, |setting| setting.workers);
        throughput(results, engine.word(), is_shown, x)
    });
    lines("workers", count, "MB/s", &series)
}

/// Throughput in MB/s against channel depth, with all workers, at the first level.
pub fn depths(results: &Results) -> anyhow::Result<String> {
    let main = results.main;
    let is_shown = |measured: &&Measured| {
        measured.case.setting.is_some_and(|setting| (setting.engine, setting.workers) == (main.engine, main.workers))
    };
    let x = |measured: &Measured| measured.case.setting.map_or(0, |setting| setting.channel_depth);
    let name = format!("{}, {} workers", main.engine.word(), main.workers);
    lines("channel depth", count, "MB/s", &[throughput(results, &name, is_shown, x)])
}

/// Peak memory in MiB against the length of the input in MB.
pub fn memory(results: &Results) -> anyhow::Result<String> {
    let series = [EngineKind::Channels, EngineKind::Mutex].map(|engine| {
        let points = results.memory.iter().filter(|point| point.engine == engine);
        let points = points.map(|point| (point.input_bytes as f64 / 1e6, point.peak_bytes as f64 / f64::from(1 << 20)));
        Series { name: engine.word().to_owned(), points: points.collect() }
    });
    lines("MB of input", number, "MiB", &series)
}

/// Waiting times per channel of the main run: the share of items that waited less.
pub fn waits(results: &Results) -> anyhow::Result<String> {
    let report = results.main_case(Task::Process).and_then(|measured| measured.runs.last()?.report.clone());
    let channels = report.as_ref().and_then(|report| report["channels"].as_array()).cloned().unwrap_or_default();
    let series: Vec<Series> = channels.iter().map(wait_series).collect();
    let tops = series.iter().flat_map(|series| &series.points).map(|(_, ms)| *ms);
    let y = (0.0001..tops.fold(0.001, f64::max) * 2.0).log_scale();
    let label =
        |x: &f64| QUANTILES.get(x.round().max(0.0) as usize).map_or(String::new(), |(_, name)| (*name).to_owned());
    draw(SIZE, |area| {
        let x = -0.2..(QUANTILES.len() as f64 - 0.8);
        let mut chart = chart(&area).build_cartesian_2d(x, y)?;
        let mut mesh = chart.configure_mesh();
        mesh.label_style(FONT).axis_desc_style(FONT);
        mesh.x_desc("share of the items").y_desc("waited at most, ms").x_label_formatter(&label);
        mesh.x_labels(QUANTILES.len()).y_label_formatter(&|ms| number(*ms)).disable_x_mesh();
        mesh.light_line_style(TRANSPARENT).draw()?;
        draw_series(&mut chart, &series)
    })
}

/// A bar for each case of `group`, this program's in another colour.
pub fn bars(results: &Results, group: &[&Measured]) -> anyhow::Result<String> {
    let rates: Vec<f64> = group.iter().map(|measured| measured.rate(results.input_bytes) / 1e6).collect();
    let fastest = rates.iter().copied().fold(1.0, f64::max);
    let height = BAR_HEIGHT * group.len() as u32 + 62;
    draw((SIZE.0, height), |area| {
        let mut builder = ChartBuilder::on(&area);
        builder.margin(8).margin_right(70).x_label_area_size(42).y_label_area_size(230);
        let mut chart = builder.build_cartesian_2d(0.0..fastest, 0.0..group.len() as f64)?;
        let mut mesh = chart.configure_mesh();
        mesh.label_style(FONT).axis_desc_style(FONT).disable_y_mesh().y_labels(0).x_labels(5);
        mesh.x_desc("MB/s of content").x_label_formatter(&|x| number(*x)).light_line_style(TRANSPARENT).draw()?;
        for (i, (measured, rate)) in group.iter().zip(&rates).enumerate() {
            let (top, middle) = ((group.len() - i) as f64, (group.len() - i) as f64 - 0.5);
            let color = match measured.case.setting.map(|setting| setting.engine) {
                Some(EngineKind::Channels) => COLORS[0],
                Some(EngineKind::Mutex) => COLORS[4],
                None => COLORS[5],
            };
            let bar = Rectangle::new([(0.0, top - 0.85), (*rate, top - 0.15)], color.filled());
            chart.draw_series([bar])?;
            let (x, y) = chart.backend_coord(&(*rate, middle));
            area.draw(&Text::new(format!("{rate:.0}"), (x + 6, y - 7), FONT))?;
            area.draw(&Text::new(measured.case.name.clone(), (4, y - 7), FONT))?;
        }
        Ok(())
    })
}

fn wait_series(channel: &Value) -> Series {
    let ms = |key: &str| channel["wait_ns"][key].as_f64().unwrap_or(0.0) / 1e6;
    // A logarithmic axis has no zero; a tenth of a microsecond stands for it.
    let points = QUANTILES.iter().enumerate().map(|(i, (key, _))| (i as f64, ms(key).max(0.0001)));
    Series { name: channel["name"].as_str().unwrap_or("").to_owned(), points: points.collect() }
}

/// MB/s of the first level's cases that `is_shown` selects, in ascending order of `x`.
fn throughput(
    results: &Results,
    name: &str,
    is_shown: impl Fn(&&Measured) -> bool,
    x: impl Fn(&Measured) -> u32,
) -> Series {
    let groups = results.groups();
    let group = groups.iter().find(|(task, _, _)| *task == Task::Process).map_or(&[][..], |(_, _, group)| group);
    let shown = group.iter().copied().filter(is_shown);
    let mut points: Vec<_> =
        shown.map(|measured| (f64::from(x(measured)), measured.rate(results.input_bytes) / 1e6)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Series { name: name.to_owned(), points }
}

fn lines(x_name: &str, x_label: fn(f64) -> String, y_name: &str, series: &[Series]) -> anyhow::Result<String> {
    let points = || series.iter().flat_map(|series| &series.points);
    let right = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let top = points().map(|(_, y)| *y).fold(1.0, f64::max);
    draw(SIZE, |area| {
        let mut chart = chart(&area).build_cartesian_2d(0.0..right * 1.05, 0.0..top * 1.1)?;
        let mut mesh = chart.configure_mesh();
        mesh.label_style(FONT).axis_desc_style(FONT);
        mesh.x_desc(x_name).y_desc(y_name).light_line_style(TRANSPARENT);
        mesh.x_label_formatter(&|x| x_label(*x)).y_label_formatter(&|y| number(*y)).draw()?;
        draw_series(&mut chart, series)
    })
}

/// Draws on a white area and returns the SVG element.
fn draw<'a>(
    size: (u32, u32),
    draw_on: impl FnOnce(DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> anyhow::Result<()> + 'a,
) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        draw_on(area.clone())?;
        area.present()?;
    }
    Ok(svg)
}

fn chart<'a, 'b>(
    area: &'a DrawingArea<SVGBackend<'b>, plotters::coord::Shift>,
) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder.margin(12).x_label_area_size(40).y_label_area_size(64);
    builder
}

fn draw_series<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    series: &[Series],
) -> anyhow::Result<()>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    for (i, Series { name, points }) in series.iter().filter(|series| !series.points.is_empty()).enumerate() {
        let color = COLORS[i % COLORS.len()];
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
            .label(name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, color.filled())))?;
    }
    let mut labels = chart.configure_series_labels();
    labels.background_style(WHITE.mix(0.8)).border_style(RGBColor(200, 200, 200)).label_font(FONT);
    labels.position(SeriesLabelPosition::LowerRight).draw()?;
    Ok(())
}

/// An axis label without rounding errors of tenths.
fn number(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded >= 100.0 { format!("{rounded:.0}") } else { format!("{rounded}") }
}

/// An axis label of a count: whole numbers only.
fn count(value: f64) -> String {
    if (value - value.round()).abs() < 1e-6 { format!("{value:.0}") } else { String::new() }
}
