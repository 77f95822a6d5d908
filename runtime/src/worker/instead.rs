//! Where the end of a request is reported that is not run, or not again, and of which nothing was known before.

use std::sync::Arc;

use tracing::Instrument as _;

use super::Context;
use crate::handler::{Route, Run};
use crate::poster::Registered;
use crate::store::ClaimedRequest;

/// What the handler says when it is asked in place of a run; not if there is a registration.
pub(super) async fn asked(context: &Context, route: &Arc<Route>, row: &ClaimedRequest) -> Option<Registered> {
    if row.registration.is_some() || route.attribute.is_none() {
        return None;
    }
    let run = Run::of(row.claim.id.clone(), Arc::new(row.headers.clone()), row.body.clone());
    let (route, store, claim) = (Arc::clone(route), context.outbox.store().clone(), row.claim.clone());
    let asking = async move {
        // Should this end the process, then that counts as a run, and nobody is asked again.
        let _running = store.begin(&claim);
        route.ask_instead(&run)
    };
    #[expect(clippy::disallowed_methods, reason = "it is waited for")]
    let asking = context.handlers.spawn(asking.in_current_span());
    // It fails only where the handlers' runtime is going away.
    asking.await.ok().flatten()
}
