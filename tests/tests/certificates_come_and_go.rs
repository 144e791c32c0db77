//! Certificates are renewed, revoked and refused while a gateway runs: nobody is disconnected but who is revoked, and a file
//! that cannot be used changes nothing.
#![expect(clippy::expect_used, reason = "a scenario may fail loudly")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use certs::{Authority, Role};
use protocol::QoS;
use protocol::mqtt::ReasonCode;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use tests::harness::{
    Dial, Fleet, Identity, PATIENCE, Settings, Signal, Wire, dial_tls, eventually, tls_config,
};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Shakes hands; a refusal after the client's part is done shows with the first read.
fn shake(address: SocketAddr, config: ClientConfig, name: &str) -> std::io::Result<Stream> {
    shake_again(address, &Arc::new(config), name)
}

fn shake_again(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<Stream> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut tls = ClientConnection::new(Arc::clone(config), name).expect("a sound configuration");
    let mut tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(tls, tcp))
}

fn shown(stream: &Stream) -> CertificateDer<'static> {
    let chain = stream.conn.peer_certificates().expect("a handshake that is done");
    chain.first().expect("a certificate").clone().into_owned()
}

/// Whether a client with this configuration gets a CONNACK.
fn gets_in(address: SocketAddr, config: ClientConfig) -> bool {
    let Ok(mut stream) = shake(address, config, "127.0.0.1") else { return false };
    let _ = stream.write_all(&Dial::v5("try").bytes());
    matches!(stream.read(&mut [0]), Ok(1..))
}

fn failed(fleet: &Fleet, reason: &str) -> u64 {
    fleet.metric(1, &format!("tidegate_handshakes_failed_total{{reason=\"{reason}\"}}"))
}

#[test]
fn a_connection_whose_certificate_is_revoked_is_cut_and_the_others_stay() {
    let mut fleet = Fleet::prepare(1, &Settings::default());
    let certs = fleet.certificates();
    let authority = Authority::load(&certs).expect("the authority");
    let stolen = authority.issue(Role::Device, "stolen", &[], 30).expect("a certificate");
    authority.issue(Role::Device, "honest", &[], 30).expect("a certificate");
    fleet.launch(1);
    fleet.wait_ready(1);
    let secure = fleet.place(1).mqtts;
    let over = |name| dial_tls(secure, &certs, Identity::Of(&certs, name)).expect("a connection");
    let mut five = Dial::v5("five").over(over("stolen"));
    let mut three = Dial::v311("three").over(over("stolen"));
    let mut honest = Dial::v5("honest").over(over("honest"));
    let mut watcher = Dial::v5("watcher").connect(fleet.mqtt(1));
    watcher.subscribe("t", QoS::AtLeastOnce);
    // A ticket of before must not open the door again.
    let config = Arc::new(tls_config(&certs, Identity::Of(&certs, "stolen")));
    let before = shake_again(secure, &config, "127.0.0.1").expect("a handshake");
    drop(Dial::v5("ticket").over(Box::new(before)));
    authority.revoke(&stolen.issued.serial).expect("revoked");
    assert_eq!(five.end_reason(), Some(ReasonCode::NotAuthorized));
    assert_eq!(three.end_reason(), None);
    honest.publish("t", "still here", QoS::AtLeastOnce);
    assert_eq!(watcher.receive().text, "still here");
    assert!(!gets_in(secure, tls_config(&certs, Identity::Of(&certs, "stolen"))));
    if let Ok(mut again) = shake_again(secure, &config, "127.0.0.1") {
        let _ = again.write_all(&Dial::v5("ticket").bytes());
        assert!(!matches!(again.read(&mut [0]), Ok(1..)), "an old ticket let it in");
    }
    assert!(failed(&fleet, "revoked") >= 1);
    let cut = "tidegate_connections_cut_total{reason=\"revoked\"}";
    assert!(fleet.metric(1, cut) >= 2);
    fleet.wait_log(1, "its certificate is revoked");
    honest.ping();
}

#[test]
fn operators_and_gateways_that_are_revoked_lose_what_they_have_open() {
    let mut fleet = Fleet::prepare(2, &Settings::default());
    let certs = fleet.certificates();
    let authority = Authority::load(&certs).expect("the authority");
    let thief = authority.issue(Role::Operator, "thief", &[], 30).expect("a certificate");
    (1..=2).for_each(|number| fleet.launch(number));
    (1..=2).for_each(|number| fleet.wait_ready(number));
    fleet.wait_linked();
    let dial = |name| {
        let http = fleet.place(1).http;
        let mut wire = dial_tls(http, &certs, Identity::Of(&certs, name)).expect("a connection");
        assert!(is_served(&mut *wire), "{name}");
        wire
    };
    let (mut stolen, mut honest) = (dial("thief"), dial("operator"));
    // However many come after them, known ones keep their places.
    let silent = |_| TcpStream::connect(fleet.place(1).http).expect("a connection");
    let silent: Vec<_> = (0..300).map(silent).collect();
    assert!(is_served(&mut *stolen) && is_served(&mut *honest));
    drop(silent);
    authority.revoke(&thief.issued.serial).expect("revoked");
    assert!(matches!(stolen.read(&mut [0]), Ok(0) | Err(_)), "the connection stands");
    let cut = "tidegate_http_cut_total{reason=\"revoked\"}";
    eventually("it is counted", || (fleet.metric(1, cut) == 1).then_some(()));
    assert!(is_served(&mut *honest));
    // A gateway that is revoked is none of the fleet any more.
    let issued = authority.list().expect("what was issued");
    let gateway = issued.into_iter().find(|it| it.name == "gw-2").expect("the gateway");
    assert_eq!(fleet.metric(1, "tidegate_peers_up"), 1);
    authority.revoke(&gateway.serial).expect("revoked");
    let up = || (fleet.metric(1, "tidegate_peers_up") == 0).then_some(());
    eventually("the link ends", up);
    fleet.wait_log(1, "peer connection cut");
}

/// Whether a connection to the API that stays open is answered.
fn is_served(wire: &mut dyn Wire) -> bool {
    let asked = wire.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut answer = Vec::new();
    while asked.is_ok() && !answer.ends_with(b"ok\n") {
        let mut byte = [0];
        match wire.read(&mut byte) {
            Ok(1) => answer.extend(byte),
            Ok(_) | Err(_) => return false,
        }
    }
    asked.is_ok()
}

#[test]
fn a_certificate_that_cannot_be_used_keeps_no_revocation_from_taking_effect() {
    let mut fleet = Fleet::prepare(1, &Settings::default());
    let certs = fleet.certificates();
    let authority = Authority::load(&certs).expect("the authority");
    let stolen = authority.issue(Role::Device, "stolen", &[], 30).expect("a certificate");
    fleet.launch(1);
    fleet.wait_ready(1);
    let secure = fleet.place(1).mqtts;
    let config = |name| tls_config(&certs, Identity::Of(&certs, name));
    let over = dial_tls(secure, &certs, Identity::Of(&certs, "stolen")).expect("a connection");
    let mut client = Dial::v5("client").over(over);
    std::fs::write(certs.join("gw-1.pem"), "no certificate").expect("a file of ours");
    let failed = "tidegate_reload_total{result=\"failed\"}";
    eventually("the change is seen", || (fleet.metric(1, failed) > 0).then_some(()));
    client.ping();
    authority.revoke(&stolen.issued.serial).expect("revoked");
    assert_eq!(client.end_reason(), Some(ReasonCode::NotAuthorized));
    assert!(!gets_in(secure, config("stolen")));
    assert!(gets_in(secure, config("device-1")));
}

#[test]
fn a_renewed_certificate_is_shown_to_those_who_come_and_nobody_leaves() {
    let fleet = Fleet::start(1);
    let certs = fleet.certificates();
    let secure = fleet.place(1).mqtts;
    let config = || tls_config(&certs, Identity::Of(&certs, "device-1"));
    let old = shake(secure, config(), "127.0.0.1").expect("a handshake");
    let first = shown(&old);
    let mut old = Dial::v5("old").over(Box::new(old));
    Authority::load(&certs).expect("the authority").renew("gw-1", 30).expect("renewed");
    // Nobody has to say so.
    let new = || shake(secure, config(), "127.0.0.1").ok().filter(|it| shown(it) != first);
    let second = eventually("the new certificate is shown", new);
    let second = (shown(&second), Dial::v5("new").over(Box::new(second)));
    // The API shows it too.
    let api = shake(fleet.place(1).http, config(), "127.0.0.1").expect("a handshake");
    assert_eq!(shown(&api), second.0);
    fleet.process(1).send(Signal::HangUp);
    eventually("everything is read again", || {
        fleet.process(1).log().contains("access files: read again").then_some(())
    });
    old.ping();
    let (_, mut new) = second;
    new.ping();
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing_and_is_told() {
    let fleet = Fleet::start(1);
    let certs = fleet.certificates();
    let secure = fleet.place(1).mqtts;
    let device = || tls_config(&certs, Identity::Of(&certs, "device-1"));
    let path = certs.join("gw-1.pem");
    let good = std::fs::read(&path).expect("a certificate");
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nno\n").expect("a file of ours");
    let failed = "tidegate_reload_total{result=\"failed\"}";
    eventually("the change is seen", || (fleet.metric(1, failed) > 0).then_some(()));
    assert!(gets_in(secure, device()));
    let ran = fleet.command(&["reload", "gw-1"]);
    assert_eq!(ran.code, Some(4), "{} {}", ran.out, ran.err);
    assert!(ran.out.contains("certificates as before"), "{}", ran.out);
    std::fs::write(&path, good).expect("a file of ours");
    // What needs a restart is named.
    let configuration = fleet.configuration(1);
    let text = std::fs::read_to_string(&configuration).expect("a configuration");
    let text = text.replace("[store]", "[store]\nsynchronous = \"normal\"");
    std::fs::write(&configuration, text).expect("a file");
    let ran = fleet.command(&["reload", "gw-1"]);
    assert_eq!(ran.code, Some(0), "{} {}", ran.out, ran.err);
    assert!(ran.out.contains("certificates in force"), "{}", ran.out);
    assert!(ran.out.contains("needs a restart: store.synchronous"), "{}", ran.out);
    assert!(gets_in(secure, device()));
}

/// A client's certificate by the fleet's authority, as the authority would not make it.
fn unusual(dir: &Path, change: impl FnOnce(&mut CertificateParams)) -> ClientConfig {
    let pem = |name: &str| std::fs::read_to_string(dir.join(name)).expect("a file");
    let key = KeyPair::from_pem(&pem("ca.key")).expect("the authority's key");
    let issuer = Issuer::from_ca_cert_pem(&pem("ca.pem"), key).expect("the authority");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, "unusual");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let own = KeyPair::generate().expect("a key");
    let chain = vec![params.signed_by(&own, &issuer).expect("a certificate").der().clone()];
    let key = PrivateKeyDer::try_from(own.serialize_der()).expect("a key");
    builder(dir, rustls::ALL_VERSIONS).with_client_auth_cert(chain, key).expect("a key that fits")
}

fn builder(
    trusted: &Path,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    let ca = std::fs::read(trusted.join("ca.pem")).expect("the authority");
    let ca = rustls::pki_types::pem::PemObject::from_pem_slice(&ca).expect("a certificate");
    roots.add(ca).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions that there are")
        .with_root_certificates(roots)
}

#[test]
fn a_refused_handshake_is_counted_by_its_reason() {
    let fleet = Fleet::start(1);
    let certs = fleet.certificates();
    let secure = fleet.place(1).mqtts;
    let refused = |what: &str, config: ClientConfig| {
        let before = failed(&fleet, what);
        assert!(!gets_in(secure, config), "{what}");
        eventually(what, || (failed(&fleet, what) > before).then_some(()));
    };
    assert!(
        gets_in(secure, unusual(&certs, |_| {})),
        "the unusual one is usual but for what is changed"
    );
    refused("expired", unusual(&certs, |it| it.not_after = rcgen::date_time_ymd(2020, 1, 1)));
    refused(
        "not_yet_valid",
        unusual(&certs, |it| it.not_before = rcgen::date_time_ymd(2200, 1, 1)),
    );
    let server = vec![ExtendedKeyUsagePurpose::ServerAuth];
    refused("wrong_usage", unusual(&certs, |it| it.extended_key_usages = server));
    refused("no_certificate", tls_config(&certs, Identity::None));
    let foreign = tempfile::tempdir().expect("a folder");
    certs::development_set(foreign.path(), &["gw-1"]).expect("certificates");
    let stranger = tls_config(&certs, Identity::Of(foreign.path(), "device-1"));
    refused("unknown_authority", stranger);
    refused("client_refused", tls_config(foreign.path(), Identity::Of(&certs, "device-1")));
    let mut plain = TcpStream::connect(secure).expect("a connection");
    plain.write_all(&Dial::v5("plain").bytes()).expect("an open socket");
    eventually("plain MQTT is told", || (failed(&fleet, "not_tls") == 1).then_some(()));
    // And the other way round, in words.
    drop(dial_tls(fleet.mqtt(1), &certs, Identity::None));
    eventually("TLS on the plain port is told", || {
        fleet.process(1).log().contains("a TLS handshake where there is no TLS").then_some(())
    });
}

#[test]
fn clients_get_the_certificate_of_the_name_they_ask_for() {
    let named = "[[listen]]\nkind = \"tls\"\nbind = \"@extra1@\"\n";
    let mut fleet = Fleet::prepare(1, &Settings::default().everywhere(named));
    let certs = fleet.certificates();
    let authority = Authority::load(&certs).expect("the authority");
    let sans = ["mqtt.example".to_owned(), "x.wild.example".to_owned()];
    authority.issue(Role::Gateway, "other", &sans, 30).expect("a certificate");
    // Tables of [tls] must stand behind all of its keys.
    let more = format!(
        "[[tls.certificate]]\nnames = [\"mqtt.example\", \"*.wild.example\"]\ncert = {:?}\nkey = {:?}\n",
        certs.join("other.pem"),
        certs.join("other.key"),
    );
    let configuration = fleet.configuration(1);
    let text = std::fs::read_to_string(&configuration).expect("a configuration");
    let text = text.replace("[tls]\n", "[tls]\nunknown_name = \"refuse\"\n") + &more;
    std::fs::write(&configuration, text).expect("a file");
    fleet.launch(1);
    fleet.wait_ready(1);
    let secure = fleet.place(1).mqtts;
    let ask = |name: &str| {
        let config = tls_config(&certs, Identity::Of(&certs, "device-1"));
        shake(secure, config, name).map(|stream| shown(&stream))
    };
    let own = ask("127.0.0.1").expect("an address is no name");
    let named = ask("mqtt.example").expect("its own");
    assert_ne!(own, named);
    assert_eq!(ask("X.wild.example").expect("by a pattern"), named);
    assert!(ask("unknown.example").is_err());
    assert!(ask("a.b.wild.example").is_err());
}

#[test]
fn versions_and_protocols_are_as_the_settings_say() {
    let mut fleet = Fleet::prepare(1, &Settings::default());
    let certs = fleet.certificates();
    let device = |versions: &[&'static rustls::SupportedProtocolVersion], protocols: &[&str]| {
        let mut config = unusual_versions(&certs, versions);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    };
    fleet.launch(1);
    fleet.wait_ready(1);
    let secure = fleet.place(1).mqtts;
    let (old, new) = (&[&rustls::version::TLS12], &[&rustls::version::TLS13]);
    for versions in [old, new] {
        for protocols in [&[][..], &["mqtt"], &["x-amzn-mqtt-ca"], &["http/1.1", "mqtt"]] {
            assert!(gets_in(secure, device(versions, protocols)), "{protocols:?}");
        }
        assert!(!gets_in(secure, device(versions, &["h2"])));
        // The second connection of a client costs no certificates.
        let config = Arc::new(device(versions, &[]));
        let mut first = Dial::v5("first")
            .over(Box::new(shake_again(secure, &config, "127.0.0.1").expect("a handshake")));
        first.ping();
        let again = shake_again(secure, &config, "127.0.0.1").expect("a handshake");
        assert_eq!(again.conn.handshake_kind(), Some(HandshakeKind::Resumed));
        Dial::v5("again").over(Box::new(again)).ping();
    }
    let configuration = fleet.configuration(1);
    let text = std::fs::read_to_string(&configuration).expect("a configuration");
    let text = text.replace("[tls]\n", "[tls]\nmin_version = \"1.3\"\n");
    std::fs::write(&configuration, text).expect("a file");
    fleet.stop(1);
    fleet.restart(1);
    assert!(!gets_in(secure, device(old, &[])));
    assert!(gets_in(secure, device(new, &[])));
    assert!(failed(&fleet, "incompatible") >= 1);
}

fn unusual_versions(
    dir: &Path,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    use rustls::pki_types::pem::PemObject as _;
    let chain = CertificateDer::pem_file_iter(dir.join("device-1.pem"))
        .and_then(Iterator::collect)
        .expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(dir.join("device-1.key")).expect("a key");
    builder(dir, versions).with_client_auth_cert(chain, key).expect("a key that fits")
}

#[test]
fn a_listener_may_have_an_authority_of_its_own_and_need_no_certificate() {
    let own = "[[listen]]\nkind = \"tls\"\nbind = \"@extra1@\"\nca = \"@dir@/other/ca.pem\"\n\
               [[listen]]\nkind = \"tls\"\nbind = \"@extra2@\"\nclient_certificate = \"optional\"\n";
    let mut fleet = Fleet::prepare(1, &Settings::default().everywhere(own));
    let (certs, other) = (fleet.certificates(), fleet.dir().join("other"));
    certs::development_set(&other, &["gw-1"]).expect("certificates");
    fleet.launch(1);
    fleet.wait_ready(1);
    let [own, optional] = fleet.place(1).extra;
    let config = |identity| tls_config(&certs, identity);
    assert!(gets_in(own, config(Identity::Of(&other, "device-1"))));
    assert!(!gets_in(own, config(Identity::Of(&certs, "device-1"))));
    assert!(gets_in(optional, config(Identity::Of(&certs, "device-1"))));
    assert!(gets_in(optional, config(Identity::None)));
    // One that is shown must be good all the same.
    assert!(!gets_in(optional, config(Identity::Of(&other, "device-1"))));
    let mut wire: Box<dyn Wire> = dial_tls(optional, &certs, Identity::None).expect("a connection");
    wire.finish().unwrap_or_else(|error| panic!("a goodbye: {error}"));
}
