//! A call, from its head to the end of its answer: what is refused before a route sees it, and what becomes of a body that the
//! route left unread.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, EXPECT};
use http::{HeaderValue, Request, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::head;
use super::linger::{AllRead, LONGEST, MOST, STILL};
use super::problem::Form;
use super::room::Call;

/// What of an unread body is read after its answer is known, to keep the connection.
const SHORT: u64 = 64 << 10;
/// How long the answer may wait for that.
const PATIENCE: Duration = Duration::from_secs(1);
/// What `OPTIONS *` is told.
const METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";

/// The answer to a request. `all_read` is told when nothing is left of the request.
pub(super) async fn answer(
    router: Router,
    request: Request<Incoming>,
    all_read: AllRead,
    call: Call,
) -> Result<Response<InHand>, Infallible> {
    let (head, body) = request.into_parts();
    let body = Reading::new(body);
    let is_http1 = head.version < Version::HTTP_2;
    // Reading would ask for a body that its client does not want to send in vain.
    let may_read = is_http1 && !head.headers.contains_key(EXPECT);
    let (mut response, mut closes) = match head::check(&head) {
        Ok(()) if head::is_of_server(&head) => (of_server(), false),
        Ok(()) => {
            let request = Request::from_parts(head, Body::new(body.clone()));
            let Ok(response) = router.oneshot(request).await;
            (response, false)
        }
        Err(problem) => (problem.respond(Form::of(&head.headers)), true),
    };
    if is_http1 {
        closes |= !(body.is_over() || may_read && body.is_short() && body.rest_comes().await);
        if closes {
            // What is left of the body ends the connection; a client that is not told would use it again.
            head::close(response.headers_mut());
        }
    }
    if !is_http1 {
        all_read.set_framed();
    } else if body.is_over() {
        all_read.set();
    }
    let unread =
        (!is_http1 && !body.is_over()).then(|| Box::pin(body.drop_rest()) as Pin<Box<dyn Future<Output = ()> + Send>>);
    Ok(response.map(|body| InHand { body, unread, _call: call }))
}

fn of_server() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    response
}

/// The body of a request, whoever reads it. All clones are one.
#[derive(Clone)]
struct Reading(Arc<Mutex<Came>>);

struct Came {
    body: Incoming,
    over: bool,
}

impl Reading {
    fn new(body: Incoming) -> Self {
        let over = body.is_end_stream();
        Self(Arc::new(Mutex::new(Came { body, over })))
    }

    /// All of it was read.
    fn is_over(&self) -> bool {
        self.lock().over
    }

    fn is_short(&self) -> bool {
        self.lock().body.size_hint().lower() <= SHORT
    }

    /// Reads what is left, if it is little and comes soon.
    async fn rest_comes(&self) -> bool {
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
        let _ = timeout(PATIENCE, read).await;
        self.is_over()
    }

    /// Reads what is left, within the bounds of [`linger`](super::linger). Some clients of HTTP/2 take a stream that ends before
    /// they have sent all for an error, whatever the answer was.
    async fn drop_rest(self) {
        let (mut rest, mut dropped) = (self, 0);
        let read = async {
            while let Ok(Some(Ok(frame))) = timeout(STILL, rest.frame()).await {
                dropped += frame.data_ref().map_or(0, Bytes::len);
                if dropped >= MOST {
                    break;
                }
            }
        };
        let _ = timeout(LONGEST, read).await;
    }

    fn lock(&self) -> MutexGuard<'_, Came> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Reading {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut came = self.lock();
        let frame = ready!(Pin::new(&mut came.body).poll_frame(cx));
        // What ended with an error is not over: nobody knows where the next request begins.
        came.over |= frame.is_none() || matches!(&frame, Some(Ok(_)) if came.body.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}

/// An answer whose call is in hand until it is gone.
pub(super) struct InHand {
    body: Body,
    /// What of the request is still to be dropped before the answer ends.
    unread: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _call: Call,
}

impl HttpBody for InHand {
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
