//! `pipeline completions`: what makes a shell complete the words of a command line.

use crate::cli::args::{CompletionsArgs, help};
use crate::cli::problem::{self, Exit};

/// Runs the command.
pub fn run(args: CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(), "pipeline", &mut script);
    problem::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
