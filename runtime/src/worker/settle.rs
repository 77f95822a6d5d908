//! Commits the result of a run: the request's outcome together with its reports, or the time of its next run.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use super::{BACKOFF, Context, registration, run_span};
use crate::poster::{Registered, RequestEnd};
use postback_store::{ClaimedRequest, Error, RequestClaim, Settled, warn_unless_logged};
use postback_wire::line::{Causes, Escaped};
use postback_wire::report::{Outcome, Reason, Status};
use postback_wire::time::Spoken;

/// Settles a request that will not run again, because the request is cancelled, because it has not begun to run by its
/// deadline, or because the process died during too many of its runs.
pub(super) async fn settle_unrun(context: Arc<Context>, row: ClaimedRequest) {
    let span = run_span(&row);
    settle_unrun_within(&context, row).instrument(span).await;
}

pub(super) async fn settle_unrun_within(context: &Context, row: ClaimedRequest) {
    let (outcome, line) = match &row {
        row if row.cancelled => cancelled(context, row),
        row if row.expired => expired(context, row),
        row => lost(context, row),
    };
    let asked = match context.routes.get(&row.route) {
        // The handler is asked for the webhooks of the request, but not again if the process died while the handler was
        // asked.
        Some(route) if row.crashes <= context.options.get().max_crashes => {
            registration::ask_handler(context, route, &row).await
        }
        _ => None,
    };
    let registered = asked.or_else(|| row.registration.as_deref().cloned().map(Registered::from));
    settle(context, &row, outcome, registered, line).await;
}

fn cancelled(context: &Context, row: &ClaimedRequest) -> (Outcome, String) {
    let line = format!("{} {} cancelled before its next run", row.route, row.claim.id);
    (Outcome::cancelled(context.outbox.clock().now()), line)
}

fn expired(context: &Context, row: &ClaimedRequest) -> (Outcome, String) {
    let detail = "it had not begun to run by its deadline";
    let line = format!("{} {} failed: {detail}", row.route, row.claim.id);
    (Outcome::failed(Reason::Expired, Some(detail.to_owned()), context.outbox.clock().now()), line)
}

fn lost(context: &Context, row: &ClaimedRequest) -> (Outcome, String) {
    let (route, id, crashes) = (&row.route, &row.claim.id, row.crashes);
    let line = format!("{route} {id} failed: it was lost with its process {crashes} times");
    // The number of the last run. The method `attempt` returns the number of the next run, but this request has no next
    // run.
    let attempt = row.attempt().saturating_sub(1);
    tracing::error!(request_id = %id, route, attempt, outcome = "failed", reason = "lost", crashes, "{line}");
    let detail = format!("its process ended {crashes} times while it ran (worker.max_crashes)");
    (Outcome::failed(Reason::Lost, Some(detail), context.outbox.clock().now()), line)
}

/// Makes the first part of the log line about the end of a request. Each request has one such line.
pub(super) fn log_line(route: &str, claim: &RequestClaim, outcome: &Outcome, took: Duration) -> String {
    let why = match (&outcome.detail, outcome.status) {
        (Some(detail), Status::Failed) => format!(": {}", Escaped(detail)),
        _ => String::new(),
    };
    format!("{route} {} {} in {}{why}", claim.id, outcome.status, Spoken(took))
}

/// Puts a failed request back into the queue, so that its next run is due after `delay`.
pub(super) async fn requeue(
    context: &Context,
    row: &ClaimedRequest,
    outcome: &Outcome,
    delay: Duration,
    took: Duration,
) {
    let due = outcome.finished.saturating_add(delay);
    let (route, id, failures) = (&row.route, &row.claim.id, row.failures + 1);
    let detail = Escaped(outcome.detail.as_deref().unwrap_or_default());
    tracing::warn!(
        request_id = %id, route, attempt = row.attempt(), outcome = "retry", reason = outcome.reason.as_str(),
        "{route} {id} failed in {took} → runs again in {delay} (failed run {failures} of {max}): {detail}",
        took = Spoken(took), delay = Spoken(delay), max = context.options_of(route).max_attempts,
    );
    let store = context.outbox.store();
    until_stored(context, &row.claim, || store.retry_request(row.claim.clone(), due, outcome.detail.clone())).await;
}

/// Commits an outcome together with its reports. If the run has registered no webhook, the report goes to the webhook
/// that `App::webhook` sets for the route.
pub(super) async fn settle(
    context: &Context,
    row: &ClaimedRequest,
    outcome: Outcome,
    registered: Option<Registered>,
    line: String,
) {
    let ClaimedRequest { claim, route, extras, .. } = row;
    let of_route = || context.routes.get(route).and_then(|route| Registered::of_route(&route.webhook));
    let end = RequestEnd::new(
        &claim.id,
        outcome,
        registered.or_else(of_route),
        extras.as_deref(),
        line,
        context.routes.formats(),
    );
    let store = context.outbox.store();
    let settled =
        until_stored(context, claim, || store.settle_request(claim.clone(), end.outcome.clone(), end.reports.clone()));
    let Some(settled) = settled.await else { return };
    let id = &claim.id;
    if settled == Settled::Stale {
        tracing::warn!(request_id = %id, route, "{route} {id} was settled by another claim; this run's outcome is dropped");
    } else {
        end.count_and_log(id, route);
    }
}

/// Repeats the write of an outcome until the store has written it. Returns `None` if the store is closed or the server
/// stops before that; the request then runs again after the next start.
///
/// The worker does not drop an outcome when the store cannot write. The request stays claimed until the store can write
/// again or the server stops.
async fn until_stored<T, W: Future<Output = Result<T, Error>>>(
    context: &Context,
    claim: &RequestClaim,
    write: impl Fn() -> W,
) -> Option<T> {
    let id = &claim.id;
    let mut warned = false;
    loop {
        let error = match write().await {
            Ok(written) => return Some(written),
            Err(Error::Closed) => return None,
            Err(error) => error,
        };
        let why = Causes(&error).to_string();
        tokio::select! {
            biased;
            () = context.cut.stopping() => {
                tracing::error!(request_id = %id, "the outcome of {id} cannot be stored, it runs again at the next start: {why}");
                return None;
            }
            () = tokio::time::sleep(BACKOFF) => {
                if !warned {
                    warn_unless_logged!(error, request_id = %id, "the outcome of {id} cannot be stored, trying again: {why}");
                    warned = true;
                }
            }
        }
    }
}
