//! Deletes the results of requests that are no longer stored, and those of runs that came too late.

use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::ObjectStoreExt as _;

use super::{Results, claim_of};
use postback_store::shutdown::Shutdown;
use postback_store::{Error, Stage, Store};
use postback_wire::line::Causes;
use postback_wire::names::metric;

/// The pause after all results were looked at.
const PAUSE: Duration = Duration::from_mins(10);
/// The pause after each of so many results, so that a sweep of a million costs others nothing.
const BREATH: Duration = Duration::from_millis(100);
const PER_BREATH: usize = 100;

/// Looks at all results again and again, until the signal to stop.
pub(crate) async fn sweep(results: &Results, store: Store, stop: Shutdown) {
    loop {
        let swept = tokio::select! {
            biased;
            () = stop.stopping() => return,
            swept = once(results, &store) => swept,
        };
        match swept {
            Ok(0) => {}
            Ok(deleted) => tracing::debug!(deleted, "deleted {deleted} results whose requests are gone"),
            Err(why) => tracing::warn!("old results in {} cannot be deleted: {why}", results.shown()),
        }
        tokio::select! {
            () = stop.stopping() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Looks at all results once. Returns how many it has deleted.
pub(super) async fn once(results: &Results, store: &Store) -> Result<u64, String> {
    let place = &results.place;
    if place.folder.as_ref().is_some_and(|folder| !folder.exists()) {
        return Ok(0);
    }
    let mut objects = place.objects.list(place.prefix());
    let (mut looked, mut deleted) = (0_usize, 0);
    while let Some(object) = objects.next().await {
        let object = object.map_err(|error| Causes(&error).to_string())?;
        // Files of others, and streams that are being written, are none of ours.
        let Some(claim) = claim_of(&object.location).filter(|claim| place.object(claim) == object.location) else {
            continue;
        };
        looked += 1;
        if looked.is_multiple_of(PER_BREATH) {
            tokio::time::sleep(BREATH).await;
        }
        let is_over = is_over(store, &claim).await.map_err(|error| Causes(&error).to_string())?;
        if is_over {
            match place.objects.delete(&object.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => deleted += 1,
                Err(error) => return Err(Causes(&error).to_string()),
            }
        }
    }
    metrics::counter!(metric::RESULTS_DELETED).increment(deleted);
    Ok(deleted)
}

/// Whether nobody can ask for the result any more. A request that has not ended may still get it as its result.
async fn is_over(store: &Store, claim: &postback_store::RequestClaim) -> Result<bool, Error> {
    let Some(summary) = store.summary(&claim.id).await? else { return Ok(true) };
    let Stage::Settled(end) = summary.stage else { return Ok(false) };
    let described = end.result.filter(|_| end.is_elsewhere).and_then(|result| result.whole);
    let stored = described.and_then(|json| serde_json::from_slice::<postback_wire::report::StoredResult>(&json).ok());
    Ok(stored.is_none_or(|stored| stored.version != claim.epoch))
}
