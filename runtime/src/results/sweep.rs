//! Deletes the results of requests that are no longer stored, and those of runs that came too late.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::{Results, claim_of, leftovers};
use postback_store::shutdown::Shutdown;
use postback_store::{Error, RequestClaim, Stage, Store};
use postback_wire::line::Causes;
use postback_wire::names::metric;
use postback_wire::report::StoredResult;
use postback_wire::time::Clock;

/// The pause before all results are looked at, again and again. The first one lets an operator see that two services
/// share a place by mistake.
const PAUSE: Duration = Duration::from_mins(10);
/// The pause if the results are in memory, where room is short.
const SHORT_PAUSE: Duration = Duration::from_mins(1);
/// The pause after each of so many results, so that a sweep of a million costs others nothing.
const BREATH: Duration = Duration::from_millis(100);
const PER_BREATH: usize = 100;

/// Looks at all results again and again, until the signal to stop.
pub(crate) async fn sweep(results: &Results, store: Store, stop: Shutdown) {
    let pause = if results.place.is_memory() { SHORT_PAUSE } else { PAUSE };
    loop {
        tokio::select! {
            () = stop.stopping() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let swept = tokio::select! {
            biased;
            () = stop.stopping() => return,
            swept = in_own_place(results, &store) => swept,
        };
        match swept {
            Ok(0) => {}
            Ok(deleted) => tracing::debug!("deleted {deleted} results whose requests are gone"),
            Err(why) => tracing::warn!("old results in {} cannot be deleted: {why}", results.shown()),
        }
    }
}

/// Looks at all results once, if the place has the mark of this store.
async fn in_own_place(results: &Results, store: &Store) -> Result<u64, String> {
    if !results.may_sweep().await.map_err(|error| Causes(&error).to_string())? {
        return Ok(0);
    }
    if let Some(folder) = results.place.folder.clone() {
        let now = Clock::system().now();
        let deleted = tokio::task::spawn_blocking(move || leftovers::delete(&folder, now)).await;
        match deleted.map_err(std::io::Error::other).flatten() {
            Ok(0) => {}
            Ok(deleted) => tracing::info!("deleted {deleted} files of results that a killed process has not finished"),
            Err(error) => tracing::warn!("unfinished results in {} cannot be deleted: {error}", results.shown()),
        }
    }
    once(results, store).await
}

/// Looks at all results once. Returns how many it has deleted.
pub(super) async fn once(results: &Results, store: &Store) -> Result<u64, String> {
    let place = &results.place;
    if place.is_missing() {
        return Ok(0);
    }
    let mut objects = place.objects.list(place.prefix());
    let (mut looked, mut deleted, mut failure) = (0_usize, 0, None);
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
            match place.delete(&object.location, object.size).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => deleted += 1,
                // One that cannot be deleted keeps no other one.
                Err(error) => failure = Some(Causes(&error).to_string()),
            }
        }
    }
    metrics::counter!(metric::RESULTS_DELETED).increment(deleted);
    failure.map_or(Ok(deleted), Err)
}

/// Whether nobody can ask for the result any more. A request that has not ended may still get it as its result.
async fn is_over(store: &Store, claim: &RequestClaim) -> Result<bool, Error> {
    let Some(summary) = store.summary(&claim.id).await? else { return Ok(true) };
    let Stage::Settled(end) = summary.stage else { return Ok(false) };
    if !end.is_elsewhere {
        return Ok(true);
    }
    let described = end.result.and_then(|result| result.whole);
    let stored = described.and_then(|json| serde_json::from_slice::<StoredResult>(&json).ok());
    // What a later version has written may not be understood, and is not deleted.
    Ok(stored.is_some_and(|stored| stored.version != claim.epoch))
}
