//! `pipeline config`: shows the settings in force and their sources.

use crate::cli::args::{SettingsAction, SettingsArgs};
use crate::cli::problem::{self, Exit};
use crate::cli::resolve;
use crate::cli::settings::Settings;
use crate::cli::settings::known::{self, SettingSpec};
use crate::pipeline::plan;

/// Runs the command.
pub fn run(args: SettingsArgs, settings: &Settings) -> anyhow::Result<Exit> {
    let SettingsAction::Show = args.action;
    let level = resolve::level(None, settings)?;
    let chunk_len = resolve::chunk_len(None, level, settings)?;
    let default = |setting: &SettingSpec| match setting.key {
        key if key == known::WORKERS.key => Some("0".to_owned()),
        key if key == known::CHANNEL_DEPTH.key => Some(plan::CHANNEL_DEPTH_DEFAULT.to_string()),
        key if key == known::CHUNK_SIZE.key => Some(format!("{}M", chunk_len >> 20)),
        key if key == known::LEVEL.key => Some(level.get().to_string()),
        key if key == known::WINDOW_MAX.key => Some(format!("{}M", (1u64 << plan::WINDOW_LOG_MAX_DEFAULT) >> 20)),
        key if key == known::MAX_WORK_FACTOR.key => Some(plan::WORK_FACTOR_MAX_DEFAULT.to_string()),
        key if key == known::VERIFY.key => Some("false".to_owned()),
        key if key == known::SPARSE.key => Some("auto".to_owned()),
        key if key == known::STATS.key => Some("text".to_owned()),
        key if key == known::PROGRESS.key => Some("auto".to_owned()),
        _ => None,
    };
    problem::print(&settings.show(default)?)?;
    Ok(Exit::Done)
}
