//! `pipeline restore --salvage`: what is intact of a damaged file, and which parts are lost.

use std::io::Seek;

use anyhow::Context;

use crate::cli::args::RestoreArgs;
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve::{self, Names};
use crate::cli::session::{Session, name_the_output, refuse_terminal};
use crate::cli::settings::Settings;
use crate::format::age::stream::PayloadKey;
use crate::format::detect::DETECT_LEN;
use crate::pipeline::error::Failure;
use crate::pipeline::salvage::{Loss, Rescue};
use crate::store::input::Input;
use crate::store::output::{Manner, Output};
use crate::store::sys::{self, WakeUp};
use crate::task::keys::Keyring;
use crate::task::layers::has_key;
use crate::task::salvage::{SaveManner, has_age_layer, judge, line_of, open_header, save};

/// Runs the command on the names of `names`.
pub fn run(args: &RestoreArgs, names: &Names, settings: &Settings) -> anyhow::Result<Exit> {
    if args.files.out.is_none() && args.files.output.is_none() {
        return Err(Problem::usage("--salvage needs OUT to be given").into());
    }
    refuse_contradictions(args)?;
    if [&args.talk.stats_file, &args.talk.prometheus, &args.talk.hdr_log].into_iter().any(Option::is_some) {
        return Err(Problem::usage("--salvage makes no report that could be written to a file").into());
    }
    let window_log_max = resolve::window_log_max(args.limits.window_log_max, settings)?;
    let mut session = Session::start(&args.talk)?;
    let input = Input::open(&names.input)?;
    let what = || format!("restore {}", input.name);
    if !input.metadata.is_file() || (&*input.file).stream_position().with_context(what)? != 0 {
        return Err(Problem::usage(format!("--salvage seeks in IN, and {} is no regular file", input.name)).into());
    }
    let head = session.head(&input, DETECT_LEN).with_context(what)?;
    let wake = WakeUp::new().context("cannot start")?;
    let key = match has_age_layer(&head).with_context(what)? {
        true => Some(key_of(&mut session, &wake, &input, args).with_context(what)?),
        false => None,
    };
    let manner = Manner { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let output = Output::prepare(&names.output, &[&input], manner)?;
    refuse_terminal(&output, args.files.force)?;
    let (file, mut writer) = (input.file.try_clone().with_context(what)?, output.writer(&wake)?);
    let manner =
        SaveManner { decompress: !args.no_decompress, is_age_expected: has_key(&args.identities), window_log_max };
    let saved = session.task("salvage", wake.cancel(), move |cancel| {
        let mut on_loss = |loss: &Loss| problem::tell(&line_of(loss, None));
        let is_cancelled = || cancel.is_set();
        Ok(save(file, key.as_ref(), manner, Rescue::new(&mut writer, &mut on_loss, &is_cancelled)))
    });
    let saved = saved.map_err(anyhow::Error::new).with_context(what)?;
    let failure = |cause| name_the_output(Failure { stage: "salvage", seq: None, cause }, &output);
    let (saved, table) = saved.map_err(failure).with_context(what)?;
    let name = output.name().to_owned();
    super::finish(&mut session, &input, output)?;
    judge(&saved, table.as_ref(), (&input.name, &name), args.talk.quiet)
}

/// What does not go with `--salvage`.
pub(super) fn refuse_contradictions(args: &RestoreArgs) -> Result<(), Problem> {
    match args.files.rm || args.require_table {
        true => Err(Problem::usage("--salvage is for files that are damaged, --rm and --require-table are not")),
        false => Ok(()),
    }
}

/// The payload's key, and where it begins.
fn key_of(
    session: &mut Session,
    wake: &WakeUp,
    input: &Input,
    args: &RestoreArgs,
) -> anyhow::Result<(PayloadKey, u64)> {
    sys::forbid_core_dumps().context("cannot turn core dumps off")?;
    let file = input.file.try_clone().context("cannot read")?;
    let identities = args.identities.clone();
    session.task_that_asks("open", wake, move |prompter| {
        let mut keyring = Keyring::new(&identities, prompter)?;
        open_header(file, |header| keyring.unwrap(header))
    })
}
