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
    let problem = if api.draining.is_stopping() {
        Problem::draining()
    } else if let Some(why) = trouble(&api.store).await {
        tracing::warn!("not ready: {why}");
        Problem::unavailable(why)
    } else {
        let verbose = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "verbose"));
        return if verbose { verbosely(&api.store).await } else { "ready\n".to_owned() }.into_response();
    };
    problem.respond(Form::of(request.headers()))
}

/// A line for each thing that was looked at.
async fn verbosely(store: &Store) -> String {
    let webhooks = match store.disabled().await {
        Ok(disabled) if disabled.is_empty() => "ok".to_owned(),
        // Without their names: whoever may post may ask.
        Ok(disabled) => {
            format!("{} disabled by their receivers, reports are held; see `endpoints list`", disabled.len())
        }
        Err(error) => {
            tracing::warn!("the disabled webhooks cannot be read: {}", Causes(&error));
            "not known; the log says more".to_owned()
        }
    };
    format!("ready\nstore: ok\nwebhooks: {webhooks}\n")
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
