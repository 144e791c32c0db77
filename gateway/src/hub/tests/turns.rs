//! What one connection may take of its worker's time, and how long it may take.

use std::time::Duration;

use fanout::Wants;
use protocol::mqtt::Version;
use protocol::{Publication, QoS, TopicFilter, Wall};

use super::gateway::{Gateway, one_class};
use super::packets::{
    bytes, clean, disconnect, durable, filter, old, ping, publish, subscribe, unsubscribe,
};
use crate::hub::{Ask, ConnId, ConnectRequest, ReleaseAsked};
use crate::worker::{Mail, Reading};

#[test]
fn a_flood_of_small_packets_is_taken_in_shares() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let flood = ping().repeat(1_000);
    let Gateway { worker, sockets, now, .. } = &mut gateway;
    let (took, reading) = worker.handle_bytes(a, &flood, *now, sockets);
    assert_eq!(reading, Reading::Later);
    assert!(took < flood.len(), "all in one turn");
    gateway.tell(a, &flood[took..]);
    assert_eq!(gateway.hear(a).len(), 1_000);
}

#[test]
fn publications_to_very_many_shared_groups_are_taken_in_shares() {
    let classes = one_class(|limits| limits.subscriptions_per_session = 100);
    let mut gateway = Gateway::with(|config| config.classes = classes);
    let member = gateway.join(durable("member"));
    for number in 0..100 {
        gateway.subscribe(member, &format!("$share/g{number}/t"), QoS::AtLeastOnce);
    }
    let a = gateway.join(clean("a"));
    let publications: Vec<Vec<u8>> =
        (1..=10).map(|id| bytes(Version::V5, &publish("t", "x", QoS::AtLeastOnce, id))).collect();
    let flood = publications.concat();
    let Gateway { worker, sockets, now, .. } = &mut gateway;
    let (took, reading) = worker.handle_bytes(a, &flood, *now, sockets);
    assert_eq!(reading, Reading::Later);
    assert!(0 < took && took < flood.len(), "all in one turn");
    gateway.tell(a, &flood[took..]);
    assert_eq!(gateway.hear(a).len(), 10);
    assert_eq!(gateway.hear(member).len(), 10, "each once, whichever groups gave it");
}

/// More filters than a turn takes.
const MANY: usize = 100;

fn with_many_filters() -> Gateway {
    let classes = one_class(|limits| {
        limits.filters_per_subscribe = MANY;
        limits.subscriptions_per_session = MANY;
        limits.packets_per_s = 1_000;
    });
    Gateway::with(|config| config.classes = classes)
}

fn filters() -> Vec<String> {
    (0..MANY).map(|number| format!("t/{number}")).collect()
}

fn subscribe_all(filters: &[String]) -> Vec<u8> {
    let filters: Vec<_> = filters.iter().map(|text| filter(text, QoS::AtMostOnce)).collect();
    subscribe(Version::V5, 1, &filters)
}

#[test]
fn a_packet_with_many_filters_is_taken_in_shares_and_answered_once() {
    let mut gateway = with_many_filters();
    let (a, b) = (gateway.join(clean("a")), gateway.join(clean("b")));
    let filters = filters();
    let texts: Vec<_> = filters.iter().map(String::as_str).collect();
    for (packet, answer) in
        [(subscribe_all(&filters), "SUBACK #1 ["), (unsubscribe(1, &texts), "UNSUBACK #1 [")]
    {
        let before = gateway.counters().packets_received.get();
        let mut turns = 0;
        loop {
            let Gateway { worker, sockets, now, .. } = &mut gateway;
            let (took, reading) = worker.handle_bytes(a, &packet, *now, sockets);
            turns += 1;
            // Others are served meanwhile.
            gateway.tell(b, &ping());
            assert_eq!(gateway.hear(b), ["PINGRESP"]);
            if took == packet.len() {
                break;
            }
            assert_eq!((took, reading), (0, Reading::Later));
            assert!(gateway.hear(a).is_empty(), "before all of it is done");
        }
        assert!((3..MANY / 4).contains(&turns), "{turns} turns");
        let heard = gateway.hear(a);
        assert!(heard.len() == 1 && heard[0].starts_with(answer), "{heard:?}");
        assert_eq!(heard[0].matches("Success").count(), MANY);
        let counted = gateway.counters().packets_received.get() - before;
        assert_eq!(counted, turns as u64 + 1, "the pings, and one more");
    }
    assert!(gateway.tables.routes().is_empty());
}

#[test]
fn what_is_left_of_a_packet_goes_with_its_connection() {
    let mut gateway = with_many_filters();
    let a = gateway.join(clean("a"));
    let packet = subscribe_all(&filters());
    let Gateway { worker, sockets, now, .. } = &mut gateway;
    assert_eq!(worker.handle_bytes(a, &packet, *now, sockets), (0, Reading::Later));
    gateway.lose(a);
    let a = gateway.join(clean("a"));
    gateway.tell(a, &subscribe_all(&["x".into()]));
    assert_eq!(gateway.hear(a), ["SUBACK #1 [Success]"]);
    gateway.lose(a);
    assert!(gateway.tables.routes().is_empty());
}

#[test]
fn the_subscriptions_of_a_session_that_ends_go_in_shares_and_are_nobody_elses() {
    let mut gateway = with_many_filters();
    let a = gateway.join(clean("a"));
    gateway.tell(a, &subscribe_all(&filters()));
    gateway.hear(a);
    gateway.send(a, &disconnect(protocol::mqtt::ReasonCode::Success, None));
    gateway.commit();
    assert_eq!(gateway.hear(a), ["closed"]);
    assert_eq!((gateway.worker.hub().sessions_len(), gateway.tables.routes().len()), (0, MANY));
    assert_eq!(gateway.worker.hub().movable(), 0);
    let mut left = MANY;
    while gateway.worker.has_more() {
        gateway.worker.handle_more(gateway.now, &mut gateway.sockets);
        let before = std::mem::replace(&mut left, gateway.tables.routes().len());
        assert!(before - left <= MANY / 3, "{before} and then {left} in one turn");
        // Who comes meanwhile has none of them.
        let b = gateway.connect(clean(&format!("b{left}")));
        while gateway.answer_asks() | gateway.commit() {}
        assert_eq!(gateway.hear(b), ["CONNACK Success"]);
        for text in filters() {
            gateway.send(b, &bytes(Version::V5, &publish(&text, "x", QoS::AtMostOnce, 0)));
        }
        assert!(gateway.hear(b).is_empty());
    }
    assert!(gateway.tables.routes().is_empty());
}

/// A persistent session with many subscriptions that is away, and a publisher.
fn away_with_many_filters() -> (Gateway, ConnId) {
    let mut gateway = with_many_filters();
    let a = gateway.join(durable("a"));
    let filters = filters();
    let filters: Vec<_> = filters.iter().map(|text| filter(text, QoS::AtLeastOnce)).collect();
    gateway.tell(a, &subscribe(Version::V5, 1, &filters));
    assert_eq!(gateway.hear(a).len(), 1);
    gateway.lose(a);
    gateway.settle();
    let b = gateway.join(clean("b"));
    (gateway, b)
}

/// A connection whose session is ours, and of which no turn went into its subscriptions yet.
fn come_back(gateway: &mut Gateway) -> ConnId {
    let a = gateway.connect(durable("a"));
    while gateway.answer_asks() | gateway.commit() {}
    assert!(gateway.worker.has_more() && gateway.hear(a).is_empty());
    a
}

#[test]
fn the_subscriptions_of_a_session_that_comes_back_are_entered_in_shares_before_it_is_told() {
    let (mut gateway, b) = away_with_many_filters();
    gateway.publish(b, &publish("t/0", "waits", QoS::AtLeastOnce, 1));
    assert_eq!(gateway.hear(b), ["PUBACK #1"]);
    let a = come_back(&mut gateway);
    assert_eq!(gateway.worker.hub().sessions_len(), 1, "that of b");
    let mut turns = 0;
    while gateway.worker.has_more() {
        assert!(gateway.hear(a).is_empty(), "it is not whole");
        gateway.worker.handle_more(gateway.now, &mut gateway.sockets);
        // Others are served meanwhile, and nothing comes before the answer.
        gateway.send_publish(b, &publish("t/0", "early", QoS::AtMostOnce, 0));
        gateway.send(b, &ping());
        assert_eq!(gateway.hear(b), ["PINGRESP"]);
        turns += 1;
    }
    assert!(turns >= 3, "{turns} turns");
    gateway.settle();
    let heard = gateway.hear(a);
    assert_eq!(heard[0], "CONNACK Success present");
    assert!(heard.iter().any(|it| it == "PUBLISH t/0 waits q1 #1"), "{heard:?}");
    for number in [0, MANY - 1] {
        gateway.publish(b, &publish(&format!("t/{number}"), "x", QoS::AtMostOnce, 0));
        assert_eq!(gateway.hear(a), [format!("PUBLISH t/{number} x q0")]);
    }
}

#[test]
fn of_many_sessions_that_come_back_those_that_came_first_are_whole_first() {
    let mut gateway = with_many_filters();
    let names: Vec<_> = (0..20).map(|number| format!("s{number}")).collect();
    for name in &names {
        let conn = gateway.join(durable(name));
        gateway.tell(conn, &subscribe_all(&filters()));
        gateway.lose(conn);
    }
    gateway.settle();
    let conns: Vec<_> = names.iter().map(|name| gateway.connect(durable(name))).collect();
    while gateway.answer_asks() | gateway.commit() {}
    let mut whole: Vec<ConnId> = Vec::new();
    for _ in 0..conns.len() * MANY {
        gateway.worker.handle_more(gateway.now, &mut gateway.sockets);
        let greeted =
            conns.iter().filter(|conn| !gateway.hear(**conn).is_empty()).collect::<Vec<_>>();
        assert!(greeted.len() <= 3, "more than eight shares in one turn");
        whole.extend(greeted);
        if whole.len() == conns.len() {
            break;
        }
    }
    assert_eq!(whole, conns, "in their order");
}

#[test]
fn a_session_whose_client_is_gone_before_it_is_whole_leaves_nothing_in_the_tables() {
    let (mut gateway, _) = away_with_many_filters();
    let a = come_back(&mut gateway);
    gateway.worker.handle_more(gateway.now, &mut gateway.sockets);
    gateway.lose(a);
    gateway.settle();
    assert!(gateway.record("a").is_some_and(|record| record.owner.is_none()));
    assert_eq!(gateway.worker.hub().sessions_len(), 1, "that of b");
    let a = gateway.join_again(durable("a"));
    gateway.lose(a);
}

#[test]
fn who_connects_anew_before_its_session_is_whole_gets_it_and_a_peer_that_asks_gets_it_then() {
    let (mut gateway, _) = away_with_many_filters();
    let old = come_back(&mut gateway);
    gateway.worker.handle_more(gateway.now, &mut gateway.sockets);
    let new = gateway.connect(durable("a"));
    assert_eq!(gateway.hear(old), ["CONNACK ServerBusy", "closed"]);
    gateway.settle();
    assert_eq!(gateway.hear(new), ["CONNACK Success present"]);
    gateway.lose(new);
    let last = come_back(&mut gateway);
    let epoch = gateway.record("a").unwrap().epoch;
    let (from, client) = (protocol::GatewayId::new("gw-2").unwrap(), super::packets::client("a"));
    gateway.mail(Mail::ReleaseAsked(ReleaseAsked { from, request: 7, client, epoch }));
    gateway.commit();
    assert!(gateway.asked.is_empty() && gateway.hear(last).is_empty());
    gateway.settle();
    let heard = gateway.hear(last);
    assert_eq!(heard, ["CONNACK Success present", "DISCONNECT SessionTakenOver", "closed"]);
    assert!(matches!(gateway.asked[..], [Ask::Released { request: 7, .. }]), "{:?}", gateway.asked);
}

#[test]
fn all_who_are_owed_retained_messages_share_a_turn() {
    let mut gateway = Gateway::new();
    gateway.tables.change_retained(|retained| {
        for number in 0..1_000 {
            let topic = format!("t/{number}");
            let publication = Publication::new(&topic, &[], b"x", QoS::AtMostOnce, true);
            retained.set(&topic, Some((publication, Wall(0))));
        }
    });
    let all: Vec<_> = (0..10).map(|n| gateway.join(clean(&format!("c{n}")))).collect();
    for conn in &all {
        gateway.send(*conn, &subscribe(Version::V5, 1, &[filter("t/#", QoS::AtMostOnce)]));
    }
    gateway.settle();
    // As often as a worker flushes, each time after the last was sent.
    let (mut turns, mut got) = (0, 0);
    while got < all.len() * 1_001 {
        gateway.worker.handle_more(gateway.now, &mut gateway.sockets);
        for conn in &all {
            gateway.worker.handle_writable(*conn, gateway.now, &mut gateway.sockets);
        }
        let heard: usize = all.iter().map(|conn| gateway.hear(*conn).len()).sum();
        assert!(turns == 0 || heard <= 100, "{heard} in one turn");
        got += heard;
        turns += 1;
        assert!(turns < 1_000, "{got} of them");
    }
    assert!(!gateway.worker.has_more());
}

#[test]
fn a_large_retained_message_is_as_much_of_a_turn_as_many_small_ones() {
    const BYTES: usize = 1_000_000;
    let mut gateway = Gateway::new();
    let text = vec![b'x'; BYTES];
    gateway.tables.change_retained(|retained| {
        for number in 0..3 {
            let topic = format!("t/{number}");
            let publication = Publication::new(&topic, &[], &text, QoS::AtMostOnce, true);
            retained.set(&topic, Some((publication, Wall(0))));
        }
    });
    let all: Vec<_> = (0..4).map(|n| gateway.join(clean(&format!("c{n}")))).collect();
    for conn in &all {
        gateway.send(*conn, &subscribe(Version::V5, 1, &[filter("t/#", QoS::AtMostOnce)]));
    }
    gateway.settle();
    let (mut came, mut turns) = (vec![0; all.len()], 0);
    while came.iter().sum::<usize>() < 3 * all.len() {
        gateway.worker.handle_more(gateway.now, &mut gateway.sockets);
        for conn in &all {
            gateway.worker.handle_writable(*conn, gateway.now, &mut gateway.sockets);
        }
        let mut in_one_turn = 0;
        for (conn, came) in all.iter().zip(&mut came) {
            let heard = gateway.hear(*conn);
            let messages = heard.iter().filter(|it| it.starts_with("PUBLISH")).count();
            *came += messages;
            in_one_turn += messages;
        }
        assert!(turns == 0 || in_one_turn <= 1, "{in_one_turn} megabytes in one turn");
        turns += 1;
        assert!(turns < 100, "{came:?}");
    }
    assert!(came.iter().all(|came| *came == 3), "each once: {came:?}");
}

#[test]
fn a_flood_of_topics_that_match_much_is_taken_in_smaller_shares() {
    let mut gateway =
        Gateway::with(|config| config.classes = one_class(|limits| limits.topic_levels = 20));
    gateway.tables.change_routes(|routes| {
        for mix in 0..1_024_u32 {
            let level = |bit: u32| if mix >> bit & 1 == 1 { "+" } else { "a" };
            let filter = (0..10).map(level).collect::<Vec<_>>().join("/") + "/+";
            routes.set_worker(1, &TopicFilter::new(&filter).unwrap(), Wants::Everything);
        }
    });
    let a = gateway.join(clean("a"));
    let topic = |number: usize| format!("{}/{number}", ["a"; 10].join("/"));
    let packets = |topic: &dyn Fn(usize) -> String| {
        let packet = |number| bytes(Version::V5, &publish(&topic(number), "x", QoS::AtMostOnce, 0));
        (0..20).flat_map(packet).collect::<Vec<u8>>()
    };
    let flood = packets(&topic);
    let Gateway { worker, sockets, now, .. } = &mut gateway;
    let (took, reading) = worker.handle_bytes(a, &flood, *now, sockets);
    assert_eq!((took / (flood.len() / 20), reading), (2, Reading::Later), "3,071 steps each");
    // A topic that is remembered is no work.
    let known = packets(&|_| topic(0));
    let (took, reading) = worker.handle_bytes(a, &known, *now, sockets);
    assert_eq!((took, reading), (known.len(), Reading::On));
}

#[test]
fn the_beginning_of_a_packet_is_no_sign_of_life() {
    let mut gateway = Gateway::new();
    let a = gateway.join(ConnectRequest { keep_alive_s: 10, ..clean("a") });
    for _ in 0..14 {
        gateway.pass(1_000);
        gateway.tell(a, &[0x30]);
    }
    assert!(gateway.hear(a).is_empty());
    gateway.pass(1_000);
    assert_eq!(gateway.hear(a), ["DISCONNECT KeepAliveTimeout", "closed"]);
    assert_eq!(gateway.counters().timeouts_keep_alive.get(), 1);
}

#[test]
fn a_packet_that_does_not_end_ends_its_connection() {
    let mut gateway = Gateway::with(|config| config.packet_timeout = Duration::from_secs(60));
    let a = gateway.join(old("a"));
    gateway.pass(100_000);
    gateway.tell(a, &[0x30]);
    gateway.pass(59_000);
    gateway.tell(a, &[0x30, 10]);
    assert!(gateway.hear(a).is_empty());
    // Between packets a client may be silent for as long as it likes.
    gateway.tell(a, &ping());
    gateway.pass(100_000);
    assert_eq!(gateway.hear(a), ["PINGRESP"]);
    gateway.tell(a, &[0x30, 10]);
    gateway.pass(60_000);
    assert_eq!(gateway.hear(a), ["closed"]);
    assert_eq!(gateway.counters().timeouts_packet.get(), 1);
}

#[test]
fn a_clock_that_jumps_cuts_nobody_off() {
    let hour = Duration::from_secs(3600);
    let mut gateway = Gateway::new();
    let a = gateway.join(ConnectRequest { keep_alive_s: 10, ..clean("a") });
    let b = gateway.subscriber(durable("b"), "t", QoS::AtLeastOnce);
    // Forward: who is alive is told by the other clock, as is a session that is in use.
    gateway.now.wall = gateway.now.wall.after(hour);
    gateway.pass(100);
    assert!(gateway.hear(a).is_empty());
    gateway.publish(a, &publish("t", "for ever", QoS::AtLeastOnce, 1));
    // Back: what was to expire in an hour from then does so later, and not at once.
    gateway.now.wall = Wall(gateway.now.wall.0.saturating_sub(2 * 3_600_000));
    gateway.pass(100);
    gateway.publish(a, &publish("t", "again", QoS::AtLeastOnce, 2));
    assert_eq!(gateway.hear(a), ["PUBACK #1", "PUBACK #2"]);
    let heard = gateway.hear(b);
    assert_eq!(heard, ["PUBLISH t for ever q1 #1", "PUBLISH t again q1 #2"]);
}
