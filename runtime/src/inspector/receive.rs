//! Receives a webhook: reads it, keeps it, decides on the answer, and tells the terminal.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{ACCEPT, LOCATION, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::OwnedSemaphorePermit;

use super::behaviour::Kind;
use super::connection::Reset;
use super::hit::{Answered, DEFAULT_INBOX, Hit, inbox};
use super::send::{Outgoing, without_connection};
use super::show::Report;
use super::{Shared, signature};

/// The size of the largest webhook, in bytes. A larger webhook is answered with 413.
const MAX_BODY: usize = 32 << 20;
/// The time within which a webhook must arrive. If it takes longer, the answer is 408, and the sender makes another
/// attempt later.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest time that a webhook is left without an answer.
const MAX_HANG: Duration = Duration::from_mins(10);
/// The time between two bytes of a slow answer, and their number.
const DRIP_EVERY: Duration = Duration::from_secs(1);
const DRIPS: u16 = 120;

/// The fallback of the router: everything that is not for the page is a webhook.
pub(super) async fn receive(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    if let Some(redirect) = to_the_page(request.method(), request.uri().path(), request.headers()) {
        return redirect;
    }
    let (head, body) = request.into_parts();
    let reset = head.extensions.get::<Reset>().cloned().unwrap_or_default();
    let (headers, method) = (head.headers.clone(), head.method.clone());
    let Read { hit, cut } = read(&shared, head, body).await;
    let hit = shared.history.add(hit);
    let begun = shared.clock.elapsed();
    let mut answering = Answering { shared: shared.clone(), hit: hit.clone(), begun, answer: None };
    if let Some(status) = cut {
        return answering.done(status.into_response(), "");
    }
    match shared.behaviours.next(&hit.inbox, rand::random_range(0..100)) {
        (Kind::Accept, _) => match &shared.forward {
            None => answering.done(StatusCode::NO_CONTENT.into_response(), ""),
            Some(url) => {
                let outgoing = Outgoing { method, url: url.clone(), headers, body: hit.body.clone() };
                let sent = shared.sender.send(outgoing).await;
                match sent {
                    Ok(answer) => answering.done(passed_on(answer.status, answer.headers, answer.body), "passed on"),
                    Err(why) => {
                        let text = format!("{why}\n");
                        answering.done((StatusCode::BAD_GATEWAY, text).into_response(), &why)
                    }
                }
            }
        },
        (Kind::Status(status), retry_after) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = (status, "the inspector was told to answer so\n").into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            answering.done(response, "as told")
        }
        (Kind::Redirect, _) => {
            let mut response = StatusCode::FOUND.into_response();
            let path = if hit.inbox == DEFAULT_INBOX {
                "/redirected".to_owned()
            } else {
                format!("/{}/redirected", hit.inbox)
            };
            if let Ok(path) = HeaderValue::try_from(path) {
                response.headers_mut().insert(LOCATION, path);
            }
            answering.done(response, "as told")
        }
        (Kind::Reset, _) => {
            reset.reset();
            answering.without_status("reset the connection");
            StatusCode::NO_CONTENT.into_response()
        }
        (kind @ (Kind::Hang | Kind::Drip), _) => {
            let Ok(room) = shared.held.clone().try_acquire_owned() else {
                let response = StatusCode::SERVICE_UNAVAILABLE.into_response();
                return answering.done(response, "too many webhooks hang already");
            };
            if kind == Kind::Drip {
                return answering.done(drip(room), "one byte a second");
            }
            answering.without_status("hangs");
            tokio::select! {
                () = tokio::time::sleep(MAX_HANG) => {}
                () = shared.stop.stopping() => {}
            }
            reset.reset();
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

/// A webhook that was read, and the status of the answer if it is not whole.
struct Read {
    hit: Hit,
    cut: Option<StatusCode>,
}

async fn read(shared: &Shared, head: Parts, body: Body) -> Read {
    let begun = shared.clock.elapsed();
    let reading = async {
        // Invariant: the semaphore is never closed, so `acquire` never returns an error.
        let turn = shared.reading.acquire().await;
        (Limited::new(body, MAX_BODY).collect().await, turn)
    };
    let (body, cut, problem) = match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok((Ok(body), _)) => (body.to_bytes(), None, None),
        Ok((Err(error), _)) if error.is::<LengthLimitError>() => {
            let why = "the body has more than 32 MiB, and was not read";
            (Bytes::new(), Some(StatusCode::PAYLOAD_TOO_LARGE), Some(why))
        }
        Ok((Err(_), _)) => (Bytes::new(), Some(StatusCode::BAD_REQUEST), Some("the body broke off")),
        Err(_) => (Bytes::new(), Some(StatusCode::REQUEST_TIMEOUT), Some("the body did not come within 20 s")),
    };
    let (report, received) = (Report::of(&body), shared.clock.now());
    let hit = Hit {
        number: 0,
        inbox: inbox(head.uri.path()),
        signature: signature::check(&shared.keys, &head.headers, &body, received),
        method: head.method,
        uri: head.uri,
        version: head.version,
        headers: head.headers,
        body,
        received,
        arriving: shared.clock.elapsed().saturating_sub(begun),
        attempt: 1,
        id: report.id(),
        status: report.status(),
        form: report.form(),
        problem,
    };
    Read { hit, cut }
}

/// Records the answer to a webhook when it is known, at the latest when the sender goes away.
struct Answering {
    shared: Arc<Shared>,
    hit: Arc<Hit>,
    begun: Duration,
    answer: Option<Answered>,
}

impl Answering {
    fn record(&mut self, status: Option<StatusCode>, what: &str) {
        let after = self.shared.clock.elapsed().saturating_sub(self.begun);
        let answer = Answered { status: status.map(|status| status.as_u16()), what: what.to_owned(), after };
        self.shared.history.answered(self.hit.number, answer.clone());
        if self.answer.replace(answer.clone()).is_none() {
            self.shared.tell(&self.hit, &answer);
        }
    }

    fn done(&mut self, response: Response, what: &str) -> Response {
        self.record(Some(response.status()), what);
        response
    }

    fn without_status(&mut self, what: &str) {
        self.record(None, what);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        match &self.answer {
            None => self.record(None, "the sender went away"),
            // Shows how long the sender has waited.
            Some(answer) if answer.what == "hangs" => self.record(None, "hung until the sender went away"),
            Some(_) => {}
        }
    }
}

/// A person who opens the address of an inbox in a browser gets the page. A webhook has no such headers.
fn to_the_page(method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
    const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
    let is_navigation = headers.get(MODE).is_some_and(|mode| mode == "navigate");
    let wants_page =
        headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    if *method != Method::GET || !is_navigation || !wants_page {
        let is_icon = path == "/favicon.ico" && headers.contains_key(MODE);
        return is_icon.then(|| StatusCode::NOT_FOUND.into_response());
    }
    let inbox = path.trim_matches('/');
    let is_plain = inbox.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let fragment = if inbox.is_empty() || !is_plain { String::new() } else { format!("#inbox={inbox}") };
    Some(Redirect::to(&format!("{}/{fragment}", super::page::PATH)).into_response())
}

fn passed_on(status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Response {
    without_connection(&mut headers);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Makes an answer whose body comes slowly.
fn drip(room: OwnedSemaphorePermit) -> Response {
    let bytes = stream::unfold((0, room), async |(sent, room)| {
        if sent == DRIPS {
            return None;
        }
        if sent > 0 {
            tokio::time::sleep(DRIP_EVERY).await;
        }
        Some((Ok::<_, Infallible>(Bytes::from_static(b".")), (sent + 1, room)))
    });
    Response::new(Body::from_stream(bytes))
}
