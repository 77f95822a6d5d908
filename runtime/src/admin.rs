//! The operator's API: an HTTP API in JSON for lists, changes and repairs, and its client for the commands.
//!
//! The same router is served in two places. On a Unix socket beside the database, it serves the user who owns the
//! socket. Under [`PATH`] on the server's own address, it serves clients that send `server.admin_token`, and sessions of
//! the dashboard. It never accepts the token of a caller. The audit records each change, and who made it.

mod answer;
pub(crate) mod audit;
mod bearer;
mod changes;
pub(crate) mod client;
mod cursors;
mod deliveries;
mod health;
pub(crate) mod model;
mod names;
mod nodes;
pub(crate) mod offline;
mod openapi;
mod query;
mod replays;
mod requests;
mod routes;
mod schedules;
mod series;
mod settings;
#[cfg(all(unix, feature = "sqlite"))]
mod socket;
mod submit;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use http::HeaderMap;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use self::answer::Problem;
pub(crate) use self::bearer::{AdminToken, Gate};
use self::cursors::Cursors;
use self::replays::Replays;
pub(crate) use self::settings::{Hooks, Reloaded};
#[cfg(all(unix, feature = "sqlite"))]
use self::socket::beside;
#[cfg(all(unix, feature = "sqlite"))]
pub(crate) use self::socket::{listen_beside, run};
use crate::access::Access;
use crate::delivery::Control;
use crate::handler::Routes;
use crate::openapi::Document;
use crate::telemetry::metrics::Metrics;
use postback_store::Store;
use postback_store::shutdown::Shutdown;
use postback_wire::time::Clock;

/// The path of the operator's API on the server's own address.
pub(crate) const PATH: &str = "/_postback/api";
/// The longest time that a call may take until its answer begins.
const MAX_TIME: Duration = Duration::from_secs(30);
/// The largest number of lists that read the store at the same time. A list may read many rows, and the calls of the
/// public API need readers too.
const MAX_READS: usize = 2;

/// What the operator's API needs from the node.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) access: Arc<Access>,
    pub(crate) clock: Clock,
    pub(crate) routes: Routes,
    /// Describes the routes to callers.
    pub(crate) document: Document,
    pub(crate) delivery: Control,
    pub(crate) hooks: Hooks,
    /// The metrics. `None` if the program has installed a metrics recorder of its own.
    pub(crate) metrics: Option<Metrics>,
    /// Signals that the node drains: it accepts no new requests.
    pub(crate) draining: Shutdown,
    /// Signals that the HTTP server stops. Feeds and replays end then.
    pub(crate) stop: Shutdown,
}

/// The state that all calls share.
struct Admin {
    store: Store,
    clock: Clock,
    routes: Routes,
    document: Document,
    delivery: Control,
    hooks: Hooks,
    metrics: Option<Metrics>,
    draining: Shutdown,
    stop: Shutdown,
    access: Arc<Access>,
    replays: Replays,
    reads: Semaphore,
    cursors: Cursors,
    feeds: Arc<Semaphore>,
    started: Duration,
}

/// Makes the router of the operator's API. Its paths are relative to [`PATH`]. The router checks nobody: the socket
/// and [`Gate`] do that before a call gets here.
pub(crate) fn router(parts: Parts) -> Router {
    let document = openapi::document();
    let Parts { store, access, clock, routes, document: of_routes, delivery, hooks, metrics, draining, stop } = parts;
    let admin = Arc::new(Admin {
        replays: Replays::new(store.clone(), clock.clone(), stop.clone()),
        started: clock.elapsed(),
        reads: Semaphore::new(MAX_READS),
        cursors: Cursors::default(),
        feeds: Arc::new(Semaphore::new(changes::MAX_FEEDS)),
        store,
        access,
        clock,
        routes,
        document: of_routes,
        delivery,
        hooks,
        metrics,
        draining,
        stop,
    });
    Router::new()
        .route("/requests", get(requests::list).post(submit::submit))
        .route("/requests/{id}", get(requests::show))
        .route("/requests/{id}/cancel", post(requests::cancel))
        .route("/requests/{id}/retry", post(requests::retry))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/replay", post(deliveries::replay))
        .route("/replays", get(replays::list).post(replays::start))
        .route("/replays/count", post(replays::count))
        .route("/replays/{id}", get(replays::show))
        .route("/replays/{id}", delete(replays::stop))
        .route("/origins", get(names::origins))
        .route("/origins/enable", post(names::enable_origin))
        .route("/origins/disable", post(names::disable_origin))
        .route("/endpoints", get(names::endpoints))
        .route("/endpoints/enable", post(names::enable_endpoint))
        .route("/endpoints/disable", post(names::disable_endpoint))
        .route("/nodes", get(nodes::list))
        .route("/schedules", get(schedules::list))
        .route("/routes/openapi.json", get(routes::document))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}", delete(tokens::revoke))
        .route("/audit", get(audit::list))
        .route("/settings", get(settings::show))
        .route("/settings/reload", post(settings::reload))
        .route("/health", get(health::show))
        .route("/metrics", get(health::metrics))
        .route("/series", get(series::show))
        .route("/changes", get(changes::follow))
        .route("/openapi.json", get(async move |headers: HeaderMap| document.answer(&headers)))
        .fallback(|request: Request| async move { Problem::unknown_path(request.uri().path()) })
        .method_not_allowed_fallback(|request: Request| async move { Problem::method(request.method()) })
        .layer(from_fn(in_time))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| Problem::internal().into_response()))
        .with_state(admin)
}

impl Admin {
    /// Makes a change in a task of its own. So the change and its record are made to the end, even if the client goes
    /// away, or if the answer comes too late.
    async fn change<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        to_the_end(&self.stop, change).await
    }
}

async fn to_the_end<T: Send + 'static>(
    tasks: &Shutdown,
    change: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    // The task ends with an error only if it has panicked.
    tasks.spawn(change).await.map_err(|_| Problem::internal())?
}

async fn in_time(request: Request, next: Next) -> Response {
    let changes = !request.method().is_safe();
    let answer = tokio::time::timeout(MAX_TIME, next.run(request)).await;
    answer.unwrap_or_else(|_| Problem::too_slow(MAX_TIME, changes).into_response())
}

#[cfg(test)]
mod tests;
