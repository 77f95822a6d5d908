//! What the log says when a node starts: who may use the API, and what was taken over from an earlier process or another node.

use std::net::SocketAddr;

use crate::access::{Access, Auth};
use crate::handler::Routes;
use postback_store::Recovered;
use postback_wire::line::Escaped;

/// Warns about an API that is open to others, and about tokens for routes that this program does not have.
pub(super) fn warn_of_access(access: &Access, routes: &Routes, address: Option<SocketAddr>) {
    // Where it is not known, the program has said by itself that its callers need no token.
    if let Some(address) = address
        && access.options().auth == Auth::None
        && !address.ip().to_canonical().is_loopback()
    {
        tracing::warn!(
            "server.auth is \"none\": every client that can reach {address} may use the API; put a gateway in front"
        );
    }
    for token in access.tokens() {
        for route in token.unknown_routes(|route| routes.get(route).is_some()) {
            let (name, route) = (Escaped(&token.name), Escaped(route));
            tracing::warn!("the token {name} is for the route {route}, which this program does not have");
        }
    }
}

/// Logs how many requests and reports were taken over from `whom`. Logs nothing if there were none.
pub(super) fn log_recovered(recovered: &Recovered, whom: &str) {
    if recovered.requests + recovered.reports + recovered.lost.len() == 0 {
        return;
    }
    let cancelled = recovered.lost.iter().filter(|row| row.cancelled).count();
    tracing::info!(
        "taken over from {whom}: {} requests to run again, {} reports to send again, {} requests lost too often, \
         {cancelled} cancelled",
        recovered.requests,
        recovered.reports,
        recovered.lost.len() - cancelled,
    );
}
