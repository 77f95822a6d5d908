//! Opens connections within a timeout, and limits how many bytes a receiver may send on a connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

use super::connections::{ConnectionPermit, Connections};
use super::dial::Dial;
#[cfg(all(feature = "testing", feature = "server"))]
use super::in_memory::InMemory;
use super::line::Line;
use super::raw_answer::{RawAnswer, is_closed};

/// The longest time that connecting may take, from the look-up of the host name to the end of the TLS handshake.
const TIMEOUT: Duration = Duration::from_secs(10);
/// If no byte was sent or received for this time, TCP sends a keep-alive probe. TCP repeats the probe after the same
/// time.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// If this many keep-alive probes in a row get no answer, TCP closes the connection.
const KEEPALIVE_PROBES: u32 = 3;
/// The largest number of bytes that a receiver may send after each HTTP request that this server sends. A normal answer
/// is much shorter. The limit stops a receiver that sends interim answers (1xx) without end, because the HTTP client
/// skips them without a timeout.
const MAX_ANSWER: usize = 1 << 20;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The error if a connection was not opened in time.
#[derive(Debug, thiserror::Error)]
#[error("timed out while connecting")]
pub(super) struct TimedOut;

/// The error if a receiver sent more than [`MAX_ANSWER`] bytes before the next request.
#[derive(Debug, thiserror::Error)]
#[error("the answer does not begin within {} KiB", MAX_ANSWER >> 10)]
struct TooMuch;

/// Opens connections for the HTTP clients.
#[derive(Clone)]
pub(super) struct Connect {
    https: HttpsConnector<HttpConnector<Dial>>,
    connections: Connections,
    /// Opens the connections in place of `https`.
    #[cfg(all(feature = "testing", feature = "server"))]
    in_memory: Option<InMemory>,
}

impl Connect {
    pub(super) fn new(dial: Dial, tls: Arc<ClientConfig>, connections: Connections) -> Self {
        let mut http = HttpConnector::new_with_resolver(dial);
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(TIMEOUT));
        http.set_keepalive(Some(KEEPALIVE));
        http.set_keepalive_interval(Some(KEEPALIVE));
        http.set_keepalive_retries(Some(KEEPALIVE_PROBES));
        Self {
            https: (http, tls).into(),
            connections,
            #[cfg(all(feature = "testing", feature = "server"))]
            in_memory: None,
        }
    }

    /// Opens connections in memory, if `in_memory` says how.
    #[cfg(all(feature = "testing", feature = "server"))]
    pub(super) fn within(self, in_memory: Option<InMemory>) -> Self {
        Self { in_memory, ..self }
    }

    /// Opens a connection, without limits of time or number.
    fn line(&mut self, uri: Uri) -> BoxFuture<'static, Result<Line, BoxError>> {
        #[cfg(all(feature = "testing", feature = "server"))]
        if let Some(in_memory) = &self.in_memory {
            let stream = in_memory.open(uri);
            return Box::pin(std::future::ready(Ok(Line::Memory(stream))));
        }
        let connecting = self.https.call(uri);
        Box::pin(async move { Ok(Line::Net(TokioIo::new(connecting.await?))) })
    }
}

impl Service<Uri> for Connect {
    type Response = TokioIo<Bounded>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, connections) = (self.line(uri), self.connections.clone());
        Box::pin(async move {
            let permit = connections.open().await?;
            let stream = tokio::time::timeout(TIMEOUT, connecting).await.map_err(|_| TimedOut)??;
            // HTTP/2 needs no limit here, because its flow control and its limits on headers already limit the answer.
            let left = if stream.connected().is_negotiated_h2() { None } else { Some(MAX_ANSWER) };
            let (raw_answer, write_error) = (RawAnswer::default(), None);
            Ok(TokioIo::new(Bounded { stream, left, permit, raw_answer, write_error }))
        })
    }
}

pin_project! {
    /// A connection that closes itself in two cases: its receiver sends too many bytes, or the connection is idle and a
    /// new connection would exceed the limit of open connections.
    ///
    /// A receiver may answer and close the connection before it has read the whole request. Then writes fail, but the
    /// answer can still be read. So the error of a write is kept, and `poll_read` returns this error when no more bytes
    /// arrive.
    pub(super) struct Bounded {
        #[pin]
        stream: Line,
        // How many bytes may still arrive before the next request is sent. `None` means that there is no limit.
        left: Option<usize>,
        permit: ConnectionPermit,
        raw_answer: RawAnswer,
        write_error: Option<io::Error>,
    }
}

impl AsyncRead for Bounded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        if *this.left == Some(0) {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        // This result reports the end of the stream, as if the receiver had closed the connection. So the client
        // removes the connection from its pool.
        if this.permit.is_to_close(cx) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = ready!(this.stream.poll_read(cx, buf));
        let come = &buf.filled()[before..];
        if (read.is_err() || come.is_empty())
            && let Some(error) = this.write_error.take()
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
    /// Returns the result of a write of `all` bytes. If the receiver has closed the connection, the error is kept in
    /// `write_error`, and the write counts as successful.
    fn written(write_error: &mut Option<io::Error>, written: io::Result<usize>, all: usize) -> io::Result<usize> {
        match written {
            Err(error) if is_closed(&error) => {
                *write_error = Some(error);
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
        if this.write_error.is_some() {
            return Poll::Ready(Ok(all));
        }
        if let (Some(left), Some(first)) = (this.left, bufs.first()) {
            *left = MAX_ANSWER;
            this.raw_answer.written(first);
        }
        let written = ready!(this.stream.poll_write_vectored(cx, bufs));
        Poll::Ready(Self::written(this.write_error, written, all))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        if this.write_error.is_some() {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(this.stream.poll_flush(cx)).map(|()| 0);
        Poll::Ready(Self::written(this.write_error, flushed, 0).map(drop))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_shutdown(cx)
    }
}

impl Connection for Bounded {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.permit.usage()).extra(self.raw_answer.clone())
    }
}
