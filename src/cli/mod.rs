//! Words, paths and exit codes: the contract with users and their shell scripts.
//!
//! Arguments are taken as typed ([`args`], no I/O), put together with what else is set ([`settings`]) and checked ([`resolve`]); a command in [`commands`] opens
//! its files ([`input`], [`output`]), lets the pipeline run ([`session`]) and says what happened ([`report`], [`problem`]). System
//! calls that std lacks are in [`sys`] and nowhere else.

pub mod args;

pub mod settings;

pub mod log;

pub mod resolve;

pub mod size;

pub mod commands;

pub mod session;

pub mod input;

pub mod child;

pub mod output;

pub mod readback;

pub mod prompt;

pub mod keys;

pub mod layers;

pub mod wrap;

pub mod problem;

pub mod report;

pub mod progress;

pub mod bench;

pub mod tune;

pub mod sys;

use std::ffi::OsString;
use std::process::ExitCode;

use args::{Args, Command};
use problem::Said;
use settings::Settings;

/// Runs the program with `args`, the first of which is its own name, and gives its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // The supervisor reports a stage that panics, in one line; the default hook would print a second one.
    std::panic::set_hook(Box::new(|panic| {
        if std::thread::current().name() == Some("main") {
            problem::tell(&format!("pipeline: internal error: {panic}\n"));
        }
    }));
    let said = match Args::parse_words(args) {
        Ok(args) => run_command(args),
        Err(error) => problem::say_usage(&error),
    };
    said.exit_code()
}

fn run_command(args: Args) -> Said {
    let run = |settings: &Settings| match args.command {
        Command::Process(args) => commands::process::run(args, settings),
        Command::Restore(args) => commands::restore::run(args, settings),
        Command::Verify(args) => commands::verify::run(args, settings),
        Command::Cat(args) => commands::cat::run(args, settings),
        Command::Inspect(args) => commands::inspect::run(args, settings),
        Command::Rekey(args) => commands::rekey::run(args, settings),
        Command::Keygen(args) => commands::keygen::run(args),
        Command::Config(args) => commands::config::run(args, settings),
        Command::Bench(args) => commands::bench::run(args),
        Command::Tune(args) => commands::tune::run(args, settings),
        Command::Completions(args) => commands::completions::run(args),
        Command::Man(args) => commands::man::run(args),
    };
    let settings = Settings::load(&args.config).and_then(|settings| log::start(&settings).map(|()| settings));
    match settings.map_err(Into::into).and_then(|settings| run(&settings)) {
        Ok(exit) => Said::nothing(exit),
        Err(error) => problem::say(&error),
    }
}
