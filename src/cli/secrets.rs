//! The secrets of the environment. Commands and plugins inherit the environment of this process, and no safe call changes that. So a program
//! with a secret in it executes itself again without the secret, and passes the passphrase on in a file in memory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::cli::problem::Problem;
use crate::cli::settings::{PREFIX, is_variable};
use crate::store::sys;
use crate::task::keys::SecretBytes;

/// The variable with the passphrase.
const PASSPHRASE: &str = "AGE_PASSPHRASE";

/// The variable with the number of the descriptor on which the passphrase is passed on. No descriptor has this number in the commands that inherit it.
const PASSED_ON: &str = "AGE_PASSPHRASE_PASSED_ON";

/// The name of the file in memory, by which the descriptor is recognized.
const MEMORY_FILE: &str = "pipeline: AGE_PASSPHRASE";

/// The value of `AGE_PASSPHRASE`. When this returns, the environment holds no secret. Call it first, with the arguments of the program.
pub fn take(words: &[OsString]) -> Result<Option<SecretBytes>, Problem> {
    let cannot = |error| Problem::failed(format!("cannot take the secrets out of the environment: {error}"));
    if let Some(passphrase) = passed_on().map_err(cannot)? {
        return Ok(Some(passphrase));
    }
    let secrets: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).filter(|name| is_secret(name)).collect();
    match secrets.is_empty() {
        true => Ok(None),
        false => Err(cannot(execute_again(words, &secrets))),
    }
}

/// Whether no command gets the variable `name`: the passphrase, and what begins as the own variables do and is not a setting.
fn is_secret(name: &OsStr) -> bool {
    name == PASSPHRASE || name.as_bytes().starts_with(PREFIX.as_bytes()) && !name.to_str().is_some_and(is_variable)
}

fn passed_on() -> io::Result<Option<SecretBytes>> {
    let number = std::env::var(PASSED_ON).ok().and_then(|number| number.parse().ok());
    Ok(number.map(|number| sys::take_memory_file(number, MEMORY_FILE)).transpose()?.flatten().map(SecretBytes::from))
}

/// Executes this program with `words` in its place, without the variables `secrets`. Returns only if that fails.
fn execute_again(words: &[OsString], secrets: &[OsString]) -> io::Error {
    let passphrase = std::env::var_os(PASSPHRASE);
    let file = match passphrase.map(|value| sys::memory_file(MEMORY_FILE, value.as_bytes())).transpose() {
        Ok(file) => file,
        Err(error) => return error,
    };
    let execute = |program: PathBuf| {
        let mut command = Command::new(program);
        command.args(words.iter().skip(1));
        if let Some(name) = words.first() {
            command.arg0(name);
        }
        for secret in secrets {
            command.env_remove(secret);
        }
        if let Some(file) = &file {
            command.env(PASSED_ON, file.as_raw_fd().to_string());
        }
        command.exec()
    };
    // By its path, from which the process gets its name; a program that was replaced meanwhile has none.
    let error = std::env::current_exe().map_or_else(|error| error, execute);
    match error.kind() {
        io::ErrorKind::NotFound => execute(PathBuf::from("/proc/self/exe")),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_no_secrets_and_everything_else_with_the_prefix_is() {
        let is = |name: &str| is_secret(OsStr::new(name));
        assert!(is("AGE_PASSPHRASE") && is("PIPELINE_TOKEN") && is("PIPELINE_") && !is(PASSED_ON));
        assert!(is_secret(OsStr::from_bytes(b"PIPELINE_\xFF")));
        assert!(!is("PIPELINE_LOG") && !is("PIPELINE_CHUNK_SIZE") && !is("PATH") && !is("AGE_PASSPHRASE_FD"));
    }
}
