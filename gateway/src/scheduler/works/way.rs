//! The ways into a host that a trial takes: its listeners for devices that let in who shows the gateway's own certificate at most.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use tungstenite::client::{ClientRequestBuilder, client_with_config};
use tungstenite::error::ProtocolError;
use tungstenite::http::Uri;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use super::device::{Device, Fault, PACKET_BYTES, Wire};
use super::doors::{self, OwnCertificate};
use crate::config::{Bind, ClientCertificate, ListenKind, Listener, Resolved, Tls, UnknownName};

/// Listeners that are tried at most; more than anybody has.
const MOST: usize = 8;

/// Which listeners of a host are tried, and which are passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ways {
    /// Those with TLS first, and else in the order of the configuration.
    pub(super) tried: Vec<Way>,
    /// Where the others are, and why they are not tried.
    pub(super) passed: Vec<(String, &'static str)>,
}

/// A listener for devices, and what is shown there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) kind: ListenKind,
    pub(super) door: SocketAddr,
    /// Where there is TLS.
    tls: Option<Shown>,
    /// Path of the WebSocket.
    path: String,
}

/// What both sides of a TLS handshake show.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    /// By the gateway: the file of its certificate.
    cert: PathBuf,
    /// By its client, if that must.
    own: Option<OwnCertificate>,
}

impl Ways {
    /// Those of a host with this configuration. What is tried first is tried thoroughly, and most devices come over TLS.
    pub(super) fn of(config: &Resolved) -> Self {
        let mut ways = Self::default();
        for listener in &config.listeners {
            match Way::at(listener, config.tls.as_ref()) {
                Ok(_) if ways.tried.len() == MOST => {
                    ways.passed.push((listener.bind.to_string(), "enough others are"));
                }
                Ok(way) => ways.tried.push(way),
                Err(why) => ways.passed.push((listener.bind.to_string(), why)),
            }
        }
        ways.tried.sort_by_key(|way| !way.kind.is_secure());
        ways
    }
}

impl Way {
    /// To a listener, or why a trial has none.
    fn at(listener: &Listener, tls: Option<&Tls>) -> Result<Self, &'static str> {
        let Bind::Network(address) = listener.bind else { return Err("a Unix socket") };
        if listener.proxies.is_some() {
            return Err("a proxy stands before it");
        }
        let tls = match tls.filter(|_| listener.kind.is_secure()) {
            Some(tls) => Some(Shown::at(listener, tls)?),
            None => None,
        };
        let (kind, path) = (listener.kind, listener.path.clone());
        Ok(Self { kind, door: doors::reached(address), tls, path })
    }

    /// Without TLS, and without a WebSocket.
    #[cfg(test)]
    pub(super) const fn plain(door: SocketAddr) -> Self {
        Self { kind: ListenKind::Tcp, door, tls: None, path: String::new() }
    }

    /// Opens it.
    pub(super) fn open(&self, until: Instant) -> Result<Device, Fault> {
        match &self.tls {
            None => {
                let socket = doors::open(self.door).ok_or(Fault::Closed)?;
                let below = socket.try_clone()?;
                Device::new(self.speak(Box::new(socket))?, below, until)
            }
            Some(Shown { cert, own }) => {
                // It is told the secret once it has shown who it is.
                let tls = doors::secure(self.door, own.as_ref(), cert).ok_or(Fault::Certificate)?;
                let below = tls.sock.try_clone()?;
                Device::new(self.speak(Box::new(tls))?, below, until)
            }
        }
    }

    /// What MQTT goes over there.
    fn speak(&self, wire: Box<dyn Wire>) -> Result<Box<dyn Wire>, Fault> {
        if !self.kind.is_websocket() {
            return Ok(wire);
        }
        let scheme = if self.kind.is_secure() { "wss" } else { "ws" };
        let address = Uri::builder().scheme(scheme).authority(self.door.to_string());
        let address = address.path_and_query(self.path.as_str()).build();
        let address = address.map_err(|_| Fault::Other("a path that cannot be asked for"))?;
        let asked = ClientRequestBuilder::new(address).with_sub_protocol("mqtt");
        let most = usize::try_from(PACKET_BYTES).ok();
        let limits = WebSocketConfig::default().max_message_size(most).max_frame_size(most);
        match client_with_config(asked, wire, Some(limits)) {
            Ok((socket, _)) => Ok(Box::new(Messages { socket, rest: Vec::new() })),
            Err(HandshakeError::Interrupted(_)) => Err(Fault::Silent),
            Err(HandshakeError::Failure(Error::Io(error))) => Err(error.into()),
            Err(HandshakeError::Failure(Error::Protocol(ProtocolError::HandshakeIncomplete))) => {
                Err(Fault::Closed)
            }
            Err(HandshakeError::Failure(_)) => Err(Fault::Other("no WebSocket")),
        }
    }
}

impl Shown {
    fn at(listener: &Listener, tls: &Tls) -> Result<Self, &'static str> {
        if tls.unknown_name != UnknownName::Default {
            return Err("it shows no certificate to who names none");
        }
        let own = match (listener.client_certificate, &listener.authority) {
            (ClientCertificate::None | ClientCertificate::Optional, _) => None,
            (ClientCertificate::Required, None) => {
                Some(OwnCertificate { cert: tls.cert.clone(), key: tls.key.clone() })
            }
            (ClientCertificate::Required, Some(_)) => {
                return Err("it wants certificates of another authority");
            }
        };
        Ok(Self { cert: tls.cert.clone(), own })
    }
}

/// MQTT in binary messages of a WebSocket.
struct Messages {
    socket: WebSocket<Box<dyn Wire>>,
    /// Of a message that was not read whole.
    rest: Vec<u8>,
}

impl Read for Messages {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.rest.extend_from_slice(&bytes),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => return Ok(0),
                // It must be binary [MQTT5-6.0.0-1].
                Ok(Message::Text(_)) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) => return Err(of_socket(error)),
            }
        }
        let mut rest = self.rest.as_slice();
        let got = rest.read(into)?;
        self.rest.drain(..got);
        Ok(got)
    }
}

impl Write for Messages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(Message::binary(bytes.to_vec())).map_err(of_socket)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush().map_err(of_socket)
    }
}

fn of_socket(error: Error) -> io::Error {
    if let Error::Io(error) = error {
        return error;
    }
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::{parse, resolve};

    /// At which listeners of a gateway with these a trial is made, and how.
    fn ways(listeners: &str) -> Ways {
        let tls = "[tls]\nca = \"ca.pem\"\ncert = \"gw.pem\"\nkey = \"gw.key\"\n";
        let text = format!("[gateway]\nid = \"gw-1\"\n{tls}{listeners}");
        let written = parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let config = resolve(&written, Path::new("/base"));
        Ways::of(&config.unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    fn listener(kind: &str, port: u16) -> String {
        format!("[[listen]]\nkind = \"{kind}\"\nbind = \"127.0.0.1:{port}\"\n")
    }

    #[test]
    fn every_listener_is_tried_that_a_certificate_of_the_gateway_opens() {
        let kinds = ["tcp", "tls", "websocket", "secure_websocket"];
        let all: String =
            kinds.iter().zip(1001..).map(|(kind, port)| listener(kind, port)).collect();
        let found = ways(&all);
        let tried: Vec<_> =
            found.tried.iter().map(|way| (way.kind.as_str(), way.door.port())).collect();
        let expected =
            [("tls", 1002), ("secure_websocket", 1004), ("tcp", 1001), ("websocket", 1003)];
        assert_eq!(tried, expected, "those with TLS first");
        assert!(found.passed.is_empty(), "{:?}", found.passed);
        let own = OwnCertificate { cert: "/base/gw.pem".into(), key: "/base/gw.key".into() };
        let shows = |way: &Way| way.tls.as_ref().map(|shown| shown.own.clone());
        let shown: Vec<_> = found.tried.iter().map(shows).collect();
        assert_eq!(shown, [Some(Some(own.clone())), Some(Some(own)), None, None]);
        let open = ways(&format!("{}client_certificate = \"optional\"\n", listener("tls", 1)));
        assert_eq!(open.tried.iter().map(shows).collect::<Vec<_>>(), [Some(None)]);
    }

    #[test]
    fn a_listener_that_is_passed_over_says_why() {
        let proxied = "proxy_protocol = true\nproxy_trusted = [\"127.0.0.1\"]\n";
        let unix = "[[listen]]\nkind = \"unix\"\nbind = \"/run/x\"\n";
        for (one, why) in [
            (format!("{}ca = \"other.pem\"\n", listener("tls", 1)), "another authority"),
            (format!("{}{proxied}", listener("tcp", 1)), "a proxy"),
            (unix.to_owned(), "a Unix socket"),
        ] {
            let found = ways(&format!("{}{one}", listener("tcp", 2)));
            assert_eq!(found.tried.len(), 1, "{one}");
            let [(_, said)] = &found.passed[..] else { panic!("{one}: {:?}", found.passed) };
            assert!(said.contains(why), "{said}");
        }
        let many: String = (1..=9).map(|port| listener("tcp", port)).collect();
        let found = ways(&many);
        assert_eq!((found.tried.len(), found.passed.len()), (MOST, 1));
    }

    #[test]
    fn a_door_that_is_no_websocket_or_says_nothing_is_told() {
        for (says, code) in [
            (&b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"[..], "other_answer"),
            (b"\x20\x03\x00\x00\x00", "other_answer"),
            (b"", "closed"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let door = listener.local_addr().unwrap();
            let answers = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = [0; 4096];
                let got = stream.read(&mut asked).unwrap();
                stream.write_all(says).unwrap();
                String::from_utf8_lossy(&asked[..got]).into_owned()
            });
            let (kind, path) = (ListenKind::Websocket, "/mqtt".to_owned());
            let way = Way { kind, door, tls: None, path };
            let fault = way.open(Instant::now() + Duration::from_secs(60)).err().unwrap();
            let asked = answers.join().unwrap();
            assert!(asked.starts_with("GET /mqtt ") && asked.contains("mqtt\r\n"), "{asked}");
            assert_eq!(fault.code(), code, "{fault}");
        }
    }
}
