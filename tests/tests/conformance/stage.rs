//! The one gateway that the tests here share, and packets written by hand.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use protocol::QoS;
use protocol::mqtt::{ReasonCode, Version};
use tests::harness::{Client, Dial, Fleet, PATIENCE};

/// What a rule is shown for when both versions have it.
pub(crate) const BOTH: [Version; 2] = [Version::V311, Version::V5];

/// The gateway, started by the first test that wants it and ended by the last that has it.
#[derive(Debug, Clone)]
pub(crate) struct Stage(Arc<Fleet>);

impl Stage {
    pub(crate) fn enter() -> Self {
        static RUNNING: Mutex<Weak<Fleet>> = Mutex::new(Weak::new());
        // A start that failed has failed its own test.
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let fleet = running.upgrade().unwrap_or_else(|| Arc::new(Fleet::start(1)));
        *running = Arc::downgrade(&fleet);
        Self(fleet)
    }

    pub(crate) fn place(&self) -> SocketAddr {
        self.0.mqtt(1)
    }

    /// A clean client.
    pub(crate) fn client(&self, version: Version) -> Client {
        self.connect(Dial::new(version, &fresh("client")))
    }

    pub(crate) fn connect(&self, dial: Dial) -> Client {
        dial.connect(self.place())
    }

    /// Returns when so many seconds have passed for the gateway: a will that waits that long tells.
    pub(crate) fn pass_seconds(&self, seconds: u32) {
        let topic = fresh("clock");
        let mut watcher = self.client(Version::V5);
        watcher.subscribe(&topic, QoS::AtMostOnce);
        let dial = Dial::v5(&fresh("clock")).persistent().will(&topic, "over");
        drop(self.connect(dial.will_delay_s(seconds)));
        assert_eq!(watcher.receive().text, "over");
    }

    /// All that is answered to these bytes on a connection of their own, until the gateway closes it.
    pub(crate) fn answer_to(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.place()).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(bytes).expect("an open socket");
        let mut answer = Vec::new();
        // Closed with a reset is closed, too.
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{bytes:02x?}");
        }
        // It may be gone.
        let _ = stream.shutdown(Shutdown::Both);
        answer
    }

    /// Sends bytes in a connection that must end of it, and answers the reason that was told.
    pub(crate) fn end_by(&self, version: Version, bytes: &[u8]) -> Option<ReasonCode> {
        let mut client = self.client(version);
        client.send(bytes);
        client.end_reason()
    }

    /// Asserts that bytes end their connection: in 5.0 with a reason, in 3.1.1 without a word.
    #[track_caller]
    pub(crate) fn refuses(&self, version: Version, bytes: &[u8], reason: ReasonCode) {
        let told = (version == Version::V5).then_some(reason);
        assert_eq!(self.end_by(version, bytes), told, "{version:?} {bytes:02x?}");
    }
}

/// A name that no other test of this process has.
pub(crate) fn fresh(what: &str) -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

/// A packet of any length.
pub(crate) fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let low = u8::try_from(rest % 128).expect("below 128");
        rest /= 128;
        packet.push(if rest == 0 { low } else { low | 0x80 });
        if rest == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// Bytes with their length before them, as strings and binary data travel.
pub(crate) fn text(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).expect("a short text");
    [&length.to_be_bytes(), bytes].concat()
}

/// Properties with their length before them; nothing in 3.1.1.
pub(crate) fn properties(version: Version, properties: &[u8]) -> Vec<u8> {
    if version != Version::V5 {
        return Vec::new();
    }
    [&[u8::try_from(properties.len()).expect("few properties")], properties].concat()
}

/// A CONNECT with these flags, properties, and fields of the payload.
pub(crate) fn connect(version: Version, flags: u8, section: &[u8], payload: &[&[u8]]) -> Vec<u8> {
    let level = if version == Version::V5 { 5 } else { 4 };
    let section = properties(version, section);
    packet(0x10, &[&text("MQTT"), &[level, flags, 0, 0], &section, &payload.concat()])
}

/// A PUBLISH with this first byte.
pub(crate) fn publish(
    version: Version,
    first: u8,
    topic: impl AsRef<[u8]>,
    (id, section): (Option<u16>, &[u8]),
    payload: &[u8],
) -> Vec<u8> {
    let id: Vec<u8> = id.map(u16::to_be_bytes).into_iter().flatten().collect();
    packet(first, &[&text(topic), &id, &properties(version, section), payload])
}

/// A SUBSCRIBE with each filter's options.
pub(crate) fn subscribe(version: Version, id: u16, filters: &[(&[u8], u8)]) -> Vec<u8> {
    let filters: Vec<u8> = filters
        .iter()
        .flat_map(|(filter, options)| [&*text(filter), &[*options]].concat())
        .collect();
    packet(0x82, &[&id.to_be_bytes(), &properties(version, &[]), &filters])
}

/// An UNSUBSCRIBE.
pub(crate) fn unsubscribe(version: Version, id: u16, filters: &[&[u8]]) -> Vec<u8> {
    let filters: Vec<u8> = filters.iter().flat_map(text).collect();
    packet(0xA2, &[&id.to_be_bytes(), &properties(version, &[]), &filters])
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP without a reason, by its first byte.
pub(crate) fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &[&id.to_be_bytes()])
}
