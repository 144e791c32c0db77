//! What those who know the truth write down of publications, connections and subscriptions.

use std::collections::BTreeMap;

use protocol::QoS;
use protocol::mqtt::Version;

use super::agenda::{Moment, Place};
use super::device::Device;
use super::network::WireId;

/// A publication.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) publisher: usize,
    pub(super) topic: usize,
    pub(super) qos: QoS,
    pub(super) kind: Kind,
    /// Its number among those of its publisher, topic and level.
    pub(super) sequence: u32,
    /// How often it was sent.
    pub(super) sent: u32,
    pub(super) first_sent: Moment,
    pub(super) last_sent: Moment,
    /// The connection it was last sent on.
    pub(super) wire: WireId,
    /// It was sent on another one before.
    pub(super) moved: bool,
    /// When and where PUBACK or a good PUBREC was written.
    pub(super) accepted: Option<(Moment, Place)>,
    /// Its publisher will never know what became of it.
    pub(super) abandoned: bool,
}

/// What is special about a publication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) retain: bool,
    /// It has no payload, so nobody can tell which one it is.
    pub(super) empty: bool,
    /// Seconds after which nobody wants it any more.
    pub(super) expiry_s: Option<u32>,
}

/// A connection of a device.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) device: usize,
    pub(super) name: String,
    pub(super) life: u32,
    pub(super) persistent: bool,
    pub(super) slow: bool,
    pub(super) version: Version,
    /// It asked for a new session.
    pub(super) clean: bool,
    /// The front let it in.
    pub(super) accepted: bool,
    pub(super) place: Option<Place>,
    /// When a good CONNACK was written.
    pub(super) connacked: Option<Moment>,
    /// When the device or the gateway let go of it.
    pub(super) ended: Option<Moment>,
    /// When the gateway did, which may hear late of a device that is gone.
    pub(super) dropped: Option<Moment>,
    /// When the gateway gave its session up, before it was told.
    pub(super) given_up: Option<Moment>,
    pub(super) ids: BTreeMap<u16, usize>,
    /// What SUBSCRIBE asked for, and when.
    pub(super) asked: BTreeMap<u16, (String, QoS, Moment)>,
}

/// A subscription from its SUBACK to its end.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) device: usize,
    pub(super) life: u32,
    pub(super) wire: WireId,
    pub(super) persistent: bool,
    pub(super) slow: bool,
    pub(super) filter: String,
    pub(super) qos: QoS,
    /// When SUBSCRIBE was sent.
    pub(super) asked: Moment,
    /// When SUBACK was written.
    pub(super) confirmed: Moment,
    pub(super) ended: Option<Moment>,
    /// When it was surely gone: UNSUBSCRIBE may be lost on its way.
    pub(super) gone: Option<Moment>,
}

/// What a device was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered {
    pub(super) message: usize,
    pub(super) qos: QoS,
    pub(super) dup: bool,
    pub(super) retain: bool,
    /// At QoS 2: its packet id names no open exchange.
    pub(super) fresh: bool,
    /// It came with a position: it may come again, when the device goes back.
    pub(super) placed: bool,
    pub(super) wire: WireId,
}

/// How often a session got a message at one level.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    /// Without DUP.
    pub(super) plain: u32,
    pub(super) all: u32,
}

impl Talk {
    pub(super) fn new(device: &Device) -> Self {
        Self {
            device: device.index,
            name: device.name.clone(),
            life: device.life,
            persistent: device.persistent,
            slow: device.slow,
            version: device.version,
            clean: device.wants_clean || !device.persistent,
            accepted: false,
            place: None,
            connacked: None,
            ended: None,
            dropped: None,
            given_up: None,
            ids: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }
}
