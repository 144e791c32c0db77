//! Who a certificate speaks for.

use std::fmt;

use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What the holder of a certificate may be in a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves devices and talks to peers: server and client at once.
    Gateway,
    /// A thing in the field.
    Device,
    /// A person or a program that uses the HTTP API.
    Operator,
}

/// Why a text cannot name an identity; the caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing there.
    #[error("name is empty")]
    Empty,
    /// Longer than allowed for the role.
    #[error("name is longer than {limit_bytes} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// A character outside the allowed set, or one that cannot come first.
    #[error("name has a character that is not allowed")]
    Character,
    /// The file name belongs to the authority itself.
    #[error("name is reserved for the authority")]
    Reserved,
}

impl Role {
    /// The word used in names and files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Device => "device",
            Self::Operator => "operator",
        }
    }

    /// The URI that carries role and name in a certificate: `tidegate:<role>:<name>`.
    pub fn uri(self, name: &str) -> String {
        format!("{SCHEME}{}:{name}", self.as_str())
    }

    /// Checks a name: it starts with a letter or digit and goes on with those and `-`, `_`, `.`; devices may
    /// also have `:`. At most 64 bytes, devices 128.
    ///
    /// # Errors
    /// [`InvalidName`], by what is wrong.
    pub fn check_name(self, name: &str) -> Result<(), InvalidName> {
        let (limit_bytes, colon) = match self {
            Self::Gateway | Self::Operator => (64, false),
            Self::Device => (128, true),
        };
        let allowed =
            |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b) || (colon && b == b':');
        match name.as_bytes() {
            [] => Err(InvalidName::Empty),
            long if long.len() > limit_bytes => Err(InvalidName::TooLong { limit_bytes }),
            [first, ..] if !first.is_ascii_alphanumeric() => Err(InvalidName::Character),
            all if !all.iter().copied().all(allowed) => Err(InvalidName::Character),
            // Compared without case, for file systems that do the same.
            _ if RESERVED.iter().any(|r| r.eq_ignore_ascii_case(name)) => {
                Err(InvalidName::Reserved)
            }
            _ => Ok(()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Gateway, Self::Device, Self::Operator].into_iter().find(|r| r.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads role and name from a certificate (DER) that has already been verified; `None` unless it has exactly
/// one well-formed Tidegate URI among its alternative names.
pub fn role_of(der: &[u8]) -> Option<(Role, String)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut ours = names.value.general_names.iter().filter_map(|name| {
        if let GeneralName::URI(uri) = name { uri.strip_prefix(SCHEME) } else { None }
    });
    // Two roles in one certificate would let its holder choose; so it has none.
    let (only, None) = (ours.next()?, ours.next()) else {
        return None;
    };
    let (role, name) = only.split_once(':')?;
    let role = Role::parse(role)?;
    role.check_name(name).ok()?;
    Some((role, name.to_owned()))
}

const SCHEME: &str = "tidegate:";
const RESERVED: [&str; 2] = ["ca", "crl"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_by_role() {
        for good in ["gw-1", "a", "A.b_c-9"] {
            assert_eq!(Role::Gateway.check_name(good), Ok(()), "{good}");
        }
        assert_eq!(Role::Device.check_name("pump:7"), Ok(()));
        assert_eq!(Role::Gateway.check_name("pump:7"), Err(InvalidName::Character));
        for bad in ["../x", ".", "..", "-x", "a/b", "a b", "ä", "a\0"] {
            assert_eq!(Role::Device.check_name(bad), Err(InvalidName::Character), "{bad}");
        }
        assert_eq!(Role::Device.check_name(""), Err(InvalidName::Empty));
        assert_eq!(Role::Operator.check_name("CA"), Err(InvalidName::Reserved));
        assert_eq!(
            Role::Device.check_name(&"x".repeat(129)),
            Err(InvalidName::TooLong { limit_bytes: 128 })
        );
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_role() {
        assert_eq!(role_of(b""), None);
        assert_eq!(role_of(b"\x30\x03\x02\x01\x01"), None);
    }
}
