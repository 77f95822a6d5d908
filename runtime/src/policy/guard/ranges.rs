//! The special-purpose networks of IANA's registries for IPv4 and IPv6 (RFC 6890 and its updates), and the addresses of
//! the metadata services of clouds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::nat64::{self, Nat64};

type Net4 = (Ipv4Addr, u32, &'static str);
type Net6 = (Ipv6Addr, u32, &'static str);

/// IPv4 networks that are not global unicast. The special-purpose networks 192.31.196.0/24, 192.52.193.0/24 and
/// 192.175.48.0/24 are not listed, because they are globally reachable.
const SPECIAL_4: [Net4; 14] = [
    (Ipv4Addr::UNSPECIFIED, 8, "this network, 0.0.0.0/8"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private, 10.0.0.0/8"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "carrier-grade NAT, 100.64.0.0/10"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback, 127.0.0.0/8"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private, 172.16.0.0/12"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignments, 192.0.0.0/24"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation, 192.0.2.0/24"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relays, 192.88.99.0/24"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private, 192.168.0.0/16"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking, 198.18.0.0/15"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation, 198.51.100.0/24"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation, 203.0.113.0/24"),
    (Ipv4Addr::BROADCAST, 32, "broadcast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved, 240.0.0.0/4"),
];

/// IPv6 networks that are not global unicast, with their names for messages. Addresses outside of 2000::/3 that are in
/// none of these networks are not global unicast either.
const SPECIAL_6: [Net6; 9] = [
    (Ipv6Addr::LOCALHOST, 128, "loopback, ::1"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "IPv4-mapped, ::ffff:0:0/96"),
    (Ipv6Addr::UNSPECIFIED, 8, "reserved, ::/8"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "unique local, fc00::/7"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local, fec0::/10"),
    // This network contains Teredo, benchmarking and ORCHID addresses. They are tunnels and identifiers, and not
    // receivers.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "protocol assignments, 2001::/23"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation, 2001:db8::/32"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4, 2002::/16"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation, 3fff::/20"),
];

const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// IPv4 networks that no webhook is allowed to go to.
const FORBIDDEN_4: [(Ipv4Addr, u32); 6] = [
    (Ipv4Addr::UNSPECIFIED, 32),             // reaches loopback on many systems
    (Ipv4Addr::new(169, 254, 0, 0), 16),     // link-local, metadata of most clouds
    (Ipv4Addr::new(168, 63, 129, 16), 32),   // Azure's WireServer
    (Ipv4Addr::new(100, 100, 100, 200), 32), // Alibaba's metadata
    (Ipv4Addr::new(192, 0, 0, 192), 32),     // Oracle's metadata
    (Ipv4Addr::new(224, 0, 0, 0), 4),        // multicast
];
/// IPv6 networks that no webhook is allowed to go to.
const FORBIDDEN_6: [(Ipv6Addr, u32); 10] = [
    (Ipv6Addr::UNSPECIFIED, 128),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10), // link-local
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),  // multicast
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128), // AWS metadata
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23), 128), // AWS credentials of containers
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128), // Google's metadata
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128), // Oracle's metadata
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128), // Scaleway's metadata
    (Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1), 128), // Akamai's metadata
    (Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200), 128), // Alibaba's metadata
];

/// Whether no webhook is allowed to go to this address. An IPv6 address that may lead to a forbidden IPv4 address is
/// forbidden as well.
pub(super) fn is_forbidden(address: IpAddr, nat64: &[Nat64]) -> bool {
    let forbidden_4 = |v4: Ipv4Addr| FORBIDDEN_4.iter().any(|(net, bits)| in_4(v4, *net, *bits));
    match address {
        IpAddr::V4(v4) => forbidden_4(v4),
        IpAddr::V6(v6) => {
            FORBIDDEN_6.iter().any(|(net, bits)| in_6(v6, *net, *bits)) || embedded(v6, nat64).any(forbidden_4)
        }
    }
}

/// Returns the name of the special-purpose network that contains this address. `None` if the address is global unicast.
pub(super) fn special(address: IpAddr, nat64: &[Nat64]) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => SPECIAL_4.iter().find(|(net, bits, _)| in_4(v4, *net, *bits)).map(|(_, _, name)| *name),
        IpAddr::V6(v6) => match nat64::embedded(v6, nat64) {
            // The result for a NAT64 address is the result for the IPv4 address inside it, because a network without
            // IPv4 uses such an address for every IPv4 receiver.
            Some(v4) => special(v4.into(), &[]),
            None => match SPECIAL_6.iter().find(|(net, bits, _)| in_6(v6, *net, *bits)) {
                Some((_, _, name)) => Some(name),
                None => (!in_6(v6, GLOBAL_UNICAST.0, GLOBAL_UNICAST.1)).then_some("outside of 2000::/3"),
            },
        },
    }
}

/// Returns the IPv4 addresses to which a translator or a tunnel may forward packets for this IPv6 address.
pub(super) fn embedded(v6: Ipv6Addr, nat64: &[Nat64]) -> impl Iterator<Item = Ipv4Addr> {
    // If a configured prefix matches, the length of the prefix is known. Otherwise, all lengths are possible.
    let translated = nat64::embedded(v6, nat64);
    let guessed = nat64::possible_embedded(v6).filter(move |_| translated.is_none());
    translated.into_iter().chain(guessed).chain(tunnelled(v6).into_iter().flatten())
}

fn tunnelled(v6: Ipv6Addr) -> [Option<Ipv4Addr>; 3] {
    let low = match v6.segments() {
        // IPv4-compatible, IPv4-mapped, and SIIT addresses.
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _]
        // ISATAP addresses.
        | [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => Some(low_32_bits(v6)),
        _ => None,
    };
    let (second, third) = match v6.segments() {
        // 6to4 addresses.
        [0x2002, high, low, ..] => (Some(joined(high, low)), None),
        // Teredo addresses contain the server's address, and the client's address with all bits inverted.
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            (Some(joined(high, low)), Some(joined(!client_high, !client_low)))
        }
        _ => (None, None),
    };
    [low, second, third]
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

fn low_32_bits(v6: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = v6.octets();
    Ipv4Addr::new(a, b, c, d)
}

fn in_4(address: Ipv4Addr, net: Ipv4Addr, bits: u32) -> bool {
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    address.to_bits() & mask == net.to_bits() & mask
}

fn in_6(address: Ipv6Addr, net: Ipv6Addr, bits: u32) -> bool {
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    address.to_bits() & mask == net.to_bits() & mask
}
