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

/// The process takes requests: it does not drain, and its store answers, writes, and has room.
pub(super) async fn ready(api: Arc<Api>, request: Request) -> Response {
    let problem = if api.draining.is_stopping() {
        Problem::draining()
    } else if let Some(why) = trouble(&api).await {
        Problem::unavailable(why)
    } else {
        api.unready.over();
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
    let requests = match store.is_full() {
        None => "ok".to_owned(),
        Some(bound) => format!("new ones are refused: {bound}"),
    };
    format!("ready\nstore: ok\nrequests: {requests}\nwebhooks: {webhooks}\n")
}

/// Why a request could not be taken in at the moment.
async fn trouble(api: &Api) -> Option<String> {
    let told = |kind: &str, why: String| {
        api.unready.met(kind, &why);
        Some(why)
    };
    if let Some(trouble) = api.store.trouble() {
        return told(trouble.kind(), trouble.to_string());
    }
    // One row is looked up, whether it is there or not: to count them all would take long when there are many.
    match tokio::time::timeout(PATIENCE, api.store.request(&RequestId::stored("readyz"))).await {
        Ok(Ok(_)) => {
            api.unread.over();
            None
        }
        Ok(Err(error)) => {
            let cause = Causes(&error).to_string();
            api.unread.met(&cause, &cause);
            told("unread", "the store cannot be read; the log says more".to_owned())
        }
        Err(_) => told("slow", format!("the store does not answer within {} s", PATIENCE.as_secs())),
    }
}
