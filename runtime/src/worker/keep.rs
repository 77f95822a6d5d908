//! Keeps large results, and those that are not JSON, outside the store.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::sink::RunSink;
use super::slot::Slot;
use super::{BACKOFF, Context};
use crate::handler::{Ended, Ready, Routes};
use crate::results::{Content, Keep, KeepError, Results};
use postback_store::ClaimedRequest;
use postback_store::backoff::Backoff;
use postback_wire::line::Causes;
use postback_wire::names::metric;
use postback_wire::report::{Json, Outcome, Reason, Status};

/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Where the slot of a run waits that has ended, until its result is kept. So results that wait for their place are at most
/// as many as runs may be.
pub(super) type Held = Arc<Mutex<Option<Slot>>>;

/// Reads the stream of a reply, if the handler has returned one: it is a part of the run, because it is code of the user.
/// Frees the slot of the run, unless its result must be kept first.
pub(super) async fn after_handler(ended: Ended, routes: &Routes, sink: &RunSink, (slot, held): (Slot, Held)) -> Ended {
    let results = routes.results();
    let ended = match ended {
        Ended::Replying(replied) => replied.ready(results).await,
        ended => ended,
    };
    let takes = |json: &Json| results.is_some_and(|results| results.takes(json));
    let is_kept = match &ended {
        Ended::Replied(_) => true,
        Ended::Completed(Some(Ok(Some(json)))) => takes(json),
        Ended::Completed(None) => sink.has_result(takes),
        _ => false,
    };
    if is_kept {
        *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(slot);
    }
    ended
}

/// Keeps the result of a request that is completed, if it is a reply or too large for the store. Returns the outcome
/// with what stands in the place of the result. If the place does not take the result, tries again until it does.
///
/// Returns an outcome that is cancelled if the caller cancels the request meanwhile. Returns `None` if the server stops
/// before that; the request then runs again after the next start.
pub(super) async fn kept(
    context: &Context,
    row: &ClaimedRequest,
    cancelled: &CancellationToken,
    (outcome, reply): (Outcome, Option<Box<Ready>>),
) -> Option<Outcome> {
    if outcome.status != Status::Completed {
        return Some(outcome);
    }
    let results = context.routes.results();
    let (bytes, content_type) = match (reply, &outcome.result) {
        // The attribute leaves the result out, or shows something else in its place.
        (Some(reply), shown) if *shown != reply.json => return Some(outcome),
        (Some(reply), _) => (reply.content, reply.content_type),
        (None, Some(json)) if results.is_some_and(|results| results.takes(json)) => {
            (Arc::new(Content::Bytes(json.bytes().clone())), "application/json".to_owned())
        }
        (None, _) => return Some(outcome),
    };
    let finished = outcome.finished;
    let failed = |why: String| Some(Outcome::failed(Reason::Unserializable, Some(why), finished));
    let Some(results) = results else {
        return failed("its result is a reply, and this server has no place for one; set results.url".to_owned());
    };
    let retention = context.routes.get(&row.route).and_then(|route| route.limits().retention);
    let keep = Keep { route: &row.route, claim: &row.claim, content_type: &content_type, content: &bytes, retention };
    let kept = tokio::select! {
        biased;
        () = cancelled.cancelled() => return Some(Outcome::cancelled(context.outbox.clock().now())),
        () = context.cut.stopping() => {
            let (id, route) = (&row.claim.id, &row.route);
            tracing::warn!(request_id = %id, route, "the result of {id} is not kept yet, it runs again at the next start");
            return None;
        }
        kept = until_kept(context, results, &keep) => kept,
    };
    match kept {
        Ok(json) => Some(Outcome { result: Some(json), reason: Reason::Elsewhere, ..outcome }),
        Err(error) => failed(format!("the result cannot be kept: {}", Causes(&error))),
    }
}

async fn until_kept(context: &Context, results: &Results, keep: &Keep<'_>) -> Result<Json, KeepError> {
    let (id, route) = (&keep.claim.id, keep.route);
    let (mut backoff, mut warned) = (Backoff::new(BACKOFF, MAX_PAUSE), false);
    loop {
        let why = match results.keep(keep, context.outbox.clock().now()).await {
            Err(error) if error.may_pass() => error,
            kept => return kept,
        };
        metrics::counter!(metric::RESULTS_REFUSED, "route" => route.to_owned()).increment(1);
        if !warned {
            let why = Causes(&why);
            tracing::warn!(request_id = %id, route, "the result of {id} cannot be kept, trying again: {why}");
            warned = true;
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}
