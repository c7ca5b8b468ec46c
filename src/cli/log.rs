//! The log of a run, which is off unless `PIPELINE_LOG` or the setting `log` turns it on.
//!
//! Its value has the syntax of `tracing`: a level, or levels for modules, such as `debug` or `info,pipeline::pipeline=trace`. Lines go
//! to stderr, with the time since the start. Keys, passphrases and content are never logged.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::time::uptime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::problem::Problem;
use crate::cli::settings::Settings;
use crate::cli::settings::known;

/// Starts the log that `settings` ask for, and logs the configuration file and the profile.
pub fn start(settings: &Settings) -> Result<(), Problem> {
    if let Some(targets) = settings.get(&known::LOG, None)? {
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_timer(uptime())
            .with_writer(std::io::stderr)
            // If stderr cannot be written, the error cannot be shown either.
            .log_internal_errors(false);
        // It fails only on a second call, as tests make.
        let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
        tracing::info!(file = ?settings.file(), profile = settings.profile(), "settings");
    }
    Ok(())
}

/// Parses a log filter. A single word must be a level: `tracing` would take a misspelt level for a module name and log nothing.
pub fn parse_targets(text: &str) -> Result<Targets, String> {
    let is_level = |word: &str| word.contains('=') || word.trim().parse::<LevelFilter>().is_ok();
    text.split(',').all(is_level).then(|| text.parse().ok()).flatten().ok_or_else(|| {
        format!(
            "'{}' is neither a level (error, warn, info, debug, trace) nor a list of PART=LEVEL",
            text.escape_debug()
        )
    })
}
