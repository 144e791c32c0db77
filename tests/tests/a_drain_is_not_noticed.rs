//! D1: a drain loses no acknowledged message, fires no will of a client that comes back, and moves each device once.
#![expect(clippy::panic, reason = "a scenario may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what was not expected is told, whatever it is"
)]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use protocol::QoS;
use protocol::mqtt::{Packet, ReasonCode, Version};
use tests::harness::{
    Answer, Client, Dial, Ended, Fleet, Identity, Ran, Settings, dial_tls, eventually, get,
};

/// `drain start gw-1 --wait` with nothing to wait for but the drain itself.
const DRAIN: [&str; 6] = ["drain", "start", "gw-1", "--wait", "--announce-ms", "100"];

#[test]
fn a_drain_under_traffic_moves_everyone_and_loses_nothing() {
    let fleet = Fleet::start(2);
    let mut watcher = Dial::v5("watcher").connect(fleet.mqtt(2));
    watcher.subscribe("gone/#", QoS::AtLeastOnce);
    let elsewhere = fleet.mqtt(2);
    let devices: Vec<_> = (0..30)
        .map(|n| {
            let version = if n % 3 == 0 { Version::V311 } else { Version::V5 };
            let qos = if n % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            Device::start(&format!("device-{n}"), version, qos, fleet.mqtt(1), elsewhere)
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = [(1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce), (2, QoS::AtLeastOnce)]
        .into_iter()
        .enumerate()
        .map(|(n, (gateway, qos))| write_until(&stop, n, qos, fleet.mqtt(gateway), elsewhere))
        .collect();

    let ran = fleet.command(&DRAIN);
    assert_drained(&ran);
    // One more than the devices: the writer that was there.
    assert!(ran.out.contains("gw-1 drained: 31 moved, 0 failed, 0 left"), "{ran:?}");
    assert_eq!(fleet.metric(1, "tidegate_connections"), 0);
    assert_eq!(fleet.metric(1, "tidegate_drain_moved_total{campaign=\"none\"}"), 31);

    stop.store(true, Ordering::SeqCst);
    let sent: Vec<_> = writers.into_iter().map(|writer| writer.join().expect("no panic")).collect();
    Dial::v5("ender").connect(elsewhere).publish("t/end", "end", QoS::ExactlyOnce);
    for device in devices {
        let (received, moves) = device.thread.join().expect("no panic");
        assert_eq!(moves, 1, "{}", device.id);
        for (writer, count) in sent.iter().enumerate() {
            let of = received.iter().filter_map(|text| text.strip_prefix(&format!("{writer}-")));
            let expected: Vec<_> = (0..*count).map(|number| number.to_string()).collect();
            // All of it, and in the publisher's order.
            assert_eq!(of.collect::<Vec<_>>(), expected, "{} from {writer}", device.id);
        }
    }
    Dial::v5("ender").connect(elsewhere).publish("gone/end", "end", QoS::AtLeastOnce);
    assert_eq!(watcher.receive().text, "end", "no will was published");
}

#[test]
fn clients_are_told_where_to_go_in_the_words_of_their_version() {
    let fleet = Fleet::start(2);
    let certs = fleet.certificates();
    let mut five = Dial::v5("five").persistent().connect(fleet.mqtt(1));
    let mut three = Dial::v311("three").persistent().connect(fleet.mqtt(1));
    let mut clean = Dial::v5("clean").connect(fleet.mqtt(1));
    let tls = dial_tls(fleet.place(1).mqtts, &certs, Identity::Of(&certs, "device-1"));
    let mut secure = Dial::v5("secure").over(tls.expect("a TLS connection"));
    assert_drained(&fleet.command(&DRAIN));
    let redirect = |address: SocketAddr| Ended::Told {
        reason: ReasonCode::UseAnotherServer,
        server_reference: Some(address.to_string()),
    };
    assert_eq!(five.ended(), redirect(fleet.mqtt(2)));
    assert_eq!(clean.ended(), redirect(fleet.mqtt(2)));
    assert_eq!(three.ended(), Ended::Closed);
    // Who came over TLS is sent to TLS.
    assert_eq!(secure.ended(), redirect(fleet.place(2).mqtts));
}

#[test]
fn a_drained_gateway_refuses_new_clients_and_says_who_takes_them() {
    let fleet = Fleet::start(2);
    assert_drained(&fleet.command(&DRAIN));
    let Answer::Refused { reason, server_reference, .. } =
        Dial::v5("five").try_connect(fleet.mqtt(1))
    else {
        panic!("it was accepted")
    };
    assert_eq!(reason, ReasonCode::UseAnotherServer);
    assert_eq!(server_reference, Some(fleet.mqtt(2).to_string()));
    let Answer::Refused { bytes, .. } = Dial::v311("three").try_connect(fleet.mqtt(1)) else {
        panic!("it was accepted")
    };
    assert_eq!(bytes, [0x20, 2, 0, 3], "server unavailable");
    let ready = get(fleet.place(1).http, "/readyz").expect("an answer");
    assert_eq!(ready.status, 503, "{ready:?}");
    assert_eq!(get(fleet.place(1).http, "/healthz").expect("an answer").status, 200);

    let ran = fleet.command(&["drain", "undrain", "gw-1"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    Dial::v5("five").connect(fleet.mqtt(1)).ping();
    assert_eq!(get(fleet.place(1).http, "/readyz").expect("an answer").status, 200);
}

#[test]
fn a_moved_session_has_its_queue_and_what_was_in_flight() {
    let fleet = Fleet::start(2);
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    device.subscribe("t", QoS::ExactlyOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    writer.publish("t", "acknowledged", QoS::AtLeastOnce);
    assert_eq!(device.receive().text, "acknowledged");
    writer.publish("t", "one", QoS::AtLeastOnce);
    writer.publish("t", "two", QoS::ExactlyOnce);
    let mut open = [device.receive_only(), device.receive_only()];
    open.sort_by(|a, b| a.text.cmp(&b.text));
    assert_drained(&fleet.command(&DRAIN));
    assert_eq!(device.end_reason(), Some(ReasonCode::UseAnotherServer));
    writer.publish("t", "while away", QoS::AtLeastOnce);
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(2));
    assert!(device.session_present);
    let mut again = [device.receive(), device.receive()];
    again.sort_by(|a, b| a.text.cmp(&b.text));
    for (before, again) in open.iter().zip(&again) {
        assert_eq!(
            (&again.text, again.packet_id, again.dup),
            (&before.text, before.packet_id, true)
        );
    }
    let fresh = device.receive();
    assert_eq!((fresh.text.as_str(), fresh.dup), ("while away", false));
}

#[test]
fn the_will_of_a_client_that_does_not_come_back_is_published_after_all() {
    let settings = Settings::default().everywhere("[drain]\ntakeover_wait_ms = 1000\n");
    let fleet = Fleet::start_with(2, &settings);
    let mut watcher = Dial::v5("watcher").connect(fleet.mqtt(2));
    watcher.subscribe("gone/+", QoS::AtLeastOnce);
    let _stays_away = Dial::v5("a").will("gone/a", "lost").connect(fleet.mqtt(1));
    assert_drained(&fleet.command(&DRAIN));
    assert_eq!(watcher.receive().text, "lost");
}

#[test]
fn a_drain_that_is_aborted_leaves_everyone_served() {
    let fleet = Fleet::start(2);
    let mut devices: Vec<_> = (0..8)
        .map(|n| Dial::v5(&format!("device-{n}")).persistent().connect(fleet.mqtt(1)))
        .collect();
    // Announced for an hour, so nobody has to go before it is called off.
    let ran = fleet.command(&["drain", "start", "gw-1", "--announce-ms", "300000"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("0 moved, 0 failed, 8 left"), "it knows who is there: {ran:?}");
    assert_eq!(get(fleet.place(1).http, "/readyz").expect("an answer").status, 503);
    // It still accepts: load balancers take their time.
    Dial::v5("late").connect(fleet.mqtt(1)).ping();
    let again = fleet.command(&["drain", "start", "gw-1"]);
    assert_eq!(again.code, Some(4), "one drain at a time: {again:?}");
    let ran = fleet.command(&["drain", "abort", "gw-1"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("gw-1 aborted"), "{ran:?}");
    assert_eq!(get(fleet.place(1).http, "/readyz").expect("an answer").status, 200);
    devices.iter_mut().for_each(Client::ping);
}

#[test]
fn a_drain_may_be_aborted_in_the_middle_of_moving() {
    let fleet = Fleet::start(2);
    let mut devices: Vec<_> = (0..60)
        .map(|n| Dial::v5(&format!("device-{n}")).persistent().connect(fleet.mqtt(1)))
        .collect();
    let slow = ["drain", "start", "gw-1", "--wait", "--announce-ms", "0", "--per-s", "10"];
    let waits = thread::scope(|scope| {
        let waits = scope.spawn(|| fleet.command(&slow));
        eventually("some are moved", || {
            (fleet.metric(1, "tidegate_connections") < 60).then_some(())
        });
        let ran = fleet.command(&["drain", "abort", "gw-1"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        waits.join().expect("no panic")
    });
    assert_eq!(waits.code, Some(3), "not drained: {waits:?}");
    // Whoever was moved is welcome there; whoever was not is still served here.
    let mut moved = 0;
    for (n, device) in devices.iter_mut().enumerate() {
        if is_connected(device) {
            continue;
        }
        moved += 1;
        let mut device = Dial::v5(&format!("device-{n}")).persistent().connect(fleet.mqtt(2));
        assert!(device.session_present);
        device.ping();
    }
    assert!((1..60).contains(&moved), "{moved}");
    Dial::v5("new").connect(fleet.mqtt(1)).ping();
}

#[test]
fn a_drain_that_takes_too_long_gives_up_and_serves_again() {
    let fleet = Fleet::start(2);
    let mut devices: Vec<_> = (0..20)
        .map(|n| Dial::v5(&format!("device-{n}")).persistent().connect(fleet.mqtt(1)))
        .collect();
    let ran = fleet.command(&[
        "drain",
        "start",
        "gw-1",
        "--wait",
        "--announce-ms",
        "0",
        "--per-s",
        "1",
        "--timeout-ms",
        "1500",
    ]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.out.contains("timed_out"), "{ran:?}");
    assert_eq!(get(fleet.place(1).http, "/readyz").expect("an answer").status, 200);
    assert!(devices.iter_mut().any(is_connected));
}

/// P31.
#[test]
fn a_client_that_comes_back_again_and_again_is_served_as_long_as_that_is_possible() {
    let fleet = Fleet::start(2);
    let devices: Vec<_> =
        (0..100).map(|n| Dial::v5(&format!("device-{n}")).connect(fleet.mqtt(1))).collect();
    // It lasts until it is called off.
    let slow = ["drain", "start", "gw-1", "--announce-ms", "0", "--per-s", "1"];
    assert_eq!(fleet.command(&slow).code, Some(0));
    let refused = || match Dial::v5("stubborn").try_connect(fleet.mqtt(1)) {
        Answer::Refused { reason, .. } => Some(reason),
        Answer::Accepted(_) | Answer::Closed => None,
    };
    let first = eventually("the gateway refuses", refused);
    assert_eq!((first, refused()), (ReasonCode::UseAnotherServer, Some(first)));
    let mut stubborn = Dial::v5("stubborn").connect(fleet.mqtt(1));
    stubborn.ping();
    assert_eq!(fleet.metric(1, "tidegate_drain_taken_in_total"), 1);
    assert_eq!(fleet.command(&["drain", "abort", "gw-1"]).code, Some(0));
    stubborn.ping();
    drop(devices);
}

/// P32.
#[test]
fn a_client_that_never_stops_sending_reads_why_it_must_go() {
    let fleet = Fleet::start(2);
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    let text = "x".repeat(10_000);
    let told = thread::scope(|scope| {
        let drain = scope.spawn(|| fleet.command(&DRAIN));
        let told = eventually("it is told", || {
            // There is always something on its way that the gateway has not read.
            for _ in 0..20 {
                let _ = device.try_start_publish("t", &text, QoS::AtMostOnce);
            }
            let frame = device.next_within(Duration::from_millis(1))?;
            let Packet::Disconnect(told) = frame.packet() else { return None };
            Some((told.reason, told.server_reference.map(str::to_owned)))
        });
        assert_drained(&drain.join().expect("no panic"));
        told
    });
    assert_eq!(told, (ReasonCode::UseAnotherServer, Some(fleet.mqtt(2).to_string())));
}

#[test]
fn the_host_is_dying_and_nothing_is_waited_for() {
    let settings = Settings::default().everywhere("[drain]\nannounce_ms = 300000\n");
    let settings = settings.everywhere("timeout_ms = 600000\nper_s = 1\nwills = \"strict\"\n");
    let fleet = Fleet::start_with(2, &settings);
    let mut watcher = Dial::v5("watcher").connect(fleet.mqtt(2));
    watcher.subscribe("gone/+", QoS::AtLeastOnce);
    let devices: Vec<_> = (0..50)
        .map(|n| {
            let id = format!("device-{n}");
            Dial::v311(&id).persistent().will(&format!("gone/{n}"), &id).connect(fleet.mqtt(1))
        })
        .collect();
    let start = ["drain", "start", "gw-1", "--wait", "--profile", "host-dying"];
    assert_drained(&fleet.command(&start));
    for mut device in devices {
        assert_eq!(device.ended(), Ended::Closed);
    }
    // Strictly, their connections were lost.
    let gone: HashSet<_> = (0..50).map(|_| watcher.receive().text).collect();
    assert_eq!(gone.len(), 50);
}

/// P11.
#[test]
fn a_receiver_takes_no_more_per_second_than_it_declared_however_many_drain() {
    let accept = |per_s: u32| format!("[drain]\naccept_per_s = {per_s}\n");
    let settings = Settings::default()
        .everywhere("[maintenance]\nmax_concurrent = 2\n")
        .only(1, accept(10))
        .only(2, accept(10))
        .only(3, accept(50));
    let fleet = Fleet::start_with(3, &settings);
    let devices: Vec<_> = [1, 2]
        .into_iter()
        .flat_map(|gateway| (0..125).map(move |n| (gateway, format!("device-{gateway}-{n}"))))
        .map(|(gateway, id)| Dial::v5(&id).persistent().connect(fleet.mqtt(gateway)))
        .collect();
    let began = Instant::now();
    let second = ["drain", "start", "gw-2", "--announce-ms", "1000"];
    assert_eq!(fleet.command(&second).code, Some(0));
    assert_drained(&fleet.command(&DRAIN));
    eventually("the second is drained", || {
        (fleet.metric(2, "tidegate_drain_moved_total{campaign=\"none\"}") == 125).then_some(())
    });
    let took = began.elapsed();
    // In each second 50 to the third, and 10 to a gateway that does not know yet that it will not serve.
    assert!(
        took >= Duration::from_secs(3),
        "250 clients, 60 of them in the first second: {took:?}"
    );
    assert!(fleet.metric(3, "tidegate_drain_promised_total") >= 100);
    for mut device in devices {
        assert_eq!(device.end_reason(), Some(ReasonCode::UseAnotherServer));
    }
}

#[test]
fn a_drain_is_refused_when_nobody_could_take_the_clients() {
    let mut fleet = Fleet::start(2);
    let mut device = Dial::v5("device").connect(fleet.mqtt(1));
    fleet.stop(2);
    eventually("the first knows it is alone", || {
        let ran = fleet.command(&["drain", "start", "gw-1", "--announce-ms", "300000"]);
        if ran.code == Some(0) {
            fleet.command(&["drain", "abort", "gw-1"]);
        }
        (ran.code == Some(4)).then_some(())
    });
    device.ping();
    assert_eq!(fleet.command(&["drain", "start", "gw-7"]).code, Some(64), "no such gateway");
}

/// A connection that answers a ping is one; one that was redirected is not.
fn is_connected(client: &mut Client) -> bool {
    let mut ping = Vec::new();
    protocol::mqtt::codec::pingreq(&mut ping);
    // A connection that is ended already cannot be written to.
    let _ = client.try_send(&ping);
    let answer = client.next_or_end();
    answer.is_some_and(|frame| matches!(frame.packet(), Packet::PingResp))
}

fn assert_drained(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("gw-1 drained"), "{ran:?}");
    let evidence = "evidence: 0 connections, 0 sessions owned, 0 unacknowledged forwards, 0 unsaved cursors, 0 parked wills";
    assert!(ran.out.contains(evidence), "{ran:?}");
}

/// A device that goes where it is sent and keeps what it gets.
struct Device {
    id: String,
    /// Texts in the order of first arrival, and how often it was moved.
    thread: JoinHandle<(Vec<String>, usize)>,
}

impl Device {
    fn start(
        id: &str,
        version: Version,
        qos: QoS,
        first: SocketAddr,
        elsewhere: SocketAddr,
    ) -> Self {
        let dial = Dial::new(version, id).persistent().will(&format!("gone/{id}"), "lost");
        let mut client = dial.clone().connect(first);
        client.subscribe("t/#", qos);
        let thread = thread::spawn(move || travel(client, &dial, elsewhere));
        Self { id: id.to_owned(), thread }
    }
}

/// Receives up to the end, wherever it is sent.
fn travel(mut client: Client, dial: &Dial, elsewhere: SocketAddr) -> (Vec<String>, usize) {
    let (mut order, mut known, mut moves) = (Vec::new(), HashSet::new(), 0);
    loop {
        let Some(text) = next(&mut client) else {
            client = dial.clone().connect(elsewhere);
            assert!(client.session_present);
            moves += 1;
            continue;
        };
        if text == "end" {
            client.disconnect();
            return (order, moves);
        }
        if known.insert(text.clone()) {
            order.push(text);
        }
    }
}

/// The next message, acknowledged; none if the gateway sends us away.
fn next(client: &mut Client) -> Option<String> {
    use protocol::mqtt::codec::AckKind;
    loop {
        let frame = client.next_or_end()?;
        match frame.packet() {
            Packet::Publish(publish) => {
                let text = String::from_utf8_lossy(publish.payload).into_owned();
                let kind =
                    if publish.qos == QoS::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
                if let Some(id) = publish.packet_id {
                    acknowledge(client, kind, id);
                }
                return Some(text);
            }
            Packet::PubRel(ack) => acknowledge(client, AckKind::PubComp, ack.packet_id),
            Packet::Disconnect(told) => {
                assert_eq!(told.reason, ReasonCode::UseAnotherServer);
                return None;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// An acknowledgement to a gateway that may have closed.
fn acknowledge(client: &mut Client, kind: protocol::mqtt::codec::AckKind, id: protocol::PacketId) {
    let mut bytes = Vec::new();
    let ack = protocol::mqtt::Ack::of(id, ReasonCode::Success);
    protocol::mqtt::codec::ack(&mut bytes, Version::V311, kind, &ack);
    let _ = client.try_send(&bytes);
}

/// Publishes numbered messages one by one until told to stop, and goes where it is sent. Answers how many were acknowledged;
/// what was not is sent again.
fn write_until(
    stop: &Arc<AtomicBool>,
    writer: usize,
    qos: QoS,
    first: SocketAddr,
    elsewhere: SocketAddr,
) -> JoinHandle<usize> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let dial = Dial::v5(&format!("writer-{writer}")).persistent();
        let mut client = dial.clone().connect(first);
        let mut count = 0;
        while !stop.load(Ordering::SeqCst) {
            let text = format!("{writer}-{count}");
            let topic = format!("t/{writer}");
            while !try_publish(&mut client, &topic, &text, qos) {
                client = dial.clone().connect(elsewhere);
            }
            count += 1;
        }
        count
    })
}

/// Publishes and waits for the acknowledgement; not if the gateway sends us away.
fn try_publish(client: &mut Client, topic: &str, text: &str, qos: QoS) -> bool {
    use protocol::mqtt::codec::AckKind;
    let Some(id) = client.try_start_publish(topic, text, qos) else { return false };
    loop {
        let Some(frame) = client.next_or_end() else { return false };
        match frame.packet() {
            Packet::PubAck(_) | Packet::PubComp(_) => return true,
            Packet::PubRec(_) => acknowledge(client, AckKind::PubRel, id),
            Packet::Disconnect(_) => return false,
            other => panic!("{other:?}"),
        }
    }
}
