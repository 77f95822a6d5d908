//! Stores and reports what a run tells about its progress, while the handler runs and before its outcome is committed.

use std::time::Duration;

use super::sink::RunSink;
use super::{BACKOFF, Context};
use crate::handler::Telling;
use crate::poster::ProgressReports;
use postback_store::{ClaimedRequest, Error, Told, warn_unless_logged};
use postback_wire::line::Causes;

/// The time between two writes of one run.
const EVERY: Duration = Duration::from_millis(500);

/// Waits for the end of a run, and meanwhile stores what the run tells, and sends it to the webhooks that want it. When
/// this function returns, the last report is stored, and no attempt to send one is in flight.
pub(super) async fn stored_during<T>(
    context: &Context,
    row: &ClaimedRequest,
    (telling, sink): (Option<&Telling>, &RunSink),
    run: impl Future<Output = T>,
) -> T {
    let Some(telling) = telling else { return run.await };
    let reports = ProgressReports::new(&context.outbox, row);
    let ended = async {
        let ended = run.await;
        telling.end();
        reports.end();
        ended
    };
    let storing = async {
        store_all(context, row, telling, &reports).await;
        reports.end();
    };
    tokio::join!(ended, storing, reports.send_all(|| sink.wanting_progress())).0
}

/// Stores the reports of a run until the run is over. Ends early if the claim is not current any more.
async fn store_all(context: &Context, row: &ClaimedRequest, telling: &Telling, reports: &ProgressReports) {
    while let Some(told) = telling.next().await {
        match store(context, row, telling, told).await {
            Some(Some((told, sequence))) => reports.tell(told, sequence),
            Some(None) => {}
            None => return telling.end(),
        }
        telling.pause(EVERY).await;
    }
}

/// Stores one report, or a newer one if the store fails at first. Returns what is stored, with its sequence number, or
/// `None` in its place if the store does not take this report. Returns `None` if no more can be stored for this run.
async fn store(
    context: &Context,
    row: &ClaimedRequest,
    telling: &Telling,
    mut told: Told,
) -> Option<Option<(Told, u64)>> {
    let (store, id) = (context.outbox.store(), &row.claim.id);
    let mut warned = false;
    loop {
        let error = match store.tell_progress(row.claim.clone(), told.clone()).await {
            Ok(sequence) => return sequence.map(|sequence| Some((told, sequence))),
            Err(Error::Closed) => return None,
            Err(error) => error,
        };
        let why = Causes(&error).to_string();
        if matches!(error, Error::Unwritable(_)) {
            // The store works, and will never take this report. The outcome must not wait for it.
            tracing::error!(request_id = %id, "a progress report of {id} cannot be stored, and is left out: {why}");
            return Some(None);
        }
        if !warned {
            warn_unless_logged!(error, request_id = %id, "a progress report of {id} cannot be stored, trying again: {why}");
            warned = true;
        }
        tokio::select! {
            biased;
            () = context.cut.stopping() => return None,
            () = tokio::time::sleep(BACKOFF) => told = telling.newer().unwrap_or(told),
        }
    }
}
