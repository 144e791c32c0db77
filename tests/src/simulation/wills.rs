//! What may be concluded about wills.
//!
//! 1. A will is received at most as often as one publication may be (M4), whoever looked after it.
//! 2. It is not published before its connection is over and its delay has passed, and not at all if its client came back to
//!    the same session within that time. For a client that was moved, the delay is at least the wait for moved clients
//!    (D1).
//! 3. If neither came in time nor said goodbye nor was moved, every persistent session whose SUBACK was written before
//!    receives it.
//!
//! A goodbye counts once it has come: where the client's next CONNECT overtakes it, the session is taken from a connection that is
//! over without one, as far as anybody can know, and the will may be published `[MQTT5-3.1.2-8]`. What has come before the
//! gateway lets go must have been heard.
//!
//! Excused is what happens around a loss of memory, of a lease, or while gateways cannot reach each other: then nobody
//! can say when the connection was over.

use std::collections::BTreeMap;

use protocol::{QoS, matches};

use super::agenda::Moment;
use super::device::Device;
use super::facts::{Delivered, Seen};
use super::network::WireId;
use super::truth::Truth;

/// Topics of wills.
pub(super) const WILL_TOPICS: [&str; 2] = ["w/0", "w/1"];
/// Payloads of wills begin here; below are publications.
pub(super) const WILLS_FROM: usize = 0x8000_0000;
/// How long a client that was moved may take to come back, at least, in milliseconds.
pub(super) const MOVED_WAIT_MS: u64 = 3_000;

/// What a device leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastWord {
    pub(super) topic: usize,
    pub(super) qos: QoS,
    /// 0 before 5.0.
    pub(super) delay_s: u32,
}

/// A will, from its CONNECT on.
#[derive(Debug)]
struct Will {
    device: usize,
    life: u32,
    persistent: bool,
    wire: WireId,
    word: LastWord,
    /// Its CONNACK was written.
    greeted: bool,
    /// When the first of both sides, or the network, let go of the connection.
    left: Option<Moment>,
    goodbye: bool,
    /// Its session was wanted elsewhere before a goodbye could be heard.
    overtaken: bool,
    moved: bool,
    /// When its client asked for a new session.
    renewed: Option<Moment>,
    /// When the next CONNACK of its client was written, and in which life.
    back: Option<(Moment, u32)>,
}

/// All wills.
#[derive(Debug)]
pub(super) struct Wills {
    wills: Vec<Will>,
    seen: BTreeMap<(usize, u32, usize, u8), Seen>,
    at_most_once: BTreeMap<(WireId, usize), u32>,
}

/// What clocks may differ by, and what a gateway takes to notice, in microseconds.
const SLACK_US: u64 = 400_000;
/// What the end of a connection may take to be noticed where nobody says so, and to be acted upon, in microseconds.
const NOTICE_US: u64 = 10_000_000;
/// How long before and after a loss nobody can say what a gateway knew, in microseconds.
const DOUBT_US: u64 = 8_000_000;

impl Wills {
    pub(super) const fn new() -> Self {
        Self { wills: Vec::new(), seen: BTreeMap::new(), at_most_once: BTreeMap::new() }
    }

    /// A device connects with a will. Answers its number.
    pub(super) fn promised(&mut self, device: &Device, wire: WireId, word: LastWord) -> usize {
        self.wills.push(Will {
            device: device.index,
            life: device.life,
            persistent: device.persistent,
            wire,
            word,
            greeted: false,
            left: None,
            goodbye: false,
            overtaken: false,
            moved: false,
            renewed: None,
            back: None,
        });
        WILLS_FROM + self.wills.len() - 1
    }

    /// A good CONNACK was written.
    pub(super) fn greeted(&mut self, (device, life): (usize, u32), wire: WireId, now: Moment) {
        for will in self.wills.iter_mut().filter(|will| will.device == device) {
            if will.wire == wire {
                will.greeted = true;
                // Who was let in before came before, though it may have connected later.
                will.back = None;
            } else {
                will.back.get_or_insert((now, life));
            }
        }
    }

    /// A device asks for a new session.
    pub(super) fn renewed(&mut self, (device, life): (usize, u32), now: Moment) {
        let of = |will: &&mut Will| (will.device, will.life) == (device, life);
        for will in self.wills.iter_mut().filter(of) {
            will.renewed.get_or_insert(now);
        }
    }

    pub(super) fn left(&mut self, wire: WireId, now: Moment) {
        if let Some(will) = self.of(wire) {
            will.left.get_or_insert(now);
        }
    }

    pub(super) fn goodbye(&mut self, wire: WireId) {
        if let Some(will) = self.of(wire) {
            will.goodbye = true;
        }
    }

    /// Its session is wanted by a connection elsewhere; whether something that its client said is still on its way.
    pub(super) fn overtaken(&mut self, wire: WireId, unheard: bool) {
        if let Some(will) = self.of(wire) {
            will.overtaken |= unheard || !will.goodbye;
        }
    }

    pub(super) fn moved(&mut self, wire: WireId) {
        if let Some(will) = self.of(wire) {
            will.moved = true;
        }
    }

    fn of(&mut self, wire: WireId) -> Option<&mut Will> {
        self.wills.iter_mut().find(|will| will.wire == wire)
    }
}

impl Will {
    /// How long it waits once its connection is over, in microseconds.
    fn wait_us(&self) -> u64 {
        let own_ms = if self.persistent { u64::from(self.word.delay_s) * 1000 } else { 0 };
        let delay_ms = u64::from(self.word.delay_s) * 1000;
        let wait_ms = if self.moved { delay_ms.max(MOVED_WAIT_MS) } else { own_ms };
        wait_ms * 1000
    }

    /// Whether it must not be published yet, or ever.
    fn is_silent(&self, now: Moment) -> bool {
        let Some(left) = self.left else { return true };
        let due = left.plus_us(self.wait_us());
        // A new session ends the old one, and its will is due with it unless its client was moved.
        let (until, due) = match self.back {
            Some((back, life)) if life != self.life && !self.moved => (now, due.min(back)),
            Some((back, _)) => (back.min(now), due),
            // The store may have a new session whose CONNACK is still on its way.
            None => (now, self.renewed.filter(|_| !self.moved).map_or(due, |at| due.min(at))),
        };
        until.plus_us(SLACK_US) < due
    }

    /// Whether it must have been published by the end.
    fn is_due(&self, end: Moment) -> bool {
        let Some(left) = self.left.filter(|_| self.greeted && !self.goodbye && !self.moved) else {
            return false;
        };
        let ended = self.back.is_some_and(|(_, life)| life != self.life);
        let until = self.back.map_or(end, |(back, _)| back);
        let at_once = self.wait_us() == 0 || ended;
        let late = left.plus_us(self.wait_us()).plus_us(NOTICE_US) < until;
        (at_once || late) && left.plus_us(NOTICE_US) < end
    }
}

impl Truth {
    /// A gateway lets go of a connection: its client is told, and may take its time to close.
    pub(super) fn let_go(&mut self, wire: WireId, moved: bool, now: Moment) {
        self.wills.left(wire, now);
        if moved {
            self.wills.moved(wire);
        }
    }

    /// A device got a will.
    pub(super) fn received_will(&mut self, device: &Device, delivered: Delivered, now: Moment) {
        let Delivered { message: number, qos, dup, fresh, wire, placed, .. } = delivered;
        let Some(will) = self.wills.wills.get(number - WILLS_FROM) else {
            let what = format!("{} got will {number}, which nobody has", device.name);
            return self.breach("M4", what);
        };
        let (left, of) = (will.left.unwrap_or(now), will.device);
        let silent = will.is_silent(now);
        // Nobody needs it any more, whatever happened to the connection afterwards.
        let silent = silent || (will.goodbye && !will.overtaken);
        if silent && !self.was_loss(left, now) {
            let what = format!(
                "{} got the will of d{of}, which left {:?}, came back {:?}, moved {}, said goodbye {}",
                device.name, will.left, will.back, will.moved, will.goodbye
            );
            return self.breach("D1", what);
        }
        let key = (device.index, device.life, number, qos.bits());
        let seen = self.wills.seen.entry(key).or_default();
        let first = seen.all == 0;
        seen.all += 1;
        seen.plain += u32::from(!dup);
        let too_often = match qos {
            QoS::AtMostOnce => {
                let times = self.wills.at_most_once.entry((wire, number)).or_default();
                *times += 1;
                *times > 1
            }
            QoS::AtLeastOnce => seen.plain > 1,
            QoS::ExactlyOnce => fresh && !first,
        };
        if too_often && !placed {
            let what = format!("{} got the will of d{of} again at {qos:?}", device.name);
            self.breach("M4", what);
        }
    }

    /// The end: every will that had to be published has arrived where it was owed.
    pub(super) fn conclude_wills(&mut self, end: Moment) {
        if self.clocks_moved || self.full.is_some() {
            // They wait for a time of day, or there may be no room for them.
            return;
        }
        let mut missing = None;
        for (at, will) in self.wills.wills.iter().enumerate() {
            let Some(left) = will.left.filter(|_| will.is_due(end)) else { continue };
            if self.was_loss(left, left.plus_us(will.wait_us() + NOTICE_US)) {
                continue;
            }
            let topic = WILL_TOPICS.get(will.word.topic).copied().unwrap_or_default();
            let owed = self.spans.iter().find(|span| {
                let stands = span.confirmed.plus_us(SLACK_US) < left && span.ended.is_none();
                let level = span.qos.min(will.word.qos);
                let key = |level| (span.device, span.life, WILLS_FROM + at, level);
                let came = self.wills.seen.range(key(0)..=key(2)).next().is_some();
                let wanted = stands && span.persistent && matches(&span.filter, topic);
                wanted && level != QoS::AtMostOnce && !came
            });
            if let Some(span) = owed {
                let to = (span.device, &span.filter);
                missing = Some(format!(
                    "the will of d{} on wire {}, left {left:?}, never came to {to:?}",
                    will.device, will.wire.0
                ));
                break;
            }
        }
        if let Some(what) = missing {
            self.breach("M7", what);
        }
    }

    /// Whether memory, a lease or the way between gateways was lost around these times.
    fn was_loss(&self, from: Moment, until: Moment) -> bool {
        let from = Moment(from.0.saturating_sub(DOUBT_US));
        let until = until.plus_us(DOUBT_US);
        self.losses.iter().any(|at| *at >= from && *at <= until) || self.was_trouble(from, until)
    }

    /// Wills that were received.
    pub(super) fn wills_received(&self) -> u64 {
        self.wills.seen.values().map(|seen| u64::from(seen.all)).sum()
    }
}
