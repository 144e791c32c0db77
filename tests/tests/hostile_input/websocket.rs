//! C13: WebSocket frames of every wrong kind.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use tests::harness::{Dial, Fleet, PATIENCE};

use super::pair::Pair;

#[test]
fn wrong_websocket_frames_end_their_connection_and_odd_ones_are_taken() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let place = fleet.place(1).websocket;
    let connect = Dial::v311("odd").bytes();
    let wrong: Vec<(&str, Vec<u8>)> = vec![
        ("text", frame(0x81, b"hello")),
        ("not masked", [&[0x82, 14][..], &connect].concat()),
        ("a length of 2^62", [&[0x82, 0xFF, 0x40][..], &[0; 7], &MASK].concat()),
        ("a length with the highest bit", [&[0x82, 0xFF, 0x80][..], &[0; 7], &MASK].concat()),
        (
            "beyond the largest packet",
            [&[0x82, 0xFF, 0, 0, 0, 0, 0x10][..], &[0; 3], &MASK].concat(),
        ),
        ("a reserved opcode", frame(0x83, b"x")),
        ("a reserved bit", frame(0xC2, b"x")),
        ("a continuation of nothing", frame(0x80, b"x")),
        ("a ping of 126 bytes", [&[0x89, 0xFE, 0, 126][..], &MASK, &[0; 126]].concat()),
        ("a ping in pieces", frame(0x09, b"x")),
        ("a beginning inside another", [frame(0x02, b"\x10"), frame(0x02, b"x")].concat()),
        ("something else than CONNECT", frame(0x82, &[0xC0, 0])),
    ];
    pair.unmoved_by("C13", || {
        for (what, bytes) in &wrong {
            let mut stream = open(place);
            // It may be closed before everything is sent.
            let _ = stream.write_all(bytes);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let said = answer.first().copied();
            assert!(matches!(said, None | Some(0x88)), "{what}: {answer:02x?}");
        }
    });
    // A packet in pieces of one byte, with empty ones between them, and pings between those; then many packets in one frame.
    let mut stream = open(place);
    let (first, rest) = connect.split_first().expect("a CONNECT");
    stream.write_all(&frame(0x02, &[*first])).expect("an open socket");
    for byte in rest {
        for piece in [frame(0x00, &[]), frame(0x89, b"p"), frame(0x00, &[*byte])] {
            stream.write_all(&piece).expect("an open socket");
        }
    }
    stream.write_all(&frame(0x80, &[])).expect("an open socket");
    stream.write_all(&frame(0x82, &[0xC0, 0].repeat(60))).expect("an open socket");
    let (mut pongs, mut packets) = (0, Vec::new());
    while packets.len() < 4 + 120 {
        match next(&mut stream) {
            (PONG, _) => pongs += 1,
            (BINARY, body) => packets.extend(body),
            other => panic!("{other:02x?}"),
        }
    }
    assert_eq!(packets.get(..6), Some(&[0x20, 2, 0, 0, 0xD0, 0][..]));
    assert!(pongs > 0, "of pings at once the last is to be answered");
    // A flood of pings, each answered, or the last of those that came together; a packet behind them is answered too.
    let flood = [frame(0x89, b"p").repeat(500), frame(0x82, &[0xC0, 0])].concat();
    pair.measured_beside("C13, pings", || {
        stream.write_all(&flood).expect("an open socket");
        while next(&mut stream).0 == PONG {}
    });
    pair.assert_undisturbed();
}

#[test]
fn requests_that_are_no_upgrade_are_not_taken_for_one() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let place = fleet.place(1).websocket;
    let upgrade = |path: &str, more: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
    };
    let requests = [
        ("another path", upgrade("/other", "sec-websocket-protocol: mqtt\r\n")),
        ("another subprotocol", upgrade("/mqtt", "sec-websocket-protocol: soap\r\n")),
        ("a line without an end", format!("GET /{}", "x".repeat(100_000))),
        ("headers without an end", upgrade("/mqtt", &"x: y\r\n".repeat(20_000))),
        ("no upgrade", "GET /mqtt HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        ("no HTTP", "\u{1}\u{2}\u{3}\r\n\r\n".to_owned()),
    ];
    pair.unmoved_by("C13, requests", || {
        for (what, request) in &requests {
            let mut stream = TcpStream::connect(place).expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            // It may be closed before everything is sent.
            let _ = stream.write_all(request.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(!answer.starts_with(b"HTTP/1.1 101"), "{what} is taken");
        }
    });
    pair.assert_undisturbed();
}

const BINARY: u8 = 0x82;
const PONG: u8 = 0x8A;

/// The next frame of the gateway, a short one.
fn next(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body).expect("its payload");
    (head[0], body)
}

const MASK: [u8; 4] = [0; 4];

/// A short frame from a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short one");
    assert!(length < 126, "a short one");
    [&[first, 0x80 | length][..], &MASK, payload].concat()
}

fn open(place: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(place).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nhost: {place}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: mqtt\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("an open socket");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an upgrade");
        answer.extend(byte);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream
}
