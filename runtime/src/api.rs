//! The HTTP API: accepts requests, and tells their state.
//!
//! Nothing in this module runs a handler or sends a webhook. The API meets the worker and the delivery in the store
//! only.

mod answer_memory;
mod answer_source;
mod body_memory;
mod brought;
mod call;
mod cancel;
mod coding;
mod conditions;
mod connections;
mod cors;
mod credentials;
mod embedded;
mod events;
mod gate;
mod head;
mod health;
mod inflate;
mod keys_in_use;
mod lingering_close;
mod list;
mod logged_once;
mod methods;
mod metrics;
mod min_rate;
mod open_connections;
mod openapi;
mod payload_check;
mod prefer;
mod progress;
mod public_keys;
mod response;
mod result;
mod status;
mod streamed_answer;
mod submit;
mod submitter;
mod target;
mod webhook_check;
mod write_timeout;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::{Router, middleware};
use tokio::net::{TcpListener, TcpSocket};
use tower_http::catch_panic::CatchPanicLayer;

use self::answer_memory::AnswerMemory;
use self::body_memory::BodyMemory;
use self::embedded::Documents;
pub(crate) use self::embedded::Readiness;
use self::events::Events;
use self::inflate::Inflater;
use self::keys_in_use::KeysInUse;
use self::logged_once::LoggedOnce;
pub(crate) use self::metrics::{IsOperator, MetricsAccess};
use self::payload_check::Checks;
pub(crate) use self::public_keys::PublicKeys;
pub(crate) use self::submitter::Submitter;
use crate::access::Access;
use crate::handler::Routes;
use crate::openapi::Document;
use crate::policy::guard::Guard;
use crate::problem::{self, Form, Problem};
use postback_store::Store;
use postback_store::shutdown::Shutdown;
use postback_wire::time::Clock;

/// The options of the HTTP server. The module `settings` has checked their values.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    /// The largest request body, in bytes.
    pub(crate) max_payload: usize,
    /// The largest number of connections that are open at the same time.
    pub(crate) connections: usize,
    /// Whether the header `x-request-id` of a new request is its id.
    pub(crate) accept_ids: bool,
}

/// The largest number of connections that are open at the same time. If the process may open too few files, the server
/// allows fewer connections.
pub(crate) const CONNECTIONS: usize = 10_000;
/// The size, in bytes, that the server sets for the kernel's send buffer and receive buffer of each connection. The
/// kernel doubles this size. With larger buffers, slow clients would use more memory. With smaller buffers, transfers
/// over long distances would be slow.
const SOCKET_BUFFER: u32 = 256 << 10;
/// The largest number of new connections that wait in the kernel until the server accepts them.
const BACKLOG: u32 = 1_024;

/// The HTTP server. Before the program stops, the program drains: the HTTP server then accepts no new requests, but
/// still answers HTTP calls about stored requests. When the server stops, active HTTP calls have a few seconds to
/// finish.
pub(crate) struct Server {
    api: Arc<Api>,
    /// What is served on the same address beside this API, with its own check of who calls.
    beside: Option<Router>,
}

/// What a server serves: the routes of a program, and the document that describes them.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) routes: Routes,
    pub(crate) document: Document,
}

impl Served {
    /// Describes the routes of a program with this name and this version.
    pub(crate) fn new(name: &str, version: &str, routes: Routes) -> Self {
        Self { document: openapi::document(name, version, &routes), routes }
    }
}

/// The two signals that stop the server. After the signal `draining`, the node accepts no new requests, but the server
/// still answers, for at most the time `grace`. After the signal `shutdown`, the server stops.
pub(crate) struct Stops {
    pub(crate) draining: Shutdown,
    pub(crate) grace: Duration,
    pub(crate) shutdown: Shutdown,
}

/// Returns the longest time that a run may take now, if its route has no limit of its own.
pub(crate) type RunTimeout = Box<dyn Fn() -> Duration + Send + Sync>;

/// What decides about callers, about what they bring, and about who sees the metrics; and what tells the public keys.
pub(crate) struct Rules {
    pub(crate) access: Arc<Access>,
    pub(crate) guard: Guard,
    pub(crate) run_timeout: RunTimeout,
    pub(crate) metrics: MetricsAccess,
    pub(crate) public_keys: PublicKeys,
}

/// The state that all routes share.
struct Api {
    store: Store,
    clock: Clock,
    routes: Routes,
    documents: Documents,
    options: Options,
    access: Arc<Access>,
    guard: Guard,
    run_timeout: RunTimeout,
    metrics: MetricsAccess,
    public_keys: PublicKeys,
    /// Signals that the node drains, which means that the node accepts no new requests. This signal comes before the
    /// signal `shutdown`.
    draining: Shutdown,
    /// The longest time for which the node drains, which means that it accepts no new requests and finishes its work.
    grace: Duration,
    /// Signals that the server must stop. This signal comes after the signal `draining`.
    shutdown: Shutdown,
    bodies: Arc<BodyMemory>,
    inflater: Inflater,
    events: Events,
    checks: Checks,
    keys: KeysInUse,
    answers: Arc<AnswerMemory>,
    /// Logs once when the store becomes unreadable, and once when the store can be read again.
    unreadable: LoggedOnce,
    /// Logs once when the URL path `/readyz` begins to answer with 503, and once when this URL path answers with 200
    /// again.
    not_ready: LoggedOnce,
}

/// The error that is returned if the server cannot listen on its address.
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

/// Opens the socket that listens on the configured address. The node calls this function before it starts any other
/// part, because listening fails more often than the start of the other parts.
pub(crate) fn listen(options: &Options) -> Result<TcpListener, Error> {
    let listen = options.listen;
    bind(listen).map_err(|source| Error::new(listen, source))
}

fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // The buffer sizes must be set before the socket listens, because connections inherit the sizes of the listener.
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

impl Server {
    pub(crate) fn new(
        store: Store,
        clock: Clock,
        served: Served,
        options: Options,
        rules: Rules,
        stops: Stops,
    ) -> Self {
        let Served { routes, document } = served;
        let (bodies, checks) = (BodyMemory::new(options.max_payload), Checks::new());
        let answers = AnswerMemory::new();
        let Stops { draining, grace, shutdown } = stops;
        let Rules { access, guard, run_timeout, metrics, public_keys } = rules;
        let Options { max_payload, connections, .. } = options;
        let unreadable = LoggedOnce::new("the store cannot be read", "the store can be read again");
        let not_ready = LoggedOnce::new("the node is not ready", "the node is ready again");
        let api = Api {
            store,
            clock,
            routes,
            documents: Documents::new(document),
            options,
            access,
            guard,
            run_timeout,
            metrics,
            public_keys,
            draining,
            grace,
            shutdown,
            bodies,
            inflater: Inflater::new(max_payload),
            events: Events::new(connections),
            checks,
            keys: KeysInUse::default(),
            answers,
            unreadable,
            not_ready,
        };
        Self { api: Arc::new(api), beside: None }
    }

    /// Returns what accepts requests of the operator.
    pub(crate) fn submitter(&self) -> Submitter {
        Submitter::new(Arc::clone(&self.api))
    }

    /// Serves this router, too. It has its own check of who calls.
    #[must_use]
    pub(crate) fn beside(self, router: Router) -> Self {
        Self { beside: Some(router), ..self }
    }

    pub(crate) async fn run(self, listener: TcpListener) {
        connections::serve(listener, router(&self.api, self.beside), &self.api).await;
    }
}

fn router(api: &Arc<Api>, beside: Option<Router>) -> Router {
    let (access, known) = (Arc::clone(&api.access), api.routes.clone());
    let router = beside
        .unwrap_or_default()
        .merge(methods::router(api))
        .fallback(move |request: Request| async move {
            let path = request.uri().path();
            let below = embedded::below(request.extensions());
            let near = target::near(&known, path).map(|near| format!("{below}{near}"));
            Problem::unknown_path(&format!("{below}{path}"), near.as_deref()).respond(Form::of(request.headers()))
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&access), gate::pass));
    cors::with_cors(router, access)
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
