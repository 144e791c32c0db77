//! A WebSocket client of another library, for what mosquitto's clients do not speak.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use protocol::QoS;
use tests::harness::{Dial, Fleet, WebSocketWire};
use tungstenite::client::{IntoClientRequest as _, client};
use tungstenite::http::{HeaderValue, StatusCode};
use tungstenite::protocol::Message;
use tungstenite::{Error, WebSocket};

#[test]
fn mqtt_over_websocket_is_mqtt() {
    let fleet = Fleet::start(2);
    let mut reader =
        Dial::v5("reader").over(Box::new(WebSocketWire::new(open(fleet.place(2).websocket))));
    reader.subscribe("t/#", QoS::ExactlyOnce);
    let mut old =
        Dial::v311("old").over(Box::new(WebSocketWire::new(open(fleet.place(1).websocket))));
    let mut plain = Dial::v5("plain").connect(fleet.mqtt(1));
    let long = "x".repeat(200_000);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        old.publish("t/x", &long, qos);
        assert_eq!(reader.receive().text, long);
        plain.publish("t/y", "short", qos);
        assert_eq!(reader.receive().text, "short");
    }
    reader.ping();
    reader.disconnect();
}

#[test]
fn packets_may_be_split_over_frames_and_frames_may_hold_many() {
    let fleet = Fleet::start(1);
    let mut socket = open(fleet.place(1).websocket);
    let mut bytes = Dial::v311("device").bytes();
    bytes.extend([0xC0, 0, 0xC0, 0, 0xC0, 0]);
    for byte in &bytes[..8] {
        socket.send(Message::binary(vec![*byte])).expect("an open socket");
    }
    socket.send(Message::Ping(vec![1, 2, 3].into())).expect("an open socket");
    socket.send(Message::binary(bytes[8..].to_vec())).expect("an open socket");
    let mut got = Vec::new();
    let mut ponged = false;
    while got.len() < 4 + 6 {
        match socket.read().expect("an answer") {
            Message::Binary(bytes) => got.extend_from_slice(&bytes),
            Message::Pong(payload) => ponged = payload.as_ref() == [1, 2, 3],
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, [0x20, 2, 0, 0, 0xD0, 0, 0xD0, 0, 0xD0, 0]);
    assert!(ponged);
}

#[test]
fn text_frames_end_the_connection() {
    let fleet = Fleet::start(1);
    let mut socket = open(fleet.place(1).websocket);
    // [MQTT5-6.0.0-1]
    socket.send(Message::text("hello")).expect("an open socket");
    let answer = socket.read();
    assert!(matches!(answer, Ok(Message::Close(_))), "{answer:?}");
    Dial::v5("other").connect(fleet.mqtt(1)).ping();
}

#[test]
fn the_end_of_a_websocket_is_said() {
    let fleet = Fleet::start(1);
    let connected = || {
        let mut socket = open(fleet.place(1).websocket);
        socket.send(Message::binary(Dial::v311("device").bytes())).expect("an open socket");
        assert_eq!(socket.read().expect("an answer"), Message::binary(vec![0x20, 2, 0, 0]));
        socket
    };
    // A Close frame is answered with one: without it the library tells of a reset.
    let mut socket = connected();
    socket.close(None).expect("an open socket");
    let answer = socket.read();
    assert!(matches!(answer, Ok(Message::Close(_))), "{answer:?}");
    let mut socket = connected();
    socket.send(Message::binary(vec![0xE0, 0])).expect("an open socket");
    let answer = socket.read();
    assert!(matches!(answer, Ok(Message::Close(_))), "{answer:?}");
}

#[test]
fn what_came_with_a_close_frame_is_acknowledged_before_it_is_answered() {
    let fleet = Fleet::start(1);
    let mut socket = open(fleet.place(1).websocket);
    socket.send(Message::binary(Dial::v311("device").bytes())).expect("an open socket");
    assert_eq!(socket.read().expect("an answer"), Message::binary(vec![0x20, 2, 0, 0]));
    // A PUBLISH at QoS 1 with id 7, and a Close frame with code 1000, both masked with zeros, in one write.
    let publish = [0x32, 6, 0, 1, b't', 0, 7, b'x'];
    let together = [&[0x82, 0x88, 0, 0, 0, 0], &publish[..], &[0x88, 0x82, 0, 0, 0, 0, 3, 0xE8]];
    let mut stream = socket.get_ref();
    stream.write_all(&together.concat()).expect("an open socket");
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).expect("an end");
    assert_eq!(heard, [0x82, 4, 0x40, 2, 0, 7, 0x88, 2, 3, 0xE8]);
}

#[test]
fn other_paths_and_subprotocols_are_refused() {
    let fleet = Fleet::start(1);
    let place = fleet.place(1).websocket;
    assert_eq!(refused(place, "/other", Some("mqtt")), StatusCode::NOT_FOUND);
    assert_eq!(refused(place, "/mqtt", Some("chat")), StatusCode::BAD_REQUEST);
    assert_eq!(refused(place, "/mqtt", None), StatusCode::BAD_REQUEST);
    Dial::v5("device").over(Box::new(WebSocketWire::new(open(place)))).ping();
}

fn open(place: SocketAddr) -> WebSocket<TcpStream> {
    let (socket, response) = upgrade(place, "/mqtt", Some("mqtt")).expect("a WebSocket");
    // [MQTT5-6.0.0-4]
    assert_eq!(
        response.headers().get("sec-websocket-protocol"),
        Some(&HeaderValue::from_static("mqtt"))
    );
    socket
}

fn refused(place: SocketAddr, path: &str, subprotocol: Option<&str>) -> StatusCode {
    match upgrade(place, path, subprotocol) {
        Err(Error::Http(response)) => response.status(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{path} with {subprotocol:?} was accepted"),
    }
}

type Upgraded = (WebSocket<TcpStream>, tungstenite::handshake::client::Response);

fn upgrade(place: SocketAddr, path: &str, subprotocol: Option<&str>) -> Result<Upgraded, Error> {
    let mut request = format!("ws://{place}{path}").into_client_request()?;
    if let Some(name) = subprotocol {
        let name = HeaderValue::from_str(name).expect("a word");
        request.headers_mut().insert("sec-websocket-protocol", name);
    }
    let stream = TcpStream::connect(place).expect("a connection");
    stream.set_nodelay(true)?;
    client(request, stream).map_err(|error| match error {
        tungstenite::HandshakeError::Failure(error) => error,
        tungstenite::HandshakeError::Interrupted(_) => panic!("a blocking socket does not pause"),
    })
}
