//! Simulated devices: what they want, when they connect and leave. What they say is in `device_packets.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::QoS;
use protocol::mqtt::codec::{self};
use protocol::mqtt::{
    Connect, ConnectProperties, Disconnect, LastWill, ReasonCode, Version, WillProperties,
};

use super::agenda::{Event, Moment, Urge};
use super::around::Around;
use super::device_packets::POSITION;
use super::facts::Talk;
use super::network::{End, WireId};
use super::shadow_device::Asks;
use super::wills::{LastWord, WILL_TOPICS};

/// A device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) index: usize,
    /// It is never switched on.
    pub(super) off: bool,
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) persistent: bool,
    pub(super) receive_maximum: u16,
    /// Its subscriptions have identifiers.
    pub(super) numbered: bool,
    /// What it wants to hear.
    pub(super) filters: Vec<(String, QoS)>,
    /// What it leaves behind.
    pub(super) will: Option<LastWord>,
    /// Milliseconds between publications, on average.
    pub(super) pause_ms: u64,
    /// Reads little and late.
    pub(super) slow: bool,
    pub(super) link: Option<Link>,
    /// Grows with every new session.
    pub(super) life: u32,
    /// The server said once that it has this session.
    pub(super) established: bool,
    /// The next CONNECT asks for a new session.
    pub(super) wants_clean: bool,
    /// What it published and what is not acknowledged.
    pub(super) open: VecDeque<Open>,
    /// QoS 2 ids received and not released.
    pub(super) inbound: BTreeSet<u16>,
    pub(super) last_id: u16,
    pub(super) subscribed: BTreeMap<usize, Subscribed>,
    /// It publishes no more, and only comes back to hear what it missed.
    pub(super) settled: bool,
    /// Its next connect goes there.
    pub(super) next_site: Option<usize>,
    /// It does not connect before then.
    pub(super) away_until: Moment,
    /// What it is shown of positions, if it asks for them.
    pub(super) bookmarks: Option<Bookmarks>,
    /// What it asks of shadows, if it does.
    pub(super) asks: Option<Asks>,
}

/// Positions that a device was shown in its session.
#[derive(Debug, Default)]
pub(super) struct Bookmarks {
    pub(super) seen: Vec<String>,
    /// The one that it showed last, if it did.
    pub(super) shows: String,
}

/// Its network connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) wire: WireId,
    pub(super) up: bool,
    pub(super) inbox: Vec<u8>,
    pub(super) heard: Moment,
    pub(super) reading: bool,
}

/// A publication that is not acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) id: u16,
    pub(super) message: usize,
    /// PUBREC came: only PUBREL is sent again.
    pub(super) released: bool,
}

/// How far a subscription is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subscribed {
    Asked(u16),
    Held,
    Leaving(u16),
}

/// Silence after which a device gives its connection up, in microseconds.
const PATIENCE_US: u64 = 5_000_000;
/// Keep alive, in seconds.
const KEEP_ALIVE_S: u16 = 4;
/// Milliseconds between two pings.
const PING_MS: u64 = 1_500;

impl Device {
    /// Connects somewhere, anew.
    pub(super) fn connect(&mut self, sites: usize, around: &mut Around) {
        if self.link.is_some() {
            return;
        }
        if around.now < self.away_until {
            return around.agenda.at(self.away_until, Event::Device(self.index, Urge::Connect));
        }
        let anywhere = around.random.place(sites);
        let site = self.next_site.take().unwrap_or(anywhere);
        let Some(wire) = around.dial(self.index, site) else {
            // Nobody listens there.
            return self.connect_later(around);
        };
        if !self.persistent || self.wants_clean {
            self.forget_session(around);
        }
        let clean_start = !self.persistent || self.wants_clean;
        around.truth.device_connects(wire, Talk::new(self));
        self.choose_position(around);
        let mut out = Vec::new();
        let v5 = self.version == Version::V5;
        let number = self.will.map(|word| around.truth.wills.promised(self, wire, word));
        let number = number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
        let will = number.to_be_bytes();
        let connect = Connect {
            version: self.version,
            clean_start,
            keep_alive_s: KEEP_ALIVE_S,
            client_id: &self.name,
            will: self.will.map(|word| last_will(word, &will)),
            user_name: None,
            password: None,
            properties: ConnectProperties {
                session_expiry_s: if self.persistent && v5 { 3600 } else { 0 },
                receive_maximum: if v5 { self.receive_maximum } else { u16::MAX },
                user: self.bookmarks.iter().map(|it| (POSITION, it.shows.as_str())).collect(),
                ..ConnectProperties::default()
            },
        };
        codec::connect(&mut out, &connect);
        around.note(format_args!(
            "{} connects to gw-{} by wire {}, clean {clean_start}",
            self.name,
            site + 1,
            wire.0
        ));
        around.send((wire, End::Opener), &out);
        self.set_window(wire, around);
        let now = around.now;
        self.link = Some(Link { wire, up: false, inbox: Vec::new(), heard: now, reading: false });
        around.after_ms(3_000, Event::Device(self.index, Urge::Late(wire)));
    }

    /// Which position it shows: the last, an earlier one, as if what it made of the rest was lost, or none.
    fn choose_position(&mut self, around: &mut Around) {
        let Some(bookmarks) = &mut self.bookmarks else { return };
        let last = bookmarks.seen.len().saturating_sub(1);
        let back = match around.random.below(10) {
            0..6 => 0,
            6..9 => around.random.place(last.min(40) + 1),
            _ => usize::MAX,
        };
        let shows = last.checked_sub(back).and_then(|at| bookmarks.seen.get(at));
        bookmarks.shows = shows.cloned().unwrap_or_default();
    }

    /// Limits what it leaves unread.
    pub(super) fn set_window(&self, wire: WireId, around: &mut Around) {
        let bytes = if self.slow { 300 } else { 16_384 };
        around.network.set_window(wire, End::Opener, bytes);
    }

    fn forget_session(&mut self, around: &mut Around) {
        for open in std::mem::take(&mut self.open) {
            around.truth.abandoned(open.message);
        }
        self.inbound.clear();
        self.subscribed.clear();
        self.asks.iter_mut().for_each(Asks::forget);
        self.bookmarks = self.bookmarks.take().map(|_| Bookmarks::default());
        self.established = false;
        around.truth.session_ends(self.index, self.life, around.now);
        self.life += 1;
    }

    /// The server has no session although it was asked for one.
    pub(super) fn begin_session(&mut self, around: &mut Around) {
        if self.established {
            around.truth.breach("S2", format!("{} came back and found no session", self.name));
        }
        // What a client did not have acknowledged ends with the session.
        for open in std::mem::take(&mut self.open) {
            around.truth.abandoned(open.message);
        }
        self.inbound.clear();
        self.subscribed.clear();
        self.asks.iter_mut().for_each(Asks::forget);
    }

    pub(super) fn connect_later(&mut self, around: &mut Around) {
        let ms = around.random.between(20, 600);
        around.after_ms(ms, Event::Device(self.index, Urge::Connect));
    }

    /// What it is reminded of.
    pub(super) fn remind(&mut self, urge: Urge, sites: usize, around: &mut Around) {
        match urge {
            Urge::Connect => self.connect(sites, around),
            Urge::TurnUp => {
                if !self.off {
                    self.drop_link(false, around);
                    self.connect(sites, around);
                }
            }
            Urge::Late(wire) => {
                if self.link.as_ref().is_some_and(|link| link.wire == wire && !link.up) {
                    around.check_service(&self.name, wire);
                    self.drop_link(true, around);
                }
            }
            Urge::Publish => self.publish_now_and_then(around),
            Urge::Read(wire) => self.read(wire, around),
            Urge::Ping(wire) => self.ping(wire, around),
        }
    }

    fn ping(&mut self, wire: WireId, around: &mut Around) {
        let Some(link) = self.link.as_ref().filter(|link| link.wire == wire && link.up) else {
            return;
        };
        if around.now.since(link.heard) > PATIENCE_US {
            around.note(format_args!("{} hears nothing on wire {}", self.name, wire.0));
            return self.drop_link(true, around);
        }
        let mut out = Vec::new();
        codec::pingreq(&mut out);
        self.say(&out, around);
        around.after_ms(PING_MS, Event::Device(self.index, Urge::Ping(wire)));
    }

    /// Gives its connection up. If it does not close it the gateway learns nothing of that.
    pub(super) fn drop_link(&mut self, closes: bool, around: &mut Around) {
        let Some(link) = self.link.take() else { return };
        around.truth.device_leaves(link.wire, around.now);
        if closes {
            around.close(link.wire, End::Opener);
        }
        self.connect_later(around);
    }

    /// Says goodbye as the standard wants it.
    pub(super) fn say_goodbye(&mut self, around: &mut Around) {
        if self.link.as_ref().is_some_and(|link| link.up) {
            let mut out = Vec::new();
            let goodbye = Disconnect::of(ReasonCode::Success);
            codec::disconnect(&mut out, self.version, &goodbye);
            around.note(format_args!("{} says goodbye", self.name));
            self.say(&out, around);
            if let Some(link) = &self.link
                && !around.network.is_cut(link.wire)
            {
                around.truth.wills.goodbye(link.wire);
            }
            self.drop_link(true, around);
        }
    }

    /// Something came over its wire.
    pub(super) fn handle_arrival(&mut self, wire: WireId, around: &mut Around) {
        let slow = self.slow;
        let Some(link) = self.link.as_mut().filter(|link| link.wire == wire && !link.reading)
        else {
            return;
        };
        link.reading = true;
        let us = if slow { 250_000 } else { 600 };
        let us = around.random.between(us / 10, us);
        around.after_us(us, Event::Device(self.index, Urge::Read(wire)));
    }

    fn read(&mut self, wire: WireId, around: &mut Around) {
        let max = if self.slow { 200 } else { usize::MAX };
        let Some(link) = self.link.as_mut().filter(|link| link.wire == wire) else { return };
        link.reading = false;
        link.heard = around.now;
        let arrived = around.read((wire, End::Opener), max);
        link.inbox.extend_from_slice(&arrived.bytes);
        self.handle_inbox(wire, around);
        let still = self.link.as_ref().is_some_and(|link| link.wire == wire);
        if still && arrived.over {
            around.note(format_args!("{} loses wire {}", self.name, wire.0));
            self.drop_link(true, around);
        } else if still && around.network.is_readable(wire, End::Opener) {
            self.handle_arrival(wire, around);
        }
    }

    fn handle_inbox(&mut self, wire: WireId, around: &mut Around) {
        let Some(link) = &mut self.link else { return };
        let inbox = std::mem::take(&mut link.inbox);
        let mut at = 0;
        loop {
            let rest = inbox.get(at..).unwrap_or_default();
            let len = match codec::frame(rest, u32::MAX) {
                Ok(Some(len)) => len,
                Ok(None) => break,
                Err(violation) => {
                    around.truth.breach("codec", format!("{} got {violation:?}", self.name));
                    return;
                }
            };
            self.handle_bytes(rest.get(..len).unwrap_or_default(), around);
            at += len;
            if self.link.as_ref().is_none_or(|link| link.wire != wire) {
                return;
            }
        }
        if let Some(link) = &mut self.link {
            link.inbox = inbox.get(at..).unwrap_or_default().to_vec();
        }
    }

    pub(super) fn say(&self, bytes: &[u8], around: &mut Around) {
        if let Some(link) = &self.link {
            around.send((link.wire, End::Opener), bytes);
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.up)
    }

    /// A packet id that no exchange uses.
    pub(super) fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).filter(|id| *id <= 500).unwrap_or(1);
            let id = self.last_id;
            let asked = |s: &Subscribed| match s {
                Subscribed::Asked(other) | Subscribed::Leaving(other) => *other == id,
                Subscribed::Held => false,
            };
            let used = self.open.iter().any(|open| open.id == id)
                || self.asks.iter().any(|asks| asks.is_open(id));
            if !used && !self.subscribed.values().any(asked) {
                return id;
            }
        }
    }

    pub(super) fn after_greeting(&self, around: &mut Around) {
        let Some(link) = &self.link else { return };
        around.after_ms(PING_MS, Event::Device(self.index, Urge::Ping(link.wire)));
    }
}

fn last_will(word: LastWord, payload: &[u8]) -> LastWill<'_> {
    LastWill {
        topic: WILL_TOPICS.get(word.topic).copied().unwrap_or_default(),
        payload,
        qos: word.qos,
        retain: false,
        properties: WillProperties { delay_s: word.delay_s, ..WillProperties::default() },
    }
}
