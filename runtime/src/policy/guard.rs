//! Decides which addresses a webhook may go to. Addresses are compared as numbers, never as text.

mod nat64;
mod ranges;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use url::{Host, Url};

pub(crate) use self::nat64::Nat64;

/// The kinds of networks that a webhook is allowed to go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// Only addresses that are global unicast.
    Public,
    /// Addresses that are global unicast, and addresses of private networks and of this machine.
    Private,
}

/// Checks whether a webhook is allowed to go to an address. The addresses of metadata services and of link-local
/// networks are forbidden for all webhooks, and no setting allows them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    allow_networks: Arc<[IpNet]>,
    deny_networks: Arc<[IpNet]>,
    nat64: Arc<[Nat64]>,
}

/// An address that a webhook is not allowed to go to. The text that `Display` writes names the address. So show this
/// text only to the operator, and not to the caller who chose the webhook.
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
    /// The address is one of the addresses that this server listens on.
    OwnAddress,
}

impl Guard {
    /// Makes a guard that allows these networks for all webhooks.
    pub(crate) fn new(allow_networks: Vec<IpNet>) -> Self {
        Self { allow_networks: allow_networks.into(), ..Self::default() }
    }

    /// Forbids these networks for all webhooks, even if other settings allow the networks.
    pub(crate) fn deny(self, networks: Vec<IpNet>) -> Self {
        Self { deny_networks: networks.into(), ..self }
    }

    /// Adds NAT64 prefixes. If an IPv6 address has one of these prefixes, this guard checks the IPv4 address inside the
    /// IPv6 address.
    pub(crate) fn nat64(self, prefixes: Vec<Nat64>) -> Self {
        Self { nat64: prefixes.into(), ..self }
    }

    /// Checks a URL whose host is an IP address. A URL whose host is a name is allowed here, because the addresses of
    /// the name are checked when a connection is opened.
    ///
    /// Invariant: every URL is checked with this method before it is requested, because a host that is an IP address is
    /// not resolved, so the check of resolved addresses does not see it.
    pub(crate) fn check_url(&self, url: &Url, reach: Reach) -> Result<(), Refusal> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(address.into(), reach),
            Some(Host::Ipv6(address)) => self.check(address.into(), reach),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    /// Checks the addresses of a host name. If one address is refused, the whole name is refused. A list that mixes
    /// allowed and refused addresses is probably an attack.
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
            // If an allowed network contains the IPv4 address inside an IPv6 address, the IPv6 address is allowed. This
            // applies only to IPv4-mapped addresses and NAT64 addresses, because only they certainly lead to that IPv4
            // address.
            IpAddr::V6(v6) => v6.to_ipv4_mapped().or_else(|| nat64::embedded(v6, &self.nat64)).map(IpAddr::V4),
        };
        self.allow_networks.iter().any(|net| net.contains(&address) || embedded.is_some_and(|v4| net.contains(&v4)))
    }
}

impl Guard {
    /// Whether a setting denies the address. An IPv6 address that may lead to a denied IPv4 address is denied as well.
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
    /// Makes the refusal of an address that this server listens on. Such an address is refused so that a caller cannot
    /// make the server call itself.
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
