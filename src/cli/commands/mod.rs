//! The commands, a file each: open, run, commit, say.

pub mod cat;
pub mod inspect;
pub mod process;
pub mod restore;
pub mod verify;

use anyhow::Context;

use crate::cli::args::FileArgs;
use crate::cli::input::Input;
use crate::cli::output::Output;
use crate::cli::problem::{Problem, quoted};
use crate::cli::resolve::{Environment, Names};
use crate::cli::session::Session;
use crate::cli::sys;
use crate::format::detect::{Layer, detect};

/// Makes OUT durable under its name, and then, if asked, deletes IN.
fn finish(session: &mut Session, files: &FileArgs, input: &Input, output: Output, names: &Names) -> anyhow::Result<()> {
    let has_name = output.is_regular_file();
    commit(session, output, input)?;
    if files.rm && has_name {
        delete(input, names).with_context(|| format!("cannot delete {}", input.name))?;
    }
    Ok(())
}

/// Makes OUT durable under its name.
fn commit(session: &mut Session, output: Output, input: &Input) -> anyhow::Result<()> {
    Ok(session.commit(output, input)?)
}

/// Deletes the file that was read, if it still has the name it was opened by.
fn delete(input: &Input, names: &Names) -> anyhow::Result<()> {
    let now = std::fs::symlink_metadata(&names.input)?;
    if sys::identity(&now) != sys::identity(&input.metadata) {
        anyhow::bail!("it is a symbolic link, or another file by now");
    }
    Ok(std::fs::remove_file(&names.input)?)
}

/// Looks a variable of the process's environment up.
fn process_environment(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// The environment of this process.
fn environment() -> Environment<'static> {
    Environment::new(&process_environment)
}

/// Refuses an input that does not begin as a zstd file.
fn require_zstd(input: &Input, head: &[u8]) -> Result<(), Problem> {
    let name = &input.name;
    match detect(head) {
        Layer::Zstd => Ok(()),
        Layer::Empty => Err(Problem::failed(format!("{name} is empty: not even an empty compressed file is"))),
        Layer::Age | Layer::AgeArmor => {
            let hint = "age -d -i IDENTITY IN | pipeline restore - OUT";
            Err(Problem::failed(format!("{name} is encrypted with age, which this version does not open")).hint(hint))
        }
        Layer::Other => {
            let first = &head[..head.len().min(8)];
            let first = quoted(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(first));
            Err(Problem::failed(format!("{name} is neither a zstd nor an age file: it begins with {first}")))
        }
    }
}
