//! The configuration file is read again: what may change does, the rest is named, and a bad file changes nothing.
#![expect(clippy::expect_used, reason = "a scenario may fail loudly")]

use protocol::QoS;
use protocol::mqtt::ReasonCode;
use protocol::mqtt::codec::AckKind;
use tests::harness::{Answer, Dial, Fleet, Settings, Signal, eventually};

const LIMITS: &str = "
[limits]
connections = 100
";

fn fleet() -> Fleet {
    Fleet::start_with(1, &Settings::default().everywhere(LIMITS))
}

/// Writes another configuration beside the one there is, and puts it in its place.
fn rewrite(fleet: &Fleet, change: impl FnOnce(String) -> String) {
    let path = fleet.configuration(1);
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let beside = path.with_extension("new");
    std::fs::write(&beside, change(text)).expect("a file of ours");
    std::fs::rename(beside, path).expect("a file of ours");
}

fn is_refused(fleet: &Fleet, client: &str) -> bool {
    match Dial::v5(client).try_connect(fleet.mqtt(1)) {
        Answer::Refused { reason, .. } => reason == ReasonCode::QuotaExceeded,
        Answer::Accepted(_) | Answer::Closed => false,
    }
}

#[test]
fn a_limit_changes_with_the_file_and_who_is_connected_stays() {
    let fleet = fleet();
    let mut here = Dial::v5("here").connect(fleet.mqtt(1));
    rewrite(&fleet, |text| text.replace("connections = 100", "connections = 1"));
    eventually("a second client is refused", || is_refused(&fleet, "second").then_some(()));
    here.ping();
    rewrite(&fleet, |text| text.replace("connections = 1\n", "connections = 50\n"));
    fleet.process(1).send(Signal::HangUp);
    eventually("a second client is let in", || (!is_refused(&fleet, "second")).then_some(()));
    here.ping();
}

#[test]
fn a_class_that_is_added_holds_for_those_who_are_connected() {
    let fleet = fleet();
    let mut strict = Dial::v5("strict-1").connect(fleet.mqtt(1));
    rewrite(&fleet, |text| {
        text + "\n[[class]]\nname = 'strict'\nclient = ['strict-*']\npublish_per_s = 1\non_excess = 'refuse'\n"
    });
    eventually("what is too fast is refused", || {
        // Many at once, so that they come too fast on a machine that is slow.
        let start = |_| strict.start_publish("t", "x", QoS::AtLeastOnce).expect("a packet id");
        let ids: Vec<_> = (0..20).map(start).collect();
        let answers: Vec<_> =
            ids.into_iter().map(|id| strict.answer_to(AckKind::PubAck, id)).collect();
        answers.contains(&ReasonCode::QuotaExceeded).then_some(())
    });
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing_and_says_all_that_is_wrong() {
    let fleet = fleet();
    rewrite(&fleet, |text| {
        text.replace("connections = 100", "connections = 1\nhandshakes = 0\nbans = 99999")
    });
    let ran = fleet.command(&["reload", "gw-1"]);
    assert_eq!(ran.code, Some(4), "{} {}", ran.out, ran.err);
    for words in ["configuration as before", "limits.handshakes: 0", "limits.bans: 99999"] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    let _here = Dial::v5("here").connect(fleet.mqtt(1));
    assert!(!is_refused(&fleet, "second"), "the limit is as it was");
    let failed = "tidegate_reload_total{result=\"failed\"}";
    assert!(fleet.metric(1, failed) > 0);
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_in_force() {
    let fleet = fleet();
    rewrite(&fleet, |text| {
        text.replace("connections = 100", "connections = 1\ncommit_messages = 7")
            .replace("[store]", "[store]\nsynchronous = \"normal\"")
    });
    let ran = fleet.command(&["reload", "gw-1"]);
    assert_eq!(ran.code, Some(0), "{} {}", ran.out, ran.err);
    assert!(ran.out.contains("configuration in force"), "{}", ran.out);
    let named = "needs a restart: limits.commit_messages, store.synchronous";
    assert!(ran.out.contains(named), "{}", ran.out);
    let _here = Dial::v5("here").connect(fleet.mqtt(1));
    assert!(is_refused(&fleet, "second"), "a limit that came with it");
    fleet.wait_log(1, "not in force without a restart");
}
