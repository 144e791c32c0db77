//! C11: certificates that are no good.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::ServerName;
use tests::harness::{Dial, Fleet, Identity, dial_tls, dial_tls_as, eventually};

use super::pair::Pair;

/// Bytes of one of these certificates in a handshake, at least.
const DER_BYTES: usize = 350;

#[test]
fn certificates_that_are_no_good_end_in_the_handshake() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let certs = fleet.certificates();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let authority = fs::read_to_string(certs.join("ca.pem")).expect("an authority");
    let key = fs::read_to_string(certs.join("ca.key")).expect("its key");
    let key = KeyPair::from_pem(&key).expect("a key");
    let issuer = Issuer::from_ca_cert_pem(&authority, key).expect("an authority");
    let day = Duration::from_secs(86_400);
    let now = SystemTime::now();
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    let write = |name: &str, params: &CertificateParams, own: bool| {
        let key = KeyPair::generate().expect("a key");
        let signed = if own { params.self_signed(&key) } else { params.signed_by(&key, &issuer) };
        let pem = signed.expect("a certificate").pem();
        fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem()).expect("a file");
        fs::write(dir.path().join(format!("{name}.pem")), &pem).expect("a file");
        pem
    };
    write("expired", &params(client.clone(), now - 3 * day, now - day), false);
    write("early", &params(client.clone(), now + day, now + 2 * day), false);
    write("wrong use", &params(ExtendedKeyUsagePurpose::ServerAuth, now - day, now + day), false);
    write("self-signed", &params(client.clone(), now - day, now + day), true);
    // More than a handshake may have, of good ones.
    let good = write("long", &params(client, now - day, now + day), false);
    // Ten megabytes of them: no chain of 16 MiB or more can be said in TLS.
    fs::write(dir.path().join("long.pem"), good.repeat(10_000_000 / DER_BYTES)).expect("a file");
    let process = fleet.process(1);
    let before = process.resident_bytes();
    process.forget_peak();
    let counted = |reason: &str| {
        fleet.metric(1, &format!("tidegate_handshakes_failed_total{{reason=\"{reason}\"}}"))
    };
    for (name, reason) in [
        ("expired", "expired"),
        ("early", "not_yet_valid"),
        ("wrong use", "wrong_usage"),
        ("self-signed", "unknown_authority"),
        ("long", "not_tls"),
    ] {
        assert_refused(&fleet, dir.path(), name);
        eventually(&format!("{name} is counted"), || (counted(reason) >= 1).then_some(()));
        let told = format!("reason=\"{reason}\"");
        eventually(&format!("{name} is told"), || process.log().contains(&told).then_some(()));
    }
    let grown = process.peak_bytes().saturating_sub(before);
    println!("C11: {} KiB at most for a chain of 10 MB", grown >> 10);
    assert!(grown < 8 << 20, "{grown} bytes for chains that nobody reads");
    // Who asks for another name gets what there is, and goes.
    let name = ServerName::try_from("another.example").expect("a name");
    let place = fleet.place(1).mqtts;
    assert!(dial_tls_as(place, name, &certs, Identity::Of(&certs, "device-1")).is_err());
    eventually("it is counted", || (counted("client_refused") >= 1).then_some(()));
    let mut names = ["expired", "early", "wrong use", "self-signed", "long"].iter().cycle();
    pair.unmoved_by_weight_of("C11", || {
        let name = names.next().expect("a cycle has no end");
        assert_refused(&fleet, dir.path(), name);
    });
    // The clock and the authority are not at fault.
    let wire = dial_tls(fleet.place(1).mqtts, &certs, Identity::Of(&certs, "device-1"));
    Dial::v5("device-1").over(wire.expect("a TLS connection")).ping();
    pair.assert_undisturbed();
}

fn params(purpose: ExtendedKeyUsagePurpose, from: SystemTime, to: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = from.into();
    params.not_after = to.into();
    params.distinguished_name.push(DnType::CommonName, "device-9");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params
}

/// Refused in the handshake, or with the first read as TLS 1.3 has it; never by CONNACK.
fn assert_refused(fleet: &Fleet, dir: &Path, name: &str) {
    let trusted = fleet.certificates();
    let Ok(mut wire) = dial_tls(fleet.place(1).mqtts, &trusted, Identity::Of(dir, name)) else {
        return;
    };
    // The gateway may have closed already.
    let _ = wire.write_all(&Dial::v5("intruder").bytes());
    assert!(!matches!(wire.read(&mut [0]), Ok(1..)), "{name}: something was answered");
}
