//! TLS as the gateway has it: the same library, AES with keys of 128 bits first, one ticket. A client is asked for no certificate.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CipherSuite, ServerConfig};

/// More than a record adds to what is in it.
const RECORD_BYTES: usize = 64;
/// Bytes in one record.
const LONGEST_RECORD: usize = 16 * 1024;

/// With the certificate that the environment names (`CERT`, `KEY`).
pub fn config() -> anyhow::Result<Arc<ServerConfig>> {
    let place = |name: &str| {
        std::env::var(name).with_context(|| format!("{name} must be in the environment"))
    };
    let chain = CertificateDer::pem_file_iter(place("CERT")?)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(place("KEY")?)?;
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|it| it.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.ignore_client_order = true;
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The TLS of one connection.
pub struct Session {
    session: UnbufferedServerConnection,
    /// The beginning of a record that is not whole yet.
    rest: Vec<u8>,
    /// What is to be sent.
    pub wire: Vec<u8>,
}

impl Session {
    pub fn new(config: &Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let session = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self { session, rest: Vec::new(), wire: Vec::new() })
    }

    /// Takes what came, and appends what it means.
    pub fn open(&mut self, raw: &[u8], plain: &mut Vec<u8>) -> Result<(), rustls::Error> {
        self.rest.extend_from_slice(raw);
        let mut took = 0;
        loop {
            let left = &mut self.rest[took..];
            let UnbufferedStatus { discard, state, .. } = self.session.process_tls_records(left);
            took += discard;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        plain.extend_from_slice(record.payload);
                        took += record.discard;
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                        let at = self.wire.len();
                        self.wire.resize(at + size.required_size, 0);
                        let _ = data.encode(&mut self.wire[at..]);
                    }
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => break,
                // The client is done.
                _ => {
                    took = self.rest.len();
                    break;
                }
            }
        }
        self.rest.drain(..took);
        Ok(())
    }

    /// Encrypts, behind what is to be sent already.
    pub fn seal(&mut self, plain: &[u8]) {
        for part in plain.chunks(LONGEST_RECORD) {
            let status = self.session.process_tls_records(&mut []);
            let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else { return };
            let at = self.wire.len();
            self.wire.resize(at + part.len() + RECORD_BYTES, 0);
            let sealed = traffic.encrypt(part, &mut self.wire[at..]).unwrap_or(0);
            self.wire.truncate(at + sealed);
        }
    }
}
