//! What one connection may take of its worker's time, and how long it may take.

use std::time::Duration;

use super::gateway::Gateway;
use super::packets::{clean, old, ping};
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
