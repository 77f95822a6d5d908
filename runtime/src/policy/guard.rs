//! Where a webhook may go: addresses, judged by their numbers and never by their text.

mod ranges;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use url::{Host, Url};

/// Who named the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// Anybody, a payload for example: global unicast addresses only.
    Strict,
    /// The operator: private and loopback networks too.
    Trusted,
}

/// Judges addresses. Metadata services and link-local networks are closed to everybody, whatever is allowed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    allow_networks: Arc<[IpNet]>,
}

/// An address that a webhook may not go to. `Display` is for the operator and names the address, so it
/// is not for those who chose the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    address: IpAddr,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// No setting opens it.
    Closed,
    /// In this special network; a setting opens it.
    Special(&'static str),
    /// Our own listener's.
    Own,
}

impl Guard {
    /// A guard that lets everybody into these networks.
    pub(crate) fn new(allow_networks: Vec<IpNet>) -> Self {
        Self { allow_networks: allow_networks.into() }
    }

    /// Judges a URL whose host is an address. One whose host is a name passes: its addresses are judged when they are
    /// connected to.
    ///
    /// Invariant: resolvers are not asked about addresses, so nobody but this function sees them.
    pub(crate) fn check_url(&self, url: &Url, trust: Trust) -> Result<(), Refusal> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(address.into(), trust),
            Some(Host::Ipv6(address)) => self.check(address.into(), trust),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    /// Judges what a name resolved to. One bad address refuses all: a mixed answer is an attempt to get past.
    pub(crate) fn check_addresses(&self, addresses: &[IpAddr], trust: Trust) -> Result<(), Refusal> {
        addresses.iter().try_for_each(|address| self.check(*address, trust))
    }

    fn check(&self, address: IpAddr, trust: Trust) -> Result<(), Refusal> {
        if ranges::is_closed(address) {
            return Err(Refusal { address, cause: Cause::Closed });
        }
        match ranges::special(address) {
            Some(name) if trust == Trust::Strict && !self.allows(address) => {
                Err(Refusal { address, cause: Cause::Special(name) })
            }
            _ => Ok(()),
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        let carried = match address {
            IpAddr::V4(_) => None,
            // Only the forms whose packets do end at the IPv4 address.
            IpAddr::V6(v6) => v6.to_ipv4_mapped().or_else(|| ranges::nat64(v6)).map(IpAddr::V4),
        };
        self.allow_networks.iter().any(|net| net.contains(&address) || carried.is_some_and(|v4| net.contains(&v4)))
    }
}

impl Refusal {
    /// An address at which we listen ourselves: who chose the webhook would have us call ourselves.
    pub(crate) fn own(address: IpAddr) -> Self {
        Self { address, cause: Cause::Own }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match self.cause {
            Cause::Closed => write!(
                f,
                "the address {address} is link-local, multicast, unspecified or a cloud's metadata service, where no \
                 webhook may go; no setting opens it"
            ),
            Cause::Special(name) => write!(
                f,
                "the address {address} is no public one ({name}); to let any webhook go there, add its network to \
                 delivery.allow_networks; to trust this URL alone, name it as a [[delivery.endpoint]], or, in a library, to \
                 Poster::builder().trust"
            ),
            Cause::Own => write!(
                f,
                "the address {address} with this port is this server's own, where no webhook may go unless its URL is trusted: \
                 name it as a [[delivery.endpoint]]"
            ),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests;
