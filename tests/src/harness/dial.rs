//! CONNECT, as a test wants it.

use std::net::{SocketAddr, TcpStream};

use protocol::QoS;
use protocol::mqtt::{
    Connect, ConnectProperties, LastWill, Packet, ReasonCode, Version, WillProperties, codec,
};

use super::client::Client;
use super::wire::Wire;

/// A CONNECT in the making. Without further words: a clean session, no keep alive, no will.
#[derive(Debug, Clone)]
pub struct Dial {
    version: Version,
    client_id: String,
    clean_start: bool,
    expiry_s: u32,
    keep_alive_s: u16,
    receive_maximum: u16,
    will: Option<Will>,
    said: Option<Vec<u8>>,
    user_name: Option<String>,
    password: Option<Vec<u8>>,
    authentication: Option<(String, Vec<u8>)>,
    position: Option<String>,
}

#[derive(Debug, Clone)]
struct Will {
    topic: String,
    payload: String,
    qos: QoS,
    retain: bool,
    delay_s: u32,
}

/// What became of a CONNECT.
#[derive(Debug)]
pub enum Answer {
    /// The client is connected.
    Accepted(Client),
    /// It is not.
    Refused {
        /// Why; return codes of 3.1.1 as the 5.0 codes they mean.
        reason: ReasonCode,
        /// Where else to go.
        server_reference: Option<String>,
        /// The whole CONNACK.
        bytes: Vec<u8>,
    },
    /// The gateway closed without a word.
    Closed,
}

impl Dial {
    /// A client of MQTT 5.0.
    pub fn v5(client_id: &str) -> Self {
        Self::new(Version::V5, client_id)
    }

    /// A client of MQTT 3.1.1.
    pub fn v311(client_id: &str) -> Self {
        Self::new(Version::V311, client_id)
    }

    /// A client of the given version.
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            client_id: client_id.to_owned(),
            clean_start: true,
            expiry_s: 0,
            keep_alive_s: 0,
            receive_maximum: u16::MAX,
            will: None,
            said: None,
            user_name: None,
            password: None,
            authentication: None,
            position: None,
        }
    }

    /// Says CONNECT in these bytes, whatever else was asked for; the version must be the one in them.
    #[must_use]
    pub fn saying(self, bytes: Vec<u8>) -> Self {
        Self { said: Some(bytes), ..self }
    }

    /// Keeps its session for an hour, and goes on with the one it has.
    #[must_use]
    pub fn persistent(self) -> Self {
        Self { clean_start: false, expiry_s: 3600, ..self }
    }

    /// Seconds that the session outlives the connection, in 5.0.
    #[must_use]
    pub fn expiry_s(self, expiry_s: u32) -> Self {
        Self { expiry_s, ..self }
    }

    /// Begins a new session, which outlives the connection if that was asked for.
    #[must_use]
    pub fn clean_start(self) -> Self {
        Self { clean_start: true, ..self }
    }

    /// Seconds of keep alive.
    #[must_use]
    pub fn keep_alive_s(self, keep_alive_s: u16) -> Self {
        Self { keep_alive_s, ..self }
    }

    /// Messages the client takes in flight, in 5.0.
    #[must_use]
    pub fn receive_maximum(self, receive_maximum: u16) -> Self {
        Self { receive_maximum, ..self }
    }

    /// A user name.
    #[must_use]
    pub fn user_name(self, user_name: &str) -> Self {
        Self { user_name: Some(user_name.to_owned()), ..self }
    }

    /// A password, of any bytes.
    #[must_use]
    pub fn password(self, password: impl Into<Vec<u8>>) -> Self {
        Self { password: Some(password.into()), ..self }
    }

    /// Enhanced authentication, in 5.0.
    #[must_use]
    pub fn authentication(self, method: &str, data: impl Into<Vec<u8>>) -> Self {
        Self { authentication: Some((method.to_owned(), data.into())), ..self }
    }

    /// Shows a position, or begins to be shown some with an empty one, in 5.0.
    #[must_use]
    pub fn position(self, position: &str) -> Self {
        Self { position: Some(position.to_owned()), ..self }
    }

    /// A will at `QoS` 1.
    #[must_use]
    pub fn will(self, topic: &str, payload: &str) -> Self {
        let (topic, payload) = (topic.to_owned(), payload.to_owned());
        Self {
            will: Some(Will { topic, payload, qos: QoS::AtLeastOnce, retain: false, delay_s: 0 }),
            ..self
        }
    }

    /// Seconds until the will is published, in 5.0.
    #[must_use]
    pub fn will_delay_s(mut self, delay_s: u32) -> Self {
        if let Some(will) = &mut self.will {
            will.delay_s = delay_s;
        }
        self
    }

    /// Lets the will be retained.
    #[must_use]
    pub fn will_retained(mut self) -> Self {
        if let Some(will) = &mut self.will {
            will.retain = true;
        }
        self
    }

    /// Connects over TCP and asserts that it is accepted.
    pub fn connect(self, address: SocketAddr) -> Client {
        self.over(tcp(address))
    }

    /// Connects over a wire that is open already and asserts that it is accepted.
    pub fn over(self, wire: Box<dyn Wire>) -> Client {
        let id = self.client_id.clone();
        match self.try_over(wire) {
            Answer::Accepted(client) => client,
            Answer::Refused { reason, .. } => panic!("{id} is refused: {reason:?}"),
            Answer::Closed => panic!("{id} got no CONNACK"),
        }
    }

    /// Connects over TCP and tells what came of it.
    pub fn try_connect(self, address: SocketAddr) -> Answer {
        self.try_over(tcp(address))
    }

    /// Connects over a wire that is open already and tells what came of it.
    pub fn try_over(self, wire: Box<dyn Wire>) -> Answer {
        let mut client = self.begin(wire);
        let Some(frame) = client.next_or_end() else { return Answer::Closed };
        let Packet::ConnAck(ack) = frame.packet() else {
            panic!("no CONNACK but {:?}", frame.packet())
        };
        if ack.reason.is_error() {
            return Answer::Refused {
                reason: ack.reason,
                server_reference: ack.server_reference.map(str::to_owned),
                bytes: frame.bytes().to_vec(),
            };
        }
        client.session_present = ack.session_present;
        let told = ack.user.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        client.told = told.collect();
        if let Some(id) = ack.assigned_client_id {
            client.rename(id);
        }
        Answer::Accepted(client)
    }

    /// Sends CONNECT and leaves the answer to the test, as a client does that authenticates in several steps.
    pub fn begin(&self, wire: Box<dyn Wire>) -> Client {
        let mut client = Client::new(wire, self.version, &self.client_id);
        client.send(&self.bytes());
        client
    }

    /// The CONNECT as it travels.
    pub fn bytes(&self) -> Vec<u8> {
        if let Some(said) = &self.said {
            return said.clone();
        }
        let will = self.will.as_ref().map(|will| LastWill {
            topic: &will.topic,
            payload: will.payload.as_bytes(),
            qos: will.qos,
            retain: will.retain,
            properties: WillProperties { delay_s: will.delay_s, ..WillProperties::default() },
        });
        let connect = Connect {
            version: self.version,
            clean_start: self.clean_start,
            keep_alive_s: self.keep_alive_s,
            client_id: &self.client_id,
            will,
            user_name: self.user_name.as_deref(),
            password: self.password.as_deref(),
            properties: ConnectProperties {
                session_expiry_s: self.expiry_s,
                receive_maximum: self.receive_maximum,
                authentication_method: self.authentication.as_ref().map(|it| it.0.as_str()),
                authentication_data: self.authentication.as_ref().map(|it| it.1.as_slice()),
                user: self.position.iter().map(|it| ("tidegate-position", it.as_str())).collect(),
                ..ConnectProperties::default()
            },
        };
        let mut bytes = Vec::new();
        codec::connect(&mut bytes, &connect);
        bytes
    }
}

fn tcp(address: SocketAddr) -> Box<dyn Wire> {
    let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_nodelay(true).expect("a socket that was just opened");
    Box::new(stream)
}
