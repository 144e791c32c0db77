//! A1, by enhanced authentication: SCRAM-SHA-256 and tokens by AUTH, before CONNACK and again afterwards.
#![expect(clippy::expect_used, clippy::panic, reason = "a scenario may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what was not expected is told, whatever it is"
)]

use std::net::TcpStream;
use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::QoS;
use protocol::mqtt::codec;
use protocol::mqtt::{Auth, Packet, ReasonCode};
use tests::harness::{Client, Dial, Ended, Fleet, Issuer, Settings, run, tidegate};

const SCRAM: &str = "SCRAM-SHA-256";

/// A gateway that knows otto by SCRAM, and tokens of an issuer.
fn gateway() -> (Fleet, Issuer) {
    let settings = "[access.password]\nfile = \"passwords\"\n[access.token]\njwks = \"jwks.json\"\nleeway_s = 0\n";
    let mut fleet = Fleet::prepare(1, &Settings::default().everywhere(settings));
    let issuer = Issuer::new();
    std::fs::write(fleet.dir().join("jwks.json"), issuer.jwks()).expect("a file");
    let passwords = fleet.dir().join("passwords");
    let file = passwords.to_str().expect("a path in UTF-8");
    for user in ["otto", "mia"] {
        let ran = run(&mut tidegate(["passwd", file, user, "orange", "-b", "--scram"]));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    fleet.launch(1);
    fleet.wait_ready(1);
    (fleet, issuer)
}

/// The client's side of SCRAM.
struct Scram {
    user: &'static str,
    password: &'static str,
    challenge: String,
    server_key: Vec<u8>,
    signed: String,
}

impl Scram {
    fn new(user: &'static str, password: &'static str) -> Self {
        Self {
            user,
            password,
            challenge: String::new(),
            server_key: Vec::new(),
            signed: String::new(),
        }
    }

    fn first(&self) -> String {
        format!("n,,n={},r=nonce-of-the-client", self.user)
    }

    /// The client-final message.
    fn answer(&mut self, challenge: &[u8]) -> Vec<u8> {
        self.challenge = String::from_utf8(challenge.to_vec()).expect("text");
        let part = |name: &str| {
            let found = self.challenge.split(',').find_map(|it| it.strip_prefix(name));
            found.expect("a part of the challenge").to_owned()
        };
        let (nonce, salt) = (part("r="), STANDARD.decode(part("s=")).expect("base64"));
        assert!(nonce.starts_with("nonce-of-the-client") && nonce.len() > 30);
        let iterations: NonZeroU32 = part("i=").parse().expect("a number");
        let mut salted = [0; 32];
        let (algorithm, password) = (pbkdf2::PBKDF2_HMAC_SHA256, self.password.as_bytes());
        pbkdf2::derive(algorithm, iterations, &salt, password, &mut salted);
        let client_key = mac(&salted, b"Client Key");
        self.server_key = mac(&salted, b"Server Key");
        let stored = digest::digest(&digest::SHA256, &client_key);
        let unproved = format!("c=biws,r={nonce}");
        self.signed =
            format!("n={},r=nonce-of-the-client,{},{unproved}", self.user, self.challenge);
        let signature = mac(stored.as_ref(), self.signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        format!("{unproved},p={}", STANDARD.encode(proof)).into_bytes()
    }

    /// Whether the server knows the password too.
    fn trusts(&self, last: &[u8]) -> bool {
        let signature = mac(&self.server_key, self.signed.as_bytes());
        last == format!("v={}", STANDARD.encode(signature)).as_bytes()
    }
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}

fn auth(reason: ReasonCode, method: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let method = Some(method);
    codec::auth(&mut bytes, &Auth { reason, method, data: Some(data), reason_string: None });
    bytes
}

/// What a packet says about authentication: kind, reason, method, data.
fn heard(client: &mut Client) -> (&'static str, u8, Option<String>, Vec<u8>) {
    let frame = client.next_or_end().expect("a packet");
    let (kind, reason, method, data) = match frame.packet() {
        Packet::Auth(auth) => ("AUTH", auth.reason, auth.method, auth.data),
        Packet::ConnAck(ack) => {
            ("CONNACK", ack.reason, ack.authentication_method, ack.authentication_data)
        }
        Packet::PubAck(ack) => ("PUBACK", ack.reason, None, None),
        other => panic!("{other:?}"),
    };
    (kind, reason.code(), method.map(str::to_owned), data.unwrap_or_default().to_vec())
}

fn begin(fleet: &Fleet, dial: &Dial) -> Client {
    dial.begin(Box::new(TcpStream::connect(fleet.mqtt(1)).expect("a connection")))
}

const GO_ON: ReasonCode = ReasonCode::ContinueAuthentication;
const AGAIN: ReasonCode = ReasonCode::ReAuthenticate;

/// Connects by SCRAM.
fn connected(fleet: &Fleet, user: &'static str) -> Client {
    let mut scram = Scram::new(user, "orange");
    let mut client = begin(fleet, &Dial::v5("c").authentication(SCRAM, scram.first()));
    // [MQTT5-4.12.0-2], [MQTT5-4.12.0-5]
    let (kind, reason, method, challenge) = heard(&mut client);
    assert_eq!((kind, reason, method.as_deref()), ("AUTH", 0x18, Some(SCRAM)));
    client.send(&auth(GO_ON, SCRAM, &scram.answer(&challenge)));
    let (kind, reason, method, last) = heard(&mut client);
    assert_eq!((kind, reason, method.as_deref()), ("CONNACK", 0, Some(SCRAM)));
    assert!(scram.trusts(&last), "the server proves that it knows the password");
    client
}

#[test]
fn scram_lets_its_user_in_and_the_server_proves_itself() {
    let (fleet, _) = gateway();
    connected(&fleet, "otto").ping();
}

#[test]
fn a_wrong_proof_and_an_unknown_user_end_alike() {
    let (fleet, _) = gateway();
    for (user, password) in [("otto", "apple"), ("nobody", "orange")] {
        let mut scram = Scram::new(user, password);
        let mut client = begin(&fleet, &Dial::v5("c").authentication(SCRAM, scram.first()));
        let (kind, reason, _, challenge) = heard(&mut client);
        assert_eq!((kind, reason), ("AUTH", 0x18), "{user}");
        client.send(&auth(GO_ON, SCRAM, &scram.answer(&challenge)));
        // [MQTT5-4.12.0-4]
        let (kind, reason, ..) = heard(&mut client);
        assert_eq!((kind, reason), ("CONNACK", 0x87), "{user}");
        assert_eq!(client.next_or_end(), None);
    }
}

#[test]
fn what_does_not_belong_into_the_exchange_ends_it() {
    let (fleet, _) = gateway();
    let refused = |method: &str, data: &str, then: &[u8]| {
        let mut client = begin(&fleet, &Dial::v5("c").authentication(method, data));
        let mut said = heard(&mut client);
        if said.0 == "AUTH" {
            client.send(then);
            said = heard(&mut client);
        }
        assert_eq!(said.0, "CONNACK");
        assert_eq!(client.next_or_end(), None);
        said.1
    };
    let first = "n,,n=otto,r=abc";
    // [MQTT5-4.12.0-1]
    assert_eq!(refused("GS2-KRB5", "x", b""), 0x8c);
    assert_eq!(refused(SCRAM, "nonsense", b""), 0x87);
    assert_eq!(refused(SCRAM, first, &auth(GO_ON, "JWT", b"x")), 0x8c);
    // [MQTT5-4.12.0-3]
    assert_eq!(refused(SCRAM, first, &auth(AGAIN, SCRAM, b"x")), 0x82);
    // [MQTT5-3.1.2-30]
    assert_eq!(refused(SCRAM, first, &[0xc0, 0]), 0x82);
    // [MQTT5-3.15.1-1]
    assert_eq!(refused(SCRAM, first, &[0xf1, 0]), 0x81);
    // [MQTT5-3.15.2-1]
    assert_eq!(refused(SCRAM, first, &[0xf0, 2, 0x55, 0]), 0x82);
    // [MQTT5-4.12.0-6]: a plain CONNECT is never answered with AUTH.
    let mut plain = begin(&fleet, &Dial::v5("c").user_name("otto").password("orange"));
    assert_eq!(heard(&mut plain).2, None);
}

#[test]
fn a_client_authenticates_again_while_its_messages_flow() {
    let (fleet, _) = gateway();
    let mut client = connected(&fleet, "otto");
    let mut scram = Scram::new("otto", "orange");
    client.send(&auth(AGAIN, SCRAM, scram.first().as_bytes()));
    let (kind, reason, method, challenge) = heard(&mut client);
    assert_eq!((kind, reason, method.as_deref()), ("AUTH", 0x18, Some(SCRAM)));
    client.publish("t", "between", QoS::AtLeastOnce);
    client.send(&auth(GO_ON, SCRAM, &scram.answer(&challenge)));
    let (kind, reason, _, last) = heard(&mut client);
    assert_eq!((kind, reason), ("AUTH", 0));
    assert!(scram.trusts(&last));
    client.ping();
}

#[test]
fn a_client_that_fails_to_authenticate_again_loses_its_connection() {
    let (fleet, _) = gateway();
    // Another password, and another user: a session does not change hands.
    for (user, password) in [("otto", "apple"), ("mia", "orange")] {
        let mut client = connected(&fleet, "otto");
        let mut scram = Scram::new(user, password);
        client.send(&auth(AGAIN, SCRAM, scram.first().as_bytes()));
        let challenge = heard(&mut client).3;
        client.send(&auth(GO_ON, SCRAM, &scram.answer(&challenge)));
        // [MQTT5-4.12.1-2]
        let reason = ReasonCode::NotAuthorized;
        assert_eq!(client.ended(), Ended::Told { reason, server_reference: None }, "{user}");
    }
}

#[test]
fn a_token_is_renewed_before_it_expires() {
    let (fleet, issuer) = gateway();
    let connect = |id: &str| {
        let dial = Dial::v5(id).authentication("JWT", issuer.token("anna", 8));
        let mut client = begin(&fleet, &dial);
        let (kind, reason, method, _) = heard(&mut client);
        assert_eq!((kind, reason, method.as_deref()), ("CONNACK", 0, Some("JWT")));
        client
    };
    let (mut renews, mut forgets) = (connect("renews"), connect("forgets"));
    renews.send(&auth(AGAIN, "JWT", &issuer.token("anna", 600)));
    let (kind, reason, ..) = heard(&mut renews);
    assert_eq!((kind, reason), ("AUTH", 0));
    // Its token is the younger one: when it has expired, so has the other's first.
    let reason = ReasonCode::NotAuthorized;
    assert_eq!(forgets.ended(), Ended::Told { reason, server_reference: None });
    renews.ping();
}

#[test]
fn a_thousand_rounds_of_auth_disturb_nobody() {
    let (fleet, _) = gateway();
    let mut other = connected(&fleet, "mia");
    let dial = Dial::v5("c-2").authentication(SCRAM, "n,,n=otto,r=abc");
    let mut client = begin(&fleet, &dial);
    let mut flood = Vec::new();
    for _ in 0..1_000 {
        flood.extend(auth(GO_ON, SCRAM, b"c=biws,r=x,p=x"));
    }
    // The gateway may close while this is on its way.
    let _ = client.try_send(&flood);
    assert_eq!(heard(&mut client).1, 0x18);
    assert_eq!(heard(&mut client).1, 0x87);
    other.ping();
}
