//! The ways in as meant: listeners and certificates.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::doors::{
    ClientCertificate, Listen, ListenKind, TlsCertificate, TlsFiles, TlsVersion, UnknownName,
};
use super::fault::Fault;
use super::written::Written;

/// One listener for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken there.
    pub kind: ListenKind,
    /// Where it listens.
    pub bind: Bind,
    /// `host:port` for server references; for a Unix socket its path.
    pub advertise: String,
    /// Path of the WebSocket.
    pub path: String,
    /// Whether clients must show a certificate, where there is TLS.
    pub client_certificate: ClientCertificate,
    /// Authority of its clients, if it has one of its own.
    pub authority: Option<Authority>,
    /// Connections open there at once.
    pub connections: u32,
    /// Who may write a PROXY header, if connections begin with one.
    pub proxies: Option<Vec<IpNet>>,
}

/// An authority that signs clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate.
    pub ca: PathBuf,
    /// What it has revoked.
    pub crl: Option<PathBuf>,
}

impl Authority {
    /// Its files.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        std::iter::once(&self.ca).chain(&self.crl).cloned()
    }
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// On an address and a port.
    Network(SocketAddr),
    /// On a Unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Its file mode.
        mode: u32,
    },
}

impl std::fmt::Display for Bind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Unix { path, .. } => path.display().fmt(f),
        }
    }
}

/// Certificates of this gateway and of whom it trusts; PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Authority that signs gateways, devices and operators.
    pub ca: PathBuf,
    /// Certificate of this gateway.
    pub cert: PathBuf,
    /// Private key of this gateway.
    pub key: PathBuf,
    /// Certificates that are no longer trusted.
    pub crl: Option<PathBuf>,
    /// The oldest version that clients may speak.
    pub min_version: TlsVersion,
    /// What a client gets that asks for a name that no certificate is for.
    pub unknown_name: UnknownName,
    /// More certificates, by name.
    pub named: Vec<NamedCertificate>,
}

impl Tls {
    /// The four files, and everything else as it is by default.
    pub const fn of(ca: PathBuf, cert: PathBuf, key: PathBuf, crl: Option<PathBuf>) -> Self {
        let (min_version, unknown_name) = (TlsVersion::V12, UnknownName::Default);
        Self { ca, cert, key, crl, min_version, unknown_name, named: Vec::new() }
    }

    /// All its files.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let named = self.named.iter().flat_map(|it| [&it.cert, &it.key]);
        [&self.ca, &self.cert, &self.key].into_iter().chain(&self.crl).chain(named).cloned()
    }
}

/// A certificate for clients that ask for one of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCertificate {
    /// The names; at least one.
    pub names: Vec<String>,
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

pub(super) fn tls(files: &TlsFiles, base: &Path, faults: &mut Vec<Fault>) -> Option<Tls> {
    match (&files.ca, &files.cert, &files.key) {
        (Some(ca), Some(cert), Some(key)) => Some(Tls {
            ca: base.join(ca),
            cert: base.join(cert),
            key: base.join(key),
            crl: files.crl.as_ref().map(|crl| base.join(crl)),
            min_version: files.min_version,
            unknown_name: files.unknown_name,
            named: named(&files.certificate, base, faults),
        }),
        (None, None, None) if files.crl.is_none() && files.certificate.is_empty() => None,
        _ => {
            faults.push(Fault::new("tls", "needs ca, cert and key together, or none of the four"));
            None
        }
    }
}

fn named(
    written: &[TlsCertificate],
    base: &Path,
    faults: &mut Vec<Fault>,
) -> Vec<NamedCertificate> {
    let mut named: Vec<NamedCertificate> = Vec::new();
    for (index, it) in written.iter().enumerate() {
        let setting = format!("tls.certificate[{index}]");
        let (Some(cert), Some(key)) = (&it.cert, &it.key) else {
            faults.push(Fault::new(setting, "needs cert and key together"));
            continue;
        };
        if it.names.is_empty() {
            faults
                .push(Fault::new(format!("{setting}.names"), "is empty: nobody could ask for it"));
        }
        for name in &it.names {
            let plain = name.strip_prefix("*.").unwrap_or(name);
            if rustls_pki_types::DnsName::try_from(plain).is_err() {
                let what = format!("{name:?} is not a name that clients can ask for");
                faults.push(Fault::new(format!("{setting}.names"), what));
            }
            if named.iter().any(|other| other.names.iter().any(|n| n.eq_ignore_ascii_case(name))) {
                faults.push(Fault::new(
                    format!("{setting}.names"),
                    format!("{name:?} is there twice"),
                ));
            }
        }
        let names = it.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        named.push(NamedCertificate { names, cert: base.join(cert), key: base.join(key) });
    }
    named
}

pub(super) fn listeners(
    written: &Written,
    has_tls: bool,
    base: &Path,
    faults: &mut Vec<Fault>,
) -> Vec<Listener> {
    let default = [Listen::default()];
    let listens = if written.listen.is_empty() { &default[..] } else { &written.listen[..] };
    let mut listeners: Vec<Listener> = Vec::new();
    for (index, listen) in listens.iter().enumerate() {
        let name = format!("listen[{index}]");
        let before = faults.len();
        check_kind(listen, written, has_tls, &name, faults);
        let bound = bind(listen, &name, base, faults);
        let proxies = proxies(listen, &name, faults);
        let Some((bind, advertise)) = bound else { continue };
        check_reach(listen, &bind, written.access.anonymous(), &name, faults);
        if listeners.iter().any(|other| other.bind == bind) {
            faults.push(Fault::new(format!("{name}.bind"), format!("{bind} is bound twice")));
        }
        if faults.len() == before {
            listeners.push(Listener {
                kind: listen.kind,
                bind,
                advertise,
                path: listen.path.clone(),
                client_certificate: listen.client_certificate,
                authority: listen.ca.as_ref().map(|ca| Authority {
                    ca: base.join(ca),
                    crl: listen.crl.as_ref().map(|crl| base.join(crl)),
                }),
                connections: listen.connections.unwrap_or(written.limits.connections),
                proxies,
            });
        }
    }
    listeners
}

/// Whether the settings of a listener fit what it speaks.
fn check_kind(
    listen: &Listen,
    written: &Written,
    has_tls: bool,
    name: &str,
    faults: &mut Vec<Fault>,
) {
    let mut fault =
        |key: &str, what: String| faults.push(Fault::new(format!("{name}.{key}"), what));
    let secure = listen.kind.is_secure();
    if secure && !has_tls {
        fault("kind", format!("{:?} needs [tls] with ca, cert and key", listen.kind.as_str()));
    }
    if !secure && !written.access.lets_in_without_certificate() {
        fault("kind", "nobody could use it: access.anonymous is false, there are no passwords, no tokens and no hook, and without TLS there are no certificates".to_owned());
    }
    if !secure && listen.ca.is_some() {
        fault("ca", "means nothing without TLS".to_owned());
    }
    if listen.ca.is_none() && listen.crl.is_some() {
        fault("crl", "means nothing without ca".to_owned());
    }
    if !listen.path.starts_with('/') {
        fault("path", "does not begin with `/`".to_owned());
    }
    if listen.connections == Some(0) {
        fault("connections", "0 would let nobody in".to_owned());
    }
}

/// Whether everybody who can reach a listener beyond loopback is asked who he is.
fn check_reach(listen: &Listen, bind: &Bind, anonymous: bool, name: &str, faults: &mut Vec<Fault>) {
    let Bind::Network(address) = bind else { return };
    if address.ip().is_loopback() || listen.insecure_listener_beyond_loopback {
        return;
    }
    let what = if !listen.kind.is_secure() {
        format!(
            "{address} is beyond loopback and has no TLS: use kind \"{}\", or write insecure_listener_beyond_loopback = true",
            if listen.kind.is_websocket() { "secure_websocket" } else { "tls" }
        )
    } else if anonymous && listen.client_certificate != ClientCertificate::Required {
        format!(
            "{address} is beyond loopback, needs no certificate, and access.anonymous is true: set one of them, or write insecure_listener_beyond_loopback = true"
        )
    } else {
        return;
    };
    faults.push(Fault::new(format!("{name}.bind"), what));
}

/// The longest path of a Unix socket, in bytes, as Linux has it.
const SOCKET_PATH_BYTES: usize = 107;

fn bind(
    listen: &Listen,
    name: &str,
    base: &Path,
    faults: &mut Vec<Fault>,
) -> Option<(Bind, String)> {
    if listen.kind != ListenKind::Unix {
        let (address, advertise) =
            addresses(name, &listen.bind, listen.advertise.as_deref(), faults)?;
        return Some((Bind::Network(address), advertise));
    }
    let mode = u32::from_str_radix(&listen.mode, 8).ok().filter(|mode| *mode <= 0o777);
    if mode.is_none() {
        let what = format!("{:?} is not a file mode in octal, such as 0660", listen.mode);
        faults.push(Fault::new(format!("{name}.mode"), what));
    }
    if listen.proxy_protocol {
        let what = "a Unix socket has no address that could be trusted";
        faults.push(Fault::new(format!("{name}.proxy_protocol"), what));
    }
    let path = base.join(&listen.bind);
    let len = path.as_os_str().len();
    if len > SOCKET_PATH_BYTES || listen.bind.is_empty() || listen.bind == Listen::default().bind {
        let what = format!(
            "{:?} is not the path of a Unix socket, of at most {SOCKET_PATH_BYTES} bytes",
            path.display()
        );
        faults.push(Fault::new(format!("{name}.bind"), what));
    }
    let advertise = path.display().to_string();
    Some((Bind::Unix { path, mode: mode? }, advertise))
}

fn proxies(listen: &Listen, name: &str, faults: &mut Vec<Fault>) -> Option<Vec<IpNet>> {
    let key = format!("{name}.proxy_trusted");
    if !listen.proxy_protocol {
        if !listen.proxy_trusted.is_empty() {
            faults.push(Fault::new(key, "means nothing without proxy_protocol = true"));
        }
        return None;
    }
    if listen.proxy_trusted.is_empty() {
        faults.push(Fault::new(key, "is empty: every connection would be closed"));
        return None;
    }
    let mut trusted = Vec::new();
    for text in &listen.proxy_trusted {
        let one = text.parse::<std::net::IpAddr>().map(IpNet::from);
        match text.parse::<IpNet>().or(one) {
            Ok(network) => trusted.push(network),
            Err(_) => {
                let what =
                    format!("{text:?} is not an address or a CIDR block, such as 10.0.0.0/8");
                faults.push(Fault::new(key.clone(), what));
            }
        }
    }
    Some(trusted)
}

/// The address to bind and the one to tell others.
pub(super) fn addresses(
    name: &str,
    bind: &str,
    advertise: Option<&str>,
    faults: &mut Vec<Fault>,
) -> Option<(SocketAddr, String)> {
    let Ok(address) = bind.parse::<SocketAddr>() else {
        let what = format!("{bind:?} is not an address and a port, such as 127.0.0.1:1883");
        faults.push(Fault::new(format!("{name}.bind"), what));
        return None;
    };
    let advertise = match advertise {
        Some(text) if is_host_and_port(text) => text.to_owned(),
        Some(text) => {
            let what = format!("{text:?} is not a host and a port, such as gateway-1.example:8883");
            faults.push(Fault::new(format!("{name}.advertise"), what));
            return None;
        }
        None if address.ip().is_unspecified() => {
            let what = format!("is missing: nobody can dial {address}");
            faults.push(Fault::new(format!("{name}.advertise"), what));
            return None;
        }
        None => address.to_string(),
    };
    Some((address, advertise))
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(char::is_whitespace)
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{parse, resolve};
    use super::*;
    use crate::config::{ConfigError, Resolved};

    fn resolved(text: &str) -> Result<Resolved, String> {
        let text = format!("[gateway]\nid = \"gw-1\"\n{text}");
        resolve(&parse(&text).unwrap(), Path::new("/base")).map_err(|error| {
            let ConfigError::Faults(faults) = error else { panic!("{error}") };
            faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("|")
        })
    }

    const TLS: &str = "[tls]\nca = \"ca.pem\"\ncert = \"gw.pem\"\nkey = \"gw.key\"\n";

    #[test]
    fn a_unix_listener_has_a_path_and_a_mode() {
        let text = "[[listen]]\nkind = \"unix\"\nbind = \"run/mqtt.sock\"\nmode = \"0600\"\n";
        let it = resolved(text).unwrap();
        let path = PathBuf::from("/base/run/mqtt.sock");
        assert_eq!(it.listeners[0].bind, Bind::Unix { path, mode: 0o600 });
        let fault = resolved(&text.replace("0600", "rw")).unwrap_err();
        assert!(fault.contains("listen[0].mode"), "{fault}");
        let fault = resolved(&text.replace("run", &"x".repeat(100))).unwrap_err();
        assert!(fault.contains("at most 107 bytes"), "{fault}");
        assert!(resolved("[[listen]]\nkind = \"unix\"\n").unwrap_err().contains("listen[0].bind"));
    }

    #[test]
    fn a_proxy_must_be_named() {
        let text = "[[listen]]\nproxy_protocol = true\n";
        assert!(resolved(text).unwrap_err().contains("proxy_trusted: is empty"));
        let named = format!("{text}proxy_trusted = [\"10.0.0.0/8\", \"::1\"]\n");
        let proxies = resolved(&named).unwrap().listeners[0].proxies.clone().unwrap();
        assert!(proxies[0].contains(&"10.9.8.7".parse::<std::net::IpAddr>().unwrap()));
        assert!(!proxies[1].contains(&"::2".parse::<std::net::IpAddr>().unwrap()));
        let bad = text.to_owned() + "proxy_trusted = [\"10.0.0.0/33\"]\n";
        assert!(resolved(&bad).unwrap_err().contains("CIDR"));
        assert!(
            resolved("[[listen]]\nproxy_trusted = [\"::1\"]\n").unwrap_err().contains("nothing")
        );
    }

    #[test]
    fn beyond_loopback_an_anonymous_client_must_show_a_certificate() {
        let text = format!(
            "[[listen]]\nkind = \"tls\"\nbind = \"10.0.0.1:8883\"\nclient_certificate = \"optional\"\n{TLS}"
        );
        assert!(resolved(&text).unwrap_err().contains("needs no certificate"));
        assert!(resolved(&format!("{text}[access]\nanonymous = false\n")).is_ok());
    }

    #[test]
    fn more_certificates_have_names_of_their_own() {
        let more = |names: &str| {
            format!(
                "{TLS}[[tls.certificate]]\nnames = [{names}]\ncert = \"a.pem\"\nkey = \"a.key\"\n"
            )
        };
        let it = resolved(&more("\"A.example\"")).unwrap().tls.unwrap();
        assert_eq!(it.named[0].names, ["a.example"]);
        assert_eq!(it.named[0].cert, Path::new("/base/a.pem"));
        assert!(resolved(&more("")).unwrap_err().contains("nobody could ask"));
        assert!(resolved(&more("\"a b\"")).unwrap_err().contains("is not a name"));
        let twice = more("\"a\"") + &more("\"A\"").replace(TLS, "");
        assert!(resolved(&twice).unwrap_err().contains("twice"));
        assert!(
            resolved("[[tls.certificate]]\nnames = [\"a\"]\n").unwrap_err().contains("together")
        );
    }
}
