//! Keeps large results, and those that are not JSON, outside the store.

use std::sync::Arc;
use std::time::Duration;

use super::{BACKOFF, Context};
use crate::handler::{Ended, Ready, Replied};
use crate::results::{Content, Keep, KeepError, Results};
use postback_store::ClaimedRequest;
use postback_wire::line::Causes;
use postback_wire::names::metric;
use postback_wire::report::{Json, Outcome, Reason, Status};

/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Reads the stream of a reply, if it has one. It is a part of the run, because it is code of the user.
pub(super) async fn ready(replied: Replied, results: Option<&Arc<Results>>) -> Ended {
    match results {
        Some(results) => replied.ready(&results.spool(), results.max_size()).await,
        // The worker refuses the reply, whatever it is.
        None => replied.ready(&std::env::temp_dir(), 0).await,
    }
}

/// Keeps the result of a request that is completed, if it is a reply or too large for the store. Returns the outcome
/// with what stands in the place of the result. If the place does not take the result, tries again until it does.
///
/// Returns `None` if the server stops before that; the request then runs again after the next start.
pub(super) async fn kept(
    context: &Context,
    row: &ClaimedRequest,
    outcome: Outcome,
    reply: Option<Box<Ready>>,
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
            (Content::Bytes(json.bytes().clone()), "application/json".to_owned())
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
    match until_kept(context, results, &keep).await? {
        Ok(json) => Some(Outcome { result: Some(json), reason: Reason::Elsewhere, ..outcome }),
        Err(error) => failed(format!("the result cannot be kept: {}", Causes(&error))),
    }
}

async fn until_kept(context: &Context, results: &Results, keep: &Keep<'_>) -> Option<Result<Json, KeepError>> {
    let (id, route) = (&keep.claim.id, keep.route);
    let mut pause = BACKOFF;
    loop {
        let kept = tokio::select! {
            biased;
            () = context.cut.stopping() => None,
            kept = results.keep(keep, context.outbox.clock().now()) => Some(kept),
        };
        let why = match kept {
            Some(Err(error)) if error.may_pass() => error,
            Some(kept) => return Some(kept),
            None => {
                tracing::warn!(request_id = %id, route, "the result of {id} is not kept yet, it runs again at the next start");
                return None;
            }
        };
        metrics::counter!(metric::RESULTS_REFUSED, "route" => route.to_owned()).increment(1);
        if pause == BACKOFF {
            let why = Causes(&why);
            tracing::warn!(request_id = %id, route, "the result of {id} cannot be kept, trying again: {why}");
        }
        tokio::select! {
            biased;
            () = context.cut.stopping() => {}
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(MAX_PAUSE),
        }
    }
}
