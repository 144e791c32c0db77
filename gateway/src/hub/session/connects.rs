//! A connection takes its session: CONNACK, subscriptions, what was in flight.

use std::sync::Arc;

use fanout::{GroupKey, Slot, Subscription};
use protocol::session::{Holder, QueueLimits, Session, SessionRecord, StoredSubscription};
use protocol::{Position, QoS, SessionEpoch, TopicFilter};

use crate::hub::connection::{Moment, State};
use crate::hub::positions::resume::{Begin, Resume};
use crate::hub::session::claim::{Claim, ClaimStage};
use crate::hub::session::live::{Held, Live, Standing};
use crate::hub::share::{AT_ONCE, Share, Work};
use crate::hub::traffic::deliver::CREDIT;
use crate::hub::traffic::owing::Owing;
use crate::hub::{Ask, ConnId, ConnectRequest, Fx, Hub, Outlet, Turn};

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
    /// The record of its client's presence, if one is kept, until the session has its place.
    pub(in crate::hub) presence: Option<Box<[u8]>>,
}

/// A session on its way into the tables.
#[derive(Debug)]
pub(in crate::hub) struct Entering {
    slot: Slot,
    /// How many of its subscriptions are there.
    entered: usize,
    begin: Begin,
    claimed: ClaimedSession,
}

impl Entering {
    /// Which ownership it is.
    pub(in crate::hub) const fn epoch(&self) -> SessionEpoch {
        self.claimed.record.epoch
    }
}

/// Of so many sessions that wait to be entered, each adds a share to a turn.
const ENTERED_TOGETHER: u32 = 8;

impl Hub {
    /// The connection of a claim gets the session that is now ours, once all its subscriptions are in the tables: at once if
    /// they are few, else little by little.
    pub(in crate::hub) fn attach(
        &mut self,
        mut claim: Box<Claim>,
        claimed: ClaimedSession,
        cx: &mut Turn<'_>,
    ) {
        let few = claimed.record.subscriptions.len() <= AT_ONCE;
        let Some(mut entering) = self.begin(claim.conn, &claim.request, claimed) else { return };
        if few {
            while self.enter_next(&mut entering, cx.out) {}
            return self.greet(&claim, entering, cx);
        }
        let client = claim.request.client.clone();
        claim.stage = ClaimStage::Entering(Box::new(entering));
        self.claims.insert(client.clone(), claim);
        self.shares.arriving.push_back(client);
    }

    /// Goes on with sessions whose subscriptions are entered little by little. Who came first is served first, and the more
    /// wait, the more is done, up to eight shares: if all went forward together, all would be late, and come again.
    pub(in crate::hub) fn go_on_entering(&mut self, cx: &mut Turn<'_>) {
        let waiting = u32::try_from(self.shares.arriving.len()).unwrap_or(u32::MAX);
        let mut share = Share::of_many(waiting.min(ENTERED_TOGETHER));
        while let Some(client) = self.shares.arriving.pop_front() {
            let Some(mut claim) = self.claims.remove(&client) else { continue };
            let stage = std::mem::replace(&mut claim.stage, ClaimStage::GivingUp);
            let ClaimStage::Entering(mut entering) = stage else {
                claim.stage = stage;
                self.claims.insert(client, claim);
                continue;
            };
            let wanted = self.is_wanted_by(&claim);
            let whole = loop {
                if !wanted || !share.spend(Work::Entry) {
                    break false;
                }
                if !self.enter_next(&mut entering, cx.out) {
                    break true;
                }
            };
            if wanted && !whole {
                claim.stage = ClaimStage::Entering(entering);
                self.claims.insert(client.clone(), claim);
                return self.shares.arriving.push_front(client);
            }
            let mut fx = Fx::new();
            let turn = &mut Turn { now: cx.now, fx: &mut fx, out: &mut *cx.out };
            if wanted {
                self.greet(&claim, *entering, turn);
            } else {
                let claimed = self.put_away(*entering, turn.out);
                self.give_claimed_back(claim, claimed, turn);
            }
            self.go_on_with_releases(&client, turn);
            self.side.push_back(fx);
        }
    }

    /// A session takes its place. Until it is whole nothing is delivered to it, and nobody finds it by its client.
    fn begin(
        &mut self,
        conn: ConnId,
        request: &ConnectRequest,
        mut claimed: ClaimedSession,
    ) -> Option<Entering> {
        let record = &mut claimed.record;
        let mut begin = Begin::of(&request.client, record, claimed.resume.as_deref());
        let mut session = Session::new(request.receive_maximum.max(1), begin.after);
        session.restore_inbound(&record.inbound);
        begin.releases.iter().for_each(|(id, at)| session.release(*id, *at));
        let live = Live {
            client: request.client.clone(),
            conn,
            session,
            no: record.no,
            epoch: record.epoch,
            holder: record.holder,
            standing: self.standing_of(record.queue),
            expiry_s: record.expiry_s,
            subscriptions: record.subscriptions.clone(),
            will: record.will.clone().map(Box::new),
            restoring: std::mem::take(&mut begin.restoring),
            sent_before: begin.sent_before,
            // Of a gateway that died nobody knows what it sent last.
            doubtful: (claimed.resumed && claimed.orphaned).then_some(Position(u64::MAX)),
            sent: record.sent.max(begin.after),
            credit: CREDIT,
            trimmed: record.acknowledged,
            held: None,
            positions: begin.positions.take(),
            grouped: record.grouped,
            hangs: false,
            presence: claimed.presence.take(),
            leaving: true,
        };
        let slot = Slot::try_from(self.sessions.insert(live)).ok()?;
        Some(Entering { slot, entered: 0, begin, claimed })
    }

    /// Enters the next subscription into the tables; `false` if there is none.
    fn enter_next(&mut self, entering: &mut Entering, out: &mut dyn Outlet) -> bool {
        let ClaimedSession { record, .. } = &entering.claimed;
        let Some(next) = record.subscriptions.get(entering.entered) else { return false };
        self.subscribe_here(entering.slot, next, record.no.0 != 0, out);
        entering.entered += 1;
        true
    }

    /// Nobody wants it any more: what was entered goes out of the tables again.
    fn put_away(&mut self, entering: Entering, out: &mut dyn Outlet) -> ClaimedSession {
        let Entering { slot, entered, mut claimed, .. } = entering;
        claimed.presence = self.sessions.get_mut(slot as usize).and_then(|it| it.presence.take());
        let record = &claimed.record;
        let gone = record.subscriptions.iter().take(entered).cloned().collect();
        self.clear(slot, record.no.0 != 0, gone, out);
        claimed
    }

    /// The session is whole: its client hears of it, and what it is owed.
    fn greet(&mut self, claim: &Claim, entering: Entering, cx: &mut Turn<'_>) {
        let Entering {
            slot, begin, claimed: ClaimedSession { record, resumed, resume, .. }, ..
        } = entering;
        let Claim { conn, request, .. } = claim;
        let conn = *conn;
        let owing = Owing::read_back(&record);
        self.owing += usize::from(!owing.is_empty());
        let held = Held { owing, ..Held::default() };
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        live.held = (!held.is_empty()).then(|| Box::new(held));
        live.leaving = false;
        let durable = live.durable();
        self.by_client.insert(request.client.clone(), slot);
        if let Some(connection) = self.connection_mut(conn) {
            let claimed = cx.now.mono.saturating_sub(connection.heard.mono());
            connection.state = State::Attached(slot);
            connection.heard = Moment::of(cx.now.mono);
            self.metrics.count_connect(request.waited.saturating_add(claimed));
        }
        self.metrics.sessions.add(1);
        self.write_connack(conn, request, (resumed, resume.as_deref()), cx.out);
        begin.releases.iter().for_each(|(id, _)| self.write_pubrel(conn, *id, cx.out));
        if durable {
            self.by_no.insert(record.no, slot);
            let (session, after, credit) = (record.no, begin.after, CREDIT);
            cx.out.ask(Ask::Attach { session, after, credit });
        }
        cx.out.resume(conn);
        // It may have lost rights while it was away, or come back as somebody else.
        self.drop_denied(conn, cx);
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
        let live = self.sessions.get(slot as usize);
        let all_stored = live.is_some_and(|live| live.positions.is_some());
        let holder = live.map_or(Holder::NOBODY, |live| live.holder);
        let told = if let Some(share) = share {
            let group = GroupKey { share, filter };
            let members = self.table.join(slot, &group, with);
            if durable {
                let live = self.sessions.get_mut(slot as usize);
                live.into_iter().for_each(|live| live.grouped |= with.qos != QoS::AtMostOnce);
                return;
            }
            self.tables.change_routes(|routes| {
                routes.on_behalf_of(holder);
                routes.set_worker_members(worker, &group, members)
            })
        } else if all_stored {
            // Everything comes through its queue.
            false
        } else if let Some(wants) = self.table.subscribe(slot, &filter, with) {
            self.tables.change_routes(|routes| {
                routes.on_behalf_of(holder);
                routes.set_worker(worker, &filter, wants)
            })
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
