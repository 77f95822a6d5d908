//! What takes the calls of a node: a server of its own, or a router in the service of a user.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;

use super::Node;
use crate::api::{self, Readiness, Server};
use crate::poster::{Poster, ambient};

/// What takes the calls of a node.
pub(crate) struct Front {
    /// `None`: the calls come from the service of a user.
    pub(super) listener: Option<TcpListener>,
    /// Where the calls arrive. `None`: it is not known.
    pub(super) address: Option<SocketAddr>,
    /// Whether the operator's API is served on the socket beside the database.
    #[cfg_attr(not(all(unix, feature = "sqlite")), expect(dead_code, reason = "only SQLite on Unix has the socket"))]
    pub(super) has_socket: bool,
    /// Whether the node installs the metrics recorder of the process.
    pub(super) installs_metrics: bool,
}

/// What the service of a user gets from a node.
pub(crate) struct Routers {
    pub(crate) api: Router,
    pub(crate) operator: Router,
    pub(crate) readiness: Readiness,
}

impl Front {
    /// Listens as the settings say.
    pub(super) fn listen(options: &api::Options) -> Result<Self, api::Error> {
        let listener = api::listen(options)?;
        let address = Some(listener.local_addr().unwrap_or(options.listen));
        Ok(Self { listener: Some(listener), address, has_socket: true, installs_metrics: true })
    }

    /// Takes calls from the service of a user.
    pub(crate) fn of_service(address: Option<SocketAddr>, has_socket: bool, installs_metrics: bool) -> Self {
        Self { listener: None, address, has_socket, installs_metrics }
    }
}

impl Node {
    /// Whether callers need a token now.
    pub(crate) fn needs_tokens(&self) -> bool {
        self.access.needs_tokens()
    }

    /// Returns the poster of the node.
    pub(crate) fn poster(&self) -> &Poster {
        &self.poster
    }

    /// Returns the address on which the API listens, if it is known.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Lets calls in: from now on the node accepts requests.
    pub(super) fn take_calls(&self, front: Front, http: Server, operator: Router) -> Option<Routers> {
        if let Some(listener) = front.listener {
            let server = http.beside(operator).run(listener);
            self.api.spawn(self.vital.watching("server", &self.api, server));
            return None;
        }
        let (api, operator) = (http.nestable(), http.of_operator(operator));
        let routers = Routers { api, operator, readiness: http.readiness() };
        self.api.spawn(self.vital.watching("server", &self.api, http.keep_up()));
        Some(routers)
    }

    /// Stops without waiting for anything. The runs in progress run again at the next start, and do not count as crashed.
    pub(crate) fn abandon(&self) {
        self.store.forget_begun();
        for part in [&self.intake, &self.deliveries, &self.api, &self.counts] {
            part.stop();
        }
        self.return_ambient();
    }

    /// Lets the program install another poster, if the one of the process is that of this node.
    pub(super) fn return_ambient(&self) {
        if self.lends_ambient {
            ambient::uninstall();
        }
    }
}
