//! H1: what a device asks by HTTPS is answered as AWS answers it, with the rights that it has over MQTT, and a publication
//! that is answered with 200 is promised what PUBACK promises.
#![expect(clippy::expect_used, reason = "a scenario may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a client that waits for one packet passes over all others"
)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::{Authority, Role};
use protocol::QoS;
use protocol::mqtt::codec::AckKind;
use protocol::mqtt::{Packet, ReasonCode};
use tests::harness::{
    Client, Dial, Fleet, HttpsAnswer, HttpsDevice, Identity, Settings, dial_tls, eventually,
    read_answer, request,
};

/// Every gateway serves devices by HTTPS, with more lines for that section.
fn settings(base: Settings, more: &str) -> Settings {
    base.everywhere(&format!("[device_http]\nbind = \"@extra1@\"\n{more}\n"))
}

fn fleet(gateways: usize) -> Fleet {
    Fleet::start_with(gateways, &settings(Settings::default(), ""))
}

/// `device-1` at one of the gateways.
fn device(fleet: &Fleet, number: usize) -> HttpsDevice {
    named(fleet, number, "device-1")
}

fn named(fleet: &Fleet, number: usize, name: &str) -> HttpsDevice {
    HttpsDevice::new(fleet.place(number).extra[0], &fleet.certificates(), name)
}

/// Status, and the exception that AWS's SDKs raise from it.
fn refused(answer: &HttpsAnswer) -> (u16, &str) {
    let told = answer.json();
    assert!(told.get("message").is_some_and(serde_json::Value::is_string), "{answer:?}");
    (answer.status, answer.header("x-amzn-errortype").expect("the type of an error"))
}

#[test]
fn a_publication_reaches_subscribers_at_every_gateway_with_its_properties() {
    let fleet = fleet(2);
    for number in [1, 2] {
        let mut reader = Dial::v5(&format!("reader-{number}")).connect(fleet.mqtt(number));
        reader.subscribe("plant/+", QoS::AtLeastOnce);
        let user = STANDARD.encode(r#"[{"who":"me"},{"who":"you"}]"#);
        let headers = [
            &format!("x-amz-mqtt5-user-properties: {user}"),
            &format!("x-amz-mqtt5-correlation-data: {}", STANDARD.encode("c-7")),
            "x-amz-mqtt5-payload-format-indicator: UTF8_DATA",
        ];
        let path = "/topics/plant%2Fpump?qos=1&contentType=text%2Fplain&responseTopic=answers&messageExpiry=600";
        let answer = device(&fleet, 1).ask("POST", path, &headers, b"on");
        assert_eq!((answer.status, answer.json()["message"].as_str()), (200, Some("OK")));
        let properties = reader.wait_for("PUBLISH", |packet| match packet {
            Packet::Publish(publish) => {
                assert_eq!((publish.topic, publish.payload), ("plant/pump", &b"on"[..]));
                assert_eq!(publish.qos, QoS::AtLeastOnce);
                assert_eq!(publish.properties.response_topic, Some("answers"));
                assert!(publish.properties.payload_is_utf8);
                assert!(publish.properties.message_expiry_s.is_some_and(|left| left <= 600));
                Some(publish.properties.end_to_end.to_vec())
            }
            _ => None,
        });
        let user = protocol::mqtt::codec::user_properties(&properties);
        assert_eq!(user, [("who", "me"), ("who", "you")]);
        let has = |text: &[u8]| properties.windows(text.len()).any(|part| part == text);
        assert!(has(b"text/plain") && has(b"c-7"));
    }
}

#[test]
fn what_is_answered_outlives_the_gateway_that_answered() {
    let mut fleet = Fleet::start_with(2, &settings(Settings::mortal(), ""));
    let mut away = Dial::v5("away").persistent().connect(fleet.mqtt(2));
    away.subscribe("jobs", QoS::AtLeastOnce);
    away.disconnect();
    let wire = &mut *device(&fleet, 1).dial().expect("a connection");
    for number in 0..50 {
        let body = number.to_string();
        wire.write_all(&request("POST", "/topics/jobs?qos=1", &[], body.as_bytes())).expect("sent");
        assert_eq!(read_answer(wire).expect("an answer").status, 200);
    }
    fleet.kill(1);
    let mut back = Dial::v5("away").persistent().connect(fleet.mqtt(2));
    let got = back.receive_until("49");
    assert_eq!(got, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn retained_messages_are_published_shown_and_listed_by_pages() {
    let fleet = fleet(2);
    let (here, there) = (device(&fleet, 1), device(&fleet, 2));
    for topic in ["r/a", "r/b", "r/c"] {
        let path = format!("/topics/{topic}?qos=1&retain=true");
        assert_eq!(here.post(&path, &format!("of {topic}")).status, 200);
    }
    // The other gateway follows the log.
    eventually("the other gateway has them", || {
        (there.get("/retainedMessage/r%2Fc").status == 200).then_some(())
    });
    let shown = there.get("/retainedMessage/r%2Fa").json();
    assert_eq!((&shown["topic"], &shown["qos"]), (&"r/a".into(), &1.into()));
    assert_eq!(shown["payload"], STANDARD.encode("of r/a"));
    // Of this century: the clock of the gateway that took it.
    assert!(shown["lastModifiedTime"].as_u64().is_some_and(|ms| ms > 1_000_000_000_000), "{shown}");
    let first = there.get("/retainedMessage?maxResults=2").json();
    let topics = |list: &serde_json::Value| -> Vec<String> {
        let list = list["retainedTopics"].as_array().expect("a list");
        list.iter().map(|it| it["topic"].as_str().expect("a topic").to_owned()).collect()
    };
    assert_eq!(topics(&first), ["r/a", "r/b"]);
    let token = first["nextToken"].as_str().expect("a token").replace('/', "%2F");
    let rest = there.get(&format!("/retainedMessage?maxResults=2&nextToken={token}")).json();
    assert_eq!(
        (topics(&rest), &rest["nextToken"]),
        (vec!["r/c".to_owned()], &serde_json::Value::Null)
    );
    let missing = there.get("/retainedMessage/r%2Fd");
    assert_eq!(refused(&missing), (404, "resourcenotfoundexception"));
    assert_eq!(here.post("/topics/r%2Fa?retain=true", "").status, 200);
    eventually("it is deleted", || {
        (there.get("/retainedMessage/r%2Fa").status == 404).then_some(())
    });
}

#[test]
fn rights_are_asked_as_for_a_client_that_speaks_mqtt() {
    let toml = "[access]\nacl = \"acl.toml\"\n[access.certificate]\nclient_id = \"must-match\"\n";
    let settings = settings(Settings::default().everywhere(toml), "");
    let mut fleet = Fleet::prepare(1, &settings);
    let acl =
        "[[rule]]\neffect = 'allow'\nclient = 'device-*'\ntopics = 'dev/%c/#'\nretain = true\n";
    std::fs::write(fleet.dir().join("acl.toml"), acl).expect("an access file");
    fleet.launch(1);
    fleet.wait_ready(1);
    let device = device(&fleet, 1);
    assert_eq!(device.post("/topics/dev%2Fdevice-1%2Fx?qos=1&retain=true", "x").status, 200);
    let denied = device.post("/topics/dev%2Fdevice-2%2Fx?qos=1", "x");
    assert_eq!(refused(&denied), (403, "forbiddenexception"));
    assert_eq!(refused(&device.get("/retainedMessage/dev%2Fdevice-2%2Fx")).0, 403);
    let reserved = device.post("/topics/%24SYS%2Fx", "x");
    assert_eq!(refused(&reserved).0, 403);
    eventually("the retained message is there", || {
        let list = device.get("/retainedMessage").json();
        (list["retainedTopics"].as_array()?.len() == 1).then_some(())
    });
    // Another policy holds for the same connection.
    let mut wire = device.dial().expect("a connection");
    std::fs::write(fleet.dir().join("acl.toml"), acl.replace("dev/%c", "other")).expect("written");
    fleet.process(1).send(tests::harness::Signal::HangUp);
    eventually("the new policy holds", || {
        wire.write_all(&request("POST", "/topics/other%2Fx", &[], b"x")).expect("sent");
        (read_answer(&mut *wire).expect("an answer").status == 200).then_some(())
    });
    let list = device.get("/retainedMessage").json();
    assert_eq!(list["retainedTopics"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_full_queue_that_refuses_publishers_refuses_these_too() {
    let toml = "[limits]\nqueue_messages = 2\nqueue_when_full = \"reject\"\n";
    let fleet = Fleet::start_with(1, &settings(Settings::default().everywhere(toml), ""));
    let mut away = Dial::v5("away").persistent().connect(fleet.mqtt(1));
    away.subscribe("full", QoS::AtLeastOnce);
    away.disconnect();
    let device = device(&fleet, 1);
    let full = eventually("the queue is full", || {
        let answer = device.post("/topics/full?qos=1", "x");
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused(&full), (429, "throttlingexception"));
    assert_eq!(full.header("retry-after"), Some("1"));
    let name = "tidegate_device_http_requests_total{call=\"publish\",code=\"429\"}";
    assert_eq!(fleet.metric(1, name), 1);
    // At QoS 0 nothing is promised.
    assert_eq!(device.post("/topics/full", "x").status, 200);
}

#[test]
fn nobody_is_answered_without_a_good_certificate_and_who_is_revoked_is_cut() {
    let mut fleet = Fleet::prepare(1, &settings(Settings::default(), ""));
    let certs = fleet.certificates();
    let authority = Authority::load(&certs).expect("the authority");
    let stolen = authority.issue(Role::Device, "stolen", &[], 30).expect("a certificate");
    fleet.launch(1);
    fleet.wait_ready(1);
    let address = fleet.place(1).extra[0];
    let foreign = tempfile::tempdir().expect("a folder");
    certs::development_set(foreign.path(), &["gw-1"]).expect("certificates");
    std::fs::copy(certs.join("ca.pem"), foreign.path().join("ca.pem")).expect("copied");
    for identity in [Identity::None, Identity::Of(foreign.path(), "device-1")] {
        let answered = dial_tls(address, &certs, identity).ok().and_then(|mut wire| {
            wire.write_all(&request("GET", "/retainedMessage", &[], b"")).ok()?;
            read_answer(&mut *wire).ok()
        });
        assert_eq!(answered, None, "{identity:?}");
    }
    // Good, and not a device's.
    let operator = named(&fleet, 1, "operator").get("/retainedMessage");
    assert_eq!(refused(&operator), (401, "unauthorizedexception"));
    let mut wire = named(&fleet, 1, "stolen").dial().expect("a connection");
    wire.write_all(&request("GET", "/retainedMessage", &[], b"")).expect("sent");
    assert_eq!(read_answer(&mut *wire).expect("an answer").status, 200);
    authority.revoke(&stolen.issued.serial).expect("revoked");
    fleet.process(1).send(tests::harness::Signal::HangUp);
    assert!(!matches!(wire.read(&mut [0]), Ok(1..)), "the connection is over");
    assert_eq!(device(&fleet, 1).get("/retainedMessage").status, 200);
}

/// What raw bytes are answered with, or that the connection is closed without an answer; never silence.
fn answered(device: &HttpsDevice, bytes: &[u8]) -> Option<u16> {
    let mut wire = device.dial().expect("a connection");
    // The gateway may have closed before it has everything.
    let _ = wire.write_all(bytes);
    match read_answer(&mut *wire) {
        Ok(answer) => Some(answer.status),
        Err(error) => {
            let silent = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(!silent, "the gateway says nothing: {error}");
            None
        }
    }
}

#[test]
fn who_does_not_finish_a_request_does_not_stay() {
    let more = "idle_timeout_ms = 500\nbody_timeout_ms = 500";
    let fleet = Fleet::start_with(1, &settings(Settings::default(), more));
    let device = device(&fleet, 1);
    for half in [
        "",
        "GET /retainedMessage HTTP/1.1\r\nhost:",
        "POST /topics/t HTTP/1.1\r\nhost: g\r\ncontent-length: 9\r\n\r\nx",
    ] {
        let answer = answered(&device, half.as_bytes());
        assert!(matches!(answer, Some(408) | None), "{half}: {answer:?}");
    }
}

#[test]
fn what_is_too_large_or_no_request_harms_nobody() {
    let fleet = Fleet::start_with(1, &settings(Settings::default(), "body_bytes = 2048"));
    let device = device(&fleet, 1);
    let giant = device.post("/topics/t", &"x".repeat(2049));
    assert_eq!(refused(&giant), (413, "requestentitytoolargeexception"));
    assert_eq!(device.post("/topics/t", &"x".repeat(2048)).status, 200);
    // Much of what is too large is read, so that its sender hears why.
    assert_eq!(device.post("/topics/t", &"x".repeat(1_000_000)).status, 413);
    let wide = format!("x: {}", "x".repeat(100_000));
    let answer = answered(&device, &request("GET", "/retainedMessage", &[&wide], b""));
    assert!(matches!(answer, Some(431) | None), "{answer:?}");
    let answer = answered(&device, b"\x00\x01\x02 nonsense\r\n\r\n");
    assert!(matches!(answer, Some(400) | None), "{answer:?}");
    // A body in pieces, beyond the limit.
    let head = b"POST /topics/t HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = format!("800\r\n{}\r\n", "x".repeat(2048)).repeat(2) + "0\r\n\r\n";
    assert_eq!(answered(&device, &[head, chunks.as_bytes()].concat()), Some(413));
    for (path, code) in [
        ("/topics/%23", 400),
        ("/topics/a%2F%2B", 400),
        ("/topics/a%00", 400),
        ("/topics/%ff", 400),
        ("/topics/", 400),
        ("/topics/a?qos=2", 400),
        ("/topics/a?responseTopic=a%2F%23", 400),
        ("/topics/a?contentType=%00", 400),
        ("/topics/../things/x/shadow", 200),
        ("/../topics/a", 404),
        ("//topics/a", 404),
        ("/nothing", 404),
    ] {
        assert_eq!(device.post(path, "x").status, code, "{path}");
    }
    let method = device.ask("PUT", "/topics/a", &[], b"");
    assert_eq!(refused(&method), (405, "methodnotallowedexception"));
    let head = device.ask("POST", "/topics/a", &["x-amz-mqtt5-user-properties: %"], b"");
    assert_eq!(refused(&head), (400, "invalidrequestexception"));
}

#[test]
fn a_gateway_that_is_drained_says_so_and_serves_again() {
    let fleet = fleet(2);
    let device = device(&fleet, 1);
    let drained = fleet.command(&["drain", "start", "gw-1", "--wait", "--announce-ms", "0"]);
    assert_eq!(drained.code, Some(0), "{drained:?}");
    let answer = device.post("/topics/t?qos=1", "x");
    assert_eq!(refused(&answer), (503, "serviceunavailableexception"));
    assert_eq!(fleet.command(&["drain", "undrain", "gw-1"]).code, Some(0));
    eventually("it serves again", || {
        (device.post("/topics/t?qos=1", "x").status == 200).then_some(())
    });
}

/// A device that is `device-2` besides `device-1`, and what they may do.
fn two_devices(gateways: usize, rules: &str) -> Fleet {
    let toml = "[access]\nacl = \"acl.toml\"\n[access.certificate]\nclient_id = \"must-match\"\n";
    let more = "answer_timeout_ms = 60_000";
    let mut fleet = Fleet::prepare(gateways, &settings(Settings::default().everywhere(toml), more));
    let authority = Authority::load(&fleet.certificates()).expect("the authority");
    authority.issue(Role::Device, "device-2", &[], 30).expect("a certificate");
    std::fs::write(fleet.dir().join("acl.toml"), rules).expect("an access file");
    (1..=gateways).for_each(|number| fleet.launch(number));
    (1..=gateways).for_each(|number| fleet.wait_ready(number));
    if gateways > 1 {
        fleet.wait_linked();
    }
    fleet
}

/// The payload of the next message to a topic.
fn told(reader: &mut Client, topic: &str) -> serde_json::Value {
    reader.wait_for("PUBLISH", |packet| match packet {
        Packet::Publish(publish) if publish.topic == topic => {
            Some(serde_json::from_slice(publish.payload).expect("a document of json"))
        }
        _ => None,
    })
}

#[test]
fn shadows_are_the_same_by_https_and_by_mqtt_at_every_gateway() {
    let fleet = fleet(2);
    let (here, there) = (device(&fleet, 1), device(&fleet, 2));
    for (path, prefix) in [
        ("/things/lamp/shadow", "$aws/things/lamp/shadow".to_owned()),
        ("/things/lamp/shadow?name=%24n", "$aws/things/lamp/shadow/name/$n".to_owned()),
    ] {
        assert_eq!(refused(&here.get(path)), (404, "resourcenotfoundexception"));
        let mut reader = Dial::v5("reader").connect(fleet.mqtt(2));
        reader.subscribe(&format!("{prefix}/update/delta"), QoS::AtLeastOnce);
        let change = r#"{"state":{"desired":{"on":true},"reported":null},"clientToken":"t"}"#;
        let answer = here.post(path, change);
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        assert_eq!((&answer["version"], &answer["clientToken"]), (&1.into(), &"t".into()));
        assert_eq!(answer["state"]["reported"], serde_json::Value::Null);
        let delta = told(&mut reader, &format!("{prefix}/update/delta"));
        assert_eq!((&delta["version"], &delta["state"]["on"]), (&1.into(), &true.into()));
        let got = there.get(path);
        assert_eq!((got.status, &got.json()["state"]["delta"]["on"]), (200, &true.into()));
        let conflict = there.post(path, r#"{"state":{},"version":9}"#);
        assert_eq!(refused(&conflict), (409, "conflictexception"));
        let gone = there.ask("DELETE", path, &[], b"");
        assert_eq!((gone.status, &gone.json()["version"]), (200, &1.into()));
        assert_eq!(refused(&here.get(path)), (404, "resourcenotfoundexception"));
    }
    // A publication to the topic of a request is that request.
    let topic = "/topics/%24aws%2Fthings%2Flamp%2Fshadow%2Fupdate?qos=1";
    assert_eq!(here.post(topic, r#"{"state":{"reported":{"a":1}}}"#).status, 200);
    assert_eq!(there.get("/things/lamp/shadow").json()["state"]["reported"]["a"], 1);
    assert_eq!(refused(&here.post(topic, "{")), (400, "invalidrequestexception"));
    assert_eq!(refused(&here.post(&format!("{topic}&retain=true"), "{}")).0, 403);
    for name in ["a", "b", "c"] {
        let path = format!("/things/lamp/shadow?name={name}");
        assert_eq!(here.post(&path, r#"{"state":{}}"#).status, 200);
    }
    let list = "/api/things/shadow/ListNamedShadowsForThing/lamp?pageSize=2";
    let first = there.get(list).json();
    assert_eq!((&first["results"], &first["nextToken"]), (&["a", "b"].into(), &"b".into()));
    let rest = there.get(&format!("{list}&nextToken=b")).json();
    assert_eq!((&rest["results"], rest.get("nextToken")), (&["c"].into(), None));
}

#[test]
fn a_device_has_its_own_shadow_and_others_only_by_rules() {
    let rule = "[[rule]]\neffect = 'allow'\nclient = 'device-2'\ntopics = '$aws/things/device-1/shadow/get'\n";
    let fleet = two_devices(1, rule);
    let (one, two) = (named(&fleet, 1, "device-1"), named(&fleet, 1, "device-2"));
    let own = "/things/device-1/shadow";
    assert_eq!(one.post(own, r#"{"state":{"reported":{"a":1}}}"#).status, 200);
    assert_eq!(two.get(own).status, 200);
    assert_eq!(refused(&two.post(own, r#"{"state":{}}"#)), (403, "forbiddenexception"));
    assert_eq!(refused(&two.ask("DELETE", own, &[], b"")).0, 403);
    assert_eq!(refused(&two.get("/things/device-1/shadow?name=n")).0, 403);
    let names = "/api/things/shadow/ListNamedShadowsForThing/device-1";
    assert_eq!(refused(&two.get(names)).0, 403);
    assert_eq!(one.get(names).status, 200);
    assert_eq!(one.ask("DELETE", own, &[], b"").status, 200);
}

/// Asks again what a busy machine had no time for.
fn patiently(mut ask: impl FnMut() -> HttpsAnswer) -> HttpsAnswer {
    eventually("it is answered", || {
        Some(ask()).filter(|answer| !matches!(answer.status, 503 | 504))
    })
}

/// Acknowledges messages until one came at that level and no more are asked for: what is asked for again comes again.
fn take(reader: &mut Client, qos: QoS, is_over: impl Fn() -> bool) {
    let mut came = false;
    while !came || !is_over() {
        let Some(frame) = reader.next_within(Duration::from_millis(50)) else { continue };
        let Packet::Publish(publish) = frame.packet() else { continue };
        assert_eq!((publish.topic, publish.payload), ("cmd/now", &b"go"[..]));
        came |= publish.qos == qos;
        publish.packet_id.into_iter().for_each(|id| reader.acknowledge(AckKind::PubAck, id));
    }
}

#[test]
fn a_message_for_one_client_reaches_it_alone_at_whichever_gateway_it_is() {
    let fleet = fleet(2);
    let device = device(&fleet, 1);
    let mut all = Dial::v5("all").connect(fleet.mqtt(2));
    all.subscribe("#", QoS::AtLeastOnce);
    for (number, dial) in
        [(1, Dial::v5("near")), (2, Dial::v5("far/away")), (2, Dial::v311("old").persistent())]
    {
        let mut reader = dial.connect(fleet.mqtt(number));
        let id = reader.id().to_owned();
        let path = format!("/connections/{}/messages?topic=cmd%2Fnow", id.replace('/', "%2F"));
        for (more, qos) in [("", QoS::AtMostOnce), ("&confirmation=true", QoS::AtLeastOnce)] {
            let path = format!("{path}{more}&timeout=15");
            let asked = std::thread::scope(|scope| {
                let asking = scope.spawn(|| patiently(|| device.post(&path, "go")));
                take(&mut reader, qos, || asking.is_finished());
                asking.join().expect("a thread that asks")
            });
            assert_eq!(asked.status, 200, "{id}: {asked:?}");
        }
    }
    assert_eq!(device.post("/topics/end", "end").status, 200);
    assert_eq!(all.receive_until("end"), ["end"], "nobody else got any of it");
}

#[test]
fn what_is_known_of_a_client_is_told_to_whom_rules_let_know_it() {
    let rules = "[[rule]]\neffect = 'allow'\nclient = 'device-2'\naction = 'subscribe'\ntopics = '$aws/events/+/+/device-1'\n\
        [[rule]]\neffect = 'allow'\nclient = 'device-2'\ntopics = '$aws/connections/device-1/messages/cmd/#'\n\
        [[rule]]\neffect = 'allow'\nclient = 'device-1'\naction = 'subscribe'\ntopics = ['cmd/#', 'x']\n\
        [[rule]]\neffect = 'allow'\nclient = 'device-1'\ntopics = '$aws/connections/device-1/delete'\n";
    let fleet = two_devices(1, rules);
    let certs = fleet.certificates();
    let (one, two) = (named(&fleet, 1, "device-1"), named(&fleet, 1, "device-2"));
    assert_eq!(refused(&one.get("/connections/device-1")), (404, "resourcenotfoundexception"));
    let wire = dial_tls(fleet.place(1).mqtts, &certs, Identity::Of(&certs, "device-1"));
    let mut client = Dial::v5("device-1").over(wire.expect("a connection"));
    client.subscribe("x", QoS::AtLeastOnce);
    for asker in [&one, &two] {
        let shown = asker.get("/connections/device-1?includeSocketInformation=true").json();
        assert_eq!((&shown["connected"], &shown["sourceIp"]), (&true.into(), &"127.0.0.1".into()));
        let list = asker.get("/connections/device-1/subscriptions").json();
        assert_eq!(list["subscriptions"][0]["topicFilter"], "x", "{list}");
        assert_eq!(refused(&asker.get("/connections/nobody")).0, 403);
    }
    let message = |topic: &str| format!("/connections/device-1/messages?topic={topic}");
    assert_eq!(refused(&one.post(&message("cmd%2Fa"), "x")), (403, "forbiddenexception"));
    assert_eq!(refused(&two.post(&message("other"), "x")).0, 403);
    assert_eq!(patiently(|| two.post(&message("cmd%2Fa"), "x")).status, 200);
    assert_eq!(refused(&two.ask("DELETE", "/connections/device-1", &[], b"")).0, 403);
    let ended = one.ask("DELETE", "/connections/device-1?preventWillMessage=true", &[], b"");
    assert!(matches!(ended.status, 200 | 503), "{ended:?}");
    assert_eq!(client.end_reason(), Some(ReasonCode::AdministrativeAction));
    let shown = eventually("it is gone", || {
        let shown = two.get("/connections/device-1").json();
        (shown["connected"] == false).then_some(shown)
    });
    assert_eq!(shown["disconnectReason"], "API_INITIATED_DISCONNECT");
}
