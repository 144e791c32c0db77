//! Who is there: a client's record is written with the session document whose ownership it follows.
//!
//! A client that is moved, or that takes its session to another gateway, is expected there and nothing is told; who does not
//! arrive in time is told of by its keeper.

use std::fmt::{self, Write as _};
use std::time::Duration;

use bytes::Bytes;
use protocol::mqtt::ReasonCode;
use protocol::session::{Owner, SessionRecord};
use protocol::{ClientId, Now, Wall, hash64};
use shadow::{
    Arrival, ConnectFailure, DisconnectReason, EventKind, LifecycleEvent, Presence, PresenceLimits,
    Sent,
};
use store::{Check, Doc, Expect, Put, Space};

use crate::address_text::AddressText;
use crate::config::{CreateThings, KeepPresence};
use crate::hub::output::Farewell;
use crate::hub::session::claim::ClaimStage;
use crate::hub::session::untold::Change;
use crate::hub::{Ask, Close, ConnId, ConnectRequest, Fx, Hub, Outlet, Record, Turn, WillFate};
use crate::metrics::{Back, BackFrom, Came};
use crate::presence::{
    DueLate, SendAway, delete_late, put_late, put_record, put_thing, session_key, thing_of,
};
use crate::worker::PresenceMail;

/// How a client and its connection part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// It is gone.
    Over(DisconnectReason),
    /// It is expected elsewhere; if it does not come, this is why it is gone.
    Moving(DisconnectReason),
}

impl Default for Parting {
    fn default() -> Self {
        Self::Over(DisconnectReason::ConnectionLost)
    }
}

/// The record of a client that is there, and what is to be counted of its coming.
#[derive(Debug)]
pub(in crate::hub) struct Arrived {
    pub(in crate::hub) presence: Box<[u8]>,
    pub(in crate::hub) back: Option<Back>,
}

/// What is known of a client's presence when its session is claimed.
#[derive(Debug)]
pub(in crate::hub) struct PresenceFound {
    /// Its record, if there is one.
    stands: Option<Bytes>,
    /// What the claim expects of it.
    expect: Expect,
    /// Whether it is a thing that is known.
    is_thing: bool,
    /// Nobody looked: this is what was left when it was here last.
    remembered: bool,
}

impl PresenceFound {
    fn read(doc: Option<Doc>, is_thing: bool) -> Self {
        let expect = doc.as_ref().map_or(Expect::Absent, |doc| Expect::Rev(doc.rev));
        Self { stands: doc.map(|doc| doc.value), expect, is_thing, remembered: false }
    }

    /// Of a client that is no thing.
    pub(in crate::hub) const fn remembered(record: Bytes, expect: Expect) -> Self {
        Self { stands: Some(record), expect, is_thing: false, remembered: true }
    }
}

impl Parting {
    /// Why a connection that ends like this has ended.
    pub(in crate::hub) const fn of(how: Close) -> Self {
        Self::Over(match how {
            Close::Quiet => DisconnectReason::ConnectionLost,
            Close::Broke(_) => DisconnectReason::ClientError,
            Close::Redirect(_) => DisconnectReason::ServerInitiatedDisconnect,
            Close::Reason(reason) | Close::Refuse(reason) => why(reason),
        })
    }
}

/// Whether a client was refused for what it may not do.
pub(crate) const fn is_unauthorized(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::NotAuthorized | ReasonCode::BadUserNameOrPassword | ReasonCode::Banned
    )
}

const fn why(reason: ReasonCode) -> DisconnectReason {
    if matches!(reason, ReasonCode::KeepAliveTimeout) {
        DisconnectReason::MqttKeepAliveTimeout
    } else if matches!(reason, ReasonCode::NotAuthorized | ReasonCode::BadUserNameOrPassword) {
        DisconnectReason::AuthError
    } else if matches!(reason, ReasonCode::AdministrativeAction | ReasonCode::Banned) {
        DisconnectReason::ForbiddenAccess
    } else if matches!(reason, ReasonCode::MaximumConnectTime) {
        DisconnectReason::CustomauthTtlExpiration
    } else if matches!(reason, ReasonCode::MessageRateTooHigh | ReasonCode::ConnectionRateExceeded)
    {
        DisconnectReason::Throttled
    } else if matches!(reason, ReasonCode::SessionTakenOver) {
        DisconnectReason::DuplicateClientId
    } else if matches!(reason, ReasonCode::MalformedPacket | ReasonCode::ProtocolError) {
        DisconnectReason::ClientError
    } else {
        DisconnectReason::ServerError
    }
}

impl Hub {
    /// Asks for what is stored of a client; answered by `handle_presence`, then `handle_record`.
    pub(in crate::hub) fn ask_record(&self, client: &ClientId, out: &mut dyn Outlet) {
        if self.config.presence.is_on() {
            out.ask(Ask::Presence(client.clone()));
        }
        out.ask(Ask::Read(client.clone()));
    }

    /// A letter about who is there. Returns the connection whose lane the effects belong to.
    pub fn handle_presence(&mut self, mail: PresenceMail, cx: &mut Turn<'_>) -> Option<ConnId> {
        match mail {
            PresenceMail::Read(client, doc, is_thing) => self.note_presence(&client, doc, is_thing),
            PresenceMail::Late(late) => self.be_late(late, cx.now, cx.fx),
            PresenceMail::SendAway(client, order) => return self.send_away(&client, order, cx),
            PresenceMail::Run(client, errand) => self.run_errand(&client, *errand, cx),
            PresenceMail::RunNear(client, errand) => self.run_near(&client, *errand, cx),
            PresenceMail::Refused(client) => self.tell_refused(client, cx.now, cx.fx),
        }
        None
    }

    /// A client's record as it stands, and whether it is a thing that is known; asked for by [`Ask::Presence`].
    fn note_presence(&mut self, client: &ClientId, doc: Option<Doc>, is_thing: bool) {
        if let Some(claim) = self.claims.get_mut(client)
            && matches!(claim.stage, ClaimStage::Reading { .. })
        {
            claim.presence = Some(PresenceFound::read(doc, is_thing));
        }
    }

    /// A session is claimed: its client is there. Answers the record, if one is kept.
    pub(in crate::hub) fn arrive(
        &mut self,
        client: &ClientId,
        (record, resumed): (&SessionRecord, bool),
        now: Now,
        fx: &mut Fx,
    ) -> Option<Arrived> {
        let claim = self.claims.get_mut(client)?;
        // Not read: whether it is to be kept was decided meanwhile.
        let PresenceFound { stands, expect, is_thing, remembered } = claim.presence.take()?;
        let keeps = match self.config.presence.keep {
            KeepPresence::Off => false,
            KeepPresence::Persistent => record.no.0 != 0,
            KeepPresence::All => true,
        };
        // Nobody is told of a client of our own.
        if !keeps || claim.request.identity.is_trial {
            if let Some(stands) = stands {
                self.forget_presence(client, (&stands, expect), now, fx);
            }
            return None;
        }
        if remembered {
            // It may have become one since.
            let key = session_key(client);
            fx.first(Record::Check(Check { space: Space::Thing, key, expect: Expect::Absent }));
        }
        let mut arrival = arrival_of((&claim.request, !resumed), &self.owner, record, now.wall);
        let creates = self.config.presence.create_things == CreateThings::Certificate;
        // One that was verified is of an authority that is known.
        let certificate = claim.request.identity.certificate.as_deref();
        let new = certificate.filter(|_| !is_thing && creates);
        let new = new.and_then(|shown| thing_of(client, &shown.fingerprint, now.wall));
        if let Some(thing) = &new {
            // If somebody else is quicker, the claim looks again.
            fx.first(Record::Put(put_thing(thing.name(), Some(thing), Expect::Absent)));
        }
        arrival.thing = (is_thing || new.is_some()).then(|| client.as_str().into());
        let after = Duration::from_secs(self.config.presence.version_restarts_s.into());
        let limits = PresenceLimits { version_restarts_after: after };
        if remembered
            && !self.may_tell_events()
            && let Some(stands) = &stands
            && let Some(value) = Presence::arrive_stored(stands, &arrival, &limits)
        {
            // It was away, so it is nowhere expected, and did not come back from anywhere.
            let kept = value.as_slice().into();
            fx.first(Record::Fleeting(put_record(client, Some(value.into()), expect)));
            return Some(Arrived { presence: kept, back: None });
        }
        let decode = if remembered { Presence::decode_own } else { Presence::decode };
        let presence = stands.and_then(|stands| decode(&stands));
        let mut presence = presence.unwrap_or_else(Presence::never);
        let was_expected = presence.expected_until().is_some();
        let back = self.came_back(&presence, now);
        let events = presence.arrive(client, arrival, &limits);
        let value = presence.encode();
        let kept = value.clone().into_boxed_slice();
        // As its session's document, beside which it is written.
        fx.first(Record::Fleeting(put_record(client, Some(value.into()), expect)));
        if was_expected {
            fx.first(Record::Put(delete_late(client)));
        }
        events.iter().for_each(|event| self.publish_event(event, fx));
        Some(Arrived { presence: kept, back })
    }

    /// What is to be counted of a client that a drain moved, once it is here.
    fn came_back(&self, presence: &Presence, now: Now) -> Option<Back> {
        let until = presence.moved_until()?;
        // Every gateway waits as long as this one for who was moved.
        let gap = self.config.presence.return_within().saturating_sub(now.wall.until(until));
        let here = self.config.gateway.gateway();
        let sent = presence.sent().map(|(sent, _)| BackFrom {
            level: sent.level,
            came: match sent.named.iter().any(|named| named.gateway() == here) {
                true => Came::Named,
                false => Came::Elsewhere,
            },
            at_most_once_per_1000_s: sent.at_most_once_per_1000_s,
        });
        Some(Back { gap, sent })
    }

    /// The record of a client that comes in a way that is not kept would not be true any more. Whom it says to be there is gone.
    fn forget_presence(
        &mut self,
        client: &ClientId,
        (stands, expect): (&Bytes, Expect),
        now: Now,
        fx: &mut Fx,
    ) {
        fx.first(Record::Put(put_record(client, None, expect)));
        let Some(mut presence) = Presence::decode(stands) else { return };
        if presence.expected_until().is_some() {
            fx.first(Record::Put(delete_late(client)));
        }
        let event = presence.give_way(client, now.wall);
        event.iter().for_each(|event| self.publish_event(event, fx));
    }

    /// A client and its connection part: what becomes of its record. Made of the record as it stood when its session was
    /// claimed, so that it can be made again. Answers what is stored of a client that is gone and is no thing.
    pub(in crate::hub) fn part(
        &mut self,
        client: &ClientId,
        stands: Option<&[u8]>,
        parting: Parting,
        now: Now,
        fx: &mut Fx,
    ) -> Option<Bytes> {
        if let Parting::Over(reason) = parting
            && !self.may_tell_events()
            && let Some(gone) = Presence::leave_stored(stands?, reason, now.wall)
        {
            let value = Bytes::from(gone.record);
            fx.first(Record::Fleeting(put_record(client, Some(value.clone()), Expect::Any)));
            return Some(value).filter(|_| !gone.is_thing);
        }
        let mut presence = stands.and_then(Presence::decode_own)?;
        let arrival = presence.connection()?;
        let (session, is_thing) = (arrival.session.clone(), arrival.thing.is_some());
        match parting {
            Parting::Over(reason) => {
                let event = presence.leave(client, &session, reason, now.wall);
                let value = Bytes::from(presence.encode());
                let put = put_record(client, Some(value.clone()), Expect::Any);
                fx.first(Record::Fleeting(put));
                event.iter().for_each(|event| self.publish_event(event, fx));
                Some(value).filter(|_| !is_thing)
            }
            Parting::Moving(why) => {
                let until = now.wall.after(self.config.presence.return_within());
                presence.send(&session, why, until);
                let value = Some(presence.encode().into());
                fx.first(Record::Put(put_record(client, value, Expect::Any)));
                fx.first(Record::Put(put_late(client, until)));
                None
            }
        }
    }

    /// A drain of this gateway moves a client: what becomes of its record, likewise. Answers which of its moves that is.
    pub(in crate::hub) fn send_by_drain(
        &self,
        client: &ClientId,
        stands: Option<&[u8]>,
        sent: &Sent,
        now: Now,
        fx: &mut Fx,
    ) -> Option<u32> {
        let mut presence = stands.and_then(Presence::decode_own)?;
        let session = presence.connection()?.session.clone();
        let settings = &self.config.presence;
        let until = now.wall.after(settings.return_within());
        let (drain, times) = (self.config.gateway.gateway(), (now.wall, until));
        let within = settings.moves_within();
        let nth = presence.send_by(drain.as_str(), &session, sent.clone(), times, within);
        let value = Some(presence.encode().into());
        fx.first(Record::Put(put_record(client, value, Expect::Any)));
        fx.first(Record::Put(put_late(client, until)));
        nth
    }

    /// A client that was expected did not come. This gateway is its keeper.
    fn be_late(&mut self, late: DueLate, now: Now, fx: &mut Fx) {
        // What finds no room to wait is found again by the housekeeper.
        if !self.must_wait_to_tell(now) {
            self.be_late_now(late, now, fx);
        } else {
            drop(self.put_off(Change::Late(late), now));
        }
    }

    /// The same, and those are known who are to be told.
    pub(in crate::hub) fn be_late_now(&mut self, late: DueLate, now: Now, fx: &mut Fx) {
        let DueLate { client, presence, rev } = late;
        let Some(mut presence) = presence else {
            // Nobody is remembered who could be late.
            let put = delete_late(&client);
            return fx.first(Record::Put(Put { expect: Expect::Rev(rev), ..put }));
        };
        // The worker's clock may be read before the housekeeper's: then it is found again.
        if presence.expected_until().is_some_and(|until| until > now.wall) {
            return;
        }
        let was_moved = presence.moved_until().is_some();
        if let Some((sent, _)) = presence.sent() {
            self.metrics.redirected(sent.level, Came::Missing).add(1);
        }
        let event = presence.be_late(&client, now.wall);
        self.metrics.drain_missing.add(u64::from(was_moved));
        fx.first(Record::Put(delete_late(&client)));
        // Whoever claims the session meanwhile changes the record's revision: then nothing of this happens.
        let value = Some(presence.encode().into());
        fx.first(Record::Put(put_record(&client, value, Expect::Rev(rev))));
        event.iter().for_each(|event| self.publish_event(event, fx));
    }

    /// An operator wants a client's connection to end. Returns the connection whose lane the effects belong to.
    fn send_away(
        &mut self,
        client: &ClientId,
        order: SendAway,
        cx: &mut Turn<'_>,
    ) -> Option<ConnId> {
        let slot = self.by_client.get(client).copied()?;
        let live = self.sessions.get_mut(slot as usize)?;
        if live.epoch != order.epoch || live.leaving {
            return None;
        }
        if order.end_session {
            live.expiry_s = 0;
        }
        let conn = live.conn;
        let farewell = Farewell {
            ordered: true,
            close: Some((conn, Close::Reason(ReasonCode::AdministrativeAction))),
            parting: Parting::Over(DisconnectReason::ApiInitiatedDisconnect),
            ..Farewell::default()
        };
        let fate = if order.prevent_will { WillFate::Dropped } else { WillFate::Due };
        self.metrics.cut_by_operator.add(1);
        self.give_up(slot, fate, farewell, cx.now, cx.fx);
        Some(conn)
    }

    /// Tells that a client was not let in, since it has no right to be here.
    pub(in crate::hub) fn tell_refused(&mut self, client: ClientId, now: Now, fx: &mut Fx) {
        if !self.config.presence.is_on() {
            return;
        }
        if let Some(Change::Refused(client, at)) =
            self.put_off(Change::Refused(client, now.wall), now)
        {
            self.tell_refused_now(client, at, fx);
        }
    }

    /// The same, and those are known who are to be told.
    pub(in crate::hub) fn tell_refused_now(&mut self, client: ClientId, at: Wall, fx: &mut Fx) {
        let event = LifecycleEvent {
            client,
            at,
            session: Box::default(),
            principal: Box::default(),
            thing: None,
            kind: EventKind::ConnectFailed(ConnectFailure::AuthorizationFailed),
        };
        self.publish_event(&event, fx);
    }

    /// Tells that a client subscribed or unsubscribed, if its presence is kept and anybody wants to know.
    pub(in crate::hub) fn tell_filters(
        &mut self,
        slot: fanout::Slot,
        filters: &[&str],
        kind: EventKind,
        (now, fx): (Now, &mut Fx),
    ) {
        let Some(live) = self.sessions.get(slot as usize) else { return };
        if live.presence.is_none() || filters.is_empty() {
            return;
        }
        let mut event = LifecycleEvent {
            client: live.client.clone(),
            at: now.wall,
            session: Box::default(),
            principal: Box::default(),
            thing: None,
            kind,
        };
        if !self.is_wanted(&event) {
            return;
        }
        let live = self.sessions.get(slot as usize);
        let presence = live.and_then(|it| Presence::decode(it.presence.as_deref()?));
        let Some(presence) = presence else { return };
        let Some(arrival) = presence.connection() else { return };
        let topics = filters.iter().map(|filter| (*filter).into()).collect();
        event.session.clone_from(&arrival.session);
        event.principal.clone_from(&arrival.principal);
        event.thing.clone_from(&arrival.thing);
        match &mut event.kind {
            EventKind::Subscribed(it) | EventKind::Unsubscribed(it) => *it = topics,
            EventKind::Connected { .. }
            | EventKind::Disconnected { .. }
            | EventKind::ConnectFailed(_) => {}
        }
        self.publish_event(&event, fx);
    }
}

fn arrival_of(
    (request, clean): (&ConnectRequest, bool),
    owner: &Owner,
    record: &SessionRecord,
    since: Wall,
) -> Arrival {
    let identity = &request.identity;
    let principal = match (&identity.user, identity.certificate.as_deref()) {
        (Some(user), _) => &**user,
        (None, Some(names)) => names.subject.as_str(),
        (None, None) => "",
    };
    let client = hash64(request.client.as_str().as_bytes());
    // No two ownerships of a client have the same epoch.
    let session = text(32, format_args!("{client:016x}{:016x}", record.epoch.0));
    // As long as an address of IPv4 may be; others are longer.
    let address = identity.address.map(|it| text(15, format_args!("{}", AddressText::Host(it))));
    Arrival {
        session,
        since,
        gateway: owner.gateway.clone(),
        incarnation: owner.incarnation,
        principal: principal.into(),
        address: address.unwrap_or_default(),
        thing: None,
        clean,
        keep_alive_s: request.keep_alive_s,
        expiry_s: request.expiry_s,
    }
}

/// A text of about so many bytes.
fn text(bytes: usize, written: fmt::Arguments<'_>) -> Box<str> {
    let mut text = String::with_capacity(bytes);
    // Nothing fails here that does not fail in `format!`.
    let _ = text.write_fmt(written);
    text.into()
}
