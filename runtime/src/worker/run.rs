//! One run of one request, from its claim to its commit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::after_run::{self, RunEnd};
use super::sink::{Captured, Registrar, RunSink};
use super::slot::{LaneHeld, Slot};
use super::{BACKOFF, Context, instead};
use crate::handler::{Ended, Route, Run};
use crate::line::{Causes, Escaped};
use crate::names::{metric, target};
use crate::poster::{Registered, RequestEnd, ambient};
use crate::report::{Outcome, Reason, Status};
use crate::store::{ClaimedRequest, Error, Registration, RequestClaim, Settled, warn_unless_told};
use crate::time::Spoken;

/// How old a run is when what it registered is stored, and how often that is looked at until something was registered.
const REGISTER_AFTER: Duration = Duration::from_secs(1);
/// How long a body waits until what its run registered is stored, if it may not begin before.
const FIRST: Duration = Duration::from_secs(5);
/// How long a run has the lane of those that may end their process. What ends it, does so early as a rule; and those behind it
/// must not wait for hours after a machine was lost.
const ALONE: Duration = Duration::from_mins(1);

/// What is said during the run, by the handler too, is said of this request. As long as errors are logged there is a span: where
/// warnings are left out, an error has it still.
fn span(row: &ClaimedRequest) -> Span {
    let (route, attempt) = (&*row.route, row.attempt());
    tracing::error_span!(target: target::RUN, "run", request_id = %row.claim.id, route, attempt)
}

/// Runs a request to its end, or puts it back when the grace time is over.
pub(super) async fn run(context: Arc<Context>, row: ClaimedRequest, slot: Slot) {
    let span = span(&row);
    run_within(context, row, slot).instrument(span).await;
}

async fn run_within(context: Arc<Context>, row: ClaimedRequest, slot: Slot) {
    let cancelled = context.outbox.store().cancellation(&row.claim);
    if row.cancelled || cancelled.is_cancelled() {
        drop(slot);
        return settle_unrun_within(context, ClaimedRequest { cancelled: true, ..row }).await;
    }
    let Some(route) = context.routes.get(&row.route).map(Arc::clone) else {
        // Only requests of this node's routes are claimed.
        return context.put_back(&row.route, row.claim).await;
    };
    let claim = row.claim.clone();
    if row.failures + row.crashes == 0 {
        let waited = context.outbox.clock().now().since(row.created);
        metrics::histogram!(metric::WAIT_SECONDS, "route" => route.path.clone()).record(waited.as_secs_f64());
    }
    let sink = RunSink::new(claim.id.clone(), context.outbox.clone());
    let sink =
        Arc::new(if registers_first(&context, &row) { sink.registering(registrar(&context, &claim)) } else { sink });
    let handler = spawn_handler(&context, &route, &row, &sink, slot);
    let known = row.registration.as_ref();
    let Some((end, took)) = watch(&context, &claim, &sink, known, &cancelled, handler).await else {
        keep(&context, &claim, sink.registration(), Patience::Once).await;
        return context.put_back(&route.path, claim).await;
    };
    metrics::histogram!(metric::RUN_SECONDS, "route" => route.path.clone()).record(took.as_secs_f64());

    let Captured { registered, held } = sink.take();
    let now = context.outbox.clock().now();
    // It may have been cancelled before it began.
    let registered = match &end {
        RunEnd::Cancelled if registered.is_none() => instead::asked(&context, &route, &row).await,
        _ => registered,
    };
    let outcome = after_run::outcome(end, held, now);
    let outcome = match after_run::retry(&outcome, row.failures + 1, &context.options) {
        // Such a failure is not how it ended: it is not run again.
        Some(_) if cancelled.is_cancelled() => Outcome::cancelled(now),
        Some(delay) => {
            keep(&context, &claim, registered.as_ref().map(Registered::stored), Patience::UntilStopped).await;
            return retry(&context, &row, &outcome, delay, took).await;
        }
        None => outcome,
    };
    let registered = registered.or_else(|| row.registration.map(Registered::from));
    let said = said(&route.path, &claim, &outcome, took);
    settle(&context, claim, &route, outcome, registered, said).await;
}

/// Ends a request that is not run again: it is cancelled, or was lost with its process too often.
pub(super) async fn settle_unrun(context: Arc<Context>, row: ClaimedRequest) {
    let span = span(&row);
    settle_unrun_within(context, row).instrument(span).await;
}

async fn settle_unrun_within(context: Arc<Context>, row: ClaimedRequest) {
    let now = context.outbox.clock().now();
    let (route, id, crashes) = (&row.route, &row.claim.id, row.crashes);
    let (outcome, said) = if row.cancelled {
        (Outcome::cancelled(now), format!("{route} {id} cancelled before its next run"))
    } else {
        let said = format!("{route} {id} failed: it was lost with its process {crashes} times");
        // The last that there was: there is no further one.
        let attempt = row.attempt().saturating_sub(1);
        tracing::error!(request_id = %id, route, attempt, outcome = "failed", reason = "lost", crashes, "{said}");
        let detail = format!("its process ended {crashes} times while it ran (worker.max_crashes)");
        (Outcome::failed(Reason::Lost, Some(detail), now), said)
    };
    let route = context.routes.get(&row.route).map(Arc::clone);
    // Who ends the process when asked is not asked again.
    let asked = match &route {
        Some(route) if row.crashes <= context.options.max_crashes => instead::asked(&context, route, &row).await,
        _ => None,
    };
    let registered = asked.or_else(|| row.registration.map(Registered::from));
    match route {
        Some(route) => settle(&context, row.claim, &route, outcome, registered, said).await,
        None => settle_with(&context, row.claim, &row.route, outcome, registered, said).await,
    }
}

/// Keeps with a request that is to wait where its run wanted its end reported: it may be cancelled before the next one.
async fn keep(context: &Context, claim: &RequestClaim, registration: Option<Registration>, patience: Patience) {
    let Some(registration) = registration else { return };
    let id = &claim.id;
    let mut told = false;
    loop {
        // A claim that is not current any more has another run, which registers for itself.
        let Err(error) = context.outbox.store().register(claim.clone(), registration.clone()).await else { return };
        let why = Causes(&error).to_string();
        let stays = matches!(error, Error::Closed) || patience == Patience::Once || context.cut.is_stopping();
        if stays {
            tracing::warn!(request_id = %id, "where the end of {id} is to be reported cannot be stored: {why}");
            return;
        }
        if !told {
            warn_unless_told!(error, request_id = %id, "where the end of {id} is to be reported cannot be stored, trying again: {why}");
            told = true;
        }
        tokio::select! {
            () = context.cut.stopping() => {}
            () = tokio::time::sleep(BACKOFF) => {}
        }
    }
}

/// Whether the body of this run may begin only when it is stored where its end is reported: nothing is known of that yet, and the
/// process may end with this run for good.
fn registers_first(context: &Context, row: &ClaimedRequest) -> bool {
    let last = row.crashes > 0 || context.options.max_crashes == 1;
    // On a runtime that both share, a handler would wait for itself.
    last && row.registration.is_none() && context.handlers.id() != tokio::runtime::Handle::current().id()
}

/// Stores what a run registers, and returns when that is done. It holds up the thread that it is called on.
fn registrar(context: &Arc<Context>, claim: &RequestClaim) -> Registrar {
    let (context, claim, control) = (Arc::clone(context), claim.clone(), tokio::runtime::Handle::current());
    Box::new(move |registration| {
        let (done, stored) = std::sync::mpsc::sync_channel(1);
        let (keeping, id, claim) = (Arc::clone(&context), claim.id.clone(), claim.clone());
        let tracker = context.cut.clone();
        let keeping = async move {
            keep(&keeping, &claim, Some(registration), Patience::UntilStopped).await;
            // Whoever waited may have gone on.
            let _ = done.send(());
        };
        drop(tracker.spawn_on(keeping.in_current_span(), &control));
        if stored.recv_timeout(FIRST).is_err() {
            tracing::warn!(
                request_id = %id,
                "{id} begins to run before it could be stored where its end is to be reported: the store takes too long"
            );
        }
    })
}

/// How often something is tried that the store may not be able to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Once,
    UntilStopped,
}

fn spawn_handler(context: &Context, route: &Route, row: &ClaimedRequest, sink: &Arc<RunSink>, slot: Slot) -> Handler {
    let wanted = Arc::clone(sink);
    let run = Run::of(row.claim.id.clone(), Arc::new(row.headers.clone()), row.body.clone());
    let run = Run { wanted: Arc::new(move || wanted.wants_result()), ..run };
    let running = ambient::around(Arc::clone(sink) as Arc<dyn ambient::Sink>, route.run(run)).in_current_span();
    let (begins, begun) = oneshot::channel();
    let lane = slot.lane();
    let (store, claim) = (context.outbox.store().clone(), row.claim.clone());
    #[expect(clippy::disallowed_methods, reason = "its handle is held until it ends or is aborted")]
    let task = context.handlers.spawn(async move {
        // Whoever waits for it may have been cut off.
        let _ = begins.send(Instant::now());
        let _slot = slot;
        // Before anything of it runs: it may end the process.
        let _running = store.begin(&claim);
        running.await
    });
    Handler { task, begun, lane }
}

/// A handler on its way.
struct Handler {
    task: JoinHandle<Ended>,
    /// When it was first polled. Before, it waits for a thread, which is not its time.
    begun: oneshot::Receiver<Instant>,
    lane: LaneHeld,
}

/// Waits for the handler's end, and how long it ran; `None` if it was cut off by the node's stop. What ended by itself has
/// ended so, whatever else there is to be told of it.
async fn watch(
    context: &Arc<Context>,
    claim: &RequestClaim,
    sink: &RunSink,
    known: Option<&Registration>,
    cancelled: &CancellationToken,
    mut handler: Handler,
) -> Option<(RunEnd, Duration)> {
    let begun = tokio::select! {
        biased;
        // Closed without a value only where the handlers' runtime is going away, which the task tells too.
        begun = &mut handler.begun => begun.unwrap_or_else(|_| Instant::now()),
        () = cancelled.cancelled() => {
            handler.task.abort();
            return Some((RunEnd::Cancelled, Duration::ZERO));
        }
        () = context.cut.stopping() => {
            handler.task.abort();
            return None;
        }
    };
    let limit = context.options.timeout;
    let mut look = interval_at(begun + REGISTER_AFTER, REGISTER_AFTER);
    let mut registered = false;
    let tracker = context.cut.clone();
    let mut alone = true;
    loop {
        tokio::select! {
            biased;
            joined = &mut handler.task => {
                let end = match joined {
                    Ok(ended) => RunEnd::Returned(ended),
                    // An error that is no panic: the handlers' runtime is going away.
                    Err(error) => RunEnd::Panicked(after_run::panic_message(&*error.try_into_panic().ok()?)),
                };
                return Some((end, begun.elapsed()));
            }
            () = cancelled.cancelled() => {
                handler.task.abort();
                return Some((RunEnd::Cancelled, begun.elapsed()));
            }
            () = context.cut.stopping() => {
                handler.task.abort();
                return None;
            }
            () = sleep_until(begun + limit) => {
                handler.task.abort();
                return Some((RunEnd::TimedOut(limit), begun.elapsed()));
            }
            () = sleep_until(begun + ALONE), if alone => {
                alone = false;
                handler.lane.free();
            }
            _ = look.tick(), if !registered => {
                if let Some(registration) = sink.registration() {
                    registered = true;
                    if known == Some(&registration) {
                        continue;
                    }
                    let (context, claim) = (Arc::clone(context), claim.clone());
                    // Not waited for: it matters only if the process dies, and an outcome brings its reports with it.
                    let keeping =
                        async move { keep(&context, &claim, Some(registration), Patience::UntilStopped).await };
                    drop(tracker.spawn(keeping.in_current_span()));
                }
            }
        }
    }
}

async fn retry(context: &Context, row: &ClaimedRequest, outcome: &Outcome, delay: Duration, took: Duration) {
    let due = outcome.finished.saturating_add(delay);
    let (route, id, failures) = (&row.route, &row.claim.id, row.failures + 1);
    let detail = Escaped(outcome.detail.as_deref().unwrap_or_default());
    tracing::warn!(
        request_id = %id, route, attempt = row.attempt(), outcome = "retry", reason = outcome.reason.as_str(),
        "{route} {id} failed in {took} → runs again in {delay} (failed run {failures} of {max}): {detail}",
        took = Spoken(took), delay = Spoken(delay), max = context.options.max_attempts,
    );
    let mut told = false;
    loop {
        match context.outbox.store().retry_request(row.claim.clone(), due).await {
            Ok(_) | Err(Error::Closed) => return,
            Err(error) => {
                if !wait_for_store(context, &row.claim, &error, &mut told).await {
                    return;
                }
            }
        }
    }
}

/// The beginning of the line that the log has for each request.
fn said(route: &str, claim: &RequestClaim, outcome: &Outcome, took: Duration) -> String {
    let why = match (&outcome.detail, outcome.status) {
        (Some(detail), Status::Failed) => format!(": {}", Escaped(detail)),
        _ => String::new(),
    };
    format!("{route} {} {} in {}{why}", claim.id, outcome.status, Spoken(took))
}

async fn settle(
    context: &Context,
    claim: RequestClaim,
    route: &Route,
    outcome: Outcome,
    registered: Option<Registered>,
    said: String,
) {
    let registered = registered.or_else(|| Registered::of_route(&route.webhook));
    settle_with(context, claim, &route.path, outcome, registered, said).await;
}

/// Commits an outcome together with its reports.
async fn settle_with(
    context: &Context,
    claim: RequestClaim,
    route: &str,
    outcome: Outcome,
    registered: Option<Registered>,
    said: String,
) {
    let end = RequestEnd::new(&claim.id, outcome, registered, said);
    let mut told = false;
    let settled = loop {
        let RequestEnd { outcome, reports, .. } = &end;
        let asked = context.outbox.store().settle_request(claim.clone(), outcome.clone(), reports.clone());
        match asked.await {
            Ok(settled) => break settled,
            Err(Error::Closed) => return,
            Err(error) => {
                if !wait_for_store(context, &claim, &error, &mut told).await {
                    return;
                }
            }
        }
    };
    let id = &claim.id;
    if settled == Settled::Stale {
        tracing::warn!(request_id = %id, route, "{route} {id} was settled by another claim; this run's outcome is dropped");
    } else {
        end.count_and_log(id, route);
    }
}

/// An outcome is not given up because the store cannot write: the claim is this run's until it does, or until the node
/// stops. Whether to try again; if not, the next start runs the request again.
async fn wait_for_store(context: &Context, claim: &RequestClaim, error: &Error, told: &mut bool) -> bool {
    let (id, why) = (&claim.id, Causes(error).to_string());
    tokio::select! {
        biased;
        () = context.cut.stopping() => {
            tracing::error!(request_id = %id, "the outcome of {id} cannot be stored, it runs again at the next start: {why}");
            false
        }
        () = tokio::time::sleep(BACKOFF) => {
            if !*told {
                warn_unless_told!(error, request_id = %id, "the outcome of {id} cannot be stored, trying again: {why}");
                *told = true;
            }
            true
        }
    }
}

#[cfg(test)]
mod chosen;
#[cfg(test)]
mod tests;
