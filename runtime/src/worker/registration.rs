//! Where the end of a request is reported: stored with the request during its run, or asked from its handler without a
//! run.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use super::sink::Registrar;
use super::{BACKOFF, Context};
use crate::handler::{Route, Run};
use crate::poster::Registered;
use postback_store::{ClaimedRequest, Error, Registration, RequestClaim, warn_unless_logged};
use postback_wire::line::Causes;

/// If the body of a handler may begin only after the webhooks of its run are stored, this is the longest time that the
/// body waits.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);

/// How many times [`store`] attempts to write if the write fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempts {
    One,
    /// The function `store` repeats the write until the write succeeds or the server stops.
    UntilStopped,
}

/// Stores the webhooks that a run has registered. The store keeps these webhooks with the request and uses them if the
/// request ends before its next run has registered webhooks.
pub(super) async fn store(
    context: &Context,
    claim: &RequestClaim,
    registration: Option<Registration>,
    attempts: Attempts,
) {
    let Some(registration) = registration else { return };
    let id = &claim.id;
    let mut warned = false;
    loop {
        // The result is `Ok` even if the claim is stale. If the claim is stale, nothing need be stored, because the
        // request has a newer run, which registers its own webhooks.
        let Err(error) = context.outbox.store().register(claim.clone(), registration.clone()).await else { return };
        let why = Causes(&error).to_string();
        if matches!(error, Error::Closed) || attempts == Attempts::One || context.cut.is_stopping() {
            tracing::warn!(request_id = %id, "the webhook of {id} cannot be stored: {why}");
            return;
        }
        if !warned {
            warn_unless_logged!(error, request_id = %id, "the webhook of {id} cannot be stored, trying again: {why}");
            warned = true;
        }
        tokio::select! {
            () = context.cut.stopping() => {}
            () = tokio::time::sleep(BACKOFF) => {}
        }
    }
}

/// Whether the handler's body may begin only after the run's webhooks are stored.
///
/// Returns `true` if the store has no webhooks for the request, and if the request would not run again after the
/// process died during this run.
pub(super) fn must_precede_body(context: &Context, row: &ClaimedRequest) -> bool {
    let is_last = row.crashes > 0 || context.options.get().max_crashes == 1;
    // If the handlers and the worker share a runtime, as in tests, a blocked handler would also block the task that
    // stores the webhooks. So this function returns `false` in this case.
    is_last && row.registration.is_none() && context.handlers.id() != tokio::runtime::Handle::current().id()
}

/// Makes a function that stores the webhooks that a run registers. The returned function blocks its thread until the
/// webhooks are stored, but for at most [`REGISTRATION_TIMEOUT`].
pub(super) fn registrar(context: &Arc<Context>, claim: &RequestClaim) -> Registrar {
    let (context, claim, control) = (Arc::clone(context), claim.clone(), tokio::runtime::Handle::current());
    Box::new(move |registration| {
        let (done, stored) = std::sync::mpsc::sync_channel(1);
        let (id, claim, tracker) = (claim.id.clone(), claim.clone(), context.cut.clone());
        let context = Arc::clone(&context);
        let storing = async move {
            store(&context, &claim, Some(registration), Attempts::UntilStopped).await;
            // `send` fails if the timeout has ended, because the receiver is then dropped. This error is ignored.
            let _ = done.send(());
        };
        drop(tracker.spawn_on(storing.in_current_span(), &control));
        if stored.recv_timeout(REGISTRATION_TIMEOUT).is_err() {
            tracing::warn!(
                request_id = %id,
                "{id} begins to run before its webhook is stored: the store did not answer within {} s",
                REGISTRATION_TIMEOUT.as_secs()
            );
        }
    })
}

/// Asks the handler for the webhooks of a request that will not run, or will not run again.
///
/// Returns `None` if the webhooks are already stored, or if the handler cannot name them.
pub(super) async fn ask_handler(context: &Context, route: &Arc<Route>, row: &ClaimedRequest) -> Option<Registered> {
    if row.registration.is_some() || route.attribute.is_none() {
        return None;
    }
    let run = Run::of(row.claim.id.clone(), Arc::new(row.headers.clone()), row.body.clone());
    let (route, store, claim) = (Arc::clone(route), context.outbox.store().clone(), row.claim.clone());
    let asking = async move {
        // The store records that a run has begun. If the handler's code makes the process die now, the store counts one
        // more crash of the request, and the worker does not ask the handler again at the next start.
        let _running = store.begin(&claim);
        route.ask_instead(&run)
    };
    #[expect(clippy::disallowed_methods, reason = "the task is awaited in the next statement")]
    let asking = context.handlers.spawn(asking.in_current_span());
    // The task's result is `Err` only if the handlers' runtime shuts down.
    asking.await.ok().flatten()
}
