//! The task in which a handler runs, and how the worker waits for its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Context;
use super::after_run::RunEnd;
use super::keep::{self, Held};
use super::registration::{self, Attempts};
use super::sink::RunSink;
use super::slot::{LaneHeld, Slot};
use crate::handler::{CancelReason, Cancellation, Ended, Route, Run, RunInfo};
use crate::panics::contain;
use crate::poster::ambient;
use postback_store::ClaimedRequest;

/// If a run takes longer than this time, the worker stores the webhooks that the run has registered. If the run has not
/// registered webhooks by then, the worker checks again after each further interval of the same length.
const REGISTER_AFTER: Duration = Duration::from_secs(1);
/// The longest time that a suspected request has the lane, which is the right to run. A suspected request is one that
/// was running when a process died. Only one suspected request has the lane at a time.
///
/// This time is short, because a request that makes the process die usually does this soon after its run begins. With a
/// longer time, the suspected requests might wait for hours after a crash of the machine.
const LANE_TIME: Duration = Duration::from_mins(1);

/// The task in which a handler runs, or in which the handler waits until a thread is free.
pub(super) struct HandlerTask {
    /// The handle of the task. If the handler panics, the task returns the message of the panic as `Err`.
    pub(super) task: JoinHandle<Result<Ended, String>>,
    /// Receives the time of the first poll of the handler. The run begins at this time, because the handler has waited
    /// for a free thread until then.
    pub(super) begun: oneshot::Receiver<Instant>,
    pub(super) lane: LaneHeld,
}

/// A run that the stop of the server has interrupted.
#[derive(Debug)]
pub(super) struct Interrupted {
    /// Whether the handler was polled.
    pub(super) begun: bool,
}

/// Spawns the handler on the handlers' runtime. When the handler's future is dropped, its slot becomes free, or goes to
/// `held` if the result must be kept outside the store.
pub(super) fn spawn(
    context: &Context,
    route: &Route,
    row: &ClaimedRequest,
    (sink, info): (&Arc<RunSink>, RunInfo),
    (slot, held): (Slot, Held),
) -> HandlerTask {
    let wanted = Arc::clone(sink);
    let run = Run::of(row.claim.id.clone(), Arc::new(row.headers.clone()), row.body.clone());
    let run = Run { wanted: Arc::new(move || wanted.wants_result()), info, ..run };
    let running = ambient::around(Arc::clone(sink) as Arc<dyn ambient::Sink>, route.run(run)).in_current_span();
    let (begins, begun) = oneshot::channel();
    let lane = slot.lane();
    let (store, claim, routes) = (context.outbox.store().clone(), row.claim.clone(), context.routes.clone());
    let of_run = Arc::clone(sink);
    // Invariant: the output of the task contains no value of the user's types, because the worker drops the output on
    // its own threads, where no user code may run.
    let running = contain(async move {
        // `send` fails only if the worker no longer waits for this run. This error is ignored.
        let _ = begins.send(Instant::now());
        // The store records that the run has begun. It does so before the handler's code runs, because the handler's
        // code may make the process die.
        let _running = store.begin(&claim);
        let ended = running.await;
        keep::after_handler(ended, &routes, &of_run, (slot, held)).await
    });
    #[expect(clippy::disallowed_methods, reason = "`watch` holds the task's handle until the task ends or is aborted")]
    let task = context.handlers.spawn(running);
    HandlerTask { task, begun, lane }
}

/// Waits until the run ends, and returns how the run ended and how long the run took. Aborts the run if the request is
/// cancelled, if the run exceeds its time limit, or if the server stops.
///
/// Returns `Err` if the server stops. But if the handler has already returned when the server stops, the run counts as
/// finished.
pub(super) async fn watch(
    context: &Arc<Context>,
    row: &ClaimedRequest,
    sink: &RunSink,
    cancelled: &CancellationToken,
    (mut handler, cancellation): (HandlerTask, Option<Cancellation>),
) -> Result<(RunEnd, Duration), Interrupted> {
    let (end, took, begun) = match begin(context, cancelled, &mut handler).await {
        Ok(begun) => (run_to_end(context, row, sink, cancelled, &mut handler, begun).await, begun.elapsed(), true),
        Err(end) => (end, Duration::ZERO, false),
    };
    if let Some(cancellation) = cancellation
        && let Some(reason) = stopped_by(end.as_ref())
    {
        cancellation.cancel(reason);
    }
    handler.task.abort();
    // The run may also have begun just before it was aborted.
    let interrupted = || Interrupted { begun: begun || handler.begun.try_recv().is_ok() };
    end.map(|end| (end, took)).ok_or_else(interrupted)
}

/// Returns why a run is stopped that has ended in this way. `None`: the handler has ended by itself.
fn stopped_by(end: Option<&RunEnd>) -> Option<CancelReason> {
    match end {
        Some(RunEnd::Finished(_)) => None,
        Some(RunEnd::Cancelled) => Some(CancelReason::Caller),
        Some(RunEnd::TimedOut(_)) => Some(CancelReason::Timeout),
        None => Some(CancelReason::Shutdown),
    }
}

/// Waits until the handler is polled for the first time. If the run ends before the first poll, returns `Err` with the
/// end of the run.
async fn begin(
    context: &Context,
    cancelled: &CancellationToken,
    handler: &mut HandlerTask,
) -> Result<Instant, Option<RunEnd>> {
    tokio::select! {
        biased;
        // The sender is dropped without a value only if the handlers' runtime shuts down. The runtime then also drops
        // the handler's task, so the run has not begun and has no result.
        begun = &mut handler.begun => begun.map_err(|_| None),
        () = cancelled.cancelled() => Err(Some(RunEnd::Cancelled)),
        () = context.cut.stopping() => Err(None),
    }
}

async fn run_to_end(
    context: &Arc<Context>,
    row: &ClaimedRequest,
    sink: &RunSink,
    cancelled: &CancellationToken,
    handler: &mut HandlerTask,
    begun: Instant,
) -> Option<RunEnd> {
    let limit = context.time_limit(row);
    let mut look = interval_at(begun + REGISTER_AFTER, REGISTER_AFTER);
    let (mut is_registered, mut has_lane) = (false, true);
    loop {
        tokio::select! {
            biased;
            joined = &mut handler.task => return match joined {
                Ok(ended) => Some(RunEnd::Finished(ended.unwrap_or_else(Ended::Panicked))),
                // The handlers' runtime is shutting down and has dropped the handler's task, so the run has no result.
                Err(_) => None,
            },
            () = cancelled.cancelled() => return Some(RunEnd::Cancelled),
            () = context.cut.stopping() => return None,
            () = sleep_until(begun + limit.time) => return Some(RunEnd::TimedOut(limit)),
            () = sleep_until(begun + LANE_TIME), if has_lane => {
                has_lane = false;
                handler.lane.free();
            }
            _ = look.tick(), if !is_registered => is_registered = store_registration(context, row, sink),
        }
    }
}

/// Starts a task that stores the webhooks that the run has registered, unless these webhooks are already stored.
/// Returns whether the run has registered webhooks.
fn store_registration(context: &Arc<Context>, row: &ClaimedRequest, sink: &RunSink) -> bool {
    let Some(registration) = sink.registration() else { return false };
    if row.registration.as_deref() != Some(&registration) {
        let (context, claim, tracker) = (Arc::clone(context), row.claim.clone(), context.cut.clone());
        let storing =
            async move { registration::store(&context, &claim, Some(registration), Attempts::UntilStopped).await };
        // The run does not wait until the webhooks are stored, because the stored webhooks are read only if the process
        // dies before the outcome is stored.
        drop(tracker.spawn(storing.in_current_span()));
    }
    true
}
