//! `pipeline restore --salvage`: what is intact of a damaged file, and which parts are lost.

use std::io::{Seek, SeekFrom};

use anyhow::Context;

use crate::cli::args::RestoreArgs;
use crate::cli::input::Input;
use crate::cli::keys::Keyring;
use crate::cli::layers::has_key;
use crate::cli::output::{Manner, Output};
use crate::cli::problem::{self, Exit, Problem};
use crate::cli::resolve::{self, Names};
use crate::cli::save::{SaveManner, judge, line_of, save};
use crate::cli::session::{Session, name_the_output, refuse_terminal};
use crate::cli::settings::Settings;
use crate::cli::sys::{self, WakeUp};
use crate::format::age::header::{NONCE_LEN, payload_key};
use crate::format::age::stream::PayloadKey;
use crate::format::detect::{DETECT_LEN, Layer, detect};
use crate::pipeline::error::Failure;
use crate::pipeline::peel::{Unwrapped, unwrap};
use crate::pipeline::salvage::{Loss, Rescue};

/// Runs the command on the names of `names`.
pub fn run(args: &RestoreArgs, names: &Names, settings: &Settings) -> anyhow::Result<Exit> {
    if args.files.out.is_none() && args.files.output.is_none() {
        return Err(Problem::usage("--salvage needs OUT to be given").into());
    }
    if args.files.rm || args.require_table {
        return Err(Problem::usage("--salvage is for files that are damaged, --rm and --require-table are not").into());
    }
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
    let layer = detect(&head);
    if layer == Layer::AgeArmor {
        let message = format!("restore {}: --salvage reads binary age files, this one is in armor", input.name);
        return Err(Problem::failed(message).into());
    }
    let wake = WakeUp::new().context("cannot start")?;
    let key = match layer {
        Layer::Age => Some(open_header(&mut session, &wake, &input, args).with_context(what)?),
        _ => None,
    };
    let manner = Manner { force: args.files.force, sync: !args.files.no_sync, umask: session.umask };
    let output = Output::prepare(&names.output, &[&input], manner)?;
    refuse_terminal(&output, args.files.force)?;
    let (file, mut writer) = (input.file.try_clone().with_context(what)?, output.writer(&wake)?);
    let manner =
        SaveManner { decompress: !args.no_decompress, is_age_expected: has_key(&args.identities), window_log_max };
    let saved = session.task("salvage", wake.cancel(), move |cancel| {
        let mut on_loss = |loss: &Loss| problem::tell(&line_of(loss));
        let is_cancelled = || cancel.is_set();
        let mut rescue = Rescue::new(&mut writer, &mut on_loss, &is_cancelled);
        let saved = save(file, key.as_ref().map(|(key, offset)| (key, *offset)), manner, &mut rescue);
        Ok(saved.and_then(|table| Ok((rescue.finish()?, table))))
    });
    let saved = saved.map_err(anyhow::Error::new).with_context(what)?;
    let failure = |cause| name_the_output(Failure { stage: "salvage", seq: None, cause }, &output);
    let (saved, table) = saved.map_err(failure).with_context(what)?;
    let name = output.name().to_owned();
    super::finish(&mut session, &input, output)?;
    judge(&saved, table.as_ref(), (&input.name, &name), args.talk.quiet)
}

/// The payload's key, and where it begins. The header has to be whole and authentic: without it nothing opens.
fn open_header(
    session: &mut Session,
    wake: &WakeUp,
    input: &Input,
    args: &RestoreArgs,
) -> anyhow::Result<(PayloadKey, u64)> {
    sys::forbid_core_dumps().context("cannot turn core dumps off")?;
    let mut file = input.file.try_clone().context("cannot read")?;
    file.seek(SeekFrom::Start(0)).context("cannot read")?;
    let identities = args.identities.clone();
    session.task_that_asks("open", wake, move |prompter| {
        let mut keyring = Keyring::new(&identities, prompter)?;
        let unwrapped = unwrap(Box::new(file), Layer::Age, |header| keyring.unwrap(header))?;
        let Unwrapped { header, file_key, nonce, .. } = unwrapped;
        Ok((payload_key(&file_key, &nonce), (header.len + NONCE_LEN) as u64))
    })
}
