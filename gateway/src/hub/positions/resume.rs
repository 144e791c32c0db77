//! A CONNECT that shows a position: whether what follows is still there, and where the session's queue goes on.

use protocol::session::{SessionRecord, Shown};
use protocol::{ClientId, Now, PacketId, Position, SessionEpoch, hash64};
use store::Whole;

use super::seal::{PositionText, Seal};
use super::show::Positions;
use crate::hub::Hub;
use crate::metrics::WorkerCounters;

/// What a client that wants to be shown positions is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Verdict {
    /// It showed none: its session goes on behind what it has acknowledged.
    Start,
    /// What follows the position it showed, and all of it.
    Exact,
    /// What is still there of what follows the position it showed.
    Truncated,
    /// The position it showed is none of this session, or positions are not to be had.
    Refused,
}

impl Verdict {
    /// The word in CONNACK.
    pub(in crate::hub) const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Exact => "exact",
            Self::Truncated => "truncated",
            Self::Refused => "refused",
        }
    }

    pub(in crate::hub) fn count(self, metrics: &WorkerCounters) {
        match self {
            Self::Start => {}
            Self::Exact => metrics.resumes_exact.add(1),
            Self::Truncated => metrics.resumes_truncated.add(1),
            Self::Refused => metrics.resumes_refused.add(1),
        }
    }
}

/// The answer to a CONNECT that wants to be shown positions.
#[derive(Debug)]
pub(in crate::hub) struct Resume {
    pub(in crate::hub) verdict: Verdict,
    /// The earliest position that may be shown; none if positions are not to be had.
    pub(in crate::hub) earliest: Option<PositionText>,
    /// The session goes on behind this position, whatever it has acknowledged.
    from: Option<Position>,
}

/// The value that shows no position, beside the empty one.
const START: &str = "start";

impl Hub {
    /// Of a session that is about to be claimed, how much of its queue is still there. It comes before its document.
    pub fn handle_whole(&mut self, client: &ClientId, whole: Whole) {
        if let Some(claim) = self.claims.get_mut(client) {
            claim.whole = Some(whole);
        }
    }

    /// Decides about the position that a client shows, and marks its session as one whose client is shown positions.
    pub(in crate::hub) fn resume(
        &self,
        client: &ClientId,
        record: &mut SessionRecord,
        resumed: bool,
        now: Now,
    ) -> Option<Box<Resume>> {
        let before = record.shown.take();
        let claim = self.claims.get(client)?;
        let shows = claim.request.position.as_deref()?;
        // All that such a session subscribes to is stored, also at QoS 0: that is not for everybody.
        let may = self.config.classes.limits_of(&claim.request.identity).positions;
        if !may || record.no.0 == 0 || self.config.advance.is_none() {
            let (verdict, earliest, from) = (Verdict::Refused, None, None);
            return Some(Box::new(Resume { verdict, earliest, from }));
        }
        let whole = claim.whole.filter(|_| resumed && before.is_some());
        let since = begun(record, now);
        let shown = before.unwrap_or_else(|| Shown { since, ..Shown::default() });
        let (seal, gap) = (Seal::new(client, record.no, shown.since), shown.gap);
        let earliest = match whole {
            Some(whole) => whole.from,
            None if resumed => record.acknowledged,
            None => self.tables.newest(),
        };
        let read = seal.read(shows).and_then(|at| Some((at, whole?)));
        let (verdict, from) = match read {
            _ if shows.is_empty() || shows == START => (Verdict::Start, None),
            // What was never reached is of a store that has lost its newest part.
            Some((at, whole)) if at <= whole.newest => {
                let exact = at >= whole.without_gap.max(gap);
                let verdict = if exact { Verdict::Exact } else { Verdict::Truncated };
                (verdict, Some(at.max(whole.from)))
            }
            Some(_) | None => (Verdict::Refused, None),
        };
        if let Some(whole) = whole {
            record.acknowledged = record.acknowledged.max(whole.acknowledged);
        }
        record.shown = Some(shown);
        Some(Box::new(Resume { verdict, earliest: Some(seal.show(earliest)), from }))
    }
}

/// Stands for the moment in which the showing begins, at whichever gateway: epochs alone may be alike in two fleets.
fn begun(record: &SessionRecord, now: Now) -> SessionEpoch {
    let life = record.owner.as_ref().map_or(0, |owner| owner.incarnation.0);
    let parts = [record.epoch.0, now.wall.0, life].map(u64::to_be_bytes);
    SessionEpoch(hash64(&parts.concat()))
}

/// Where a session that is ours now goes on.
#[derive(Debug)]
pub(in crate::hub) struct Begin {
    /// Its queue is read from behind here.
    pub(in crate::hub) after: Position,
    /// What was sent before, and is not open any more, is over.
    pub(in crate::hub) sent_before: Position,
    /// Exchanges that go on when their messages are read again.
    pub(in crate::hub) restoring: Vec<(Position, PacketId, bool)>,
    /// Ids of exchanges at QoS 2 of which only the end is left, and what is handed over before them.
    pub(in crate::hub) releases: Vec<(PacketId, Position)>,
    /// What its client is shown, if anything.
    pub(in crate::hub) positions: Option<Box<Positions>>,
}

impl Begin {
    /// How a stored session goes on. Who shows a position has everything up to it, so that these exchanges are over, but for the
    /// ids at QoS 2, which the client may still hold; and gets everything behind it under fresh ids, in the order of
    /// positions.
    pub(in crate::hub) fn of(
        client: &ClientId,
        record: &SessionRecord,
        resume: Option<&Resume>,
    ) -> Self {
        let from = resume.and_then(|resume| resume.from);
        let mut begin = Self {
            after: from.unwrap_or(record.acknowledged),
            sent_before: from.unwrap_or(record.sent),
            restoring: Vec::new(),
            releases: Vec::new(),
            positions: None,
        };
        let open = record.inflight.iter().map(|(id, at, released)| (*at, *id, *released));
        let Some(shown) = &record.shown else {
            begin.restoring = open.collect();
            return begin;
        };
        let went_back = from.is_some();
        let (mut again, mut open_twice) = (Vec::new(), Vec::new());
        for (at, id, released) in open {
            let twice = released || shown.twice.contains(&id);
            if went_back && !released && at > begin.after {
                again.push(at);
            }
            if !went_back && !released && at > begin.after {
                open_twice.extend(twice.then_some(id));
                begin.restoring.push((at, id, released));
            } else if twice {
                begin.releases.push((id, at.min(begin.after).max(Position(1))));
            }
        }
        let seal = Seal::new(client, record.no, shown.since);
        let (had, told) = from.map_or_else(Default::default, |from| (record.sent, from));
        let life = (shown.since, shown.gap);
        begin.positions =
            Some(Box::new(Positions::new(seal, life, (had, told), (again, open_twice))));
        begin
    }
}
