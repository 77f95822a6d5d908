//! IPv4 addresses that are embedded in IPv6 addresses, with prefixes of all six lengths (RFC 6052).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

/// The possible lengths of a NAT64 prefix, in bits.
const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];
/// The index of the octet that the IPv4 address skips (bits 64 to 71). The IPv4 address continues after this octet.
const FREE_OCTET: usize = 8;
/// The well-known NAT64 prefix.
const WELL_KNOWN: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);
/// The network from which the operator of a site may choose NAT64 prefixes of any length (RFC 8215).
const LOCAL_USE: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48);

/// A NAT64 prefix. A translator maps IPv6 addresses with this prefix to IPv4 addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nat64(Ipv6Net);

impl std::fmt::Display for Nat64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Nat64 {
    /// Makes a NAT64 prefix. `None` if RFC 6052 does not allow the length of the prefix, or if bits 64 to 71 of the
    /// prefix are not zero.
    pub(crate) fn new(prefix: Ipv6Net) -> Option<Self> {
        let prefix = prefix.trunc();
        let octets = prefix.addr().octets();
        (LENGTHS.contains(&prefix.prefix_len()) && octets[FREE_OCTET] == 0).then_some(Self(prefix))
    }

    fn well_known() -> Self {
        Self(Ipv6Net::new_assert(WELL_KNOWN, 96))
    }

    /// Returns the IPv4 address that is embedded in `address`. `None` if `address` does not have this prefix.
    pub(super) fn embedded(self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        self.0.contains(&address).then(|| at(address, self.0.prefix_len()))
    }
}

impl fmt::Debug for Nat64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns the IPv4 address that is embedded in `address`, if `address` has one of the site's prefixes or the
/// well-known prefix. If several prefixes match, the longest prefix is used, as in a routing table.
pub(super) fn embedded(address: Ipv6Addr, site_prefixes: &[Nat64]) -> Option<Ipv4Addr> {
    let fitting =
        site_prefixes.iter().copied().chain([Nat64::well_known()]).filter(|prefix| prefix.0.contains(&address));
    fitting.max_by_key(|prefix| prefix.0.prefix_len()).and_then(|prefix| prefix.embedded(address))
}

/// Returns the IPv4 addresses that may be embedded in an address of the network for local use, if the prefix of the
/// address is not known. There is one IPv4 address for each possible length of the prefix. If a length leads to
/// 0.0.0.0, the address does not have a prefix of this length, so this IPv4 address is left out. For 96 bits, 0.0.0.0
/// is kept.
pub(super) fn possible_embedded(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let local = Ipv6Net::new_assert(LOCAL_USE.0, LOCAL_USE.1).contains(&address);
    let lengths = LENGTHS.into_iter().filter(move |length| local && *length >= LOCAL_USE.1);
    lengths
        .map(move |length| (length, at(address, length)))
        .filter(|(length, v4)| *length == 96 || !v4.is_unspecified())
        .map(|(_, v4)| v4)
}

/// Returns the IPv4 address that follows a prefix of `length` bits.
fn at(address: Ipv6Addr, length: u8) -> Ipv4Addr {
    let octets = address.octets();
    let mut behind = (usize::from(length / 8)..octets.len()).filter(|at| *at != FREE_OCTET || length == 96);
    let mut next = || behind.next().map_or(0, |at| octets[at]);
    Ipv4Addr::new(next(), next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nat64(prefix: &str) -> Nat64 {
        Nat64::new(prefix.parse().unwrap()).unwrap()
    }

    /// The examples are from the table in section 2.4 of RFC 6052.
    #[test]
    fn an_address_is_taken_out_behind_a_prefix_of_each_length() {
        let expected = Some(Ipv4Addr::new(192, 0, 2, 33));
        for (prefix, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ] {
            assert_eq!(nat64(prefix).embedded(address.parse().unwrap()), expected, "{prefix}");
            // Bits 64 to 71, and the bits after the IPv4 address, are ignored.
            let bits = address.parse::<Ipv6Addr>().unwrap().to_bits();
            if !prefix.ends_with("/96") {
                let noisy = Ipv6Addr::from_bits(bits | (0xff << 56) | 0xff);
                assert_eq!(nat64(prefix).embedded(noisy), expected, "{noisy}");
            }
            assert_eq!(nat64(prefix).embedded("2001:db9::1".parse().unwrap()), None);
        }
    }

    #[test]
    fn other_prefixes_are_none() {
        for bad in ["2001:db8::/33", "2001:db8::/72", "2001:db8::/128", "::/0", "2001:db8:0:0:ff00::/96"] {
            assert_eq!(Nat64::new(bad.parse().unwrap()), None, "{bad}");
        }
        assert_eq!(
            nat64("2001:db8:100::1/40"),
            nat64("2001:db8:100::/40"),
            "the bits after the prefix are not part of it"
        );
    }

    #[test]
    fn the_longest_prefix_counts() {
        let both = [nat64("2001:db8::/32"), nat64("2001:db8:7f00:1::/96")];
        assert_eq!(embedded("2001:db8:7f00:1::8.8.8.8".parse().unwrap(), &both), Some(Ipv4Addr::new(8, 8, 8, 8)));
        assert_eq!(embedded("2001:db8:7f00:2::8.8.8.8".parse().unwrap(), &both), Some(Ipv4Addr::new(127, 0, 0, 2)));
        assert_eq!(embedded("64:ff9b::7f00:1".parse().unwrap(), &[]), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(embedded("2600::1".parse().unwrap(), &both), None);
    }
}
