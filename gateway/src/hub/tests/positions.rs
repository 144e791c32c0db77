//! Clients that are shown positions, and what they get when they show one.

use proptest::prelude::*;
use protocol::mqtt::codec::AckKind::{PubAck, PubComp, PubRec, PubRel};
use protocol::mqtt::codec::{self, Sender};
use protocol::mqtt::{Packet, Publish, ReasonCode, Version};
use protocol::session::WhenFull;
use protocol::{Position, QoS};
use store::{Fault, Unavailable};

use super::gateway::{Gateway, one_class};
use super::packets::*;
use crate::hub::{Close, ConnId, ConnectRequest, HubConfig};

const V5: Version = Version::V5;
const LEVELS: [QoS; 3] = [Q0, Q1, Q2];

/// A client that shows a position, or begins to be shown some.
fn showing(name: &str, position: &str) -> ConnectRequest {
    ConnectRequest { position: Some(position.into()), ..durable(name) }
}

/// A gateway with a publisher, and a client that subscribes to `t`: the connections of the two.
fn opening(request: ConnectRequest, qos: QoS) -> (Gateway, ConnId, ConnId) {
    let mut gateway = Gateway::new();
    let b = gateway.subscriber(request, "t", qos);
    let a = gateway.join(clean("a"));
    (gateway, a, b)
}

/// Of a queue that is full the oldest messages leave.
fn keeps_newest(config: &mut HubConfig, messages: u32) {
    config.classes = one_class(|limits| {
        limits.queue.messages = messages;
        limits.queue.when_full = WhenFull::DropOldest;
    });
}

/// The client comes back, shows a position, and is told this of it.
#[track_caller]
fn shows(gateway: &mut Gateway, position: &str, verdict: &str) -> ConnId {
    let b = gateway.connect(showing("b", position));
    gateway.settle();
    assert_eq!(told(gateway, b).0, verdict, "of {position:?}");
    b
}

/// What a connection was told and nobody has heard yet: the verdict and the earliest position.
fn told(gateway: &Gateway, conn: ConnId) -> (String, Option<String>) {
    let first = gateway.sockets.packets(conn)[0];
    let Packet::ConnAck(ack) = decoded(first) else { panic!("the first packet is no CONNACK") };
    let found = |name| ack.user.iter().find(|it| it.0 == name).map(|it| it.1.to_owned());
    (found("tidegate-resume").unwrap_or_default(), found("tidegate-position"))
}

/// The messages that a connection was sent and nobody has heard yet, each with its position; all steps of them are done.
fn messages(gateway: &mut Gateway, conn: ConnId) -> Vec<(String, String)> {
    let mut got = Vec::new();
    loop {
        let mut acks = Vec::new();
        for packet in gateway.sockets.packets(conn).into_iter().map(decoded) {
            if let Packet::Publish(publish) = &packet {
                let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                got.push((payload, position(publish).expect("a position")));
                acks.extend(first_answer(publish));
            } else if let Packet::PubRel(release) = packet {
                acks.push(ack(PubComp, release.packet_id.get()));
            }
        }
        gateway.hear(conn);
        if acks.is_empty() {
            return got;
        }
        gateway.tell(conn, &acks.concat());
    }
}

fn decoded(packet: &[u8]) -> Packet<'_> {
    codec::decode(packet, V5, Sender::Server).unwrap()
}

fn publish_in<'a>(packet: &'a Packet<'a>) -> Option<&'a Publish<'a>> {
    if let Packet::Publish(publish) = packet { Some(publish) } else { None }
}

/// The first packet that answers a message.
fn first_answer(publish: &Publish<'_>) -> Option<Vec<u8>> {
    let kind = if publish.qos == Q1 { PubAck } else { PubRec };
    publish.packet_id.map(|id| ack(kind, id.get()))
}

/// The last of its name, as clients are told to read it.
fn position(publish: &Publish<'_>) -> Option<String> {
    let properties = &*publish.properties.end_to_end;
    let name = b"tidegate-position";
    let at = properties.windows(name.len()).rposition(|part| part == name)? + name.len();
    let len = usize::from(u16::from_be_bytes([properties[at], properties[at + 1]]));
    Some(std::str::from_utf8(&properties[at + 2..at + 2 + len]).unwrap().to_owned())
}

fn payloads(messages: &[(String, String)]) -> Vec<&str> {
    messages.iter().map(|(payload, _)| payload.as_str()).collect()
}

/// Publishes numbers at all levels in turn, whole exchanges.
fn publish_mixed(gateway: &mut Gateway, from: ConnId, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let (qos, id) = (LEVELS[number % 3], u16::try_from(number + 1).unwrap());
        gateway
            .publish(from, &publish("t", &number.to_string(), qos, if qos == Q0 { 0 } else { id }));
        if qos == Q2 {
            gateway.tell(from, &ack(PubRel, id));
        }
        gateway.hear(from);
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn a_client_gets_exactly_what_follows_any_position_it_ever_saw_at_either_gateway() {
    let [mut here, mut there] = Gateway::two(|_| {});
    let b = shows(&mut here, "", "start");
    here.hear(b);
    here.subscribe(b, "t", Q2);
    let a = here.join(clean("a"));
    publish_mixed(&mut here, a, 0..30);
    let seen = messages(&mut here, b);
    assert_eq!(payloads(&seen), numbers(0..30), "all levels come in the order of the queue");
    here.pass(100);
    here.lose(b);
    for (number, (_, shown)) in seen.iter().enumerate() {
        let gateway = if number % 2 == 0 { &mut there } else { &mut here };
        let b = shows(gateway, shown, "exact");
        let again = messages(gateway, b);
        assert_eq!(again, seen[number + 1..], "behind {number}, also the positions");
        gateway.pass(100);
        gateway.lose(b);
    }
}

#[test]
fn what_a_publisher_calls_a_position_stands_before_ours() {
    let (mut gateway, a, b) = opening(showing("b", ""), Q1);
    for (number, qos) in [(1, Q0), (2, Q1)] {
        let mut message = publish("t", "x", qos, if qos == Q0 { 0 } else { number });
        let theirs = b"\x26\x00\x11tidegate-position\x00\x06theirs";
        message.properties.end_to_end = theirs[..].into();
        gateway.publish(a, &message);
    }
    let seen = messages(&mut gateway, b);
    assert_eq!(payloads(&seen), ["x", "x"]);
    gateway.pass(100);
    gateway.lose(b);
    let b = shows(&mut gateway, &seen[0].1, "exact");
    assert_eq!(messages(&mut gateway, b), seen[1..]);
}

#[test]
fn who_goes_back_far_meets_what_flows_on_without_a_gap_or_a_repeat() {
    let (mut gateway, a, b) = opening(showing("b", "start"), Q2);
    publish_mixed(&mut gateway, a, 0..390);
    let seen = messages(&mut gateway, b);
    gateway.pass(100);
    gateway.lose(b);
    // What waits for it follows what it has acknowledged.
    publish_mixed(&mut gateway, a, 390..450);
    let request = ConnectRequest { receive_maximum: 7, ..showing("b", &seen[10].1) };
    let b = gateway.connect(request);
    gateway.answer_asks();
    gateway.commit();
    let (mut got, mut next) = (Vec::new(), 450);
    while got.len() < 600 - 11 {
        if next < 600 {
            publish_mixed(&mut gateway, a, next..next + 3);
            next += 3;
        }
        gateway.settle();
        got.extend(messages(&mut gateway, b));
    }
    assert_eq!(payloads(&got), numbers(11..600));
    gateway.pass(100);
    publish_mixed(&mut gateway, a, 600..603);
    assert_eq!(payloads(&messages(&mut gateway, b)), numbers(600..603));
}

#[test]
fn what_a_client_goes_back_to_makes_no_room_for_what_waits() {
    let mut gateway = Gateway::with(|config| keeps_newest(config, 10));
    let b = gateway.connect(showing("b", ""));
    gateway.settle();
    let (_, first) = told(&gateway, b);
    gateway.hear(b);
    gateway.subscribe(b, "t", Q1);
    let a = gateway.join(clean("a"));
    let mut seen = Vec::new();
    for number in 0..60 {
        publish_mixed(&mut gateway, a, number..number + 1);
        seen.extend(messages(&mut gateway, b));
    }
    assert_eq!(payloads(&seen), numbers(0..60));
    gateway.pass(100);
    gateway.lose(b);
    let narrow = ConnectRequest { receive_maximum: 2, ..showing("b", &first.unwrap()) };
    let b = gateway.connect(narrow);
    gateway.settle();
    assert_eq!(told(&gateway, b).0, "exact");
    assert_eq!(messages(&mut gateway, b), seen);
    gateway.pass(1_100);
    assert_eq!(gateway.counters().dropped_queue_count.get(), 0);
}

#[test]
fn a_position_that_is_too_old_gets_what_is_left_and_is_told() {
    let mut gateway = Gateway::new();
    let b = gateway.connect(showing("b", ""));
    gateway.settle();
    let (_, first) = told(&gateway, b);
    gateway.hear(b);
    gateway.subscribe(b, "t", Q2);
    let a = gateway.join(clean("a"));
    publish_mixed(&mut gateway, a, 0..450);
    let seen = messages(&mut gateway, b);
    gateway.pass(100);
    for old in [&first.unwrap(), &seen[20].1, &seen[48].1] {
        let b = gateway.connect(showing("b", old));
        gateway.settle();
        let (verdict, earliest) = told(&gateway, b);
        assert_eq!(verdict, "truncated");
        assert_eq!(messages(&mut gateway, b), seen[50..], "the newest 400 are kept");
        assert_eq!(earliest.as_ref(), Some(&seen[49].1), "and it says from where on");
    }
    shows(&mut gateway, &seen[49].1, "exact");
}

#[test]
fn what_is_no_position_of_this_session_is_refused_and_the_session_goes_on_as_it_was() {
    let mut gateway = Gateway::new();
    let mut shown = Vec::new();
    for name in ["b", "c"] {
        let conn = gateway.subscriber(showing(name, ""), "t", Q2);
        let a = gateway.join(clean("a"));
        publish_mixed(&mut gateway, a, 0..5);
        shown.push(messages(&mut gateway, conn)[0].1.clone());
        gateway.pass(100);
        gateway.lose(conn);
    }
    let a = gateway.join(clean("a"));
    let long = "x".repeat(70_000);
    for (number, wrong) in [&shown[1], "garbage", "ä", &long].into_iter().enumerate() {
        let (from, to) = (number * 3 + 10, number * 3 + 13);
        publish_mixed(&mut gateway, a, from..to);
        let b = gateway.connect(showing("b", wrong));
        gateway.settle();
        let (verdict, earliest) = told(&gateway, b);
        assert_eq!((verdict.as_str(), earliest.is_some()), ("refused", true));
        let missed = if number == 0 {
            [numbers(0..5), numbers(from..to)].concat()
        } else {
            numbers(from..to)
        };
        assert_eq!(payloads(&messages(&mut gateway, b)), missed);
        gateway.pass(100);
        gateway.lose(b);
    }
    // A session that ends with its connection has no positions; nor has one that begins anew the old ones.
    let clean = ConnectRequest { position: Some("".into()), ..clean("d") };
    let d = gateway.connect(clean);
    gateway.settle();
    assert_eq!(told(&gateway, d), ("refused".to_owned(), None));
    let anew = ConnectRequest { clean_start: true, ..showing("b", &shown[0]) };
    let b = gateway.connect(anew);
    gateway.settle();
    assert_eq!(told(&gateway, b).0, "refused");
    // Who stops asking is shown none, and what it saw before is worth nothing any more.
    gateway.hear(b);
    gateway.subscribe(b, "t", Q1);
    publish_mixed(&mut gateway, a, 100..103);
    let seen = messages(&mut gateway, b);
    let b = gateway.join_again(durable("b"));
    gateway.publish(a, &publish("t", "plain", Q1, 999));
    assert_eq!(gateway.hear(b), ["PUBLISH t plain q1 #1"]);
    assert_eq!(position_of_last(&mut gateway, a, b), None);
    shows(&mut gateway, &seen[0].1, "refused");
}

fn position_of_last(gateway: &mut Gateway, a: ConnId, b: ConnId) -> Option<String> {
    gateway.publish(a, &publish("t", "last", Q1, 998));
    let packets = gateway.sockets.packets(b);
    let packet = decoded(packets[0]);
    let publish = publish_in(&packet).unwrap();
    position(publish)
}

#[test]
fn who_may_not_be_shown_positions_is_told_and_makes_nothing_durable() {
    let mut gateway = Gateway::with(|config| config.classes = one_class(|it| it.positions = false));
    for shows in ["", "start", "AAAAAAAAAADq0RuAAAAAAA"] {
        let b = gateway.connect(showing("b", shows));
        gateway.settle();
        assert_eq!(told(&gateway, b), ("refused".to_owned(), None));
        gateway.hear(b);
        gateway.subscribe(b, "t", Q2);
        let a = gateway.join(clean("a"));
        gateway.publish(a, &publish("t", "x", Q0, 0));
        assert_eq!(gateway.hear(b), ["PUBLISH t x q0"], "and no position with it");
        gateway.lose(b);
        gateway.publish(a, &publish("t", "gone", Q0, 0));
    }
    let b = gateway.join(durable("b"));
    assert_eq!(gateway.hear(b), [""; 0], "what came at QoS 0 while it was away is not stored");
}

#[test]
fn what_was_begun_at_qos_2_is_ended_and_comes_anew_behind_the_position() {
    let (mut gateway, a, b) = opening(showing("b", ""), Q2);
    publish_mixed(&mut gateway, a, 0..1);
    let first = messages(&mut gateway, b).remove(0).1;
    for (payload, number) in ["one", "two", "three"].into_iter().zip(1..) {
        gateway.publish(a, &publish("t", payload, Q2, number));
        gateway.tell(a, &ack(PubRel, number));
    }
    assert_eq!(gateway.hear(b).len(), 3);
    // The exchange of the second is half done; those of the others are not answered at all.
    gateway.tell(b, &ack(PubRec, 2));
    gateway.hear(b);
    gateway.lose(b);
    let b = gateway.connect(showing("b", &first));
    gateway.settle();
    assert_eq!(
        gateway.hear(b),
        [
            "CONNACK Success present",
            "PUBREL #1",
            "PUBREL #2",
            "PUBREL #3",
            "PUBLISH t one q2 #4",
            "PUBLISH t two q2 #5",
            "PUBLISH t three q2 #6",
        ]
    );
    // It leaves again before it has answered: nothing of it is forgotten.
    gateway.tell(b, &[ack(PubComp, 1), ack(PubRec, 4)].concat());
    gateway.hear(b);
    gateway.lose(b);
    let b = gateway.connect(showing("b", "start"));
    gateway.settle();
    assert_eq!(
        gateway.hear(b),
        [
            "CONNACK Success present",
            "PUBREL #2",
            "PUBREL #3",
            "PUBREL #4",
            "PUBLISH t two q2 #5 dup",
            "PUBLISH t three q2 #6 dup",
        ]
    );
    let done = [2, 3, 4].map(|id| ack(PubComp, id)).concat();
    gateway.tell(b, &[done, ack(PubRec, 5), ack(PubRec, 6)].concat());
    gateway.tell(b, &[ack(PubComp, 5), ack(PubComp, 6)].concat());
    gateway.hear(b);
    gateway.pass(100);
    let record = gateway.record("b").unwrap();
    assert_eq!((gateway.queue_len(record.no), gateway.worker.hub().unsaved()), (0, 0));
}

#[test]
fn what_was_not_acknowledged_when_a_client_went_back_is_not_until_it_is_sent_again() {
    for level in [Q1, Q2] {
        let (mut gateway, a, b) = opening(showing("b", ""), level);
        gateway.publish(a, &publish("t", "zero", Q1, 1));
        let first = messages(&mut gateway, b).remove(0).1;
        for (payload, number) in ["one", "two", "three"].into_iter().zip(2..) {
            gateway.publish(a, &publish("t", payload, level, number));
            gateway.tell(a, &ack(PubRel, number));
        }
        gateway.hear(b);
        gateway.lose(b);
        let b = gateway.connect(ConnectRequest { receive_maximum: 1, ..showing("b", &first) });
        gateway.settle();
        gateway.hear(b);
        (2..5).for_each(|id| gateway.tell(b, &ack(PubComp, id)));
        let begun = gateway.hear(b);
        gateway.lose(b);
        let b = gateway.connect(showing("b", "start"));
        gateway.settle();
        let heard = gateway.hear(b).join("\n");
        for payload in ["two", "three"] {
            let again = heard.contains(&format!("PUBLISH t {payload}"));
            assert!(again, "{payload} at {level:?}, {begun:?} was begun, then: {heard}");
        }
    }
}

#[test]
fn who_shows_a_position_has_acknowledged_what_is_before_it() {
    let (mut gateway, a, b) = opening(showing("b", ""), Q1);
    for number in 1..5 {
        gateway.publish(a, &publish("t", &number.to_string(), Q1, number));
    }
    let packets = gateway.sockets.packets(b);
    let packet = decoded(packets[2]);
    let third = publish_in(&packet).unwrap();
    let third = position(third).unwrap();
    gateway.lose(b);
    let b = gateway.connect(showing("b", &third));
    gateway.settle();
    assert_eq!(gateway.hear(b), ["CONNACK Success present", "PUBLISH t 4 q1 #1 dup"]);
    gateway.pass(100);
    let no = gateway.record("b").unwrap().no;
    assert_eq!(gateway.queue_len(no), 1);
}

#[test]
fn a_message_at_qos_0_waits_for_those_before_it() {
    let (mut gateway, a, b) =
        opening(ConnectRequest { receive_maximum: 1, ..showing("b", "") }, Q2);
    publish_mixed(&mut gateway, a, 0..6);
    assert_eq!(gateway.hear(b), ["PUBLISH t 0 q0", "PUBLISH t 1 q1 #1"]);
    gateway.tell(b, &ack(PubAck, 1));
    assert_eq!(gateway.hear(b), ["PUBLISH t 2 q2 #2", "PUBLISH t 3 q0"], "it needs no room itself");
    gateway.tell(b, &ack(PubRec, 2));
    gateway.tell(b, &ack(PubComp, 2));
    assert_eq!(gateway.hear(b), ["PUBREL #2", "PUBLISH t 4 q1 #3"]);
}

#[test]
fn what_the_store_does_not_take_at_qos_0_reaches_everybody_else() {
    let (mut gateway, a, b) = opening(showing("b", ""), Q1);
    let plain = gateway.subscriber(clean("plain"), "t", Q1);
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Full });
    gateway.publish(a, &publish("t", "lost", Q0, 0));
    assert_eq!(gateway.hear(plain), ["PUBLISH t lost q0"]);
    gateway.publish(a, &publish("t", "kept", Q0, 0));
    assert_eq!(gateway.hear(plain), ["PUBLISH t kept q0"]);
    assert_eq!(payloads(&messages(&mut gateway, b)), ["kept"]);
}

#[test]
fn a_client_without_messages_is_shown_newer_positions() {
    let (mut gateway, a, b) = opening(showing("b", ""), Q1);
    let _other = gateway.subscriber(durable("c"), "other", Q1);
    gateway.pass(100);
    gateway.publish(a, &publish("other", "x", Q1, 1));
    gateway.pass(29_000);
    assert!(gateway.hear(b).is_empty(), "it is too early");
    gateway.pass(1_000);
    let packets = gateway.sockets.packets(b);
    let packet = decoded(packets[0]);
    let note = publish_in(&packet).unwrap();
    let newer = position(note).unwrap();
    assert_eq!(gateway.hear(b), ["PUBLISH $tidegate/position  q0"]);
    gateway.pass(31_000);
    assert!(gateway.hear(b).is_empty(), "there is no newer one");
    gateway.publish(a, &publish("t", "mine", Q1, 2));
    let mine = messages(&mut gateway, b);
    let b = shows(&mut gateway, &newer, "exact");
    assert_eq!(messages(&mut gateway, b), mine);
    // Who has shown the newest one is not told of it.
    let b = shows(&mut gateway, &mine[0].1, "exact");
    gateway.hear(b);
    gateway.pass(31_000);
    gateway.pass(31_000);
    assert!(gateway.hear(b).is_empty(), "it knows that one");
    // What is on its way is not passed over.
    gateway.publish(a, &publish("t", "open", Q1, 3));
    gateway.hear(b);
    gateway.publish(a, &publish("other", "x", Q1, 4));
    gateway.pass(31_000);
    assert!(gateway.hear(b).is_empty());
}

#[test]
fn a_session_that_was_full_is_told_that_something_is_missing() {
    let (mut gateway, a, b) =
        opening(ConnectRequest { receive_maximum: 100, ..showing("b", "") }, Q1);
    publish_mixed(&mut gateway, a, 0..1);
    let first = messages(&mut gateway, b).remove(0).1;
    gateway.pass(100);
    for number in 0..1_010_u16 {
        gateway.publish(a, &publish("t", &number.to_string(), Q1, number + 1));
    }
    gateway.hear(a);
    // It acknowledges until there is room again.
    for _ in 0..3 {
        let packets = gateway.sockets.packets(b).into_iter().map(decoded);
        let acks: Vec<_> =
            packets.filter_map(|packet| first_answer(publish_in(&packet)?)).collect();
        gateway.sockets.forget_packets(b);
        gateway.tell(b, &acks.concat());
        gateway.pass(100);
    }
    let end = Close::Reason(ReasonCode::QuotaExceeded);
    assert_eq!(gateway.sockets.closed(b), Some(end));
    gateway.settle();
    let gap = gateway.record("b").unwrap().shown.unwrap().gap;
    assert!(gap > Position(1_000), "it is stored: {gap}");
    let b = shows(&mut gateway, &first, "truncated");
    assert_eq!(payloads(&messages(&mut gateway, b)), numbers(0..1_000));
}

#[test]
fn what_leaves_a_queue_while_it_is_under_way_is_never_passed_over_in_silence() {
    let mut gateway = Gateway::with(|config| keeps_newest(config, 4));
    let b = gateway.subscriber(ConnectRequest { receive_maximum: 2, ..showing("b", "") }, "t", Q1);
    let a = gateway.join(clean("a"));
    for number in 0..5_u16 {
        gateway.publish(a, &publish("t", &number.to_string(), Q1, number + 1));
    }
    let sent = gateway.sockets.packets(b).into_iter().map(decoded);
    let sent: Vec<_> = sent.filter_map(|packet| position(publish_in(&packet)?)).collect();
    assert_eq!(sent.len(), 2, "the third has left for the fifth");
    assert_eq!(gateway.sockets.closed(b), Some(Close::Reason(ReasonCode::QuotaExceeded)));
    gateway.settle();
    let b = shows(&mut gateway, &sent[1], "truncated");
    assert_eq!(payloads(&messages(&mut gateway, b)), ["3", "4"]);
}

#[test]
fn what_leaves_a_queue_while_its_session_is_claimed_is_never_passed_over_in_silence() {
    let [mut here, mut there] = Gateway::two(|config| keeps_newest(config, 4));
    there.knows(&["gw-2"]);
    let b = here.subscriber(showing("b", ""), "t", Q1);
    let a = there.join(clean("a"));
    publish_mixed(&mut there, a, 1..2);
    here.settle();
    let first = messages(&mut here, b).remove(0).1;
    here.pass(100);
    here.lose(b);
    there.settle();
    publish_mixed(&mut there, a, 2..3);
    let b = here.connect(showing("b", &first));
    here.answer_asks();
    // The claim is not written yet.
    for number in 3..40_u16 {
        there.publish(a, &publish("t", &number.to_string(), Q1, number));
    }
    there.sweep();
    here.settle();
    assert_eq!(told(&here, b).0, "exact");
    assert_eq!(here.sockets.packets(b).len(), 1 + 1, "CONNACK and DISCONNECT");
    assert_eq!(here.sockets.closed(b), Some(Close::Reason(ReasonCode::QuotaExceeded)));
    shows(&mut here, &first, "truncated");
}

/// What happens to a client that goes back again and again.
#[derive(Debug, Clone)]
enum Step {
    Publish(usize),
    Answer(usize),
    Tick,
    Leave,
    /// Shows the message so many before the newest it saw, at one of two gateways.
    Back(usize, usize),
}

/// A client of two gateways on one store, either of which takes the session from the other as from one that died.
struct Traveller {
    gateways: [Gateway; 2],
    publisher: ConnId,
    published: usize,
    /// Where it is, and under which connection.
    at: Option<(usize, ConnId)>,
    /// The positions of the messages it saw, by number.
    seen: Vec<String>,
    next: usize,
    answers: std::collections::VecDeque<Vec<u8>>,
}

impl Traveller {
    fn new() -> Self {
        let mut gateways = Gateway::two(|_| {});
        let b = gateways[0].subscriber(showing("b", ""), "t", Q2);
        gateways[1].settle();
        let publisher = gateways[1].join(clean("a"));
        let at = Some((0, b));
        let answers = std::collections::VecDeque::new();
        Self { gateways, publisher, published: 0, at, seen: Vec::new(), next: 0, answers }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish(count) => {
                let numbers = self.published..self.published + count;
                publish_mixed(&mut self.gateways[1], self.publisher, numbers);
                self.published += count;
            }
            Step::Answer(count) => {
                let answers: Vec<_> = self.answers.drain(..count.min(self.answers.len())).collect();
                if let Some((at, b)) = self.at {
                    self.gateways[at].tell(b, &answers.concat());
                }
            }
            Step::Tick => self.gateways.iter_mut().for_each(|gateway| gateway.pass(100)),
            Step::Leave => {
                if let Some((at, b)) = self.at.take() {
                    self.gateways[at].lose(b);
                }
            }
            Step::Back(back, at) if !self.seen.is_empty() => {
                let last = self.next.saturating_sub(1 + back).min(self.seen.len() - 1);
                let request = showing("b", &self.seen[last]);
                let b = self.gateways[at].connect(ConnectRequest { receive_maximum: 5, ..request });
                self.gateways[at].settle();
                assert_eq!(told(&self.gateways[at], b).0, "exact", "behind {last}");
                (self.at, self.next) = (Some((at, b)), last + 1);
                self.answers.clear();
            }
            Step::Back(..) => {}
        }
        self.gateways.iter_mut().for_each(Gateway::settle);
        self.hear();
    }

    /// What it hears follows what it heard before, whatever it was.
    fn hear(&mut self) {
        let Some((at, b)) = self.at else { return };
        for packet in self.gateways[at].sockets.packets(b).into_iter().map(decoded) {
            if let Packet::Publish(publish) = &packet {
                assert_eq!(publish.payload, self.next.to_string().as_bytes());
                let position = position(publish).expect("a position");
                match self.seen.get(self.next) {
                    Some(before) => assert_eq!(*before, position, "it keeps its position"),
                    None => self.seen.push(position),
                }
                self.next += 1;
                self.answers.extend(first_answer(publish));
            } else if let Packet::PubRel(release) = packet {
                self.answers.push_back(ack(PubComp, release.packet_id.get()));
            }
        }
        self.gateways[at].sockets.forget_packets(b);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_a_client_has_answered_it_gets_what_follows_the_position_it_shows(
        steps in proptest::collection::vec(prop_oneof![
            5 => (1_usize..6).prop_map(Step::Publish),
            6 => (1_usize..12).prop_map(Step::Answer),
            2 => Just(Step::Tick),
            1 => Just(Step::Leave),
            3 => (0_usize..12, 0_usize..2).prop_map(|(back, at)| Step::Back(back, at)),
        ], 1..40),
    ) {
        let mut traveller = Traveller::new();
        traveller.step(&Step::Publish(2));
        steps.iter().for_each(|step| traveller.step(step));
        // In the end it has everything.
        traveller.step(&Step::Back(3, 0));
        while traveller.next < traveller.published {
            prop_assert!(!traveller.answers.is_empty(), "it waits for {}", traveller.next);
            traveller.step(&Step::Answer(9));
        }
    }
}
