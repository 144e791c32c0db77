//! The identity of a connection, as it was established when it came in.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest;
use protocol::ClientId;
use protocol::session::Holder;

/// Who a connection speaks for. Fixed from CONNECT on, but for the user and the claims of a re-authentication.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The client id.
    pub client: ClientId,
    /// The user, if anything established one: a certificate rule, a password, a token, the hook.
    pub user: Option<Arc<str>>,
    /// Whether its certificate named the user: another issuer's user of that name is somebody else.
    pub user_by_certificate: bool,
    /// What its certificate says, if it showed one.
    pub certificate: Option<Arc<CertificateNames>>,
    /// Where it comes from; behind a trusted proxy, what the proxy says. `None` over a Unix socket.
    pub address: Option<IpAddr>,
    /// What a token allows besides the access list, if it says.
    pub claims: Option<Arc<Claims>>,
    /// The class of clients that the hook put it into.
    pub class: Option<Arc<str>>,
    /// Whether it is a client of the gateway's own, which tries what devices do.
    pub is_trial: bool,
}

impl Identity {
    /// Somebody of whom only the client id is known.
    pub const fn anonymous(client: ClientId) -> Self {
        Self {
            client,
            user: None,
            user_by_certificate: false,
            certificate: None,
            address: None,
            claims: None,
            class: None,
            is_trial: false,
        }
    }

    /// To whom its sessions belong: the user, or else who is in the certificate; the client id alone is nobody.
    pub fn holder(&self) -> Holder {
        let issuer = self.certificate.as_deref().map_or("", |names| &names.issuer);
        match (&self.user, self.certificate.as_deref()) {
            (Some(user), _) if self.user_by_certificate => holder_of(b'n', [issuer, user]),
            (Some(user), _) => holder_of(b'u', ["", user]),
            (None, Some(names)) => holder_of(b'c', [issuer, &names.subject]),
            (None, None) => Holder::NOBODY,
        }
    }
}

fn holder_of(kind: u8, texts: [&str; 2]) -> Holder {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[kind]);
    for text in texts {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let digest = context.finish();
    digest.as_ref().first_chunk().map_or(Holder::NOBODY, |head| Holder(*head))
}

/// Rights that a token carries: topic filters as MQTT writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// What may be published to.
    pub publish: Vec<String>,
    /// What may be subscribed to.
    pub subscribe: Vec<String>,
}

/// The names in a client's certificate that was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// The subject's common name.
    pub common_name: Option<String>,
    /// Subject alternative names of kind DNS.
    pub dns_names: Vec<String>,
    /// Subject alternative names of kind URI.
    pub uris: Vec<String>,
    /// Subject alternative names of kind e-mail.
    pub emails: Vec<String>,
    /// The subject's organisation.
    pub organization: Option<String>,
    /// The subject's organisational unit.
    pub organizational_unit: Option<String>,
    /// The whole subject as RFC 4514 writes it.
    pub subject: String,
    /// The issuer as RFC 4514 writes it.
    pub issuer: String,
    /// The serial number in hexadecimal, lower case.
    pub serial: String,
    /// SHA-256 of the whole certificate.
    pub fingerprint: [u8; 32],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anybody() -> Identity {
        Identity::anonymous(ClientId::new("c").unwrap())
    }

    fn certificate(issuer: &str, subject: &str) -> Identity {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        let names = CertificateNames { issuer, subject, ..CertificateNames::default() };
        Identity { certificate: Some(Arc::new(names)), ..anybody() }
    }

    fn user(name: &str, by_certificate: bool, who: Identity) -> Holder {
        let user = Some(name.into());
        Identity { user, user_by_certificate: by_certificate, ..who }.holder()
    }

    #[test]
    fn a_session_belongs_to_the_user_else_to_who_is_in_the_certificate_of_that_issuer() {
        assert_eq!(anybody().holder(), Holder::NOBODY);
        let anna = user("anna", false, anybody());
        assert_eq!(anna, user("anna", false, certificate("CN=ours", "CN=pump")));
        assert_eq!(
            certificate("CN=ours", "CN=a").holder(),
            certificate("CN=ours", "CN=a").holder()
        );
        let others = [
            anna,
            user("otto", false, anybody()),
            user("anna", true, certificate("CN=ours", "CN=anna")),
            user("anna", true, certificate("CN=theirs", "CN=anna")),
            certificate("CN=ours", "CN=anna").holder(),
            certificate("CN=theirs", "CN=anna").holder(),
            certificate("CN=oursC", "N=anna").holder(),
            Holder::NOBODY,
        ];
        let distinct: protocol::HashSet<_> = others.iter().collect();
        assert_eq!(distinct.len(), others.len());
    }
}
