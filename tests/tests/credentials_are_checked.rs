//! A1: without a valid certificate or credential nobody gets a session: passwords, tokens, the hook, the names in
//! certificates.
#![expect(clippy::expect_used, clippy::panic, reason = "a scenario may fail loudly")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use certs::Role;
use protocol::QoS;
use protocol::mqtt::{Packet, ReasonCode, Version, codec};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tests::harness::{
    Answer, Dial, Ended, Fleet, Identity, Issuer, Ran, Settings, dial_tls, eventually, run,
    tidegate,
};

/// A gateway with files of its own beside its configuration.
fn gateway(settings: &str, files: &[(&str, &str)]) -> Fleet {
    let mut fleet = Fleet::prepare(1, &Settings::default().everywhere(settings));
    for (name, text) in files {
        std::fs::write(fleet.dir().join(name), text).expect("a file");
    }
    fleet.launch(1);
    fleet.wait_ready(1);
    fleet
}

fn refused(dial: Dial, fleet: &Fleet) -> ReasonCode {
    match dial.try_connect(fleet.mqtt(1)) {
        Answer::Refused { reason, .. } => reason,
        Answer::Accepted(_) => panic!("it was let in"),
        Answer::Closed => panic!("it was closed without an answer"),
    }
}

/// The reason string of a 5.0 CONNACK that refuses.
fn words(dial: Dial, fleet: &Fleet) -> String {
    let Answer::Refused { bytes, .. } = dial.try_connect(fleet.mqtt(1)) else {
        panic!("it is not refused");
    };
    match codec::decode(&bytes, Version::V5, codec::Sender::Server) {
        Ok(Packet::ConnAck(ack)) => ack.reason_string.unwrap_or_default().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// The return code of a 3.1.1 CONNACK.
fn return_code(dial: Dial, fleet: &Fleet) -> u8 {
    match dial.try_connect(fleet.mqtt(1)) {
        Answer::Refused { bytes, .. } => *bytes.get(3).expect("a return code"),
        Answer::Accepted(_) => panic!("it was let in"),
        Answer::Closed => panic!("it was closed without an answer"),
    }
}

fn passwd(arguments: &[&str]) {
    let ran = run(&mut tidegate([&["passwd"], arguments].concat()));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

fn mosquitto_pub(fleet: &Fleet, arguments: &[&str]) -> Ran {
    let port = fleet.mqtt(1).port().to_string();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port, "-t", "t", "-m", "x", "-q", "1"]);
    run(command.args(arguments))
}

const PASSWORDS: &str = "[access.password]\nfile = \"passwords\"\n";

/// A fleet with anna (argon2id), otto (SCRAM), and a line that the real `mosquitto_passwd` makes for mia.
fn with_passwords(more: &str) -> Fleet {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("passwords");
    let file = path.to_str().expect("a path in UTF-8");
    std::fs::write(&path, "").expect("a file");
    let mosquitto = Command::new("mosquitto_passwd").args(["-b", file, "mia", "milk"]).status();
    assert!(mosquitto.expect("mosquitto_passwd").success());
    passwd(&[file, "anna", "apple", "-b"]);
    passwd(&[file, "otto", "orange", "-b", "--scram"]);
    let text = std::fs::read_to_string(&path).expect("the file");
    gateway(&format!("{PASSWORDS}{more}"), &[("passwords", &text)])
}

#[test]
fn a_password_lets_its_user_in_and_nothing_else_does() {
    let fleet = with_passwords("");
    for (user, password) in [("anna", "apple"), ("otto", "orange"), ("mia", "milk")] {
        for version in [Version::V31, Version::V311, Version::V5] {
            let dial = || Dial::new(version, user).user_name(user);
            dial().password(password).connect(fleet.mqtt(1)).ping();
            assert_eq!(refused(dial().password("wrong"), &fleet).code(), 0x86, "{user}");
        }
    }
    let nobody = |dial: Dial| dial.user_name("nobody").password("apple");
    // [MQTT5-3.1.4-2]
    assert_eq!(refused(nobody(Dial::v5("c")), &fleet), ReasonCode::BadUserNameOrPassword);
    assert_eq!(return_code(nobody(Dial::v311("c")), &fleet), 4);
    assert_eq!(refused(Dial::v5("c").user_name("anna"), &fleet).code(), 0x86);
    assert_eq!(refused(Dial::v5("c").password("apple"), &fleet).code(), 0x86);
    // Every byte may stand in a password.
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(refused(Dial::v5("c").user_name("anna").password(all), &fleet).code(), 0x86);
    assert_eq!(refused(Dial::v5("c"), &fleet), ReasonCode::NotAuthorized);
    assert_eq!(return_code(Dial::v311("c"), &fleet), 5);
    // What is said does not tell whether the user exists.
    let wrong = "wrong user name or password";
    assert_eq!(words(nobody(Dial::v5("c")), &fleet), wrong);
    assert_eq!(words(Dial::v5("c").user_name("anna").password("pear"), &fleet), wrong);
    assert_eq!(words(Dial::v5("c"), &fleet), "not authorized");
    let count = |reason: &str| {
        fleet.metric(1, &format!("tidegate_connect_refused_total{{reason=\"{reason}\"}}"))
    };
    assert!(count("bad_credentials") >= 14 && count("not_authorized") == 3);
}

#[test]
fn a_password_file_that_changes_takes_effect_while_the_gateway_runs() {
    let fleet = with_passwords("");
    let path = fleet.dir().join("passwords");
    let file = path.to_str().expect("a path in UTF-8");
    let anna = |password: &str| Dial::v5("new").user_name("anna").password(password);
    let gets_in =
        |password: &str| matches!(anna(password).try_connect(fleet.mqtt(1)), Answer::Accepted(_));
    let mut here = Dial::v5("here").user_name("anna").password("apple").connect(fleet.mqtt(1));
    passwd(&[file, "anna", "pear", "-b"]);
    eventually("the new password is in force", || gets_in("pear").then_some(()));
    assert_eq!(refused(anna("apple"), &fleet), ReasonCode::BadUserNameOrPassword);
    // A file that cannot be used changes nothing.
    let good = std::fs::read_to_string(&path).expect("a file");
    std::fs::write(&path, format!("{good}eve:plain\n")).expect("a file of ours");
    let failed = "tidegate_reload_total{result=\"failed\"}";
    eventually("the change is seen", || (fleet.metric(1, failed) > 0).then_some(()));
    assert!(gets_in("pear"));
    std::fs::write(&path, good).expect("a file of ours");
    passwd(&[file, "anna", "-D"]);
    eventually("the user is gone", || (!gets_in("pear")).then_some(()));
    // Who is here stays.
    here.ping();
}

#[test]
fn nobody_gets_the_session_of_somebody_else_by_its_client_id() {
    let fleet = with_passwords("");
    let anna = || Dial::v5("pump-7").persistent().user_name("anna").password("apple");
    let otto = |dial: Dial| dial.user_name("otto").password("orange");
    let mut here = anna().will("left", "she is gone").connect(fleet.mqtt(1));
    here.subscribe("#", QoS::AtLeastOnce);
    // [MQTT5-3.1.4-2]
    assert_eq!(refused(otto(Dial::v5("pump-7")), &fleet), ReasonCode::ClientIdentifierNotValid);
    assert_eq!(return_code(otto(Dial::v311("pump-7")), &fleet), 2);
    let mut writer = otto(Dial::v5("writer")).connect(fleet.mqtt(1));
    writer.publish("secret", "while she is here", QoS::AtLeastOnce);
    assert_eq!(here.receive().text, "while she is here", "and not her will");
    here.disconnect();
    writer.publish("secret", "while she is away", QoS::AtLeastOnce);
    assert_eq!(refused(otto(Dial::v5("pump-7").persistent()), &fleet).code(), 0x85);
    let mut again = anna().connect(fleet.mqtt(1));
    assert!(again.session_present);
    assert_eq!(again.receive().text, "while she is away");
}

#[test]
fn mosquittos_own_client_gets_in_with_its_password() {
    let fleet = with_passwords("");
    let in_by = |user: &str, password: &str| mosquitto_pub(&fleet, &["-u", user, "-P", password]);
    assert_eq!(in_by("mia", "milk").code, Some(0));
    let ran = in_by("mia", "water");
    assert_ne!(ran.code, Some(0));
    assert!(ran.err.to_lowercase().contains("bad user name or password"), "{}", ran.err);
    // A password without a user name is for 5.0 only.
    assert_ne!(mosquitto_pub(&fleet, &["-V", "mqttv5", "-P", "milk"]).code, Some(0));
}

#[test]
fn metadata_of_an_sdk_is_no_login() {
    let fleet = with_passwords("[access]\nanonymous = true\n");
    Dial::v311("sdk").user_name("?SDK=Python&Version=2.0").connect(fleet.mqtt(1)).ping();
    let anna = |name: &str| Dial::v5("sdk").user_name(name).password("apple");
    anna("anna?SDK=Python").connect(fleet.mqtt(1)).ping();
    assert_eq!(refused(anna("eve?anna"), &fleet).code(), 0x86);
}

#[test]
fn a_password_file_that_cannot_be_read_is_told_at_the_start() {
    let mut fleet = Fleet::prepare(1, &Settings::default().everywhere(PASSWORDS));
    std::fs::write(fleet.dir().join("passwords"), "anna:plain\n").expect("a file");
    fleet.launch(1);
    let log = fleet.dir().join("gw-1.log");
    let told = eventually("the gateway says what is wrong", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains("plain text").then_some(text)
    });
    assert!(told.contains("line 1") && !told.contains("anna:plain"), "{told}");
}

const TOKENS: &str = "[access.token]\njwks = \"jwks.json\"\nleeway_s = 0\naudience = \"mqtt\"\nclient_id_claim = \"cid\"\nwhen_expired = \"maximum-connect-time\"\n";

#[test]
fn a_token_in_place_of_the_password_lets_its_bearer_in_until_it_expires() {
    let issuer = Issuer::new();
    let fleet = gateway(TOKENS, &[("jwks.json", &issuer.jwks())]);
    let claims = json!({"sub": "anna", "aud": ["mqtt"], "cid": "pump-7"});
    let with = |id: &str, token: Vec<u8>| Dial::v5(id).password(token);
    with("pump-7", issuer.sign(&claims, 600)).connect(fleet.mqtt(1)).ping();
    let old = Dial::v311("pump-7").user_name("any").password(issuer.sign(&claims, 600));
    old.connect(fleet.mqtt(1)).ping();
    let code = |dial: Dial| refused(dial, &fleet).code();
    assert_eq!(code(with("pump-8", issuer.sign(&claims, 600))), 0x85, "another client");
    assert_eq!(code(with("pump-7", issuer.sign(&claims, -5))), 0x86, "expired");
    assert_eq!(code(with("pump-7", Issuer::new().sign(&claims, 600))), 0x86, "a stranger's");
    assert_eq!(code(with("pump-7", issuer.token("anna", 600))), 0x86, "no audience");
    assert_eq!(code(with("pump-7", b"no token".to_vec())), 0x86);
    let mut short = with("pump-7", issuer.sign(&claims, 3)).connect(fleet.mqtt(1));
    let reason = ReasonCode::MaximumConnectTime;
    assert_eq!(short.ended(), Ended::Told { reason, server_reference: None });
}

/// A hook: answers each question as it is told.
struct Hook {
    address: SocketAddr,
    questions: Receiver<Value>,
    answers: Sender<Option<Value>>,
}

/// What a question comes over.
trait Line: Read + Write {}

impl<T: Read + Write> Line for T {}

impl Hook {
    fn start() -> Self {
        Self::start_over(|stream| Box::new(stream))
    }

    /// Over TLS, with a gateway's certificate.
    fn start_secure(certs: &Path) -> Self {
        let read = |name: &str| certs.join(name);
        let chain = CertificateDer::pem_file_iter(read("gw-1.pem")).expect("a certificate");
        let chain: Vec<_> = chain.collect::<Result<_, _>>().expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(read("gw-1.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a configuration");
        let config = Arc::new(config);
        Self::start_over(move |stream| {
            let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
            Box::new(StreamOwned::new(session, stream))
        })
    }

    fn start_over(over: impl Fn(TcpStream) -> Box<dyn Line> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (asked, questions) = channel();
        let (answers, told) = channel::<Option<Value>>();
        std::thread::spawn(move || {
            for (stream, answer) in listener.incoming().flatten().zip(told) {
                let mut stream = over(stream);
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                    request.extend(byte);
                }
                let head = String::from_utf8_lossy(&request).to_lowercase();
                let len = head.split("content-length: ").nth(1).and_then(|it| it.lines().next());
                let mut body = vec![0; len.expect("a length").parse().expect("a number")];
                stream.read_exact(&mut body).expect("a body");
                let question = serde_json::from_slice(&body).expect("an object");
                if asked.send(question).is_err() {
                    return;
                }
                let (status, body) = match answer {
                    Some(answer) => ("200 OK", answer.to_string()),
                    None => ("500 Broken", String::new()),
                };
                let len = body.len();
                let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {len}\r\n\r\n{body}");
                let _ = stream.flush();
            }
        });
        Self { address, questions, answers }
    }

    fn answers(&self, answer: Option<Value>) {
        self.answers.send(answer).expect("a hook that runs");
    }

    fn settings(&self, more: &str) -> String {
        format!("[access.hook]\nurl = \"http://{}/auth\"\n{more}", self.address)
    }
}

#[test]
fn the_hook_decides_and_is_not_asked_twice() {
    let hook = Hook::start();
    let fleet = gateway(&hook.settings(""), &[]);
    let anna = |password: &str| Dial::v5("c-1").user_name("anna").password(password);
    hook.answers(Some(json!({"allow": true, "user": "ANNA", "claims": {"publish": ["a/#"]}})));
    for _ in 0..3 {
        anna("apple").connect(fleet.mqtt(1)).ping();
    }
    let asked = hook.questions.recv().expect("a question");
    assert_eq!((&asked["client_id"], &asked["login"]), (&json!("c-1"), &json!("anna")));
    assert_eq!(asked["user"], Value::Null, "nobody has established that");
    assert_eq!((&asked["password"], &asked["address"]), (&json!("apple"), &json!("127.0.0.1")));
    hook.answers(Some(json!({"allow": false})));
    assert_eq!(refused(anna("pear"), &fleet), ReasonCode::NotAuthorized);
    // The hook breaks: who was not asked about before stays outside.
    hook.answers(None);
    assert_eq!(refused(anna("plum"), &fleet), ReasonCode::ServerUnavailable);
    anna("apple").connect(fleet.mqtt(1)).ping();
    // Nobody without credentials.
    assert_eq!(refused(Dial::v5("c-2"), &fleet), ReasonCode::NotAuthorized);
}

#[test]
fn a_hook_that_is_down_lets_in_whom_it_let_in_last_if_told_so() {
    let hook = Hook::start();
    let settings = hook.settings("when_down = \"last-answer\"\ncache_ttl_s = 0\n");
    let fleet = gateway(&settings, &[]);
    let dial = |password: &str| Dial::v311("c-1").user_name("anna").password(password);
    hook.answers(Some(json!({"allow": true})));
    dial("apple").connect(fleet.mqtt(1)).ping();
    hook.answers(None);
    dial("apple").connect(fleet.mqtt(1)).ping();
    hook.answers(None);
    assert_eq!(return_code(dial("pear"), &fleet), 3);
}

#[test]
fn a_hook_over_tls_must_have_a_certificate_of_its_authority() {
    let ours = tempfile::tempdir().expect("a temporary folder");
    certs::development_set(ours.path(), &["gw-1"]).expect("certificates");
    let theirs = tempfile::tempdir().expect("a temporary folder");
    certs::development_set(theirs.path(), &["gw-1"]).expect("certificates");
    let hook = Hook::start_secure(ours.path());
    let port = hook.address.port();
    let settings = |authority: &Path| {
        let ca = authority.join("ca.pem");
        format!("[access.hook]\nurl = \"https://localhost:{port}/\"\nca = {ca:?}\n")
    };
    let anna = || Dial::v5("c-1").user_name("anna").password("apple");
    let fleet = gateway(&settings(ours.path()), &[]);
    hook.answers(Some(json!({"allow": true})));
    anna().connect(fleet.mqtt(1)).ping();
    assert_eq!(hook.questions.recv().expect("a question")["login"], "anna");
    let deceived = gateway(&settings(theirs.path()), &[]);
    hook.answers(Some(json!({"allow": true})));
    assert_eq!(refused(anna(), &deceived), ReasonCode::ServerUnavailable);
}

#[test]
fn a_hook_that_is_asked_always_decides_about_everybody() {
    let hook = Hook::start();
    let fleet = gateway(&hook.settings("ask = \"always\"\nwhen_down = \"allow\"\n"), &[]);
    hook.answers(Some(json!({"allow": false})));
    assert_eq!(refused(Dial::v5("c-1"), &fleet), ReasonCode::NotAuthorized);
    hook.answers(None);
    Dial::v5("c-2").connect(fleet.mqtt(1)).ping();
}

#[test]
fn a_certificate_speaks_for_one_client_and_only_a_devices_does() {
    let settings = "[access.certificate]\nclient_id = \"must-match\"\n";
    let fleet = gateway(settings, &[]);
    let certs = fleet.certificates();
    let wire = |name: &str| {
        dial_tls(fleet.place(1).mqtts, &certs, Identity::Of(&certs, name))
            .expect("a TLS connection")
    };
    Dial::v5("device-1").over(wire("device-1")).ping();
    for (id, name, code) in
        [("other", "device-1", 0x85), ("operator", "operator", 0x87), ("gw-1", "gw-1", 0x87)]
    {
        let Answer::Refused { reason, .. } = Dial::v5(id).try_over(wire(name)) else {
            panic!("{name} as {id} is not refused")
        };
        assert_eq!(reason.code(), code, "{name} as {id}");
    }
}

#[test]
fn a_certificate_may_be_the_client_id() {
    let settings = "[access.certificate]\nclient_id = \"is\"\nprefix = \"site/\"\n";
    let mut fleet = Fleet::prepare(1, &Settings::default().everywhere(settings));
    let certs = fleet.certificates();
    let authority = certs::development_set(&certs, &["gw-1"]).expect("an authority");
    authority.issue(Role::Device, "pump", &[], 30).expect("a certificate");
    fleet.launch(1);
    fleet.wait_ready(1);
    let wire = dial_tls(fleet.place(1).mqtts, &certs, Identity::Of(&certs, "pump"));
    let mut pump = Dial::v5("").over(wire.expect("a TLS connection"));
    assert_eq!(pump.id(), "site/pump");
    pump.subscribe("t", QoS::AtMostOnce);
    let clients = fleet.api(1, "/api/v1/clients").to_string();
    assert!(clients.contains("site/pump"), "{clients}");
}
