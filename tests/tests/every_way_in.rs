//! Every way in works, has its limits, and says so when it is full: Unix sockets, the PROXY protocol, limits by listener
//! and by address, and a system without descriptors. Large packets go every way, and their memory goes with them.
#![expect(clippy::expect_used, clippy::panic, reason = "a scenario may fail loudly")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use protocol::QoS;
use protocol::mqtt::ReasonCode;
use tests::harness::{
    Answer, Client, Dial, Fleet, Identity, PATIENCE, Settings, WebSocketWire, Wire, dial_tls,
    eventually,
};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::HeaderValue;

#[test]
fn a_client_on_the_same_machine_comes_by_a_unix_socket() {
    let unix = "[[listen]]\nkind = \"unix\"\nbind = \"@dir@/mqtt.sock\"\nmode = \"0600\"\n";
    let mut fleet = Fleet::start_with(1, &Settings::default().everywhere(unix));
    let path = fleet.dir().join("mqtt.sock");
    let dial = || -> Box<dyn Wire> { Box::new(UnixStream::connect(&path).expect("a socket")) };
    let mut reader = Dial::v5("reader").over(dial());
    reader.subscribe("t", QoS::AtLeastOnce);
    let long = "x".repeat(200_000);
    let mut writer = Dial::v311("writer").connect(fleet.mqtt(1));
    writer.publish("t", &long, QoS::AtLeastOnce);
    assert_eq!(reader.receive().text, long);
    let clients = fleet.api(1, "/api/v1/clients").to_string();
    assert!(clients.contains("\"remote\":\"unix\""), "{clients}");
    // A gateway that was killed leaves its file behind; the next one replaces it.
    fleet.kill(1);
    assert!(path.exists());
    fleet.restart(1);
    Dial::v5("again").over(dial()).ping();
    fleet.stop(1);
    eventually("the socket goes with its gateway", || (!path.exists()).then_some(()));
}

/// A client over WebSocket.
fn websocket(place: SocketAddr) -> Box<dyn Wire> {
    let mut request = format!("ws://{place}/mqtt").into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("mqtt"));
    let stream = TcpStream::connect(place).expect("a connection");
    let (socket, _) = tungstenite::client::client(request, stream).expect("a WebSocket");
    Box::new(WebSocketWire::new(socket))
}

#[test]
fn large_packets_go_over_every_wire_at_every_level_between_small_ones() {
    const TEXTS: [usize; 6] = [10, 20_000, 700_000, 11, 16_400, 300_000];
    let fleet = Fleet::start(1);
    let (place, certs) = (fleet.place(1), fleet.certificates());
    let secure = || dial_tls(place.mqtts, &certs, Identity::Of(&certs, "device-1"));
    let wires: [&dyn Fn() -> Box<dyn Wire>; 3] = [
        &|| Box::new(TcpStream::connect(place.mqtt).expect("a connection")),
        &|| secure().expect("a TLS connection"),
        &|| websocket(place.websocket),
    ];
    for (qos, from) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().zip(wires)
    {
        let reader = |(number, wire): (usize, &&dyn Fn() -> Box<dyn Wire>)| {
            let mut reader = Dial::v5(&format!("reader-{number}")).over(wire());
            reader.subscribe("t", qos);
            reader
        };
        let mut readers: Vec<_> = wires.iter().enumerate().map(reader).collect();
        let mut writer = Dial::v5("writer").over(from());
        let text = |len: usize| "0123456789abcdefg".chars().cycle().take(len).collect::<String>();
        TEXTS.into_iter().for_each(|len| writer.publish("t", &text(len), qos));
        for reader in &mut readers {
            for len in TEXTS {
                let message = reader.receive();
                assert!(message.text == text(len), "{len} bytes at {qos:?}");
            }
        }
    }
}

#[test]
fn a_large_packet_for_many_who_do_not_read_is_in_memory_once_and_gone_with_them() {
    const READERS: usize = 150;
    const LEN: usize = 1_000_000;
    let fleet = Fleet::start(1);
    let process = fleet.process(1);
    let mut readers: Vec<_> = (0..READERS)
        .map(|number| {
            let mut reader = Dial::v5(&format!("reader-{number}")).connect(fleet.mqtt(1));
            reader.subscribe("t", QoS::AtMostOnce);
            reader
        })
        .collect();
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let before = process.resident_bytes();
    process.forget_peak();
    let text = "x".repeat(LEN);
    writer.publish("t", &text, QoS::AtLeastOnce);
    let (reading, gone) = readers.split_at_mut(READERS / 2);
    for reader in reading {
        assert!(reader.receive().text == text);
    }
    let grown = process.peak_bytes().saturating_sub(before);
    assert!(grown < 20 * LEN as u64, "{grown} bytes for {READERS} readers of {LEN} bytes");
    gone.iter_mut().for_each(|reader| reader.send_disconnect(ReasonCode::Success));
    drop(readers);
    eventually("its memory is given back", || {
        (process.resident_bytes() < before + 10 * LEN as u64).then_some(())
    });
}

/// A listener for connections that begin with a PROXY header, from this machine.
fn proxied() -> &'static str {
    "[[listen]]\nbind = \"@extra1@\"\nproxy_protocol = true\nproxy_trusted = [\"127.0.0.0/8\"]\n"
}

/// A connection that a proxy makes for a client at this address.
fn through_proxy(listener: SocketAddr, from: &str) -> Box<dyn Wire> {
    let mut stream = TcpStream::connect(listener).expect("a connection");
    let family = if from.contains(':') { "TCP6" } else { "TCP4" };
    let to = if from.contains(':') { "::1" } else { "127.0.0.1" };
    // The gateway may have closed already, which the next read tells.
    let _ = write!(stream, "PROXY {family} {from} {to} 4711 1883\r\n");
    Box::new(stream)
}

#[test]
fn a_trusted_proxy_says_where_a_client_comes_from() {
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(proxied()));
    let listener = fleet.place(1).extra[0];
    let mut first = Dial::v5("first").over(through_proxy(listener, "192.0.2.7"));
    let mut second = TcpStream::connect(listener).expect("a connection");
    let header = [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".as_slice(),
        &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        &[0; 15],
        &[1, 0x12, 0x34, 0x07, 0x5b],
    ]
    .concat();
    // Byte by byte, as networks may.
    for byte in header {
        second.write_all(&[byte]).expect("an open socket");
    }
    let mut second = Dial::v311("second").over(Box::new(second));
    let clients = fleet.api(1, "/api/v1/clients").to_string();
    assert!(clients.contains("\"192.0.2.7:4711\""), "{clients}");
    assert!(clients.contains("\"[2001:db8::9]:4660\""), "{clients}");
    first.ping();
    second.ping();
}

#[test]
fn a_proxy_header_that_is_missing_doubled_lying_or_from_a_stranger_closes_the_connection() {
    let strangers = "[[listen]]\nbind = \"@extra2@\"\nproxy_protocol = true\nproxy_trusted = [\"192.0.2.0/24\"]\n";
    let settings = Settings::default().everywhere(proxied()).everywhere(strangers);
    let fleet = Fleet::start_with(1, &settings);
    let [trusted, strange] = fleet.place(1).extra;
    let connect = Dial::v5("c").bytes();
    let header = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 1883\r\n".to_vec();
    let lying =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x20\xc0\0\x02\x07\x7f\0\0\x01\x12\x34\x07\x5b".to_vec();
    let mut witness = Dial::v5("witness").connect(fleet.mqtt(1));
    let cases: [(&str, SocketAddr, Vec<u8>); 4] = [
        ("missing", trusted, connect.clone()),
        ("doubled", trusted, [header.clone(), header.clone(), connect.clone()].concat()),
        ("lying", trusted, [lying, connect.clone(), connect.clone()].concat()),
        ("from a stranger", strange, [header, connect].concat()),
    ];
    for (what, listener, bytes) in cases {
        let mut stream = TcpStream::connect(listener).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        // It may be closed before everything is sent.
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let closed =
            ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(closed && answer.is_empty(), "{what}: {answer:02x?}");
        witness.ping();
    }
    let counted = "tidegate_connections_turned_away_total{reason=\"proxy\"}";
    eventually("three are counted", || (fleet.metric(1, counted) == 3).then_some(()));
}

#[test]
fn an_address_that_is_full_is_told_so_and_gets_in_the_moment_there_is_room() {
    let limits = "[limits]\nconnections_per_address = 2\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(proxied()).everywhere(limits));
    let listener = fleet.place(1).extra[0];
    let from = |address: &str, id: &str| Dial::v5(id).try_over(through_proxy(listener, address));
    let held = [accepted(from("192.0.2.7", "a")), accepted(from("192.0.2.7", "b"))];
    for _ in 0..20 {
        assert_refused(&from("192.0.2.7", "c"), ReasonCode::QuotaExceeded);
    }
    // Another address is not concerned; a /64 is one address.
    accepted(from("192.0.2.8", "d")).ping();
    let _six = [accepted(from("2001:db8::1", "e")), accepted(from("2001:db8::2", "f"))];
    assert_refused(&from("2001:db8::3", "g"), ReasonCode::QuotaExceeded);
    accepted(from("2001:db8:0:1::1", "g")).ping();
    drop(held);
    eventually("there is room again", || match from("192.0.2.7", "c") {
        Answer::Accepted(client) => Some(client),
        Answer::Refused { .. } | Answer::Closed => None,
    })
    .ping();
    let counted = "tidegate_connections_turned_away_total{reason=\"address_connections\"}";
    assert!(fleet.metric(1, counted) >= 21);
}

#[test]
fn a_listener_that_is_full_leaves_the_others_alone() {
    let small = "[[listen]]\nbind = \"@extra1@\"\nconnections = 1\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(small));
    let listener = fleet.place(1).extra[0];
    let mut held = Dial::v5("a").connect(listener);
    for version in [Dial::v5("b"), Dial::v311("b")] {
        let refused = version.try_connect(listener);
        assert!(matches!(refused, Answer::Refused { .. }));
    }
    Dial::v5("b").connect(fleet.mqtt(1)).ping();
    held.ping();
    drop(held);
    eventually("there is room again", || match Dial::v5("b").try_connect(listener) {
        Answer::Accepted(client) => Some(client),
        Answer::Refused { .. } | Answer::Closed => None,
    });
}

#[test]
fn an_address_that_connects_too_fast_is_told_so_and_others_get_in() {
    let limits = "[limits]\nconnects_per_address_per_s = 1\nconnects_per_address_burst = 5\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(proxied()).everywhere(limits));
    let listener = fleet.place(1).extra[0];
    let from = |address: &str| Dial::v5("fast").try_over(through_proxy(listener, address));
    let refused = (0..1_000).find_map(|_| match from("192.0.2.7") {
        Answer::Refused { reason, .. } => Some(reason),
        Answer::Accepted(_) | Answer::Closed => None,
    });
    assert_eq!(refused, Some(ReasonCode::ConnectionRateExceeded));
    accepted(from("192.0.2.8")).ping();
    eventually("it gets in again", || match from("192.0.2.7") {
        Answer::Accepted(client) => Some(client),
        Answer::Refused { .. } | Answer::Closed => None,
    });
}

#[test]
fn silent_connections_of_one_address_are_closed_beyond_their_limit() {
    let limits = "[limits]\nhandshakes_per_address = 10\nconnect_timeout_ms = 60000\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(proxied()).everywhere(limits));
    let listener = fleet.place(1).extra[0];
    let mut silent: Vec<_> = (0..10).map(|_| through_proxy(listener, "192.0.2.7")).collect();
    // The eleventh is closed at once; which one that is the gateway says by closing it.
    let counted = "tidegate_connections_turned_away_total{reason=\"address_handshakes\"}";
    silent.push(through_proxy(listener, "192.0.2.7"));
    eventually("one is turned away", || (fleet.metric(1, counted) == 1).then_some(()));
    Dial::v5("other").over(through_proxy(listener, "192.0.2.8")).ping();
    drop(silent);
    eventually("it gets in again", || {
        match Dial::v5("back").try_over(through_proxy(listener, "192.0.2.7")) {
            Answer::Accepted(client) => Some(client),
            Answer::Refused { .. } | Answer::Closed => None,
        }
    });
}

#[test]
fn without_descriptors_new_connections_are_closed_and_those_who_are_here_do_not_notice() {
    let fleet = Fleet::start(1);
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(1));
    reader.subscribe("t", QoS::AtLeastOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    fleet.process(1).allow_descriptors(Some(2));
    let (mut held, mut closed) = (Vec::new(), 0);
    for number in 0..200 {
        match Dial::v5(&format!("c-{number}")).try_connect(fleet.mqtt(1)) {
            Answer::Accepted(client) => held.push(client),
            Answer::Refused { .. } | Answer::Closed => closed += 1,
        }
        writer.publish("t", "on", QoS::AtLeastOnce);
        assert_eq!(reader.receive().text, "on");
        if closed == 10 {
            break;
        }
    }
    assert_eq!(closed, 10, "{} got in", held.len());
    held.iter_mut().for_each(Client::ping);
    fleet.process(1).allow_descriptors(None);
    eventually("they are accepted again", || match Dial::v5("late").try_connect(fleet.mqtt(1)) {
        Answer::Accepted(client) => Some(client),
        Answer::Refused { .. } | Answer::Closed => None,
    });
    let counted = "tidegate_connections_turned_away_total{reason=\"descriptors\"}";
    assert!(fleet.metric(1, counted) > 0);
    // An episode is told once, and its end; something else may close a file meanwhile, and another one begins.
    let episodes = eventually("the shortage is over", || {
        let log = fleet.process(1).log();
        let begun = log.matches("out of descriptors").count();
        (log.matches("descriptors are free again").count() == begun).then_some(begun)
    });
    assert!((1..closed).contains(&episodes), "{}", fleet.process(1).log());
}

fn accepted(answer: Answer) -> Client {
    match answer {
        Answer::Accepted(client) => client,
        Answer::Refused { reason, .. } => panic!("refused: {reason:?}"),
        Answer::Closed => panic!("closed"),
    }
}

fn assert_refused(answer: &Answer, wanted: ReasonCode) {
    let Answer::Refused { reason, .. } = answer else { panic!("it was not refused") };
    assert_eq!(*reason, wanted);
}
