//! Session numbers, which a worker has in blocks, and what it marks its ownerships with.

use protocol::SessionNo;

use super::epochs::Mark;
use crate::hub::{Ask, Hub, Outlet};

/// What of the fleet's session numbers is this worker's.
#[derive(Debug, Default)]
pub(in crate::hub) struct Numbers {
    /// To be given out: next, and the first that is not ours.
    current: (u32, u32),
    /// The block that follows.
    spare: Option<(u32, u32)>,
    /// What this worker marks its ownerships with.
    mark: Option<Mark>,
}

impl Hub {
    /// A fresh session number, if a block is at hand.
    pub(in crate::hub) fn next_session_no(&mut self, out: &mut dyn Outlet) -> Option<SessionNo> {
        let Numbers { current, spare, .. } = &mut self.numbers;
        if current.0 >= current.1 {
            out.ask(Ask::SessionNumbers);
            *current = spare.take()?;
        }
        let no = current.0;
        current.0 += 1;
        Some(SessionNo(no))
    }

    /// What this worker's ownerships are marked with; none before it has had any session numbers.
    pub(in crate::hub) fn mark(&self, out: &mut dyn Outlet) -> Option<Mark> {
        if self.numbers.mark.is_none() {
            out.ask(Ask::SessionNumbers);
        }
        self.numbers.mark
    }

    /// Another block of session numbers: from, and the first that is not ours.
    pub fn add_session_numbers(&mut self, from: u32, to: u32) {
        let Numbers { current, spare, mark } = &mut self.numbers;
        mark.get_or_insert(Mark::of_block((from, to)));
        if current.0 >= current.1 {
            *current = (from, to);
        } else {
            *spare = Some((from, to));
        }
    }

    /// Whether it wants a block of session numbers.
    pub const fn wants_session_numbers(&self) -> bool {
        self.numbers.spare.is_none()
    }
}
