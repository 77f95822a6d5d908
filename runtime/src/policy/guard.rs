//! Where a webhook may go: addresses, judged by their numbers and never by their text.

mod nat64;
mod ranges;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use url::{Host, Url};

pub(crate) use self::nat64::Nat64;

/// How far a webhook may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// Global unicast addresses only.
    Public,
    /// Private and loopback networks too.
    Private,
}

/// Judges addresses. Metadata services and link-local networks are closed to everybody, whatever is allowed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    allow_networks: Arc<[IpNet]>,
    deny_networks: Arc<[IpNet]>,
    nat64: Arc<[Nat64]>,
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
    Forbidden,
    /// A setting closes it.
    Denied,
    /// In this special network; a setting opens it.
    Special(&'static str),
    /// Our own listener's.
    OwnAddress,
}

impl Guard {
    /// A guard that lets everybody into these networks.
    pub(crate) fn new(allow_networks: Vec<IpNet>) -> Self {
        Self { allow_networks: allow_networks.into(), ..Self::default() }
    }

    /// Lets nobody into these, whatever else is allowed.
    pub(crate) fn deny(self, networks: Vec<IpNet>) -> Self {
        Self { deny_networks: networks.into(), ..self }
    }

    /// Knows that behind these prefixes there are IPv4 addresses, and judges those.
    pub(crate) fn nat64(self, prefixes: Vec<Nat64>) -> Self {
        Self { nat64: prefixes.into(), ..self }
    }

    /// Judges a URL whose host is an address. One whose host is a name passes: its addresses are judged when they are
    /// connected to.
    ///
    /// Invariant: resolvers are not asked about addresses, so nobody but this function sees them.
    pub(crate) fn check_url(&self, url: &Url, reach: Reach) -> Result<(), Refusal> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(address.into(), reach),
            Some(Host::Ipv6(address)) => self.check(address.into(), reach),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    /// Judges what a name resolved to. One bad address refuses all: a mixed answer is an attempt to get past.
    pub(crate) fn check_addresses(&self, addresses: &[IpAddr], reach: Reach) -> Result<(), Refusal> {
        addresses.iter().try_for_each(|address| self.check(*address, reach))
    }

    fn check(&self, address: IpAddr, reach: Reach) -> Result<(), Refusal> {
        if ranges::is_forbidden(address, &self.nat64) {
            return Err(Refusal { address, cause: Cause::Forbidden });
        }
        if self.denies(address) {
            return Err(Refusal { address, cause: Cause::Denied });
        }
        match ranges::special(address, &self.nat64) {
            Some(name) if reach == Reach::Public && !self.allows(address) => {
                Err(Refusal { address, cause: Cause::Special(name) })
            }
            _ => Ok(()),
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        let embedded = match address {
            IpAddr::V4(_) => None,
            // Only the forms whose packets do end at the IPv4 address.
            IpAddr::V6(v6) => v6.to_ipv4_mapped().or_else(|| nat64::embedded(v6, &self.nat64)).map(IpAddr::V4),
        };
        self.allow_networks.iter().any(|net| net.contains(&address) || embedded.is_some_and(|v4| net.contains(&v4)))
    }
}

impl Guard {
    /// In whatever form: what an address may lead to is denied with it.
    fn denies(&self, address: IpAddr) -> bool {
        if self.deny_networks.is_empty() {
            return false;
        }
        let denied = |address: IpAddr| self.deny_networks.iter().any(|net| net.contains(&address));
        let denied_4 = |v4: Ipv4Addr| denied(v4.into()) || denied(v4.to_ipv6_mapped().into());
        match address {
            IpAddr::V4(v4) => denied_4(v4),
            IpAddr::V6(v6) => denied(address) || ranges::embedded(v6, &self.nat64).any(denied_4),
        }
    }
}

impl Refusal {
    /// An address at which we listen ourselves: who chose the webhook would have us call ourselves.
    pub(crate) fn own_address(address: IpAddr) -> Self {
        Self { address, cause: Cause::OwnAddress }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match self.cause {
            Cause::Forbidden => write!(
                f,
                "the address {address} is link-local, multicast, unspecified or a cloud's metadata service, where no \
                 webhook may go; no setting opens it"
            ),
            Cause::Denied => write!(f, "the address {address} is in a network that delivery.deny_networks closes"),
            Cause::Special(name) => write!(
                f,
                "the address {address} is no public one ({name}); to let any webhook go there, add its network to \
                 delivery.allow_networks; to let one go that Config or State names, make it a [[delivery.endpoint]] with \
                 private = true (in a library: Poster::builder().trust)"
            ),
            Cause::OwnAddress => write!(
                f,
                "the address {address} with this port is this server's own, where no webhook may go unless its URL is trusted: \
                 name it as a [[delivery.endpoint]] with private = true"
            ),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests;
