//! How a connection gets its session: one owner per client id in the whole fleet.
//!
//! ```text
//!             ┌── a session of ours is being given up ──► GivingUp ──┐
//!  CONNECT ───┤                                                      ▼
//!             └───────────────────────────────────────────────────► Reading ── owner is another live gateway ──► Asking
//!                                                                    │  ▲                                          │
//!                             nobody, us, or a dead gateway owns it  │  └────────── released, or 200 ms passed ────┘
//!                                                                    ▼  (then this owner loses; another one is asked)
//!                                          conflict ──► Reading ◄─ Claiming ── stored ──► Entering ──► attached, CONNACK
//! ```

use std::time::Duration;

use protocol::mqtt::ReasonCode;
use protocol::peer::ReleaseOutcome;
use protocol::session::{Owner, SessionRecord, StoredWill};
use protocol::{ClientId, GatewayId, Now, SessionEpoch, SessionNo};
use store::{Doc, Expect, Put, Rev, Space, Whole};

use crate::hub::connection::State;
use crate::hub::positions::resume::Resume;
use crate::hub::session::connects::{ClaimedSession, Entering};
use crate::hub::session::detach::published;
use crate::hub::session::live::{delete_will, key};
use crate::hub::session::presence::{Arrived, PresenceFound, is_unauthorized};
use crate::hub::session::untold::Looked;
use crate::hub::{
    Abandoned, Ask, Close, ConnId, ConnectRequest, Hub, Outlet, Output, Record, Turn,
};
use crate::tail::left_by;

/// A connection on its way to its session.
#[derive(Debug)]
pub(in crate::hub) struct Claim {
    pub(in crate::hub) conn: ConnId,
    pub(in crate::hub) request: ConnectRequest,
    pub(in crate::hub) stage: ClaimStage,
    tries: u32,
    /// The ownership whose holder was asked; a look that still finds it decides without its holder.
    asked: Option<SessionEpoch>,
    /// What is being written was for an older connect: look again once it is written.
    superseded: bool,
    /// How much of its queue is still there, if it may go back.
    pub(in crate::hub) whole: Option<Whole>,
    /// What is known of its client's presence, if it was asked for and has come, or is remembered.
    pub(in crate::hub) presence: Option<PresenceFound>,
    /// Whether the log was read since it came, if that must be.
    pub(in crate::hub) looked: Looked,
}

#[derive(Debug)]
pub(in crate::hub) enum ClaimStage {
    /// Our own session of this client is being written off.
    GivingUp,
    /// The session document is being read; asked again if no answer comes.
    Reading { until: Duration },
    /// The owner is being asked to release.
    Asking { request: u64, deadline: Duration },
    /// The new ownership is being written; this is what will be there.
    Claiming {
        record: Box<SessionRecord>,
        resumed: bool,
        /// Whether its gateway died with it: then some messages may have been sent already.
        orphaned: bool,
        /// What its client is told of positions.
        resume: Option<Box<Resume>>,
        /// The record of its client's presence, if one is kept, and what is to be counted once it is there.
        arrived: Option<Arrived>,
    },
    /// It is ours; its subscriptions are entered into the tables.
    Entering(Box<Entering>),
}

impl ClaimStage {
    /// Whether the ownership is stored, or on its way there.
    const fn is_stored(&self) -> bool {
        matches!(self, Self::Claiming { .. } | Self::Entering(_))
    }
}

/// How long an owner may take to release before its session is taken.
const RELEASE_PATIENCE: Duration = Duration::from_millis(200);
/// How long the store may take to answer before it is asked again.
const READ_PATIENCE: Duration = Duration::from_secs(2);
/// Lost races after which a client is told to try again.
const MAX_TRIES: u32 = 16;

/// Begins to read.
fn reading(now: Now) -> ClaimStage {
    ClaimStage::Reading { until: now.mono + READ_PATIENCE }
}

impl Hub {
    /// A connection whose CONNECT was accepted wants its session. Returns the lane of an older connection that must go first.
    pub fn handle_connect(
        &mut self,
        conn: ConnId,
        request: ConnectRequest,
        cx: &mut Turn<'_>,
    ) -> Option<ConnId> {
        let client = request.client.clone();
        self.open_connection(conn, &request, cx.now);
        let denied = self.check_will(conn, &request, cx.now).is_err();
        let denied = denied.then_some(ReasonCode::NotAuthorized);
        let crowded = self.take_seat(conn).is_none().then_some(ReasonCode::QuotaExceeded);
        let held = self.held_here(&request);
        let banned = self.is_banned(conn, cx.now).then_some(ReasonCode::Banned);
        let unfit = banned.or_else(|| self.unfit(&request));
        if let Some(reason) = unfit.or(denied).or(crowded).or(held) {
            if is_unauthorized(reason) {
                self.tell_refused(client, cx.now, cx.fx);
            }
            self.end_connection(conn, Close::Refuse(reason), cx.out);
            return None;
        }
        if let Some(older) = self.claims.get_mut(&client) {
            // Two connects of one client at once: the newer wins [MQTT5-3.1.4-3].
            let loser = std::mem::replace(&mut older.conn, conn);
            older.request = request;
            older.tries = 0;
            let is_held = matches!(std::mem::take(&mut older.looked), Looked::Asked(_));
            older.superseded = older.stage.is_stored();
            self.metrics.takeovers.add(1);
            self.end_connection(loser, Close::Refuse(ReasonCode::ServerBusy), cx.out);
            if is_held {
                // Nothing is being read for it, and the log was read before the newer one came.
                self.ask_record(&client, cx.out);
            }
            return None;
        }
        let claim = |stage, presence| {
            Box::new(Claim {
                conn,
                request,
                stage,
                tries: 0,
                asked: None,
                superseded: false,
                whole: None,
                presence,
                looked: Looked::Not,
            })
        };
        if let Some(presence) = self.take_trace(&client, cx.now) {
            self.claims.insert(client.clone(), claim(reading(cx.now), presence));
            self.write_claim(&client, None, None, cx);
            return None;
        }
        let mut lane = None;
        let stage = if let Some(slot) = self.by_client.get(&client).copied() {
            self.metrics.takeovers.add(1);
            lane = self.take_over(slot, cx.now, cx.fx);
            ClaimStage::GivingUp
        } else if self.giving_up.contains(&client) {
            ClaimStage::GivingUp
        } else {
            self.ask_record(&client, cx.out);
            reading(cx.now)
        };
        self.claims.insert(client, claim(stage, None));
        lane
    }

    /// The session document as it stands; asked for by [`Ask::Read`].
    pub fn handle_record(&mut self, client: &ClientId, doc: Option<Doc>, cx: &mut Turn<'_>) {
        let Some(claim) = self.claims.get(client) else { return };
        if !matches!(claim.stage, ClaimStage::Reading { .. }) {
            return;
        }
        let rev = doc.as_ref().map(|doc| doc.rev);
        let stored = match doc.map(|doc| SessionRecord::decode(&doc.value)) {
            // There and damaged, or of a newer version: it is not gone, and nobody writes over it.
            Some(None) => return self.refuse_claim(client, ReasonCode::ServerUnavailable, cx.out),
            readable => readable.flatten(),
        };
        let request = &claim.request;
        if stored.as_ref().is_some_and(|stored| self.is_anothers(stored, request, cx.now)) {
            return self.refuse_claim(client, ReasonCode::ClientIdentifierNotValid, cx.out);
        }
        if let Some(record) = &stored
            && let Some(owner) = &record.owner
            && owner.gateway != self.config.gateway
            && claim.asked != Some(record.epoch)
            && self.tables.is_live(owner)
        {
            return self.ask_owner(client, owner.gateway.clone(), record.epoch, cx);
        }
        if !self.holds_claim(client, cx) {
            self.write_claim(client, stored, rev, cx);
        }
    }

    /// The log was read since a connect came: it goes on with what stands now.
    pub(in crate::hub) fn handle_looked(
        &mut self,
        client: &ClientId,
        look: u64,
        cx: &mut Turn<'_>,
    ) {
        let Some(claim) = self.claims.get_mut(client) else { return };
        if claim.looked != Looked::Asked(look) {
            return;
        }
        claim.looked = Looked::Since;
        if matches!(claim.stage, ClaimStage::Reading { .. }) {
            claim.stage = reading(cx.now);
            self.ask_record(client, cx.out);
        }
    }

    /// Asks another gateway to let go of a session. Each ownership that is met counts as a try.
    fn ask_owner(
        &mut self,
        client: &ClientId,
        to: GatewayId,
        epoch: SessionEpoch,
        cx: &mut Turn<'_>,
    ) {
        let Some(claim) = self.claims.get_mut(client) else { return };
        claim.tries += 1;
        if claim.tries > MAX_TRIES {
            return self.refuse_claim(client, ReasonCode::ServerBusy, cx.out);
        }
        claim.asked = Some(epoch);
        self.next_request += 1;
        let request = self.next_request;
        claim.stage = ClaimStage::Asking { request, deadline: cx.now.mono + RELEASE_PATIENCE };
        self.asking.insert(request, client.clone());
        cx.out.ask(Ask::Release { to, request, client: client.clone(), epoch });
    }

    /// A peer gateway answered, or cannot be reached: look again. One that is too busy to look is asked again when its time
    /// is up.
    pub fn handle_released(
        &mut self,
        request: u64,
        outcome: Option<ReleaseOutcome>,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        let client = self.asking.remove(&request);
        let claim = client.and_then(|client| self.claims.get_mut(&client));
        let waits = |claim: &&mut Box<Claim>| matches!(&claim.stage, ClaimStage::Asking { request: r, .. } if *r == request);
        let Some(claim) = claim.filter(waits) else { return };
        match outcome {
            Some(ReleaseOutcome::Busy) => claim.asked = None,
            Some(ReleaseOutcome::Done | ReleaseOutcome::NotOwner) | None => {
                claim.stage = reading(now);
                let client = claim.request.client.clone();
                self.ask_record(&client, out);
            }
        }
    }

    /// Looks again for every claim whose owner took too long.
    pub(in crate::hub) fn expire_claims(&mut self, now: Now, out: &mut dyn Outlet) {
        let mut all_late = Vec::new();
        for claim in self.claims.values_mut() {
            let late = match claim.stage {
                ClaimStage::Asking { deadline: until, .. } | ClaimStage::Reading { until } => {
                    now.mono >= until
                }
                ClaimStage::GivingUp | ClaimStage::Claiming { .. } | ClaimStage::Entering(_) => {
                    false
                }
            };
            if late {
                claim.stage = reading(now);
                all_late.push(claim.request.client.clone());
            }
        }
        all_late.iter().for_each(|client| self.ask_record(client, out));
    }

    fn write_claim(
        &mut self,
        client: &ClientId,
        stored: Option<SessionRecord>,
        rev: Option<Rev>,
        cx: &mut Turn<'_>,
    ) {
        let Some(mark) = self.mark(cx.out) else {
            return self.refuse_claim(client, ReasonCode::ServerBusy, cx.out);
        };
        let Some(claim) = self.claims.get(client) else { return };
        let expired = |r: &SessionRecord| r.expires_at().is_some_and(|at| at <= cx.now.wall);
        let stands = stored.as_ref().map(|r| r.epoch);
        let epoch = self.tables.epochs().next(client, stands, (mark, cx.now.wall));
        let was_durable = stored.as_ref().is_some_and(|r| r.no.0 != 0);
        let ended = stored.as_ref().map_or(SessionNo(0), |r| r.no);
        let will_waits = stored.as_ref().filter(|r| r.will.is_some()).map(|r| r.will_parked);
        let orphaned = stored.as_ref().is_some_and(|r| r.orphaned || r.owner.is_some());
        let holder = claim.request.identity.holder();
        let ends =
            |r: &SessionRecord| claim.request.clean_start || expired(r) || !r.holder.admits(holder);
        let due = stored.as_ref().filter(|r| ends(r)).and_then(|r| self.waiting_will(r));
        let foreign = stored
            .as_ref()
            .and_then(|r| r.owner.as_ref())
            .is_some_and(|owner| owner.gateway != self.config.gateway);
        let left = stored.as_ref().filter(|r| ends(r)).and_then(|r| left_by(client, r));
        let old = stored.filter(|r| r.no.0 != 0 && !ends(r));
        let resumed = old.is_some();
        let expiry_s = claim.request.expiry_s;
        // A session that ends with its connection has no queue in the store.
        let limits = self.config.classes.limits_of(&claim.request.identity).queue;
        let limits = (was_durable || expiry_s > 0).then_some(limits);
        let mut record = match old {
            Some(record) => SessionRecord { epoch, expiry_s, ..record },
            None if expiry_s == 0 => SessionRecord::new(SessionNo(0), epoch, 0),
            None => match self.next_session_no(cx.out) {
                Some(no) => SessionRecord::new(no, epoch, expiry_s),
                None => return self.refuse_claim(client, ReasonCode::ServerBusy, cx.out),
            },
        };
        record.holder = holder;
        record.queue = limits;
        record.owner = Some((*self.owner).clone());
        record.detached_at = None;
        record.orphaned = false;
        record.will_parked = false;
        record.hangs = false;
        let resume = self.resume(client, &mut record, resumed, cx.now);
        record.will.clone_from(&self.claims.get(client).and_then(|c| c.request.will.clone()));
        left.into_iter().for_each(|left| cx.fx.first(Record::Put(left)));
        // A gateway that lost it without being asked must hear of it.
        let announce = was_durable || record.no.0 != 0 || foreign;
        let put = Put {
            space: Space::Session,
            key: key(client),
            value: Some(record.encode()),
            expect: rev.map_or(Expect::Absent, Expect::Rev),
            announce,
        };
        // All that is written of it here ends with the machine, but a will is due then.
        let fleeting = !announce && record.will.is_none();
        cx.fx.first(if fleeting { Record::Fleeting(put) } else { Record::Put(put) });
        if let Some(was_parked) = will_waits {
            // Coming back in time cancels a will that waits [MQTT5-3.1.3-9].
            cx.fx.first(Record::Put(delete_will(client)));
            match due {
                // The old session ends here, and its will with it [MQTT5-3.1.2-8].
                Some(will) => {
                    let now = cx.now;
                    self.publish_will(published(&will, now), ended, (now.wall, cx.fx));
                }
                None => self.metrics.count_will_cancelled(was_parked),
            }
        }
        cx.fx.then(Output::Claimed(client.clone()));
        let arrived = self.arrive(client, (&record, resumed), cx.now, cx.fx);
        if let Some(claim) = self.claims.get_mut(client) {
            let record = Box::new(record);
            claim.stage = ClaimStage::Claiming { record, resumed, orphaned, resume, arrived };
            // Whatever was lost before, this is for the newest.
            claim.superseded = false;
        }
    }

    /// The will that is published when a stored session ends: not one that a drain parked, and not that of a connect of ours
    /// that a newer one superseded before it was accepted.
    fn waiting_will(&self, stored: &SessionRecord) -> Option<StoredWill> {
        let ours = |owner: &Owner| *owner == *self.owner;
        if stored.will_parked || stored.owner.as_ref().is_some_and(ours) {
            return None;
        }
        stored.will.clone()
    }

    /// Somebody else wrote the session document first: look again.
    pub(crate) fn handle_claim_lost(&mut self, client: &ClientId, now: Now, out: &mut dyn Outlet) {
        let Some(claim) = self.claims.get_mut(client) else { return };
        claim.tries += 1;
        claim.asked = None;
        if claim.tries > MAX_TRIES {
            return self.refuse_claim(client, ReasonCode::ServerBusy, out);
        }
        claim.stage = reading(now);
        self.ask_record(client, out);
        self.answer_waiting_releases(client, out);
    }

    /// The store could not write it: nobody is attached on a guess.
    pub(crate) fn refuse_claim(
        &mut self,
        client: &ClientId,
        reason: ReasonCode,
        out: &mut dyn Outlet,
    ) {
        if let Some(claim) = self.claims.remove(client) {
            self.end_connection(claim.conn, Close::Refuse(reason), out);
            self.answer_waiting_releases(client, out);
        }
    }

    /// The session document cannot be read: who waits for it is told to try again.
    pub fn handle_unreadable(&mut self, client: &ClientId, out: &mut dyn Outlet) {
        let claim = self.claims.get(client);
        if claim.is_some_and(|claim| matches!(claim.stage, ClaimStage::Reading { .. })) {
            self.refuse_claim(client, ReasonCode::ServerBusy, out);
        }
    }

    /// A session of ours is given up: a connect that waited for that goes on.
    pub(in crate::hub) fn claim_goes_on(
        &mut self,
        client: &ClientId,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        if let Some(claim) = self.claims.get_mut(client)
            && matches!(claim.stage, ClaimStage::GivingUp)
        {
            claim.stage = reading(now);
            self.ask_record(client, out);
        }
    }

    /// The ownership is written: the session is ours.
    pub(crate) fn handle_claimed(&mut self, client: &ClientId, cx: &mut Turn<'_>) {
        self.take_claimed(client, cx);
        self.go_on_with_releases(client, cx);
    }

    fn take_claimed(&mut self, client: &ClientId, cx: &mut Turn<'_>) {
        let Some(mut claim) = self.claims.remove(client) else { return };
        let stage = std::mem::replace(&mut claim.stage, ClaimStage::GivingUp);
        let ClaimStage::Claiming { record, resumed, orphaned, resume, arrived } = stage else {
            claim.stage = stage;
            self.claims.insert(client.clone(), claim);
            return;
        };
        let presence = arrived.map(|Arrived { presence, back }| {
            back.iter().for_each(|back| self.metrics.count_back(back));
            presence
        });
        let claimed = ClaimedSession { record: *record, resumed, orphaned, resume, presence };
        if self.by_client.contains_key(client) {
            // Its earlier session is written off; the word of that waits behind something else.
            self.drop_session(client, cx.out);
            self.giving_up.remove(client);
        }
        if self.is_wanted_by(&claim) {
            self.attach(claim, claimed, cx);
        } else {
            self.give_claimed_back(claim, claimed, cx);
        }
    }

    /// Whether what was claimed is still for the connection that wanted it.
    pub(in crate::hub) fn is_wanted_by(&self, claim: &Claim) -> bool {
        let connection = self.connection(claim.conn);
        !claim.superseded && connection.is_some_and(|c| matches!(c.state, State::Attaching))
    }

    /// What was claimed is for nobody: its connection is gone, or a newer one came.
    pub(in crate::hub) fn give_claimed_back(
        &mut self,
        mut claim: Box<Claim>,
        claimed: ClaimedSession,
        cx: &mut Turn<'_>,
    ) {
        let client = claim.request.client.clone();
        if claim.superseded {
            claim.superseded = false;
            claim.stage = reading(cx.now);
            self.claims.insert(client.clone(), claim);
            self.ask_record(&client, cx.out);
        } else {
            // The client left while the claim was on its way.
            let (record, presence) = (Box::new(claimed.record), claimed.presence);
            self.abandon(Abandoned { client, record, presence }, cx.now, cx.fx);
        }
    }

    /// When the newest claim's connection went away, its claim goes too.
    pub(in crate::hub) fn drop_claim_of(&mut self, client: &ClientId, conn: ConnId) {
        let gone = self.claims.get(client).is_some_and(|c| c.conn == conn && !c.stage.is_stored());
        if gone {
            self.claims.remove(client);
        }
    }
}
