//! A connection takes its session: CONNACK, subscriptions, what was in flight.

use fanout::{GroupKey, Slot, Subscription};
use protocol::mqtt::codec;
use protocol::mqtt::{ConnAck, ReasonCode, Version};
use protocol::session::{Owner, Session, SessionRecord, StoredSubscription};
use protocol::{Now, TopicFilter};

use super::connection::State;
use super::deliver::CREDIT;
use super::live::Live;
use super::{Ask, ConnId, ConnectRequest, Hub, Outlet};

/// A session that is ours now.
#[derive(Debug)]
pub(super) struct ClaimedSession {
    /// As it is stored.
    pub(super) record: SessionRecord,
    /// Whether it is an old one, for Session Present.
    pub(super) resumed: bool,
    /// Whether its last gateway died with it.
    pub(super) orphaned: bool,
}

impl Hub {
    /// Attaches a connection to the session that is now ours.
    pub(super) fn attach(
        &mut self,
        conn: ConnId,
        request: &ConnectRequest,
        claimed: ClaimedSession,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        let ClaimedSession { record, resumed, orphaned } = claimed;
        let mut session = Session::new(request.receive_maximum.max(1), record.acknowledged);
        session.restore_inbound(&record.inbound);
        // Of a gateway that died nobody knows what it sent last.
        let doubtful = resumed && orphaned;
        let live = Live {
            client: request.client.clone(),
            conn,
            session,
            no: record.no,
            epoch: record.epoch,
            owner: Owner {
                gateway: self.config.gateway.clone(),
                incarnation: self.config.incarnation,
            },
            expiry_s: record.expiry_s,
            subscriptions: record.subscriptions,
            will: record.will.map(Box::new),
            restoring: record
                .inflight
                .iter()
                .map(|(id, at, released)| (*at, *id, *released))
                .collect(),
            sent_before: record.sent,
            doubtful,
            sent: record.sent,
            credit: CREDIT,
            trimmed: record.acknowledged,
            leaving: false,
        };
        let (no, after) = (live.no, record.acknowledged);
        let subscriptions = live.subscriptions.clone();
        let durable = live.durable();
        let Ok(slot) = Slot::try_from(self.sessions.insert(live)) else { return };
        self.by_client.insert(request.client.clone(), slot);
        for subscription in &subscriptions {
            self.subscribe_here(slot, subscription, durable, out);
        }
        if let Some(connection) = self.connection_mut(conn) {
            connection.state = State::Attached(slot);
            connection.heard = now.mono;
        }
        self.metrics.sessions.add(1);
        self.write_connack(conn, request, resumed, out);
        if durable {
            self.by_no.insert(no, slot);
            out.ask(Ask::Attach { session: no, after, credit: CREDIT });
        }
        out.resume(conn);
    }

    fn write_connack(
        &self,
        conn: ConnId,
        request: &ConnectRequest,
        resumed: bool,
        out: &mut dyn Outlet,
    ) {
        let keep_alive = self.keep_alive(request.version, request.keep_alive_s);
        let config = &self.config;
        let ack = ConnAck {
            session_expiry_s: (request.expiry_s == config.session_expiry_max_s)
                .then_some(request.expiry_s),
            receive_maximum: Some(config.receive_maximum),
            maximum_packet_bytes: Some(config.packet_bytes),
            assigned_client_id: request.assigned.then(|| request.client.as_str()),
            topic_alias_maximum: Some(config.topic_alias_maximum),
            server_keep_alive_s: (keep_alive != request.keep_alive_s).then_some(keep_alive),
            ..ConnAck::of(resumed, ReasonCode::Success)
        };
        // 3.1 has no session present flag.
        let ack = if request.version == Version::V31 {
            ConnAck::of(false, ReasonCode::Success)
        } else {
            ack
        };
        if let Some(outbox) = out.outbox(conn) {
            codec::connack(outbox, request.version, &ack);
            self.metrics.packets_sent.add(1);
        }
    }

    /// Enters a subscription into this worker's table and, with the first of a filter, into the process's.
    /// Says whether the peers must hear of it.
    pub(super) fn subscribe_here(
        &mut self,
        slot: Slot,
        stored: &StoredSubscription,
        durable: bool,
        out: &mut dyn Outlet,
    ) -> bool {
        let Ok((share, filter)) = TopicFilter::parse_subscription(&stored.filter) else {
            return false;
        };
        let with = Subscription {
            qos: stored.qos,
            no_local: stored.no_local,
            retain_as_published: stored.retain_as_published,
            id: stored.id,
            durable,
        };
        let worker = self.config.worker;
        let told = if let Some(share) = share {
            let group = GroupKey { share, filter };
            let members = self.table.join(slot, &group, with);
            if durable {
                return false;
            }
            self.tables.change_routes(|r| r.set_worker_members(worker, &group, members))
        } else if let Some(wants) = self.table.subscribe(slot, &filter, with) {
            self.tables.change_routes(|r| r.set_worker(worker, &filter, wants))
        } else {
            false
        };
        Self::tell_interest(told, out)
    }

    /// Takes a subscription out of this worker's table and, with the last of a filter, out of the process's.
    pub(super) fn unsubscribe_here(
        &mut self,
        slot: Slot,
        filter: &str,
        durable: bool,
        out: &mut dyn Outlet,
    ) {
        let Ok((share, filter)) = TopicFilter::parse_subscription(filter) else { return };
        let worker = self.config.worker;
        let told = if let Some(share) = share {
            let group = GroupKey { share, filter };
            let members = self.table.leave(slot, &group);
            if durable {
                return;
            }
            self.tables.change_routes(|r| r.set_worker_members(worker, &group, members))
        } else if let Some(wants) = self.table.unsubscribe(slot, &filter) {
            self.tables.change_routes(|r| r.set_worker(worker, &filter, wants))
        } else {
            false
        };
        Self::tell_interest(told, out);
    }

    fn tell_interest(told: bool, out: &mut dyn Outlet) -> bool {
        if told {
            out.ask(Ask::Interest);
        }
        told
    }
}
