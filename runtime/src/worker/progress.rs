//! Stores what a run tells about its progress, while the handler runs and before its outcome is committed.

use std::time::Duration;

use super::{BACKOFF, Context};
use crate::handler::Telling;
use postback_store::{ClaimedRequest, Error, Told, warn_unless_logged};
use postback_wire::line::Causes;

/// The time between two writes of one run.
const EVERY: Duration = Duration::from_millis(500);

/// Waits for the end of a run, and meanwhile stores what the run tells. When this function returns, the last report is
/// stored.
pub(super) async fn stored_during<T>(
    context: &Context,
    row: &ClaimedRequest,
    telling: Option<&Telling>,
    run: impl Future<Output = T>,
) -> T {
    let Some(telling) = telling else { return run.await };
    let ended = async {
        let ended = run.await;
        telling.end();
        ended
    };
    tokio::join!(ended, store_all(context, row, telling)).0
}

/// Stores the reports of a run until the run is over. Ends early if the claim is not current any more.
async fn store_all(context: &Context, row: &ClaimedRequest, telling: &Telling) {
    while let Some(told) = telling.next().await {
        if !store(context, row, telling, told).await {
            return telling.end();
        }
        telling.pause(EVERY).await;
    }
}

/// Stores one report, or a newer one if the store fails at first. Returns `false` if no more can be stored for this run.
async fn store(context: &Context, row: &ClaimedRequest, telling: &Telling, mut told: Told) -> bool {
    let (store, id) = (context.outbox.store(), &row.claim.id);
    let mut warned = false;
    loop {
        let error = match store.tell_progress(row.claim.clone(), told.clone()).await {
            Ok(sequence) => return sequence.is_some(),
            Err(Error::Closed) => return false,
            Err(error) => error,
        };
        let why = Causes(&error).to_string();
        if matches!(error, Error::Unwritable(_)) {
            // The store works, and will never take this report. The outcome must not wait for it.
            tracing::error!(request_id = %id, "a progress of {id} cannot be stored, and is left out: {why}");
            return true;
        }
        if !warned {
            warn_unless_logged!(error, request_id = %id, "a progress of {id} cannot be stored, trying again: {why}");
            warned = true;
        }
        tokio::select! {
            biased;
            () = context.cut.stopping() => return false,
            () = tokio::time::sleep(BACKOFF) => told = telling.newer().unwrap_or(told),
        }
    }
}
