//! What one connection may take of its worker's time, and how long it may take.

use std::time::Duration;

use fanout::Wants;
use protocol::mqtt::Version;
use protocol::{QoS, TopicFilter, Wall};

use super::gateway::{Gateway, one_class};
use super::packets::{bytes, clean, durable, old, ping, publish};
use crate::hub::ConnectRequest;
use crate::worker::Reading;

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
