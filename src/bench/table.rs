//! The results of a bench as text tables.

use std::fmt::Write as _;

use super::cases::Task;
use super::results::{Measured, Results};
use crate::report;

/// A table for each task and level, and one for memory.
pub fn table(results: &Results) -> String {
    let mut out = String::new();
    write_table(&mut out, results).expect("writing to a String does not fail");
    out
}

fn write_table(out: &mut String, results: &Results) -> std::fmt::Result {
    let Results { input_name, input_bytes, cpu_count, cpu_name, round_count, .. } = results;
    writeln!(out, "{input_name}, {}; {cpu_count} CPUs, {cpu_name}", report::bytes(*input_bytes))?;
    writeln!(
        out,
        "medians of {round_count} interleaved rounds; spread is (slowest - fastest) / median; nothing is synced"
    )?;
    for (task, level, group) in results.groups() {
        let reference = Results::reference(&group);
        let of = reference.map_or(String::new(), |reference| format!("  wall of {}", reference.case.name));
        let title = level.map_or(task.title().to_owned(), |level| format!("{}, level {level}", task.title()));
        let head = "    wall spread    MB/s     CPU  peak memory      written";
        writeln!(out, "\n{title:<36}{head}{of}")?;
        for measured in group {
            write_row(out, results, measured, reference)?;
        }
    }
    if !results.memory.is_empty() {
        writeln!(out, "\n{:<36}       input  peak memory", Task::Process.title())?;
    }
    for point in &results.memory {
        let (input, peak) = (report::bytes(point.input_bytes), report::bytes(point.peak_bytes));
        writeln!(out, "  {:<34}{input:>12}{peak:>13}", point.engine.word())?;
    }
    Ok(())
}

fn write_row(
    out: &mut String,
    results: &Results,
    measured: &Measured,
    reference: Option<&Measured>,
) -> std::fmt::Result {
    let wall = report::duration(measured.wall());
    let cpu = report::duration(measured.cpu());
    let rate = measured.rate(results.input_bytes) / 1e6;
    let (peak, spread) = (report::bytes(measured.peak_bytes()), measured.spread() * 100.0);
    let written = match measured.output_bytes() {
        0 => "-".to_owned(),
        bytes => report::bytes(bytes),
    };
    write!(out, "  {:<34}{wall:>8}{spread:>5.0} %{rate:>8.0}{cpu:>8}{peak:>13}{written:>13}", measured.case.name)?;
    match reference {
        Some(reference) => writeln!(out, "{:>8.2}", Results::ratio(measured, reference)),
        None => writeln!(out),
    }
}
