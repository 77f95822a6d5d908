//! One try: the request, the answer, and what they came to.
//!
//! Invariant: everything is bounded. One timeout covers it from the first look-up to the last byte of the answer, and of
//! the answer only so many bytes are read and fewer kept.

mod words;

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use http::{Extensions, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use self::words::Failure;
use super::client::{Client, Clients, Error};
use super::connections::{InUse, Mark};
use super::overheard::{Head, Overheard};
use super::shortage::Shortage;
use super::{Options, log};
use crate::id::ReportId;
use crate::names;
use crate::policy::after_attempt::{Answer, AttemptEnd, ReceiverDirective, complaint};
use crate::policy::destination::DestinationPolicy;
use crate::policy::guard::{Guard, Refusal};
use crate::policy::retry_after;
use crate::signature;
use crate::store::Attempt;
use crate::time::{Clock, Timestamp};
use crate::webhook::Webhook;

const ID: HeaderName = HeaderName::from_static(names::header::WEBHOOK_ID);
const TIMESTAMP: HeaderName = HeaderName::from_static(names::header::WEBHOOK_TIMESTAMP);
const SIGNATURE: HeaderName = HeaderName::from_static(names::header::WEBHOOK_SIGNATURE);
/// An answer that ends within this leaves its connection to the next try; of a longer one the rest is never read.
const MAX_READ: usize = 64 * 1_024;
const MAX_KEPT: usize = 4 * 1_024;
/// A body beyond this is signed on a thread of its own, in bytes: one of 64 KiB takes some hundred microseconds.
const LARGE: usize = 64 << 10;
/// Idle connections that are closed when no more files can be opened.
const CLOSED_FOR_FILES: usize = 16;
/// Large bodies that are signed at once.
const SIGNING: usize = 4;

/// Makes single tries.
#[derive(Debug)]
pub(super) struct Sender {
    clients: Clients,
    guard: Guard,
    clock: Clock,
    timeout: Duration,
    /// For large bodies.
    signing: Semaphore,
}

/// What a try came to.
#[derive(Debug)]
pub(super) struct Attempted {
    pub(super) attempt: Attempt,
    pub(super) end: AttemptEnd,
    /// There was a connection.
    pub(super) connected: bool,
    /// Why nothing was attempted, if that is so.
    pub(super) shortage: Option<Shortage>,
    /// The receiver said that it has processed nothing of the request, so it is no attempt (RFC 9113, 8.7).
    pub(super) unprocessed: bool,
}

/// As much of the answer as has come.
#[derive(Default)]
struct Heard {
    connection: Option<CaptureConnection>,
    answer: Option<Answer>,
    kept: BytesMut,
}

impl Heard {
    fn has_connected(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.connection_metadata().is_some())
    }

    fn overheard(&self) -> Option<Overheard> {
        let mut extras = Extensions::new();
        self.connection.as_ref()?.connection_metadata().as_ref()?.get_extras(&mut extras);
        extras.remove()
    }
}

impl Sender {
    pub(super) fn new(options: &Options, clock: Clock) -> Result<Self, Error> {
        let guard = options.guard();
        let clients = Clients::new(options, &guard)?;
        Ok(Self { clients, guard, clock, timeout: options.timeout, signing: Semaphore::new(SIGNING) })
    }

    /// What a large body takes is not done on the thread that all deliveries share.
    async fn sign(
        &self,
        id: ReportId,
        standing: &DestinationPolicy<'_>,
        timestamp: i64,
        body: &Bytes,
    ) -> Option<String> {
        let id = id.to_string();
        if body.len() <= LARGE || standing.secrets.is_empty() {
            return signature::sign(&standing.secrets, &id, timestamp, body);
        }
        // Never closed.
        let _turn = self.signing.acquire().await.ok()?;
        let (secrets, body) = (standing.secrets.to_vec(), body.clone());
        // Fails only if the process ends meanwhile, or the signing panicked: then the try goes out unsigned, and is not taken.
        tokio::task::spawn_blocking(move || signature::sign(&secrets, &id, timestamp, &body)).await.ok().flatten()
    }

    /// Sends these bytes there, once.
    pub(super) async fn send(
        &self,
        id: ReportId,
        webhook: &Webhook,
        standing: &DestinationPolicy<'_>,
        body: Bytes,
    ) -> Attempted {
        let (started, begun) = (self.clock.now(), Instant::now());
        let allowed = self.guard.check_url(webhook.url(), standing.trust);
        if let Err(refusal) = allowed.and_then(|()| self.clients.check_own(webhook.url(), standing.trust)) {
            return Attempted::refused(started, &refusal);
        }
        let signed = self.sign(id, standing, started.unix_seconds(), &body).await;
        let headers = || headers(id, webhook, started.unix_seconds(), signed.as_deref());
        let client = self.clients.of(standing.trust, webhook.url());
        let mut heard = Heard::default();
        let exchange = async {
            let exchanged = exchange(client, webhook.url(), headers(), body.clone(), &self.clock, &mut heard).await;
            match exchanged {
                // Most often a receiver that takes fewer streams at once than it had said so far, or one that is restarted.
                Err(error) if words::is_unprocessed(&*error) => {
                    heard = Heard::default();
                    exchange(client, webhook.url(), headers(), body, &self.clock, &mut heard).await
                }
                other => other,
            }
        };
        let exchanged = tokio::time::timeout(self.timeout, exchange).await;

        // Once there is a status it decides: the receiver has taken the report or not, however its answer ends.
        let overheard = heard.overheard();
        let begun_answer = overheard.as_ref().and_then(|overheard| overheard.take(&id.to_string()));
        if heard.answer.is_none()
            && let Some(head) = begun_answer
        {
            heard.answer = Some(answer_of(&head, self.clock.now()));
        }
        let (mut shortage, mut unprocessed) = (None, false);
        let (end, error) = match (heard.answer, exchanged) {
            (Some(answer), _) => (AttemptEnd::Answered(answer), complaint(answer)),
            (None, Ok(Err(error))) => match Failure::of(&*error) {
                // A literal was judged above: it was a name that led there.
                Failure::Refused(refusal) => (AttemptEnd::ForbiddenAddress, Some(refusal.to_string())),
                // A connection that broke off for it has sent something.
                Failure::Short(of, words) if !heard.has_connected() => {
                    if of == Shortage::Files {
                        self.clients.connections().close_idle(CLOSED_FOR_FILES);
                    }
                    shortage = Some(of);
                    (AttemptEnd::NotMade, Some(words))
                }
                Failure::Unprocessed(words) => {
                    unprocessed = true;
                    (AttemptEnd::Failed, Some(words))
                }
                Failure::Other(_) if overheard.is_some_and(|overheard| overheard.is_tls()) => {
                    (AttemptEnd::Failed, Some(words::TLS_EXPECTED.into()))
                }
                Failure::Other(words) | Failure::Short(_, words) => (AttemptEnd::Failed, Some(words)),
            },
            (None, Ok(Ok(())) | Err(_)) => {
                (AttemptEnd::Failed, Some(format!("timed out after {}", log::spoken(self.timeout))))
            }
        };
        let connected = heard.has_connected();
        let status = heard.answer.map(|answer| answer.status);
        let attempt = Attempt { started, took: begun.elapsed(), status, error, response: heard.kept.freeze() };
        Attempted { attempt, end, connected, shortage, unprocessed }
    }
}

impl Attempted {
    /// Nothing was sent, for this reason.
    pub(super) fn refused(started: Timestamp, reason: &(dyn std::error::Error + 'static)) -> Self {
        let error = Some(log::with_sources(reason));
        let attempt = Attempt { started, took: Duration::ZERO, status: None, error, response: Bytes::new() };
        Self { attempt, end: AttemptEnd::Refused, connected: false, shortage: None, unprocessed: false }
    }
}

/// The delivery's own headers come last, so that nothing stored can replace them.
fn headers(id: ReportId, webhook: &Webhook, timestamp: i64, signed: Option<&str>) -> HeaderMap {
    // These, and two that the client adds.
    let own = &webhook.own().headers;
    let mut headers = HeaderMap::with_capacity(own.len() + 8);
    headers.extend(own.clone());
    let (id, timestamp) = (id.to_string(), timestamp.to_string());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(USER_AGENT, HeaderValue::from_static(names::USER_AGENT));
    for (name, value) in [(ID, Some(&*id)), (TIMESTAMP, Some(&*timestamp)), (SIGNATURE, signed)] {
        // Invariant: a UUID, a number and base64 are valid header values.
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    headers
}

async fn exchange(
    client: &Client,
    url: &Url,
    headers: HeaderMap,
    body: Bytes,
    clock: &Clock,
    heard: &mut Heard,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    // From the parsed URL: what is judged and what is called cannot differ.
    *request.uri_mut() = Uri::try_from(url.as_str())?;
    *request.headers_mut() = headers;
    let mut connection = capture_connection(&mut request);
    heard.connection = Some(connection.clone());
    let mut asked = pin!(client.request(request));
    // Its connection is not closed for another one until the answer is read.
    let (mut response, _in_use) = tokio::select! {
        biased;
        in_use = in_use(&mut connection) => (asked.await?, in_use),
        response = &mut asked => (response?, None),
    };
    heard.answer = Some(answer(&response, clock.now()));
    let mut read = 0;
    // Never decompressed: what a receiver sends cannot grow here.
    while let Some(frame) = response.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        let room = MAX_KEPT - heard.kept.len();
        heard.kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
        read += chunk.len();
        if read > MAX_READ {
            break;
        }
    }
    Ok(())
}

/// Waits until there is a connection.
async fn in_use(connection: &mut CaptureConnection) -> Option<InUse> {
    let connected = connection.wait_for_connection_metadata().await;
    let mut extras = Extensions::new();
    connected.as_ref()?.get_extras(&mut extras);
    extras.remove::<Mark>().map(Mark::begin)
}

/// The head of an answer. A value that is no text says nothing.
fn answer(response: &Response<Incoming>, now: Timestamp) -> Answer {
    let headers = response.headers();
    let wishes = headers.get_all(names::header::WEBHOOK_DELIVERY).iter();
    Answer {
        status: response.status().as_u16(),
        retry_after: headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after::parse(value, now)),
        wish: ReceiverDirective::of(wishes.filter_map(|value| value.to_str().ok())),
    }
}

/// The same of an answer that the HTTP client has given up.
fn answer_of(head: &Head, now: Timestamp) -> Answer {
    Answer {
        status: head.status,
        retry_after: head.retry_after.as_deref().and_then(|value| retry_after::parse(value, now)),
        wish: ReceiverDirective::of(head.wishes.iter().map(String::as_str)),
    }
}

#[cfg(test)]
mod early;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod odd;
#[cfg(test)]
pub(super) mod tests;
