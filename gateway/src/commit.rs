//! The only place that opens [`Effects`](protocol::Effects): what must be stored is stored before anyone sees the rest.
//!
//! Each connection has a lane. Outputs of a lane leave in the order in which they were submitted; an output that waits
//! for the store, or for the peers to know a subscription, holds back those behind it on its lane and nobody else.
//!
//! ```text
//!  submit ── stores nothing, lane empty ─────────────────────────────► emit
//!     └──── Storing ── committed ──► Telling (SUBACK only) ── peers know ──► emit
//!                │               └─► Asking (a shadow only) ── answered ──► emit, at QoS 2 through Storing
//!                └── conflict ──► fenced, or the claim looks again
//!                └── unavailable ──► refused: in its turn 0x97, or the connection ends unacknowledged
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use protocol::{LogSeq, Now};
use store::{Outcome, Write};

use crate::emit::{emit, lost, refuse};
use crate::hub::{ConnId, Fx, Hub, Outlet, Output, Record, Reply, Turn};
use crate::lanes::{Lanes, Parked, Stage};

/// What a write is known by until it is answered; grows.
pub type Ticket = u64;

/// A write on its way to the committer.
#[derive(Debug)]
pub struct Ordered {
    /// What its answer names.
    pub ticket: Ticket,
    /// The last answer that was known when it was made.
    pub known: Ticket,
    /// The write.
    pub write: Write,
}

/// The answer to a write.
#[derive(Debug)]
pub enum Answer {
    /// What became of it, and where the commit stands in the log.
    Committed(Outcome, LogSeq),
    /// The store could not do it, or this gateway may not any more; nothing of it happened.
    Unavailable,
}

/// How far the peers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The interest that every live peer knows.
    pub interest: u64,
    /// The log that every live peer has applied.
    pub seq: LogSeq,
    /// Until when it is known well enough who the live peers are, by the steady clock: a gateway that comes back after it was
    /// thought dead relies on being waited for.
    pub good_until: Duration,
}

impl Default for Progress {
    /// Nobody has to be told.
    fn default() -> Self {
        Self { interest: u64::MAX, seq: LogSeq(u64::MAX), good_until: Duration::MAX }
    }
}

/// Orders what the hub's effects do.
#[derive(Debug, Default)]
pub struct Gate {
    lanes: Lanes,
    /// Bytes of the publications and documents that are being stored.
    storing_bytes: usize,
    /// What is being written, in the order of tickets, which is the order they are answered in.
    asked: VecDeque<Asked>,
    next_ticket: Ticket,
    /// The last ticket that was answered.
    known: Ticket,
    writes: Vec<Ordered>,
    progress: Progress,
    /// The last refresh of the log's follower that was answered.
    refreshed: u64,
    /// Lanes whose first output waits for the peers.
    telling: Vec<ConnId>,
    /// Whether `progress` was told since the oldest of them began to wait: before, it may be about other peers.
    fresh: bool,
}

/// A write that is not answered yet.
#[derive(Debug, Clone, Copy)]
struct Asked {
    ticket: Ticket,
    /// As in [`Ordered`].
    known: Ticket,
    lane: Option<ConnId>,
}

/// Parked outputs of one connection above which nothing more is read from it.
const LANE_LIMIT: usize = 4096;
/// Writes that there is room for at once, at most, before there are any.
const ROOM: usize = 64;
/// Bytes on their way to the store above which nothing more is read from connections that have some there.
const STORING_LIMIT_BYTES: usize = 64 << 20;

impl Gate {
    /// Takes effects of a connection (or of none). What may be seen now is emitted before this returns.
    pub fn submit(
        &mut self,
        hub: &mut Hub,
        lane: Option<ConnId>,
        fx: &mut Fx,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        let mut nested = Fx::new();
        self.submit_one(hub, lane, fx, &mut Turn { now, fx: &mut nested, out });
        self.settle(hub, nested, now, out);
    }

    fn submit_one(&mut self, hub: &mut Hub, lane: Option<ConnId>, fx: &mut Fx, cx: &mut Turn<'_>) {
        let is_clear = lane.is_none_or(|conn| self.lanes.is_clear(conn));
        if fx.stores_nothing() && is_clear {
            let mut held = Vec::new();
            for output in fx.drain_outputs() {
                if held.is_empty() && !waits(&output) {
                    emit(hub, output, cx);
                } else {
                    held.push(output);
                }
            }
            if !held.is_empty() {
                self.park_told(hub, lane, held);
                self.advance(hub, lane, cx);
            }
            return;
        }
        let (records, mut outputs) = fx.open();
        if records.is_empty() {
            if matches!(outputs.first(), Some(Output::AskShadow(_))) {
                // Only its acknowledgement keeps its place: many requests of a client are done together.
                emit(hub, outputs.remove(0), cx);
            }
            return self.park_told(hub, lane, outputs);
        }
        let parked = self.store(lane, records, outputs);
        self.lanes.of(lane).push_back(parked);
    }

    /// Hands records to the committer, and holds back what they promise.
    fn store(
        &mut self,
        lane: Option<ConnId>,
        records: Vec<Record>,
        outputs: Vec<Output>,
    ) -> Parked {
        self.next_ticket += 1;
        let (ticket, known) = (self.next_ticket, self.known);
        self.asked.push_back(Asked { ticket, known, lane });
        let write = Record::all(records, &outputs);
        let bytes = write.len_bytes();
        self.storing_bytes += bytes;
        self.writes.push(Ordered { ticket, known, write });
        Parked { stage: Stage::Storing(ticket), outputs, bytes }
    }

    /// Effects that came out of emitting others: they belong to sessions in any state, so each goes without a lane.
    fn settle(&mut self, hub: &mut Hub, mut nested: Fx, now: Now, out: &mut dyn Outlet) {
        loop {
            // What came up for deliveries goes the same way, in the order in which it came up.
            let mut step = if nested.is_empty() { hub.take_side() } else { nested };
            nested = Fx::new();
            if step.is_empty() {
                let Some(conn) = hub.take_answered() else { return };
                self.advance(hub, Some(conn), &mut Turn { now, fx: &mut nested, out });
                continue;
            }
            self.submit_one(hub, None, &mut step, &mut Turn { now, fx: &mut nested, out });
        }
    }

    /// The writes submitted since the last call, for the committer.
    pub fn take_writes(&mut self) -> Vec<Ordered> {
        // The next time there will be about as many.
        let room = self.writes.len().min(ROOM);
        std::mem::replace(&mut self.writes, Vec::with_capacity(room))
    }

    /// Whether writes wait to be taken.
    pub const fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Whether more of a connection may be read: not too much of it waits for the store.
    pub fn may_read(&self, conn: ConnId) -> bool {
        let waiting = self.lanes.waiting(conn);
        waiting == 0 || waiting < LANE_LIMIT && self.storing_bytes <= STORING_LIMIT_BYTES
    }

    /// Whether nothing of a connection waits.
    pub fn is_clear(&self, conn: ConnId) -> bool {
        self.lanes.is_clear(conn)
    }

    /// Whether nothing of this worker waits.
    pub fn is_idle(&self) -> bool {
        self.lanes.are_clear()
    }

    /// The committer's answers, in the order of the tickets. If it refused something, all that was written before this was known
    /// is refused as well, as is what was written since before all of that was; it says nothing more of either (`Refusals`).
    pub fn handle_answers(
        &mut self,
        hub: &mut Hub,
        answers: Vec<(Ticket, Answer)>,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        let mut refused = None;
        for (ticket, answer) in answers {
            let Some(asked) = self.asked.pop_front() else { return };
            assert_eq!(asked.ticket, ticket, "the committer answers in order");
            if matches!(answer, Answer::Unavailable) {
                refused = Some(ticket);
            }
            self.take_answer(hub, asked, answer, now, out);
        }
        let Some(mut refused) = refused else { return };
        let mut unheard = 0;
        // Whatever is tried again is tried with a tick, so this ends.
        while let Some(asked) = self.asked.pop_front_if(|it| it.known < refused) {
            refused = asked.ticket;
            unheard += 1;
            self.take_answer(hub, asked, Answer::Unavailable, now, out);
        }
        // Some have not left yet.
        unheard -= self.writes.extract_if(.., |ordered| ordered.ticket <= refused).count();
        hub.count_unheard(unheard);
    }

    fn take_answer(
        &mut self,
        hub: &mut Hub,
        asked: Asked,
        answer: Answer,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        let mut nested = Fx::new();
        self.known = asked.ticket;
        self.answer(hub, asked, answer, &mut Turn { now, fx: &mut nested, out });
        self.advance(hub, asked.lane, &mut Turn { now, fx: &mut nested, out });
        self.settle(hub, nested, now, out);
    }

    fn answer(&mut self, hub: &mut Hub, asked: Asked, answer: Answer, cx: &mut Turn<'_>) {
        let Asked { ticket, lane, .. } = asked;
        let Some(parked) = self.lanes.storing(lane, ticket) else { return };
        let bytes = std::mem::take(&mut parked.bytes);
        match answer {
            Answer::Committed(Outcome::Done { rev, .. }, seq) => {
                for output in &mut parked.outputs {
                    if let Output::Released(_, farewell) = output {
                        farewell.stored = Some(rev);
                    } else if let Output::Shadow(word) = output {
                        word.set_stored(rev);
                    }
                }
                let stage = stage_of(hub, &parked.outputs, seq);
                parked.stage = stage;
                self.begin_telling(lane, stage);
            }
            Answer::Committed(Outcome::Conflict { space, key, current }, _) => {
                parked.stage = Stage::Ready;
                let outputs = std::mem::take(&mut parked.outputs);
                let stands = current.as_ref().map(|doc| &doc.value);
                lost(hub, outputs, (space, &key, stands), cx);
            }
            Answer::Unavailable => {
                parked.stage = Stage::Ready;
                let outputs = std::mem::take(&mut parked.outputs);
                parked.outputs = refuse(hub, outputs, cx);
            }
        }
        self.storing_bytes -= bytes;
    }

    /// The log's follower has read what there was when it was asked.
    pub fn handle_refreshed(
        &mut self,
        hub: &mut Hub,
        refresh: u64,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        self.refreshed = refresh;
        self.advance_told(hub, now, out);
    }

    /// The peers know more.
    pub fn handle_progress(
        &mut self,
        hub: &mut Hub,
        progress: Progress,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        self.progress = progress;
        self.fresh = true;
        self.advance_told(hub, now, out);
    }

    fn advance_told(&mut self, hub: &mut Hub, now: Now, out: &mut dyn Outlet) {
        for conn in std::mem::take(&mut self.telling) {
            let mut nested = Fx::new();
            self.advance(hub, Some(conn), &mut Turn { now, fx: &mut nested, out });
            self.settle(hub, nested, now, out);
        }
    }

    /// Whether subscriptions wait for the peers to know them.
    pub const fn waits_for_peers(&self) -> bool {
        !self.telling.is_empty()
    }

    /// Whether they wait to be told how far the peers are now.
    pub const fn wants_progress(&self) -> bool {
        !self.telling.is_empty() && !self.fresh
    }

    fn park_told(&mut self, hub: &Hub, lane: Option<ConnId>, outputs: Vec<Output>) {
        let stage = stage_of(hub, &outputs, LogSeq(0));
        self.lanes.of(lane).push_back(Parked { stage, outputs, bytes: 0 });
        self.begin_telling(lane, stage);
    }

    fn begin_telling(&mut self, lane: Option<ConnId>, stage: Stage) {
        if self.telling.is_empty() && lane.is_some() && matches!(stage, Stage::Telling(..)) {
            self.fresh = false;
        }
        self.note_telling(lane, stage);
    }

    fn note_telling(&mut self, lane: Option<ConnId>, stage: Stage) {
        if let (Some(conn), Stage::Telling(..)) = (lane, stage)
            && !self.telling.contains(&conn)
        {
            self.telling.push(conn);
        }
    }

    /// Emits from the front of a lane what is ready; without a lane, whatever is ready.
    fn advance(&mut self, hub: &mut Hub, lane: Option<ConnId>, cx: &mut Turn<'_>) {
        while let Some(outputs) = self.take_ready(hub, lane, cx) {
            self.emit_in_turn(hub, lane, outputs, cx);
        }
        self.rest(lane, cx);
    }

    /// Takes off a lane what is next on it and waits for nothing any more; without a lane, the first that waits for nothing.
    fn take_ready(
        &mut self,
        hub: &mut Hub,
        lane: Option<ConnId>,
        cx: &mut Turn<'_>,
    ) -> Option<Vec<Output>> {
        let (progress, refreshed, fresh) = (self.progress, self.refreshed, self.fresh);
        let gone = lane.is_some_and(|conn| !hub.is_attached(conn));
        let parked = self.lanes.of(lane);
        let next = parked.front_mut().map(|next| &mut next.stage);
        if let Some(Stage::Telling(needed, refresh @ None)) = next
            && fresh
            && progress.reaches(needed, cx.now.mono)
            && !gone
        {
            // What any gateway retained before it knew of the subscription is in the log by now (promise M7).
            *refresh = Some(hub.ask_refresh(cx.out));
        }
        let is_over = |stage: &Stage| match stage {
            Stage::Ready => true,
            // Nobody is left to be promised anything; what waits behind it need not wait.
            Stage::Telling(..) if gone => true,
            Stage::Telling(_, refresh) => refresh.is_some_and(|refresh| refresh <= refreshed),
            // Every request is answered, and then this is looked at again.
            Stage::Asking(no) => !hub.is_asking(*no),
            Stage::Storing(_) => false,
        };
        let at = match lane {
            Some(_) => parked.front().filter(|next| is_over(&next.stage)).map(|_| 0),
            None => parked.iter().position(|it| is_over(&it.stage)),
        };
        at.and_then(|at| parked.remove(at)).map(|taken| taken.outputs)
    }

    /// Emits outputs in their order, up to one that must wait now that it is its turn: that and all behind it are the first on
    /// their lane again.
    fn emit_in_turn(
        &mut self,
        hub: &mut Hub,
        lane: Option<ConnId>,
        outputs: Vec<Output>,
        cx: &mut Turn<'_>,
    ) {
        let mut outputs = outputs.into_iter();
        while let Some(output) = outputs.next() {
            let (stage, records) = held_back(hub, &output);
            if stage == Stage::Ready && records.is_empty() {
                emit(hub, output, cx);
                continue;
            }
            let outputs = std::iter::once(output).chain(outputs).collect();
            let parked = if records.is_empty() {
                Parked { stage, outputs, bytes: 0 }
            } else {
                self.store(lane, records, outputs)
            };
            return self.lanes.of(lane).push_front(parked);
        }
    }

    /// Leaves a lane of which nothing more is ready: of the connection of an empty one more may be read, and one that waits for the
    /// peers is noted.
    fn rest(&mut self, lane: Option<ConnId>, cx: &mut Turn<'_>) {
        let Some(conn) = lane else { return };
        match self.lanes.give_up_if_clear(conn) {
            Some(stage) => self.note_telling(lane, stage),
            None => cx.out.resume(conn),
        }
    }
}

impl Progress {
    /// Whether the peers know so much, and it is known well enough who they are.
    fn reaches(&self, needed: &Self, now: Duration) -> bool {
        needed.interest <= self.interest && needed.seq <= self.seq && now < self.good_until
    }
}

/// Whether an output may not be seen yet though everything is stored.
const fn waits(output: &Output) -> bool {
    tells(output) || matches!(output, Output::Awaited(_))
}

/// Whether the peers must know first: SUBACK promises what they will send, UNSUBACK what they will not `[MQTT5-3.10.4-2]`.
const fn tells(output: &Output) -> bool {
    matches!(output, Output::Reply(_, Reply::SubAck(..) | Reply::UnsubAck(..)))
}

/// The request that must be answered first, if it is not yet.
fn awaited(hub: &Hub, output: &Output) -> Option<u64> {
    let Output::Awaited(awaited) = output else { return None };
    Some(awaited.no).filter(|no| hub.is_asking(*no))
}

/// What an output whose turn it is still waits for: the answer to a request, or these records.
fn held_back(hub: &mut Hub, output: &Output) -> (Stage, Vec<Record>) {
    let Output::Awaited(it) = output else { return (Stage::Ready, Vec::new()) };
    if hub.is_asking(it.no) {
        return (Stage::Asking(it.no), Vec::new());
    }
    (Stage::Ready, hub.records_before(it).open().0)
}

fn stage_of(hub: &Hub, outputs: &[Output], seq: LogSeq) -> Stage {
    if outputs.iter().any(tells) {
        Stage::Telling(Progress { interest: hub.interest_rev(), seq, ..Progress::default() }, None)
    } else {
        outputs.first().and_then(|output| awaited(hub, output)).map_or(Stage::Ready, Stage::Asking)
    }
}
