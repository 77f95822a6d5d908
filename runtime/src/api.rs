//! The HTTP API: takes requests in, tells where they stand.
//!
//! Nothing here runs a handler or sends a webhook: it meets worker and delivery in the store.

mod answers;
mod call;
mod callback;
mod cancel;
mod check;
mod connections;
mod credentials;
mod head;
mod health;
mod intake;
mod linger;
mod logged_once;
mod pace;
mod prefer;
mod problem;
mod room;
mod stall;
mod status;
mod streamed;
mod submit;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use tokio::net::{TcpListener, TcpSocket};
use tower_http::catch_panic::CatchPanicLayer;

use self::answers::Answers;
use self::check::Checks;
use self::intake::Intake;
use self::logged_once::LoggedOnce;
use self::problem::{Form, Problem};
use crate::handler::Routes;
use crate::policy::guard::Guard;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::time::Clock;

/// Checked values; see `settings`.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    /// The largest request body, in bytes.
    pub(crate) max_payload: usize,
    /// Open connections at once.
    pub(crate) connections: usize,
}

/// Open connections at once, if the limit of open files allows them.
pub(crate) const CONNECTIONS: usize = 10_000;
/// What the kernel buffers for a connection, in each direction; it doubles the number. More would be memory that slow clients
/// hold, less would be slow over long distances.
const SOCKET_BUFFER: u32 = 256 << 10;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// The running service. While the node drains, it takes no more requests and tells how those that it has stand. Ends when told
/// to, after the calls in flight or a short deadline.
pub(crate) struct Server {
    listener: TcpListener,
    api: Arc<Api>,
}

/// How the server comes to its end: first the node drains, for as long as the grace time, then the server stops.
pub(crate) struct Stops {
    pub(crate) draining: Shutdown,
    pub(crate) grace: Duration,
    pub(crate) shutdown: Shutdown,
}

/// What every call needs.
struct Api {
    store: Store,
    clock: Clock,
    routes: Routes,
    options: Options,
    guard: Guard,
    /// LoggedOnce when the node takes no more requests. What it has is told of until it stops.
    draining: Shutdown,
    /// What a node has to drain.
    grace: Duration,
    shutdown: Shutdown,
    intake: Arc<Intake>,
    checks: Checks,
    answers: Arc<Answers>,
    /// Why the store cannot be read.
    unread: LoggedOnce,
    /// Why `/readyz` says no.
    unready: LoggedOnce,
}

/// The server could not listen.
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
                "this user may not listen on port {port}; set server.listen or --listen to a port from 1024 on, or allow it \
                 (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)"
            ),
            io::ErrorKind::AddrNotAvailable => format!(
                "this machine has no address {ip}; set server.listen or --listen to one of its own, or to {any}, which is all of \
                 them",
                any = if listen.is_ipv4() { "0.0.0.0" } else { "[::]" },
            ),
            _ => {
                "the system refuses it; set server.listen or --listen to another address, unless what follows says more"
                    .to_owned()
            }
        };
        Self { listen, what, source }
    }
}

/// Takes the address, before anything else is started.
pub(crate) fn listen(options: &Options) -> Result<TcpListener, Error> {
    let listen = options.listen;
    bind(listen).map_err(|source| Error::new(listen, source))
}

fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Before it listens: connections have what the listener has.
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
        let (intake, checks) = (Intake::new(options.max_payload), Checks::new());
        let answers = Answers::new();
        let Stops { draining, grace, shutdown } = stops;
        let unread = LoggedOnce::new("the store cannot be read", "the store can be read again");
        let unready = LoggedOnce::new("the node is not ready", "the node is ready again");
        let api = Api {
            store,
            clock,
            routes,
            options,
            guard,
            draining,
            grace,
            shutdown,
            intake,
            checks,
            answers,
            unread,
            unready,
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
        let of = || (Arc::clone(&api), Arc::clone(route));
        let (of_submit, of_status, of_cancel) = (of(), of(), of());
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
            ("192.0.2.1:80", ErrorKind::AddrNotAvailable, "this machine has no address 192.0.2.1; "),
            ("[2001:db8::1]:80", ErrorKind::AddrNotAvailable, " or to [::], which is all of them"),
            ("127.0.0.1:80", ErrorKind::OutOfMemory, "the system refuses it; "),
        ] {
            let error = Error::new(listen.parse().unwrap(), kind.into()).to_string();
            assert!(error.starts_with(&format!("cannot listen on {listen}: ")) && error.contains(says), "{error}");
            assert!(error.contains("server.listen or --listen"), "{error}");
        }
    }
}
