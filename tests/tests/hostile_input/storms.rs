//! C: many connections at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use protocol::QoS;
use protocol::mqtt::Packet;
use protocol::mqtt::codec;
use tests::harness::{Answer, Client, Dial, Fleet, PATIENCE, Settings, eventually};

use super::pair::Pair;
use super::size::size;

/// Connections that have not said who they are, at once.
const HANDSHAKES: usize = 4_000;

#[test]
fn silent_connections_and_half_handshakes_wait_for_their_deadline_alone() {
    // Those beyond a quarter of the descriptors are closed at once.
    let timeout_ms = size(3_000, 20_000);
    let limits =
        format!("[limits]\nconnect_timeout_ms = {timeout_ms}\nhandshakes = {HANDSHAKES}\n");
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(&limits));
    let pair = Pair::start(fleet.mqtt(1));
    let process = fleet.process(1);
    let wanted = size(1_500, 10_000);
    let before = process.resident_bytes();
    process.forget_peak();
    let place = fleet.place(1);
    // The beginning of a hello of TLS; of a request for a WebSocket; of a CONNECT; nothing.
    let beginnings: [(_, &[u8]); 4] = [
        (place.mqtts, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC]),
        (place.websocket, b"GET /mqtt HTTP/1.1\r\n"),
        (place.mqtt, &[0x10, 20, 0, 4]),
        (place.mqtt, &[]),
    ];
    let mut silent = Vec::new();
    // C1
    pair.unmoved_by("C1", || {
        for (place, beginning) in
            beginnings.iter().cycle().take(if silent.len() < wanted { 8 } else { 0 })
        {
            let mut stream = TcpStream::connect(place).expect("a connection");
            // It may be closed already.
            let _ = stream.write_all(beginning);
            silent.push(stream);
        }
        if silent.len() < HANDSHAKES {
            Dial::v5("prompt").connect(place.mqtt).ping();
        }
    });
    for (place, beginning) in beginnings.iter().cycle() {
        if silent.len() >= wanted {
            break;
        }
        let mut stream = TcpStream::connect(place).expect("a connection");
        let _ = stream.write_all(beginning);
        silent.push(stream);
    }
    let grown = process.peak_bytes().saturating_sub(before);
    let count = silent.len() as u64;
    println!("C1: {} KiB at most for {count} silent connections", grown >> 10);
    assert!(grown < count * 24 * 1024 + (8 << 20), "{grown} bytes for {count} connections");
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.first() == Some(&0x15), "{answer:02x?}");
    }
    Dial::v5("prompt").connect(place.mqtt).ping();
    pair.assert_undisturbed();
}

#[test]
fn connects_and_drops_leave_the_listener_responsive() {
    const AT_ONCE: usize = 4;
    let count = size(2_000, 50_000);
    // As many as come; how many may come is limited otherwise, which is another test.
    let limits = "[limits]\nconnects_per_s = 1000000\nconnects_per_address_per_s = 1000000\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(limits));
    let pair = Pair::start(fleet.mqtt(1));
    let process = fleet.process(1);
    let connect = Dial::v5("storm").bytes();
    let place = fleet.mqtt(1);
    let storm = move |number: usize, connect: &[u8]| {
        for number in (number..count).step_by(AT_ONCE) {
            // The queue of connections that wait may be full for a moment.
            let Ok(mut stream) = TcpStream::connect(place) else { continue };
            // Some leave before they have said who they are.
            if number % 2 == 0 {
                let _ = stream.write_all(connect);
            }
        }
    };
    let before = process.resident_bytes();
    process.forget_peak();
    // C7
    let began = Instant::now();
    let storms: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let connect = connect.clone();
            thread::spawn(move || storm(number, &connect))
        })
        .collect();
    let mut prompt = 0;
    while !storms.iter().all(thread::JoinHandle::is_finished) {
        Dial::v5("prompt").connect(fleet.mqtt(1)).ping();
        prompt += 1;
    }
    storms.into_iter().for_each(|storm| storm.join().expect("connections"));
    let per_s = count as f64 / began.elapsed().as_secs_f64();
    println!("C7: {per_s:.0} connects and drops a second, {prompt} others got in meanwhile");
    eventually("nothing of them is left", || {
        (fleet.metric(1, "tidegate_connections") == 2).then_some(())
    });
    let grown = process.peak_bytes().saturating_sub(before);
    println!("C7: {} KiB at most", grown >> 10);
    assert!(grown < 64 << 20, "{grown} bytes");
    pair.assert_undisturbed();
}

#[test]
fn of_two_hundred_with_one_client_id_one_is_left() {
    let fleet = Fleet::start(2);
    let pair = Pair::start(fleet.mqtt(1));
    // C4: on all gateways at once.
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let place = fleet.mqtt(1 + number % 2);
            thread::spawn(move || {
                let dial = || Dial::v5("one").persistent().try_connect(place);
                (0..50).map(|_| dial()).collect::<Vec<_>>()
            })
        })
        .collect();
    let answers = threads.into_iter().flat_map(|t| t.join().expect("connections"));
    let clients: Vec<_> = answers
        .filter_map(|answer| match answer {
            Answer::Accepted(client) => Some(client),
            Answer::Refused { .. } | Answer::Closed => None,
        })
        .collect();
    // The last word is one more, when the storm is over.
    let mut last = Dial::v5("one").persistent().connect(fleet.mqtt(2));
    let left = clients.into_iter().filter_map(is_alive).count();
    assert_eq!(left, 0, "a second owner");
    last.subscribe("c4", QoS::AtLeastOnce);
    last.publish("c4", "mine", QoS::AtLeastOnce);
    assert_eq!(last.receive().text, "mine");
    pair.assert_undisturbed();
}

/// Whether a client is answered still.
fn is_alive(mut client: Client) -> Option<Client> {
    let mut ping = Vec::new();
    codec::pingreq(&mut ping);
    client.try_send(&ping).ok()?;
    loop {
        let frame = client.next_or_end()?;
        match frame.packet() {
            Packet::PingResp => return Some(client),
            Packet::Disconnect(_) => return None,
            _ => {}
        }
    }
}
