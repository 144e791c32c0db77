//! What sessions did not get: counted at once, and told to the fleet now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use fanout::{Missing, Slot};
use protocol::session::{DropReason, Drops};
use protocol::{Position, SessionEpoch, SessionNo};
use store::{Dropped, Lost};

use crate::hub::{ConnId, Fx, Hub, Output, Record, Turn};

/// What is not told yet, by session. In order, so that a simulation replays.
#[derive(Debug, Default)]
pub(in crate::hub) struct DropBook {
    /// Of sessions with a stored queue; the log tells them to all gateways.
    stored: BTreeMap<SessionNo, Drops>,
    /// Of those that end with their connection: nobody else asks for them.
    clean: BTreeMap<Slot, Drops>,
    /// What left queues while it was under way: why, behind which position, up to which.
    gone: BTreeMap<SessionNo, Vec<Gone>>,
    /// Nothing of what was missed is told before.
    quiet_until: Duration,
}

/// Why messages left a queue, behind which position, and up to which.
type Gone = (DropReason, Position, Position);

/// Time between two writes that tell what sessions did not get.
const QUIET: Duration = Duration::from_secs(1);
/// With so many in one write, the rest of what was missed waits for the next tick.
const PORTION: usize = 1024;

impl DropBook {
    /// Messages of a queue left it while they were under way. `sent` is the highest position that was sent: with nothing sent
    /// in between, what left before and what leaves now is one run.
    pub(super) fn note_gone(&mut self, no: SessionNo, sent: Position, gone: Gone) {
        let runs = self.gone.entry(no).or_default();
        match runs.last_mut() {
            Some((reason, after, up_to)) if *reason == gone.0 && sent <= *after => *up_to = gone.2,
            Some(_) | None => runs.push(gone),
        }
    }
}

impl Hub {
    /// A session that is served here does not get so many messages.
    pub(in crate::hub) fn note_drops(&mut self, slot: Slot, reason: DropReason, count: u64) {
        self.metrics.dropped(reason).add(count);
        let no = self.sessions.get(slot as usize).map_or(SessionNo(0), |live| live.no);
        let drops = if no.0 == 0 {
            self.drops.clean.entry(slot).or_default()
        } else {
            self.drops.stored.entry(no).or_default()
        };
        drops.add(reason, count);
    }

    /// The same of the session that a connection speaks for.
    pub(in crate::hub) fn note_drop_of(&mut self, conn: ConnId, reason: DropReason) {
        match self.attached(conn) {
            Some((_, slot)) => self.note_drops(slot, reason, 1),
            None => self.metrics.dropped(reason).add(1),
        }
    }

    /// Sessions, served anywhere or nowhere, whose queues are full do not get a publication.
    pub(super) fn note_missing(&mut self, missing: &[Missing], publisher: Option<SessionNo>) {
        for Missing { session, full, .. } in missing.iter().filter(|m| concerns(m, publisher)) {
            self.metrics.dropped(full.reason).add(1);
            self.drops.stored.entry(*session).or_default().add(full.reason, 1);
        }
    }

    /// What a session that ends with its connection did not get.
    pub(in crate::hub) fn drops_of(&self, slot: Slot) -> Drops {
        self.drops.clean.get(&slot).copied().unwrap_or_default()
    }

    pub(in crate::hub) fn forget_drops(&mut self, slot: Slot) {
        self.drops.clean.remove(&slot);
    }

    /// Writes down what sessions with a stored queue did not get: what left their queues each time, since it makes room
    /// there, what they missed now and then.
    pub(in crate::hub) fn tell_drops(&mut self, cx: &mut Turn<'_>) {
        let mut drops = Vec::new();
        for (session, runs) in std::mem::take(&mut self.drops.gone) {
            let slot = self.by_no.get(&session).copied();
            let live = slot.and_then(|slot| self.sessions.get(slot as usize));
            let Some(epoch) = live.map(|live| live.epoch) else { continue };
            drops.extend(runs.into_iter().map(|run| left(session, epoch, run)));
        }
        if !self.drops.stored.is_empty() && cx.now.mono >= self.drops.quiet_until {
            self.tell_missed(&mut drops);
            if self.drops.stored.is_empty() {
                self.drops.quiet_until = cx.now.mono + QUIET;
            }
        }
        if !drops.is_empty() {
            cx.fx.first(Record::Drops(drops.clone()));
            cx.fx.then(Output::Told(drops));
        }
    }

    /// The store did not take it: again with a later tick.
    pub(crate) fn tell_again(&mut self, drops: &[Dropped]) {
        for Dropped { session, reason, which } in drops.iter().rev() {
            match which {
                Lost::Missed(count) => {
                    let missed = self.drops.stored.entry(*session).or_default();
                    missed.add(*reason, u64::from(*count));
                }
                Lost::Queued { epoch, after, up_to } => {
                    let slot = self.by_no.get(session).copied();
                    let live = slot.and_then(|slot| self.sessions.get(slot as usize));
                    // Who serves it now finds for itself what must leave.
                    if live.is_some_and(|live| live.epoch == *epoch) {
                        let runs = self.drops.gone.entry(*session).or_default();
                        runs.insert(0, (*reason, *after, *up_to));
                    }
                }
            }
        }
    }

    /// The same of one session whose serving ends.
    pub(in crate::hub) fn tell_gone(
        &mut self,
        session: SessionNo,
        epoch: SessionEpoch,
        fx: &mut Fx,
    ) {
        let runs = self.drops.gone.remove(&session);
        if let Some(runs) = runs {
            let drops: Vec<_> = runs.into_iter().map(|run| left(session, epoch, run)).collect();
            fx.first(Record::Drops(drops.clone()));
            fx.then(Output::Told(drops));
        }
    }

    fn tell_missed(&mut self, drops: &mut Vec<Dropped>) {
        while drops.len() < PORTION
            && let Some((session, of_it)) = self.drops.stored.pop_first()
        {
            drops.extend(of_it.iter().filter(|(_, count)| *count > 0).map(|(reason, count)| {
                let which = Lost::Missed(u32::try_from(count).unwrap_or(u32::MAX));
                Dropped { session, reason, which }
            }));
        }
    }

    /// Writes down what must leave queues; it leaves when the log says so.
    pub fn handle_leaving(&self, drops: Vec<Dropped>, fx: &mut Fx) {
        fx.first(Record::Drops(drops));
    }

    /// Messages left queues undelivered.
    pub fn handle_left(&self, reason: DropReason, count: u64) {
        self.metrics.dropped(reason).add(count);
    }
}

fn left(session: SessionNo, epoch: SessionEpoch, (reason, after, up_to): Gone) -> Dropped {
    Dropped { session, reason, which: Lost::Queued { epoch, after, up_to } }
}

/// Whether a session that misses a publication should have got it: not what it published itself.
pub(super) fn concerns(missing: &Missing, publisher: Option<SessionNo>) -> bool {
    !missing.no_local || publisher != Some(missing.session)
}
