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

/// How long a handler's body waits for its registration to be stored, if the body must not begin before that.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);

/// How often [`store`] writes to a store that fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempts {
    One,
    /// Again and again, until the write succeeds or the node stops.
    UntilStopped,
}

/// Stores with a request where its run wants the end reported. The next run may be cancelled before it registers again.
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
        // `Ok` also if the claim is no longer current: then the request has another run, which registers for itself.
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

/// Whether the handler's body may begin only when its registration is stored.
///
/// This is so if no registration is stored yet and this run is the last one if its process dies.
pub(super) fn must_precede_body(context: &Context, row: &ClaimedRequest) -> bool {
    let is_last = row.crashes > 0 || context.options.max_crashes == 1;
    // If handlers and worker share a runtime, as in tests, the handler would block the task that it waits for.
    is_last && row.registration.is_none() && context.handlers.id() != tokio::runtime::Handle::current().id()
}

/// A function that stores what a run registers, and blocks its thread until the registration is stored.
///
/// The function gives up after [`REGISTRATION_TIMEOUT`].
pub(super) fn registrar(context: &Arc<Context>, claim: &RequestClaim) -> Registrar {
    let (context, claim, control) = (Arc::clone(context), claim.clone(), tokio::runtime::Handle::current());
    Box::new(move |registration| {
        let (done, stored) = std::sync::mpsc::sync_channel(1);
        let (id, claim, tracker) = (claim.id.clone(), claim.clone(), context.cut.clone());
        let context = Arc::clone(&context);
        let storing = async move {
            store(&context, &claim, Some(registration), Attempts::UntilStopped).await;
            // After the timeout, nobody receives this.
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

/// Asks the handler of a request that is not run, or not run again, where the end is reported.
///
/// Returns `None` if a registration is stored already, or the handler cannot say.
pub(super) async fn ask_handler(context: &Context, route: &Arc<Route>, row: &ClaimedRequest) -> Option<Registered> {
    if row.registration.is_some() || route.attribute.is_none() {
        return None;
    }
    let run = Run::of(row.claim.id.clone(), Arc::new(row.headers.clone()), row.body.clone());
    let (route, store, claim) = (Arc::clone(route), context.outbox.store().clone(), row.claim.clone());
    let asking = async move {
        // If the handler's code ends the process now, that counts as a crash of the request. The handler is not asked
        // again.
        let _running = store.begin(&claim);
        route.ask_instead(&run)
    };
    #[expect(clippy::disallowed_methods, reason = "the task is awaited in the next statement")]
    let asking = context.handlers.spawn(asking.in_current_span());
    // `Err` only if the handlers' runtime shuts down.
    asking.await.ok().flatten()
}
