//! `pipeline completions`: prints a completion script for a shell.

use crate::cli::args::{CompletionsArgs, help};
use crate::cli::problem::{self, Exit};

/// Runs the command.
pub fn run(args: CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(), "pipeline", &mut script);
    problem::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
