//! Works on a file until it succeeds, fails for good, or was retried often enough.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::error::FileError;
use super::messages::{CompletedFile, FileJob, FileResult, Target, Written};
use super::operation::Operation;
use super::plan::{BatchPlan, Item};
use super::policy::Retry;
use super::worker::Worker;
use crate::store::digest::Digest;
use crate::store::error::Doing;
use crate::store::name::quoted;
use crate::store::sys;

/// After this many consecutive transient failures, retries included, the cause counts as permanent and workers stop retrying.
const HOPELESS_COUNT: u32 = 8;

/// Processes a file; retries it after a transient failure.
pub fn work_on(
    worker: &mut Worker,
    operation: &dyn Operation,
    plan: &BatchPlan,
    retry: Retry,
    job: FileJob,
) -> CompletedFile {
    let FileJob { index, is_inline, target, replaces, skip_if } = job;
    let (item, started_at, mut tries) = (&plan.items[index], Instant::now(), 0);
    worker.begin(is_inline);
    let failed_in_a_row = Arc::clone(&worker.shared().failed_in_a_row);
    let result = loop {
        tries += 1;
        let error = match try_once(worker, operation, item, target.clone(), skip_if) {
            Ok(None) => break Ok(FileResult::Unchanged(None)),
            Ok(Some(written)) => break Ok(FileResult::Worked { written: Box::new(written), replaces }),
            Err(error) => error,
        };
        let is_hopeless = failed_in_a_row.load(Ordering::Relaxed) >= HOPELESS_COUNT;
        if worker.is_cancelled() || tries > retry.count || is_hopeless || !error.is_transient() {
            break Err(error);
        }
        let wait = retry.backoff(tries, sys::random_u64().unwrap_or_default());
        tracing::info!(source = %quoted(&item.source), tries, ?wait, %error, "tried again");
        if worker.shared().wake.pause_for(wait).is_err() {
            break Err(error);
        }
    };
    match &result {
        Ok(_) => failed_in_a_row.store(0, Ordering::Relaxed),
        Err(error) if error.is_transient() => drop(failed_in_a_row.fetch_add(1, Ordering::Relaxed)),
        Err(_) => {}
    }
    CompletedFile { index, result, took: started_at.elapsed(), tries }
}

/// Processes a file once. `None` if its input has the digest `skip_if`.
fn try_once(
    worker: &mut Worker,
    operation: &dyn Operation,
    item: &Item,
    target: Option<Target>,
    skip_if: Option<Digest>,
) -> Result<Option<Written>, FileError> {
    if let Some(expected) = skip_if.filter(|expected| expected.bytes == item.identity.bytes) {
        let input = worker.open(item)?;
        let reader = input.reader(&worker.shared().wake)?;
        let digest = Digest::of(reader, || !worker.is_cancelled()).map_err(Doing::Read.failed(&input.name))?;
        if digest == expected {
            return Ok(None);
        }
    }
    operation.carry_out(worker, item, target).map(Some)
}
