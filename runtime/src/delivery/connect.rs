//! Opens connections, within a time, and bounds what comes back on them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::connections::{ConnectionPermit, Connections};
use super::dial::Dial;
use super::raw_answer::{RawAnswer, is_closed};

/// From the look-up to the end of the TLS handshake.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing moves is asked after this time whether it is still there, and then so often.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 3;
/// What a receiver may send after the last byte of a request, at most. An answer that is read ends far earlier. Interim
/// answers (1xx) without end are skipped where no timeout looks, so they are bounded here.
const MOST_HEARD: usize = 1 << 20;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// There was no connection in time.
#[derive(Debug, thiserror::Error)]
#[error("timed out while connecting")]
pub(super) struct TimedOut;

/// The receiver said more than is read of anybody.
#[derive(Debug, thiserror::Error)]
#[error("the answer does not begin within {} KiB", MOST_HEARD >> 10)]
struct TooMuch;

/// See the module.
#[derive(Clone)]
pub(super) struct Connect(HttpsConnector<HttpConnector<Dial>>, Connections);

impl Connect {
    pub(super) fn new(dial: Dial, tls: Arc<ClientConfig>, connections: Connections) -> Self {
        let mut http = HttpConnector::new_with_resolver(dial);
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(TIMEOUT));
        http.set_keepalive(Some(KEEPALIVE));
        http.set_keepalive_interval(Some(KEEPALIVE));
        http.set_keepalive_retries(Some(KEEPALIVE_TRIES));
        Self((http, tls).into(), connections)
    }
}

impl Service<Uri> for Connect {
    type Response = TokioIo<Bounded>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, connections) = (self.0.call(uri), self.1.clone());
        Box::pin(async move {
            let permit = connections.open().await?;
            let stream = tokio::time::timeout(TIMEOUT, connecting).await.map_err(|_| TimedOut)??;
            // HTTP/2 has no interim answers without end: its flow control and its limits of headers bound all.
            let left = if stream.connected().is_negotiated_h2() { None } else { Some(MOST_HEARD) };
            let (raw_answer, unsent) = (RawAnswer::default(), None);
            Ok(TokioIo::new(Bounded { stream: TokioIo::new(stream), left, permit, raw_answer, unsent }))
        })
    }
}

pin_project! {
    /// A connection that ends when its receiver says too much, or as it is idle and another one needs its place.
    ///
    /// A receiver may answer before it has read the whole request, and close. What is written then is lost, but what it
    /// has answered can be read: so the failure of a write is told by the read that finds nothing more.
    pub(super) struct Bounded {
        #[pin]
        stream: TokioIo<Stream>,
        // Until the next request; `None`: no bound.
        left: Option<usize>,
        permit: ConnectionPermit,
        raw_answer: RawAnswer,
        unsent: Option<io::Error>,
    }
}

impl AsyncRead for Bounded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        if *this.left == Some(0) {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        // As if the receiver had closed it: who has pooled it knows what to do.
        if this.permit.is_to_close(cx) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = ready!(this.stream.poll_read(cx, buf));
        let come = &buf.filled()[before..];
        if (read.is_err() || come.is_empty())
            && let Some(error) = this.unsent.take()
        {
            return Poll::Ready(Err(error));
        }
        read?;
        if let Some(left) = this.left {
            this.raw_answer.read(come);
            *left = left.saturating_sub(come.len());
        }
        Poll::Ready(Ok(()))
    }
}

impl Bounded {
    /// What a write has come to; see the type. `all` bytes were to be written.
    fn written(unsent: &mut Option<io::Error>, written: io::Result<usize>, all: usize) -> io::Result<usize> {
        match written {
            Err(error) if is_closed(&error) => {
                *unsent = Some(error);
                Ok(all)
            }
            other => other,
        }
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if this.unsent.is_some() {
            return Poll::Ready(Ok(all));
        }
        if let (Some(left), Some(first)) = (this.left, bufs.first()) {
            *left = MOST_HEARD;
            this.raw_answer.written(first);
        }
        let written = ready!(this.stream.poll_write_vectored(cx, bufs));
        Poll::Ready(Self::written(this.unsent, written, all))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        if this.unsent.is_some() {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(this.stream.poll_flush(cx)).map(|()| 0);
        Poll::Ready(Self::written(this.unsent, flushed, 0).map(drop))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_shutdown(cx)
    }
}

impl Connection for Bounded {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.permit.usage()).extra(self.raw_answer.clone())
    }
}
