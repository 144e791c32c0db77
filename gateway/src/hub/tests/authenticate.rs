//! Authenticating again while connected.

use std::sync::Arc;

use access::{ClientFirst, Identity, PasswordFile};
use protocol::mqtt::codec;
use protocol::mqtt::{Auth, ReasonCode};
use protocol::{QoS, Wall};

use super::gateway::Gateway;
use super::packets::{clean, client, publish};
use crate::authentication::{NotIdentified, Verdict};
use crate::hub::{Ask, Authenticated, Close, ConnId, ConnectRequest};
use crate::worker::Mail;

fn request(method: Option<&str>, expires: Option<Wall>) -> ConnectRequest {
    let authenticated = Authenticated {
        method: method.map(Arc::from),
        data: method.map(|_| b"last".to_vec()),
        expires,
        expired: ReasonCode::MaximumConnectTime,
    };
    ConnectRequest { authenticated: Some(Box::new(authenticated)), ..clean("a") }
}

fn auth(reason: ReasonCode, method: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let method = Some(method);
    codec::auth(&mut bytes, &Auth { reason, method, data: Some(data), reason_string: None });
    bytes
}

/// What was asked about the client: its data, and whether an exchange goes on.
fn asked(gateway: &mut Gateway) -> (Vec<u8>, bool) {
    gateway.answer_asks();
    let Some(Ask::Authenticate(ask)) = gateway.asked.pop() else { panic!("nothing was asked") };
    assert!(gateway.asked.is_empty());
    assert_eq!((&*ask.method, ask.identity.client.as_str()), ("M", "a"));
    (ask.data.unwrap(), ask.exchange.is_some())
}

fn answer(gateway: &mut Gateway, conn: ConnId, verdict: Verdict) {
    gateway.mail(Mail::Authenticated(conn, Box::new(verdict)));
    gateway.settle();
}

fn goes_on() -> Verdict {
    let first = ClientFirst::parse(b"n,,n=u,r=x").unwrap();
    let (server, data) = PasswordFile::default().begin_scram(&first, "y");
    Verdict::Continue(Box::new(server), data)
}

fn accepted(expires: Option<Wall>) -> Verdict {
    let identity = Arc::new(Identity::anonymous(client("a")));
    Verdict::Accepted { identity, expires, data: Some(b"done".to_vec()) }
}

const AGAIN: ReasonCode = ReasonCode::ReAuthenticate;
const GO_ON: ReasonCode = ReasonCode::ContinueAuthentication;

#[test]
fn a_client_authenticates_again_and_goes_on_meanwhile() {
    let mut gateway = Gateway::new();
    let conn = gateway.connect(request(Some("M"), None));
    gateway.settle();
    // [MQTT5-4.12.0-5]
    assert_eq!(gateway.hear(conn), ["CONNACK Success by M"]);
    gateway.tell(conn, &auth(AGAIN, "M", b"one"));
    assert_eq!(asked(&mut gateway), (b"one".to_vec(), false));
    // Other packets are answered while that is decided.
    gateway.publish(conn, &publish("t", "x", QoS::AtLeastOnce, 5));
    assert!(gateway.hear(conn)[0].starts_with("PUBACK"));
    answer(&mut gateway, conn, goes_on());
    assert!(gateway.hear(conn)[0].starts_with("AUTH ContinueAuthentication M r=xy,"));
    gateway.tell(conn, &auth(GO_ON, "M", b"two"));
    assert_eq!(asked(&mut gateway), (b"two".to_vec(), true));
    answer(&mut gateway, conn, accepted(None));
    assert_eq!(gateway.hear(conn), ["AUTH Success M done"]);
    assert_eq!(gateway.sockets.closed(conn), None);
}

#[test]
fn a_client_that_fails_to_authenticate_again_is_disconnected() {
    let mut gateway = Gateway::new();
    let conn = gateway.join(request(Some("M"), None));
    gateway.tell(conn, &auth(AGAIN, "M", b"one"));
    asked(&mut gateway);
    // [MQTT5-4.12.1-2]
    answer(&mut gateway, conn, Verdict::Refused(NotIdentified::SomebodyElse));
    assert_eq!(gateway.sockets.closed(conn), Some(Close::Reason(ReasonCode::NotAuthorized)));
}

#[test]
fn auth_out_of_turn_or_by_another_method_ends_the_connection() {
    let closed = |method: Option<&str>, packets: &[Vec<u8>]| {
        let mut gateway = Gateway::new();
        let conn = gateway.join(request(method, None));
        for packet in packets {
            gateway.tell(conn, packet);
        }
        let Some(Close::Broke(violation)) = gateway.sockets.closed(conn) else { panic!("open") };
        violation.reason
    };
    let again = auth(AGAIN, "M", b"");
    // [MQTT5-4.12.0-7], [MQTT5-4.12.0-3], [MQTT5-4.12.1-1]
    assert_eq!(closed(None, std::slice::from_ref(&again)), ReasonCode::ProtocolError);
    assert_eq!(closed(Some("M"), &[auth(GO_ON, "M", b"")]), ReasonCode::ProtocolError);
    assert_eq!(closed(Some("M"), &[again.clone(), again]), ReasonCode::ProtocolError);
    let other = auth(AGAIN, "N", b"");
    assert_eq!(closed(Some("M"), &[other]), ReasonCode::BadAuthenticationMethod);
}

#[test]
fn an_exchange_has_an_end() {
    let mut gateway = Gateway::new();
    let conn = gateway.join(request(Some("M"), None));
    gateway.tell(conn, &auth(AGAIN, "M", b""));
    for _ in 0..7 {
        asked(&mut gateway);
        answer(&mut gateway, conn, goes_on());
        gateway.tell(conn, &auth(GO_ON, "M", b""));
    }
    asked(&mut gateway);
    answer(&mut gateway, conn, goes_on());
    gateway.tell(conn, &auth(GO_ON, "M", b""));
    let Some(Close::Broke(violation)) = gateway.sockets.closed(conn) else { panic!("open") };
    assert_eq!(violation.reason, ReasonCode::NotAuthorized);
}

#[test]
fn a_connection_ends_with_its_token_unless_there_is_a_new_one() {
    let mut gateway = Gateway::new();
    let soon = gateway.now.wall.after(std::time::Duration::from_secs(1));
    let later = gateway.now.wall.after(std::time::Duration::from_secs(3));
    let conn = gateway.join(request(Some("M"), Some(soon)));
    gateway.tell(conn, &auth(AGAIN, "M", b""));
    asked(&mut gateway);
    answer(&mut gateway, conn, accepted(Some(later)));
    gateway.pass(2_000);
    assert_eq!(gateway.sockets.closed(conn), None);
    gateway.pass(2_000);
    assert_eq!(gateway.sockets.closed(conn), Some(Close::Reason(ReasonCode::MaximumConnectTime)));
}

#[test]
fn a_verdict_about_a_client_that_left_is_nobodys() {
    let mut gateway = Gateway::new();
    let conn = gateway.join(request(Some("M"), None));
    gateway.tell(conn, &auth(AGAIN, "M", b""));
    asked(&mut gateway);
    gateway.lose(conn);
    answer(&mut gateway, conn, accepted(None));
}
