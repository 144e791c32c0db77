//! SUBSCRIBE and UNSUBSCRIBE: the answer waits until the fleet knows.

use fanout::{Shapes, Slot};
use protocol::mqtt::codec;
use protocol::mqtt::{
    Filter, ReasonCode, RetainHandling, SubAck, Subscribe, UnsubAck, Unsubscribe,
};
use protocol::session::StoredSubscription;
use protocol::{HashSet, QoS, SharedName, TopicFilter, Violation};
use shadow::EventKind;
use store::Put;

use crate::hub::connection::Connection;
use crate::hub::echo::is_reserved;
use crate::hub::session::live::put_by_owner;
use crate::hub::share::{Begun, Work};
use crate::hub::trial::is_of_trials;
use crate::hub::{ConnId, Fx, Hub, Outlet, Output, Record, Reply, Turn, Voice};

/// Retained messages that a new subscription is owed.
#[derive(Debug)]
pub struct RetainedWanted {
    pub(super) filter: TopicFilter,
    pub(super) qos: QoS,
    pub(super) id: Option<u32>,
}

/// What comes together while the filters of one SUBSCRIBE are looked at.
#[derive(Debug, Default)]
pub(in crate::hub) struct Gathered {
    owed: Vec<RetainedWanted>,
    /// The shapes of the session's filters, if they matter.
    shapes: Option<Shapes>,
}

/// What the filter of a shared group begins with.
pub(super) const SHARE: &str = "$share/";

/// The answer to more filters in one packet than the configuration allows.
const TOO_MANY_FILTERS: Violation =
    Violation::with(ReasonCode::QuotaExceeded, "MQTT5-4.13.1-1", "too many filters in one packet");

impl Hub {
    pub(in crate::hub) fn handle_subscribe(
        &mut self,
        conn: ConnId,
        slot: Slot,
        subscribe: &Subscribe<'_>,
        cx: &mut Turn<'_>,
    ) -> Result<(), Violation> {
        self.check_filters(conn, subscribe.filters.len())?;
        let mut begun = self.shares.go_on(conn);
        while let Some(filter) = subscribe.filters.get(begun.reasons.len()) {
            if !self.shares.of_connection.spend(Work::Filter) {
                self.shares.put_off(conn, begun);
                return Ok(());
            }
            let id = subscribe.subscription_id;
            let reason = self.subscribe_one((conn, slot), filter, id, &mut begun.gathered, cx)?;
            begun.reasons.push(reason);
        }
        let Begun { reasons, gathered: Gathered { owed, .. } } = begun;
        self.announce_session(slot, cx.fx);
        let accepted = subscribe.filters.iter().zip(&reasons).filter(|(_, why)| !why.is_error());
        let accepted: Vec<&str> = accepted.map(|(filter, _)| filter.text).collect();
        cx.fx.then(Output::Reply(conn, Reply::SubAck(subscribe.packet_id, reasons, owed)));
        self.tell_filters(slot, &accepted, EventKind::Subscribed(Vec::new()), (cx.now, cx.fx));
        Ok(())
    }

    fn check_filters(&self, conn: ConnId, filters: usize) -> Result<(), Violation> {
        let most = self.connection(conn).map_or(0, |c| c.limits.filters_per_subscribe);
        if filters <= most {
            return Ok(());
        }
        self.metrics.limited_filters.add(1);
        Err(TOO_MANY_FILTERS)
    }

    fn subscribe_one(
        &mut self,
        (conn, slot): (ConnId, Slot),
        filter: &Filter<'_>,
        id: Option<u32>,
        gathered: &mut Gathered,
        cx: &mut Turn<'_>,
    ) -> Result<ReasonCode, Violation> {
        // First: to parse a filter of very many levels is much work.
        if self.connection(conn).is_some_and(|c| !c.takes_topic(unshared(filter.text))) {
            self.metrics.limited_topic.add(1);
            return Ok(ReasonCode::TopicFilterInvalid);
        }
        let Ok((share, plain)) = TopicFilter::parse_subscription(filter.text) else {
            return Ok(ReasonCode::TopicFilterInvalid);
        };
        if share.is_some() && filter.options.no_local {
            return Err(Violation::protocol("MQTT5-3.8.3-4", "no local on a shared subscription"));
        }
        if is_reserved(&plain) || is_of_trials(&plain) && !self.is_trial(conn) {
            self.metrics.refused_reserved.add(1);
            return Ok(ReasonCode::NotAuthorized);
        }
        let Ok(most) = self.check_subscribe(conn, &plain, cx.now) else {
            return Ok(ReasonCode::NotAuthorized);
        };
        let qos = filter.options.qos.min(most);
        if self.takes_too_many_steps(slot, &plain, &mut gathered.shapes) {
            self.metrics.limited_steps.add(1);
            return Ok(ReasonCode::QuotaExceeded);
        }
        let limit = self.connection(conn).map_or(0, |c| c.limits.subscriptions_per_session);
        let at = self.place_of(slot, filter.text, (share.as_ref(), &plain));
        if share.is_some() && at.is_none() && self.is_in_enough_groups(conn, slot, &plain) {
            self.metrics.limited_groups.add(1);
            return Ok(ReasonCode::QuotaExceeded);
        }
        let Some(live) = self.sessions.get_mut(slot as usize) else {
            return Ok(ReasonCode::UnspecifiedError);
        };
        let stored = StoredSubscription {
            filter: filter.text.into(),
            qos,
            no_local: filter.options.no_local,
            retain_as_published: filter.options.retain_as_published,
            id,
        };
        let durable = live.durable();
        let count = live.subscriptions.len();
        let known = at.and_then(|at| live.subscriptions.get_mut(at));
        let new = known.is_none();
        match known {
            Some(known) => *known = stored.clone(),
            None if count >= limit => {
                self.metrics.limited_subscriptions.add(1);
                return Ok(ReasonCode::QuotaExceeded);
            }
            None => live.subscriptions.push(stored.clone()),
        }
        self.subscribe_here(slot, &stored, durable, cx.out);
        let wanted = match filter.options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => new,
            RetainHandling::DoNotSend => false,
        };
        if wanted && share.is_none() {
            gathered.owed.push(RetainedWanted { filter: plain, qos: stored.qos, id });
        }
        Ok(match qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
            QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
        })
    }

    /// Writes the document of a session whose subscriptions changed, if it has a stored queue; the log tells everybody.
    pub(in crate::hub) fn announce_session(&self, slot: Slot, fx: &mut Fx) {
        if let Some(live) = self.sessions.get(slot as usize).filter(|live| live.durable()) {
            let announced = Put { announce: true, ..put_by_owner(&live.client, &live.record()) };
            fx.first(Record::Put(announced));
        }
    }

    /// Writes SUBACK, then the first of what is retained. What a stored queue keeps for the client goes through that queue.
    pub(crate) fn write_suback(
        &mut self,
        conn: ConnId,
        suback: &SubAck<'_>,
        owed: Vec<RetainedWanted>,
        cx: &mut Turn<'_>,
    ) {
        let Some((_, slot)) = self.attached(conn) else { return };
        let Some(voice) = self.connection(conn).map(Connection::voice) else { return };
        let Some(outbox) = cx.out.outbox(conn) else { return };
        voice.say(outbox, suback.reason_string, |outbox, reason_string| {
            codec::suback(outbox, voice.version, &SubAck { reason_string, ..suback.clone() });
        });
        self.metrics.packets_sent.add(1);
        self.owe(slot, owed);
        self.pump(slot, cx);
    }

    pub(in crate::hub) fn handle_unsubscribe(
        &mut self,
        conn: ConnId,
        slot: Slot,
        unsubscribe: &Unsubscribe<'_>,
        Turn { now, fx, out }: &mut Turn<'_>,
    ) -> Result<(), Violation> {
        self.check_filters(conn, unsubscribe.filters.len())?;
        let mut begun = self.shares.go_on(conn);
        while let Some(filter) = unsubscribe.filters.get(begun.reasons.len()) {
            if !self.shares.of_connection.spend(Work::Filter) {
                self.shares.put_off(conn, begun);
                return Ok(());
            }
            begun.reasons.push(self.unsubscribe_one(slot, filter, *out));
        }
        let reasons = begun.reasons;
        let ended = unsubscribe.filters.iter().zip(&reasons);
        let ended = ended.filter(|(filter, reason)| {
            **reason == ReasonCode::Success && filter.starts_with(SHARE)
        });
        let groups: HashSet<&str> = ended.map(|(filter, _)| *filter).collect();
        if !groups.is_empty()
            && let Some(live) = self.sessions.get_mut(slot as usize)
        {
            let unsent = live.session.take_unsent(&groups);
            self.metrics.queue_out_session.add(unsent.len() as u64);
            self.returning.add(unsent);
        }
        self.announce_session(slot, fx);
        let ended = unsubscribe.filters.iter().zip(&reasons);
        let ended = ended.filter(|(_, reason)| **reason == ReasonCode::Success);
        let ended: Vec<&str> = ended.map(|(filter, _)| *filter).collect();
        fx.then(Output::Reply(conn, Reply::UnsubAck(unsubscribe.packet_id, reasons)));
        self.tell_filters(slot, &ended, EventKind::Unsubscribed(Vec::new()), (*now, fx));
        Ok(())
    }

    fn unsubscribe_one(&mut self, slot: Slot, filter: &str, out: &mut dyn Outlet) -> ReasonCode {
        let known = TopicFilter::parse_subscription(filter).ok();
        let at =
            known.and_then(|(share, plain)| self.place_of(slot, filter, (share.as_ref(), &plain)));
        let Some(live) = self.sessions.get_mut(slot as usize) else {
            return ReasonCode::NoSubscriptionExisted;
        };
        let Some(at) = at else { return ReasonCode::NoSubscriptionExisted };
        let durable = live.durable();
        live.subscriptions.swap_remove(at);
        self.owe_no_more(slot, filter);
        self.unsubscribe_here(slot, filter, durable, out);
        ReasonCode::Success
    }

    /// Where a subscription of a session stands, if it has it. Of one that is new the table knows without a search.
    fn place_of(
        &self,
        slot: Slot,
        text: &str,
        (share, filter): (Option<&SharedName>, &TopicFilter),
    ) -> Option<usize> {
        let live = self.sessions.get(slot as usize)?;
        // Those of a session all of whose messages are stored do not stand there.
        if live.positions.is_none() && !self.table.has(slot, share, filter) {
            return None;
        }
        live.subscriptions.iter().position(|stored| *stored.filter == *text)
    }

    pub(crate) fn write_unsuback(
        &self,
        conn: ConnId,
        voice: Voice,
        ack: &UnsubAck<'_>,
        out: &mut dyn Outlet,
    ) {
        if let Some(outbox) = out.outbox(conn) {
            voice.say(outbox, ack.reason_string, |outbox, reason_string| {
                codec::unsuback(outbox, voice.version, &UnsubAck { reason_string, ..ack.clone() });
            });
            self.metrics.packets_sent.add(1);
        }
    }
}

/// A filter without what makes it that of a shared group.
pub(super) fn unshared(text: &str) -> &str {
    let rest = text.strip_prefix(SHARE).and_then(|rest| rest.split_once('/'));
    rest.map_or(text, |(_, filter)| filter)
}
