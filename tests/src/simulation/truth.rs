//! Those who know the truth: what was published, acknowledged, subscribed, delivered, and when.
//!
//! They see what devices send and receive, what gateways write to their sockets (when it is written, not when it
//! leaves), and what the store takes. What may be concluded from it stands in `promises.rs` and `owners.rs`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::mqtt::codec::{self, Sender};
use protocol::mqtt::{Packet, ReasonCode};
use protocol::session::WhenFull;
use protocol::{Publication, QoS};
use store::{Doc, Outcome, Write};

use super::agenda::{Moment, Place};
use super::device_packets::TOPICS;
use super::facts::{Kind, Message, Seen, Span, Talk};
use super::forwards::Forwards;
use super::groups::Groups;
use super::journal::Journal;
use super::network::WireId;
use super::owners::{self, Owners};
use super::resumes::Resumes;
use super::retained::Keepsakes;
use super::shadows::Shadows;
use super::wills::Wills;

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Which, as in `promises.md`.
    pub promise: &'static str,
    /// How.
    pub what: String,
}

/// Publisher, topic, published and delivered level, whose session, and which connection if it matters.
pub(super) type Stream = (usize, usize, u8, u8, (usize, u32), Option<WireId>);

/// A document as it stands in the store, by its key.
pub(super) type Standing = (Bytes, Doc);

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) messages: Vec<Message>,
    sequences: BTreeMap<(usize, usize, u8), u32>,
    pub(super) talks: BTreeMap<WireId, Talk>,
    pub(super) spans: Vec<Span>,
    pub(super) seen: BTreeMap<(usize, u32, usize, u8), Seen>,
    /// What came at QoS 0, by connection.
    pub(super) at_most_once: BTreeMap<(WireId, usize), u32>,
    /// The newest sequence of each stream, and its publisher's connection.
    pub(super) newest: BTreeMap<Stream, (u32, WireId)>,
    pub(super) owners: Owners,
    pub(super) wills: Wills,
    pub(super) keepsakes: Keepsakes,
    pub(super) shadows: Shadows,
    pub(super) groups: Groups,
    /// What becomes of messages for which there is no room, where queues are short.
    pub(super) full: Option<WhenFull>,
    /// What each gateway says at the end that a device did not get for want of room: device, site.
    pub(super) dropped: BTreeMap<(usize, usize), u64>,
    /// Whether holes that README names count as breaches too.
    pub(super) strict: bool,
    pub(super) forwards: Forwards,
    pub(super) resumes: Resumes,
    /// When gateways could not reach or answer each other as usual: from, until.
    pub(super) troubles: Vec<(Moment, Moment)>,
    /// Until when something hindered a gateway itself: site, until.
    pub(super) hindered: Vec<(usize, Moment)>,
    /// When a gateway that was frozen ran again.
    pub(super) thaws: Vec<(Place, Moment)>,
    /// Times at which a gateway lost its memory, or others thought so.
    pub(super) losses: Vec<Moment>,
    /// Publishers whose sessions began anew by a CONNECT that they had given up, and when.
    pub(super) anew: Vec<(usize, Moment)>,
    /// A wall clock was set.
    pub(super) clocks_moved: bool,
    /// Gateways that serve although they do not know a peer's interest.
    pub(super) unsynced: BTreeSet<Place>,
    breaches: Vec<Breach>,
}

impl Truth {
    pub(super) const fn new(strict: bool) -> Self {
        Self {
            messages: Vec::new(),
            sequences: BTreeMap::new(),
            talks: BTreeMap::new(),
            spans: Vec::new(),
            seen: BTreeMap::new(),
            at_most_once: BTreeMap::new(),
            newest: BTreeMap::new(),
            owners: Owners::new(),
            wills: Wills::new(),
            keepsakes: Keepsakes::new(),
            shadows: Shadows::new(),
            groups: Groups::new(),
            full: None,
            dropped: BTreeMap::new(),
            strict,
            forwards: Forwards::new(),
            resumes: Resumes::new(),
            troubles: Vec::new(),
            hindered: Vec::new(),
            thaws: Vec::new(),
            losses: Vec::new(),
            anew: Vec::new(),
            clocks_moved: false,
            unsynced: BTreeSet::new(),
            breaches: Vec::new(),
        }
    }

    pub(super) fn breach(&mut self, promise: &'static str, what: String) {
        self.breaches.push(Breach { promise, what });
    }

    pub(super) fn first_breach(&self) -> Option<&Breach> {
        self.breaches.first()
    }

    pub(super) fn new_message(
        &mut self,
        publisher: usize,
        topic: usize,
        (qos, kind): (QoS, Kind),
        now: Moment,
    ) -> usize {
        let sequence = self.sequences.entry((publisher, topic, qos.bits())).or_default();
        *sequence += 1;
        self.messages.push(Message {
            publisher,
            topic,
            qos,
            kind,
            sequence: *sequence,
            sent: 0,
            first_sent: now,
            last_sent: now,
            wire: WireId(0),
            moved: false,
            accepted: None,
            abandoned: false,
        });
        self.messages.len() - 1
    }

    /// A device sends a publication. Answers its topic and level.
    pub(super) fn sends(
        &mut self,
        message: usize,
        wire: WireId,
        id: u16,
        now: Moment,
    ) -> Option<(&'static str, QoS, Kind)> {
        let known = self.messages.get_mut(message)?;
        if known.sent == 0 {
            known.first_sent = now;
        } else {
            known.moved |= known.wire != wire;
        }
        known.wire = wire;
        known.last_sent = now;
        known.sent += 1;
        if let Some(talk) = self.talks.get_mut(&wire) {
            talk.ids.insert(id, message);
        }
        Some((TOPICS.get(known.topic)?, known.qos, known.kind))
    }

    pub(super) fn abandoned(&mut self, message: usize) {
        if let Some(message) = self.messages.get_mut(message) {
            message.abandoned = true;
        }
    }

    pub(super) fn device_connects(&mut self, wire: WireId, talk: Talk) {
        self.talks.insert(wire, talk);
    }

    pub(super) fn accepted(&mut self, wire: WireId) {
        if let Some(talk) = self.talks.get_mut(&wire) {
            talk.accepted = true;
        }
    }

    pub(super) fn is_accepted(&self, wire: WireId) -> bool {
        self.talks.get(&wire).is_some_and(|talk| talk.accepted)
    }

    pub(super) fn connection_begins(&mut self, wire: WireId, place: Place) {
        if let Some(talk) = self.talks.get_mut(&wire) {
            talk.place = Some(place);
        }
    }

    /// Either side lets go of a connection.
    pub(super) fn connection_ends(&mut self, wire: WireId, now: Moment) {
        self.wills.left(wire, now);
        if let Some(talk) = self.talks.get_mut(&wire) {
            talk.ended.get_or_insert(now);
        }
    }

    /// A gateway lets go of a connection.
    pub(super) fn gateway_drops(&mut self, wire: WireId, now: Moment) {
        self.connection_ends(wire, now);
        if let Some(talk) = self.talks.get_mut(&wire) {
            talk.dropped.get_or_insert(now);
        }
    }

    /// A device reads little from now on, or as usual again: nothing live is owed to this connection.
    pub(super) fn slows(&mut self, wire: WireId, slow: bool) {
        if let Some(talk) = self.talks.get_mut(&wire) {
            talk.slow |= slow;
        }
        for span in self.spans.iter_mut().filter(|span| span.wire == wire) {
            span.slow |= slow;
        }
    }

    pub(super) fn device_leaves(&mut self, wire: WireId, now: Moment) {
        self.connection_ends(wire, now);
    }

    pub(super) fn session_ends(&mut self, device: usize, life: u32, now: Moment) {
        self.wills.renewed((device, life), now);
        self.groups.session_ends((device, life), now);
        for span in self.spans.iter_mut().filter(|s| s.device == device && s.life == life) {
            span.ended.get_or_insert(now);
            span.gone.get_or_insert(now);
        }
    }

    pub(super) fn subscribes(
        &mut self,
        (wire, id): (WireId, u16),
        (filter, qos): (&str, QoS),
        now: Moment,
    ) {
        if let Some(talk) = self.talks.get_mut(&wire) {
            talk.asked.insert(id, (filter.to_owned(), qos, now));
        }
    }

    pub(super) fn unsubscribes(&mut self, device: usize, filter: &str, now: Moment) {
        self.shadows.forgets(device, filter);
        for span in self.spans.iter_mut().filter(|s| s.device == device && s.filter == filter) {
            span.ended.get_or_insert(now);
        }
    }

    /// UNSUBACK came.
    pub(super) fn unsubscribed(&mut self, device: usize, filter: &str, now: Moment) {
        let ended = |s: &&mut Span| s.device == device && s.filter == filter && s.ended.is_some();
        for span in self.spans.iter_mut().filter(ended) {
            span.gone.get_or_insert(now);
        }
    }

    /// A gateway's memory is gone.
    pub(super) fn crashed(&mut self, place: Place, now: Moment) {
        self.losses.push(now);
        self.unsynced.remove(&place);
        for (wire, talk) in self.talks.iter_mut().filter(|(_, talk)| talk.place == Some(place)) {
            talk.ended.get_or_insert(now);
            talk.dropped.get_or_insert(now);
            self.wills.left(*wire, now);
        }
    }

    /// A gateway thinks that another one is gone.
    pub(super) fn lease_lost(&mut self, now: Moment) {
        self.losses.push(now);
        self.trouble(now, now);
    }

    /// A gateway serves although it could not reach a live peer for long.
    pub(super) fn opened_late(&mut self, place: Place, _now: Moment) {
        self.unsynced.insert(place);
    }

    pub(super) fn committed(
        &mut self,
        place: Place,
        writes: &[Write],
        outcomes: &[Outcome],
        now: Moment,
        journal: &mut Journal,
    ) {
        for (write, outcome) in writes.iter().zip(outcomes) {
            self.resumes.stored(write, outcome, (now, journal));
            if let Outcome::Done { .. } = outcome {
                self.keepsakes.stored(write, now);
                if let Err(what) = self.shadows.stored(write, now) {
                    self.breach("V2", what);
                }
                if let Err(what) = self.owners.stored(place, write, now, journal) {
                    self.breach("S1", what);
                }
                self.given_up(place, write, now);
                self.begun_anew(place, write, now);
            }
        }
    }

    /// A gateway gave sessions up: with that their connections are over, though it may not have told them yet. Others may read
    /// the log before it hears of its own commit.
    fn given_up(&mut self, place: Place, write: &Write, now: Moment) {
        for name in owners::given_up(write) {
            let theirs = |talk: &Talk| {
                let here = talk.place == Some(place) && talk.connacked.is_some();
                here && talk.name.as_bytes() == &name[..]
            };
            for (wire, talk) in self.talks.iter_mut().filter(|(_, talk)| theirs(talk)) {
                talk.given_up.get_or_insert(now);
                self.wills.left(*wire, now);
            }
        }
    }

    /// A gateway died, perhaps in a commit of which nobody was told.
    pub(super) fn look_at_store(
        &mut self,
        place: Place,
        (stands, retained, shadows): (&[Standing], &[Standing], &[Standing]),
        now: Moment,
        journal: &mut Journal,
    ) {
        self.keepsakes.stands(retained, now);
        self.shadows_stand(shadows, now);
        let unseen = self.owners.unseen(stands);
        if let Err(what) = self.owners.stored(place, &unseen, now, journal) {
            self.breach("S1", what);
        }
    }

    /// A gateway wrote packets to a connection's outbox.
    pub(super) fn gateway_wrote(
        &mut self,
        wire: WireId,
        place: Place,
        bytes: &[u8],
        now: Moment,
        journal: &mut Journal,
    ) {
        let Some(version) = self.talks.get(&wire).map(|talk| talk.version) else { return };
        let mut rest = bytes;
        while let Ok(Some(len)) = codec::frame(rest, u32::MAX) {
            let (packet, after) = rest.split_at(len);
            rest = after;
            match codec::decode(packet, version, Sender::Server) {
                Ok(packet) => self.see(wire, place, &packet, now, journal),
                Err(violation) => {
                    self.breach("codec", format!("gw-{} wrote {violation:?}", place.site + 1));
                }
            }
        }
        if !rest.is_empty() {
            self.breach("codec", format!("gw-{} wrote half a packet", place.site + 1));
        }
    }

    fn see(
        &mut self,
        wire: WireId,
        place: Place,
        packet: &Packet<'_>,
        now: Moment,
        journal: &mut Journal,
    ) {
        match packet {
            Packet::ConnAck(ack) if ack.reason == ReasonCode::Success => {
                if let Some(talk) = self.talks.get_mut(&wire) {
                    talk.connacked = Some(now);
                    journal.note(
                        now,
                        format_args!(
                            "gw-{} lets {} in, wire {}",
                            place.site + 1,
                            talk.name,
                            wire.0
                        ),
                    );
                    let device = talk.device;
                    self.wills.greeted((device, talk.life), wire, now);
                    let contested = self.was_trouble(now, now);
                    self.owners.attached(device, wire, (place, now), contested);
                }
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) if !ack.reason.is_error() => {
                self.see_service(wire, place, ("S4", "acknowledges"), now);
                let talk = self.talks.get(&wire);
                let message = talk.and_then(|talk| talk.ids.get(&ack.packet_id.get())).copied();
                if let Some(number) = message
                    && let Some(message) = self.messages.get_mut(number)
                    && message.accepted.is_none()
                {
                    message.accepted = Some((now, place));
                    journal.note(now, format_args!("gw-{} has m{number}", place.site + 1));
                }
            }
            Packet::SubAck(ack) => {
                self.confirm(wire, ack.packet_id.get(), &ack.reasons, now, journal);
            }
            Packet::Publish(publish) => {
                self.see_publish(publish, now);
                self.see_shadow(publish);
                self.see_service(wire, place, ("S1", "delivers"), now);
            }
            Packet::PubComp(_) => self.see_service(wire, place, ("S4", "answers"), now),
            Packet::ConnAck(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Disconnect(_)
            | Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Auth(_) => {}
        }
    }

    /// Only who owns a session serves its client.
    fn see_service(
        &mut self,
        wire: WireId,
        place: Place,
        (promise, does): (&'static str, &str),
        now: Moment,
    ) {
        let Some(talk) = self.talks.get(&wire) else { return };
        let mut thaws = self.thaws.iter().rev().filter(|(at, until)| *at == place && *until <= now);
        let awake = thaws.next().map(|(_, until)| *until).unwrap_or_default();
        let acknowledged = talk.given_up.filter(|_| promise == "S4");
        if acknowledged.is_some_and(|at| now.since(at.max(awake)) <= owners::ANSWER_US) {
            return;
        }
        let device = (talk.device, &*talk.name);
        let served = self.owners.serves(device, wire, (place, does), (now, awake));
        if let Err(what) = served {
            self.breach(promise, what);
        }
    }

    fn confirm(
        &mut self,
        wire: WireId,
        id: u16,
        reasons: &[ReasonCode],
        now: Moment,
        journal: &mut Journal,
    ) {
        let Some(talk) = self.talks.get_mut(&wire) else { return };
        let Some((filter, qos, asked)) = talk.asked.remove(&id) else { return };
        if reasons.iter().any(|reason| reason.is_error()) {
            return;
        }
        journal.note(now, format_args!("{} has its SUBACK for {filter}", talk.name));
        let (device, life) = (talk.device, talk.life);
        let open = |s: &Span| {
            s.device == device && s.life == life && s.filter == filter && s.ended.is_none()
        };
        if !self.spans.iter().any(open) {
            self.spans.push(Span {
                device,
                life,
                wire,
                persistent: talk.persistent,
                slow: talk.slow,
                filter,
                qos,
                asked,
                confirmed: now,
                ended: None,
                gone: None,
            });
        }
    }
}

/// The number of the message that a publication is.
pub(super) fn message_of(publication: &Publication) -> usize {
    number_of(publication.payload()).unwrap_or(usize::MAX)
}

/// The number that a payload begins with.
pub(super) fn number_of(payload: &[u8]) -> Option<usize> {
    // What the fleet says itself is JSON.
    let payload = payload.first_chunk::<4>().filter(|bytes| bytes[0] != b'{');
    payload.and_then(|bytes| usize::try_from(u32::from_be_bytes(*bytes)).ok())
}
