//! Where a broker is, as it is given on the command line.

use std::fmt;
use std::str::FromStr;

/// A broker's `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not HOST:PORT")]
pub struct InvalidAddress(String);

impl Address {
    /// A name or an IP address, the latter without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The first usable address of a server reference `[MQTT5-4.11]`; without a port the one of `self` holds.
    pub(crate) fn of_reference(&self, reference: &str) -> Option<Self> {
        reference.split_ascii_whitespace().find_map(|text| {
            let with_port = text.parse().ok();
            with_port.or_else(|| Self::from_str(&format!("{text}:{}", self.port)).ok())
        })
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidAddress(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(invalid());
        }
        let host = bare.unwrap_or(host);
        if host.is_empty() {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| invalid())? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["localhost:1883", "127.0.0.1:1", "[::1]:8883"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in ["", "localhost", ":1883", "::1:1883", "a:65536", "a:b"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn references_may_leave_out_the_port() {
        let here: Address = "a:1883".parse().unwrap();
        assert_eq!(here.of_reference("b:1 c:2").unwrap().to_string(), "b:1");
        assert_eq!(here.of_reference("b").unwrap().to_string(), "b:1883");
        assert_eq!(here.of_reference(""), None);
    }
}
