//! A new process takes over on the same host: no port is closed, nothing acknowledged is lost, no will is published, and if it
//! comes to nothing, the one that was there serves on.
#![expect(clippy::expect_used, clippy::panic, reason = "a scenario may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what was not expected is told, whatever it is"
)]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use protocol::mqtt::codec::{self, AckKind};
use protocol::mqtt::{Ack, Packet, ReasonCode, Version};
use protocol::{PacketId, QoS};
use rustix::process::{Pid, Signal, kill_process};
use tests::harness::{
    Client, Dial, Fleet, Frame, Identity, Ran, Settings, dial_tls, eventually, get,
};

const RESTART: [&str; 3] = ["restart", "gw-1", "--in-place"];

#[test]
fn everybody_finds_its_session_at_the_same_address_and_nothing_is_lost() {
    let mut fleet = Fleet::start(1);
    let (address, http) = (fleet.mqtt(1), fleet.place(1).http);
    let first = incarnation(&fleet);
    let mut watcher = Dial::v5("watcher").persistent().connect(address);
    watcher.subscribe("gone/#", QoS::AtLeastOnce);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let devices: Vec<_> = (0..24)
            .map(|n| {
                let version = if n % 3 == 0 { Version::V311 } else { Version::V5 };
                let qos = if n % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                let id = format!("device-{n}");
                let dial = Dial::new(version, &id).persistent().will(&format!("gone/{id}"), "lost");
                let mut client = dial.clone().connect(address);
                client.subscribe("t/#", qos);
                scope.spawn(move || receive_all(client, &dial, address))
            })
            .collect();
        let writers: Vec<_> = [QoS::AtLeastOnce, QoS::ExactlyOnce]
            .into_iter()
            .enumerate()
            .map(|(writer, qos)| {
                let stop = &stop;
                scope.spawn(move || write_all(stop, writer, qos, address))
            })
            .collect();
        // Whoever comes at any moment is let in, and whoever asks is answered.
        let knocking = scope.spawn(|| {
            let mut knocks = 0;
            while !stop.load(Ordering::SeqCst) {
                drop(Dial::v5(&format!("guest-{knocks}")).connect(address));
                assert_eq!(get(http, "/healthz").expect("an answer").status, 200);
                knocks += 1;
            }
            knocks
        });
        let ran = fleet.command(&RESTART);
        stop.store(true, Ordering::SeqCst);
        assert_followed(&ran);
        assert!(fleet.wait_ended(1).success());
        assert!(incarnation(&fleet) > first, "another life of the same gateway");
        assert!(knocking.join().expect("no panic") > 0);
        let sent: Vec<_> = writers.into_iter().map(|it| it.join().expect("no panic")).collect();
        Dial::v5("ender").connect(address).publish("t/end", "end", QoS::ExactlyOnce);
        for device in devices {
            let (received, moves) = device.join().expect("no panic");
            assert_eq!(moves, 1);
            for (writer, count) in sent.iter().enumerate() {
                let of = received.iter().filter_map(|it| it.strip_prefix(&format!("{writer}-")));
                let expected: Vec<_> = (0..*count).map(|number| number.to_string()).collect();
                // All of it, and in the publisher's order.
                assert_eq!(of.collect::<Vec<_>>(), expected);
            }
        }
    });
    assert_eq!(watcher.end_reason(), Some(ReasonCode::UseAnotherServer));
    let mut watcher = Dial::v5("watcher").persistent().connect(address);
    Dial::v5("ender").connect(address).publish("gone/end", "end", QoS::AtLeastOnce);
    assert_eq!(watcher.receive().text, "end", "no will was published");
}

#[test]
fn every_listener_is_handed_over_and_the_next_restart_comes_back_to_the_first_berth() {
    let fleet = Fleet::start(2);
    let certs = fleet.certificates();
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(2));
    reader.subscribe("news", QoS::AtMostOnce);
    for round in 0..2 {
        let before = incarnation(&fleet);
        assert_followed(&fleet.command(&RESTART));
        assert!(incarnation(&fleet) > before);
        // The peer that was not touched hears what is published here, and is heard.
        let text = format!("round {round}");
        eventually("the other gateway is reached", || {
            Dial::v311("writer").connect(fleet.mqtt(1)).publish("news", &text, QoS::AtMostOnce);
            let frame = reader.next_within(std::time::Duration::from_millis(500))?;
            matches!(frame.packet(), Packet::Publish(_)).then_some(())
        });
        let tls = dial_tls(fleet.place(1).mqtts, &certs, Identity::Of(&certs, "device-1"));
        Dial::v5("secure").over(tls.expect("a TLS connection")).ping();
        assert_eq!(get(fleet.place(1).http, "/readyz").expect("an answer").status, 200);
    }
    let known = fleet.serving(2);
    assert!(known.contains(&"gw-1".to_owned()) && known.contains(&"gw-2".to_owned()), "{known:?}");
}

#[test]
fn a_unix_socket_stays_where_it_is() {
    let unix = "[[listen]]\nkind = \"unix\"\nbind = \"@dir@/mqtt.sock\"\nmode = \"0600\"\n";
    let mut fleet = Fleet::start_with(1, &Settings::default().everywhere(unix));
    let path = fleet.dir().join("mqtt.sock");
    assert_followed(&fleet.command(&RESTART));
    assert!(fleet.wait_ended(1).success());
    Dial::v5("local").over(Box::new(UnixStream::connect(path).expect("a socket"))).ping();
}

#[test]
fn without_a_successor_that_gets_ready_the_old_process_serves_on() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let dying = script(dir.path().join("dying"), "exit 3");
    let restart = format!("[restart]\nprograms = [\"{}\"]\n", dying.display());
    let mut fleet = Fleet::start_with(1, &Settings::default().everywhere(&restart));
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    device.subscribe("t", QoS::AtLeastOnce);
    let first = incarnation(&fleet);
    let named = |path: &str| fleet.command(&["restart", "gw-1", "--in-place", "--binary", path]);

    let ran = named(dying.to_str().expect("a path in UTF-8"));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.err.contains("gw-1 serves on as before: the successor has died"), "{ran:?}");
    assert!(ran.err.contains("exit status: 3"), "{ran:?}");

    let ran = named("/bin/true");
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains("restart.programs"), "{ran:?}");

    // What could not be started with is told before anything is started.
    let file = fleet.configuration(1);
    let good = std::fs::read_to_string(&file).expect("a configuration");
    std::fs::write(&file, format!("{good}\n[nonsense]\n")).expect("a file of ours");
    let ran = fleet.command(&RESTART);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains("nonsense"), "{ran:?}");
    std::fs::write(&file, good).expect("a file of ours");

    // One that gets as far as the store, and no further.
    let certs = fleet.certificates();
    let key = certs.join("gw-1.key");
    let good = std::fs::read(&key).expect("a key");
    std::fs::write(&key, "no key").expect("a file of ours");
    let ran = fleet.command(&RESTART);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.err.contains("the successor cannot start"), "{ran:?}");
    std::fs::write(&key, good).expect("a file of ours");

    device.ping();
    Dial::v5("writer").connect(fleet.mqtt(1)).publish("t", "still here", QoS::AtLeastOnce);
    assert_eq!(device.receive().text, "still here");
    assert_eq!(incarnation(&fleet), first);
    // Nothing is left of the attempts: the next one succeeds.
    assert_followed(&fleet.command(&RESTART));
    assert!(fleet.wait_ended(1).success());
}

/// Nobody is moved quickly, so that there is a middle.
fn slow() -> Settings {
    Settings::mortal().everywhere("[drain]\nper_s = 2\n")
}

#[test]
fn a_successor_that_dies_in_the_middle_leaves_everybody_to_the_old_process() {
    let fleet = Fleet::start_with(1, &slow());
    let mut devices = devices(&fleet);
    let first = incarnation(&fleet);
    let ran = thread::scope(|scope| {
        let ran = scope.spawn(|| fleet.command(&RESTART));
        kill(&moving(&fleet), |status| status.get("pid")?.as_u64());
        ran.join().expect("no panic")
    });
    assert_ne!(ran.code, Some(0), "{ran:?}");
    eventually("the old process serves again", || {
        let ready = get(fleet.place(1).http, "/readyz")?;
        (ready.status == 200 && incarnation(&fleet) == first).then_some(())
    });
    come_back(&fleet, &mut devices);
}

#[test]
fn an_old_process_that_dies_in_the_middle_leaves_everybody_to_its_successor() {
    let mut fleet = Fleet::start_with(1, &slow());
    let mut devices = devices(&fleet);
    let first = incarnation(&fleet);
    thread::scope(|scope| {
        let ran = scope.spawn(|| fleet.command(&RESTART));
        moving(&fleet);
        fleet.process(1).send(tests::harness::Signal::Kill);
        assert_followed(&ran.join().expect("no panic"));
    });
    assert!(!fleet.wait_ended(1).success());
    assert!(incarnation(&fleet) > first);
    come_back(&fleet, &mut devices);
}

fn devices(fleet: &Fleet) -> Vec<Client> {
    let device = |n| Dial::v5(&format!("device-{n}")).persistent().connect(fleet.mqtt(1));
    (0..60).map(device).collect()
}

/// Waits until the successor serves and the old process has clients; answers what is told of the restart.
fn moving(fleet: &Fleet) -> serde_json::Value {
    eventually("clients are moved", || {
        let answer = get(fleet.place(1).http, "/api/v1/restart").filter(|it| it.status == 200)?;
        let status: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
        (status.get("stage")? == "moving").then_some(status)
    })
}

fn kill(status: &serde_json::Value, pid: impl Fn(&serde_json::Value) -> Option<u64>) {
    let pid = pid(status).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    kill_process(pid.expect("a process id"), Signal::KILL).expect("a process of ours");
}

/// Each device is served where it was, or finds its session.
fn come_back(fleet: &Fleet, devices: &mut [Client]) {
    for (n, device) in devices.iter_mut().enumerate() {
        let mut ping = Vec::new();
        codec::pingreq(&mut ping);
        // A connection that is ended already cannot be written to.
        let _ = device.try_send(&ping);
        let answer = device.next_or_end();
        if answer.is_some_and(|frame| matches!(frame.packet(), Packet::PingResp)) {
            continue;
        }
        let mut device = Dial::v5(&format!("device-{n}")).persistent().connect(fleet.mqtt(1));
        assert!(device.session_present);
        device.ping();
    }
}

fn assert_followed(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("gw-1 is followed by process"), "{ran:?}");
}

fn incarnation(fleet: &Fleet) -> u64 {
    let status = fleet.api(1, "/api/v1/gateway");
    assert_eq!(status.get("id").and_then(serde_json::Value::as_str), Some("gw-1"));
    status.get("incarnation").and_then(serde_json::Value::as_u64).expect("a life")
}

fn script(path: PathBuf, body: &str) -> PathBuf {
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
        .expect("a file of ours");
    path
}

/// Receives up to the end, and comes back to the same address. Answers the texts, and how often it was sent away.
fn receive_all(mut client: Client, dial: &Dial, address: SocketAddr) -> (Vec<String>, usize) {
    let (mut order, mut known, mut moves) = (Vec::new(), HashSet::new(), 0);
    loop {
        let Some((text, dup)) = next(&mut client, address) else {
            client = dial.clone().connect(address);
            assert!(client.session_present);
            moves += 1;
            continue;
        };
        if text == "end" {
            client.disconnect();
            return (order, moves);
        }
        let new = known.insert(text.clone());
        assert!(new || dup, "{text} came twice without DUP");
        if new {
            order.push(text);
        }
    }
}

/// The next message, acknowledged, and whether it has DUP; none if the gateway sends us away.
fn next(client: &mut Client, address: SocketAddr) -> Option<(String, bool)> {
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
                return Some((text, publish.dup));
            }
            Packet::PubRel(ack) => acknowledge(client, AckKind::PubComp, ack.packet_id),
            Packet::Disconnect(told) => {
                assert_eq!(told.reason, ReasonCode::UseAnotherServer);
                // The other one is at the same address.
                assert_eq!(told.server_reference, Some(address.to_string().as_str()));
                return None;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// An acknowledgement to a gateway that may have closed.
fn acknowledge(client: &mut Client, kind: AckKind, id: PacketId) {
    let mut bytes = Vec::new();
    codec::ack(&mut bytes, Version::V311, kind, &Ack::of(id, ReasonCode::Success));
    let _ = client.try_send(&bytes);
}

/// Publishes numbered messages one by one until told to stop. Answers how many.
fn write_all(stop: &AtomicBool, writer: usize, qos: QoS, address: SocketAddr) -> usize {
    let dial = Dial::v5(&format!("writer-{writer}")).persistent();
    let mut client = dial.clone().connect(address);
    let mut count = 0;
    while !stop.load(Ordering::SeqCst) {
        publish(
            &mut client,
            (&dial, address),
            (&format!("t/{writer}"), &format!("{writer}-{count}")),
            qos,
        );
        count += 1;
    }
    count
}

/// Publishes and waits for the acknowledgement; who is sent away comes back and goes on where it was, as the standard has it.
fn publish(
    client: &mut Client,
    (dial, address): (&Dial, SocketAddr),
    (topic, text): (&str, &str),
    qos: QoS,
) {
    let (mut id, mut received) = (client.try_start_publish(topic, text, qos), false);
    loop {
        match (client.next_or_end().as_ref().map(Frame::packet), id) {
            (Some(Packet::PubAck(_) | Packet::PubComp(_)), _) => return,
            (Some(Packet::PubRec(_)), Some(id)) => {
                received = true;
                acknowledge(client, AckKind::PubRel, id);
            }
            (None | Some(Packet::Disconnect(_)), sent) => {
                *client = dial.clone().connect(address);
                assert!(client.session_present);
                match sent {
                    Some(id) if received => acknowledge(client, AckKind::PubRel, id),
                    Some(id) => client.repeat_publish(topic, text, qos, id),
                    None => id = client.try_start_publish(topic, text, qos),
                }
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}
