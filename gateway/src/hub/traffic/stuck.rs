//! Persistent members of shared groups that take nothing for now: the other workers of this process are told with every tick, so
//! that they choose others. What is acknowledged would pile up where nobody reads it. Of one that stays so the other gateways
//! learn by its session's document, which the log tells; what is not announced stands in it too, so that whoever reads it late knows.

use std::collections::BTreeMap;

use fanout::Slot;
use protocol::{SessionEpoch, SessionNo};
use store::Put;

use crate::hub::session::live::{Live, put_by_owner};
use crate::hub::{Fx, Hub, Output, Record};

/// How a filter of a shared group begins.
const SHARE: &str = "$share/";
/// For so many ticks, half a second, a member takes nothing before the fleet is told: what comes and goes faster costs a write
/// each time, and everybody a look at what is cached.
const PATIENCE: u8 = 5;

impl Hub {
    /// Tells which sessions are stuck, and have acknowledged nothing since the last tick; and who no longer is. Before the
    /// marks of their queues are moved.
    pub(in crate::hub) fn tell_stuck(&mut self) {
        let mut stuck = BTreeMap::new();
        let mut news: Vec<(Slot, bool)> = Vec::new();
        for (slot, live) in self.sessions.iter().filter(|(_, live)| live.durable()) {
            let for_ticks = (self.is_stuck(live) && self.stays(live)).then(|| {
                let before = self.stuck.get(&live.no);
                before.map_or(0, |ticks| ticks.saturating_add(1))
            });
            stuck.extend(for_ticks.map(|ticks| (live.no, ticks)));
            let hangs = for_ticks.is_some_and(|ticks| ticks >= PATIENCE);
            if live.hangs != hangs && !live.leaving {
                news.extend(Slot::try_from(slot).map(|slot| (slot, hangs)));
            }
        }
        news.into_iter().for_each(|(slot, hangs)| self.tell_fleet(slot, hangs));
        let before = std::mem::replace(&mut self.stuck, stuck);
        if self.stuck.is_empty() && before.is_empty() {
            return;
        }
        let worker = self.config.worker;
        self.tables.change_routes(|routes| {
            for no in before.keys().filter(|no| !self.stuck.contains_key(no)) {
                routes.set_stuck(*no, worker, false);
            }
            // Also who was so before: the routes may have forgotten it meanwhile.
            for no in self.stuck.keys() {
                routes.set_stuck(*no, worker, true);
            }
        });
    }

    /// Whether a member that is stuck now has been so for long enough: one that still acknowledges is slow at most.
    fn stays(&self, live: &Live) -> bool {
        (self.stuck.contains_key(&live.no) || live.low_water() <= live.trimmed)
            && live.subscriptions.iter().any(|held| held.filter.starts_with(SHARE))
    }

    /// Writes into a session's document whether its client hangs; the log tells everybody.
    fn tell_fleet(&mut self, slot: Slot, hangs: bool) {
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        live.hangs = hangs;
        let mut fx = Fx::new();
        let announced = Put { announce: true, ..put_by_owner(&live.client, &live.record()) };
        fx.first(Record::Put(announced));
        fx.then(Output::ToldHangs(live.no, live.epoch));
        self.side.push_back(fx);
    }

    /// The store did not take it: it is written again with the next tick, if it is still so.
    pub(crate) fn handle_not_told(&mut self, (no, epoch): (SessionNo, SessionEpoch)) {
        let slot = self.by_no.get(&no).copied();
        let live = slot.and_then(|slot| self.sessions.get_mut(slot as usize));
        if let Some(live) = live.filter(|live| live.epoch == epoch) {
            live.hangs = !live.hangs;
        }
    }
}
