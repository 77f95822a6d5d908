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

use super::gate::Peer;
use super::lingering_close::{LingeringStream, SharedStream};
use super::open_connections::{Connection, OpenConnections};
use super::write_timeout::WriteTimeout;
use super::{Api, call};
use postback_store::shutdown::Shutdown;
use postback_wire::names::metric;

/// The largest number of HTTP calls that may be active at the same time on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// The time within which a client must send the head of its first request. If the client takes longer, the server
/// closes the connection. On HTTP/1, the same limit applies to the head of each further request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head of an HTTP/1 request, in bytes. The number is also the largest number of bytes of an answer that
/// are buffered before they are written to the socket.
const BUFFER: usize = 32 << 10;
/// The number of bytes that a client may send on all streams of an HTTP/2 connection together, before the client must
/// wait until the server has read these bytes.
const CONNECTION_WINDOW: u32 = 512 << 10;
/// The number of bytes that a client may send on one HTTP/2 stream, before the client must wait until the server has
/// read these bytes.
const STREAM_WINDOW: u32 = 256 << 10;
/// The longest time that active HTTP calls have to finish when the server stops. If the rest of the grace time plus
/// [`AFTER_GRACE`] is shorter, the calls have only this shorter time.
const LAST_CALLS: Duration = Duration::from_secs(5);
/// The shortest time that active HTTP calls have to finish when the server stops, even if the grace time is already
/// over.
const AFTER_GRACE: Duration = Duration::from_secs(2);
/// The longest time that an idle connection may take to close, when the server closes the connection to accept a new
/// connection instead.
const CLOSING: Duration = Duration::from_secs(1);
/// How long the server pauses after the system call `accept` has failed, for example because too many files are open.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// The interval at which the server searches for stalled answers and idle connections.
const SWEEP: Duration = Duration::from_secs(1);
/// The shortest time between two log lines about refused connections.
const LOG_REFUSALS_EVERY: Duration = Duration::from_mins(1);
/// The longest time for which the server reads from a client whose connection the server has refused. If the server did
/// not read the client's bytes, the client would get a TCP reset instead of the refusal.
const REFUSED_READ_TIME: Duration = Duration::from_secs(5);
/// The largest number of refused clients from which the server reads at the same time. If more clients are refused, the
/// server closes their connections immediately, without reading.
const REFUSED_AT_ONCE: usize = 32;
/// The answer to a client whose connection the server refuses. The answer is written in HTTP/1.1, so a client that
/// speaks only HTTP/2 does not understand the answer.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 47\r\n\r\n\
    error: too many connections are open; try again";

type Builder = auto::Builder<TokioExecutor>;

/// Serves HTTP/1.1 and HTTP/2 until the signal `api.shutdown` comes. While the node drains, which means that it accepts
/// no new requests, the server still accepts connections.
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

/// Accepts connections, and owns the tasks that serve the connections.
struct Acceptor {
    router: Router,
    builder: Builder,
    shutdown: Shutdown,
    open: Arc<OpenConnections>,
    /// The largest number of open connections.
    limit: usize,
    /// The tasks that serve the connections, one for each connection.
    tasks: JoinSet<()>,
    accept_errors: AcceptErrors,
    refusals: Refusals,
}

impl Acceptor {
    /// Starts a task that serves a new connection. Refuses the connection if too many connections are open.
    fn accept(&mut self, stream: TcpStream, peer: IpAddr) {
        self.accept_errors.over();
        match self.open.admit(peer, Instant::now()) {
            Some(connection) => {
                let (builder, router, shutdown) = (self.builder.clone(), self.router.clone(), self.shutdown.clone());
                self.tasks.spawn(serve_one(builder, (stream, Peer(peer)), router, connection, shutdown));
            }
            None => {
                if let Some(closing) = self.refusals.refuse(stream, self.limit) {
                    self.tasks.spawn(closing);
                }
            }
        }
    }

    async fn accept_failed(&mut self, error: &io::Error) {
        // The usual cause is that the process has too many open files. Each connection is an open file. So the server
        // closes an idle connection to be able to accept the next connection.
        self.open.close_one();
        self.accept_errors.met(error);
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }

    /// Waits until all connections have ended, but at most for `time`. After this time, closes the remaining
    /// connections.
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

/// Serves one connection until the connection ends.
async fn serve_one(
    builder: Builder,
    (stream, peer): (TcpStream, Peer),
    router: Router,
    connection: Arc<Connection>,
    shutdown: Shutdown,
) {
    // Sets the socket option `TCP_NODELAY`. Without this option, the kernel may delay a small answer until the client
    // has acknowledged the previous answer.
    let _ = stream.set_nodelay(true);
    let (stream, all_read) = LingeringStream::new(WriteTimeout::new(stream));
    let stream = SharedStream::new(stream);
    let has_called = Arc::new(AtomicBool::new(false));
    let (called, of_calls) = (Arc::clone(&has_called), Arc::clone(&connection));
    let service = service_fn(move |mut request: Request<Incoming>| {
        called.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(Arc::clone(&of_calls));
        request.extensions_mut().insert(peer);
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

/// Returns when the connection must end immediately: when `connection.cut` was cancelled, or when no request has
/// arrived within [`HEADER_TIMEOUT`]. The time is measured here because hyper has no time limit for the first bytes of
/// a connection, from which hyper recognises the version of HTTP.
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

/// The number of successive errors of the system call `accept`. One log line is written when the errors begin, and one
/// when the errors are over.
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

/// Refuses new connections when too many connections are open.
struct Refusals {
    /// The time of the last log line about refused connections. `None` if there was no such line yet.
    logged: Option<Instant>,
    read_from: Arc<Semaphore>,
}

impl Refusals {
    fn new() -> Self {
        Self { logged: None, read_from: Arc::new(Semaphore::new(REFUSED_AT_ONCE)) }
    }

    /// Sends the refusal to the client. Returns a future that reads from the client for a limited time, and then closes
    /// the connection. If the server already reads from too many refused clients, closes the connection immediately and
    /// returns `None`.
    fn refuse(&mut self, mut stream: TcpStream, limit: usize) -> Option<impl Future<Output = ()> + Send + use<>> {
        // The send buffer of a new socket is empty. So the short refusal fits into the buffer, and the write does not
        // have to wait.
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
