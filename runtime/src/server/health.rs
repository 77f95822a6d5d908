//! Whether the process lives, and whether it should be sent requests.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};

use super::Api;
use super::problem::{Form, Problem};
use crate::id::RequestId;
use crate::line::Causes;
use crate::store::Store;

/// How long the store may take to answer: those who ask give up soon after.
const PATIENCE: Duration = Duration::from_secs(1);

/// The process lives.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The process takes requests: it is not stopping, and its store answers, and writes.
pub(super) async fn ready(api: Arc<Api>, request: Request) -> Response {
    let problem = if api.shutdown.is_stopping() {
        Problem::unavailable("the node is stopping")
    } else if let Some(why) = trouble(&api.store).await {
        tracing::warn!("not ready: {why}");
        Problem::unavailable(why)
    } else {
        return "ready\n".into_response();
    };
    problem.respond(Form::of(request.headers()))
}

/// Why the store is of no use at the moment.
async fn trouble(store: &Store) -> Option<String> {
    if let Some(trouble) = store.trouble() {
        return Some(trouble.to_string());
    }
    // One row is looked up, whether it is there or not: to count them all would take long when there are many.
    match tokio::time::timeout(PATIENCE, store.request(&RequestId::stored("readyz"))).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::warn!("the store cannot be read: {}", Causes(&error));
            Some("the store cannot be read; the log says more".to_owned())
        }
        Err(_) => Some(format!("the store does not answer within {} s", PATIENCE.as_secs())),
    }
}
