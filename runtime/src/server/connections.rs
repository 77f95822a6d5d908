//! Connections: how many, how slow, and how they end.

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
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::shutdown::Shutdown;

/// Open connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 10_000;
/// Calls at once on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// A client that has not sent its headers by then is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// What calls in flight have left when the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// After an error of accept, such as too many open files.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 and 2 until told to stop.
pub(super) async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(STREAMS);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.stopping() => break,
            Some(_) = connections.join_next() => continue,
            accepted = async {
                // Invariant: the semaphore is never closed, so there is always a permit in the end.
                let permit = Arc::clone(&room).acquire_owned().await.ok();
                (listener.accept().await, permit)
            } => accepted,
        };
        match accepted {
            (Ok((stream, _)), permit) => {
                // Without it a small answer may wait for the client's acknowledgement of the one before.
                let _ = stream.set_nodelay(true);
                let (router, asked) = (router.clone(), Arc::new(AtomicBool::new(false)));
                let heard = Arc::clone(&asked);
                let service = service_fn(move |request: Request<Incoming>| {
                    heard.store(true, Ordering::Relaxed);
                    router.clone().oneshot(request)
                });
                let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                let watched = graceful.watch(connection);
                connections.spawn(async move {
                    let _permit = permit;
                    let mut watched = pin!(watched);
                    let ended = tokio::select! {
                        ended = &mut watched => ended,
                        // Which version a client speaks is found out without a time limit, so that one that says nothing
                        // would keep its place for ever.
                        () = tokio::time::sleep(HEADER_TIMEOUT) => {
                            if !asked.load(Ordering::Relaxed) {
                                return;
                            }
                            watched.await
                        }
                    };
                    if let Err(error) = ended {
                        tracing::debug!("a connection ended early: {error}");
                    }
                });
            }
            (Err(error), _) => {
                tracing::warn!("a connection cannot be accepted: {error}");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("{} connections were cut off after {} s", connections.len(), DRAIN.as_secs());
    }
    connections.shutdown().await;
}
