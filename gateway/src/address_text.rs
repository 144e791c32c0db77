//! Addresses as text, made in one piece: a connection has its address written three times, and the standard library puts one of
//! IPv4 together from up to nine pieces.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use smallvec::SmallVec;

/// An address, shown as the standard library shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AddressText {
    /// Without a port.
    Host(IpAddr),
    /// With one.
    Socket(SocketAddr),
}

/// Room for the longest of IPv4, `255.255.255.255:65535`.
type Text = SmallVec<[u8; 24]>;

impl Display for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Host(IpAddr::V4(host)) => of_host(*host),
            Self::Socket(SocketAddr::V4(address)) => {
                let mut text = of_host(*address.ip());
                text.push(b':');
                put_number(&mut text, address.port());
                text
            }
            Self::Host(host @ IpAddr::V6(_)) => return host.fmt(f),
            Self::Socket(address @ SocketAddr::V6(_)) => return address.fmt(f),
        };
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

fn of_host(host: Ipv4Addr) -> Text {
    let mut text = Text::new();
    for part in host.octets() {
        if !text.is_empty() {
            text.push(b'.');
        }
        put_number(&mut text, part.into());
    }
    text
}

fn put_number(text: &mut Text, number: u16) {
    for unit in [10_000, 1_000, 100, 10, 1] {
        if number >= unit || unit == 1 {
            text.push(b'0' + u8::try_from(number / unit % 10).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_is_shown_as_the_standard_library_shows_it(
            host: IpAddr, v4: Ipv4Addr, port: u16, shift in 0_u32..16
        ) {
            for host in [host, v4.into()] {
                prop_assert_eq!(AddressText::Host(host).to_string(), host.to_string());
                let address = SocketAddr::new(host, port >> shift);
                prop_assert_eq!(AddressText::Socket(address).to_string(), address.to_string());
            }
        }
    }

    #[test]
    fn the_ends_are_shown_as_well() {
        for text in ["0.0.0.0:0", "255.255.255.255:65535", "10.0.100.9:10", "127.0.0.1:1883"] {
            assert_eq!(AddressText::Socket(text.parse().unwrap()).to_string(), text);
        }
    }
}
