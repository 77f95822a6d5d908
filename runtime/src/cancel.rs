//! Cancels a request: settles it with its reports if it waits, and tells its run to stop if it runs. Callers and
//! operators cancel in the same way.

use std::sync::Arc;

use crate::handler::{Route, Routes, Run};
use crate::poster::{Registered, RequestEnd};
use postback_store::{Cancelled, Error, Store, Summary};
use postback_wire::id::RequestId;
use postback_wire::report::Outcome;
use postback_wire::time::Clock;

/// Cancels the request with this id, if it belongs to the route with this path and to this owner. The program may have no
/// such route any more. If `owner` is `None`, the request may belong to anybody.
pub(crate) async fn cancel(
    store: &Store,
    clock: &Clock,
    (path, routes): (&str, &Routes),
    id: &RequestId,
    owner: Option<&str>,
) -> Result<Cancelled, Error> {
    let (mut end, route) = (None, routes.get(path));
    let asked = match route {
        // The handler reads the payload when it is asked. So it is asked only for those who may cancel the request.
        Some(route) if route.attribute.is_some() => {
            let summary = store.summary(id).await?;
            let is_theirs =
                |summary: &Summary| summary.route == path && owner.is_none_or(|owner| *owner == *summary.owner);
            if !summary.as_ref().is_some_and(is_theirs) {
                return Ok(Cancelled::Unknown);
            }
            ask_for_webhooks(store, route, id).await?
        }
        _ => None,
    };
    let cancelled = store.cancel(id, path, owner, |registration, extras| {
        let outcome = Outcome::cancelled(clock.now());
        let registered = registration.map(Registered::from).or_else(|| asked.clone());
        let registered = registered.or_else(|| Registered::of_route(&route?.webhook));
        let log_line = format!("{path} {id} cancelled while it waited");
        let request_end =
            end.insert(RequestEnd::new(id, outcome, registered, extras.as_deref(), log_line, routes.formats()));
        (request_end.outcome.clone(), request_end.reports.clone())
    });
    let cancelled = cancelled.await?;
    if let (Cancelled::AtOnce(_), Some(end)) = (&cancelled, &end) {
        end.count_and_log(id, path);
    }
    Ok(cancelled)
}

/// Asks the handler which webhooks get the report of a request that has not run yet. A run of the request would name
/// the webhooks, but a cancelled request never runs. Returns `None` if the store already has the webhooks of the
/// request, or if the handler cannot be asked.
async fn ask_for_webhooks(store: &Store, route: &Arc<Route>, id: &RequestId) -> Result<Option<Registered>, Error> {
    let Some((headers, body)) = store.unregistered(id, &route.path).await? else { return Ok(None) };
    let (route, run) = (Arc::clone(route), Run::of(id.clone(), Arc::new(headers), body));
    // The expressions in the attribute `#[async_handler]` are user code and may block the thread. So these expressions
    // are evaluated on a thread for blocking code.
    Ok(tokio::task::spawn_blocking(move || route.ask_instead(&run)).await.ok().flatten())
}
