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

use super::connections::{Connections, Opened};
use super::dial::Dial;

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
            let opened = connections.open().await?;
            let stream = tokio::time::timeout(TIMEOUT, connecting).await.map_err(|_| TimedOut)??;
            // HTTP/2 has no interim answers without end: its flow control and its limits of headers bound all.
            let left = if stream.connected().is_negotiated_h2() { None } else { Some(MOST_HEARD) };
            Ok(TokioIo::new(Bounded { stream: TokioIo::new(stream), left, opened }))
        })
    }
}

pin_project! {
    /// A connection that ends when its receiver says too much, or as it is idle and another one needs its place.
    pub(super) struct Bounded {
        #[pin]
        stream: TokioIo<Stream>,
        // Until the next request; `None`: no bound.
        left: Option<usize>,
        opened: Opened,
    }
}

impl AsyncRead for Bounded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        if *this.left == Some(0) {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        // As if the receiver had closed it: who has pooled it knows what to do.
        if this.opened.is_to_close(cx) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(this.stream.poll_read(cx, buf))?;
        if let Some(left) = this.left {
            *left = left.saturating_sub(buf.filled().len() - before);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        *this.left = this.left.map(|_| MOST_HEARD);
        this.stream.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        *this.left = this.left.map(|_| MOST_HEARD);
        this.stream.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_shutdown(cx)
    }
}

impl Connection for Bounded {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.opened.mark())
    }
}
