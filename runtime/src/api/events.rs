//! `GET ROUTE/{id}/events`: each change of the status of a request, and its progress, as server-sent events.
//!
//! - Nothing is lost over reconnects: events are made from the stored request, see [`frames`]. A client that sends the
//!   id of its last event gets those after it. Of the progress, only the last one is stored.
//! - An idle stream costs a timer and a place in two maps. It reads the store only after a change of its request.
//! - A client that does not read is cut off as with any other answer, see [`answer_memory`](super::answer_memory).
//! - The stream goes on while the node drains, so that its client learns how the request ends. It ends when the server
//!   stops.

mod frames;
mod open_streams;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::unfold;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use url::form_urlencoded;

use self::frames::{COMMENT, Key};
pub(super) use self::open_streams::OpenStreams;
use self::open_streams::{OF_CONNECTION, OpenStream, Party};
use super::answer_memory::AnswerSlot;
use super::open_connections::{Connection, StreamOfConnection, network};
use super::problem::{Code, Form, Problem};
use super::result;
use super::status::{is_theirs, unanswered};
use super::streamed_answer::{AnswerError, AnswerText, StreamedBody};
use super::{Api, embedded, gate};
use crate::access::{Caller, ClientAddress, Scope};
use crate::handler::Route;
use postback_store::{Error, Stage, Timeline, Watch};
use postback_wire::id::RequestId;
use postback_wire::names::metric;

/// The last segment of the path of a stream.
pub(super) const SEGMENT: &str = "events";
/// The time after which a stream without an event sends a comment, so that no proxy takes the connection for dead.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// How many milliseconds a client should wait before it connects again, if its connection breaks.
const RETRY: u32 = 1_000;
/// How many milliseconds a client should wait before it connects again, if the server stops.
const RETRY_AFTER_STOP: u32 = 5_000;
/// The largest number of events that are sent as one piece.
const AT_ONCE: usize = 64;
/// The largest result, in bytes, that is part of the last event. A larger result is read with its own call.
const MAX_RESULT: usize = 64 << 10;
/// The largest number of streams that read the store at the same time. The other readers stay for other calls, also if
/// very many clients follow one request.
const READS: usize = 2;

/// What all event streams share.
pub(super) struct Events {
    open: Arc<OpenStreams>,
    reads: Semaphore,
}

impl Events {
    /// Makes the limits for a server with at most this number of connections.
    pub(super) fn new(connections: usize) -> Self {
        Self { open: OpenStreams::new(connections), reads: Semaphore::new(READS) }
    }
}

/// Answers an HTTP `GET` for the events of one request.
pub(super) async fn call(api: Arc<Api>, route: Arc<Route>, mut request: Request) -> Response {
    let form = Form::of(request.headers());
    let caller = match gate::permit(request.extensions(), Scope::Read, &route.path) {
        Ok(caller) => caller,
        Err(problem) => return problem.respond(form),
    };
    let connection: Option<Arc<Connection>> = request.extensions_mut().remove();
    let address = request.extensions().get::<ClientAddress>().map(|ClientAddress(address)| network(*address));
    let party = match (&caller.token, address) {
        (None, Some(address)) => Party::Address(address),
        _ => Party::Token(caller.owner()),
    };
    let head = request.into_parts().0;
    let text = head.uri.path().rsplit('/').nth(1).unwrap_or_default();
    let last = last_event(&head.headers, head.uri.query().unwrap_or_default());
    let base = format!("{}{}", embedded::below(&head.extensions), route.path);
    let answer = answer(api, (&route, &base), caller, (connection, party), text, last).await;
    answer.unwrap_or_else(|problem| problem.respond(form))
}

/// Returns the key of the last event that the client has. Returns `None` if the client has no event, or if the id that
/// it sends is no id of an event. Such a client gets all events.
fn last_event(headers: &HeaderMap, query: &str) -> Option<Key> {
    // A browser sends the header. Its constructor takes no headers, so a page that was loaded again uses the query.
    match headers.get("last-event-id") {
        Some(value) => Key::parse(value.to_str().ok()?),
        None => form_urlencoded::parse(query.as_bytes())
            .find_map(|(key, value)| (key == "last_event_id").then(|| Key::parse(&value))?),
    }
}

async fn answer(
    api: Arc<Api>,
    (route, base): (&Route, &str),
    caller: Caller,
    (connection, party): (Option<Arc<Connection>>, Party),
    text: &str,
    last: Option<Key>,
) -> Result<Response, Problem> {
    let id: RequestId = text.parse().map_err(|_| Problem::unknown_id(text))?;
    let of_connection = connection.as_ref().map(|connection| connection.stream(OF_CONNECTION));
    let of_connection = of_connection.map(|stream| stream.ok_or_else(too_many_streams)).transpose()?;
    let open = api.events.open.open(party).ok_or_else(too_many_streams)?;
    let watch = Arc::new(api.store.watch(&id));
    let timeline = read(&api, &id).await.map_err(|error| unanswered(&api, &error))?;
    api.unreadable.over();
    let timeline = timeline.filter(|timeline| is_theirs(&timeline.summary, route, &caller));
    let timeline = timeline.ok_or_else(|| Problem::unknown_id(text))?;
    let events = frames::events(&timeline);
    let sent = last.filter(|last| last.was_told(&events));
    if sent.is_some_and(Key::is_end) {
        // The client has all events. The specification of EventSource makes it stop at this status.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let slot = api.answers.enter_stream(connection).await;
    let slot = slot.ok_or_else(|| {
        Problem::new(Code::Overloaded, "too many answers wait for clients that do not read; try again")
    })?;
    let result_url = format!("{base}/{id}/{}", result::SEGMENT);
    let first = Some(frames::retry(RETRY));
    let stream = Stream {
        api,
        caller,
        id,
        watch,
        slot,
        result_url,
        sent,
        change: None,
        first,
        tail: None,
        _open: (open, of_connection),
    };
    let mut response = Response::new(Body::from_stream(unfold(stream, Stream::next)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would otherwise hold events back until its buffer is full.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

fn too_many_streams() -> Problem {
    metrics::counter!(metric::EVENT_STREAMS_REFUSED).increment(1);
    let what = "too many event streams are open; close some, or use GET with ?wait=N, and try again";
    Problem::new(Code::TooManyEventStreams, what).retry_after(5)
}

async fn read(api: &Api, id: &RequestId) -> Result<Option<Timeline>, Error> {
    // Invariant: the call cannot fail, because the semaphore is never closed.
    let _turn = api.events.reads.acquire().await;
    api.store.timeline(id).await
}

/// An open event stream.
struct Stream {
    api: Arc<Api>,
    /// Who reads. The stream ends soon after the token of the caller is no longer valid.
    caller: Caller,
    id: RequestId,
    watch: Arc<Watch>,
    slot: Arc<AnswerSlot>,
    /// The path of the result, for a result that is too large for an event.
    result_url: String,
    /// The key of the last event that was sent.
    sent: Option<Key>,
    /// Ready after the next change of the request. `None`: the request must be read first.
    change: Option<BoxFuture<'static, ()>>,
    /// The text before the first event. `None` if it was sent.
    first: Option<String>,
    /// How the stream ends. `None` while it goes on.
    tail: Option<Tail>,
    _open: (OpenStream, Option<StreamOfConnection>),
}

enum Tail {
    /// The request has ended. This is its last event.
    Ended(Box<StreamedBody>),
    /// The server stops.
    Stopped,
}

impl Stream {
    /// Returns the next bytes of the stream. Returns `None` at the end.
    async fn next(mut self) -> Option<(Result<Bytes, AnswerError>, Self)> {
        loop {
            match &mut self.tail {
                None => {}
                Some(Tail::Stopped) => return None,
                Some(Tail::Ended(last)) => {
                    let piece = last.frame().await?.map(|frame| frame.into_data().unwrap_or_default());
                    return Some((piece, self));
                }
            }
            if self.slot.is_ended() {
                return Some((Err(AnswerError::TooSlow), self));
            }
            if let Some(change) = &mut self.change {
                let is_idle = tokio::select! {
                    biased;
                    () = self.api.shutdown.stopping() => return Some(self.stop()),
                    () = change => false,
                    () = tokio::time::sleep(COMMENT_EVERY) => true,
                };
                if !self.api.access.is_still_valid(&self.caller) {
                    return None;
                }
                if is_idle {
                    return Some(self.say(COMMENT));
                }
            }
            // The change is watched before the request is read, so that no change is missed.
            let mut change = next_change(Arc::clone(&self.watch));
            let changed_already = (&mut change).now_or_never().is_some();
            let timeline = match read(&self.api, &self.id).await {
                Ok(Some(timeline)) => timeline,
                // The request was deleted, so no more events follow.
                Ok(None) => return None,
                Err(error) => return Some((Err(AnswerError::Store(error)), self)),
            };
            self.change = (!changed_already).then_some(change);
            if let Some(text) = self.fresh(&timeline) {
                return Some(self.say(&text));
            }
        }
    }

    /// Returns the text of the next events that were not sent yet. Returns `None` if there are none. Prepares the last
    /// event if all other events are sent.
    fn fresh(&mut self, timeline: &Timeline) -> Option<String> {
        let mut text = self.first.take().unwrap_or_default();
        let sent = self.sent;
        let events = frames::events(timeline).into_iter().filter(|event| Some(event.key) > sent);
        let mut left = AT_ONCE;
        for event in events {
            if left == 0 {
                // The rest is sent after this piece.
                self.change = None;
                break;
            }
            left -= 1;
            if event.key.is_end() {
                self.tail = Some(Tail::Ended(Box::new(self.end_of(timeline, event.key))));
            } else {
                event.write(&self.id, &mut text);
            }
            self.sent = Some(event.key);
        }
        (!text.is_empty()).then_some(text)
    }

    /// Makes the last event: the members of the answer with the state of the request.
    fn end_of(&self, timeline: &Timeline, key: Key) -> StreamedBody {
        let mut summary = timeline.summary.clone();
        let mut more = None;
        if let Stage::Settled(end) = &mut summary.stage
            && end.result.as_ref().is_some_and(|result| result.len > MAX_RESULT)
        {
            end.result = None;
            more = Some(
                format!(",\"timestamp\":\"{}\",\"result_url\":\"{}\"", end.finished, self.result_url).into_bytes(),
            );
        }
        let text = AnswerText::of_event(&self.id, &summary, &frames::begin(key), more, frames::END);
        text.into_stream(Arc::clone(&self.slot), &self.api.store)
    }

    fn say(self, text: &str) -> (Result<Bytes, AnswerError>, Self) {
        (Ok(self.slot.piece(text.as_bytes())), self)
    }

    /// Tells the client when to come back, and ends the stream.
    fn stop(mut self) -> (Result<Bytes, AnswerError>, Self) {
        self.tail = Some(Tail::Stopped);
        self.say(&frames::retry(RETRY_AFTER_STOP))
    }
}

/// Returns a future that is ready after the next change of the watched request.
fn next_change(watch: Arc<Watch>) -> BoxFuture<'static, ()> {
    async move { watch.change().await }.boxed()
}
