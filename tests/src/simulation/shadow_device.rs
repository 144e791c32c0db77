//! What devices ask of shadows, and what they hear of them.

use std::collections::VecDeque;

use protocol::mqtt::codec;
use protocol::mqtt::{Publish, PublishProperties};
use protocol::{PacketId, QoS};

use super::around::Around;
use super::device::Device;
use super::random::Random;

/// The shadows of a fleet: what their topics begin with, and the keys under which they are stored.
const SHADOWS: [(&str, &str); 2] =
    [("$aws/things/t0/shadow", "t0/"), ("$aws/things/t1/shadow/name/n", "t1/n")];
/// What devices watch.
const WATCHED: [&str; 5] = [
    "$aws/things/+/shadow/update/documents",
    "$aws/things/t0/shadow/update/documents",
    "$aws/things/t0/shadow/update/delta",
    "$aws/things/+/shadow/name/+/update/+",
    "$aws/things/t0/shadow/#",
];
/// Requests that a device leaves open at once.
const OPEN: usize = 3;
/// Numbers of one device in a shadow; few, so that records stay small.
const NUMBERS: u64 = 3;
/// Devices of one fleet that change shadows, and that watch them: what is said grows with both.
const CHANGERS: usize = 4;
const WATCHERS: usize = 5;

/// What a device asks of shadows.
#[derive(Debug, Default)]
pub(super) struct Asks {
    open: VecDeque<Asking>,
    count: u64,
}

/// A request that is not acknowledged.
#[derive(Debug, Clone)]
struct Asking {
    id: u16,
    shadow: usize,
    operation: &'static str,
    token: String,
    payload: String,
}

/// Lets some devices change shadows, and some watch them.
pub(super) fn give_roles(devices: &mut [Device], mut random: Random) {
    let (mut changers, mut watchers) = (0, 0);
    for device in devices {
        if changers < CHANGERS && (changers == 0 || random.percent(60)) {
            changers += 1;
            device.asks = Some(Asks::default());
        }
        // Who goes back is told again what it was told before.
        if watchers < WATCHERS && device.bookmarks.is_none() && random.percent(70) {
            watchers += 1;
            let filter = WATCHED.get(random.place(WATCHED.len())).copied().unwrap_or("#");
            let level = if random.percent(80) { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            device.filters.push((filter.to_owned(), level));
        }
    }
}

impl Asks {
    pub(super) fn is_open(&self, id: u16) -> bool {
        self.open.iter().any(|ask| ask.id == id)
    }

    /// PUBACK came; answers whether it is of one of these.
    pub(super) fn close(&mut self, id: u16) -> bool {
        let before = self.open.len();
        self.open.retain(|ask| ask.id != id);
        self.open.len() < before
    }

    /// The session in which they were asked is over.
    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    /// What is not acknowledged.
    pub(super) fn waiting(&self) -> Vec<&str> {
        self.open.iter().map(|ask| &*ask.token).collect()
    }
}

impl Device {
    /// Asks something of a shadow, if it does at all.
    pub(super) fn ask_of_shadow(&mut self, around: &mut Around) {
        let Some(asks) = &mut self.asks else { return };
        if asks.open.len() >= OPEN {
            return;
        }
        asks.count += 1;
        let (number, name) = (asks.count, &self.name);
        let shadow = usize::from(around.random.percent(30));
        let (operation, token) = match around.random.below(20) {
            0 => ("delete", format!("{name}-x{number}")),
            1..4 => ("get", format!("{name}-g{number}")),
            _ => ("update", format!("{name}-{number}")),
        };
        let state = format!(
            "\"state\":{{\"desired\":{{\"{name}\":{{\"{}\":{number}}}}}}},",
            number % NUMBERS
        );
        let state = if operation == "update" { &*state } else { "" };
        let payload = format!("{{{state}\"clientToken\":\"{token}\"}}");
        let confirmed = around.random.percent(85);
        let id = if confirmed { self.next_id() } else { 0 };
        let ask = Asking { id, shadow, operation, token, payload };
        self.send_ask(&ask, false, around);
        if let Some(asks) = self.asks.as_mut().filter(|_| confirmed) {
            asks.open.push_back(ask);
        }
    }

    /// Sends again what is not acknowledged, in the same order.
    pub(super) fn ask_again(&self, around: &mut Around) {
        for ask in self.asks.iter().flat_map(|asks| &asks.open) {
            self.send_ask(ask, true, around);
        }
    }

    fn send_ask(&self, ask: &Asking, dup: bool, around: &mut Around) {
        let Asking { id, shadow, operation, token, payload } = ask;
        let (Some(link), Some((prefix, key))) = (&self.link, SHADOWS.get(*shadow)) else { return };
        around.truth.asks_of_shadow((link.wire, *id), (key, token), around.now);
        let topic = format!("{prefix}/{operation}");
        let packet_id = PacketId::new(*id);
        let qos = if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let publish = Publish {
            dup,
            qos,
            retain: false,
            topic: &topic,
            packet_id,
            properties: PublishProperties::default(),
            payload: payload.as_bytes(),
        };
        let mut out = Vec::new();
        codec::publish_client(&mut out, self.version, &publish);
        around.note(format_args!(
            "{} asks {token} of {key}, id {id}, dup {dup}, wire {}",
            self.name, link.wire.0
        ));
        self.say(&out, around);
    }

    /// What the fleet publishes itself. Answers whether it is that.
    pub(super) fn hear_of_shadow(&self, publish: &Publish<'_>, around: &mut Around) -> bool {
        if !publish.topic.starts_with("$aws/") {
            return false;
        }
        let Some(link) = &self.link else { return true };
        if let Some(said) = around.truth.told(self, publish, link.wire) {
            let dup = publish.dup;
            around
                .note(format_args!("{} hears {said}, dup {dup}, wire {}", self.name, link.wire.0));
        }
        true
    }
}
