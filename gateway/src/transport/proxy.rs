//! The PROXY protocol, versions 1 and 2: a proxy tells where a connection comes from, before anything else.
//!
//! Strict: what departs from the specification in any way is refused, since whoever reads such a header generously can be
//! told lies. Pure: bytes in, meaning out.

use std::net::{IpAddr, SocketAddr};

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxied {
    /// The connection comes from there.
    From(SocketAddr),
    /// The proxy speaks for itself, or does not know.
    Unknown,
}

/// Why a header cannot be believed. The proxy's fault, or there is no proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The connection begins with something else.
    #[error("there is no proxy header")]
    Missing,
    /// A header of version 1 that is not as it must be.
    #[error("the proxy header of version 1 is malformed")]
    Text,
    /// A header of version 2 that is not as it must be.
    #[error("the proxy header of version 2 is malformed")]
    Binary,
    /// It says that it is longer than any sensible one.
    #[error("the proxy header is too long")]
    TooLong,
}

const TEXT: &[u8] = b"PROXY ";
/// The longest header of version 1, in bytes, with its end.
const TEXT_BYTES: usize = 107;
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The fixed part of a header of version 2, in bytes.
const FIXED_BYTES: usize = 16;
/// The longest rest of a header of version 2, in bytes: addresses, and some extensions.
const REST_BYTES: usize = 4096;

/// Reads a header at the beginning of `bytes`: its length and what it says, or `None` while it is not whole.
///
/// # Errors
/// [`ProxyError`], as soon as the bytes cannot become a header.
pub fn proxy_header(bytes: &[u8]) -> Result<Option<(usize, Proxied)>, ProxyError> {
    if begins(bytes, TEXT) {
        return if bytes.len() < TEXT.len() { Ok(None) } else { text(bytes) };
    }
    if begins(bytes, BINARY) {
        return if bytes.len() < FIXED_BYTES { Ok(None) } else { binary(bytes) };
    }
    Err(ProxyError::Missing)
}

/// Whether bytes begin as wanted, as far as they go.
fn begins(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.iter().zip(wanted).all(|(byte, wanted)| byte == wanted)
}

fn text(bytes: &[u8]) -> Result<Option<(usize, Proxied)>, ProxyError> {
    let within = bytes.get(..bytes.len().min(TEXT_BYTES)).unwrap_or_default();
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() < TEXT_BYTES { Ok(None) } else { Err(ProxyError::Text) };
    };
    let line = within.get(TEXT.len()..end).ok_or(ProxyError::Text)?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Text)?;
    let len = end + 2;
    // What follows UNKNOWN is to be ignored.
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Ok(Some((len, Proxied::Unknown)));
    }
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(ProxyError::Text);
    let (family, from, to) = (word()?, word()?, word()?);
    let (from_port, _) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(ProxyError::Text);
    }
    let from = match family {
        "TCP4" => (IpAddr::V4(address(from)?), IpAddr::V4(address(to)?)).0,
        "TCP6" => (IpAddr::V6(address(from)?), IpAddr::V6(address(to)?)).0,
        _ => return Err(ProxyError::Text),
    };
    Ok(Some((len, Proxied::From(SocketAddr::new(from, from_port)))))
}

fn address<T: std::str::FromStr>(word: &str) -> Result<T, ProxyError> {
    word.parse().map_err(|_| ProxyError::Text)
}

/// Digits without leading zeros, and nothing else.
fn port(word: &str) -> Result<u16, ProxyError> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let leading = word.len() > 1 && word.starts_with('0');
    if !digits || leading {
        return Err(ProxyError::Text);
    }
    word.parse().map_err(|_| ProxyError::Text)
}

fn binary(bytes: &[u8]) -> Result<Option<(usize, Proxied)>, ProxyError> {
    let fixed = bytes.get(BINARY.len()..FIXED_BYTES).and_then(<[u8]>::first_chunk::<4>);
    let Some([version, family, high, low]) = fixed.copied() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([high, low]));
    let local = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Binary),
    };
    if len > REST_BYTES {
        return Err(ProxyError::TooLong);
    }
    let addresses = match family {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        // Datagrams and Unix sockets are nothing that a client of ours could come by.
        _ if local => 0,
        _ => return Err(ProxyError::Binary),
    };
    if len < addresses && !local {
        return Err(ProxyError::Binary);
    }
    let whole = FIXED_BYTES + len;
    let Some(rest) = bytes.get(FIXED_BYTES..whole) else { return Ok(None) };
    if local {
        return Ok(Some((whole, Proxied::Unknown)));
    }
    let (addresses, extensions) = rest.split_at_checked(addresses).ok_or(ProxyError::Binary)?;
    check_extensions(extensions)?;
    Ok(Some((whole, from(addresses))))
}

/// The source, by the length of its family's addresses.
fn from(addresses: &[u8]) -> Proxied {
    let port = |at: usize| {
        let bytes = addresses.get(at..).and_then(<[u8]>::first_chunk::<2>);
        bytes.map_or(0, |bytes| u16::from_be_bytes(*bytes))
    };
    match addresses.len() {
        12 => addresses.first_chunk::<4>().map_or(Proxied::Unknown, |from| {
            Proxied::From(SocketAddr::new(IpAddr::from(*from), port(8)))
        }),
        36 => addresses.first_chunk::<16>().map_or(Proxied::Unknown, |from| {
            Proxied::From(SocketAddr::new(IpAddr::from(*from), port(32)))
        }),
        _ => Proxied::Unknown,
    }
}

/// Extensions must fill the rest exactly; else the length is a lie.
fn check_extensions(mut rest: &[u8]) -> Result<(), ProxyError> {
    while !rest.is_empty() {
        let Some(([_, high, low], after)) = rest.split_first_chunk::<3>() else {
            return Err(ProxyError::Binary);
        };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        rest = after.get(len..).ok_or(ProxyError::Binary)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version_2(version: u8, family: u8, len: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = BINARY.to_vec();
        bytes.extend([version, family]);
        bytes.extend(len.to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x07, 0x5b];

    #[test]
    fn headers_of_both_versions_are_read() {
        let text = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 1883\r\n\x10\x00";
        let from = Proxied::From("192.0.2.7:12345".parse().unwrap());
        assert_eq!(proxy_header(text), Ok(Some((text.len() - 2, from))));
        let text = b"PROXY TCP6 2001:db8::7 ::1 12345 1883\r\n";
        let six = Proxied::From("[2001:db8::7]:12345".parse().unwrap());
        assert_eq!(proxy_header(text), Ok(Some((text.len(), six))));
        for text in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN what ever\r\n"] {
            assert_eq!(proxy_header(text.as_bytes()), Ok(Some((text.len(), Proxied::Unknown))));
        }
        assert_eq!(proxy_header(&version_2(0x21, 0x11, 12, &V4)), Ok(Some((28, from))));
        let extended = [&V4[..], &[0x04, 0, 2, 1, 1]].concat();
        assert_eq!(proxy_header(&version_2(0x21, 0x11, 17, &extended)), Ok(Some((33, from))));
        assert_eq!(proxy_header(&version_2(0x20, 0, 0, &[])), Ok(Some((16, Proxied::Unknown))));
    }

    #[test]
    fn what_is_not_quite_a_header_is_refused() {
        for text in [
            "PROXY TCP4 192.0.2.7 10.0.0.1 012 1883\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 70000 1883\r\n",
            "PROXY TCP4 192.0.2.7  10.0.0.1 1 1883\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 1883 \r\n",
            "PROXY TCP4 ::1 10.0.0.1 1 1883\r\n",
            "PROXY TCP6 192.0.2.7 ::1 1 1883\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1 1883\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 1 1883\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(proxy_header(text.as_bytes()), Err(ProxyError::Text), "{text}");
        }
        assert_eq!(proxy_header(&b"PROXY ".repeat(20)), Err(ProxyError::Text));
        assert_eq!(proxy_header(b"\x10\x10\0\x04MQTT"), Err(ProxyError::Missing));
        for binary in [
            version_2(0x11, 0x11, 12, &V4),
            version_2(0x22, 0x11, 12, &V4),
            version_2(0x21, 0x12, 12, &V4),
            version_2(0x21, 0x11, 11, &V4),
            // Its length takes in what comes behind it.
            version_2(0x21, 0x11, 16, &[&V4[..], b"\x10\x0e\0\x04"].concat()),
        ] {
            assert_eq!(proxy_header(&binary), Err(ProxyError::Binary), "{binary:02x?}");
        }
        assert_eq!(proxy_header(&version_2(0x21, 0x11, 65_535, &V4)), Err(ProxyError::TooLong));
    }

    proptest! {
        #[test]
        fn a_header_is_the_same_however_it_arrives(
            from in any::<SocketAddr>(), port in any::<u16>(), behind in any::<Vec<u8>>(),
        ) {
            let (family, to) = match from { SocketAddr::V4(_) => ("TCP4", "10.0.0.1"), SocketAddr::V6(_) => ("TCP6", "::1") };
            let text = format!("PROXY {family} {} {to} {} {port}\r\n", from.ip(), from.port());
            let mut bytes = text.clone().into_bytes();
            for len in 0..bytes.len() {
                prop_assert_eq!(proxy_header(&bytes[..len]), Ok(None));
            }
            bytes.extend(behind);
            let told = Proxied::From(SocketAddr::new(from.ip(), from.port()));
            prop_assert_eq!(proxy_header(&bytes), Ok(Some((text.len(), told))));
        }

        #[test]
        fn no_bytes_do_harm(mut bytes in any::<Vec<u8>>(), begin in 0..3_usize) {
            let prefix = [&b""[..], TEXT, BINARY];
            bytes.splice(0..0, prefix[begin].iter().copied());
            if let Ok(Some((len, _))) = proxy_header(&bytes) {
                prop_assert!(len <= bytes.len());
                prop_assert_eq!(proxy_header(&bytes[..len]), proxy_header(&bytes));
                prop_assert_eq!(proxy_header(&bytes[..len - 1]), Ok(None));
            }
        }
    }
}
