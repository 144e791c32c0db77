//! One peer gateway: its two machines and its two wires. Mirrors `gateway/src/links/peer.rs`.

use protocol::peer::{
    Acceptor, Dialler, Frame, FrameBuffer, Identity, InterestNews, OwnInterest, PeerViolation,
};
use protocol::{Incarnation, Now};
use tidegate::links::PeerAddress;

use super::agenda::{Event, Moment, Place};
use super::around::Around;
use super::links::limits;
use super::network::{End, WireId};

/// Which of a peer's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Dialled,
    Accepted,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Peer {
    place: Place,
    pub(super) site: usize,
    pub(super) recorded: Incarnation,
    pub(super) dialler: Dialler,
    pub(super) acceptor: Acceptor,
    dialled: Option<(WireId, FrameBuffer)>,
    accepted: Option<(WireId, FrameBuffer)>,
    /// The attempt that counts, and when it begins.
    number: u64,
    due: Moment,
    pub(super) backoff_ms: u64,
    /// Whether it was dialled at once because it had dialled us, since it welcomed us last.
    pub(super) prompted: bool,
    pub(super) told_up: bool,
    /// After which of our absences it said what it wants; none before it did.
    pub(super) heard: Option<u64>,
}

/// Bytes on their way above which nothing more is written.
const WRITE_BYTES: usize = 12 * 1024;

impl Peer {
    /// A peer that is dialled at once; its address is its site's number.
    pub(super) fn new(
        place: Place,
        me: Identity,
        record: PeerAddress,
        known: Option<Acceptor>,
        around: &mut Around,
    ) -> Self {
        let site = record.address.parse().unwrap_or(usize::MAX);
        let mut peer = Self {
            place,
            site,
            recorded: record.incarnation,
            dialler: Dialler::new(me.clone(), record.gateway.clone(), limits()),
            acceptor: known.unwrap_or_else(|| Acceptor::new(me, record.gateway, limits())),
            dialled: None,
            accepted: None,
            // So that no attempt of an earlier peer of this name counts.
            number: around.agenda.count(),
            due: around.now,
            backoff_ms: 50,
            prompted: false,
            told_up: false,
            heard: None,
        };
        peer.dial(0, around);
        peer
    }

    fn dial(&mut self, pause_ms: u64, around: &mut Around) {
        self.number += 1;
        self.due = around.now.plus_ms(pause_ms);
        let us = around.random.between(200, 3_000);
        let event = Event::Dial(self.place, self.site, self.number);
        around.after_us(pause_ms * 1000 + us, event);
    }

    pub(super) fn has(&self, wire: WireId) -> bool {
        [&self.dialled, &self.accepted].into_iter().flatten().any(|(w, _)| *w == wire)
    }

    pub(super) fn wires(&self) -> Vec<WireId> {
        [&self.dialled, &self.accepted].into_iter().flatten().map(|(w, _)| *w).collect()
    }

    /// Dialling has come to an end.
    pub(super) fn handle_dialled(
        &mut self,
        number: u64,
        wire: Option<WireId>,
        now: Now,
        around: &mut Around,
    ) {
        if number != self.number || self.dialled.is_some() {
            if let Some(wire) = wire {
                around.close(wire, End::Opener);
            }
            return;
        }
        match wire {
            Some(wire) => {
                self.dialled = Some((wire, FrameBuffer::new(limits().max_frame_bytes)));
                self.dialler.handle_connected(now);
            }
            None => self.redial(around),
        }
    }

    /// The peer has dialled us. A newer connection replaces an older one, which may be half dead.
    pub(super) fn handle_accepted(
        &mut self,
        wire: WireId,
        buffer: FrameBuffer,
        (hello, incarnation): (Frame, Incarnation),
        now: Now,
        around: &mut Around,
    ) {
        let known = self.acceptor.incarnation().max(Some(self.recorded));
        if known > Some(incarnation) {
            return around.close(wire, End::Accepter);
        }
        if let Some((old, _)) = self.accepted.replace((wire, buffer)) {
            around.close(old, End::Accepter);
        }
        self.heard = None;
        self.acceptor.handle_connected(now);
        match self.acceptor.handle_frame(now, hello) {
            Ok(()) => self.take_frames(Side::Accepted, now, around),
            Err(violation) => self.give_up(Side::Accepted, &violation, around),
        }
        if self.dialled.is_none() && self.due > around.now && !self.prompted {
            self.prompted = true;
            self.backoff_ms = 50;
            self.dial(0, around);
        }
    }

    /// Something came over one of the wires.
    pub(super) fn read(&mut self, side: Side, wire: WireId, now: Now, around: &mut Around) {
        let (place, end) = match side {
            Side::Dialled => (&mut self.dialled, End::Opener),
            Side::Accepted => (&mut self.accepted, End::Accepter),
        };
        let Some((_, buffer)) = place.as_mut().filter(|(w, _)| *w == wire) else { return };
        let arrived = around.read((wire, end), usize::MAX);
        buffer.space().extend_from_slice(&arrived.bytes);
        self.take_frames(side, now, around);
        if arrived.over && self.has(wire) {
            let (me, site) = (self.place.site + 1, self.site + 1);
            around.note(format_args!("gw-{me} lost its {side:?} wire with gw-{site}"));
            self.lose(side, around);
        }
    }

    fn take_frames(&mut self, side: Side, now: Now, around: &mut Around) {
        loop {
            let place = match side {
                Side::Dialled => &mut self.dialled,
                Side::Accepted => &mut self.accepted,
            };
            let Some((_, buffer)) = place else { return };
            let handled = match (buffer.take(), side) {
                (Ok(None), _) => return,
                (Ok(Some(frame)), Side::Dialled) => self.dialler.handle_frame(now, frame),
                (Ok(Some(frame)), Side::Accepted) => self.acceptor.handle_frame(now, frame),
                (Err(error), _) => Err(error.into()),
            };
            if let Err(violation) = handled {
                return self.give_up(side, &violation, around);
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Now, around: &mut Around) {
        if let Err(violation) = self.dialler.handle_timeout(now) {
            self.give_up(Side::Dialled, &violation, around);
        }
        if let Err(violation) = self.acceptor.handle_timeout(now) {
            self.give_up(Side::Accepted, &violation, around);
        }
    }

    pub(super) fn interest_changed(&mut self, news: &InterestNews, around: &mut Around) {
        if let Err(violation) = self.dialler.interest_changed(news) {
            self.give_up(Side::Dialled, &violation, around);
        }
    }

    /// It says all that it wants over its next connection.
    pub(super) fn ask_anew(&mut self, around: &mut Around) {
        self.lose(Side::Accepted, around);
    }

    /// Writes what the machines want written, unless too much is still on its way.
    pub(super) fn pump(&mut self, interest: &OwnInterest, around: &mut Around) {
        let mut out = Vec::new();
        if let Some((wire, _)) = &self.dialled
            && around.network.on_its_way(*wire, End::Opener) < WRITE_BYTES
            && self.dialler.poll_write(&mut out, interest)
        {
            around.send((*wire, End::Opener), &out);
        }
        self.answer(around);
    }

    fn answer(&mut self, around: &mut Around) {
        let mut out = Vec::new();
        if let Some((wire, _)) = &self.accepted
            && around.network.on_its_way(*wire, End::Accepter) < WRITE_BYTES
            && self.acceptor.poll_write(&mut out)
        {
            around.send((*wire, End::Accepter), &out);
        }
    }

    fn give_up(&mut self, side: Side, violation: &PeerViolation, around: &mut Around) {
        let (me, site) = (self.place.site + 1, self.site + 1);
        around.note(format_args!("gw-{me} gives up a wire with gw-{site}: {violation}"));
        if side == Side::Accepted {
            self.answer(around);
        }
        self.lose(side, around);
    }

    fn lose(&mut self, side: Side, around: &mut Around) {
        match side {
            Side::Dialled => self.redial(around),
            Side::Accepted => {
                if let Some((wire, _)) = self.accepted.take() {
                    around.close(wire, End::Accepter);
                }
                self.heard = None;
                self.acceptor.handle_lost();
            }
        }
    }

    fn redial(&mut self, around: &mut Around) {
        if let Some((wire, _)) = self.dialled.take() {
            around.close(wire, End::Opener);
        }
        self.dialler.handle_lost();
        let pause_ms = around.random.between(self.backoff_ms / 2, self.backoff_ms);
        self.backoff_ms = (self.backoff_ms * 2).min(1000);
        self.dial(pause_ms, around);
    }

    /// The peer is no longer among the living: what was known of it is void, but for what it has forwarded.
    pub(super) fn leave(&mut self, around: &mut Around) {
        for (wire, end) in
            [(self.dialled.take(), End::Opener), (self.accepted.take(), End::Accepter)]
        {
            if let Some((wire, _)) = wire {
                around.close(wire, end);
            }
        }
        self.dialler.handle_lost();
        self.acceptor.handle_given_up();
    }
}
