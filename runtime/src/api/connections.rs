//! Accepts connections, serves them, and ends them. How many there may be is decided in
//! [`open_connections`](super::open_connections).

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::lingering_close::{LingeringStream, SharedStream};
use super::open_connections::{Connection, OpenConnections};
use super::write_timeout::WriteTimeout;
use super::{Api, call};
use postback_store::shutdown::Shutdown;
use postback_wire::names::metric;

/// Calls at once on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// A client that has not sent the head of a request within this time is cut off. On HTTP/1 this also holds for each
/// further request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head of a request on HTTP/1, and the most bytes of an answer that are buffered before they go to the
/// socket.
const BUFFER: usize = 32 << 10;
/// Bytes that a client may send on an HTTP/2 connection, all its streams together, before it has to wait.
const CONNECTION_WINDOW: u32 = 512 << 10;
/// Bytes that a client may send on one HTTP/2 stream before it has to wait.
const STREAM_WINDOW: u32 = 256 << 10;
/// The time that active calls have when the server stops. It is shorter if less than this is left of the grace time,
/// plus [`AFTER_GRACE`].
const LAST_CALLS: Duration = Duration::from_secs(5);
/// The time that active calls have in any case when the server stops, even if the grace time is over.
const AFTER_GRACE: Duration = Duration::from_secs(2);
/// The time within which an idle connection must end when it is closed to make room.
const CLOSING: Duration = Duration::from_secs(1);
/// The pause after an error of `accept`, such as too many open files.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How often the server looks for stalled answers and idle connections.
const SWEEP: Duration = Duration::from_secs(1);
/// The log says at most once in this time that connections are refused.
const LOG_REFUSALS_EVERY: Duration = Duration::from_mins(1);
/// How long the server reads from a client that it has refused. If the bytes of the client stayed unread, the client
/// would get a reset instead of the refusal.
const REFUSED_READ_TIME: Duration = Duration::from_secs(5);
/// From at most this many refused clients the server reads at the same time. Further ones are closed at once.
const REFUSED_AT_ONCE: usize = 32;
/// The answer to a refused client. A client that speaks HTTP/2 only does not understand it.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 47\r\n\r\n\
    error: too many connections are open; try again";

type Builder = auto::Builder<TokioExecutor>;

/// Serves HTTP/1.1 and HTTP/2 until `api.shutdown` stops. While the node drains, connections are still accepted.
pub(super) async fn serve(listener: TcpListener, router: Router, api: &Api) {
    let mut acceptor = Acceptor {
        router,
        builder: builder(),
        shutdown: api.shutdown.clone(),
        open: OpenConnections::new(api.options.connections),
        limit: api.options.connections,
        tasks: JoinSet::new(),
        accept_errors: AcceptErrors::default(),
        refusals: Refusals::new(),
    };
    let mut sweep = tokio::time::interval(SWEEP);
    let mut drains_since = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = api.shutdown.stopping() => break,
            () = api.draining.stopping(), if drains_since.is_none() => {
                drains_since = Some(Instant::now());
                continue;
            }
            Some(_) = acceptor.tasks.join_next() => continue,
            now = sweep.tick() => {
                acceptor.open.sweep(now);
                api.answers.sweep(now);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => acceptor.accept(stream, peer.ip()),
            Err(error) => acceptor.accept_failed(&error).await,
        }
    }
    drop(listener);
    let grace_left = drains_since.map_or(api.grace, |since| api.grace.saturating_sub(since.elapsed()));
    acceptor.finish(LAST_CALLS.min(grace_left + AFTER_GRACE)).await;
}

/// Accepts connections, and holds the tasks that serve them.
struct Acceptor {
    router: Router,
    builder: Builder,
    shutdown: Shutdown,
    open: Arc<OpenConnections>,
    /// The most connections that may be open.
    limit: usize,
    /// One task for each connection.
    tasks: JoinSet<()>,
    accept_errors: AcceptErrors,
    refusals: Refusals,
}

impl Acceptor {
    /// Serves a connection in a task of its own, or refuses it if there are too many.
    fn accept(&mut self, stream: TcpStream, peer: IpAddr) {
        self.accept_errors.over();
        match self.open.admit(peer, Instant::now()) {
            Some(connection) => {
                let (builder, router, shutdown) = (self.builder.clone(), self.router.clone(), self.shutdown.clone());
                self.tasks.spawn(serve_one(builder, stream, router, connection, shutdown));
            }
            None => {
                if let Some(closing) = self.refusals.refuse(stream, self.limit) {
                    self.tasks.spawn(closing);
                }
            }
        }
    }

    async fn accept_failed(&mut self, error: &io::Error) {
        // Often the process has too many open files. An idle connection has one that the next connection can use.
        self.open.close_one();
        self.accept_errors.met(error);
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }

    /// Waits for the connections to end. After this time, those that are left are cut off.
    async fn finish(mut self, time: Duration) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(time, all).await.is_err() {
            tracing::warn!("{} connections were cut off after {} s", self.tasks.len(), time.as_secs());
        }
        self.tasks.shutdown().await;
    }
}

fn builder() -> Builder {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_send_buf_size(BUFFER)
        .max_concurrent_streams(STREAMS);
    builder
}

/// Serves one connection to its end.
async fn serve_one(
    builder: Builder,
    stream: TcpStream,
    router: Router,
    connection: Arc<Connection>,
    shutdown: Shutdown,
) {
    // Without `TCP_NODELAY`, a small answer may wait until the client has acknowledged the answer before it.
    let _ = stream.set_nodelay(true);
    let (stream, all_read) = LingeringStream::new(WriteTimeout::new(stream));
    let stream = SharedStream::new(stream);
    let has_called = Arc::new(AtomicBool::new(false));
    let (called, of_calls) = (Arc::clone(&has_called), Arc::clone(&connection));
    let service = service_fn(move |mut request: Request<Incoming>| {
        called.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(Arc::clone(&of_calls));
        call::answer(router.clone(), request, all_read.clone(), of_calls.call())
    });
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream.clone()), service));
    let mut cut_off = pin!(cut_off(&connection, &has_called));
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        () = cut_off.as_mut() => None,
        () = connection.close.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(CLOSING, served.as_mut()).await.ok()
        }
        () = shutdown.stopping() => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served.as_mut() => Some(ended),
                () = cut_off.as_mut() => None,
            }
        }
    };
    match ended {
        None => {}
        Some(Err(error)) => tracing::debug!("a connection ended early: {error}"),
        Some(Ok(())) => tokio::select! {
            biased;
            () = stream.finish() => {}
            () = connection.cut.cancelled() => {}
            () = connection.close.cancelled() => {}
        },
    }
}

/// Returns when the connection has to end at once: it is cut off, or no request has come within [`HEADER_TIMEOUT`].
/// hyper has no time limit of its own for the first bytes, by which it recognises the version of HTTP.
async fn cut_off(connection: &Connection, has_called: &AtomicBool) {
    let silence = async {
        tokio::time::sleep(HEADER_TIMEOUT).await;
        if has_called.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = silence => {}
        () = connection.cut.cancelled() => {}
    }
}

/// The number of errors of `accept` in a row. The log says when they begin and when they are over.
#[derive(Default)]
struct AcceptErrors(u32);

impl AcceptErrors {
    fn met(&mut self, error: &io::Error) {
        if self.0 == 0 {
            tracing::warn!("no connection can be accepted: {error}; the server goes on trying");
        }
        self.0 = self.0.saturating_add(1);
        metrics::counter!(metric::CONNECTIONS_REFUSED, "reason" => "accept").increment(1);
    }

    fn over(&mut self) {
        if self.0 > 0 {
            tracing::info!("connections are accepted again, after {} failures", self.0);
        }
        self.0 = 0;
    }
}

/// Refuses connections for which there is no room.
struct Refusals {
    /// When the log last said that connections are refused.
    logged: Option<Instant>,
    read_from: Arc<Semaphore>,
}

impl Refusals {
    fn new() -> Self {
        Self { logged: None, read_from: Arc::new(Semaphore::new(REFUSED_AT_ONCE)) }
    }

    /// Refuses a connection. Returns what is left to do until it is closed. `None` if the server reads from too many
    /// refused clients already: then the connection is closed at once.
    fn refuse(&mut self, mut stream: TcpStream, limit: usize) -> Option<impl Future<Output = ()> + Send + use<>> {
        // The send buffer of a new socket is empty, so this short answer fits into it, and the write does not have to
        // wait.
        let _ = stream.try_write(REFUSAL);
        metrics::counter!(metric::CONNECTIONS_REFUSED, "reason" => "full").increment(1);
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_REFUSALS_EVERY) {
            self.logged = Some(Instant::now());
            tracing::warn!(
                "connections are refused: all {limit} are open and none of them is idle, or one address has too many"
            );
        }
        let permit = Arc::clone(&self.read_from).try_acquire_owned().ok()?;
        Some(async move {
            let rest = async {
                stream.shutdown().await?;
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
            };
            let _ = tokio::time::timeout(REFUSED_READ_TIME, rest).await;
            drop(permit);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{text}");
    }
}
