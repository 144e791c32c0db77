//! What the policy says about each connection, and what follows when it says no.

use std::sync::Arc;
use std::time::Duration;

use access::{ClassLimits, Denial, Excess, Identity, OnExcess, Pace, Rights};
use protocol::mqtt::codec::{self, AckKind};
use protocol::mqtt::{Ack, Publish, ReasonCode, Version};
use protocol::session::StoredSubscription;
use protocol::{Now, QoS, TopicFilter, Violation};

use crate::hub::connection::Known;
use crate::hub::output::Refusal;
use crate::hub::session::live::put_by_owner;
use crate::hub::trial;
use crate::hub::{
    Close, ConnId, ConnectRequest, Fx, Hub, Outlet, Output, Record, Reply, Turn, Voice,
};

/// What is checked of one connection; those of whom nothing is checked have none.
#[derive(Debug)]
pub(in crate::hub) struct Guard {
    rights: Option<Rights>,
    pub(in crate::hub) pace: Option<Box<Pace>>,
    pub(in crate::hub) on_excess: OnExcess,
    /// Too fast until then: nothing is read.
    pub(in crate::hub) waits_until: Option<Duration>,
    /// Its client has closed: what is not read by this second is not read at all; 0 while it is there.
    pub(in crate::hub) ends_s: u32,
    /// The publication at hand came too fast and is to be refused.
    pub(in crate::hub) too_fast: Option<Excess>,
    /// When the last denial was told to the audit log, and how many were not told since.
    told: Option<Duration>,
    untold: u64,
}

/// What was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Publish,
    Subscribe,
    Will,
}

/// Denials of one connection are told to the audit log once in this time, with the number of those that were not.
const AUDIT_EVERY: Duration = Duration::from_secs(1);

impl Deed {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Will => "will",
        }
    }
}

impl Guard {
    /// What is checked from now on; `before` is what was. What was spent stays spent, and the audit log is told no more often.
    fn renewed(
        before: Option<Box<Self>>,
        rights: Option<Rights>,
        limits: &ClassLimits,
        now: Now,
    ) -> Option<Box<Self>> {
        let on_excess = limits.on_excess;
        let Some(mut guard) = before else {
            let pace = Pace::new(limits, now.mono).map(Box::new);
            if rights.is_none() && pace.is_none() {
                return None;
            }
            let (waits_until, ends_s, too_fast, told, untold) = (None, 0, None, None, 0);
            let it = Self { rights, pace, on_excess, waits_until, ends_s, too_fast, told, untold };
            return Some(Box::new(it));
        };
        let pace = guard.pace.take().map(|pace| *pace);
        guard.pace = Pace::renewed(pace, limits, now.mono).map(Box::new);
        guard.on_excess = on_excess;
        guard.rights = rights;
        (guard.rights.is_some() || guard.pace.is_some()).then_some(guard)
    }

    /// Whether its client has no right to read a topic.
    pub(in crate::hub) fn may_not_read(&self, topic: &str) -> bool {
        self.rights.as_ref().is_some_and(|rights| rights.subscribe(topic).is_err())
    }

    fn publish(&mut self, topic: &str, qos: QoS, retain: bool) -> Result<(), Denial> {
        self.rights.as_mut().map_or(Ok(()), |rights| rights.publish(topic, qos, retain))
    }
}

impl Hub {
    /// Whether a publication may be made. Where nobody is checked it costs one comparison.
    pub(in crate::hub) fn check_publish(
        &mut self,
        conn: ConnId,
        topic: &str,
        publish: &Publish<'_>,
        now: Now,
    ) -> Result<(), Denial> {
        if self.guards.guarded == 0 {
            return Ok(());
        }
        let Some(guard) = self.guard_mut(conn) else { return Ok(()) };
        let checked = guard.publish(topic, publish.qos, publish.retain);
        checked.inspect_err(|denial| self.note_denial(conn, (Deed::Publish, topic), denial, now))
    }

    /// Whether a filter may be subscribed to, and at which level at most.
    pub(in crate::hub) fn check_subscribe(
        &mut self,
        conn: ConnId,
        filter: &TopicFilter,
        now: Now,
    ) -> Result<QoS, Denial> {
        let Some(guard) = self.guard_mut(conn) else { return Ok(QoS::ExactlyOnce) };
        let Some(rights) = &guard.rights else { return Ok(QoS::ExactlyOnce) };
        let checked = rights.subscribe(filter.as_str());
        let deed = (Deed::Subscribe, filter.as_str());
        checked.inspect_err(|denial| self.note_denial(conn, deed, denial, now))
    }

    /// Whether the will of a CONNECT may be published one day.
    pub(in crate::hub) fn check_will(
        &mut self,
        conn: ConnId,
        request: &ConnectRequest,
        now: Now,
    ) -> Result<(), Denial> {
        let (Some(guard), Some(will)) = (self.guard_mut(conn), &request.will) else {
            return Ok(());
        };
        let will = &will.publication;
        let checked = guard.publish(will.topic(), will.qos, will.retain);
        checked.inspect_err(|denial| {
            self.note_denial(conn, (Deed::Will, will.topic()), denial, now);
        })
    }

    /// Answers a publication that is denied. Before 5.0 there is no word for it: as configured it is acknowledged and
    /// dropped, or the connection ends `[MQTT3-3.3.5-2]`.
    pub(in crate::hub) fn deny_publish(
        &self,
        conn: ConnId,
        publish: &Publish<'_>,
        denial: &Denial,
        fx: &mut Fx,
    ) -> Result<(), Violation> {
        let v5 = self.connection(conn).is_some_and(|c| c.version == Version::V5);
        if !v5 && self.config.close_denied {
            let what = "a publication that is denied";
            return Err(Violation::with(ReasonCode::NotAuthorized, "MQTT3-3.3.5-2", what));
        }
        let Some(id) = publish.packet_id else { return Ok(()) };
        let reply = match (v5, publish.qos) {
            (true, qos) => {
                let why = denial.to_string().into();
                let reason = ReasonCode::NotAuthorized;
                Reply::Refusal(Box::new(Refusal { id, qos, reason, why }))
            }
            (false, QoS::ExactlyOnce) => Reply::PubRec(id, ReasonCode::Success),
            (false, QoS::AtLeastOnce | QoS::AtMostOnce) => Reply::PubAck(id, ReasonCode::Success),
        };
        fx.then(Output::Reply(conn, reply));
        Ok(())
    }

    /// Writes PUBACK or PUBREC with a no, and why.
    pub(crate) fn write_refusal(
        &self,
        conn: ConnId,
        voice: Voice,
        refusal: &Refusal,
        out: &mut dyn Outlet,
    ) {
        let kind = match refusal.qos {
            QoS::ExactlyOnce => AckKind::PubRec,
            QoS::AtMostOnce | QoS::AtLeastOnce => AckKind::PubAck,
        };
        let ack = Ack::of(refusal.id, refusal.reason);
        if let Some(outbox) = out.outbox(conn) {
            voice.say(outbox, voice.own_words(&refusal.why), |outbox, reason_string| {
                codec::ack(outbox, voice.version, kind, &Ack { reason_string, ..ack });
            });
            self.metrics.packets_sent.add(1);
        }
    }

    /// A connection speaks for somebody else now: it authenticated again.
    pub fn set_identity(&mut self, conn: ConnId, identity: Arc<Identity>, cx: &mut Turn<'_>) {
        let classes = Arc::clone(&self.config.classes);
        if let Some(connection) = self.connection_mut(conn) {
            connection.limits = Arc::clone(classes.limits_of(&identity));
            connection.known = Known::Identity(identity);
        }
        if self.is_banned(conn, cx.now) {
            return self.cut_banned(conn, cx);
        }
        self.reconsider(conn, cx);
    }

    /// Gives a connection the rights it has now. Subscriptions that are not allowed any more are removed, and since MQTT has
    /// no word for that the connection ends with 0x87; a will that is not allowed any more is forgotten.
    pub fn reconsider(&mut self, conn: ConnId, cx: &mut Turn<'_>) {
        self.renew_limits(conn);
        self.renew_guard(conn, cx.now);
        let removed = self.drop_denied(conn, cx);
        if removed > 0 {
            let denied = Close::Reason(ReasonCode::NotAuthorized);
            self.lose_connection(conn, denied, cx);
        }
    }

    /// Removes from an attached session what its client has no right to (any more), and counts the subscriptions.
    pub(in crate::hub) fn drop_denied(&mut self, conn: ConnId, cx: &mut Turn<'_>) -> usize {
        let Some((_, slot)) = self.attached(conn) else { return 0 };
        if self.guard_mut(conn).is_none() {
            return 0;
        }
        let Some(live) = self.sessions.get_mut(slot as usize) else { return 0 };
        let durable = live.durable();
        let (mut kept, mut lowered, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for stored in std::mem::take(&mut live.subscriptions) {
            // What is stored was a filter when it came.
            let Ok((_, plain)) = TopicFilter::parse_subscription(&stored.filter) else { continue };
            match self.check_subscribe(conn, &plain, cx.now) {
                Err(_) => removed.push(stored),
                Ok(most) if most < stored.qos => {
                    lowered.push(StoredSubscription { qos: most, ..stored.clone() });
                    kept.push(StoredSubscription { qos: most, ..stored });
                }
                Ok(_) => kept.push(stored),
            }
        }
        let will_denied = self.will_is_denied(conn, slot, cx.now);
        if let Some(live) = self.sessions.get_mut(slot as usize) {
            live.subscriptions = kept;
            live.will.take_if(|_| will_denied);
        }
        for stored in &lowered {
            self.subscribe_here(slot, stored, durable, cx.out);
        }
        for stored in &removed {
            self.owe_no_more(slot, &stored.filter);
            self.unsubscribe_here(slot, &stored.filter, durable, cx.out);
        }
        if will_denied || !lowered.is_empty() || !removed.is_empty() {
            self.announce_session(slot, cx.fx);
        }
        if will_denied && !durable {
            self.store_clean_session(slot, cx.fx);
        }
        removed.len()
    }

    /// Writes the document of a clean session, which holds its will in case this gateway dies.
    fn store_clean_session(&self, slot: fanout::Slot, fx: &mut Fx) {
        if let Some(live) = self.sessions.get(slot as usize).filter(|live| !live.durable()) {
            fx.first(Record::Put(put_by_owner(&live.client, &live.record())));
        }
    }

    fn will_is_denied(&mut self, conn: ConnId, slot: fanout::Slot, now: Now) -> bool {
        let will = self.sessions.get(slot as usize).and_then(|live| live.will.as_ref());
        let Some(will) = will.map(|will| will.publication.clone()) else { return false };
        let Some(guard) = self.guard_mut(conn) else { return false };
        let checked = guard.publish(will.topic(), will.qos, will.retain);
        let Err(denial) = checked else { return false };
        self.note_denial(conn, (Deed::Will, will.topic()), &denial, now);
        true
    }

    /// Gives a connection the guard it needs now.
    pub(in crate::hub) fn renew_guard(&mut self, conn: ConnId, now: Now) {
        let before = self.set_guard(conn, None);
        let Some(connection) = self.connection(conn) else { return };
        let identity = connection.identity();
        let limits = self.config.classes.limits_of(&identity);
        let guard = if identity.is_trial {
            let (rights, limits) = (trial::rights_of(&identity), trial::unhurried(limits));
            Guard::renewed(before, rights, &limits, now)
        } else {
            Guard::renewed(before, self.guards.policy.rights_of(&identity), limits, now)
        };
        self.set_guard(conn, guard);
    }

    /// Takes a seat for a connection among those of its user; `None` if there is none left.
    pub(in crate::hub) fn take_seat(&mut self, conn: ConnId) -> Option<()> {
        let seats = Arc::clone(&self.config.seats);
        let connection = self.connection_mut(conn)?;
        let most = connection.limits.connections_per_user;
        let Some(user) = connection.user().cloned().filter(|_| most > 0) else {
            return Some(());
        };
        connection.seat = seats.take(&user, &connection.client, most).map(Box::new);
        if connection.seat.is_none() {
            self.metrics.limited_connections_per_user.add(1);
            return None;
        }
        Some(())
    }

    /// Gives a connection a guard, or takes it away; answers the one that it had.
    pub(in crate::hub) fn set_guard(
        &mut self,
        conn: ConnId,
        guard: Option<Box<Guard>>,
    ) -> Option<Box<Guard>> {
        let now = guard.is_some();
        let connection = self.connection_mut(conn)?;
        let before = std::mem::replace(&mut connection.guard, guard);
        self.guards.guarded =
            self.guards.guarded + usize::from(now) - usize::from(before.is_some());
        before
    }

    pub(in crate::hub) fn guard_mut(&mut self, conn: ConnId) -> Option<&mut Guard> {
        self.connection_mut(conn)?.guard.as_deref_mut()
    }

    /// Counts a denial, and tells it to the audit log unless the same connection was just told of.
    fn note_denial(
        &mut self,
        conn: ConnId,
        (deed, topic): (Deed, &str),
        denial: &Denial,
        now: Now,
    ) {
        self.metrics.denied(deed, denial.cause).add(1);
        let Some(connection) = self.connection_mut(conn) else { return };
        let Some(guard) = connection.guard.as_deref_mut() else { return };
        if guard.told.is_some_and(|told| now.mono < told + AUDIT_EVERY) {
            guard.untold += 1;
            return;
        }
        guard.told = Some(now.mono);
        let untold = std::mem::take(&mut guard.untold);
        let client_id = connection.client.as_str();
        let user = connection.user().map(|user| &**user);
        let rule = denial.source.as_deref().map(ToString::to_string);
        tracing::info!(
            target: "audit", client_id, user, action = deed.as_str(), topic,
            reason = denial.cause.as_str(), rule, untold, "denied: {denial}"
        );
    }
}
