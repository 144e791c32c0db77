//! What happens to clients while other gateways may not have waited for this one waits until the log was read since: a persistent
//! session may have subscribed to lifecycle events elsewhere, and what is told is stored for those that are known by then.
//!
//! A connect waits before its session is claimed, a departure before the last write of its session. So a change is still stored
//! with what is told of it, in one write, and nothing is told twice. A move tells nothing and waits for nothing.

use std::collections::VecDeque;

use protocol::{ClientId, Now, Wall};

use crate::hub::output::Farewell;
use crate::hub::{Abandoned, Ask, Fx, Hub, Outlet, Turn};
use crate::presence::DueLate;

/// Our looks at the log are known by numbers behind this one: publications count theirs from 1, and shadows have the last of all.
pub(crate) const BEFORE_LOOKS: u64 = 1 << 63;
/// Changes that are made in one turn, once the log was read.
const PORTION: usize = 256;
/// As many changes may wait besides those of sessions that are here: refusals beyond it are told to those who are known, and who is
/// late is found again.
const MOST: usize = 4_096;

/// A change that waits.
#[derive(Debug)]
pub(in crate::hub) enum Change {
    /// A session is claimed for a connect.
    Arrival(ClientId),
    /// A session has its last write.
    Departure(ClientId, Farewell),
    /// A session that was claimed for a client that had gone by then is given back.
    Abandoned(Abandoned),
    /// A client that was expected did not come.
    Late(DueLate),
    /// A client was not let in, at this time.
    Refused(ClientId, Wall),
}

/// Whether the log was read since a connect came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::hub) enum Looked {
    /// Nobody has asked.
    #[default]
    Not,
    /// It waits for this look.
    Asked(u64),
    /// It was.
    Since,
}

/// The changes of one worker that wait, in their order.
#[derive(Debug, Default)]
pub(in crate::hub) struct Untold {
    /// Each with the look at the log that it waits for.
    waiting: VecDeque<(u64, Change)>,
    /// The last look that was asked for.
    asked: u64,
    /// The last one that was answered.
    read: u64,
}

impl Untold {
    fn has_room(&self) -> bool {
        self.waiting.len() < MOST
    }

    /// A look that is under way may have been before this.
    fn add(&mut self, change: Change) -> u64 {
        let look = self.asked + 1;
        self.waiting.push_back((look, change));
        look
    }

    fn take_due(&mut self) -> Option<(u64, Change)> {
        self.is_due().then(|| self.waiting.pop_front()).flatten()
    }

    fn is_due(&self) -> bool {
        self.waiting.front().is_some_and(|(look, _)| *look <= self.read)
    }

    /// Whether something waits for a look that nobody has asked for, and none is under way.
    fn wants_look(&self) -> bool {
        self.asked == self.read && self.waiting.back().is_some_and(|(look, _)| *look > self.asked)
    }

    /// Whether there is something to do.
    pub(in crate::hub) fn has_rest(&self) -> bool {
        self.is_due() || self.wants_look()
    }

    /// Whether nothing waits.
    pub(in crate::hub) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Hub {
    /// Whether something that events follow from must wait for the log.
    pub(in crate::hub) fn must_wait_to_tell(&self, now: Now) -> bool {
        self.config.presence.is_on() && !self.is_sure(now)
    }

    /// Makes a change once the log was read.
    pub(in crate::hub) fn change_later(&mut self, change: Change) {
        self.untold.add(change);
    }

    /// Makes a change once the log was read, if it must wait and not too many do; else it is given back.
    pub(in crate::hub) fn put_off(&mut self, change: Change, now: Now) -> Option<Change> {
        if !self.must_wait_to_tell(now) || !self.untold.has_room() {
            return Some(change);
        }
        self.untold.add(change);
        None
    }

    /// Whether a claim that could be written waits for the log.
    pub(in crate::hub) fn holds_claim(&mut self, client: &ClientId, cx: &mut Turn<'_>) -> bool {
        if !self.must_wait_to_tell(cx.now) {
            return false;
        }
        let Some(claim) = self.claims.get_mut(client) else { return false };
        if claim.looked == Looked::Not {
            claim.looked = Looked::Asked(self.untold.add(Change::Arrival(client.clone())));
            self.look_for_untold(cx.out);
        }
        self.claims.get(client).is_some_and(|claim| claim.looked != Looked::Since)
    }

    /// Whether events follow from a packet, of which this is the beginning: a SUBSCRIBE or an UNSUBSCRIBE.
    pub(crate) fn tells_of(&self, packet: &[u8]) -> bool {
        let kind = packet.first().map(|first| first >> 4);
        matches!(kind, Some(8 | 10)) && self.config.presence.is_on()
    }

    /// Whether nothing waits to be told.
    pub(crate) fn has_told_all(&self) -> bool {
        self.untold.is_empty()
    }

    /// The log was read since we asked.
    pub(crate) fn handle_untold_caught_up(&mut self) {
        self.untold.read = self.untold.asked;
    }

    /// Makes changes that have waited, and has the log read for the others.
    pub(in crate::hub) fn go_on_with_untold(&mut self, cx: &mut Turn<'_>) {
        if self.untold.is_empty() {
            return;
        }
        for _ in 0..PORTION {
            let Some((look, change)) = self.untold.take_due() else { break };
            self.make(change, look, cx);
        }
        self.look_for_untold(cx.out);
    }

    fn look_for_untold(&mut self, out: &mut dyn Outlet) {
        if self.untold.wants_look() {
            self.untold.asked += 1;
            out.ask(Ask::CatchUp(BEFORE_LOOKS + self.untold.asked));
        }
    }

    fn make(&mut self, change: Change, look: u64, cx: &mut Turn<'_>) {
        let mut fx = Fx::new();
        match change {
            Change::Arrival(client) => self.handle_looked(&client, look, cx),
            Change::Departure(client, farewell) => {
                self.write_off_now(client, farewell, cx.now, &mut fx);
            }
            Change::Abandoned(abandoned) => self.abandon_now(abandoned, cx.now, &mut fx),
            Change::Late(late) => self.be_late_now(late, cx.now, &mut fx),
            Change::Refused(client, at) => self.tell_refused_now(client, at, &mut fx),
        }
        if !fx.is_empty() {
            // Each by itself: one that others were quicker with costs no other.
            self.side.push_back(fx);
        }
    }
}
