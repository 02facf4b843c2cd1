//! Networks and the addresses in them.

use std::net::IpAddr;

/// The bits of an address, from the first: `0` and `1`.
type Bits = String;

/// Whether the text is an address, and which. An IPv4 address that is written as IPv6 is the IPv4 address.
pub(super) fn read_address(text: &str) -> Option<Bits> {
    let address: IpAddr = text.parse().ok()?;
    Some(match address {
        IpAddr::V4(address) => format!("{:032b}", address.to_bits()),
        IpAddr::V6(address) => {
            let bits = format!("{:0128b}", address.to_bits());
            match bits.strip_prefix(&mapped()) {
                Some(last) => last.to_owned(),
                None => bits,
            }
        }
    })
}

/// Whether the address is in the network, or is the one address that is given in place of a network.
pub(super) fn contains(network: &str, address: &Bits) -> bool {
    let Some((base, length)) = network.split_once('/') else {
        return read_address(network).as_ref() == Some(address);
    };
    let base: IpAddr = base.parse().unwrap_or_else(|_| panic!("{network} was accepted as a network"));
    let mut length: usize = length.parse().unwrap_or_else(|_| panic!("{network} was accepted as a network"));
    let mut bits = match base {
        IpAddr::V4(base) => format!("{:032b}", base.to_bits()),
        IpAddr::V6(base) => format!("{:0128b}", base.to_bits()),
    };
    if bits.starts_with(&mapped()) && bits.len() == 128 && length >= 96 {
        bits = bits[96..].to_owned();
        length -= 96;
    }
    bits.len() == address.len() && address.starts_with(&bits[..length])
}

/// What an IPv6 address begins with that stands for an IPv4 address.
fn mapped() -> Bits {
    format!("{}{}", "0".repeat(80), "1".repeat(16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_and_out() {
        for (network, address, is_in) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "11.0.0.1", false),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "10.0.0.1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("2001:DB8::1", "2001:db8:0:0:0:0:0:1", true),
        ] {
            let bits = read_address(address).unwrap_or_else(|| panic!("{address} is an address"));
            assert_eq!(contains(network, &bits), is_in, "{address} in {network}");
        }
        for bad in [
            "",
            "10.0.0",
            "10.0.0.256",
            "010.0.0.1",
            "fe80::1%eth0",
            "10.0.0.1:80",
            "[::1]",
            "10.0.0.0/8",
            " ::1",
        ] {
            assert_eq!(read_address(bad), None, "{bad}");
        }
    }
}
