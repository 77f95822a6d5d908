//! Who a caller is, by address: the address of the connection, or what a trusted proxy says.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

/// The header in which proxies list the addresses that a call came through. No standard defines it.
const X_FORWARDED_FOR: &str = "x-forwarded-for";
/// The header in which a proxy says how the caller reached it. No standard defines it.
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
/// The largest number of proxies in a row.
const MAX_HOPS: usize = 32;

/// The address of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

impl ClientAddress {
    /// Returns the address of a caller whose connection comes from `peer`.
    ///
    /// The headers `forwarded` and `x-forwarded-for` are read only if `peer` is a trusted proxy. Each proxy appends the
    /// address that it saw, so the headers are read from the right, and only as far as trusted proxies wrote them.
    pub(crate) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let peer = peer.to_canonical();
        if !is_trusted(peer, trusted) {
            return Self(peer);
        }
        let found = |name: &str, read: fn(&str) -> Option<IpAddr>| {
            headers.contains_key(name).then(|| last_untrusted(peer, headers, name, read, trusted))
        };
        let forwarded = found(FORWARDED.as_str(), for_of);
        let x_forwarded_for = found(X_FORWARDED_FOR, |text| address(text.trim()));
        match (forwarded, x_forwarded_for) {
            // A proxy writes one of the headers, and lets the other through as the caller sent it. If they disagree, it
            // is not known which of them the proxy wrote, so neither is believed.
            (Some(one), Some(other)) if one != other => Self(peer),
            (Some(found), _) | (None, Some(found)) => Self(found),
            (None, None) => Self(peer),
        }
    }
}

/// Whether the caller speaks https.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverHttps(pub(crate) bool);

impl OverHttps {
    /// Finds out how a caller speaks whose connection comes from `peer`. Only a trusted proxy is believed. Who brings such
    /// a header through a proxy says it of itself, and gains nothing.
    pub(crate) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        if !is_trusted(peer.to_canonical(), trusted) {
            return Self(false);
        }
        let elements = |name: &str| {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).take(MAX_HOPS).map(str::trim).collect::<Vec<_>>()
        };
        let is_https = |scheme: &str| scheme.trim_matches('"').eq_ignore_ascii_case("https");
        let says_https = |element: &str| {
            let mut parameters = element.split(';').filter_map(|parameter| parameter.trim().split_once('='));
            parameters.any(|(name, value)| name.eq_ignore_ascii_case("proto") && is_https(value))
        };
        let by_name = elements(X_FORWARDED_PROTO).into_iter().any(is_https);
        Self(by_name || elements(FORWARDED.as_str()).into_iter().any(says_https))
    }
}

/// Reads the list of addresses in a header, beginning at its right end. Returns the first address that is not a trusted
/// proxy. If all addresses are trusted proxies, returns the last one that was read.
fn last_untrusted(
    peer: IpAddr,
    headers: &HeaderMap,
    name: &str,
    read: fn(&str) -> Option<IpAddr>,
    trusted: &[IpNet],
) -> IpAddr {
    let values = headers.get_all(name).iter().rev();
    let elements = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    let mut last = peer;
    for element in elements.take(MAX_HOPS) {
        // What stands before an element that is not an address was not written by a trusted proxy.
        let Some(address) = read(element) else { break };
        last = address;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    last
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Returns the address in the parameter `for` of an element of the header `forwarded`, such as
/// `for="[2001:db8::1]:4711";proto=https`.
fn for_of(element: &str) -> Option<IpAddr> {
    let mut parameters = element.split(';').filter_map(|parameter| parameter.trim().split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    address(quoted.unwrap_or(value))
}

/// Reads an address, with or without a port and brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn of(peer: &str, headers: &[(&str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        ClientAddress::of(peer.parse().unwrap(), &map, &trusted).0.to_string()
    }

    #[test]
    fn a_stranger_says_nothing_about_its_address() {
        assert_eq!(of("203.0.113.9", &[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")]), "203.0.113.9");
        assert_eq!(of("::ffff:203.0.113.9", &[]), "203.0.113.9");
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_what_the_caller_put_before_is_not() {
        for (headers, expected) in [
            (vec![("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
            (vec![("x-forwarded-for", "1.1.1.1, 203.0.113.9")], "203.0.113.9"),
            (vec![("x-forwarded-for", "1.1.1.1, 203.0.113.9 , 10.9.9.9")], "203.0.113.9"),
            (vec![("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9:443")], "203.0.113.9"),
            (vec![("forwarded", "for=1.1.1.1, For=\"[2001:db8::7]:4711\";proto=https")], "2001:db8::7"),
            (vec![("forwarded", "for=\"1.1.1.1, for=203.0.113.9;by=10.0.0.1, for=10.2.2.2")], "203.0.113.9"),
            (vec![("forwarded", "for=203.0.113.9, for=unknown, for=10.2.2.2")], "10.2.2.2"),
            (vec![("forwarded", "for=_hidden")], PROXY),
            (vec![("x-forwarded-for", "nonsense")], PROXY),
            (vec![("x-forwarded-for", "")], PROXY),
            (vec![], PROXY),
            (vec![("x-forwarded-for", "10.3.3.3, 10.2.2.2")], "10.3.3.3"),
        ] {
            assert_eq!(of(PROXY, &headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn headers_that_disagree_are_not_believed() {
        let agree = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")];
        assert_eq!(of(PROXY, &agree), "203.0.113.9");
        let forged = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(of(PROXY, &forged), PROXY);
    }

    #[test]
    fn only_a_trusted_proxy_says_that_a_caller_speaks_https() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let of = |peer: &str, name: &'static str, value: &str| {
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]);
            OverHttps::of(peer.parse().unwrap(), &headers, &trusted).0
        };
        for (name, value) in [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-proto", "HTTPS, http"),
            ("forwarded", "for=203.0.113.9;proto=https;by=10.0.0.1"),
            ("forwarded", "for=203.0.113.9; Proto=\"https\", for=10.0.0.2;proto=http"),
        ] {
            assert!(of(PROXY, name, value), "{value}");
            assert!(!of("203.0.113.9", name, value), "{value}");
        }
        for (name, value) in
            [("x-forwarded-proto", "http"), ("x-forwarded-proto", "httpsx"), ("forwarded", "for=1.1.1.1;by=https")]
        {
            assert!(!of(PROXY, name, value), "{value}");
        }
    }

    #[test]
    fn the_number_of_proxies_is_bounded() {
        let long = ["1.1.1.1"].into_iter().chain(["10.2.2.2"; 100]).collect::<Vec<_>>().join(",");
        assert_eq!(of(PROXY, &[("x-forwarded-for", &long)]), "10.2.2.2");
    }
}
