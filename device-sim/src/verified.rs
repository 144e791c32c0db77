//! Certificates of brokers that were verified a moment ago.
//!
//! Thousands of devices that connect each second see the same certificate. In a device of its own its verification costs
//! nobody anything; here it would be a fifth of all this program does, and it is the broker that is to be measured.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Verifies a broker's certificate once per second, and the signature of every handshake.
#[derive(Debug)]
pub(crate) struct OncePerSecond {
    verifier: Arc<WebPkiServerVerifier>,
    last: Mutex<Option<Verified>>,
}

/// What was found good, and when.
#[derive(Debug, PartialEq, Eq)]
struct Verified {
    /// The broker's own first.
    chain: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
    second: u64,
}

impl Verified {
    fn is(&self, chain: &[CertificateDer<'_>], rest: &[CertificateDer<'_>]) -> bool {
        self.chain.iter().eq(chain.iter().chain(rest))
    }
}

impl OncePerSecond {
    pub(crate) fn new(verifier: Arc<WebPkiServerVerifier>) -> Self {
        Self { verifier, last: Mutex::default() }
    }
}

impl ServerCertVerifier for OncePerSecond {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let own = std::slice::from_ref(end_entity);
        let is_known = last.as_ref().is_some_and(|last| {
            last.second == now.as_secs() && last.name == *server_name && last.is(own, intermediates)
        });
        if is_known {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        *last = Some(Verified {
            chain: own.iter().chain(intermediates).map(|one| one.clone().into_owned()).collect(),
            name: server_name.to_owned(),
            second: now.as_secs(),
        });
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use certs::development_set;
    use rustls::RootCertStore;
    use rustls::crypto::aws_lc_rs;
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    fn certificate(folder: &Path, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(folder.join(name)).unwrap()
    }

    #[test]
    fn what_was_verified_this_second_is_good_and_nothing_else_is() {
        let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        development_set(ours.path(), &["gw-1"]).unwrap();
        development_set(others.path(), &["gw-1"]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate(ours.path(), "ca.pem")).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = OncePerSecond::new(verifier.build().unwrap());
        let (good, bad) =
            (certificate(ours.path(), "gw-1.pem"), certificate(others.path(), "gw-1.pem"));
        let here = ServerName::try_from("localhost").unwrap();
        let there = ServerName::try_from("elsewhere.example").unwrap();
        let verify =
            |shown, rest: &[_], name, now| verifier.verify_server_cert(shown, rest, name, &[], now);
        let now = UnixTime::now();
        let year = Duration::from_secs(366 * 24 * 3_600 * 30);
        let later = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + year);
        let at = |second| verifier.last.lock().unwrap().as_ref().map(|last| last.second) == second;
        assert!(at(None));
        assert!(verify(&bad, &[], &here, now).is_err());
        assert!(at(None), "only what is good is remembered");
        for _ in 0..2 {
            assert!(verify(&good, &[], &here, now).is_ok());
            assert!(at(Some(now.as_secs())));
            assert!(verify(&bad, &[], &here, now).is_err(), "another certificate");
            assert!(verify(&good, &[], &there, now).is_err(), "another name");
            assert!(verify(&good, &[], &here, later).is_err(), "not valid any more");
        }
        let second = now.as_secs();
        let wrong = Verified { chain: vec![bad.clone()], name: here.clone(), second };
        *verifier.last.lock().unwrap() = Some(wrong);
        assert!(verify(&bad, &[], &here, now).is_ok(), "it is not looked at again");
    }
}
