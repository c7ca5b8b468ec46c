//! The command-line program: arguments, settings, messages and exit codes, which are a contract with users and their scripts.
//!
//! [`args`] parses arguments as typed, [`settings`] merges them with the configuration and the environment, and [`resolve`] turns them
//! into requests to the layers below. A command in [`commands`] opens its files and runs a task or a batch ([`session`]); [`problem`]
//! turns a failure into a message and an exit code.

pub mod args;

pub mod settings;

pub mod choices;

pub mod log;

pub mod secrets;

pub mod resolve;

pub mod size;

pub mod commands;

pub mod session;

pub mod problem;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::task::keys::SecretBytes;
use args::{Args, Command, Typed};
use problem::{Exit, Said};
use settings::Settings;

/// Runs the program with `args`, whose first element is the program's name, and returns its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // The supervisor reports a stage's panic on one line; the default hook would print a second one.
    std::panic::set_hook(Box::new(|panic| {
        if std::thread::current().name() == Some("main") {
            problem::tell(&format!("pipeline: internal error: {panic}\n"));
        }
    }));
    let words: Vec<OsString> = args.into_iter().collect();
    let said = match (secrets::take(&words), Args::parse_words(words)) {
        (Err(problem), _) => problem::say(&problem.into()),
        (Ok(passphrase), Ok((args, typed))) => run_command(args, &typed, passphrase),
        (_, Err(error)) => problem::say_usage(&error),
    };
    said.exit_code()
}

fn run_command(args: Args, typed: &Typed, passphrase: Option<SecretBytes>) -> Said {
    // Only for commands with settings: shells source completions, where a missing profile must not matter.
    let settings = |passphrase| {
        let settings = Settings::load(&args.config, passphrase)?;
        log::start(&settings).map(|()| settings)
    };
    let result = match args.command {
        Command::Keygen(args) => commands::keygen::run(args, passphrase),
        Command::Bench(args) => commands::bench::run(args),
        Command::Completions(args) => commands::completions::run(args),
        Command::Man(args) => commands::man::run(args),
        command => settings(passphrase).map_err(Into::into).and_then(|settings| run_with(command, typed, &settings)),
    };
    match result {
        Ok(exit) => Said::nothing(exit),
        Err(error) => problem::say(&error),
    }
}

fn run_with(command: Command, typed: &Typed, settings: &Settings) -> anyhow::Result<Exit> {
    match command {
        Command::Process(args) => commands::process::run(args, typed, settings),
        Command::Restore(args) => commands::restore::run(args, typed, settings),
        Command::Verify(args) => commands::verify::run(args, typed, settings),
        Command::Cat(args) => commands::cat::run(args, settings),
        Command::Inspect(args) => commands::inspect::run(args, settings),
        Command::Rekey(args) => commands::rekey::run(args, typed, settings),
        Command::Config(args) => commands::config::run(args, settings),
        Command::Tune(args) => commands::tune::run(args, settings),
        Command::Keygen(_) | Command::Bench(_) | Command::Completions(_) | Command::Man(_) => {
            unreachable!("internal error: a command without settings")
        }
    }
}
