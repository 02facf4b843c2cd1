//! Networks and the addresses in them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// An IPv6 address of `::ffff:0:0/96` stands for an IPv4 address: so many bits come before that.
const MAPPED_PREFIX_BITS: u8 = 96;

/// Reads a network: `10.0.0.0/8`, `2001:db8::/32`, or a single address. Bits behind the prefix may be set; they do not
/// count. `None` for a text that is none.
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    let network = match text.contains('/') {
        true => text.parse().ok()?,
        false => IpNet::from(parse_address(text)?),
    };
    let IpNet::V6(v6) = network else { return Some(network) };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED_PREFIX_BITS));
    match mapped {
        Some((address, prefix_bits)) => Ipv4Net::new(address, prefix_bits).ok().map(IpNet::V4),
        None => Some(network),
    }
}

/// Reads an address. One of IPv4 that is written as IPv6 (`::ffff:10.0.0.1`) is the one of IPv4.
pub(crate) fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        parse_network(network).expect(network).contains(&parse_address(address).expect(address))
    }

    #[test]
    fn members() {
        for (network, address) in [
            ("10.0.0.0/8", "10.255.255.255"),
            ("10.1.2.3/8", "10.9.9.9"),
            ("0.0.0.0/0", "255.255.255.255"),
            ("192.168.1.1", "192.168.1.1"),
            ("2001:db8::/32", "2001:db8:ffff::1"),
            ("::/0", "2001:db8::1"),
            ("10.0.0.0/8", "::ffff:10.1.1.1"),
            ("::ffff:10.0.0.0/104", "10.1.1.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            assert!(holds(network, address), "{network} {address}");
        }
        for (network, address) in [
            ("10.0.0.0/8", "11.0.0.0"),
            ("192.168.1.1", "192.168.1.2"),
            ("2001:db8::/32", "2001:db9::"),
            ("::/0", "10.0.0.1"),
            ("0.0.0.0/0", "::1"),
        ] {
            assert!(!holds(network, address), "{network} {address}");
        }
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/",
            "/8",
            "fe80::1%eth0",
            "10.0.0.1:80",
            "a",
            "010.0.0.1",
        ] {
            assert_eq!(parse_network(text), None, "{text}");
        }
        for text in ["", "10.0.0.0/8", "fe80::1%eth0", "[::1]", "localhost", " 10.0.0.1"] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }
}
