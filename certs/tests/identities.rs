//! What an authority promises, seen through TLS as a gateway sees it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use certs::{Authority, AuthorityError, IssueError, Role, development_set, role_of};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

#[test]
fn a_development_set_is_complete_private_and_stable() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("certs");
    development_set(dir, &["gw-1", "gw-2"]).unwrap();
    let before = snapshot(dir);
    for name in ["ca", "gw-1", "gw-2", "device-1", "operator"] {
        let key = fs::metadata(dir.join(format!("{name}.key"))).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600, "{name}");
        assert!(dir.join(format!("{name}.pem")).exists(), "{name}");
    }
    assert!(dir.join("crl.pem").exists());
    development_set(dir, &["gw-1", "gw-2"]).unwrap();
    assert_eq!(snapshot(dir), before);

    fs::remove_file(dir.join("device-1.pem")).unwrap();
    fs::remove_file(dir.join("crl.pem")).unwrap();
    development_set(dir, &["gw-1", "gw-2", "gw-3"]).unwrap();
    assert_eq!(names_in_tls(dir, "gw-3", "device-1"), Ok(Some((Role::Device, "device-1".into()))));
}

#[test]
fn every_role_is_read_from_a_verified_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    let sans = ["gw.example.org".to_owned(), "10.1.2.3".to_owned(), "127.0.0.1".to_owned()];
    authority.issue(Role::Gateway, "gw-1", &sans, 30).unwrap();
    authority.issue(Role::Device, "pump:7", &[], 30).unwrap();
    authority.issue(Role::Operator, "alice", &[], 30).unwrap();
    for (role, name) in
        [(Role::Gateway, "gw-1"), (Role::Device, "pump:7"), (Role::Operator, "alice")]
    {
        assert_eq!(names_in_tls(dir.path(), "gw-1", name), Ok(Some((role, name.to_owned()))));
    }
    for host in ["localhost", "127.0.0.1", "::1", "gw.example.org", "10.1.2.3"] {
        assert!(handshake(dir.path(), "gw-1", "alice", host).is_ok(), "{host}");
    }
    assert!(handshake(dir.path(), "gw-1", "alice", "other.example.org").is_err());
}

#[test]
fn only_gateways_can_be_servers() {
    let dir = tempfile::tempdir().unwrap();
    development_set(dir.path(), &["gw-1"]).unwrap();
    for name in ["device-1", "operator"] {
        assert!(handshake(dir.path(), name, "gw-1", "localhost").is_err(), "{name}");
    }
}

#[test]
fn a_revoked_certificate_is_refused_and_its_successor_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let authority = development_set(dir.path(), &["gw-1"]).unwrap();
    let old = authority.list().unwrap().into_iter().find(|e| e.name == "device-1").unwrap();
    assert!(names_in_tls(dir.path(), "gw-1", "device-1").is_ok());
    authority.revoke(&old.serial.to_ascii_uppercase()).unwrap();
    assert!(names_in_tls(dir.path(), "gw-1", "device-1").is_err());
    assert_eq!(
        authority.revoke(&old.serial).unwrap().revoked_ms,
        authority.list().unwrap().iter().find(|e| e.serial == old.serial).unwrap().revoked_ms
    );
    let new = authority.renew("device-1", 30).unwrap();
    assert_ne!(new.issued.serial, old.serial);
    assert!(names_in_tls(dir.path(), "gw-1", "device-1").is_ok());
    assert!(authority.revoke("00").is_err());
}

#[test]
fn nothing_is_overwritten_unless_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    assert!(matches!(Authority::create(dir.path()), Err(AuthorityError::File(_))));
    authority.issue(Role::Device, "pump", &[], 30).unwrap();
    let before = snapshot(dir.path());
    assert!(matches!(authority.issue(Role::Operator, "pump", &[], 30), Err(IssueError::File(_))));
    assert_eq!(snapshot(dir.path()), before);
    assert!(matches!(authority.renew("other", 30), Err(IssueError::Unknown(_))));
}

#[test]
fn what_cannot_be_certified_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    let san = |text: &str| vec![text.to_owned()];
    for bad in ["", "a b", "-a.b", "a..b", "tidegate:operator:eve"] {
        assert!(
            matches!(
                authority.issue(Role::Gateway, "gw-1", &san(bad), 30),
                Err(IssueError::AlternativeName(_))
            ),
            "{bad:?}"
        );
    }
    let device = authority.issue(Role::Device, "pump", &san("localhost"), 30);
    assert!(matches!(device, Err(IssueError::AlternativeName(_))));
    for days in [0, 3_651, u32::MAX] {
        let result = authority.issue(Role::Device, "pump", &[], days);
        assert!(matches!(result, Err(IssueError::Days(_))));
    }
    assert!(authority.list().unwrap().is_empty());
}

#[test]
fn a_damaged_or_foreign_authority_is_not_loaded() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Authority::create(one.path()).unwrap();
    Authority::create(two.path()).unwrap();
    fs::copy(two.path().join("ca.key"), one.path().join("ca.key")).unwrap();
    assert!(matches!(Authority::load(one.path()), Err(AuthorityError::Damaged)));
    fs::remove_file(two.path().join("ca.pem")).unwrap();
    // Half an authority is never replaced: its key may have signed what is in the field.
    assert!(development_set(two.path(), &["gw-1"]).is_err());
}

fn snapshot(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn names_in_tls(
    dir: &Path,
    server: &str,
    client: &str,
) -> Result<Option<(Role, String)>, rustls::Error> {
    handshake(dir, server, client, "localhost").map(|der| role_of(&der))
}

/// Shakes hands in memory, with the revocation list, and gives the client's certificate as the server saw it.
fn handshake(dir: &Path, server: &str, client: &str, host: &str) -> Result<Vec<u8>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
    let roots = Arc::new(roots);
    let chain =
        |name: &str| vec![CertificateDer::from_pem_file(dir.join(format!("{name}.pem"))).unwrap()];
    let key = |name: &str| PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
    let crl = CertificateRevocationListDer::from_pem_file(dir.join("crl.pem")).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .with_crls([crl])
        .build()
        .unwrap();
    let server_config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(server), key(server))?;
    let client_config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain(client), key(client))?;
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client_config), name)?;
    let mut server = ServerConnection::new(Arc::new(server_config))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(server.peer_certificates().unwrap()[0].to_vec())
}
