//! A connection takes its session: CONNACK, subscriptions, what was in flight.

use std::sync::Arc;

use fanout::{GroupKey, Slot, Subscription};
use protocol::session::{QueueLimits, Session, SessionRecord, StoredSubscription};
use protocol::{Now, QoS, TopicFilter};

use crate::hub::connection::{Moment, State};
use crate::hub::positions::resume::{Begin, Resume};
use crate::hub::session::live::{Held, Live, Standing};
use crate::hub::traffic::deliver::CREDIT;
use crate::hub::traffic::owing::Owing;
use crate::hub::{Ask, ConnId, ConnectRequest, Hub, Outlet};

/// A session that is ours now.
#[derive(Debug)]
pub(in crate::hub) struct ClaimedSession {
    /// As it is stored.
    pub(in crate::hub) record: SessionRecord,
    /// Whether it is an old one, for Session Present.
    pub(in crate::hub) resumed: bool,
    /// Whether its last gateway died with it.
    pub(in crate::hub) orphaned: bool,
    /// What its client is told of positions.
    pub(in crate::hub) resume: Option<Box<Resume>>,
    /// The record of its client's presence, if one is kept.
    pub(in crate::hub) presence: Option<Box<[u8]>>,
}

impl Hub {
    /// Attaches a connection to the session that is now ours.
    pub(in crate::hub) fn attach(
        &mut self,
        conn: ConnId,
        request: &ConnectRequest,
        claimed: ClaimedSession,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        let ClaimedSession { record, resumed, orphaned, resume, presence } = claimed;
        let begin = Begin::of(&request.client, &record, resume.as_deref());
        let mut session = Session::new(request.receive_maximum.max(1), begin.after);
        session.restore_inbound(&record.inbound);
        begin.releases.iter().for_each(|(id, at)| session.release(*id, *at));
        // Of a gateway that died nobody knows what it sent last.
        let doubtful = resumed && orphaned;
        let owing = Owing::read_back(&record);
        self.owing += usize::from(!owing.is_empty());
        let held = Held { owing, ..Held::default() };
        let live = Live {
            client: request.client.clone(),
            conn,
            session,
            no: record.no,
            epoch: record.epoch,
            holder: record.holder,
            standing: self.standing_of(record.queue),
            expiry_s: record.expiry_s,
            subscriptions: record.subscriptions,
            will: record.will.map(Box::new),
            restoring: begin.restoring,
            sent_before: begin.sent_before,
            doubtful,
            sent: record.sent.max(begin.after),
            credit: CREDIT,
            trimmed: record.acknowledged,
            held: (!held.is_empty()).then(|| Box::new(held)),
            positions: begin.positions,
            grouped: record.grouped,
            presence,
            leaving: false,
        };
        let (no, after) = (live.no, begin.after);
        let subscriptions = live.subscriptions.clone();
        let durable = live.durable();
        let Ok(slot) = Slot::try_from(self.sessions.insert(live)) else { return };
        self.by_client.insert(request.client.clone(), slot);
        for subscription in &subscriptions {
            self.subscribe_here(slot, subscription, durable, out);
        }
        if let Some(connection) = self.connection_mut(conn) {
            let claimed = now.mono.saturating_sub(connection.heard.mono());
            connection.state = State::Attached(slot);
            connection.heard = Moment::of(now.mono);
            self.metrics.count_connect(request.waited.saturating_add(claimed));
        }
        self.metrics.sessions.add(1);
        self.write_connack(conn, request, (resumed, resume.as_deref()), out);
        begin.releases.iter().for_each(|(id, _)| self.write_pubrel(conn, *id, out));
        if durable {
            self.by_no.insert(no, slot);
            out.ask(Ask::Attach { session: no, after, credit: CREDIT });
        }
        out.resume(conn);
    }

    /// What sessions with these limits share.
    fn standing_of(&mut self, queue: Option<QueueLimits>) -> Arc<Standing> {
        if let Some(known) = self.standings.iter().find(|known| known.queue == queue) {
            return Arc::clone(known);
        }
        // Of classes that are no more, nobody needs theirs.
        self.standings.retain(|known| Arc::strong_count(known) > 1);
        let new = Arc::new(Standing { owner: (*self.owner).clone(), queue });
        self.standings.push(Arc::clone(&new));
        new
    }

    /// Enters a subscription into this worker's table and, with the first of a filter, into the process's.
    pub(in crate::hub) fn subscribe_here(
        &mut self,
        slot: Slot,
        stored: &StoredSubscription,
        durable: bool,
        out: &mut dyn Outlet,
    ) {
        let Ok((share, filter)) = TopicFilter::parse_subscription(&stored.filter) else { return };
        let with = Subscription {
            qos: stored.qos,
            no_local: stored.no_local,
            retain_as_published: stored.retain_as_published,
            id: stored.id,
            durable,
        };
        let worker = self.config.worker;
        let all_stored = self.sessions.get(slot as usize).is_some_and(|it| it.positions.is_some());
        let told = if let Some(share) = share {
            let group = GroupKey { share, filter };
            let members = self.table.join(slot, &group, with);
            if durable {
                let live = self.sessions.get_mut(slot as usize);
                live.into_iter().for_each(|live| live.grouped |= with.qos != QoS::AtMostOnce);
                return;
            }
            self.tables.change_routes(|r| r.set_worker_members(worker, &group, members))
        } else if all_stored {
            // Everything comes through its queue.
            false
        } else if let Some(wants) = self.table.subscribe(slot, &filter, with) {
            self.tables.change_routes(|r| r.set_worker(worker, &filter, wants))
        } else {
            false
        };
        Self::tell_interest(told, out);
    }

    /// Takes a subscription out of this worker's table and, with the last of a filter, out of the process's.
    pub(in crate::hub) fn unsubscribe_here(
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

    fn tell_interest(told: bool, out: &mut dyn Outlet) {
        if told {
            out.ask(Ask::Interest);
        }
    }
}
