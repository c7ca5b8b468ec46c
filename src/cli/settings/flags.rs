//! The flags that say where settings come from.

use std::path::PathBuf;

/// Where settings come from. They may stand in front of the command or behind it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    /// The configuration file [default: pipeline/config.toml in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "no_config")]
    pub config: Option<PathBuf>,
    /// Leave the configuration file alone
    #[arg(long, global = true)]
    pub no_config: bool,
    /// A profile: high-performance, standard, debug, or yours
    ///
    /// Yours are those of the configuration file.
    #[arg(long, value_name = "NAME", global = true)]
    pub profile: Option<String>,
}
