//! The HTTP API: accepts requests, and tells their state.
//!
//! Nothing in this module runs a handler or sends a webhook. The API meets the worker and the delivery in the store
//! only.

mod answer_memory;
mod body_memory;
mod call;
mod cancel;
mod connections;
mod credentials;
mod head;
mod health;
mod lingering_close;
mod logged_once;
mod min_rate;
mod open_connections;
mod payload_check;
mod prefer;
mod problem;
mod response;
mod status;
mod streamed_answer;
mod submit;
mod webhook_check;
mod write_timeout;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use tokio::net::{TcpListener, TcpSocket};
use tower_http::catch_panic::CatchPanicLayer;

use self::answer_memory::AnswerMemory;
use self::body_memory::BodyMemory;
use self::logged_once::LoggedOnce;
use self::payload_check::Checks;
use self::problem::{Form, Problem};
use crate::handler::Routes;
use crate::policy::guard::Guard;
use postback_store::Store;
use postback_store::shutdown::Shutdown;
use postback_wire::time::Clock;

/// The options of the API, already checked by `settings`.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    /// The largest request body, in bytes.
    pub(crate) max_payload: usize,
    /// The most connections that are open at once.
    pub(crate) connections: usize,
}

/// The most connections that are open at once, if the limit of open files allows them.
pub(crate) const CONNECTIONS: usize = 10_000;
/// The size of the kernel's buffer for a connection, for each direction; the kernel doubles the number. With larger
/// buffers slow clients would hold more memory. With smaller buffers transfers over long distances would be slow.
const SOCKET_BUFFER: u32 = 256 << 10;
/// The most connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// The HTTP server. While the node drains, it accepts no new requests, but still tells the state of the requests that
/// it has. When it is told to stop, it waits for active calls, for a short time.
pub(crate) struct Server {
    listener: TcpListener,
    api: Arc<Api>,
}

/// The two steps in which the server ends: first the node drains, for as long as the grace time, and then the server
/// stops.
pub(crate) struct Stops {
    pub(crate) draining: Shutdown,
    pub(crate) grace: Duration,
    pub(crate) shutdown: Shutdown,
}

/// What the routes share.
struct Api {
    store: Store,
    clock: Clock,
    routes: Routes,
    options: Options,
    guard: Guard,
    /// Stops first: from then on the node accepts no new requests.
    draining: Shutdown,
    /// How long the node may drain.
    grace: Duration,
    /// Stops last: then the server ends.
    shutdown: Shutdown,
    bodies: Arc<BodyMemory>,
    checks: Checks,
    answers: Arc<AnswerMemory>,
    /// Logs that the store cannot be read.
    unreadable: LoggedOnce,
    /// Logs that `/readyz` answers 503.
    not_ready: LoggedOnce,
}

/// The server cannot listen on its address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {what}")]
pub(crate) struct Error {
    listen: SocketAddr,
    what: String,
    source: io::Error,
}

impl Error {
    fn new(listen: SocketAddr, source: io::Error) -> Self {
        let (ip, port) = (listen.ip(), listen.port());
        let what = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "another program uses this port; stop that one, or set server.listen or --listen to another port"
                    .to_owned()
            }
            io::ErrorKind::PermissionDenied => format!(
                "this user may not listen on port {port}; set server.listen or --listen to a port from 1024 on, or \
                 allow it (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)"
            ),
            io::ErrorKind::AddrNotAvailable => format!(
                "this machine does not have the address {ip}; set server.listen or --listen to an address of this \
                 machine, or to {any} for all its addresses",
                any = if listen.is_ipv4() { "0.0.0.0" } else { "[::]" },
            ),
            _ => {
                "the system refuses this address for the reason below; set server.listen or --listen to another address"
                    .to_owned()
            }
        };
        Self { listen, what, source }
    }
}

/// Listens on the address. Called before anything else of the node is started, because this step fails most often.
pub(crate) fn listen(options: &Options) -> Result<TcpListener, Error> {
    let listen = options.listen;
    bind(listen).map_err(|source| Error::new(listen, source))
}

fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // The buffers must be set before the socket listens: connections inherit the sizes of the listener.
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

impl Server {
    pub(crate) fn new(
        listener: TcpListener,
        store: Store,
        clock: Clock,
        routes: Routes,
        options: Options,
        guard: Guard,
        stops: Stops,
    ) -> Self {
        let (bodies, checks) = (BodyMemory::new(options.max_payload), Checks::new());
        let answers = AnswerMemory::new();
        let Stops { draining, grace, shutdown } = stops;
        let unreadable = LoggedOnce::new("the store cannot be read", "the store can be read again");
        let not_ready = LoggedOnce::new("the node is not ready", "the node is ready again");
        let api = Api {
            store,
            clock,
            routes,
            options,
            guard,
            draining,
            grace,
            shutdown,
            bodies,
            checks,
            answers,
            unreadable,
            not_ready,
        };
        Self { listener, api: Arc::new(api) }
    }

    pub(crate) async fn run(self) {
        connections::serve(self.listener, router(Arc::clone(&self.api)), &self.api).await;
    }
}

fn router(api: Arc<Api>) -> Router {
    let mut router = Router::new().route("/healthz", get(health::alive));
    for route in api.routes.iter() {
        let shared = || (Arc::clone(&api), Arc::clone(route));
        let (of_submit, of_status, of_cancel) = (shared(), shared(), shared());
        let submit = move |request: Request| submit::call(of_submit.0.clone(), of_submit.1.clone(), request);
        let status = move |request: Request| status::call(of_status.0.clone(), of_status.1.clone(), request);
        let cancel = move |request: Request| cancel::call(of_cancel.0.clone(), of_cancel.1.clone(), request);
        let of_id = get(status).delete(cancel);
        router = router.route(&route.path, post(submit)).route(&format!("{}/{{id}}", route.path), of_id);
    }
    router
        .route("/readyz", get(move |request: Request| health::ready(Arc::clone(&api), request)))
        .fallback(|request: Request| async move {
            Problem::unknown_path(request.uri().path()).respond(Form::of(request.headers()))
        })
        .method_not_allowed_fallback(|request: Request| async move {
            Problem::method(request.method()).respond(Form::of(request.headers()))
        })
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| Problem::internal().respond(Form::Text)))
}

#[cfg(test)]
mod tests {
    use io::ErrorKind;

    use super::*;

    #[test]
    fn what_keeps_it_from_listening_is_told_with_what_to_do() {
        for (listen, kind, says) in [
            ("127.0.0.1:80", ErrorKind::AddrInUse, "another program uses this port"),
            ("127.0.0.1:80", ErrorKind::PermissionDenied, "this user may not listen on port 80; "),
            ("192.0.2.1:80", ErrorKind::AddrNotAvailable, "this machine does not have the address 192.0.2.1; "),
            ("[2001:db8::1]:80", ErrorKind::AddrNotAvailable, " or to [::] for all its addresses"),
            ("127.0.0.1:80", ErrorKind::OutOfMemory, "the system refuses this address"),
        ] {
            let error = Error::new(listen.parse().unwrap(), kind.into()).to_string();
            assert!(error.starts_with(&format!("cannot listen on {listen}: ")) && error.contains(says), "{error}");
            assert!(error.contains("server.listen or --listen"), "{error}");
        }
    }
}
