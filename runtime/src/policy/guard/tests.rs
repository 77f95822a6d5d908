//! Tests of the lists of addresses, and of unusual ways to write an address.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn passes(guard: &Guard, address: &str, reach: Reach) -> bool {
    guard.check_addresses(&[ip(address)], reach).is_ok()
}

/// Addresses that only trusted webhooks are allowed to go to.
const SPECIAL: &[&str] = &[
    "0.0.0.1",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.255",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "240.0.0.1",
    "255.255.255.254",
    "255.255.255.255",
    "::1",
    "::2",
    "::7f00:1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:0:7f00:1",
    "::5efe:7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.1.2.3",
    "64:ff9b::192.168.1.1",
    "64:ff9b:1::1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    "2001:2::1",
    "2001:20::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "3fff:fff:ffff::1",
    "4000::1",
    "5f00::1",
    "8000::1",
    "fc00::1",
    "fd12:3456:789a::1",
    "fdff::1",
    "fec0::1",
];

/// Addresses that no webhook is allowed to go to.
const CLOSED: &[&str] = &[
    "0.0.0.0",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "192.0.0.192",
    "224.0.0.1",
    "239.255.255.255",
    "::",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:42::42",
    "fd00:a9fe:a9fe::1",
    "fd00:100::100:200",
    "fe80::1",
    "fe80::5efe:8.8.8.8",
    "febf::1",
    "ff02::1",
    "::ffff:0.0.0.0",
    "::ffff:169.254.169.254",
    "::ffff:168.63.129.16",
    "::ffff:224.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b::100.100.100.200",
    "64:ff9b::0.0.0.0",
    "64:ff9b:1::169.254.169.254",
    // These addresses contain 169.254.169.254 after prefixes of 48, 56 and 64 bits.
    "64:ff9b:1:a9fe:a9:fe00::",
    "64:ff9b:1:a9:fe:a9fe::",
    "64:ff9b:1:0:a9:fea9:fe00::",
    "64:ff9b:1:a9fe:ffa9:fe12:3456:789a",
    "::169.254.169.254",
    "::ffff:0:169.254.169.254",
    "2002:a9fe:a9fe::1",
    "2600::200:5efe:169.254.169.254",
    "2001:0:a9fe:a9fe::",
    "2001:0:4136:e378:8000:63bf:5601:5601",
];

/// Addresses that all webhooks are allowed to go to.
const GLOBAL: &[&str] = &[
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "128.0.0.1",
    "168.63.129.15",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.167.255.255",
    "192.175.48.1",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "64:ff9b::8.8.8.8",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2600::1",
    "2606:4700:4700::1111",
    "3ffe::1",
];

#[test]
fn a_payloads_webhook_reaches_global_unicast_only() {
    let guard = Guard::default();
    for address in SPECIAL.iter().chain(CLOSED) {
        assert!(!passes(&guard, address, Reach::Public), "{address}");
    }
    for address in GLOBAL {
        assert!(passes(&guard, address, Reach::Public), "{address}");
    }
}

#[test]
fn the_operators_webhook_reaches_all_but_metadata_and_link_local() {
    let guard = Guard::default();
    for address in SPECIAL.iter().chain(GLOBAL) {
        assert!(passes(&guard, address, Reach::Private), "{address}");
    }
    for address in CLOSED {
        assert!(!passes(&guard, address, Reach::Private), "{address}");
    }
}

#[test]
fn allowed_networks_open_what_is_special_and_never_what_is_closed() {
    let all = Guard::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
    for address in SPECIAL {
        assert!(passes(&all, address, Reach::Public), "{address}");
    }
    for address in CLOSED {
        assert!(!passes(&all, address, Reach::Public), "{address}");
    }
    let one = Guard::new(vec!["10.1.0.0/16".parse().unwrap(), "fd12::/16".parse().unwrap()]);
    for (address, expected) in [
        ("10.1.255.255", true),
        ("10.2.0.0", false),
        ("::ffff:10.1.0.1", true),
        ("64:ff9b::10.1.0.1", true),
        ("64:ff9b::10.2.0.1", false),
        ("::10.1.0.1", false),
        ("2002:a01:1::1", false),
        ("fd12::1", true),
        ("fd13::1", false),
    ] {
        assert_eq!(passes(&one, address, Reach::Public), expected, "{address}");
    }
}

#[test]
fn denied_networks_are_closed_to_everybody_in_any_form() {
    let open = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let denied = ["10.1.0.0/16", "2600:1::/32", "::ffff:9.9.9.0/120", "fd12::/16"].map(|net| net.parse().unwrap());
    let guard = Guard::new(open).deny(denied.into()).nat64(vec![prefix("2001:db8:64::/96")]);
    for (address, expected) in [
        ("10.1.2.3", false),
        ("10.2.2.3", true),
        ("::ffff:10.1.2.3", false),
        ("64:ff9b::10.1.2.3", false),
        ("64:ff9b:1::10.1.2.3", false),
        ("2001:db8:64::10.1.2.3", false),
        ("2001:db8:64::10.2.2.3", true),
        ("2002:a01:203::1", false),
        ("::10.1.2.3", false),
        ("9.9.9.9", false),
        ("9.9.8.9", true),
        ("2600:1::1", false),
        ("2600:2::1", true),
        ("fd12::1", false),
        ("8.8.8.8", true),
    ] {
        for reach in [Reach::Public, Reach::Private] {
            assert_eq!(passes(&guard, address, reach), expected, "{address}");
        }
    }
    let told = guard.check_addresses(&[ip("10.1.2.3")], Reach::Private).unwrap_err().to_string();
    assert!(told.contains("10.1.2.3") && told.contains("delivery.deny_networks"), "{told}");
    assert!(passes(&Guard::default().deny(vec![]), "8.8.8.8", Reach::Public));
}

fn prefix(text: &str) -> Nat64 {
    Nat64::new(text.parse().unwrap()).unwrap()
}

/// The examples are from the table in section 2.4 of RFC 6052.
#[test]
fn behind_the_sites_own_prefixes_the_ipv4_address_is_judged() {
    let prefixes =
        ["2600:db8::/32", "2600:da8:100::/40", "2600:d98:122::/48", "fd98:122:300::/56", "64:ff9b:1:344::/64"];
    let guard = Guard::new(vec!["10.9.0.0/16".parse().unwrap()]).nat64(prefixes.map(prefix).into());
    for (public, private, allowed, metadata) in [
        ("2600:db8:808:808::", "2600:db8:a01:203::", "2600:db8:a09:203::", "2600:db8:a9fe:a9fe::"),
        ("2600:da8:108:808:8::", "2600:da8:10a:102:3::", "2600:da8:10a:902:3::", "2600:da8:1a9:fea9:fe::"),
        (
            "2600:d98:122:808:8:800::",
            "2600:d98:122:a01:2:300::",
            "2600:d98:122:a09:2:300::",
            "2600:d98:122:a9fe:a9:fe00::",
        ),
        ("fd98:122:300:8:8:808::", "fd98:122:300:a:1:203::", "fd98:122:300:a:9:203::", "fd98:122:300:a9:fe:a9fe::"),
        (
            "64:ff9b:1:344:8:808:800:0",
            "64:ff9b:1:344:a:102:300:0",
            "64:ff9b:1:344:a:902:300:0",
            "64:ff9b:1:344:a9:fea9:fe00:0",
        ),
    ] {
        for address in [public, allowed] {
            assert!(passes(&guard, address, Reach::Public), "{address}");
        }
        assert!(!passes(&guard, private, Reach::Public) && passes(&guard, private, Reach::Private), "{private}");
        assert!(!passes(&guard, metadata, Reach::Private), "{metadata}");
    }
    // If the prefix is not configured, this address looks public, although it contains a private IPv4 address.
    assert!(passes(&Guard::default(), "2600:db8:a01:203::", Reach::Public));
}

#[test]
fn one_bad_address_refuses_all() {
    let guard = Guard::default();
    let mixed = [ip("8.8.8.8"), ip("2606:4700::1"), ip("127.0.0.1")];
    assert_eq!(guard.check_addresses(&mixed, Reach::Public).unwrap_err().address, ip("127.0.0.1"));
    guard.check_addresses(&mixed[..2], Reach::Public).unwrap();
}

#[test]
fn a_literal_is_judged_however_it_is_written() {
    let guard = Guard::default();
    let check = |host: &str, strict: bool, trusted: bool| {
        let url = Url::parse(&format!("http://{host}/x")).unwrap();
        assert_eq!(guard.check_url(&url, Reach::Public).is_ok(), strict, "{host} strict");
        assert_eq!(guard.check_url(&url, Reach::Private).is_ok(), trusted, "{host} trusted");
    };
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0x7f.0.0.0x1",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "127.0.0.1.",
        "[::1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "user:pw@10.0.0.1",
        "example.com@127.0.0.1:80",
    ] {
        check(host, false, true);
    }
    for host in ["0", "0x0", "2852039166", "0xa9fea9fe", "169.254.43518", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]"] {
        check(host, false, false);
    }
    for host in ["8.8.8.8", "134744072", "[2606:4700:4700::1111]"] {
        check(host, true, true);
    }
    // The check allows a URL whose host is a name. The addresses of the name are checked when a connection is opened.
    for host in ["localhost", "LOCALHOST", "localhost.", "example.com\\@127.0.0.1", "127.0.0.1.nip.io"] {
        check(host, true, true);
    }
    let url = Url::parse("http:///127.0.0.1/").unwrap();
    guard.check_url(&url, Reach::Public).unwrap_err();
    Url::parse("http://[fe80::1%25eth0]/").unwrap_err();
}

#[test]
fn a_refusal_names_the_setting_that_would_allow_it() {
    let guard = Guard::default();
    let refusal = |address: &str| guard.check_addresses(&[ip(address)], Reach::Public).unwrap_err();
    let told = refusal("10.1.2.3").to_string();
    for part in ["10.1.2.3", "10.0.0.0/8", "delivery.allow_networks", "[[delivery.endpoint]]", "private = true"] {
        assert!(told.contains(part), "{told}");
    }
    // A log line shows at most 300 characters of an error, so this text must be shorter.
    let longest = refusal("100.127.255.255").to_string();
    assert!(longest.len() <= 290, "{}", longest.len());
    assert!(!refusal("169.254.169.254").to_string().contains("allow_networks"), "no setting allows it");
}

proptest! {
    /// Compares the address guard with the standard library. An untrusted webhook must not go to an address that the
    /// standard library knows as special.
    #[test]
    fn what_passes_is_unicast_and_not_of_a_known_special_network(bits: u128, low: u32) {
        let guard = Guard::default();
        let v4 = Ipv4Addr::from(low);
        if guard.check_addresses(&[v4.into()], Reach::Public).is_ok() {
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_unspecified() || v4.is_multicast() || v4.octets()[0] == 0
                || v4.octets()[0] >= 240;
            prop_assert!(!special, "{v4}");
        }
        let v6 = Ipv6Addr::from(bits);
        if guard.check_addresses(&[v6.into()], Reach::Public).is_ok() {
            prop_assert!(v6.segments()[0] >> 13 == 1 || nat64::embedded(v6, &[]).is_some(), "{v6}");
            prop_assert!(!v6.is_multicast() && !v6.is_unicast_link_local() && !v6.is_unique_local(), "{v6}");
        }
    }

    /// If an IPv4 address is refused, each IPv6 address that contains it is refused as well. The NAT64 address is
    /// allowed if and only if the IPv4 address is allowed.
    #[test]
    fn no_form_of_an_ipv4_address_opens_what_it_does_not(low: u32) {
        let v4 = Ipv4Addr::from(low);
        let [a, b, c, d] = v4.octets();
        let (high, low_half) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        for reach in [Reach::Public, Reach::Private] {
            let passes = |address: IpAddr| Guard::default().check_addresses(&[address], reach).is_ok();
            let plain = passes(v4.into());
            prop_assert_eq!(passes(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low_half).into()), plain, "{}", v4);
            for carrier in [
                v4.to_ipv6_mapped(),
                v4.to_ipv6_compatible(),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low_half),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low_half),
                Ipv6Addr::new(0x2002, high, low_half, 0, 0, 0, 0, 1),
                // Teredo addresses contain the server's address, and the client's address with all bits inverted.
                Ipv6Addr::new(0x2001, 0, high, low_half, 0, 0, 0, 0),
                Ipv6Addr::new(0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low_half),
            ] {
                prop_assert!(plain || !passes(carrier.into()), "{carrier} carries {v4}");
            }
        }
    }

    /// A forbidden address is refused, whatever network the operator allows, and in whatever order the addresses are.
    #[test]
    fn what_is_closed_stays_closed_beside_anything(address: u32, bits in 0..=32_u8, closed in prop::sample::select(CLOSED), at in 0..3_usize) {
        let open = ipnet::Ipv4Net::new(Ipv4Addr::from(address), bits).unwrap();
        let guard = Guard::new(vec![open.into(), "::/0".parse().unwrap(), "0.0.0.0/0".parse().unwrap()]);
        let mut addresses = vec![ip("8.8.8.8"), ip("10.0.0.1")];
        addresses.insert(at, ip(closed));
        for reach in [Reach::Public, Reach::Private] {
            prop_assert!(guard.check_addresses(&addresses, reach).is_err(), "{closed}");
        }
    }
}
