//! Who opens the files of a batch: asked for once.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use crate::batch::plan::Plan;
use crate::batch::restore::Opener;
use crate::cli::args::IdentityArgs;
use crate::cli::resolve::WORK_FACTOR_MAX_DEFAULT;
use crate::cli::session::Session;
use crate::format::age::keys::{self, Identity};
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::pipeline::cores::Cores;
use crate::pipeline::peel::read_header;
use crate::store::prompt::Prompter;
use crate::store::sys::{self, WakeUp};
use crate::task::keys::Keyring;

/// Files that are looked at to see whether a passphrase has to be asked for.
const LOOKED_AT: usize = 16;

/// Who opens the files of `plan`: what flags and the environment give, read once. Where they give nothing, and a passphrase is wanted, it is
/// asked for.
pub fn opener(session: &mut Session, wake: &WakeUp, plan: &Plan, args: &IdentityArgs) -> anyhow::Result<Opener> {
    sys::forbid_core_dumps().context("cannot turn core dumps off")?;
    let given = args.clone();
    let looked_at: Vec<PathBuf> = plan.items.iter().take(LOOKED_AT).map(|item| item.source.clone()).collect();
    let identities = session.task_that_asks("keys", wake, move |prompter| {
        let mut identities = Keyring::new(&given, prompter)?.into_identities_and_passphrase()?;
        if identities.is_empty() && looked_at.iter().any(|path| wants_passphrase(path)) {
            identities.push(Identity::Passphrase(prompter.passphrase("passphrase")?));
        }
        Ok(identities)
    });
    Ok(Opener {
        identities: Arc::new(identities?),
        work_factor_max: args.max_work_factor.unwrap_or(WORK_FACTOR_MAX_DEFAULT),
        prompter: Prompter::new(wake.clone()),
        scrypt: Cores::shared(NonZeroUsize::MIN),
    })
}

/// Whether a file is encrypted with a passphrase, as far as that can be told.
fn wants_passphrase(path: &Path) -> bool {
    let layer = || {
        let mut head = Vec::new();
        std::fs::File::open(path).ok()?.take(DETECT_LEN as u64).read_to_end(&mut head).ok()?;
        Some(detect(&head)).filter(|layer| matches!(layer, Layer::Age | Layer::AgeArmor))
    };
    let header = layer().and_then(|layer| read_header(Box::new(std::fs::File::open(path).ok()?), layer).ok());
    header.is_some_and(|(header, _)| keys::is_for_passphrase(&header))
}
