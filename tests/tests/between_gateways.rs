//! What the gateways of a fleet know of each other, and agree upon.

use protocol::QoS;
use serde_json::Value;
use tests::harness::{Dial, Fleet, eventually};

/// The link to `peer` as gateway `number` shows it, once it is as it is wanted.
fn link(fleet: &Fleet, number: usize, peer: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually("a link as it is wanted", || {
        let answer = fleet.api(number, "/api/v1/peers");
        let mut links = answer.get("peers")?.as_array()?.iter();
        let is = |link: &Value| link.get("id").and_then(Value::as_str) == Some(peer);
        links.find(|link| is(link) && wanted(link)).cloned()
    })
}

#[test]
fn operators_see_what_every_link_does() {
    let fleet = Fleet::start(2);
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(2));
    for filter in ["some/thing", "other/+", "$share/crew/jobs"] {
        reader.subscribe(filter, QoS::AtLeastOnce);
    }
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    for number in 0..10 {
        writer.publish("some/thing", &number.to_string(), QoS::AtLeastOnce);
        assert_eq!(reader.receive().text, number.to_string());
    }
    let above = |number: &Value, least: u64| number.as_u64() > Some(least);
    let there = link(&fleet, 1, "gw-2", |link| {
        let still = link["queue_len"] == 0 && link["interest_acked"] == true;
        let open = link["up"] == true && above(&link["credit"], 0) && above(&link["granted"], 0);
        above(&link["sent"]["forwards"], 9) && still && open
    });
    assert_eq!(there["version"], 2);
    let interest = &there["interest"];
    let sizes = ["exact", "wildcard", "shared"].map(|kind| interest[kind].as_u64());
    // Besides what its clients want, a gateway wants its own echoes.
    assert_eq!(sizes, [Some(2), Some(1), Some(1)], "{there}");
    assert_eq!((&there["oldest_ms"], &there["dropped"]), (&Value::Null, &Value::from(0)));
    assert!(above(&there["sent"]["bytes"], 10), "{there}");
    let here = link(&fleet, 2, "gw-1", |link| link["received"]["forwards"] == 10);
    assert_eq!(here["interest"]["exact"], 1, "the writer subscribes to nothing");

    eventually("the link is up", || {
        (fleet.metric(1, "tidegate_peer_up{peer=\"gw-2\"}") == 1).then_some(())
    });
    assert_eq!(fleet.metric(1, "tidegate_peer_interest{peer=\"gw-2\",kind=\"wildcard\"}"), 1);
    assert!(fleet.metric(1, "tidegate_peer_sent_forwards_total{peer=\"gw-2\"}") >= 10);
    let typed = fleet.command(&["peers", "gw-1"]);
    assert_eq!(typed.code, Some(0), "{}", typed.err);
    let line = typed.out.lines().find(|line| line.contains("gw-2")).expect("a line for the link");
    for part in ["acknowledged", "2 exact, 1 wildcard, 1 shared", "bytes)"] {
        assert!(line.contains(part), "no {part:?} in {line:?}");
    }
    let typed = fleet.command(&["peers", "--json"]);
    let all: Value = serde_json::from_str(&typed.out).expect("JSON");
    assert_eq!(all["peers"].as_array().map(Vec::len), Some(2));
    assert_eq!(fleet.command(&["peers", "gw-7"]).code, Some(64));
}

#[test]
fn gateways_that_retain_for_one_topic_at_once_keep_the_same_message() {
    let fleet = Fleet::start(2);
    std::thread::scope(|scope| {
        for number in 1..=2 {
            let address = fleet.mqtt(number);
            scope.spawn(move || {
                let mut writer = Dial::v5(&format!("writer-{number}")).connect(address);
                for turn in 0..40 {
                    let text = format!("{turn} from {number}");
                    writer.publish_retained(
                        &format!("state/{}", turn % 4),
                        &text,
                        QoS::AtLeastOnce,
                    );
                }
            });
        }
    });
    for topic in 0..4 {
        let kept = [1, 2].map(|number| {
            let mut reader = Dial::v5(&format!("reader-{number}")).connect(fleet.mqtt(number));
            reader.subscribe(&format!("state/{topic}"), QoS::AtLeastOnce);
            reader.receive().text
        });
        assert_eq!(kept[0], kept[1]);
        // The last of one of the two, since each of them writes in order.
        assert!(kept[0].starts_with(&format!("{} from", 36 + topic)), "{kept:?}");
    }
}
