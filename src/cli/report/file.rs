//! Where the report goes: stderr, or a file that is opened before the run, so that no run is in vain for a report.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context;

use super::Verb;
use super::json::json;
use super::text::text;
use crate::cli::args::{StatsForm, TalkArgs};
use crate::cli::input::Input;
use crate::cli::output::Output;
use crate::cli::problem::{Problem, quoted, tell};
use crate::cli::sys;
use crate::pipeline::report::Report;

/// Where the report goes: stderr, or a file that is opened before the run, so that no run is in vain for a report.
pub struct ReportFile {
    file: Option<(File, PathBuf)>,
    /// Made for this run: it goes again if the run fails.
    is_new: bool,
}

impl ReportFile {
    /// Opens the file that `talk` asks for. Refuses one that is among `inputs` or is `output`.
    pub fn prepare(talk: &TalkArgs, inputs: &[&Input], output: Option<&Output>) -> anyhow::Result<ReportFile> {
        let Some(path) = &talk.stats_file else {
            return Ok(ReportFile { file: None, is_new: false });
        };
        if output.is_some_and(|output| output.is_at(path)) {
            return Err(
                Problem::usage(format!("the report cannot be written to {}, which is OUT", quoted(path))).into()
            );
        }
        let is_new = std::fs::symlink_metadata(path).is_err();
        let file = sys::open_to_write(path).with_context(|| format!("cannot write the report to {}", quoted(path)))?;
        let identity = sys::identity(&file.metadata().context("cannot look at the report's file")?);
        if let Some(input) = inputs.iter().find(|input| sys::identity(&input.metadata) == identity) {
            let message = format!("the report cannot be written to {}, which is {}", quoted(path), input.name);
            return Err(Problem::usage(message).into());
        }
        Ok(ReportFile { file: Some((file, path.clone())), is_new })
    }

    /// Shows `report` in the form that `talk` asks for.
    pub fn show(mut self, report: &Report, verb: Verb, talk: &TalkArgs) -> anyhow::Result<()> {
        let is_unasked = talk.quiet || matches!(verb, Verb::Read);
        let unasked = if is_unasked && self.file.is_none() { StatsForm::None } else { StatsForm::Text };
        let text = match talk.stats.unwrap_or(unasked) {
            StatsForm::None => String::new(),
            StatsForm::Text => text(report, verb, talk.verbose),
            StatsForm::Json => format!("{}\n", json(report, verb)),
        };
        match &mut self.file {
            None => tell(&text),
            Some((file, path)) => {
                let written = file.set_len(0).or(Ok(())).and_then(|()| file.write_all(text.as_bytes()));
                written.with_context(|| format!("cannot write the report to {}", quoted(path)))?;
            }
        }
        self.is_new = false;
        Ok(())
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        if let (Some((_, path)), true) = (&self.file, self.is_new) {
            // An empty report of a run that failed; if it stays, it does no harm.
            let _ = std::fs::remove_file(path);
        }
    }
}
