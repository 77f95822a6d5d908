//! One attempt: its request, the receiver's answer, and how the attempt ended.
//!
//! Invariant: every attempt is bounded. One timeout covers it, from the look-up of the name to the last byte of the
//! answer. At most 64 KiB of the answer are read, give or take one chunk, and at most 4 KiB of it are kept.

mod failure;
mod message;

use std::error::Error as StdError;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{Extensions, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::failure::Failure;
pub(super) use self::message::Message;
use self::message::{Outgoing, Signed};
use super::client::{Client, Clients, Error};
use super::connections::{ConnectionUse, InUse};
use super::raw_answer::{Head, RawAnswer};
use super::shortage::Shortage;
use super::{Options, log};
use crate::policy::after_attempt::{Answer, AttemptEnd, ReceiverDirective, problem};
use crate::policy::destination::DestinationPolicy;
use crate::policy::guard::{Guard, Refusal};
use crate::policy::retry_after;
use postback_store::Attempt;
use postback_wire::id::ReportId;
use postback_wire::names;
use postback_wire::report::Format;
use postback_wire::secret::Secret;
use postback_wire::signature;
use postback_wire::time::{Clock, Timestamp};
use postback_wire::webhook::Webhook;

/// The largest number of bytes that are read of an answer's body. A shorter body is read to its end, so that its
/// connection can be used again. The rest of a longer body is never read.
const MAX_READ: usize = 64 * 1_024;
/// The largest number of bytes that are kept of an answer's body.
const MAX_KEPT: usize = 4 * 1_024;
/// The size in bytes above which a body is large. A large body is signed on a separate thread, because signing 64 KiB
/// takes some hundred microseconds.
const LARGE: usize = 64 << 10;
/// How many idle connections the delivery closes when the operating system refuses to open more files.
const CLOSED_FOR_FILES: usize = 16;
/// The largest number of large bodies that are signed at the same time.
const MAX_SIGNING: usize = 4;

/// Makes the HTTP request of an attempt and reads the receiver's answer.
#[derive(Debug)]
pub(super) struct Sender {
    clients: Clients,
    guard: Guard,
    clock: Clock,
    /// The longest time that one attempt may take, in microseconds.
    timeout: AtomicU64,
    /// Limits how many large bodies are signed at the same time.
    signing: Semaphore,
}

/// The result of an attempt.
#[derive(Debug)]
pub(super) struct AttemptResult {
    pub(super) attempt: Attempt,
    pub(super) end: AttemptEnd,
    /// Whether a connection to the receiver was opened.
    pub(super) connected: bool,
    /// If nothing was sent because this machine lacked a resource, the resource that it lacked. Otherwise `None`.
    pub(super) shortage: Option<Shortage>,
    /// Whether the receiver said that it has not processed the request. If so, the request can be sent again (RFC 9113,
    /// 8.7).
    pub(super) unprocessed: bool,
}

/// The part of the receiver's answer that has arrived so far.
#[derive(Default)]
struct Received {
    connection: Option<CaptureConnection>,
    answer: Option<Answer>,
    body: BytesMut,
}

impl Received {
    fn has_connected(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.connection_metadata().is_some())
    }

    fn raw_answer(&self) -> Option<RawAnswer> {
        let mut extras = Extensions::new();
        self.connection.as_ref()?.connection_metadata().as_ref()?.get_extras(&mut extras);
        extras.remove()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn signed(secrets: &[Secret], id: &str, request: Option<&str>, timestamp: i64, body: &[u8]) -> Signed {
    Signed {
        standard: signature::sign(secrets, id, timestamp, body),
        as_fal: request
            .and_then(|request| signature::sign_as_fal(secrets, request, message::FAL_USER, timestamp, body)),
    }
}

impl Sender {
    pub(super) fn new(options: &Options, clock: Clock) -> Result<Self, Error> {
        let guard = options.guard();
        let clients = Clients::new(options, &guard)?;
        Ok(Self {
            clients,
            guard,
            clock,
            timeout: AtomicU64::new(micros(options.timeout)),
            signing: Semaphore::new(MAX_SIGNING),
        })
    }

    /// Replaces the options that may change while attempts are in flight.
    pub(super) fn replace(&self, options: &Options) {
        self.timeout.store(micros(options.timeout), Ordering::Relaxed);
        self.clients.connections().set_most(options.connections());
    }

    /// Makes one attempt: sends the message to `webhook`.
    pub(super) async fn send(
        &self,
        message: Message<'_>,
        webhook: &Webhook,
        policy: &DestinationPolicy<'_>,
    ) -> AttemptResult {
        let timeout = Duration::from_micros(self.timeout.load(Ordering::Relaxed));
        let (trace, span) = (message.trace(), message.span);
        let Message { id, body, subject, .. } = message;
        let (started, begun) = (self.clock.now(), Instant::now());
        if let Err(refusal) = self.check(webhook, policy) {
            return AttemptResult::refused(started, &refusal);
        }
        let timestamp = started.unix_seconds();
        let format = webhook.own_format().unwrap_or_default();
        let request = (format == Format::Fal).then_some(subject);
        let signed = self.sign((id, request), policy, timestamp, &body).await;
        let outgoing = Outgoing { id, trace, span, webhook, format, timestamp, signed, subject, body };
        let client = self.clients.of(policy.reach, webhook.url());
        let mut received = Received::default();
        let exchange = exchange_or_repeat(client, &outgoing, &self.clock, &mut received);
        let exchanged = tokio::time::timeout(timeout, exchange).await;
        let raw_answer = received.raw_answer();
        self.take_raw_answer(id, raw_answer.as_ref(), &mut received);
        let mut result = match (received.answer, exchanged) {
            // If a status has arrived, only the status decides whether the report is delivered, even if the rest of the
            // answer does not arrive.
            (Some(answer), _) => AttemptResult::ended(started, AttemptEnd::Answered(answer), problem(answer)),
            (None, Ok(Err(error))) => {
                let is_tls = raw_answer.is_some_and(|raw_answer| raw_answer.is_tls());
                self.failed(started, &*error, received.has_connected(), is_tls)
            }
            (None, Ok(Ok(())) | Err(_)) => {
                let error = format!("timed out after {}", log::spoken(timeout));
                AttemptResult::ended(started, AttemptEnd::Failed, Some(error))
            }
        };
        result.connected = received.has_connected();
        result.attempt.took = begun.elapsed();
        result.attempt.status = received.answer.map(|answer| answer.status);
        result.attempt.response = received.body.freeze();
        result
    }

    fn check(&self, webhook: &Webhook, policy: &DestinationPolicy<'_>) -> Result<(), Refusal> {
        self.guard.check_url(webhook.url(), policy.reach)?;
        self.clients.check_own(webhook.url(), policy.reach)
    }

    /// Signs the body. `request`: as fal does, too, for this request. A large body is signed on another thread, because
    /// signing it on this thread would delay all other deliveries of this thread.
    async fn sign(
        &self,
        (id, request): (ReportId, Option<&str>),
        policy: &DestinationPolicy<'_>,
        timestamp: i64,
        body: &Bytes,
    ) -> Signed {
        let id = id.to_string();
        if body.len() <= LARGE || policy.secrets.is_empty() {
            return signed(&policy.secrets, &id, request, timestamp, body);
        }
        // `acquire` does not fail, because this semaphore is never closed.
        let Ok(_permit) = self.signing.acquire().await else { return Signed::default() };
        let (secrets, body, request) = (policy.secrets.to_vec(), body.clone(), request.map(str::to_owned));
        // The signing task fails only if the process ends or if the signing code panicked. In this case, the report is
        // sent unsigned, and its receiver rejects it.
        let signing = move || signed(&secrets, &id, request.as_deref(), timestamp, &body);
        tokio::task::spawn_blocking(signing).await.unwrap_or_default()
    }

    /// Reads the head of the answer from the bytes that the connection received. Does this only if the HTTP client has
    /// rejected the answer.
    fn take_raw_answer(&self, id: ReportId, raw_answer: Option<&RawAnswer>, received: &mut Received) {
        let head = raw_answer.and_then(|raw_answer| raw_answer.take(&id.to_string()));
        if received.answer.is_none()
            && let Some(head) = head
        {
            received.answer = Some(answer_of_head(&head, self.clock.now()));
        }
    }

    /// Returns the result of an attempt that ended with an error and without an answer.
    fn failed(
        &self,
        started: Timestamp,
        error: &(dyn StdError + 'static),
        has_connected: bool,
        is_tls: bool,
    ) -> AttemptResult {
        let ended = |end, words| AttemptResult::ended(started, end, Some(words));
        match Failure::of(error) {
            // The resolver returned a forbidden address for the host name in the URL. The host cannot be a forbidden
            // address itself, because such a URL is refused before the request.
            Failure::Refused(refusal) => ended(AttemptEnd::ForbiddenAddress, refusal.to_string()),
            // If no connection was opened, nothing was sent, so the attempt does not count in the schedule. If a
            // connection was opened, a part of the request may have been sent, so the attempt counts.
            Failure::Short(shortage, words) if !has_connected => {
                if shortage == Shortage::Files {
                    self.clients.connections().close_idle(CLOSED_FOR_FILES);
                }
                AttemptResult { shortage: Some(shortage), ..ended(AttemptEnd::NotMade, words) }
            }
            Failure::Unprocessed(words) => AttemptResult { unprocessed: true, ..ended(AttemptEnd::Failed, words) },
            Failure::Other(_) if is_tls => ended(AttemptEnd::Failed, failure::TLS_EXPECTED.into()),
            Failure::Other(words) | Failure::Short(_, words) => ended(AttemptEnd::Failed, words),
        }
    }
}

impl AttemptResult {
    /// Returns a word for what went wrong, if there was no answer.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        match self.end {
            AttemptEnd::Answered(_) => None,
            AttemptEnd::Failed => Some("failed"),
            AttemptEnd::Refused | AttemptEnd::ForbiddenAddress => Some("refused"),
            AttemptEnd::NotMade => Some("not_made"),
        }
    }

    /// Returns the result for a report that the delivery must not send. `reason` says why. Nothing was sent.
    pub(super) fn refused(started: Timestamp, reason: &(dyn StdError + 'static)) -> Self {
        Self::ended(started, AttemptEnd::Refused, Some(log::with_sources(reason)))
    }

    fn ended(started: Timestamp, end: AttemptEnd, error: Option<String>) -> Self {
        let attempt = Attempt { started, took: Duration::ZERO, status: None, error, response: Bytes::new() };
        Self { attempt, end, connected: false, shortage: None, unprocessed: false }
    }
}

type BoxError = Box<dyn StdError + Send + Sync>;

/// Sends the request. If the receiver says that it has not processed the request, sends the request once more without a
/// pause. Usually such a receiver is being restarted, or it accepts fewer streams at the same time than it had
/// announced.
async fn exchange_or_repeat(
    client: &Client,
    outgoing: &Outgoing<'_>,
    clock: &Clock,
    received: &mut Received,
) -> Result<(), BoxError> {
    match exchange(client, outgoing, clock, received).await {
        Err(error) if failure::is_unprocessed(&*error) => {
            *received = Received::default();
            exchange(client, outgoing, clock, received).await
        }
        other => other,
    }
}

/// Sends the request and reads the answer.
async fn exchange(
    client: &Client,
    outgoing: &Outgoing<'_>,
    clock: &Clock,
    received: &mut Received,
) -> Result<(), BoxError> {
    let mut request = outgoing.request()?;
    let mut connection = capture_connection(&mut request);
    received.connection = Some(connection.clone());
    let mut responding = pin!(client.request(request));
    // While this guard lives, the connection counts as in use. A connection in use is never closed to make room for a
    // connection to another host. The guard lives until the answer is read.
    let (mut response, _in_use) = tokio::select! {
        biased;
        in_use = in_use(&mut connection) => (responding.await?, in_use),
        response = &mut responding => (response?, None),
    };
    received.answer = Some(answer_of_response(&response, clock.now()));
    let mut read = 0;
    // The HTTP client never decompresses the body, so a small compressed body cannot become large in memory.
    while let Some(frame) = response.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        let room = MAX_KEPT - received.body.len();
        received.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        read += chunk.len();
        if read > MAX_READ {
            break;
        }
    }
    Ok(())
}

/// Waits until the request has a connection, and marks this connection as in use.
async fn in_use(connection: &mut CaptureConnection) -> Option<InUse> {
    let connected = connection.wait_for_connection_metadata().await;
    let mut extras = Extensions::new();
    connected.as_ref()?.get_extras(&mut extras);
    extras.remove::<ConnectionUse>().map(ConnectionUse::begin)
}

/// Reads the parts of an answer's head that decide what happens to the report. Header values that are not text are
/// ignored.
fn answer_of_response(response: &Response<Incoming>, now: Timestamp) -> Answer {
    let headers = response.headers();
    let directives = headers.get_all(names::header::WEBHOOK_DELIVERY).iter();
    Answer {
        status: response.status().as_u16(),
        retry_after: headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after::parse(value, now)),
        directive: ReceiverDirective::of(directives.filter_map(|value| value.to_str().ok())),
    }
}

/// Makes an `Answer` from `head`. The delivery itself read this head from the bytes of the connection, because the HTTP
/// client rejected the answer.
fn answer_of_head(head: &Head, now: Timestamp) -> Answer {
    Answer {
        status: head.status,
        retry_after: head.retry_after.as_deref().and_then(|value| retry_after::parse(value, now)),
        directive: ReceiverDirective::of(head.directives.iter().map(String::as_str)),
    }
}

#[cfg(test)]
mod early_answers;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod odd_answers;
#[cfg(test)]
pub(super) mod tests;
