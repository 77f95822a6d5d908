//! `POST R`: takes a request in. When it is answered, the request is kept.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, LOCATION, PROXY_AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::Api;
use super::prefer::Preference;
use super::problem::Problem;
use super::status::{self, json};
use crate::handler::Route;
use crate::id::RequestId;
use crate::line::Causes;
use crate::names::{header, metric};
use crate::report;
use crate::store::{Error, NewRequest, RequestRecord};

/// How long a submission waits for room in the store's queue before the client is told to come back.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer correlation ids are not kept.
const MAX_CORRELATION: usize = 200;

/// Answers a submission.
pub(super) async fn call(api: Arc<Api>, route: Arc<Route>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let accepted = accept(&api, &route, &head.headers, body).await;
    accepted.unwrap_or_else(|problem| {
        let mut response = problem.respond(&head.headers);
        let unread = matches!(response.status(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT);
        if unread && head.version < Version::HTTP_2 {
            // What is left of the body ends the connection; a client that is not told would use it again.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    })
}

async fn accept(api: &Api, route: &Route, headers: &HeaderMap, body: Body) -> Result<Response, Problem> {
    let announced = announced(headers, api.options.max_payload)?;
    let room = tokio::time::timeout(PATIENCE, api.reading.acquire_many(kib(announced))).await;
    let Ok(Ok(_room)) = room else {
        return Err(Problem::unavailable("too many bodies are being read; nothing was accepted, try again"));
    };
    let body = read(body, api.options.max_payload).await?;
    if let Some(payload) = route.payload {
        payload.check(headers, &body)?;
    }
    let preference = Preference::of(headers);
    let id = RequestId::generate();
    let watch = api.store.watch(&id);
    let new = NewRequest {
        id: id.clone(),
        route: route.path.clone(),
        headers: kept(headers),
        body,
        created: api.clock.now(),
    };
    submit(api, new, &location(route, &id)).await?;
    metrics::counter!(metric::REQUESTS_ACCEPTED, "route" => route.path.clone()).increment(1);
    tracing::debug!(request_id = %id, route = route.path, correlation = correlation(headers), "{} {id} accepted", route.path);

    if preference == Preference::default() {
        return Ok(given(&id));
    }
    // From here on the request is kept, so no failure to look at it may look like one to accept it.
    let record = status::wait(api, &id, &watch, preference.wait.unwrap_or_default()).await.unwrap_or_default();
    let mut response = match record {
        Some(finished) if status::is_settled(&finished) => json(StatusCode::OK, status::body(&finished)),
        record => pending(&location(route, &id), &id, record.as_ref()),
    };
    applied(&mut response, preference);
    Ok(response)
}

fn location(route: &Route, id: &RequestId) -> String {
    format!("{}/{id}", route.path)
}

/// The bytes that a body will take: as many as are announced, or else as many as are allowed.
fn announced(headers: &HeaderMap, limit: usize) -> Result<usize, Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let length = length.map_or(limit, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if length > limit { Err(Problem::too_large(limit)) } else { Ok(length) }
}

/// Rounded up; in a unit that makes semaphores of gigabytes possible.
pub(super) fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

/// The body, if it is not too large and comes to its end.
async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::too_large(limit)),
        Err(error) => {
            tracing::debug!("a body was not read to its end: {error}");
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come to its end; nothing was accepted"))
        }
    }
}

async fn submit(api: &Api, new: NewRequest, location: &str) -> Result<(), Problem> {
    let unknown = || {
        Problem::unavailable(format!(
            "it is not known whether the request was accepted; see {location} before you try again"
        ))
    };
    let submitted = tokio::time::timeout(PATIENCE, api.store.submit(new)).await;
    match submitted {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(Error::Closed)) => Err(Problem::unavailable("the node is stopping; nothing was accepted")),
        Ok(Err(error @ Error::Refused(_))) => {
            Err(Problem::unavailable(format!("{error}; nothing was accepted, try again")))
        }
        Ok(Err(Error::Full)) => Err(Problem::unavailable("too many requests wait; nothing was accepted, try again")),
        Ok(Err(error @ Error::Backend(_))) => {
            tracing::error!("a request cannot be stored: {}", Causes(&error));
            Err(unknown())
        }
        // What is on its way to the store may still get there.
        Err(_) => Err(unknown()),
    }
}

/// The headers that are kept with a request: all but those that carry credentials.
fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
        kept.remove(name);
    }
    kept
}

/// The caller's own mark, for the log.
fn correlation(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::REQUEST_ID)?.to_str().ok()?;
    (text.len() <= MAX_CORRELATION).then_some(text)
}

/// The answer as Cortex gives it.
fn given(id: &RequestId) -> Response {
    json(StatusCode::OK, format!("{{\"id\":\"{id}\"}}").into_bytes())
}

/// The answer to a client that does not wait any longer.
fn pending(location: &str, id: &RequestId, record: Option<&RequestRecord>) -> Response {
    let mut body = vec![b'{'];
    report::write_id_and_status(id.as_str(), record.map_or(status::IN_QUEUE, status::unsettled), &mut body);
    body.extend_from_slice(format!(",\"status_url\":\"{location}\",\"cancel_url\":\"{location}\"}}").as_bytes());
    let mut response = json(StatusCode::ACCEPTED, body);
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn applied(response: &mut Response, preference: Preference) {
    if let Some(value) = preference.applied().and_then(|applied| HeaderValue::try_from(applied).ok()) {
        response.headers_mut().insert("preference-applied", value);
    }
}
