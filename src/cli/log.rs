//! The log of a run; there is none unless `PIPELINE_LOG` or the setting `log` asks for it.
//!
//! Targets are those of `tracing`: a level, or levels per module, as in `debug` or `info,pipeline::pipeline=trace`. Lines go to stderr, with
//! the time since the start. No key, passphrase or content is ever logged.

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
            // A closed stderr is not worth an error.
            .log_internal_errors(false);
        // Fails only if called twice, as tests do.
        let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
        tracing::info!(file = ?settings.file(), profile = settings.profile(), "settings");
    }
    Ok(())
}
