//! Whom a rule or a class is about.

use std::net::IpAddr;

use ipnet::IpNet;

use super::glob::Glob;
use crate::identity::Identity;

/// Whom a rule or a class is about, as written: patterns by key, each list fits if one of its patterns does, and all keys
/// that are there must fit. Nothing written fits everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhoWritten {
    /// Patterns for the client id.
    pub client: Vec<String>,
    /// Patterns for the user; a client without one does not fit.
    pub user: Vec<String>,
    /// Whether it has no user (`true`) or has one (`false`).
    pub anonymous: Option<bool>,
    /// Addresses or networks such as `10.0.0.0/8`.
    pub address: Vec<String>,
    /// Patterns for the common name in its certificate.
    pub cn: Vec<String>,
    /// Patterns for the organisation in its certificate.
    pub o: Vec<String>,
    /// Patterns for the organisational unit in its certificate.
    pub ou: Vec<String>,
    /// Patterns for any of the alternative names in its certificate.
    pub san: Vec<String>,
    /// Patterns for the issuer of its certificate, as RFC 4514 writes it.
    pub issuer: Vec<String>,
}

/// Whom a rule or a class is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    client: Vec<Glob>,
    user: Vec<Glob>,
    anonymous: Option<bool>,
    address: Vec<IpNet>,
    cn: Vec<Glob>,
    o: Vec<Glob>,
    ou: Vec<Glob>,
    san: Vec<Glob>,
    issuer: Vec<Glob>,
    /// Not those with a wildcard in client id or user, as mosquitto has it for patterns.
    plain: bool,
}

impl Who {
    /// Reads what is written.
    ///
    /// # Errors
    /// Each key that cannot be used, with what is wrong.
    pub fn new(written: &WhoWritten) -> Result<Self, Vec<(&'static str, String)>> {
        let mut faults = Vec::new();
        let mut globs = |key: &'static str, texts: &[String]| {
            let mut globs = Vec::new();
            for text in texts {
                match Glob::new(text) {
                    Ok(glob) => globs.push(glob),
                    Err(what) => faults.push((key, format!("{text:?}: {what}"))),
                }
            }
            globs
        };
        let client = globs("client", &written.client);
        let user = globs("user", &written.user);
        let cn = globs("cn", &written.cn);
        let o = globs("o", &written.o);
        let ou = globs("ou", &written.ou);
        let san = globs("san", &written.san);
        let issuer = globs("issuer", &written.issuer);
        if written.anonymous == Some(true) && !written.user.is_empty() {
            faults.push(("anonymous", "nobody has a user and none".to_owned()));
        }
        let mut address = Vec::new();
        for text in &written.address {
            match network(text) {
                Some(net) => address.push(net),
                None => {
                    let what = format!("{text:?} is no address and no network like 10.0.0.0/8");
                    faults.push(("address", what));
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let anonymous = written.anonymous;
        Ok(Self { client, user, anonymous, address, cn, o, ou, san, issuer, plain: false })
    }

    /// The user of a mosquitto file, or those who have none.
    pub(super) fn mosquitto_user(user: Option<&str>) -> Self {
        Self {
            user: user.map(Glob::literal).into_iter().collect(),
            anonymous: user.is_none().then_some(true),
            ..Self::default()
        }
    }

    /// Whom a pattern of a mosquitto file is about.
    pub(super) fn mosquitto_pattern() -> Self {
        Self { plain: true, ..Self::default() }
    }

    /// Whether it is about them.
    pub fn fits(&self, who: &Identity) -> bool {
        self.mismatch(who).is_none()
    }

    /// The first key that does not fit.
    pub(super) fn mismatch(&self, who: &Identity) -> Option<&'static str> {
        let certificate = who.certificate.as_deref();
        let name = |globs: &[Glob], name: Option<&str>| {
            globs.is_empty() || name.is_some_and(|name| globs.iter().any(|g| g.fits(name, who)))
        };
        let wild = |name: &str| name.contains(['+', '#']);
        let of = |pick: fn(&crate::CertificateNames) -> Option<&str>| certificate.and_then(pick);
        if !name(&self.client, Some(who.client.as_str())) {
            Some("client")
        } else if !name(&self.user, who.user.as_deref()) {
            Some("user")
        } else if self.anonymous.is_some_and(|wanted| wanted != who.user.is_none()) {
            Some("anonymous")
        } else if !self.address.is_empty() && !who.address.is_some_and(|a| self.reaches(a)) {
            Some("address")
        } else if !name(&self.cn, of(|c| c.common_name.as_deref())) {
            Some("cn")
        } else if !name(&self.o, of(|c| c.organization.as_deref())) {
            Some("o")
        } else if !name(&self.ou, of(|c| c.organizational_unit.as_deref())) {
            Some("ou")
        } else if !self.san.is_empty() && !self.any_san(who) {
            Some("san")
        } else if !name(&self.issuer, of(|c| Some(&c.issuer))) {
            Some("issuer")
        } else if self.plain && (wild(who.client.as_str()) || who.user.as_deref().is_some_and(wild))
        {
            Some("wildcard in the client id or user")
        } else {
            None
        }
    }

    fn reaches(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.address.iter().any(|net| net.contains(&address))
    }

    fn any_san(&self, who: &Identity) -> bool {
        who.certificate.as_deref().is_some_and(|names| {
            let mut all = names.dns_names.iter().chain(&names.uris).chain(&names.emails);
            all.any(|name| self.san.iter().any(|glob| glob.fits(name, who)))
        })
    }
}

/// An address or a network; an IPv4 address in IPv6 clothes is IPv4.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_) => text.parse().ok()?,
    };
    Some(net.trunc())
}
