//! A worker without its sockets: hub and gate together. A simulation runs it as it is.

use std::collections::VecDeque;
use std::sync::Arc;

use access::Bans;
use protocol::Now;
use protocol::mqtt::ReasonCode;

use crate::commit::{Gate, Ordered};
use crate::hub::{
    BEFORE_LOOKS, Bundle, Close, ConnId, ConnectRequest, Departing, Feed, Fx, Heard, Hub,
    MoveOrder, Outlet, Post, Record, SHADOWS_LOOK, ShadowMail, Turn,
};

use super::Mail;
use super::catching::{Catching, has_consequences};

/// How the client of a connection has closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// It sends nothing more; whether it still reads is not to be known.
    ToUs,
    /// It has cut the connection: nobody reads.
    Wholly,
}

/// How to go on reading a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The rest is the beginning of a packet.
    On,
    /// It had its share of this turn, or too much of it waits for the store: the rest again at its next turn, or when it
    /// is resumed.
    Later,
    /// It speaks for no session any more: the rest is nobody's.
    Over,
}

/// A worker's cores and the gate that orders what they do.
#[derive(Debug)]
pub struct WorkerMachine {
    hub: Hub,
    gate: Gate,
    catching: Catching,
    /// Empty between turns; kept for its allocation.
    fx: Fx,
    /// Publications by another way than a connection that came while this gateway was not sure that others waited for it. As
    /// many as there are requests.
    posts: VecDeque<Post>,
}

/// In whose name they wait: no connection is this one.
const POSTS: ConnId = ConnId { index: u32::MAX, life: u32::MAX };

impl WorkerMachine {
    /// A worker with nothing to do yet.
    pub fn new(hub: Hub) -> Self {
        let (gate, catching) = (Gate::default(), Catching::default());
        Self { hub, gate, catching, fx: Fx::new(), posts: VecDeque::new() }
    }

    /// The cores, to look at.
    pub const fn hub(&self) -> &Hub {
        &self.hub
    }

    /// A connection whose CONNECT was accepted.
    pub fn handle_connect(
        &mut self,
        conn: ConnId,
        request: ConnectRequest,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        let mut fx = Fx::new();
        let lane = self.hub.handle_connect(conn, request, &mut Turn { now, fx: &mut fx, out });
        self.gate.submit(&mut self.hub, lane, &mut fx, now, out);
    }

    /// Bytes of a connection: handles every whole packet and answers how many bytes that were, and how to go on reading.
    pub fn handle_bytes(
        &mut self,
        conn: ConnId,
        bytes: &[u8],
        now: Now,
        out: &mut dyn Outlet,
    ) -> (usize, Reading) {
        if self.hub.is_due(conn) {
            self.review(conn, now, out);
        }
        let mut fx = std::mem::take(&mut self.fx);
        let read = self.handle_packets(conn, bytes, &mut Turn { now, fx: &mut fx, out });
        self.fx = fx;
        read
    }

    fn handle_packets(
        &mut self,
        conn: ConnId,
        bytes: &[u8],
        Turn { now, fx, out }: &mut Turn<'_>,
    ) -> (usize, Reading) {
        let now = *now;
        let mut at = 0;
        let sure = self.catching.may_route(conn, now, self.hub.tables());
        self.hub.begin_share();
        while self.hub.spend_on_packet() {
            let rest = bytes.get(at..).unwrap_or_default();
            // Who has nothing more to say is in pace, and is listened to: its end must be noticed.
            let in_pace = rest.is_empty() || self.hub.is_in_pace(conn, now);
            if !in_pace || !self.gate.may_read(conn) {
                break;
            }
            if !sure && (has_consequences(rest) || self.hub.tells_of(rest)) {
                self.catching.hold(conn, now, self.hub.tables(), *out);
                break;
            }
            self.hub.set_straight(self.gate.is_clear(conn));
            let feed = if rest.is_empty() {
                Feed::Incomplete
            } else {
                self.hub.handle_bytes(conn, rest, &mut Turn { now, fx, out: &mut **out })
            };
            if !fx.is_empty() || self.hub.has_side() {
                self.gate.submit(&mut self.hub, Some(conn), fx, now, *out);
            }
            match feed {
                Feed::Took(len) => at += len,
                Feed::Partly => break,
                Feed::Incomplete => {
                    self.catching.heard_all(conn);
                    let heard = Heard { packet: at > 0, beginning: !rest.is_empty() };
                    self.hub.heard(conn, heard, now);
                    return (at, Reading::On);
                }
                Feed::Over => return (at, Reading::Over),
            }
        }
        if at == bytes.len() {
            // The turn ended with the last packet: what comes next is new.
            self.catching.heard_all(conn);
        }
        self.hub.heard(conn, Heard { packet: at > 0, beginning: false }, now);
        (at, Reading::Later)
    }

    /// Whether more of a connection should be read now.
    pub fn may_read(&self, conn: ConnId) -> bool {
        self.gate.may_read(conn) && !self.hub.is_paused(conn) && !self.catching.waits(conn)
    }

    /// The connection is gone.
    pub fn handle_lost(&mut self, conn: ConnId, now: Now, out: &mut dyn Outlet) {
        let mut fx = Fx::new();
        self.hub.lose_connection(conn, Close::Quiet, &mut Turn { now, fx: &mut fx, out });
        self.gate.submit(&mut self.hub, Some(conn), &mut fx, now, out);
    }

    /// The connection's certificate is revoked.
    pub fn handle_revoked(&mut self, conn: ConnId, now: Now, out: &mut dyn Outlet) {
        let mut fx = Fx::new();
        let how = Close::Reason(ReasonCode::NotAuthorized);
        self.hub.lose_connection(conn, how, &mut Turn { now, fx: &mut fx, out });
        self.gate.submit(&mut self.hub, Some(conn), &mut fx, now, out);
    }

    /// The connection's place is free.
    pub fn forget(&mut self, conn: ConnId) {
        self.catching.forget(conn);
        self.hub.forget_connection(conn);
    }

    /// A connection's outbox is empty again.
    pub fn handle_writable(&mut self, conn: ConnId, now: Now, out: &mut dyn Outlet) {
        if self.hub.waits_for_room(conn) {
            let mut fx = Fx::new();
            self.hub.handle_writable(conn, &mut Turn { now, fx: &mut fx, out });
            self.gate.submit(&mut self.hub, None, &mut fx, now, out);
        }
    }

    /// A letter, apart from new connections and the order to stop, which are the driver's.
    pub fn handle_mail(&mut self, mail: Mail, now: Now, out: &mut dyn Outlet) {
        let (mut fx, mut lane) = (Fx::new(), None);
        let turn = &mut Turn { now, fx: &mut fx, out: &mut *out };
        match mail {
            Mail::Forward(forward) => self.hub.handle_forward(&forward, turn),
            Mail::Bundle(bundle) => return self.handle_bundle(&bundle, now, out),
            Mail::Queued(queued) => lane = self.hub.handle_queued(queued, turn),
            Mail::Answers(answers) => self.gate.handle_answers(&mut self.hub, answers, now, out),
            Mail::Record(client, doc) => self.hub.handle_record(&client, doc, turn),
            Mail::Presence(mail) => lane = self.hub.handle_presence(mail, turn),
            Mail::Whole(client, whole) => self.hub.handle_whole(&client, whole),
            Mail::Passed(session, position) => self.hub.handle_passed(session, position, turn),
            Mail::Interrupted(session, up_to) => {
                lane = self.hub.handle_interrupted(session, up_to, turn);
            }
            Mail::Unreadable(client) => self.hub.handle_unreadable(&client, out),
            Mail::Superseded(client, epoch) => self.hub.handle_superseded(&client, epoch, now, out),
            Mail::Gone(client) => self.hub.doubt(client),
            Mail::Gap => self.hub.doubt_all(),
            Mail::Returned(portion) => self.hub.give_portion(portion, turn),
            Mail::Drops(drops) => self.hub.handle_leaving(drops, &mut fx),
            // Whoever was faster: it is raised, and the log says so.
            Mail::Fence(put) => fx.first(Record::Put(put)),
            Mail::Left(reason, count) => self.hub.handle_left(reason, count),
            Mail::Released(request, outcome) => {
                self.hub.handle_released(request, outcome, now, out);
            }
            Mail::ReleaseAsked(asked) => lane = self.hub.handle_release(asked, turn),
            Mail::Progress(progress) => {
                self.gate.handle_progress(&mut self.hub, progress, now, out);
            }
            Mail::Refreshed(refresh) => {
                self.gate.handle_refreshed(&mut self.hub, refresh, now, out);
            }
            Mail::CaughtUp(look) => return self.handle_caught_up(look, now, out),
            Mail::Post(post) => return self.handle_post(*post, now, out),
            Mail::SessionNumbers(from, to) => self.hub.add_session_numbers(from, to),
            Mail::Authenticated(conn, verdict) => {
                self.hub.handle_authenticated(conn, *verdict, turn);
                lane = Some(conn);
            }
            Mail::Echo(echo) => self.hub.say_echo(&echo, out),
            Mail::FireWill(client, record, rev) => {
                self.hub.fire_will(&client, *record, rev, now, &mut fx);
            }
            Mail::Shadow(mail) => return self.handle_shadow_mail(mail, now, out),
            Mail::Move(order) => return self.hand_over(order, now, out),
            Mail::Bans(bans) => return self.handle_bans(bans, now, out),
            Mail::Policy(policy) => return self.set(|hub| hub.set_policy(policy), now, out),
            Mail::Settings(new) => return self.set(|hub| hub.set_settings(&new), now, out),
            Mail::Accepted(_)
            | Mail::Stop
            | Mail::Clients(_)
            | Mail::Waiting(..)
            | Mail::Filters(..)
            | Mail::Count(_)
            | Mail::Revoked(_)
            | Mail::Settle(_) => {}
        }
        self.gate.submit(&mut self.hub, lane, &mut fx, now, out);
    }

    /// What another worker passes on.
    pub(super) fn handle_bundle(&mut self, bundle: &Bundle, now: Now, out: &mut dyn Outlet) {
        let mut fx = std::mem::take(&mut self.fx);
        self.hub.handle_bundle(bundle, &mut Turn { now, fx: &mut fx, out });
        self.gate.submit(&mut self.hub, None, &mut fx, now, out);
        self.fx = fx;
    }

    fn handle_shadow_mail(&mut self, mail: ShadowMail, now: Now, out: &mut dyn Outlet) {
        let mut fx = Fx::new();
        self.hub.handle_shadow_mail(mail, &mut Turn { now, fx: &mut fx, out });
        self.gate.submit(&mut self.hub, None, &mut fx, now, out);
    }

    fn handle_caught_up(&mut self, look: u64, now: Now, out: &mut dyn Outlet) {
        if look == SHADOWS_LOOK {
            return self.hub.handle_shadows_caught_up();
        }
        if look > BEFORE_LOOKS {
            self.hub.handle_untold_caught_up();
            return self.handle_more(now, out);
        }
        self.catching.handle_caught_up(look, now, self.hub.tables(), out);
        self.take_posts(now, out);
    }

    fn handle_post(&mut self, post: Post, now: Now, out: &mut dyn Outlet) {
        // Who was told that it takes too long asks again. What the fleet says itself is little, and said once.
        self.posts.retain(|post| !post.is_given_up());
        self.posts.push_back(post);
        self.take_posts(now, out);
    }

    /// Takes publications in their order, as far as they need not wait.
    fn take_posts(&mut self, now: Now, out: &mut dyn Outlet) {
        if self.catching.waits(POSTS) {
            return;
        }
        while let Some(post) = self.posts.pop_front() {
            let sure = self.catching.may_route(POSTS, now, self.hub.tables());
            if !sure && post.wants_acknowledgement() {
                self.posts.push_front(post);
                self.catching.hold(POSTS, now, self.hub.tables(), out);
                return;
            }
            let mut fx = Fx::new();
            self.hub.handle_post(post, &mut Turn { now, fx: &mut fx, out });
            self.gate.submit(&mut self.hub, None, &mut fx, now, out);
        }
        self.catching.heard_all(POSTS);
    }

    fn set(&mut self, set: impl FnOnce(&mut Hub), now: Now, out: &mut dyn Outlet) {
        set(&mut self.hub);
        self.handle_more(now, out);
    }

    /// Goes on with what was more than a turn takes; looks at some connections again, if another policy or other settings
    /// hold.
    pub fn handle_more(&mut self, now: Now, out: &mut dyn Outlet) {
        let mut fx = Fx::new();
        self.hub.go_on(&mut Turn { now, fx: &mut fx, out });
        self.gate.submit(&mut self.hub, None, &mut fx, now, out);
        if self.hub.is_reviewing() {
            for conn in self.hub.next_to_review() {
                self.review(conn, now, out);
            }
        }
    }

    /// Whether something is to go on.
    pub fn has_more(&self) -> bool {
        self.hub.is_reviewing() || self.hub.has_rest()
    }

    fn review(&mut self, conn: ConnId, now: Now, out: &mut dyn Outlet) {
        let mut fx = Fx::new();
        self.hub.reconsider(conn, &mut Turn { now, fx: &mut fx, out });
        self.gate.submit(&mut self.hub, Some(conn), &mut fx, now, out);
    }

    /// The connections that are too fast and wait.
    pub fn held_back(&self) -> &[ConnId] {
        self.hub.held_back()
    }

    /// The client of a connection that waits has closed it.
    pub fn handle_closing(&mut self, conn: ConnId, how: Closed, now: Now, out: &mut dyn Outlet) {
        if how == Closed::Wholly || self.hub.has_had_its_time(conn, now) {
            self.handle_lost(conn, now, out);
        }
    }

    fn handle_bans(&mut self, bans: Arc<Bans>, now: Now, out: &mut dyn Outlet) {
        for conn in self.hub.set_bans(bans, now) {
            let mut fx = Fx::new();
            self.hub.cut_banned(conn, &mut Turn { now, fx: &mut fx, out });
            self.gate.submit(&mut self.hub, Some(conn), &mut fx, now, out);
        }
    }

    fn hand_over(&mut self, order: MoveOrder, now: Now, out: &mut dyn Outlet) {
        let wanted = order.clients;
        let Departing { clients, held_back } = self.hub.departing(order, now);
        // Who left meanwhile need not be moved; the drain counts them all the same.
        self.hub.count_not_moved(wanted - clients.len() - held_back, held_back);
        self.hand_over_all(clients, now, out);
    }

    fn hand_over_all(
        &mut self,
        clients: Vec<(ConnId, Option<u8>)>,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        for departing in clients {
            let mut fx = Fx::new();
            self.hub.hand_over(departing, now, &mut fx);
            // Behind everything its client is still owed: what was read is routed and acknowledged first.
            self.gate.submit(&mut self.hub, Some(departing.0), &mut fx, now, out);
        }
    }

    /// Every tenth of a second or so.
    pub fn handle_tick(&mut self, now: Now, out: &mut dyn Outlet) {
        let mut fx = Fx::new();
        self.hub.handle_tick(&mut Turn { now, fx: &mut fx, out });
        self.gate.submit(&mut self.hub, None, &mut fx, now, out);
        self.handle_more(now, out);
        self.catching.handle_tick(now, self.hub.tables(), out);
        for (conn, close) in self.hub.overdue(now) {
            let mut fx = Fx::new();
            self.hub.lose_connection(conn, close, &mut Turn { now, fx: &mut fx, out });
            self.gate.submit(&mut self.hub, Some(conn), &mut fx, now, out);
        }
    }

    /// Ends every connection: the process is going away. Sessions are written off as if their clients had been moved.
    pub fn handle_stop(&mut self, now: Now, out: &mut dyn Outlet) {
        let everyone = self.hub.everyone(now);
        self.hand_over_all(everyone, now, out);
    }

    /// The writes since the last call.
    pub fn take_writes(&mut self) -> Vec<Ordered> {
        self.gate.take_writes()
    }

    /// Whether there are writes to be taken.
    pub const fn has_writes(&self) -> bool {
        self.gate.has_writes()
    }

    /// Whether subscriptions wait for the peers to know them.
    pub fn waits_for_peers(&self) -> bool {
        self.gate.waits_for_peers()
    }

    /// Whether they wait to be told how far the peers are now.
    pub fn wants_progress(&self) -> bool {
        self.gate.wants_progress()
    }

    /// Whether nothing waits for the store, to go back to shared groups, or for an answer about a shadow.
    pub fn is_idle(&self) -> bool {
        self.gate.is_idle()
            && self.hub.to_give_back() == 0
            && self.hub.shadows_are_idle()
            && self.hub.has_told_all()
    }
}
