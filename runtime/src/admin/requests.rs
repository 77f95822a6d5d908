//! Requests: lists, single requests, cancel and retry.

use std::fmt::Display;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::Admin;
use super::answer::{Answer, Json, Problem};
use super::audit::{self, Actor};
use super::deliveries;
use super::model::{Cancelled, Checkpoint, Content, Event, Page, Progress, Request, RequestDetail, Retried};
use super::query::{Parameters, name_cursor, row_cursor};
use crate::cancel;
use crate::handler::Routes;
use crate::problem::Code;
use postback_store::overview::{Excerpt, RequestFilter, RequestLine, RequestStatus};
use postback_store::{self as store, Cancelled as WasCancelled, NewRequest, Store, Submitted, Timeline};
use postback_wire::id::RequestId;
use postback_wire::names::header;
use postback_wire::report::Reason;
use postback_wire::time::Clock;
use postback_wire::webhook::{Shown, shown};

/// The header that a repeated request is stored with. It names the request that it repeats.
pub(crate) const RETRY_OF: &str = "postback-retry-of";

const STATUSES: [(&str, RequestStatus); 5] = [
    ("in_queue", RequestStatus::Queued),
    ("in_progress", RequestStatus::Running),
    ("completed", RequestStatus::Completed),
    ("failed", RequestStatus::Failed),
    ("cancelled", RequestStatus::Cancelled),
];
const WANTED_STATUS: &str = "in_queue, in_progress, completed, failed or cancelled";

/// Returns the name of a status, as the public API has it.
pub(super) fn status_name(status: RequestStatus) -> &'static str {
    STATUSES.iter().find(|(_, of)| *of == status).map_or("failed", |(name, _)| name)
}

fn status(name: &str) -> Option<RequestStatus> {
    STATUSES.iter().find(|(of, _)| *of == name).map(|(_, status)| *status)
}

/// `GET /requests`.
pub(super) async fn list(State(admin): State<Arc<Admin>>, uri: Uri) -> Answer<Page<Request>> {
    let _turn = admin.reads.acquire().await;
    page(&admin.store, &admin.clock, &uri).await
}

/// Returns the page of the list for which the query of `uri` asks.
pub(super) async fn page(store: &Store, clock: &Clock, uri: &Uri) -> Answer<Page<Request>> {
    let known = ["route", "status", "token", "since", "until", "id", "cursor", "limit"];
    let parameters = Parameters::of(uri, &known)?;
    let limit = parameters.limit()?;
    let filter = RequestFilter {
        route: parameters.text("route"),
        status: parameters.parsed("status", WANTED_STATUS, status)?,
        owner: parameters.text("token"),
        since: parameters.time("since", clock)?,
        until: parameters.time("until", clock)?,
    };
    if let Some(prefix) = parameters.get("id") {
        return by_id(store, prefix, &parameters.name()?, &filter, limit).await;
    }
    let page = store.list_requests(&filter, parameters.row()?, limit).await?;
    Ok(Json(Page { items: page.rows.iter().map(line).collect(), next: page.next.map(row_cursor) }))
}

/// Lists the requests whose ids begin with this text. An index serves the ids, and the other filters are applied to
/// what it finds.
async fn by_id(
    store: &Store,
    prefix: &str,
    after: &str,
    filter: &RequestFilter,
    limit: usize,
) -> Answer<Page<Request>> {
    let lines = store.requests_by_id(prefix, after, limit).await?;
    let next = lines.last().filter(|_| lines.len() == limit).map(|last| name_cursor(last.id.as_str()));
    let RequestFilter { route, status, owner, since, until } = filter;
    let selects = |line: &&RequestLine| {
        route.as_ref().is_none_or(|route| *route == line.route)
            && status.is_none_or(|status| status == line.status)
            && owner.as_ref().is_none_or(|owner| **owner == *line.owner)
            && since.is_none_or(|since| line.created >= since)
            && until.is_none_or(|until| line.created < until)
    };
    Ok(Json(Page { items: lines.iter().filter(selects).map(line).collect(), next }))
}

fn line(line: &RequestLine) -> Request {
    Request {
        id: line.id.to_string(),
        route: line.route.clone(),
        status: status_name(line.status).to_owned(),
        reason: line.reason.filter(|reason| *reason != Reason::None).map(|reason| reason.as_str().to_owned()),
        token: Some(line.owner.to_string()).filter(|owner| !owner.is_empty()),
        created: line.created.to_string(),
        finished: line.finished.map(|time| time.to_string()),
        due: line.due.map(|time| time.to_string()),
        failures: line.failures,
        crashes: line.crashes,
        cancelling: line.cancelling,
    }
}

/// `GET /requests/{id}`.
pub(super) async fn show(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Answer<RequestDetail> {
    let _turn = admin.reads.acquire().await;
    detail(&admin.store, &id).await
}

/// Returns all that is shown about the request with this id.
pub(super) async fn detail(store: &Store, id: &str) -> Answer<RequestDetail> {
    let id = parse(id)?;
    let detail = store.request_detail(&id).await?.ok_or_else(|| unknown(&id))?;
    let timeline = store.timeline(&id).await?.ok_or_else(|| unknown(&id))?;
    let sent = store.list_deliveries(&deliveries::about(&id), None, deliveries::MAX_OF_ONE).await?;
    let extras = detail.extras.as_deref();
    let metadata = extras.and_then(|extras| serde_json::from_str(extras.metadata.as_deref()?).ok());
    let webhooks = detail.registration.iter().flat_map(|registration| &registration.webhooks);
    Ok(Json(RequestDetail {
        timeline: events(&timeline, &detail.line),
        progress: timeline.progress.as_ref().map(progress),
        checkpoint: detail.checkpoint.map(|store::CheckpointLine { bytes, saved }| Checkpoint {
            bytes,
            saved: saved.map(|time| time.to_string()),
        }),
        priority: detail.terms.priority,
        timeout_ms: detail.terms.timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        deadline: detail.terms.deadline.map(|time| time.to_string()),
        metadata,
        query: detail.headers.get(header::QUERY).map(|query| String::from_utf8_lossy(query.as_bytes()).into_owned()),
        caller_webhook: extras.and_then(|extras| extras.webhook.as_deref()).map(shown),
        deliveries_truncated: sent.next.is_some(),
        retry_of: detail.headers.get(RETRY_OF).and_then(|id| Some(id.to_str().ok()?.to_owned())),
        headers: headers(&detail.headers),
        payload: detail.payload.as_ref().map(text),
        result: detail.result.as_ref().map(text),
        error: detail.error.as_ref().map(text),
        detail: detail.detail.clone(),
        webhooks: webhooks.map(|webhook| Shown(webhook.url()).to_string()).collect(),
        deliveries: sent.rows.iter().rev().map(deliveries::line).collect(),
        request: line(&detail.line),
    }))
}

fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    // The URL of a webhook may contain a secret.
    let value = |name: &HeaderName, of| if name == header::WEBHOOK { shown(text(of).trim()) } else { text(of) };
    // The query was not a header of the call.
    let of_call = headers.iter().filter(|(name, _)| *name != header::QUERY);
    of_call.map(|(name, of)| (name.to_string(), value(name, of))).collect()
}

/// Shows an excerpt: as text, or in Base64 if it is not text.
pub(super) fn text(excerpt: &Excerpt) -> Content {
    let bytes = &excerpt.start;
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        // The excerpt may end within a character.
        Err(error) if !excerpt.is_whole() && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    Content {
        bytes: excerpt.len,
        truncated: !excerpt.is_whole(),
        base64: whole.is_none().then(|| STANDARD.encode(bytes)),
        text: whole.map(str::to_owned),
    }
}

fn progress(progress: &store::Progress) -> Progress {
    let store::Progress { epoch, sequence, told } = progress;
    Progress {
        fraction: told.fraction,
        message: told.message.clone(),
        detail: told.detail.as_ref().and_then(|detail| serde_json::from_slice(detail.bytes()).ok()),
        at: told.at.to_string(),
        sequence: *sequence,
        run: *epoch,
    }
}

/// Makes the events of a request, in the order of time.
fn events(timeline: &Timeline, line: &RequestLine) -> Vec<Event> {
    let event = |at: &dyn std::fmt::Display, what: &str, run| Event {
        at: at.to_string(),
        what: what.to_owned(),
        run,
        detail: None,
    };
    let mut events = vec![event(&timeline.created, "accepted", None)];
    for run in &timeline.runs {
        let number = Some(run.epoch);
        events.push(event(&run.started, "run_began", number));
        let ended = event(&run.ended, &format!("run_{}", run.end.as_str()), number);
        events.push(Event { detail: run.detail.clone(), ..ended });
    }
    if let Some(started) = &timeline.started {
        events.push(event(started, "run_began", Some(timeline.epoch)));
    }
    if let Some(finished) = &line.finished {
        events.push(event(finished, status_name(line.status), None));
    }
    events
}

/// `POST /requests/{id}/cancel`.
pub(super) async fn cancel(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Actor>,
    Path(id): Path<String>,
) -> Answer<Cancelled> {
    let of_task = Arc::clone(&admin);
    admin.change(async move { cancel_as(&of_task.store, &of_task.clock, &of_task.routes, &who, &id).await }).await
}

/// Cancels a request in the name of `who`.
pub(super) async fn cancel_as(
    store: &Store,
    clock: &Clock,
    routes: &Routes,
    who: &(impl Display + Sync),
    id: &str,
) -> Answer<Cancelled> {
    let id = parse(id)?;
    let path = store.summary(&id).await?.ok_or_else(|| unknown(&id))?.route;
    let cancelled = cancel::cancel(store, clock, (path.as_str(), routes), &id, None).await?;
    if let WasCancelled::AtOnce(_) | WasCancelled::Stopping = &cancelled {
        audit::record(store, who, "request.cancel", id.as_str(), "").await;
    }
    let status = match cancelled {
        WasCancelled::AtOnce(_) => "cancelled",
        WasCancelled::Stopping => "in_progress",
        WasCancelled::Over => {
            return Err(Problem::new(Code::RequestOver, format!("request {id} is over, so it cannot be cancelled")));
        }
        WasCancelled::Unknown => return Err(unknown(&id)),
    };
    Ok(Json(Cancelled { id: id.to_string(), status: status.to_owned() }))
}

/// `POST /requests/{id}/retry`: makes a new request with the same payload. What is settled is final, so the old request
/// stays as it is.
pub(super) async fn retry(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Actor>,
    Path(id): Path<String>,
) -> Answer<Retried> {
    if admin.draining.is_stopping() {
        return Err(postback_store::Error::Closed.into());
    }
    let of_task = Arc::clone(&admin);
    let retried = admin.change(async move {
        let _turn = of_task.reads.acquire().await;
        retry_as(&of_task.store, &of_task.clock, &of_task.routes, &who, &id).await
    });
    retried.await
}

/// Repeats a request in the name of `who`.
pub(super) async fn retry_as(
    store: &Store,
    clock: &Clock,
    routes: &Routes,
    who: &(impl Display + Sync),
    id: &str,
) -> Answer<Retried> {
    let id = &parse(id)?;
    let original = store.original(id).await?.ok_or_else(|| unknown(id))?;
    match original.status {
        RequestStatus::Failed | RequestStatus::Cancelled => {}
        RequestStatus::Completed => {
            return Err(Problem::conflict(format!(
                "request {id} is completed; only failed and cancelled requests are repeated"
            )));
        }
        RequestStatus::Queued | RequestStatus::Running => {
            return Err(Problem::conflict(format!("request {id} is not over; cancel it first")));
        }
    }
    if routes.get(&original.route).is_none() {
        let detail = format!("this program has no route {}, so request {id} would never run", original.route);
        return Err(Problem::conflict(detail));
    }
    let Some(body) = original.body else {
        let detail = format!("the payload of request {id} is not stored any more (the store is in memory)");
        return Err(Problem::conflict(detail));
    };
    let mut headers = original.headers;
    if let Ok(value) = HeaderValue::try_from(id.as_str()) {
        headers.insert(RETRY_OF, value);
    }
    let new = RequestId::generate();
    let request = NewRequest {
        headers,
        registration: original.registration.map(Arc::new),
        owner: original.owner,
        terms: original.terms,
        extras: original.extras,
        ..NewRequest::new(new.clone(), original.route, body, clock.now())
    };
    match store.submit(request).await? {
        Submitted::New => {}
        Submitted::Known | Submitted::Conflict | Submitted::Repeated(_) | Submitted::KeyReused => {
            return Err(Problem::internal());
        }
    }
    audit::record(store, who, "request.retry", id.as_str(), &format!("as {new}")).await;
    Ok(Json(Retried { id: new.to_string(), retry_of: id.to_string() }))
}

fn parse(id: &str) -> Result<RequestId, Problem> {
    id.parse().map_err(|_| Problem::not_found(format!("there is no request {}", id.escape_debug())))
}

fn unknown(id: &RequestId) -> Problem {
    Problem::not_found(format!("there is no request {id}; requests that are over are deleted after store.retention"))
}
