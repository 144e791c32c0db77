//! Persistent members of shared groups that take nothing for now: the other workers of this process are told with every tick, so
//! that they choose others. What is acknowledged would pile up where nobody reads it.

use std::collections::BTreeSet;

use protocol::SessionNo;

use crate::hub::Hub;
use crate::hub::session::live::Live;

/// How a filter of a shared group begins.
const SHARE: &str = "$share/";

impl Hub {
    /// Tells which sessions are stuck, and have acknowledged nothing since the last tick; and who no longer is. Before the
    /// marks of their queues are moved.
    pub(in crate::hub) fn tell_stuck(&mut self) {
        let stuck: BTreeSet<SessionNo> = self
            .sessions
            .iter()
            .map(|(_, live)| live)
            .filter(|live| live.durable() && self.is_stuck(live) && self.stays(live))
            .map(|live| live.no)
            .collect();
        let before = std::mem::replace(&mut self.stuck, stuck);
        if self.stuck.is_empty() && before.is_empty() {
            return;
        }
        let worker = self.config.worker;
        self.tables.change_routes(|routes| {
            for no in before.difference(&self.stuck) {
                routes.set_stuck(*no, worker, false);
            }
            // Also who was so before: the routes may have forgotten it meanwhile.
            for no in &self.stuck {
                routes.set_stuck(*no, worker, true);
            }
        });
    }

    /// Whether a member that is stuck now has been so for long enough: one that still acknowledges is slow at most.
    fn stays(&self, live: &Live) -> bool {
        (self.stuck.contains(&live.no) || live.low_water() <= live.trimmed)
            && live.subscriptions.iter().any(|held| held.filter.starts_with(SHARE))
    }
}
