//! The page of the inspector, and the calls that it makes.
//!
//! The name of the server is checked, so that no other site can take it by DNS rebinding. A call of another site's page
//! is refused, and a change needs a header that a form cannot send.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{delete, get, post, put};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::hit::{Hit, inbox, millis};
use super::send::{Outgoing, target};
use super::{Shared, feed, signature};
use crate::pages::{self, File};
use postback_wire::names::header;
use postback_wire::signature::sign;

/// The path of the page. Everything else is a path of webhooks.
pub(super) const PATH: &str = "/_inspector";
/// The largest body of a call, in bytes.
const MAX_CALL: usize = 8 << 20;
/// The largest number of times that a webhook is sent again by one call, and the longest time that this may take.
const MAX_REPEAT: u32 = 50;
const MAX_SENDING: Duration = Duration::from_mins(1);

/// The files of the page.
pub(super) const FILES: &[File] = &[
    File { path: "index.html", content: include_str!("page/index.html") },
    File { path: "style.css", content: include_str!("page/style.css") },
    File { path: "app.js", content: include_str!("page/app.js") },
    File { path: "list.js", content: include_str!("page/list.js") },
    File { path: "detail.js", content: include_str!("page/detail.js") },
    File { path: "copy.js", content: include_str!("page/copy.js") },
    File { path: "diff.js", content: include_str!("page/diff.js") },
    File { path: "dialogs.js", content: include_str!("page/dialogs.js") },
];

/// Makes the router of the page.
pub(super) fn router(shared: Arc<Shared>) -> Router<Arc<Shared>> {
    Router::new()
        .route(PATH, get(async || Redirect::permanent("/_inspector/")))
        .route("/_inspector/", get(file))
        .route("/_inspector/{*path}", get(file))
        .route("/_inspector/api/feed", get(feed::follow))
        .route("/_inspector/api/hits/{number}", get(show))
        .route("/_inspector/api/hits/{number}/body", get(body))
        .route("/_inspector/api/hits/{number}/resend", post(resend))
        .route("/_inspector/api/hits", delete(clear))
        .route("/_inspector/api/inboxes", get(inboxes))
        .route("/_inspector/api/inboxes/{inbox}", put(behave))
        .layer(from_fn_with_state(shared, own))
}

/// Lets only calls of the own page, and of programs, pass.
async fn own(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let name = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut response = if !is_own_name(name, shared.port) {
        let why = format!("the inspector is not called {name:?}; open http://127.0.0.1:{}/", shared.port);
        refusal(StatusCode::MISDIRECTED_REQUEST, &why)
    } else if let Err(why) = checked(&request) {
        refusal(StatusCode::FORBIDDEN, &why.to_string())
    } else {
        next.run(request).await
    };
    if !response.headers().contains_key("content-security-policy") {
        pages::protect_data(response.headers_mut());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// A person may follow a link of another page to the page itself. Everything else needs the own page.
fn checked(request: &Request) -> Result<(), pages::Refused> {
    let is_file = !request.uri().path().starts_with("/_inspector/api/");
    let is_navigation = request.headers().get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    if is_file && is_navigation && request.method() == Method::GET {
        return Ok(());
    }
    pages::of_own_page(request.method(), request.uri(), request.headers())
}

/// Whether a header `host` names this machine, and the port of the inspector.
fn is_own_name(host: &str, port: u16) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, given)) if given.parse() == Ok(port) => name,
        // A browser leaves out the port 80.
        _ if port == 80 => host,
        _ => return false,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Makes an answer that says why a call is refused.
pub(super) fn refusal(status: StatusCode, why: &str) -> Response {
    answer(status, &json!({"detail": why}))
}

fn answer(status: StatusCode, value: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

async fn file(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().strip_prefix(PATH).unwrap_or_default().trim_start_matches('/');
    let file = shared.files.answer(path, request.headers());
    file.unwrap_or_else(|| refusal(StatusCode::NOT_FOUND, "the inspector has no such page"))
}

fn gone(number: u64) -> Response {
    refusal(StatusCode::NOT_FOUND, &format!("webhook {number} is no longer kept"))
}

async fn show(State(shared): State<Arc<Shared>>, Path(number): Path<u64>) -> Response {
    match shared.history.get(number) {
        Some(entry) => answer(StatusCode::OK, &entry.hit.detail(entry.answer.as_ref())),
        None => gone(number),
    }
}

/// The exact bytes of a webhook. They are for scripts and files: a browser that is sent here shows nothing of them.
async fn body(State(shared): State<Arc<Shared>>, Path(number): Path<u64>) -> Response {
    let Some(entry) = shared.history.get(number) else { return gone(number) };
    let mut response = Response::new(Body::from(entry.hit.body.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"webhook-{number}.bin\"")) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    response
}

async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Response> {
    let refused = |why: String| refusal(StatusCode::BAD_REQUEST, &why);
    let body = to_bytes(request.into_body(), MAX_CALL).await.map_err(|error| refused(error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| refused(error.to_string()))
}

/// Which webhooks are forgotten.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clear {
    /// Only those of this inbox.
    inbox: Option<String>,
}

async fn clear(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match read::<Clear>(request).await {
        Ok(clear) => {
            shared.history.clear(clear.inbox.as_deref());
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refused) => refused,
    }
}

async fn inboxes(State(shared): State<Arc<Shared>>) -> Response {
    answer(StatusCode::OK, &json!({"behaviours": shared.behaviours.all()}))
}

async fn behave(State(shared): State<Arc<Shared>>, Path(name): Path<String>, request: Request) -> Response {
    let behaviour = match read::<Behaviour>(request).await {
        Ok(behaviour) => behaviour,
        Err(refused) => return refused,
    };
    match shared.behaviours.set(inbox(&name), behaviour) {
        Ok(()) => inboxes(State(shared)).await,
        Err(why) => refusal(StatusCode::BAD_REQUEST, &why),
    }
}

/// How a webhook is sent again. What is left out stays as it came.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resend {
    url: String,
    #[serde(default)]
    headers: Option<Vec<(String, String)>>,
    #[serde(default)]
    body: Option<String>,
    /// Whether it is signed anew, with the time of now.
    #[serde(default)]
    sign: bool,
    #[serde(default)]
    repeat: Option<u32>,
}

async fn resend(State(shared): State<Arc<Shared>>, Path(number): Path<u64>, request: Request) -> Response {
    let Some(entry) = shared.history.get(number) else { return gone(number) };
    let wanted = match read::<Resend>(request).await {
        Ok(wanted) => wanted,
        Err(refused) => return refused,
    };
    match sent(&shared, &entry.hit, wanted).await {
        Ok(results) => answer(StatusCode::OK, &json!({"sent": results})),
        Err(why) => refusal(StatusCode::BAD_REQUEST, &why),
    }
}

async fn sent(shared: &Shared, hit: &Hit, wanted: Resend) -> Result<Vec<Value>, String> {
    let url = target(&wanted.url)?;
    let repeat = wanted.repeat.unwrap_or(1);
    if !(1..=MAX_REPEAT).contains(&repeat) {
        return Err(format!("a webhook is sent again 1 to {MAX_REPEAT} times, not {repeat} times"));
    }
    let headers = match wanted.headers {
        Some(pairs) => headers(pairs)?,
        None => hit.headers.clone(),
    };
    let body = wanted.body.map_or_else(|| hit.body.clone(), Bytes::from);
    let Ok(_turn) = shared.sending.try_acquire() else {
        return Err("the webhooks of an earlier click are still being sent; wait for them".to_owned());
    };
    let begun = shared.clock.elapsed();
    let mut results = Vec::new();
    for _ in 0..repeat {
        if shared.clock.elapsed().saturating_sub(begun) > MAX_SENDING {
            results.push(json!({"error": format!("{} s are over, so the rest is not sent", MAX_SENDING.as_secs())}));
            break;
        }
        let mut headers = headers.clone();
        if wanted.sign {
            signed(shared, &mut headers, &body)?;
        }
        let outgoing = Outgoing { method: hit.method.clone(), url: url.clone(), headers, body: body.clone() };
        results.push(match shared.sender.send(outgoing).await {
            Ok(answer) => json!({
                "status": answer.status.as_u16(), "after_ms": millis(answer.after),
                "body": String::from_utf8_lossy(&answer.body[..answer.body.len().min(4_096)]),
            }),
            Err(why) => json!({"error": why}),
        });
    }
    Ok(results)
}

fn headers(pairs: Vec<(String, String)>) -> Result<HeaderMap, String> {
    let pair = |(name, value): (String, String)| {
        let named = HeaderName::try_from(&name).map_err(|_| format!("{name:?} is not the name of a header"))?;
        let value = HeaderValue::try_from(value)
            .map_err(|_| format!("the value of {name} has characters that a header cannot carry"))?;
        Ok((named, value))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.into_iter().map(pair).collect::<Result<Vec<_>, String>>()? {
        headers.append(name, value);
    }
    Ok(headers)
}

/// Signs with the secrets of the inspector, at the time of now.
fn signed(shared: &Shared, headers: &mut HeaderMap, body: &[u8]) -> Result<(), String> {
    let id = headers.get(header::WEBHOOK_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let id = id.ok_or("a webhook without the header webhook-id cannot be signed")?;
    let time = shared.clock.now().unix_seconds();
    let signature = sign(&signature::secrets(&shared.keys), &id, time, body);
    let signature = signature.ok_or("the inspector has no secret to sign with; start it with --secret-file")?;
    let signature = HeaderValue::try_from(signature).map_err(|error| error.to_string())?;
    headers.insert(HeaderName::from_static(header::WEBHOOK_TIMESTAMP), time.into());
    headers.insert(HeaderName::from_static(header::WEBHOOK_SIGNATURE), signature);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_own() {
        for host in ["127.0.0.1:4000", "localhost:4000", "LOCALHOST:4000", "[::1]:4000", "127.8.8.8:4000"] {
            assert!(is_own_name(host, 4000), "{host}");
        }
        for host in
            ["", "127.0.0.1", "evil.example:4000", "127.0.0.1:4001", "127.0.0.1.evil.example:4000", "10.0.0.1:4000"]
        {
            assert!(!is_own_name(host, 4000), "{host}");
        }
        assert!(is_own_name("localhost", 80));
    }
}
