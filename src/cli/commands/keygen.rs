//! `pipeline keygen`: an age identity, classic or post-quantum.

use std::io::Write;
use std::path::Path;

use age::secrecy::ExposeSecret;
use anyhow::Context;
use zeroize::Zeroizing;

use crate::cli::args::KeygenArgs;
use crate::cli::problem::{self, Exit, quoted};
use crate::cli::sys;
use crate::format::age::hybrid;

/// Runs the command.
pub fn run(args: KeygenArgs) -> anyhow::Result<Exit> {
    sys::forbid_core_dumps().context("cannot turn core dumps off")?;
    let (identity, recipient) = match args.pq {
        true => {
            let mut seed = Zeroizing::new([0; 32]);
            sys::fill_random(&mut *seed).context("cannot get random bytes")?;
            let identity = hybrid::Identity::from_seed(seed);
            (identity.to_text(), identity.to_recipient().to_string())
        }
        false => {
            let identity = age::x25519::Identity::generate();
            (Zeroizing::new(identity.to_string().expose_secret().to_owned()), identity.to_public().to_string())
        }
    };
    let text = Zeroizing::new(format!("# public key: {recipient}\n{}\n", *identity));
    match args.output.as_deref().filter(|path| *path != Path::new("-")) {
        None => problem::print(&text)?,
        Some(path) => {
            let what = || format!("cannot write the identity to {}", quoted(path));
            let mut file = sys::create_private(path).with_context(what)?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(what)?;
        }
    }
    problem::tell(&format!("Public key: {recipient}\n"));
    Ok(Exit::Done)
}
