//! Decides which addresses a webhook may go to. Addresses are compared as numbers, never as text.

mod nat64;
mod ranges;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
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

/// Checks addresses. Metadata services and link-local networks are forbidden for all webhooks, and no setting allows
/// them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    allow_networks: Arc<[IpNet]>,
    deny_networks: Arc<[IpNet]>,
    nat64: Arc<[Nat64]>,
}

/// An address that a webhook may not go to. `Display` names the address, so show it to the operator only, and not to
/// the caller who chose the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    address: IpAddr,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The address is forbidden, and no setting allows it.
    Forbidden,
    /// The address is in a network that a setting denies.
    Denied,
    /// The address is in this special-purpose network. A setting can allow it.
    Special(&'static str),
    /// The address is one of a listener of this server.
    OwnAddress,
}

impl Guard {
    /// A guard that allows these networks for all webhooks.
    pub(crate) fn new(allow_networks: Vec<IpNet>) -> Self {
        Self { allow_networks: allow_networks.into(), ..Self::default() }
    }

    /// Denies these networks to all webhooks, even if they are allowed too.
    pub(crate) fn deny(self, networks: Vec<IpNet>) -> Self {
        Self { deny_networks: networks.into(), ..self }
    }

    /// Adds NAT64 prefixes. If an IPv6 address has one of them, the embedded IPv4 address is checked.
    pub(crate) fn nat64(self, prefixes: Vec<Nat64>) -> Self {
        Self { nat64: prefixes.into(), ..self }
    }

    /// Checks a URL whose host is an address. A URL whose host is a name passes, because its addresses are checked when
    /// a connection is opened.
    ///
    /// Invariant: a host that is an address needs no resolver, so only this function checks it.
    pub(crate) fn check_url(&self, url: &Url, reach: Reach) -> Result<(), Refusal> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(address.into(), reach),
            Some(Host::Ipv6(address)) => self.check(address.into(), reach),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    /// Checks the addresses of a name. If one address is refused, the name is refused, because a mixed answer is likely
    /// an attack.
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
            // Only these two forms really lead to the embedded IPv4 address.
            IpAddr::V6(v6) => v6.to_ipv4_mapped().or_else(|| nat64::embedded(v6, &self.nat64)).map(IpAddr::V4),
        };
        self.allow_networks.iter().any(|net| net.contains(&address) || embedded.is_some_and(|v4| net.contains(&v4)))
    }
}

impl Guard {
    /// Whether the address is denied. An IPv6 address is denied too if it may lead to a denied IPv4 address.
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
    /// Refuses an address of this server, so that a caller cannot make the server call itself.
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
                "the address {address} is link-local, multicast, unspecified or a cloud's metadata service; no webhook may go \
                 there, and no setting allows it"
            ),
            Cause::Denied => write!(f, "the address {address} is in a network that delivery.deny_networks denies"),
            Cause::Special(name) => write!(
                f,
                "the address {address} is not a public address ({name}); to let any webhook go there, add its network to \
                 delivery.allow_networks; to let one from Config or State go there, add a [[delivery.endpoint]] with \
                 private = true (in a library: Poster::builder().trust)"
            ),
            Cause::OwnAddress => write!(
                f,
                "the address {address} with this port is this server's own; only a trusted webhook may go there: add a \
                 [[delivery.endpoint]] with private = true for it"
            ),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests;
