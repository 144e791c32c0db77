//! What waits at the gate: the outputs of each connection in the order in which they were submitted, and those of no connection.

use std::collections::VecDeque;

use protocol::HashMap;

use crate::commit::{Progress, Ticket};
use crate::hub::{ConnId, Output};

/// What waits, by lane.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    /// Those in which something waits.
    busy: HashMap<ConnId, VecDeque<Parked>>,
    /// Lanes without anything in them, for whoever needs one next: every connection has one as it comes and goes.
    spare: Vec<VecDeque<Parked>>,
    /// What belongs to no lane.
    unordered: VecDeque<Parked>,
}

/// Outputs that wait together.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) stage: Stage,
    pub(crate) outputs: Vec<Output>,
    /// What its write holds.
    pub(crate) bytes: usize,
}

/// What outputs wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Their write must be answered.
    Storing(Ticket),
    /// The peers must know this much, and this process must have read the log since, by this refresh.
    Telling(Progress, Option<u64>),
    /// A request about a shadow must be answered.
    Asking(u64),
    /// Nothing but what is before them.
    Ready,
}

/// Lanes that are kept for others, at most, and what they may have room for.
const SPARE: (usize, usize) = (64, 16);

impl Lanes {
    /// Whether nothing of a connection waits.
    pub(crate) fn is_clear(&self, conn: ConnId) -> bool {
        self.busy.is_empty() || !self.busy.contains_key(&conn)
    }

    /// Whether nothing of this worker waits.
    pub(crate) fn are_clear(&self) -> bool {
        self.busy.is_empty() && self.unordered.is_empty()
    }

    /// How many outputs, or groups of them, of a connection wait.
    pub(crate) fn waiting(&self, conn: ConnId) -> usize {
        if self.busy.is_empty() { 0 } else { self.busy.get(&conn).map_or(0, VecDeque::len) }
    }

    /// A lane, which is made if there is none; or what belongs to none.
    pub(crate) fn of(&mut self, lane: Option<ConnId>) -> &mut VecDeque<Parked> {
        match lane {
            Some(conn) => {
                let spare = &mut self.spare;
                self.busy.entry(conn).or_insert_with(|| spare.pop().unwrap_or_default())
            }
            None => &mut self.unordered,
        }
    }

    /// What waits on a lane for a write.
    pub(crate) fn storing(&mut self, lane: Option<ConnId>, ticket: Ticket) -> Option<&mut Parked> {
        self.of(lane).iter_mut().find(|parked| parked.stage == Stage::Storing(ticket))
    }

    /// Gives up the lane of a connection if nothing waits in it; else answers what the first of it waits for.
    pub(crate) fn give_up_if_clear(&mut self, conn: ConnId) -> Option<Stage> {
        if let Some(next) = self.busy.get(&conn).and_then(VecDeque::front) {
            return Some(next.stage);
        }
        let lane = self.busy.remove(&conn).unwrap_or_default();
        if self.spare.len() < SPARE.0 && lane.capacity() <= SPARE.1 {
            self.spare.push(lane);
        }
        None
    }
}
