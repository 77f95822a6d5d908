//! One call, from the head of its request to the end of its answer: which requests are refused before a route sees
//! them, and what happens to a body that the route did not read.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http::{Method, Request, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::lingering_close::{AllRead, MAX_BYTES, MAX_PAUSE, MAX_TIME};
use super::open_connections::ActiveCall;
use super::problem::Form;
use super::{head, methods, target};

/// The largest number of remaining bytes of a request body that the server reads after the route has answered. If the
/// server reads the whole rest of the body, the client can use the connection for its next request.
const SHORT: u64 = 64 << 10;
/// The longest time for which the server delays an answer to read the rest of the request's body.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// The value of the header `allow`, which lists the methods, in the answer to the request `OPTIONS *`.
const METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";

/// Answers an HTTP request. Sets `all_read` if the server has read the whole request, or if the connection uses HTTP/2.
pub(super) async fn answer(
    router: Router,
    request: Request<Incoming>,
    all_read: AllRead,
    call: ActiveCall,
) -> Result<Response<AnswerBody>, Infallible> {
    all_read.head_is_read();
    let (head, body) = request.into_parts();
    let body = RequestBody::new(body);
    let is_http1 = head.version < Version::HTTP_2;
    let is_head = head.method == Method::HEAD;
    // A client that sends the header `expect: 100-continue` sends the body only when the server begins to read the
    // body. If the server read a body that the route did not need, the client would send the body for nothing.
    let may_read = is_http1 && !head.headers.contains_key(EXPECT);
    let (mut response, mut closes) = match head::check(&head) {
        Ok(()) if head::is_for_server(&head) => (methods::options(METHODS), false),
        Ok(()) => (route(router, head, body.clone()).await, false),
        Err(problem) => (problem.respond(Form::of(&head.headers)), true),
    };
    if is_head {
        without_body(&mut response);
    }
    if is_http1 {
        closes |= !(body.is_read() || may_read && body.is_short() && body.read_rest().await);
        if closes {
            // The server cannot use this connection again, because a part of the body is unread. The header
            // `connection: close` tells the client not to send its next request on this connection.
            head::close(response.headers_mut());
        }
    }
    if !is_http1 {
        all_read.set_http2();
    } else if body.is_read() {
        all_read.set();
    }
    let unread =
        (!is_http1 && !body.is_read()).then(|| Box::pin(body.drop_rest()) as Pin<Box<dyn Future<Output = ()> + Send>>);
    Ok(response.map(|body| AnswerBody { body, unread, _call: call }))
}

/// Lets the router answer a request whose head is valid.
async fn route(router: Router, mut head: Parts, body: RequestBody) -> Response {
    match target::normalised(&head.uri) {
        Ok(None) => {}
        Ok(Some(uri)) => head.uri = uri,
        Err(problem) => return problem.respond(Form::of(&head.headers)),
    }
    let Ok(response) = router.oneshot(Request::from_parts(head, Body::new(body))).await;
    response
}

/// Removes the body of the answer to a `HEAD`. The header `content-length` says how long the body of a `GET` would be.
/// hyper does this only on HTTP/1.
pub(super) fn without_body(response: &mut Response) {
    let body = std::mem::take(response.body_mut());
    let length = body.size_hint().exact().filter(|_| response.status() != StatusCode::NO_CONTENT);
    // A route may have dropped a body whose length is not known, such as a stream of events. Then the length seems to be
    // zero.
    if let Some(length) = length.filter(|length| *length > 0) {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
}

/// The body of an HTTP request. All clones of this value read from the same body. The route reads first. After the
/// route has answered, this module reads the bytes that the route did not read.
#[derive(Clone)]
struct RequestBody(Arc<Mutex<BodyState>>);

struct BodyState {
    body: Incoming,
    /// Whether the whole body was read.
    read: bool,
}

impl RequestBody {
    fn new(body: Incoming) -> Self {
        let read = body.is_end_stream();
        Self(Arc::new(Mutex::new(BodyState { body, read })))
    }

    fn is_read(&self) -> bool {
        self.lock().read
    }

    fn is_short(&self) -> bool {
        self.lock().body.size_hint().lower() <= SHORT
    }

    /// Reads the rest of the body, but at most [`SHORT`] bytes and for at most [`MAX_WAIT`]. Returns whether the whole
    /// body was read.
    async fn read_rest(&self) -> bool {
        let mut rest = self.clone();
        let read = async {
            let mut length = 0;
            while let Some(Ok(frame)) = rest.frame().await {
                length += frame.data_ref().map_or(0, |piece| piece.len() as u64);
                if length > SHORT {
                    break;
                }
            }
        };
        let _ = timeout(MAX_WAIT, read).await;
        self.is_read()
    }

    /// Reads and drops the rest of the body, within the limits of [`lingering_close`](super::lingering_close). The
    /// server must read the rest because some HTTP/2 clients report an error if the stream ends before they have sent
    /// the whole body.
    async fn drop_rest(self) {
        let (mut rest, mut dropped) = (self, 0);
        let read = async {
            while let Ok(Some(Ok(frame))) = timeout(MAX_PAUSE, rest.frame()).await {
                dropped += frame.data_ref().map_or(0, Bytes::len);
                if dropped >= MAX_BYTES {
                    break;
                }
            }
        };
        let _ = timeout(MAX_TIME, read).await;
    }

    fn lock(&self) -> MutexGuard<'_, BodyState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut state = self.lock();
        let frame = ready!(Pin::new(&mut state.body).poll_frame(cx));
        // A body that ends with an error does not count as read, because the server cannot find where the next request
        // begins on the connection.
        state.read |= frame.is_none() || matches!(&frame, Some(Ok(_)) if state.body.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}

/// The body of an answer. The connection counts the HTTP call as active until this value is dropped.
pub(super) struct AnswerBody {
    body: Body,
    /// A future that reads and drops the rest of the request's body. The answer is complete only after this future has
    /// ended.
    unread: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _call: ActiveCall,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            return Poll::Ready(Some(frame));
        }
        if let Some(unread) = &mut self.unread {
            ready!(unread.as_mut().poll(cx));
            self.unread = None;
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.unread.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
