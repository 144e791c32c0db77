//! G: what comes over the peer link, and what does not.

use std::io::Write as _;
use std::path::Path;

use protocol::peer::{Frame, SharedTargets, VERSION};
use protocol::{GatewayId, Incarnation, Publication, QoS};
use tests::harness::{Dial, Fleet, Identity, Settings, Wire, dial_tls, eventually};

use super::pair::Pair;

#[test]
fn nobody_gets_past_the_greeting_of_a_peer_link_who_should_not() {
    // The second gateway is not started: the test is in its place.
    let mut fleet = Fleet::prepare(2, &Settings::default());
    fleet.launch(1);
    fleet.wait_ready(1);
    let pair = Pair::start(fleet.mqtt(1));
    let certs = fleet.certificates();
    let foreign = tempfile::tempdir().expect("a temporary folder");
    certs::development_set(foreign.path(), &["gw-2"]).expect("certificates");
    let greeting = encoded(&hello("gw-2", 7));
    let unknown = [&1_u32.to_be_bytes()[..], &[200]].concat();
    let cut = [&3_u32.to_be_bytes()[..], &[1, 0, 1]].concat();
    let later = |more: &[u8]| [&greeting[..], more].concat();
    let cases: Vec<(&str, &Path, &str, Vec<u8>)> = vec![
        ("another authority", foreign.path(), "gw-2", greeting.clone()),
        ("a device's certificate", &certs, "device-1", greeting.clone()),
        ("our own id", &certs, "gw-1", encoded(&hello("gw-1", 7))),
        ("another's id", &certs, "gw-2", encoded(&hello("gw-3", 7))),
        ("another fleet", &certs, "gw-2", encoded(&named("other", VERSION))),
        ("a version that does not exist", &certs, "gw-2", encoded(&named("tidegate", 999))),
        ("a frame before the greeting", &certs, "gw-2", encoded(&Frame::Ping)),
        ("a replayed greeting", &certs, "gw-2", later(&greeting)),
        ("an earlier life", &certs, "gw-2", encoded(&hello("gw-2", 6))),
        ("4 GiB announced", &certs, "gw-2", later(&[0xFF, 0xFF, 0xFF, 0xFF, 6])),
        ("a length of zero", &certs, "gw-2", later(&[0, 0, 0, 0])),
        ("an unknown kind", &certs, "gw-2", later(&unknown)),
        ("a greeting cut short", &certs, "gw-2", cut),
        ("what only the other side may say", &certs, "gw-2", later(&welcome())),
        ("an acknowledgement from nowhere", &certs, "gw-2", later(&from_the_future())),
        ("noise", &certs, "gw-2", (0..=255).cycle().take(5_000).collect()),
    ];
    // The life that an earlier one is compared with.
    assert_refused_after("the first", &certs, &fleet, "gw-2", &later(&[0, 0, 0, 0]));
    let refused = || fleet.metric(1, "tidegate_peer_connections_refused_total");
    eventually("the first is counted", || (refused() == 1).then_some(()));
    pair.unmoved_by("G1", || {
        for (what, dir, name, bytes) in &cases {
            assert_refused_after(what, dir, &fleet, name, bytes);
        }
    });
    eventually("all are counted", || (refused() > cases.len() as u64).then_some(()));
    assert_eq!(fleet.metric(1, "tidegate_peers_up"), 0);
    assert_eq!(fleet.metric(1, "tidegate_forwards_received_total"), 0);
    pair.assert_undisturbed();
}

#[test]
fn a_peer_that_is_known_is_held_to_the_rules_and_repeats_are_dropped() {
    // Its lease is good for as long as the test takes.
    let lease = "[lease]\nttl_ms = 60000\n";
    let mut fleet = Fleet::start_with(2, &Settings::default().everywhere(lease));
    let mut watch = Dial::v5("watch").connect(fleet.mqtt(1));
    watch.subscribe("g1/#", QoS::AtLeastOnce);
    let pair = Pair::start(fleet.mqtt(1));
    // The test is in its place from here on, in one life after the other.
    fleet.kill(2);
    let certs = fleet.certificates();
    let mut life = 1 << 62;
    let forward = |seq: u64, text: &str| {
        let publication = Publication::new("g1/x", &[], text.as_bytes(), QoS::AtLeastOnce, false);
        encoded(&Frame::Forward { seq, plain: true, shared: SharedTargets::new(), publication })
    };
    let unknown = [&1_u32.to_be_bytes()[..], &[200]].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("another greeting", encoded(&hello("gw-2", 7))),
        ("4 GiB announced", vec![0xFF, 0xFF, 0xFF, 0xFF, 6]),
        ("a length of zero", vec![0, 0, 0, 0]),
        ("an unknown kind", unknown),
        ("what only the other side may say", welcome()),
        ("an acknowledgement from nowhere", from_the_future()),
        ("a forward from the future", forward(1_000_000, "future")),
        ("a forward that leaves out another", forward(2, "second")),
        ("noise", (0..=255).cycle().take(5_000).collect()),
    ];
    let refused = || fleet.metric(1, "tidegate_peer_connections_refused_total");
    let before = refused();
    pair.unmoved_by("G1, known", || {
        for (what, bytes) in &cases {
            life += 1;
            let greeted = [encoded(&hello("gw-2", life)), bytes.clone()].concat();
            assert_refused_after(what, &certs, &fleet, "gw-2", &greeted);
        }
    });
    eventually("all are counted", || (refused() - before >= cases.len() as u64).then_some(()));
    // G2: what comes again, on this connection or on another one of the same life, is taken once.
    life += 1;
    for numbers in [&[1, 1, 2, 1, 2][..], &[1, 2, 3, 3, 4]] {
        let place = fleet.place(1).peer;
        let mut wire = dial_tls(place, &certs, Identity::Of(&certs, "gw-2")).expect("a link");
        let mut bytes = encoded(&hello("gw-2", life));
        for number in numbers {
            bytes.extend(forward(*number, &number.to_string()));
        }
        wire.write_all(&bytes).and_then(|()| wire.flush()).expect("an open link");
        let last = numbers.last().copied().expect("some").to_string();
        assert_eq!(watch.receive_until(&last).len(), 2);
    }
    eventually("repeats are counted", || {
        (fleet.metric(1, "tidegate_forwards_duplicate_total") >= 6).then_some(())
    });
    watch.ping();
    pair.assert_undisturbed();
}

#[test]
fn a_peer_that_stands_still_costs_a_bounded_amount_and_nobody_here_waits() {
    let fleet = Fleet::start(2);
    let mut there = Dial::v5("there").connect(fleet.mqtt(2));
    there.subscribe("g2", QoS::AtMostOnce);
    let pair = Pair::start(fleet.mqtt(1));
    let process = fleet.process(1);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    writer.publish("g2", "first", QoS::AtMostOnce);
    assert_eq!(there.receive().text, "first");
    let before = process.resident_bytes();
    process.forget_peak();
    // G2: it takes nothing more, and does not say so.
    fleet.freeze(2);
    let text = "x".repeat(60_000);
    let mut bytes = 0;
    let mut offend = || {
        for _ in 0..4 {
            writer.publish("g2", &text, QoS::AtMostOnce);
            bytes += text.len();
        }
        writer.ping();
        bytes
    };
    pair.measured_beside("G2", || _ = offend());
    while offend() < 200 << 20 {}
    let grown = process.peak_bytes().saturating_sub(before);
    println!("G2: {} KiB at most for 200 MiB that a peer does not take", grown >> 10);
    // 64 MiB wait for a peer at most, and as much again in buffers on the way.
    assert!(grown < 160 << 20, "{grown} bytes for a peer that takes nothing");
    fleet.thaw(2);
    pair.assert_undisturbed();
}

fn hello(gateway: &str, life: u64) -> Frame {
    Frame::Hello {
        version: VERSION,
        fleet: "tidegate".to_owned(),
        gateway: GatewayId::new(gateway).expect("an id"),
        incarnation: Incarnation(life),
    }
}

fn named(fleet: &str, version: u16) -> Frame {
    let gateway = GatewayId::new("gw-2").expect("an id");
    Frame::Hello { version, fleet: fleet.to_owned(), gateway, incarnation: Incarnation(7) }
}

fn welcome() -> Vec<u8> {
    encoded(&Frame::Welcome {
        version: VERSION,
        gateway: GatewayId::new("gw-2").expect("an id"),
        incarnation: Incarnation(7),
        forwarded: 0,
    })
}

fn from_the_future() -> Vec<u8> {
    encoded(&Frame::ForwardAck { seq: 1_000_000 })
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

/// Closed by the gateway, in the handshake or after what was sent; what it says before is a frame or nothing.
fn assert_refused_after(what: &str, dir: &Path, fleet: &Fleet, name: &str, bytes: &[u8]) {
    let trusted = fleet.certificates();
    let Ok(mut wire) = dial_tls(fleet.place(1).peer, &trusted, Identity::Of(dir, name)) else {
        return;
    };
    let _ = wire.write_all(bytes).and_then(|()| wire.flush());
    drain(what, wire.as_mut());
}

fn drain(what: &str, wire: &mut dyn Wire) {
    let mut answer = [0; 4096];
    loop {
        match wire.read(&mut answer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                let waited = matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                );
                assert!(!waited, "{what}: the gateway does not close");
                return;
            }
        }
    }
}
