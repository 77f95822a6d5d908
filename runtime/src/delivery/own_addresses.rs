//! Finds out whether an address belongs to this server, so that an untrusted webhook cannot call this server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::policy::guard::Refusal;

/// The port to which the UDP socket of the check connects. Every port is suitable, because nothing is sent.
const DISCARD: u16 = 9;

/// Refuses the addresses if a connection to one of them would reach this server. `listeners` are the addresses that
/// this server listens on. An unspecified address such as 0.0.0.0 means all addresses of this machine.
pub(super) fn check(addresses: &[IpAddr], listeners: &[IpAddr]) -> Result<(), Refusal> {
    let is_own = |address: IpAddr| {
        let plain = address.to_canonical();
        let reaches = |listener: &IpAddr| {
            listener.to_canonical() == plain
                || (listener.is_unspecified() && (plain.is_loopback() || is_this_machine(plain)))
        };
        listeners.iter().any(reaches)
    };
    match addresses.iter().find(|address| is_own(**address)) {
        Some(address) => Err(Refusal::own_address(*address)),
        None => Ok(()),
    }
}

/// Whether the address belongs to this machine now. The check connects a UDP socket to `address`, and then the
/// operating system chooses a local address. If the two addresses are equal, `address` belongs to this machine.
/// Connecting a UDP socket sends nothing.
fn is_this_machine(address: IpAddr) -> bool {
    let from: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let local_address = || {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect((address, DISCARD))?;
        socket.local_addr()
    };
    local_address().is_ok_and(|local: SocketAddr| local.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str, listener: &str) -> bool {
        check(&[address.parse().unwrap()], &[listener.parse().unwrap()]).is_err()
    }

    #[test]
    fn a_listener_is_found_at_its_address_and_one_on_all_addresses_at_each_of_them() {
        assert!(refused("10.0.0.1", "10.0.0.1"));
        assert!(refused("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(!refused("10.0.0.2", "10.0.0.1"));
        assert!(!refused("93.184.215.14", "0.0.0.0"));
        for everywhere in ["0.0.0.0", "::"] {
            for loopback in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
                assert!(refused(loopback, everywhere), "{loopback} on {everywhere}");
            }
        }
        assert!(check(&[], &["0.0.0.0".parse().unwrap()]).is_ok());
    }

    #[test]
    fn this_machine_knows_its_own_address() {
        assert!(is_this_machine(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_this_machine(Ipv4Addr::new(93, 184, 215, 14).into()));
    }
}
