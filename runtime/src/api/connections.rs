//! Connections: how slow, and how they end. How many there are: see [`room`](super::room).

use std::io;
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

use super::linger::{Lingering, Shared};
use super::room::{Connection, Room};
use super::stall::Unstalled;
use super::{Api, call};
use crate::names::metric;
use crate::shutdown::Shutdown;

/// Calls at once on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// A client that has not sent its headers by then is cut off. So is one that sends no further request by then, in HTTP/1.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head of a request in HTTP/1, and what is buffered of an answer before it goes to the socket.
const BUFFER: usize = 32 << 10;
/// What a client may send on an HTTP/2 connection, and on one stream of it, before it has to wait.
const CONNECTION_WINDOW: u32 = 512 << 10;
const STREAM_WINDOW: u32 = 256 << 10;
/// What calls in flight have left when the server stops, as far as the grace time allows it.
const LAST_CALLS: Duration = Duration::from_secs(5);
/// What they have left after the grace time.
const AFTER_GRACE: Duration = Duration::from_secs(2);
/// What an idle connection has left that is closed to make room.
const CLOSING: Duration = Duration::from_secs(1);
/// After an error of accept, such as too many open files.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How often stalled answers and idle connections are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// That connections are refused is said once in this time.
const SAY_AGAIN: Duration = Duration::from_mins(1);
/// Who is refused is read from for so long, if it says something: else it would not see the refusal. So many at once.
const LEAVING: Duration = Duration::from_secs(5);
const LEAVING_AT_ONCE: usize = 32;
/// What who is refused is told, if it speaks HTTP/1.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 47\r\n\r\n\
    error: too many connections are open; try again";

type Builder = auto::Builder<TokioExecutor>;

/// Serves HTTP/1.1 and 2 until told to stop. While the node drains, it goes on.
pub(super) async fn serve(listener: TcpListener, router: Router, api: &Api) {
    let shutdown = &api.shutdown;
    let room = Room::new(api.options.connections);
    let mut connections = JoinSet::new();
    let builder = builder();
    let (mut trouble, mut refusals) = (Trouble::default(), Refusals::new());
    let mut sweep = tokio::time::interval(SWEEP);
    let mut drains_since = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.stopping() => break,
            () = api.draining.stopping(), if drains_since.is_none() => {
                drains_since = Some(Instant::now());
                continue;
            }
            Some(_) = connections.join_next() => continue,
            now = sweep.tick() => {
                room.sweep(now);
                api.answers.sweep(now);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                trouble.over();
                match room.admit(peer.ip(), Instant::now()) {
                    Some(connection) => {
                        let served = serve_one(builder.clone(), stream, router.clone(), connection, shutdown.clone());
                        connections.spawn(served);
                    }
                    None => {
                        if let Some(leaves) = refusals.refuse(stream, api.options.connections) {
                            connections.spawn(leaves);
                        }
                    }
                }
            }
            Err(error) => {
                // A connection that is idle holds a file that the next one needs.
                room.make_room();
                trouble.with(&error);
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let grace_left = drains_since.map_or(api.grace, |since| api.grace.saturating_sub(since.elapsed()));
    let time = LAST_CALLS.min(grace_left + AFTER_GRACE);
    if tokio::time::timeout(time, all).await.is_err() {
        tracing::warn!("{} connections were cut off after {} s", connections.len(), time.as_secs());
    }
    connections.shutdown().await;
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

async fn serve_one(
    builder: Builder,
    stream: TcpStream,
    router: Router,
    connection: Arc<Connection>,
    shutdown: Shutdown,
) {
    // Without it a small answer may wait for the client's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let (stream, all_read) = Lingering::new(Unstalled::new(stream));
    let stream = Shared::new(stream);
    let asked = Arc::new(AtomicBool::new(false));
    let (heard, of_calls) = (Arc::clone(&asked), Arc::clone(&connection));
    let service = service_fn(move |mut request: Request<Incoming>| {
        heard.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(Arc::clone(&of_calls));
        call::answer(router.clone(), request, all_read.clone(), of_calls.call())
    });
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream.clone()), service));
    // Which version a client speaks is found out without a time limit, so that one that says nothing would keep its place for
    // ever.
    let silence = async {
        tokio::time::sleep(HEADER_TIMEOUT).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let mut silence = pin!(silence);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = &mut silence => return,
        () = connection.cut.cancelled() => return,
        () = connection.close.cancelled() => {
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(CLOSING, served.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
        () = shutdown.stopping() => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served.as_mut() => ended,
                () = &mut silence => return,
                () = connection.cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended early: {error}");
        return;
    }
    tokio::select! {
        biased;
        () = stream.finish() => {}
        () = connection.cut.cancelled() => {}
        () = connection.close.cancelled() => {}
    }
}

/// Errors of accept: said when they begin, and when they are over.
#[derive(Default)]
struct Trouble(u32);

impl Trouble {
    fn with(&mut self, error: &io::Error) {
        if self.0 == 0 {
            tracing::warn!("no connection can be accepted: {error}; trying again");
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

/// Connections that there was no room for.
struct Refusals {
    said: Option<Instant>,
    leaving: Arc<Semaphore>,
}

impl Refusals {
    fn new() -> Self {
        Self { said: None, leaving: Arc::new(Semaphore::new(LEAVING_AT_ONCE)) }
    }

    /// Refuses a connection. What is left to do until it is closed, unless too many others are being left.
    fn refuse(&mut self, mut stream: TcpStream, limit: usize) -> Option<impl Future<Output = ()> + Send + use<>> {
        // An answer as small as this goes into the empty buffer of the socket.
        let _ = stream.try_write(REFUSAL);
        metrics::counter!(metric::CONNECTIONS_REFUSED, "reason" => "full").increment(1);
        if self.said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
            self.said = Some(Instant::now());
            tracing::warn!("connections are refused: of {limit} none is idle, or one address has too many of them");
        }
        let permit = Arc::clone(&self.leaving).try_acquire_owned().ok()?;
        Some(async move {
            let rest = async {
                stream.shutdown().await?;
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
            };
            let _ = tokio::time::timeout(LEAVING, rest).await;
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
