//! How a connection and its session part: goodbye, loss, takeover, hand-over, and what the will does then.

use std::time::Duration;

use fanout::Slot;
use protocol::mqtt::{Disconnect, ReasonCode};
use protocol::peer::ReleaseOutcome;
use protocol::session::{SessionRecord, StoredWill};
use protocol::{ClientId, Now, Publication, Violation};
use shadow::DisconnectReason;
use store::{Expect, Put, Trim};

use crate::hub::connection::State;
use crate::hub::output::{Abandoned, Farewell};
use crate::hub::session::lately::Trace;
use crate::hub::session::live::{Live, delete_by_owner, delete_will, put_by_owner, put_will};
use crate::hub::session::untold::Change;
use crate::hub::{Ask, Close, ConnId, Fx, Hub, Outlet, Output, Parting, Record, Turn};
use crate::presence::delete_order;
use crate::tail::left_by;

/// What happens to the will of a session that loses its connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WillFate {
    /// Forgotten: the client said goodbye `[MQTT5-3.1.2-10]`.
    #[default]
    Dropped,
    /// Published after its delay, or when the session ends if that is sooner `[MQTT5-3.1.2-8]`.
    Due,
    /// Waits for the client that we moved to come back, for so long.
    Parked(Duration),
}

impl Hub {
    /// DISCONNECT from the client.
    pub(in crate::hub) fn handle_disconnect(
        &mut self,
        conn: ConnId,
        slot: Slot,
        disconnect: &Disconnect<'_>,
        cx: &mut Turn<'_>,
    ) -> Result<(), Violation> {
        if let Some(live) = self.sessions.get_mut(slot as usize)
            && let Some(expiry_s) = disconnect.session_expiry_s
        {
            if live.expiry_s == 0 && expiry_s != 0 {
                return Err(Violation::protocol("MQTT5-4.13.1-1", "session expiry raised from 0"));
            }
            live.expiry_s = expiry_s.min(self.config.session_expiry_max_s);
        }
        let fate = if disconnect.reason == ReasonCode::Success {
            // [MQTT5-3.14.4-3]
            WillFate::Dropped
        } else {
            WillFate::Due
        };
        self.give_up(
            slot,
            fate,
            Farewell {
                close: Some((conn, Close::Quiet)),
                parting: Parting::Over(DisconnectReason::ClientInitiatedDisconnect),
                ..Farewell::default()
            },
            cx.now,
            cx.fx,
        );
        self.leave(conn);
        cx.out.close(conn, Close::Quiet);
        Ok(())
    }

    /// The network is gone, silence was too long, or the client broke a rule.
    pub fn lose_connection(&mut self, conn: ConnId, how: Close, cx: &mut Turn<'_>) {
        let Some(connection) = self.connection(conn) else { return };
        match &connection.state {
            State::Attaching => {
                let client = connection.client.clone();
                self.drop_claim_of(&client, conn);
            }
            State::Attached(slot) => {
                let slot = *slot;
                let farewell = Farewell { parting: Parting::of(how), ..Farewell::default() };
                self.give_up(slot, WillFate::Due, farewell, cx.now, cx.fx);
            }
            State::Leaving | State::Over => {}
        }
        self.end_connection(conn, how, cx.out);
    }

    /// The socket is closed: its place is free.
    pub fn forget_connection(&mut self, conn: ConnId) {
        if self.connection(conn).is_some() {
            self.set_guard(conn, None);
            self.shares.forget(conn);
            self.shadows.forget(conn);
            if let Some(place) = self.connections.get_mut(conn.index as usize) {
                *place = None;
            }
            self.metrics.connections.sub(1);
        }
    }

    /// A newer connection of the same client wins `[MQTT5-3.1.4-3]`.
    pub(in crate::hub) fn take_over(
        &mut self,
        slot: Slot,
        now: Now,
        fx: &mut Fx,
    ) -> Option<ConnId> {
        let conn = self.sessions.get(slot as usize)?.conn;
        let close = Some((conn, Close::Reason(ReasonCode::SessionTakenOver)));
        let parting = Parting::Over(DisconnectReason::DuplicateClientId);
        let farewell = Farewell { close, parting, ..Farewell::default() };
        self.give_up(slot, WillFate::Due, farewell, now, fx);
        Some(conn)
    }

    /// Takes a session out of service and adds its last write to the effects; the farewell follows once that is stored.
    pub(in crate::hub) fn give_up(
        &mut self,
        slot: Slot,
        fate: WillFate,
        mut farewell: Farewell,
        now: Now,
        fx: &mut Fx,
    ) {
        let Some(live) = self.sessions.get_mut(slot as usize).filter(|live| !live.leaving) else {
            return;
        };
        live.leaving = true;
        live.session.detach();
        let (client, conn) = (live.client.clone(), live.conn);
        farewell.epoch = live.epoch;
        self.giving_up.insert(client.clone());
        self.leave(conn);
        self.write_off(client, fate, farewell, now, fx);
    }

    /// The last write of a session that is out of service; now, or once those are known who are to be told of it.
    fn write_off(
        &mut self,
        client: ClientId,
        fate: WillFate,
        mut farewell: Farewell,
        now: Now,
        fx: &mut Fx,
    ) {
        farewell.fate = fate;
        let is_told = matches!(farewell.parting, Parting::Over(_))
            && self.live(&client).is_some_and(|live| live.presence.is_some());
        if is_told && self.must_wait_to_tell(now) {
            self.change_later(Change::Departure(client, farewell));
        } else {
            self.write_off_now(client, farewell, now, fx);
        }
    }

    /// The last write of a session that is out of service.
    pub(in crate::hub) fn write_off_now(
        &mut self,
        client: ClientId,
        mut farewell: Farewell,
        now: Now,
        fx: &mut Fx,
    ) {
        let fate = farewell.fate;
        // Another gateway took it meanwhile, and it may even be ours again.
        let Some(live) = self.live(&client).filter(|live| live.epoch == farewell.epoch) else {
            return;
        };
        let durable = live.durable();
        let ends_with_it = !durable && live.expiry_s == 0 && live.will.is_none();
        let presence = live.presence.clone();
        let left = match &farewell.sent {
            Some(sent) => {
                farewell.nth = self.send_by_drain(&client, presence.as_deref(), sent, now, fx);
                None
            }
            None => self.part(&client, presence.as_deref(), farewell.parting, now, fx),
        };
        if farewell.ordered {
            fx.first(Record::Put(delete_order(&client)));
        }
        let is_over = if ends_with_it {
            // Nothing of it outlives it, so its record need not be made.
            fx.first(Record::Fleeting(delete_by_owner(&client, farewell.epoch)));
            true
        } else {
            self.write_off_record(&client, fate, now, fx)
        };
        if is_over && !durable && left.is_some() == presence.is_some() {
            let trace = Trace { epoch: farewell.epoch, presence: left, rev: None };
            self.lately.note(&client, trace);
        }
        fx.then(Output::Released(client, Box::new(farewell)));
    }

    /// What a session leaves that outlives its connection, or had a will. Answers whether it is over.
    fn write_off_record(
        &mut self,
        client: &ClientId,
        fate: WillFate,
        now: Now,
        fx: &mut Fx,
    ) -> bool {
        let Some(live) = self.live(client) else { return false };
        let (durable, mut record) = (live.durable(), live.record());
        record.owner = None;
        record.detached_at = Some(now.wall);
        self.settle_will(client, &mut record, fate, now, fx);
        if durable {
            // Only the rest goes back to its shared groups, should the session end.
            let (session, epoch, up_to) = (record.no, record.epoch, record.acknowledged);
            self.tell_gone(session, epoch, fx);
            fx.first(Record::Trims(vec![Trim { session, epoch, up_to }]));
        }
        let is_over = record.expiry_s == 0 && record.will.is_none();
        if is_over {
            end(client, &record, fx);
        } else {
            fx.first(Record::Put(Put { announce: durable, ..put_by_owner(client, &record) }));
        }
        is_over
    }

    /// The store could not take a session's last write: it is tried again with every tick until it does.
    pub(crate) fn write_off_later(&mut self, client: ClientId, farewell: Farewell) {
        self.moved.not_stored += u64::from(farewell.sent.is_some());
        self.lately.forget(&client);
        self.unwritten.push((client, farewell));
    }

    fn settle_will(
        &mut self,
        client: &ClientId,
        record: &mut SessionRecord,
        fate: WillFate,
        now: Now,
        fx: &mut Fx,
    ) {
        let Some(will) = record.will.take() else { return };
        let wait = match fate {
            WillFate::Dropped => return,
            WillFate::Due => Duration::from_secs(u64::from(will.delay_s.min(record.expiry_s))),
            WillFate::Parked(takeover_wait) => {
                Duration::from_secs(u64::from(will.delay_s)).max(takeover_wait)
            }
        };
        if wait.is_zero() {
            self.publish_will(published(&will, now), record.no, (now.wall, fx));
            return;
        }
        self.metrics.wills_parked.add(1);
        self.metrics.drain_wills_deferred.add(u64::from(matches!(fate, WillFate::Parked(_))));
        record.will = Some(will);
        record.will_parked = matches!(fate, WillFate::Parked(_));
        fx.first(Record::Put(put_will(client, now.wall.after(wait), record.epoch)));
    }

    /// A will whose time has come; its client did not come back. This gateway is the keeper.
    pub fn fire_will(
        &mut self,
        client: &ClientId,
        record: SessionRecord,
        rev: store::Rev,
        now: Now,
        fx: &mut Fx,
    ) {
        let Some(will) = record.will.as_ref() else { return };
        let publication = published(will, now);
        self.metrics.drain_wills_published.add(u64::from(record.will_parked));
        let mut rest = record;
        let of = rest.no;
        rest.will = None;
        // Whoever claims the session meanwhile changes its revision: then nothing of this happens.
        let put = if rest.no.0 == 0 {
            delete_by_owner(client, rest.epoch)
        } else {
            put_by_owner(client, &rest)
        };
        fx.first(Record::Put(Put { expect: Expect::Rev(rev), ..put }));
        fx.first(Record::Put(delete_will(client)));
        self.publish_will(publication, of, (now.wall, fx));
    }

    /// A claim succeeded for a client that is gone again.
    pub(in crate::hub) fn abandon(&mut self, abandoned: Abandoned, now: Now, fx: &mut Fx) {
        if abandoned.presence.is_some() && self.must_wait_to_tell(now) {
            self.change_later(Change::Abandoned(abandoned));
        } else {
            self.abandon_now(abandoned, now, fx);
        }
    }

    /// The session of a client that is gone again has no owner any more.
    pub(in crate::hub) fn abandon_now(&mut self, abandoned: Abandoned, now: Now, fx: &mut Fx) {
        let Abandoned { client, record, presence } = &abandoned;
        let mut record = (**record).clone();
        self.part(client, presence.as_deref(), Parting::default(), now, fx);
        record.owner = None;
        record.detached_at = Some(now.wall);
        let durable = record.no.0 != 0;
        self.settle_will(client, &mut record, WillFate::Due, now, fx);
        if record.expiry_s == 0 && record.will.is_none() {
            end(client, &record, fx);
        } else {
            fx.first(Record::Put(Put { announce: durable, ..put_by_owner(client, &record) }));
        }
        fx.then(Output::Abandoned(Box::new(abandoned)));
    }

    /// The store could not take that: it is tried again with every tick until it does.
    pub(crate) fn abandon_later(&mut self, abandoned: Abandoned) {
        self.unwanted.push(abandoned);
    }

    /// What the store could not take of sessions that end here is tried again.
    fn write_again(&mut self, now: Now) {
        for (client, farewell) in std::mem::take(&mut self.unwritten) {
            let (fate, mut fx) = (farewell.fate, Fx::new());
            self.write_off(client, fate, farewell, now, &mut fx);
            self.side.push_back(fx);
        }
        for abandoned in std::mem::take(&mut self.unwanted) {
            let mut fx = Fx::new();
            self.abandon(abandoned, now, &mut fx);
            self.side.push_back(fx);
        }
    }

    /// The last write of a session is stored, or refused because the session is somebody else's already.
    pub(crate) fn handle_given_up(
        &mut self,
        client: &ClientId,
        farewell: Farewell,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        // The word may come late: behind a SUBACK that waits for the peers. By then the client may have come back here.
        let came_back = self.live(client).is_some_and(|live| live.epoch != farewell.epoch);
        if !came_back {
            self.drop_session(client, out);
        }
        self.lately.settle(client, farewell.epoch, farewell.stored);
        if farewell.sent.is_some() {
            self.count_moved(&farewell);
        } else {
            self.moved.departed += 1;
        }
        if let Some((conn, how)) = farewell.close {
            self.end_connection(conn, how, out);
        }
        if let Some((to, request)) = farewell.answer {
            out.ask(Ask::Released { to, request, outcome: ReleaseOutcome::Done });
        }
        if !came_back {
            self.giving_up.remove(client);
            self.claim_goes_on(client, now, out);
        }
        self.answer_waiting_releases(client, out);
    }

    pub(in crate::hub) fn live(&self, client: &ClientId) -> Option<&Live> {
        self.sessions.get(*self.by_client.get(client)? as usize)
    }

    pub(in crate::hub) fn drop_session(&mut self, client: &ClientId, out: &mut dyn Outlet) {
        let Some(slot) = self.by_client.remove(client) else { return };
        self.forget_drops(slot);
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        self.metrics.sessions.sub(1);
        self.owing -= usize::from(live.owing().is_some());
        live.held = None;
        live.leaving = true;
        let durable = live.durable();
        let no = std::mem::take(&mut live.no);
        let subscriptions = std::mem::take(&mut live.subscriptions);
        self.returning.add(live.session.take_shared());
        if durable {
            self.by_no.remove(&no);
            out.ask(Ask::Detach(no));
        }
        self.clear(slot, durable, subscriptions, out);
    }

    /// From now on nothing of a connection is processed.
    fn leave(&mut self, conn: ConnId) {
        if let Some(connection) = self.connection_mut(conn) {
            connection.state = State::Leaving;
        }
    }

    /// What keeps a worker's clock busy: claims that wait too long, and queue marks to be saved.
    pub fn handle_tick(&mut self, cx: &mut Turn<'_>) {
        self.expire_claims(cx.now, cx.out);
        self.resume_paced(cx.now, cx.out);
        self.look_at_doubts();
        self.look_at_unsure(cx);
        self.forget_unwatched(cx.now);
        self.returning.go_on();
        self.pay_all(cx);
        self.write_again(cx.now);
        self.tell_drops(cx);
        self.tell_stuck();
        let mut trims = Vec::new();
        for (_, live) in &mut self.sessions {
            if live.durable() && !live.leaving {
                let low = live.low_water();
                if low > live.trimmed {
                    live.trimmed = low;
                    trims.push(Trim { session: live.no, epoch: live.epoch, up_to: low });
                }
                if let (Some(positions), Some(every)) = (&mut live.positions, self.config.advance)
                    && positions.is_due(cx.now, every)
                {
                    cx.out.ask(Ask::Advance(live.no));
                }
            }
        }
        if !trims.is_empty() {
            cx.fx.first(Record::Trims(trims));
        }
    }

    /// Sessions whose queue marks are not saved yet, and messages that have not gone back to their shared groups.
    pub fn unsaved(&self) -> usize {
        let marks = self
            .sessions
            .iter()
            .filter(|(_, live)| live.durable() && live.low_water() > live.trimmed);
        marks.count() + self.to_give_back()
    }

    /// Wills of clients that are on their way out whose fate is not stored yet: they end with this process.
    pub fn unsaved_wills(&self) -> usize {
        let leaving = self.giving_up.iter().filter_map(|client| self.live(client));
        leaving.filter(|live| live.will.is_some()).count()
    }
}

/// A session ends with its connection. What it leaves to its shared groups is written before: who follows the log must not
/// forget that with the session.
fn end(client: &ClientId, record: &SessionRecord, fx: &mut Fx) {
    if let Some(left) = left_by(client, record) {
        fx.first(Record::Put(left));
    }
    let announce = record.no.0 != 0;
    fx.first(Record::Put(Put { announce, ..delete_by_owner(client, record.epoch) }));
}

/// A will as it is published now: its expiry counts from here.
pub(in crate::hub) fn published(will: &StoredWill, now: Now) -> Publication {
    let mut publication = will.publication.clone();
    publication.expires_at =
        will.expiry_s.map(|s| now.wall.after(Duration::from_secs(u64::from(s))));
    publication
}
