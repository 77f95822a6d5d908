//! The state of the node, in detail, and its metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;

use super::Admin;
use super::answer::{Answer, Json, Problem};
use super::model::Health;
use crate::telemetry::metrics::{Metrics, OF_PROGRAM};
use postback_store::Counts;
use postback_wire::line::Causes;

/// The longest time that the store may take to count its rows.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// `GET /health`. Answers also if the store does not.
pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Answer<Health> {
    let store = &admin.store;
    // Both are read within one time limit, so that a store that hangs holds up no answer.
    let read = async { tokio::try_join!(store.counts(), store.disabled()) };
    let (counts, disabled, mut reason) = match tokio::time::timeout(MAX_WAIT, read).await {
        Ok(Ok((counts, disabled))) => (counts, disabled.len() as u64, None),
        Ok(Err(error)) => (Counts::default(), 0, Some(Causes(&error).to_string())),
        Err(_) => (Counts::default(), 0, Some(format!("the store does not answer within {} s", MAX_WAIT.as_secs()))),
    };
    if let Some(trouble) = store.trouble() {
        reason = Some(trouble.to_string());
    }
    let status = match reason {
        _ if admin.draining.is_stopping() => "draining",
        Some(_) => "not_ready",
        None => "ready",
    };
    let unknown = counts.queued.keys().filter(|route| admin.routes.get(route).is_none());
    let counters = store.counters();
    Ok(Json(Health {
        status: status.to_owned(),
        reason,
        refuses: store.is_full().map(|bound| bound.to_string()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: admin.clock.elapsed().saturating_sub(admin.started).as_secs(),
        unknown_routes: unknown.cloned().collect(),
        queued: counts.queued,
        running: counts.running,
        undelivered: counts.undelivered,
        delivered: counters.delivered,
        given_up: counters.given_up,
        disabled,
        open_circuits: admin.delivery.circuits().await.len() as u64,
    }))
}

/// `GET /metrics`. Answers as `/metrics` of the server's own address does.
pub(super) async fn metrics(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    admin.metrics.as_ref().map(Metrics::answer).ok_or_else(|| Problem::not_found(OF_PROGRAM))
}
