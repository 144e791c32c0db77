//! A2: rights to publish and to subscribe are checked where the device is attached.
#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use protocol::QoS;
use protocol::mqtt::ReasonCode;
use protocol::mqtt::codec::AckKind;
use tests::harness::{Answer, Client, Dial, Fleet, Settings, eventually, run};

const OWN: &str = "
[[rule]]
name = 'nobody touches the secrets'
effect = 'deny'
topics = 'secret/#'

[[rule]]
name = 'devices speak for themselves'
effect = 'allow'
client = 'dev-*'
topics = ['dev/%c/#', '$SYS/#']

[[rule]]
name = 'everybody reads the news'
effect = 'allow'
action = 'subscribe'
topics = 'news/#'
max_qos = 1

[[rule]]
name = 'the editor writes them'
effect = 'allow'
action = 'publish'
client = 'editor'
topics = 'news/+'
max_qos = 1
retain = false
";

/// Gateways with that access file.
fn fleet(gateways: usize, acl: &str) -> Fleet {
    let settings = Settings::default().everywhere("[access]\nacl = \"acl.toml\"\n");
    let mut fleet = Fleet::prepare(gateways, &settings);
    std::fs::write(fleet.dir().join("acl.toml"), acl).expect("an access file");
    (1..=gateways).for_each(|number| fleet.launch(number));
    (1..=gateways).for_each(|number| fleet.wait_ready(number));
    fleet.wait_linked();
    fleet
}

fn answer(client: &mut Client, topic: &str, qos: QoS) -> ReasonCode {
    let id = client.start_publish(topic, "x", qos).expect("a packet id");
    let kind = if qos == QoS::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
    client.answer_to(kind, id)
}

fn denied(fleet: &Fleet, labels: &str) -> u64 {
    fleet.metric(1, &format!("tidegate_denied_total{{{labels}}}"))
}

#[test]
fn a_device_publishes_and_reads_what_is_its_own_and_nothing_else() {
    let fleet = fleet(2, OWN);
    let mut editor = Dial::v5("editor").connect(fleet.mqtt(2));
    let mut device = Dial::v5("dev-1").connect(fleet.mqtt(1));
    let mut other = Dial::v5("dev-2").connect(fleet.mqtt(1));
    device.subscribe("dev/dev-1/#", QoS::ExactlyOnce);
    other.subscribe("dev/dev-2/in", QoS::ExactlyOnce);
    for (filter, expected) in [
        ("dev/+/in", ReasonCode::NotAuthorized),
        ("#", ReasonCode::NotAuthorized),
        ("$share/g/dev/dev-2/#", ReasonCode::NotAuthorized),
        ("$share/g/dev/dev-1/out", ReasonCode::GrantedQoS2),
        ("secret/x", ReasonCode::NotAuthorized),
        ("news/#", ReasonCode::GrantedQoS1),
    ] {
        assert_eq!(device.try_subscribe(filter, QoS::ExactlyOnce), [expected], "{filter}");
    }
    // At every level, and the connection goes on.
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        assert_eq!(answer(&mut other, "dev/dev-1/in", qos), ReasonCode::NotAuthorized);
        assert_eq!(answer(&mut other, "secret/x", qos), ReasonCode::NotAuthorized);
    }
    other.start_publish("dev/dev-1/in", "x", QoS::AtMostOnce);
    editor.publish("news/today", "hello", QoS::AtLeastOnce);
    assert_eq!(answer(&mut editor, "news/today", QoS::ExactlyOnce), ReasonCode::NotAuthorized);
    assert_eq!(device.receive().text, "hello", "and nothing of what was denied came before");
    device.publish("dev/dev-1/in", "to myself", QoS::ExactlyOnce);
    assert_eq!(device.receive().text, "to myself");
    other.ping();
    assert_eq!(denied(&fleet, "action=\"publish\",reason=\"no_rule\""), 3);
    assert_eq!(denied(&fleet, "action=\"publish\",reason=\"rule\""), 2);
    assert_eq!(denied(&fleet, "action=\"subscribe\",reason=\"no_rule\""), 2);
    let log = eventually("the audit log tells of it", || {
        let log = fleet.process(1).log();
        log.contains("denied: no rule allows it").then_some(log)
    });
    assert!(log.contains("audit") && log.contains("dev-2"), "{log}");
}

#[test]
fn a_3_1_1_client_is_not_disturbed_and_not_heard() {
    let fleet = fleet(1, OWN);
    let mut device = Dial::v5("dev-1").connect(fleet.mqtt(1));
    device.subscribe("dev/dev-1/#", QoS::AtMostOnce);
    let mut old = Dial::v311("dev-2").connect(fleet.mqtt(1));
    assert_eq!(old.try_subscribe("dev/#", QoS::AtMostOnce), [ReasonCode::UnspecifiedError]);
    // [MQTT3-3.3.5-2]
    old.publish("dev/dev-1/in", "x", QoS::AtLeastOnce);
    old.publish("dev/dev-1/in", "x", QoS::ExactlyOnce);
    old.start_publish("dev/dev-1/in", "x", QoS::AtMostOnce);
    old.ping();
    device.publish("dev/dev-1/in", "mine", QoS::AtLeastOnce);
    assert_eq!(device.receive().text, "mine");
}

#[test]
fn a_will_that_may_not_be_published_is_refused_with_its_connect() {
    let fleet = fleet(1, OWN);
    let Answer::Refused { reason, .. } =
        Dial::v5("dev-1").will("dev/dev-2/gone", "x").try_connect(fleet.mqtt(1))
    else {
        panic!("it was accepted")
    };
    assert_eq!(reason, ReasonCode::NotAuthorized);
    let Answer::Refused { bytes, .. } =
        Dial::v311("dev-1").will("dev/dev-2/gone", "x").try_connect(fleet.mqtt(1))
    else {
        panic!("it was accepted")
    };
    assert_eq!(bytes, [0x20, 2, 0, 5], "not authorized");
    Dial::v5("dev-1").will("dev/dev-1/gone", "x").connect(fleet.mqtt(1)).ping();
}

#[test]
fn without_an_access_file_nothing_is_allowed_and_the_check_says_so() {
    let settings = Settings::default().everywhere("[access]\nallow_all = false\n");
    let fleet = Fleet::start_with(1, &settings);
    let mut client = Dial::v5("c").connect(fleet.mqtt(1));
    assert_eq!(client.try_subscribe("t", QoS::AtMostOnce), [ReasonCode::NotAuthorized]);
    assert_eq!(answer(&mut client, "t", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
    let file = fleet.configuration(1);
    let checked = fleet.command(&["check", "-c", file.to_str().expect("a path in UTF-8")]);
    assert_eq!(checked.code, Some(0));
    assert!(checked.out.contains("warning: nobody may publish or subscribe"), "{}", checked.out);
    let warned = fleet.command(&["check", "--json", "-c", file.to_str().expect("a path in UTF-8")]);
    let told: serde_json::Value = serde_json::from_str(&warned.out).expect("JSON");
    assert_eq!((warned.code, &told["ok"]), (Some(0), &true.into()), "{told}");
    assert_eq!(told["warnings"][0]["setting"], "access.acl", "{told}");
    assert_eq!(told["warnings"].as_array().map(Vec::len), Some(1), "{told}");
}

#[test]
fn what_a_check_warns_of_is_in_its_json_too() {
    let fleet = fleet(1, "[[rule]]\neffect = 'allow'\ntopics = 'by/%c'\n");
    let file = fleet.configuration(1);
    let file = file.to_str().expect("a path in UTF-8");
    let checked = fleet.command(&["check", "-c", file]);
    let warning = "rules go by the client id (%c), and somebody may have any";
    assert!(checked.out.contains(&format!("{file}: warning: {warning}")), "{}", checked.out);
    let checked = fleet.command(&["check", "--json", "-c", file]);
    let told: serde_json::Value = serde_json::from_str(&checked.out).expect("JSON");
    assert_eq!(told["warnings"][0]["setting"], "access.client_id", "{told}");
    let what = told["warnings"][0]["what"].as_str().expect("words");
    assert!(what.starts_with(warning), "{told}");
}

#[test]
fn the_rule_that_decides_is_named() {
    let fleet = fleet(1, OWN);
    let explain = |arguments: &[&str]| fleet.command(&[&["acl", "explain"], arguments].concat());
    let yes = explain(&["--client", "dev-1", "--publish", "dev/dev-1/x"]);
    assert_eq!(yes.code, Some(0), "{}", yes.err);
    assert!(yes.out.starts_with("allowed: publish dev/dev-1/x\n"), "{}", yes.out);
    let no = explain(&["--client", "dev-1", "--subscribe", "secret/+"]);
    assert_eq!(no.code, Some(5), "{}", no.err);
    let decided = "denied by rule \"nobody touches the secrets\" (acl.toml:2)";
    assert!(no.out.contains(decided), "{}", no.out);
    let json = explain(&["--client", "editor", "--publish", "news/x", "--qos", "2", "--json"]);
    assert_eq!(json.code, Some(5));
    let told: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!((&told["allowed"], &told["reason"]), (&false.into(), &"qos".into()));
    assert_eq!(told["rules"][3]["decides"], true);
    let acl = fleet.dir().join("acl.toml");
    let acl = acl.to_str().expect("a path in UTF-8");
    assert_eq!(fleet.command(&["acl", "check", acl]).code, Some(0));
    std::fs::write(acl, "[[rule]]\nefect = 'allow'\n").expect("a broken file");
    let bad = fleet.command(&["acl", "check", acl]);
    assert_eq!(bad.code, Some(64));
    assert!(bad.err.contains("line 2: unknown key `efect`; did you mean `effect`?"), "{}", bad.err);
    assert!(bad.err.contains("`topics` is missing"), "{}", bad.err);
}

#[test]
fn a_topic_to_which_nobody_publishes_is_not_said_to_be_allowed() {
    let fleet = Fleet::start(1);
    for (topic, code) in [("x", 0), ("$SYS/x", 5), ("$aws/things/a/shadow/update", 0)] {
        let explain = ["acl", "explain", "--client", "a", "--publish", topic];
        let told = fleet.command(&explain);
        assert_eq!(told.code, Some(code), "{topic}: {} {}", told.out, told.err);
        let json = fleet.command(&[&explain[..], &["--json"]].concat());
        let told: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
        assert_eq!(told["allowed"], code == 0, "{topic}: {told}");
        assert_eq!(told["reason"] == "reserved", code != 0, "{topic}: {told}");
    }
}

#[test]
fn mosquitto_pub_is_told_why() {
    let fleet = fleet(1, OWN);
    let ran = run(Command::new("mosquitto_pub").args([
        "-V",
        "5",
        "-h",
        "127.0.0.1",
        "-p",
        &fleet.mqtt(1).port().to_string(),
        "-i",
        "dev-1",
        "-q",
        "1",
        "-t",
        "secret/x",
        "-m",
        "x",
    ]));
    assert!(ran.err.contains("Not authorized"), "{ran:?}");
}

/// The broker whose access files we read.
struct Mosquitto(Child);

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mosquitto(dir: &Path, acl: &Path) -> (Mosquitto, SocketAddr) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr();
    let address = free.expect("an address");
    let config = dir.join("mosquitto.conf");
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\nacl_file {}\n",
        address.port(),
        acl.display()
    );
    std::fs::write(&config, text).expect("a configuration");
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let broker = Mosquitto(command.spawn().expect("mosquitto is installed"));
    eventually("mosquitto listens", || TcpStream::connect(address).ok());
    (broker, address)
}

#[test]
fn an_access_file_of_mosquitto_means_the_same_to_both_for_publishers() {
    let acl = "# comment\ntopic readwrite public/#\ntopic deny public/secret\ntopic write w/+\n\
               topic read r/#\ntopic a/b\n\nuser bob\ntopic readwrite bobs/#\n\n\
               pattern write by/%c/#\npattern read to/%c\npattern deny by/+/never\n\
               pattern write mid/x%cy/z\npattern readwrite $SYS/broker/%c\n";
    let settings = Settings::default().everywhere("[access]\nacl_mosquitto = \"mosquitto.acl\"\n");
    let mut fleet = Fleet::prepare(1, &settings);
    let file = fleet.dir().join("mosquitto.acl");
    std::fs::write(&file, acl).expect("an access file");
    fleet.launch(1);
    fleet.wait_ready(1);
    let (_broker, theirs) = mosquitto(fleet.dir(), &file);
    for id in ["one", "two", "a+b", "c#"] {
        let mut ours = Dial::v5(id).connect(fleet.mqtt(1));
        let mut other = Dial::v5(id).connect(theirs);
        for topic in [
            "public",
            "public/x",
            "public/secret",
            "public/secret/x",
            "w/x",
            "w/x/y",
            "r/x",
            "a/b",
            "bobs/x",
            "by/one",
            "by/one/x",
            "by/two/x",
            "by/one/never",
            "to/one",
            "mid/xoney/z",
            "mid/xtwoy/z",
            "none",
        ] {
            let said = [&mut ours, &mut other]
                .map(|client| answer(client, topic, QoS::AtLeastOnce) == ReasonCode::NotAuthorized);
            assert_eq!(said[0], said[1], "{id} publishes to {topic}: denied by us, by them");
        }
    }
}
