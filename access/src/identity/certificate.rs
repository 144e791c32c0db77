//! What a client's certificate says about who it is.

use std::sync::Arc;

use super::CertificateNames;

/// A name in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameSource {
    /// The subject's common name.
    CommonName,
    /// The first alternative name of kind DNS.
    Dns,
    /// The first alternative name of kind URI that carries no role.
    Uri,
    /// The first alternative name of kind e-mail.
    Email,
    /// The name behind the role in the URI `tidegate:device:NAME`.
    Role,
    /// The whole subject, as RFC 4514 writes it.
    Subject,
}

impl NameSource {
    /// The name, if the certificate has it.
    pub fn of(self, names: &CertificateNames) -> Option<&str> {
        let name = match self {
            Self::CommonName => names.common_name.as_deref(),
            Self::Dns => names.dns_names.first().map(String::as_str),
            Self::Uri => names.uris.iter().find(|uri| !uri.starts_with(SCHEME)).map(String::as_str),
            Self::Email => names.emails.first().map(String::as_str),
            Self::Role => device_name(names).ok().flatten(),
            Self::Subject => Some(names.subject.as_str()),
        };
        name.filter(|name| !name.is_empty())
    }
}

/// What the certificate's name means for the client id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientIdRule {
    /// The client must use exactly that id.
    MustMatch,
    /// That is the client id, whatever the client asked for.
    Is,
    /// The client may use any id.
    Free,
}

/// How a certificate becomes a client id and a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRule {
    /// What the name means for the client id.
    pub client_id: ClientIdRule,
    /// Which name is meant.
    pub client_id_from: NameSource,
    /// Taken off the front of that name; a name without it is refused unless the id is free.
    pub strip: String,
    /// Put in front of what is left.
    pub prefix: String,
    /// Which name is the user; none: a certificate names no user.
    pub user_from: Option<NameSource>,
    /// Whether the certificate must carry the role of a device; gateways and operators are refused in any case.
    pub role_required: bool,
}

/// Why a certificate that was verified does not let its holder in. The holder is at fault, or the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// It is a gateway's or an operator's, or carries more than one role.
    #[error("the certificate is not a device's")]
    NotADevice,
    /// It has no role, and needs one.
    #[error("the certificate carries no role")]
    NoRole,
    /// The name that the rule asks for is not there, or lacks the prefix.
    #[error("the certificate does not have the name that the rule asks for")]
    NoName,
    /// The client asked for another id than its certificate's.
    #[error("the client id is not the certificate's")]
    OtherClientId,
}

/// Who a certificate says its holder is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateIdentity {
    /// The client id to use; none: the one asked for.
    pub client: Option<String>,
    /// The user.
    pub user: Option<Arc<str>>,
}

impl CertificateRule {
    /// Applies the rule to a certificate that was verified; `asked` is the client id in CONNECT, maybe empty.
    ///
    /// # Errors
    /// [`CertificateRefusal`], by what is wrong.
    pub fn apply(
        &self,
        names: &CertificateNames,
        asked: &str,
    ) -> Result<CertificateIdentity, CertificateRefusal> {
        if device_name(names)?.is_none() && self.role_required {
            return Err(CertificateRefusal::NoRole);
        }
        let client = match self.client_id {
            ClientIdRule::Free => None,
            ClientIdRule::Is => Some(self.client_id_of(names)?),
            ClientIdRule::MustMatch => {
                let own = self.client_id_of(names)?;
                if own != asked {
                    return Err(CertificateRefusal::OtherClientId);
                }
                Some(own)
            }
        };
        let user = match self.user_from {
            Some(source) => Some(source.of(names).ok_or(CertificateRefusal::NoName)?.into()),
            None => None,
        };
        Ok(CertificateIdentity { client, user })
    }

    /// The client id that a certificate names, also where clients may use any.
    ///
    /// # Errors
    /// [`CertificateRefusal::NoName`] if it names none.
    pub fn client_id_of(&self, names: &CertificateNames) -> Result<String, CertificateRefusal> {
        let name = self.client_id_from.of(names).and_then(|name| name.strip_prefix(&self.strip));
        match name {
            Some(rest) if !rest.is_empty() => Ok(format!("{}{rest}", self.prefix)),
            Some(_) | None => Err(CertificateRefusal::NoName),
        }
    }
}

/// How the URI that carries a role begins, as the authority writes it.
const SCHEME: &str = "tidegate:";

/// The name of a device, if a role is there at all. Two roles would let their holder choose, so they are none.
fn device_name(names: &CertificateNames) -> Result<Option<&str>, CertificateRefusal> {
    let mut roles = names.uris.iter().filter_map(|uri| uri.strip_prefix(SCHEME));
    match (roles.next(), roles.next()) {
        (None, _) => Ok(None),
        (Some(role), None) => {
            role.strip_prefix("device:").map(Some).ok_or(CertificateRefusal::NotADevice)
        }
        (Some(_), Some(_)) => Err(CertificateRefusal::NotADevice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> CertificateRule {
        CertificateRule {
            client_id: ClientIdRule::MustMatch,
            client_id_from: NameSource::CommonName,
            strip: String::new(),
            prefix: String::new(),
            user_from: None,
            role_required: true,
        }
    }

    fn device(name: &str) -> CertificateNames {
        CertificateNames {
            common_name: Some(name.to_owned()),
            uris: vec![format!("tidegate:device:{name}")],
            dns_names: vec!["pump.example".to_owned()],
            subject: format!("CN={name}"),
            ..CertificateNames::default()
        }
    }

    #[test]
    fn the_client_id_must_be_the_certificates_name() {
        let names = device("pump-7");
        let identity = rule().apply(&names, "pump-7").unwrap();
        assert_eq!(identity.client.as_deref(), Some("pump-7"));
        for other in ["pump-8", "", "pump-7 "] {
            assert_eq!(rule().apply(&names, other), Err(CertificateRefusal::OtherClientId));
        }
    }

    #[test]
    fn the_certificate_may_be_the_client_id_and_the_user() {
        let rule = CertificateRule {
            client_id: ClientIdRule::Is,
            strip: "pump-".to_owned(),
            prefix: "site-3/".to_owned(),
            user_from: Some(NameSource::Dns),
            ..rule()
        };
        let identity = rule.apply(&device("pump-7"), "anything").unwrap();
        assert_eq!(identity.client.as_deref(), Some("site-3/7"));
        assert_eq!(identity.user.as_deref(), Some("pump.example"));
        assert_eq!(rule.apply(&device("fan-1"), "x"), Err(CertificateRefusal::NoName));
        assert_eq!(rule.apply(&device("pump-"), "x"), Err(CertificateRefusal::NoName));
    }

    #[test]
    fn gateways_operators_and_double_roles_are_no_devices() {
        let free =
            CertificateRule { client_id: ClientIdRule::Free, role_required: false, ..rule() };
        for uris in [
            vec!["tidegate:gateway:gw-1".to_owned()],
            vec!["tidegate:operator:anna".to_owned()],
            vec!["tidegate:device:a".to_owned(), "tidegate:device:b".to_owned()],
        ] {
            let names = CertificateNames { uris, ..device("a") };
            assert_eq!(free.apply(&names, "a"), Err(CertificateRefusal::NotADevice));
        }
        let none = CertificateNames { uris: vec!["urn:x".to_owned()], ..device("a") };
        assert!(free.apply(&none, "a").is_ok());
        assert_eq!(rule().apply(&none, "a"), Err(CertificateRefusal::NoRole));
    }

    #[test]
    fn every_kind_of_name_is_found() {
        let names = CertificateNames {
            emails: vec!["a@example".to_owned()],
            uris: vec!["tidegate:device:a".to_owned(), "urn:dev:a".to_owned()],
            ..device("cn")
        };
        let of = |source: NameSource| source.of(&names);
        assert_eq!(of(NameSource::Email), Some("a@example"));
        assert_eq!(of(NameSource::Uri), Some("urn:dev:a"));
        assert_eq!(of(NameSource::Role), Some("a"));
        assert_eq!(of(NameSource::Subject), Some("CN=cn"));
        assert_eq!(of(NameSource::Dns), Some("pump.example"));
    }
}
