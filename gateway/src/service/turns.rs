//! Gateways that are emptied at once take turns with the last members of shared groups.

use std::time::Duration;

use maintenance::ledger::{Slot, SlotClass};
use maintenance::{DrainTurn, Ledger};
use protocol::Now;
use store::Space;

use super::page::LEDGER;
use super::thread::Housekeeper;

/// How often it is looked who else is emptied.
const LOOK: Duration = Duration::from_millis(250);

impl Housekeeper {
    /// A drain begins: the others see it with their next look, and this gateway takes from no group before.
    pub(super) fn begin_turns(&mut self, now: Now) {
        let alone = self.drains.successor.is_some();
        let from = if alone { Duration::ZERO } else { now.mono + 2 * LOOK };
        self.drains.look_at_turns = now.mono;
        self.drains.turns_from = from;
        self.shared.tables.set_drain_turn(DrainTurn::default(), from);
    }

    /// Looks who else is emptied, when that is due. What cannot be read leaves things as they were.
    pub(super) fn take_turns(&mut self, now: Now) {
        if now.mono < self.drains.look_at_turns || self.drains.successor.is_some() {
            return;
        }
        self.drains.look_at_turns = now.mono + LOOK;
        let Ok(Some(doc)) = self.reader.get(Space::Maintenance, LEDGER) else { return };
        let Ok(ledger) = Ledger::decode(&doc.value) else { return };
        let me = self.config.id.gateway();
        let is_emptied = |slot: &&Slot| {
            slot.class == SlotClass::Drain && slot.started.is_some() && slot.verdict.is_none()
        };
        // In the order of their names, at every gateway.
        let emptied: Vec<_> = ledger.slots().iter().filter(is_emptied).collect();
        let place = emptied.iter().position(|slot| slot.host == me);
        let turn = place.and_then(|place| {
            let (place, of) = (u32::try_from(place).ok()?, u32::try_from(emptied.len()).ok()?);
            Some(DrainTurn { place, of })
        });
        self.shared.tables.set_drain_turn(turn.unwrap_or_default(), self.drains.turns_from);
    }
}
