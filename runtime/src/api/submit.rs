//! `POST ROUTE`: accepts a request. When the answer goes out, the request is stored.

mod refused;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use tracing::{Instrument as _, Span};

use self::refused::problem;
use super::body_memory::Share;
use super::brought::{self, Brought};
use super::coding::Coding;
use super::open_connections::Connection;
use super::payload_check::{Answer, Checked};
use super::prefer::Preference;
use super::problem::{Code, Form, Problem};
use super::response::{IN_QUEUE, json, status_of};
use super::status;
use super::streamed_answer::Reader;
use super::{Api, credentials, embedded, events, gate, webhook_check};
use crate::access::{Caller, Scope};
use crate::handler::{Route, Run};
use crate::spans;
use postback_store::{Bound, Error, Extras, IdempotencyKey, NewRequest, OwnerLimits, Submitted, Summary, Terms, Watch};
use postback_wire::id::RequestId;
use postback_wire::line::Causes;
use postback_wire::names::{header, metric};
use postback_wire::report;
use postback_wire::time::Timestamp;
use postback_wire::trace::TRACEPARENT;

/// The longest time for which an HTTP call waits until the store has stored the request. After this time, the client
/// gets an answer that tells the client to retry.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// The largest correlation id, in bytes, that the server logs. Longer correlation ids are not logged.
const MAX_CORRELATION: usize = 200;

/// Answers an HTTP `POST` to a route.
pub(super) async fn call(api: Arc<Api>, route: Arc<Route>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let form = Form::of(&head.headers);
    let caller = match gate::permit(&head.extensions, Scope::Submit, &route.path) {
        Ok(caller) => caller,
        Err(problem) => return problem.respond(form),
    };
    let connection = head.extensions.get().cloned();
    let base = format!("{}{}", embedded::below(&head.extensions), route.path);
    let query = head.uri.query().unwrap_or_default();
    let posted = Posted { route: &route, caller: &caller, base: &base, query };
    let answer = accept(&api, posted, connection, head.headers, body).await;
    answer.unwrap_or_else(|problem| problem.respond(form))
}

/// Where a request is posted to, and by whom.
#[derive(Clone, Copy)]
pub(super) struct Posted<'a> {
    pub(super) route: &'a Arc<Route>,
    pub(super) caller: &'a Caller,
    /// The path of the route as the caller sees it.
    pub(super) base: &'a str,
    pub(super) query: &'a str,
}

async fn accept(
    api: &Api,
    posted: Posted<'_>,
    connection: Option<Arc<Connection>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Posted { route, caller, base, .. } = posted;
    let mut preference = Preference::of(&headers);
    // The outcome is for callers that may read it.
    let may_read = caller.permits(Scope::Read, &route.path).is_ok();
    if !may_read && preference.wait.take().is_some() {
        preference.respond_async = true;
    }
    let reader = (preference != Preference::default()).then(|| Reader::of_post(connection, &headers));
    let (id, watch) = read_and_store(api, posted, headers, body, reader.is_some()).await?;
    let Some(reader) = reader else { return Ok(accepted(&id)) };
    // The request is stored already. So if the state of the request cannot be read, the server must not send an error
    // answer, because the client would conclude that the request was not accepted. A caller that may not read gets no
    // state here.
    let summary =
        status::wait(api, &id, &watch, preference.wait.unwrap_or_default(), |_| may_read).await.unwrap_or_default();
    let finished = match &summary {
        Some(summary) if summary.is_settled() => status::answer_with(api, reader, &id, summary, None).await.ok(),
        _ => None,
    };
    let mut response = finished.unwrap_or_else(|| pending(&location(base, &id), &id, summary.as_ref()));
    applied(&mut response, preference);
    Ok(response)
}

/// Checks the head of a request, and then accepts the request within a span. `waits` says whether the caller also waits
/// for the outcome; then it is not known yet how it is answered.
pub(super) async fn read_and_store(
    api: &Api,
    posted: Posted<'_>,
    headers: HeaderMap,
    body: Body,
    waits: bool,
) -> Result<(RequestId, Watch), Problem> {
    // The checks that need only the head of the HTTP request come first. If one of these checks fails, the client need
    // not send the body.
    if api.draining.is_stopping() {
        return Err(Problem::draining());
    }
    let mut head = head(api, posted, headers)?;
    let span = spans::submit(&posted.route.path, &head.id, head.extras.as_deref());
    head.extras = continue_trace(&span, &mut head.headers, head.extras);
    let answer = store(api, posted, head, body).instrument(span.clone()).await;
    match &answer {
        Ok(_) if waits => {}
        Ok(_) => spans::answered(&span, StatusCode::OK.as_u16()),
        Err(problem) => spans::answered(&span, problem.status().as_u16()),
    }
    answer
}

/// Checks a request as one that is posted now, and does not store it.
pub(super) async fn read_and_check(
    api: &Api,
    posted: Posted<'_>,
    headers: HeaderMap,
    body: Body,
) -> Result<NewRequest, Problem> {
    let head = head(api, posted, headers)?;
    if head.key.is_some() {
        let what = "is not for a request that a transaction hands in: an earlier request would take its place";
        return Err(Problem::invalid_header(header::IDEMPOTENCY_KEY, what));
    }
    if head.chosen_id {
        let what = "is not for a request that a transaction hands in: another request may have this id by then";
        return Err(Problem::invalid_header(header::REQUEST_ID, what));
    }
    checked(api, posted, head, body).await.map(|(new, _)| new)
}

/// Checks the head of a request.
fn head(api: &Api, posted: Posted<'_>, headers: HeaderMap) -> Result<Head, Problem> {
    let announced = announced(&headers, api.options.max_payload)?;
    if let Some(payload) = posted.route.payload {
        payload.check_type(&headers)?;
    }
    let now = api.clock.now();
    let Brought { id, key, terms, extras } = Brought::of(&headers, &api.of_headers(posted, now))?;
    let (chosen_id, id) = (id.is_some(), id.unwrap_or_else(RequestId::generate));
    Ok(Head { id, chosen_id, key, terms, extras, now, announced, headers })
}

/// If the span is part of a trace, lets the request continue below the span instead of below that of the caller. The
/// store keeps the trace with the headers of the request.
fn continue_trace(span: &Span, headers: &mut HeaderMap, extras: Option<Arc<Extras>>) -> Option<Arc<Extras>> {
    let Some(own) = spans::context(span) else { return extras };
    let own = own.to_string();
    if let Ok(value) = HeaderValue::try_from(&own) {
        headers.insert(TRACEPARENT, value);
    }
    let extras = extras.map(Arc::unwrap_or_clone).unwrap_or_default();
    Some(Arc::new(Extras { traceparent: Some(own.into()), ..extras }))
}

/// What the head of a request has said.
struct Head {
    id: RequestId,
    /// Whether the caller has chosen the id.
    chosen_id: bool,
    key: Option<IdempotencyKey>,
    terms: Terms,
    extras: Option<Arc<Extras>>,
    now: Timestamp,
    announced: Option<usize>,
    headers: HeaderMap,
}

/// Reads and checks a request, and gives it to the store. The memory of the body becomes free when the store has the
/// request. Returns the id of the request, which may be an earlier one, and a watch on it.
async fn store(api: &Api, posted: Posted<'_>, head: Head, body: Body) -> Result<(RequestId, Watch), Problem> {
    let Posted { route, caller, base, .. } = posted;
    let id = head.id.clone();
    let _in_use = head.key.map(|key| api.keys.take(key).ok_or_else(in_use)).transpose()?;
    let (new, share) = checked(api, posted, head, body).await?;
    let correlation = correlation(&new.headers).map(str::to_owned);
    let watch = api.store.watch(&id);
    let submitted = submit(api, new, caller, &location(base, &id)).await?;
    drop(share);
    let path = &route.path;
    let earlier = match submitted {
        Submitted::New => {
            metrics::counter!(metric::REQUESTS_ACCEPTED, "route" => path.clone()).increment(1);
            tracing::debug!(request_id = %id, route = path, correlation, "{path} {id} accepted");
            return Ok((id, watch));
        }
        Submitted::Known => id,
        Submitted::Repeated(earlier) => earlier,
        Submitted::Conflict => return Err(taken(&id)),
        Submitted::KeyReused => return Err(reused()),
    };
    metrics::counter!(metric::REQUESTS_REPEATED, "route" => path.clone()).increment(1);
    tracing::debug!(request_id = %earlier, route = path, correlation, "{path} {earlier} was accepted before");
    let watch = api.store.watch(&earlier);
    Ok((earlier, watch))
}

/// Reads the body of a request and checks it. Returns the request, and the memory of its body.
async fn checked(api: &Api, posted: Posted<'_>, head: Head, body: Body) -> Result<(NewRequest, Share), Problem> {
    let Posted { route, caller, .. } = posted;
    let Head { id, chosen_id, key, terms, extras, now, announced, mut headers } = head;
    let limit = api.options.max_payload;
    let read = api.bodies.read(body, announced).await;
    let (mut body, share) = read.map_err(|refused| problem(refused, limit))?;
    credentials::remove(&mut headers);
    if let Some(query) = posted.kept_query() {
        let wrong = |_| Problem::new(Code::MalformedRequest, "the query has characters that must be percent-encoded");
        headers.insert(header::QUERY, HeaderValue::from_bytes(query.as_bytes()).map_err(wrong)?);
    }
    if let Some(coding) = Coding::of_body(&headers) {
        body = api.inflater.inflate(coding, body, &share).await.map_err(|refused| problem(refused, limit))?;
        headers.remove(CONTENT_ENCODING);
        headers.insert(CONTENT_LENGTH, body.len().into());
    }
    let run = Run::of(id.clone(), Arc::new(headers), body);
    let (Checked { run, asked }, share) = api.checks.check(route, run, share).await?;
    let registration = match asked {
        Answer::Unknown => None,
        Answer::Asked(asked) => webhook_check::check(&asked, route, caller, &api.guard)?.map(Arc::new),
        Answer::Constant(registration) => Some(registration),
    };
    let new = NewRequest {
        chosen_id,
        headers: Arc::unwrap_or_clone(run.headers),
        registration,
        owner: caller.owner(),
        terms,
        idempotency: key,
        extras,
        ..NewRequest::new(id, &route.path, run.body, now)
    };
    Ok((new, share))
}

impl Posted<'_> {
    /// Returns the query, if it is not empty and the handler reads it. If nothing reads it, it is not stored.
    fn kept_query(&self) -> Option<&str> {
        Some(self.query).filter(|query| !query.is_empty() && self.route.takes_query())
    }
}

impl Api {
    fn of_headers<'a>(&'a self, posted: Posted<'a>, now: Timestamp) -> brought::Context<'a> {
        let Posted { route, caller, .. } = posted;
        let timeout = route.limits().timeout.unwrap_or_else(|| (self.run_timeout)());
        let accept_ids = self.options.accept_ids;
        brought::Context { route, caller, guard: &self.guard, now, timeout, accept_ids }
    }
}

fn in_use() -> Problem {
    let what = "a request with this idempotency key is being accepted; try again, and you get its id";
    Problem::new(Code::RequestInProgress, what).retry_after(1)
}

fn reused() -> Problem {
    Problem::new(
        Code::IdempotencyKeyReused,
        "this idempotency key belongs to a request with another body or query; use a new key for each request",
    )
}

fn taken(id: &RequestId) -> Problem {
    Problem::new(Code::IdTaken, format!("the id {id} belongs to another request; use a new id for each request"))
}

fn location(base: &str, id: &RequestId) -> String {
    format!("{base}/{id}")
}

/// Returns the length of the body that the header `content-length` announces. Returns `None` if the request has no such
/// header.
fn announced(headers: &HeaderMap, limit: usize) -> Result<Option<usize>, Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if length > Some(limit) { Err(Problem::too_large(limit)) } else { Ok(length) }
}

async fn submit(api: &Api, new: NewRequest, caller: &Caller, location: &str) -> Result<Submitted, Problem> {
    let unknown = || {
        Problem::new(
            Code::AcceptanceUnknown,
            format!("it is not known whether the request was accepted; see {location} before you try again"),
        )
    };
    let (id, route) = (new.id.clone(), new.route.clone());
    let submitted = tokio::time::timeout(MAX_WAIT, api.store.submit_within(new, limits(caller))).await;
    match submitted {
        Ok(Ok(submitted)) => Ok(submitted),
        Ok(Err(Error::Closed)) => Err(Problem::draining()),
        Ok(Err(Error::Refused(bound))) => {
            let what = format!("{bound}; nothing was accepted, try again");
            Err(match bound {
                Bound::Disk { .. } => Problem::new(Code::StoreFull, what),
                Bound::OwnerRows(most) => over_quota(what, most, "requests"),
                Bound::OwnerBytes(most) => over_quota(what, most, "content-bytes"),
                Bound::Rows(_) | Bound::Bytes(_) | Bound::RouteRows { .. } | Bound::RouteBytes { .. } => {
                    Problem::new(Code::QueueFull, what)
                }
            })
        }
        Ok(Err(Error::Full)) => {
            Err(Problem::new(Code::QueueFull, "too many requests wait; nothing was accepted, try again"))
        }
        Ok(Err(error @ Error::Backend(_))) => {
            // The store logs the cause once for many failed requests. So this log line has only the level `debug`.
            tracing::debug!(request_id = %id, route, "a request cannot be stored: {}", Causes(&error));
            Err(unknown())
        }
        Ok(Err(error @ Error::Unwritable(_))) => {
            tracing::error!(request_id = %id, route, "a request cannot be stored: {}", Causes(&error));
            let what =
                "the store cannot take this request, now or later; nothing was accepted; the server's log says more";
            Err(Problem::new(Code::InternalError, what))
        }
        // The time limit is over, but the operation is still in the store's queue, and the store may still commit the
        // operation. So the answer must not say that the request was not accepted.
        Err(_) => Err(unknown()),
    }
}

/// Returns the limits of the caller's token for its waiting requests.
fn limits(caller: &Caller) -> OwnerLimits {
    let terms = caller.token.as_ref().map(|token| &token.terms);
    OwnerLimits {
        rows: terms.and_then(|terms| terms.max_queued),
        bytes: terms.and_then(|terms| terms.max_queued_bytes),
    }
}

/// Makes the answer to a caller whose token has too many waiting requests. Nobody knows when the next of them begins, so
/// the caller is told to try again soon.
fn over_quota(what: String, most: u64, unit: &str) -> Problem {
    let problem = Problem::new(Code::QuotaExceeded, what).retry_after(1);
    gate::with_limit(problem, &format!("\"queued\";q={most};qu=\"{unit}\""), "\"queued\";r=0;t=1")
}

/// Returns the correlation id, which the caller has given the request. The id is written to the log.
fn correlation(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::REQUEST_ID)?.to_str().ok()?;
    (text.len() <= MAX_CORRELATION).then_some(text)
}

/// Makes the answer to a client that does not wait for the outcome. The answer has the same JSON members as an answer
/// of the Cortex API.
fn accepted(id: &RequestId) -> Response {
    json(StatusCode::OK, Body::from(format!("{{\"id\":\"{id}\"}}\n")))
}

/// Makes the answer with status 202 to a client that has waited for the outcome of a request. The wait is over, but the
/// request is not over.
fn pending(location: &str, id: &RequestId, summary: Option<&Summary>) -> Response {
    let mut body = vec![b'{'];
    let status = summary.map_or(IN_QUEUE, |summary| status_of(&summary.stage));
    report::write_id_and_status(id.as_str(), status, &mut body);
    let urls = format!(
        ",\"status_url\":\"{location}\",\"events_url\":\"{location}/{events}\",\"cancel_url\":\"{location}\"}}\n",
        events = events::SEGMENT
    );
    body.extend_from_slice(urls.as_bytes());
    let mut response = json(StatusCode::ACCEPTED, Body::from(body));
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
