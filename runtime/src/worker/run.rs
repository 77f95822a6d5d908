//! One run of one request, from its claim to the commit of its outcome.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::after_run::{self, RunEnd};
#[cfg(feature = "multipart")]
use super::files;
use super::handler_task::Interrupted;
use super::keep::{self, Held};
use super::registration::{self, Attempts};
use super::sink::{Captured, RunSink};
use super::slot::Slot;
use super::{Context, checkpoint, handler_task, progress, run_span, settle};
use crate::handler::{AfterError, Attempt, Cancellation, Route, RunInfo, Telling};
use crate::panics::contain;
use crate::poster::Registered;
use crate::spans;
use postback_store::{ClaimedRequest, warn_unless_logged};
use postback_wire::line::Causes;
use postback_wire::names::metric;
use postback_wire::report::{Outcome, Reason};

/// Runs a claimed request and commits its outcome. If the grace time ends while the request runs, puts the request back
/// into the queue.
///
/// Invariant: when this function returns, the request no longer has the state "running" in the store. If the worker's
/// own code panics, the request is settled as failed.
pub(super) async fn run(context: Arc<Context>, row: ClaimedRequest, slot: Slot) {
    let span = run_span(&row);
    let run = async {
        let sink = Arc::new(sink(&context, &row));
        if let Err(message) = contain(run_within(&context, &row, &sink, slot)).await {
            settle_panicked(&context, &row, &sink, &message).await;
        }
    };
    // The second span is for tracing systems. The log shows the first one only.
    let process = span.in_scope(|| spans::run(&row));
    run.instrument(process).instrument(span).await;
}

/// Makes the sink that receives the outcomes of annotated function calls during this run.
fn sink(context: &Arc<Context>, row: &ClaimedRequest) -> RunSink {
    let sink = RunSink::new(row.claim.id.clone(), context.outbox.clone());
    if registration::must_precede_body(context, row) {
        sink.registering(registration::registrar(context, &row.claim))
    } else {
        sink
    }
}

async fn run_within(context: &Arc<Context>, row: &ClaimedRequest, sink: &Arc<RunSink>, slot: Slot) {
    let cancelled = context.outbox.store().cancellation(&row.claim);
    if row.cancelled || cancelled.is_cancelled() {
        drop(slot);
        return settle::settle_unrun_within(context, ClaimedRequest { cancelled: true, ..row.clone() }).await;
    }
    if row.expired {
        drop(slot);
        return settle::settle_unrun_within(context, row.clone()).await;
    }
    let Some(route) = context.routes.get(&row.route) else {
        // This line never runs, because a node claims only requests of routes that it serves.
        return context.put_back(&row.route, row.claim.clone(), false).await;
    };
    if !may_begin(context).await {
        return context.put_back(&route.path, row.claim.clone(), false).await;
    }
    record_waiting_time(context, row);
    let telling = route.needs.progress.then(|| Telling::new(context.outbox.clock().clone()));
    let info = info(context, route, row, telling.as_ref()).await;
    let Some(info) = checkpoint::with_keeper(context, route, row, info).await else {
        return context.put_back(&route.path, row.claim.clone(), false).await;
    };
    #[cfg(feature = "multipart")]
    let info = files::with_files(route, row, info).await;
    let cancellation = info.cancellation.clone();
    let held = Held::default();
    let task = handler_task::spawn(context, route, row, (sink, info), (slot, Arc::clone(&held)));
    let watched = handler_task::watch(context, row, sink, &cancelled, (task, cancellation));
    let (end, took) = match progress::stored_during(context, row, (telling.as_deref(), sink), watched).await {
        Ok(ended) => ended,
        Err(Interrupted { begun }) => {
            registration::store(context, &row.claim, sink.registration(), Attempts::One).await;
            return context.put_back(&route.path, row.claim.clone(), begun).await;
        }
    };
    metrics::histogram!(metric::RUN_SECONDS, "route" => route.path.clone()).record(took.as_secs_f64());
    context.outbox.store().tally().ran(&route.path, took);

    let Captured { registered, outcome } = sink.take();
    let registered = match (&end, registered) {
        // The run was cancelled before it registered a webhook, so the worker asks the handler for the webhook.
        (RunEnd::Cancelled, None) => registration::ask_handler(context, route, row).await,
        (_, registered) => registered,
    };
    let (after, reply) = (after_run::after_error(&end), after_run::reply(&end));
    let outcome = after_run::outcome(end, outcome, context.outbox.clock().now());
    let kept = keep::kept(context, row, &cancelled, (outcome, reply)).await;
    drop(held);
    let Some(outcome) = kept else {
        return context.put_back(&route.path, row.claim.clone(), true).await;
    };
    spans::ended(outcome.status.as_str(), outcome.reason.as_str());
    let again = run_again(context, row, &cancelled, (outcome, after), registered.as_ref(), took);
    let Some(outcome) = again.await else { return };
    let registered = registered.or_else(|| row.registration.as_deref().cloned().map(Registered::from));
    let line = settle::log_line(&route.path, &row.claim, &outcome, took);
    settle::settle(context, row, outcome, registered, line).await;
    if route.needs.checkpoint {
        checkpoint::drop_of(context.outbox.store(), row).await;
    }
}

/// Waits until the run may begin. Returns `false` if the node stops before that.
async fn may_begin(context: &Context) -> bool {
    tokio::select! {
        biased;
        () = context.outbox.store().may_begin() => true,
        () = context.cut.stopping() => false,
    }
}

/// Makes what the handler may ask about its run.
async fn info(context: &Context, route: &Route, row: &ClaimedRequest, telling: Option<&Arc<Telling>>) -> RunInfo {
    let is_last = row.failures + 1 >= context.options_of(&row.route).max_attempts;
    let mut attempt = Attempt::new(row.attempt(), is_last);
    if route.needs.last_error && row.failures > 0 {
        match context.outbox.store().timeline(&row.claim.id).await {
            Ok(timeline) => {
                let runs = timeline.map(|timeline| timeline.runs).unwrap_or_default();
                if let Some(error) = runs.into_iter().rev().find_map(|run| run.detail) {
                    attempt = attempt.after(error);
                }
            }
            Err(error) => {
                let (id, why) = (&row.claim.id, Causes(&error));
                warn_unless_logged!(error, request_id = %id, "the last error of {id} cannot be read, so its handler does not see it: {why}");
            }
        }
    }
    RunInfo {
        progress: telling.map(Telling::progress).unwrap_or_default(),
        attempt,
        cancellation: route.needs.cancellation.then(Cancellation::default),
        limit: Some(context.time_limit(row).time),
        retry_if: route.retry_if.clone(),
        extras: row.extras.clone(),
        ..RunInfo::default()
    }
}

/// Records the metric of how long a request waited for its first run.
fn record_waiting_time(context: &Context, row: &ClaimedRequest) {
    if row.failures + row.crashes == 0 {
        let now = context.outbox.clock().now();
        let waited = now.since(row.created);
        spans::queued(row, now);
        metrics::histogram!(metric::WAIT_SECONDS, "route" => row.route.clone()).record(waited.as_secs_f64());
    }
}

/// Puts a failed request back into the queue and returns `None`, if the request may run again. Otherwise returns the
/// final outcome of the request.
async fn run_again(
    context: &Context,
    row: &ClaimedRequest,
    cancelled: &CancellationToken,
    (outcome, after): (Outcome, AfterError),
    registered: Option<&Registered>,
    took: Duration,
) -> Option<Outcome> {
    match after_run::retry(&outcome, row.failures + 1, &context.options_of(&row.route), after) {
        None => Some(outcome),
        // The failed run would be followed by another run, but a cancelled request does not run again. So the outcome
        // of the request is "cancelled" instead of this failure.
        Some(_) if cancelled.is_cancelled() => Some(Outcome::cancelled(outcome.finished)),
        Some(delay) => {
            let registration = registered.map(Registered::stored);
            registration::store(context, &row.claim, registration, Attempts::UntilStopped).await;
            settle::requeue(context, row, &outcome, delay, took).await;
            None
        }
    }
}

/// Settles a request as failed because the worker's own code has panicked during its run. Such a panic is a bug in
/// Postback, or in a logger or a metrics recorder that Postback calls.
async fn settle_panicked(context: &Context, row: &ClaimedRequest, sink: &RunSink, message: &str) {
    let (route, id) = (&row.route, &row.claim.id);
    let detail = format!("the worker panicked: {message}");
    tracing::error!(request_id = %id, route, "{route} {id} is settled as failed, because {detail}");
    let registered = sink.take().registered.or_else(|| row.registration.as_deref().cloned().map(Registered::from));
    let line = format!("{route} {id} failed: {detail}");
    let outcome = Outcome::failed(Reason::Panic, Some(detail), context.outbox.clock().now());
    settle::settle(context, row, outcome, registered, line).await;
}

#[cfg(test)]
mod tests;
