//! `/healthz` and `/readyz`: whether the process lives, and whether it takes requests.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};

use super::Api;
use super::problem::{Code, Form, Problem};
use postback_store::Store;
use postback_wire::id::RequestId;
use postback_wire::line::Causes;

/// The longest time for which the answer to a readiness probe waits for the store. Orchestrators stop waiting for the
/// answer soon after this time.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Answers the URL path `/healthz`. If the client gets an answer, the process is alive.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Answers the URL path `/readyz`. The server is ready if it is not about to stop, and if the store answers, can write,
/// and has free space.
pub(super) async fn ready(api: Arc<Api>, request: Request) -> Response {
    let problem = if api.draining.is_stopping() {
        Problem::draining()
    } else if let Some(why) = not_ready(&api).await {
        Problem::new(Code::StoreUnavailable, why)
    } else {
        api.not_ready.over();
        let verbose = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "verbose"));
        return if verbose { verbose_answer(&api.store).await } else { "ready\n".to_owned() }.into_response();
    };
    problem.respond(Form::of(request.headers()))
}

/// Returns why the server takes no requests. `None`: it takes them.
pub(super) async fn why_not(api: &Api) -> Option<String> {
    if api.draining.is_stopping() {
        return Some("it drains, and stops when its runs are over".to_owned());
    }
    let why = not_ready(api).await;
    if why.is_none() {
        api.not_ready.over();
    }
    why
}

/// Makes the answer to `/readyz?verbose`, which has one line for each check.
async fn verbose_answer(store: &Store) -> String {
    let webhooks = match store.disabled().await {
        Ok(disabled) if disabled.is_empty() => "ok".to_owned(),
        // The answer does not show the disabled URLs, because every client that can send a request can also call
        // `/readyz`.
        Ok(disabled) => {
            format!("{} disabled; their reports are held; see `endpoints list`", disabled.len())
        }
        Err(error) => {
            tracing::warn!("the disabled webhooks cannot be read: {}", Causes(&error));
            "unknown; the log says more".to_owned()
        }
    };
    let requests = match store.is_full() {
        None => "ok".to_owned(),
        Some(bound) => format!("new ones are refused: {bound}"),
    };
    format!("ready\nstore: ok\nrequests: {requests}\nwebhooks: {webhooks}\n")
}

/// Returns the reason why the server can accept no requests at the moment. Returns `None` if the server can accept
/// requests.
async fn not_ready(api: &Api) -> Option<String> {
    let logged = |kind: &str, why: String| {
        api.not_ready.met(kind, &why);
        Some(why)
    };
    if let Some(trouble) = api.store.trouble() {
        return logged(trouble.kind(), trouble.to_string());
    }
    // This check reads one row, which need not exist. The check does not count all rows, because counting many rows
    // takes long.
    match tokio::time::timeout(MAX_WAIT, api.store.request(&RequestId::stored("readyz"))).await {
        Ok(Ok(_)) => {
            api.unreadable.over();
            None
        }
        Ok(Err(error)) => {
            let cause = Causes(&error).to_string();
            api.unreadable.met(&cause, &cause);
            logged("unread", "the store cannot be read; the log says more".to_owned())
        }
        Err(_) => logged("slow", format!("the store does not answer within {} s", MAX_WAIT.as_secs())),
    }
}
