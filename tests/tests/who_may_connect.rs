//! A1: without a valid certificate or credential nobody gets a session.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use certs::Role;
use protocol::QoS;
use tests::harness::{Answer, Dial, Fleet, Identity, PATIENCE, Settings, Wire, dial_tls};

#[test]
fn a_device_with_a_certificate_of_the_fleet_is_served_over_tls() {
    let fleet = Fleet::start(2);
    let certs = fleet.certificates();
    let secure = |gateway: usize| {
        dial_tls(fleet.place(gateway).mqtts, &certs, Identity::Of(&certs, "device-1"))
            .expect("a TLS connection")
    };
    let mut reader = Dial::v5("reader").over(secure(1));
    reader.subscribe("t/#", QoS::ExactlyOnce);
    let mut writer = Dial::v311("writer").over(secure(2));
    // More than one TLS record, both ways.
    let long = "x".repeat(100_000);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        writer.publish("t/x", &long, qos);
        assert_eq!(reader.receive().text, long);
    }
}

#[test]
fn nobody_gets_in_over_tls_without_a_certificate() {
    let fleet = Fleet::start(1);
    let certs = fleet.certificates();
    assert_refused(dial_tls(fleet.place(1).mqtts, &certs, Identity::None));
}

#[test]
fn nobody_gets_in_with_a_certificate_of_another_authority() {
    let fleet = Fleet::start(1);
    let foreign = tempfile::tempdir().expect("a temporary folder");
    certs::development_set(foreign.path(), &["gw-1"]).expect("certificates");
    let certs = fleet.certificates();
    let identity = Identity::Of(foreign.path(), "device-1");
    assert_refused(dial_tls(fleet.place(1).mqtts, &certs, identity));
}

#[test]
fn nobody_gets_in_with_a_revoked_certificate() {
    let mut fleet = Fleet::prepare(1, &Settings::default());
    let certs = fleet.certificates();
    let authority = certs::development_set(&certs, &["gw-1"]).expect("an authority");
    let revoked = authority.issue(Role::Device, "stolen", &[], 30).expect("a certificate");
    authority.issue(Role::Device, "honest", &[], 30).expect("a certificate");
    authority.revoke(&revoked.issued.serial).expect("revoked");
    fleet.launch(1);
    fleet.wait_ready(1);
    assert_refused(dial_tls(fleet.place(1).mqtts, &certs, Identity::Of(&certs, "stolen")));
    let honest = dial_tls(fleet.place(1).mqtts, &certs, Identity::Of(&certs, "honest"));
    Dial::v5("honest").over(honest.expect("a TLS connection")).ping();
}

#[test]
fn a_client_that_trusts_another_authority_does_not_talk_to_us() {
    let fleet = Fleet::start(1);
    let foreign = tempfile::tempdir().expect("a temporary folder");
    certs::development_set(foreign.path(), &["gw-1"]).expect("certificates");
    let certs = fleet.certificates();
    let identity = Identity::Of(&certs, "device-1");
    assert!(dial_tls(fleet.place(1).mqtts, foreign.path(), identity).is_err());
    // The gateway took no harm.
    Dial::v5("other").connect(fleet.mqtt(1)).ping();
}

#[test]
fn a_plain_connect_on_the_tls_port_is_closed_without_an_answer_in_mqtt() {
    let fleet = Fleet::start(1);
    let mut stream = TcpStream::connect(fleet.place(1).mqtts).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(&Dial::v5("plain").bytes()).expect("an open socket");
    let mut answer = Vec::new();
    // A reset is as good as a close.
    let _ = stream.read_to_end(&mut answer);
    // At most a TLS alert, never CONNACK.
    assert!(answer.is_empty() || answer[0] == 0x15, "{answer:02x?}");
}

#[test]
fn a_tls_hello_on_the_plain_port_is_closed() {
    let fleet = Fleet::start(1);
    let certs = fleet.certificates();
    assert!(dial_tls(fleet.mqtt(1), &certs, Identity::Of(&certs, "device-1")).is_err());
    Dial::v5("other").connect(fleet.mqtt(1)).ping();
}

#[test]
fn peer_links_are_for_gateways_only() {
    let fleet = Fleet::start(1);
    let certs = fleet.certificates();
    for identity in
        [Identity::None, Identity::Of(&certs, "device-1"), Identity::Of(&certs, "operator")]
    {
        let Ok(mut wire) = dial_tls(fleet.place(1).peer, &certs, identity) else { continue };
        let mut byte = [0];
        // Closed at once, or with an alert; nothing is said to a stranger.
        assert!(!matches!(wire.read(&mut byte), Ok(1..)), "{identity:?}");
    }
}

/// Refused in the handshake, or with the first read as TLS 1.3 has it; never by CONNACK.
fn assert_refused<E>(dialled: Result<Box<dyn Wire>, E>) {
    let Ok(wire) = dialled else { return };
    let mut wire = wire;
    // The gateway may have closed already.
    let _ = wire.write_all(&Dial::v5("intruder").bytes());
    let mut byte = [0];
    assert!(!matches!(wire.read(&mut byte), Ok(1..)), "something was answered");
}

#[test]
fn an_empty_client_id_that_asks_for_an_old_session_is_refused() {
    let fleet = Fleet::start(1);
    // [MQTT3-3.1.3-8]
    let Answer::Refused { bytes, .. } = Dial::v311("").persistent().try_connect(fleet.mqtt(1))
    else {
        panic!("it was accepted")
    };
    assert_eq!(bytes, [0x20, 2, 0, 2], "identifier rejected");
}
