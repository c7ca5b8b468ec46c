//! `pipeline inspect`: describes the layers of a file.

use anyhow::Context;
use serde::Serialize;

use crate::cli::args::InspectArgs;
use crate::cli::problem::{self, Exit};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::report::bytes;
use crate::task::inspect::{Inspection, inspect};
use crate::task::open::ReadOptions;
use crate::task::{self, Verb};

/// The version of the JSON object's schema; incremented when a field is removed or changes its meaning.
const JSON_VERSION: u32 = 1;

/// The JSON object with the version added.
#[derive(Serialize)]
struct Page<'a> {
    version: u32,
    #[serde(flatten)]
    found: &'a Inspection,
}

/// Runs the command.
pub fn run(args: InspectArgs, settings: &Settings) -> anyhow::Result<Exit> {
    let identities = resolve::identities(&args.identities, settings)?;
    resolve::check_sources(&args.input, &args.identities.passphrases, &[("--identity", &identities.files)])?;
    let mut session = Session::start_quiet()?;
    let input = session.open(&args.input)?;
    let keys = session.keys(identities);
    let options = ReadOptions { wake: session.wake.clone(), rate_limit: None, digest: false };
    let found = inspect(&mut session, &input, &keys, &options).map_err(task::at(Verb::Inspect, &input, None))?;
    let text = match args.json {
        true => {
            let page = Page { version: JSON_VERSION, found: &found };
            serde_json::to_string_pretty(&page).context("cannot write JSON")? + "\n"
        }
        false => text(&input.name, &found),
    };
    problem::print(&text)?;
    Ok(Exit::Done)
}

fn text(name: &str, found: &Inspection) -> String {
    let unknown = || "unknown".to_owned();
    let mut lines =
        vec![("file", format!("{name}, {}", bytes(found.file_bytes))), ("layers", found.layers.join(", then "))];
    if let Some(age) = &found.age {
        let authenticated = if age.is_authenticated { "all authentic" } else { "not opened: no key was given" };
        lines.push(("recipients", age.stanzas.join(", ")));
        lines.push(("segments", format!("{} ({authenticated})", age.segment_count)));
        lines.push(("payload", bytes(age.payload_bytes)));
    }
    if found.layers.contains(&"zstd") {
        lines.push(("frames", format!("{} ({} with a checksum)", found.frame_count, found.checksummed_frame_count)));
        lines.push(("skippable", found.skippable_frame_count.to_string()));
        lines.push(("content", found.content_bytes.map_or_else(unknown, bytes)));
        lines.push(("ratio", found.ratio.map_or_else(unknown, |ratio| format!("{ratio:.3}"))));
        lines.push(("largest", found.frame_content_bytes_max.map_or_else(unknown, bytes)));
        lines.push(("window", bytes(found.window_bytes_max)));
        lines.push((
            "seek table",
            found.seek_table_problem.as_ref().map_or("fits the frames".to_owned(), ToString::to_string),
        ));
    }
    lines.iter().map(|(key, value)| format!("{key:<11} {value}\n")).collect()
}
