//! The `pipeline` program; all its code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pipeline::cli::run(std::env::args_os())
}
