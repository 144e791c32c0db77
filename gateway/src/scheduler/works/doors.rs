//! What a host sees of itself from outside: each of its doors answers, and shows the certificate that it should.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::{Bind, ListenKind, Resolved, UnknownName};

/// How long a door may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A CONNECT of version 5 that asks for nothing: no client id, nothing kept.
const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 0];
/// How an answer to it begins, whatever it says.
const CONNACK: u8 = 0x20;
/// DISCONNECT.
const DISCONNECT: [u8; 2] = [0xe0, 0];

/// A connection over TLS.
pub(super) type Secure = StreamOwned<ClientConnection, TcpStream>;

/// The doors of a host that are looked at: on the network, without a proxy before them.
#[derive(Debug, Clone, Default)]
pub(super) struct Doors {
    plain: Vec<SocketAddr>,
    /// With the file of the certificate that whoever asks for no name is shown.
    secure: Vec<(SocketAddr, PathBuf)>,
}

impl Doors {
    pub(super) fn of(config: &Resolved) -> Self {
        let mut doors = Self::default();
        let shown = config.tls.as_ref().filter(|tls| tls.unknown_name == UnknownName::Default);
        let certificate = shown.map(|tls| tls.cert.clone());
        for listener in config.listeners.iter().filter(|listener| listener.proxies.is_none()) {
            let Bind::Network(address) = listener.bind else { continue };
            match (listener.kind, &certificate) {
                (ListenKind::Tcp, _) => doors.plain.push(reached(address)),
                (ListenKind::Tls | ListenKind::SecureWebsocket, Some(certificate)) => {
                    doors.secure.push((reached(address), certificate.clone()));
                }
                (ListenKind::Tls | ListenKind::SecureWebsocket, None)
                | (ListenKind::Websocket | ListenKind::Unix, _) => {}
            }
        }
        doors.secure.extend(certificate.map(|it| (reached(config.http.bind), it)));
        doors
    }

    /// What is wrong with one of them, for programs.
    pub(super) fn fault(&self) -> Option<String> {
        let silent = self.plain.iter().find(|door| answers(**door).is_none());
        if let Some(door) = silent {
            return Some(format!("no_answer_at_{door}"));
        }
        let other = self.secure.iter().find(|(door, file)| {
            let wanted = in_file(file);
            wanted.is_none() || shown(*door) != wanted
        });
        other.map(|(door, _)| format!("other_certificate_at_{door}"))
    }
}

/// Where a door is reached from this host.
pub(super) const fn reached(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, bind.port())
}

pub(super) fn open(door: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&door, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

/// Whether MQTT is spoken there; that nobody is taken is an answer too.
fn answers(door: SocketAddr) -> Option<()> {
    let mut stream = open(door)?;
    stream.write_all(&CONNECT).ok()?;
    let mut first = [0; 1];
    stream.read_exact(&mut first).ok()?;
    // Who was refused is not heard any more.
    let _ = stream.write_all(&DISCONNECT);
    (first == [CONNACK]).then_some(())
}

/// What a host shows of itself where clients must show a certificate of the fleet's authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnCertificate {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// The certificate that is shown there.
fn shown(door: SocketAddr) -> Option<CertificateDer<'static>> {
    let connection = shake_hands(door, None)?.conn;
    Some(connection.peer_certificates()?.first()?.clone().into_owned())
}

/// A connection to a door that shows the certificate in this file; none if it shows another, or nothing.
pub(super) fn secure(
    door: SocketAddr,
    own: Option<&OwnCertificate>,
    file: &Path,
) -> Option<Secure> {
    let stream = shake_hands(door, own)?;
    let shown = stream.conn.peer_certificates().and_then(|chain| chain.first());
    let is_ours = shown.is_some() && shown == in_file(file).as_ref();
    (is_ours && !stream.conn.is_handshaking()).then_some(stream)
}

/// As far as the handshake gets.
fn shake_hands(door: SocketAddr, own: Option<&OwnCertificate>) -> Option<Secure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let config = match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_file_iter(&own.cert).ok()?;
            let chain: Vec<_> = chain.collect::<Result<_, _>>().ok()?;
            let key = PrivateKeyDer::from_pem_file(&own.key).ok()?;
            config.with_client_auth_cert(chain, key).ok()?
        }
    };
    let name = ServerName::IpAddress(door.ip().into());
    let connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let mut stream = StreamOwned::new(connection, open(door)?);
    while stream.conn.is_handshaking() {
        // It may end there, since this client may show nothing; what it was shown counts.
        if stream.conn.complete_io(&mut stream.sock).is_err() {
            break;
        }
    }
    Some(stream)
}

/// The first certificate in a file.
fn in_file(file: &Path) -> Option<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file).ok()?.next()?.ok()
}

/// Whoever has the key of what he shows: what that is, is compared afterwards.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A door at which whoever comes is told this.
    fn door(says: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut asked = [0; CONNECT.len()];
                let heard = stream.read_exact(&mut asked);
                assert!(heard.is_err() || asked == CONNECT);
                let _ = stream.write_all(says);
            }
        });
        address
    }

    #[test]
    fn a_door_that_speaks_mqtt_answers_whatever_it_says() {
        let open = Doors {
            plain: vec![door(&[0x20, 3, 0, 0, 0]), door(&[0x20, 3, 0, 0x9c, 0])],
            secure: Vec::new(),
        };
        assert_eq!(open.fault(), None);
        for says in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b""] {
            let other = Doors { plain: vec![door(says)], secure: Vec::new() };
            assert!(other.fault().unwrap().starts_with("no_answer_at_127.0.0.1:"));
        }
    }

    #[test]
    fn a_door_on_every_address_is_reached_on_this_host() {
        let reached = |text: &str| reached(text.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:1883"), "127.0.0.1:1883");
        assert_eq!(reached("[::]:1883"), "[::1]:1883");
        assert_eq!(reached("192.0.2.7:1883"), "192.0.2.7:1883");
    }
}
