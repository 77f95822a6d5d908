//! Whether the process lives, and whether it should be sent requests.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};

use super::Api;
use super::problem::Problem;
use crate::id::RequestId;
use crate::line::Causes;

/// The process lives.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The process takes requests: it is not stopping, and its store answers.
pub(super) async fn ready(api: Arc<Api>, request: Request) -> Response {
    let problem = if api.shutdown.is_stopping() {
        Problem::unavailable("the node is stopping")
    // One row is looked up, whether it is there or not: to count them all would take long when there are many.
    } else if let Err(error) = api.store.request(&RequestId::stored("readyz")).await {
        tracing::warn!("not ready: {}", Causes(&error));
        Problem::unavailable("the store does not answer; the log says more")
    } else {
        return "ready\n".into_response();
    };
    problem.respond(request.headers())
}
