//! Bans by operators: client ids, users, addresses and networks, in all gateways, until they end or are lifted.
#![expect(clippy::panic, reason = "a scenario may fail loudly")]

use std::io::Write as _;
use std::net::TcpStream;

use protocol::QoS;
use protocol::mqtt::ReasonCode;
use tests::harness::{
    Answer, Dial, Ended, Fleet, Identity, Ran, Settings, Wire, dial_tls, eventually, run, tidegate,
};

const BANNED: &str = "tidegate_connect_refused_total{reason=\"banned\"}";
const CUT: &str = "tidegate_connections_cut_total{reason=\"banned\"}";
const TURNED_AWAY: &str = "tidegate_connections_turned_away_total{reason=\"banned\"}";

fn bans(fleet: &Fleet, arguments: &[&str]) -> Ran {
    fleet.command(&[&["bans"], arguments].concat())
}

fn done(fleet: &Fleet, arguments: &[&str]) -> String {
    let ran = bans(fleet, arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {} {}", ran.out, ran.err);
    ran.out
}

/// The CONNACK of a refusal.
fn refusal(answer: Answer) -> (ReasonCode, Vec<u8>) {
    match answer {
        Answer::Refused { reason, bytes, .. } => (reason, bytes),
        Answer::Accepted(_) => panic!("it was let in"),
        Answer::Closed => panic!("it was closed without an answer"),
    }
}

fn is_in(dial: &Dial, fleet: &Fleet, number: usize) -> Option<()> {
    matches!(dial.clone().try_connect(fleet.mqtt(number)), Answer::Accepted(_)).then_some(())
}

fn administrative() -> Ended {
    let reason = ReasonCode::AdministrativeAction;
    Ended::Told { reason, server_reference: None }
}

#[test]
fn a_client_that_is_banned_is_cut_in_every_gateway_and_stays_out_of_all_of_them() {
    let mut fleet = Fleet::start(2);
    let mut five = Dial::v5("bad").persistent().connect(fleet.mqtt(2));
    let mut pair = Dial::v5("good").connect(fleet.mqtt(2));
    pair.subscribe("t", QoS::AtLeastOnce);
    let out =
        done(&fleet, &["add", "--client", "bad", "--for", "1h", "--reason", "loud", "--json"]);
    let ban: serde_json::Value = serde_json::from_str(&out).expect("a ban as JSON");
    assert_eq!((&ban["client"], &ban["by"]), (&"bad".into(), &"operator".into()), "{out}");
    assert_eq!(five.ended(), administrative());
    for number in [1, 2] {
        let (reason, _) = refusal(Dial::v5("bad").try_connect(fleet.mqtt(number)));
        assert_eq!(reason, ReasonCode::Banned);
        let (_, bytes) = refusal(Dial::v311("bad").try_connect(fleet.mqtt(number)));
        assert_eq!(bytes, [0x20, 2, 0, 5]);
        assert_eq!(fleet.metric(number, BANNED), 2);
        assert_eq!(fleet.metric(number, "tidegate_bans"), 1);
    }
    assert_eq!(fleet.metric(2, CUT), 1);
    fleet.wait_log(2, "connection cut: banned");
    fleet.wait_log(2, "the client is banned");
    // Another one does not notice.
    pair.publish("t", "still here", QoS::AtLeastOnce);
    assert_eq!(pair.receive().text, "still here");
    // A gateway that starts anew knows it.
    fleet.stop(2);
    fleet.restart(2);
    assert_eq!(refusal(Dial::v5("bad").try_connect(fleet.mqtt(2))).0, ReasonCode::Banned);
    let list = done(&fleet, &["list"]);
    assert!(list.contains("bad") && list.contains("loud"), "{list}");
    done(&fleet, &["remove", "--client", "bad"]);
    for number in [1, 2] {
        eventually("it gets in again", || is_in(&Dial::v5("bad"), &fleet, number));
    }
}

#[test]
fn a_client_of_3_1_1_is_cut_by_closing() {
    let fleet = Fleet::start(1);
    let mut three = Dial::v311("bad").connect(fleet.mqtt(1));
    done(&fleet, &["add", "--client", "bad"]);
    assert_eq!(three.ended(), Ended::Closed);
}

#[test]
fn an_address_or_a_network_is_told_so_or_closed_before_a_handshake() {
    let proxied = "[[listen]]\nbind = \"@extra1@\"\nproxy_protocol = true\nproxy_trusted = [\"127.0.0.0/8\"]\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(proxied));
    let listener = fleet.place(1).extra[0];
    let from = |address: &str| -> Box<dyn Wire> {
        let mut stream = TcpStream::connect(listener).expect("a connection");
        let _ = write!(stream, "PROXY TCP4 {address} 127.0.0.1 4711 1883\r\n");
        Box::new(stream)
    };
    let mut inside = Dial::v5("inside").over(from("192.0.2.7"));
    let mut outside = Dial::v5("outside").over(from("192.0.3.7"));
    done(&fleet, &["add", "--address", "192.0.2.77/24"]);
    assert_eq!(inside.ended(), administrative());
    assert_eq!(refusal(Dial::v5("next").try_over(from("192.0.2.8"))).0, ReasonCode::Banned);
    outside.ping();
    done(&fleet, &["remove", "--address", "192.0.2.0/24"]);
    Dial::v5("next").over(from("192.0.2.8")).ping();
    // Where there would be a handshake first, there is none.
    done(&fleet, &["add", "--address", "127.0.0.1"]);
    let (secure, certs) = (fleet.place(1).mqtts, fleet.certificates());
    assert!(dial_tls(secure, &certs, Identity::Of(&certs, "device-1")).is_err());
    assert_eq!(fleet.metric(1, TURNED_AWAY), 1);
    // Operators are not kept out.
    done(&fleet, &["remove", "--address", "127.0.0.1"]);
    dial_tls(secure, &certs, Identity::Of(&certs, "device-1")).expect("a handshake");
    outside.ping();
}

#[test]
fn a_user_is_kept_out_whatever_its_client_id_and_a_ban_ends_when_it_says() {
    let settings = "[access.password]\nfile = \"passwords\"\n";
    let mut fleet = Fleet::prepare(1, &Settings::default().everywhere(settings));
    let file = fleet.dir().join("passwords");
    let file = file.to_str().expect("a path in UTF-8");
    for (user, password) in [("anna", "apple"), ("otto", "orange")] {
        let ran = run(&mut tidegate(["passwd", file, user, password, "-b"]));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    fleet.launch(1);
    fleet.wait_ready(1);
    let anna = |id| Dial::v5(id).user_name("anna").password("apple");
    let mut one = anna("one").connect(fleet.mqtt(1));
    let mut two = anna("two").connect(fleet.mqtt(1));
    let mut otto = Dial::v5("otto").user_name("otto").password("orange").connect(fleet.mqtt(1));
    done(&fleet, &["add", "--user", "anna"]);
    assert_eq!((one.ended(), two.ended()), (administrative(), administrative()));
    assert_eq!(refusal(anna("three").try_connect(fleet.mqtt(1))).0, ReasonCode::Banned);
    otto.ping();
    // The same ban again, with an end.
    done(&fleet, &["add", "--user", "anna", "--for", "1s"]);
    eventually("it ends", || is_in(&anna("three"), &fleet, 1));
    eventually("it is forgotten", || (fleet.metric(1, "tidegate_bans") == 0).then_some(()));
}

#[test]
fn what_cannot_be_done_is_told_with_an_exit_code() {
    let fleet = Fleet::start_with(1, &Settings::default().everywhere("[limits]\nbans = 1\n"));
    done(&fleet, &["add", "--client", "a"]);
    done(&fleet, &["add", "--client", "a", "--reason", "once more"]);
    for (arguments, code, what) in [
        (["add", "--client", "b"].as_slice(), 4, "limits.bans"),
        (&["add", "--address", "nowhere"], 64, "no address"),
        (&["add", "--client", "b", "--for", "soon"], 64, "12h"),
        (&["add", "--client", "b", "--user", "c"], 64, "cannot be used"),
        (&["remove", "--client", "b"], 1, "no such ban"),
    ] {
        let ran = bans(&fleet, arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {} {}", ran.out, ran.err);
        assert!(ran.err.contains(what), "{arguments:?}: {}", ran.err);
    }
    let list = fleet.api(1, "/api/v1/bans");
    assert_eq!(list["bans"].as_array().map(Vec::len), Some(1), "{list}");
}
