//! The table that grants disruption slots; the only law.

use protocol::{GatewayId, Incarnation, Wall};
use serde::{Deserialize, Serialize};

use crate::host::{Host, HostState, Limits};
use crate::record;
use crate::verdict::{Counts, Outcome, Verdict};
use crate::window::Interval;

/// Which grant a slot stands for: grows with each grant, so that a step of an older visit changes nothing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct SlotEpoch(pub u64);

/// All slots of a fleet. One record of the store, written by compare-and-set on [`Ledger::rev`].
///
/// A slot is never freed by time: only by evidence, by handing it back unused, or by a named write-off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    rev: u64,
    epoch: SlotEpoch,
    slots: Vec<Slot>,
    visited: Vec<Visited>,
    written_off: Vec<WriteOff>,
}

/// Permission to disturb one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// Who may be disturbed.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// The life of its process at the grant.
    #[serde(with = "record::incarnation")]
    pub incarnation: Incarnation,
    /// Which grant this is.
    pub epoch: SlotEpoch,
    /// When it was granted.
    #[serde(rename = "granted_ms", with = "record::wall")]
    pub granted: Wall,
    /// The opening of the window it was granted for.
    pub opening: Interval,
    /// When the drain was allowed to start, if it was.
    #[serde(rename = "started_ms", with = "record::maybe_wall")]
    pub started: Option<Wall>,
    /// How the drain ended, if it did.
    pub verdict: Option<Verdict>,
}

/// A slot that somebody gave up for lost, with the host: it counts as down until it comes back in a new life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteOff {
    /// The host.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// The life of its process that is lost.
    #[serde(with = "record::incarnation")]
    pub incarnation: Incarnation,
    /// The slot's epoch.
    pub epoch: SlotEpoch,
    /// Who decided it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(rename = "at_ms", with = "record::wall")]
    pub at: Wall,
}

/// A host's last visit, so that one opening sees it once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Visited {
    #[serde(with = "record::gateway")]
    host: GatewayId,
    opening: Interval,
}

/// Why a slot is not granted, or a granted one must not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefused {
    /// Not a registered host.
    #[error("host is not registered")]
    UnknownHost,
    /// Silent, dead or busy.
    #[error("host is not serving")]
    NotServing,
    /// It has a slot already.
    #[error("host already holds a slot")]
    HoldsSlot,
    /// It was visited in this opening.
    #[error("host was already visited in this opening")]
    Visited,
    /// The opening is over or has not begun.
    #[error("window is not open")]
    Closed,
    /// Too few others serve.
    #[error("{serving} other hosts serve, {min_available} must")]
    MinAvailable {
        /// How many other hosts serve and hold no slot.
        serving: usize,
        /// How many must.
        min_available: usize,
    },
    /// Too many hosts are disturbed already.
    #[error("{slots} slots are held, {max_concurrent} may be")]
    MaxConcurrent {
        /// How many other slots are held.
        slots: usize,
        /// How many may be held in all.
        max_concurrent: usize,
    },
}

/// Why a step does not belong to the slot that is held now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotMismatch {
    /// The host holds none.
    #[error("host holds no slot")]
    NoSlot,
    /// The step is of another visit.
    #[error("slot has epoch {}", held.0)]
    OtherEpoch {
        /// The epoch of the slot that is held.
        held: SlotEpoch,
    },
    /// The drain has started, or has not.
    #[error("drain {}", if *started { "has started" } else { "has not started" })]
    Started {
        /// Whether it has.
        started: bool,
    },
}

/// Why a drain must not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartRefused {
    /// Not this slot.
    #[error(transparent)]
    Slot(#[from] SlotMismatch),
    /// The grant would not be given any more; hand it back.
    #[error(transparent)]
    Grant(#[from] GrantRefused),
}

/// Why a verdict is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConcludeRefused {
    /// Not this slot.
    #[error(transparent)]
    Slot(#[from] SlotMismatch),
    /// It says quiesced, and its evidence says otherwise.
    #[error("evidence is not empty")]
    NotEmpty(Counts),
}

/// Why a slot is not released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseRefused {
    /// Not this slot.
    #[error(transparent)]
    Slot(#[from] SlotMismatch),
    /// Nobody knows how the drain ended.
    #[error("drain has no verdict")]
    NoVerdict,
    /// The host does not serve again.
    #[error("host is not serving again")]
    NotServing,
}

/// Why bytes are no ledger.
#[derive(Debug, thiserror::Error)]
#[error("ledger record is damaged")]
pub struct InvalidLedger(#[source] serde_json::Error);

impl Ledger {
    /// Reads a stored record.
    ///
    /// # Errors
    /// [`InvalidLedger`] if it was not written by [`Self::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidLedger> {
        serde_json::from_slice(bytes).map_err(InvalidLedger)
    }

    /// The record to store.
    ///
    /// # Errors
    /// [`InvalidLedger`] if it cannot be written; our fault.
    pub fn encode(&self) -> Result<Vec<u8>, InvalidLedger> {
        serde_json::to_vec(self).map_err(InvalidLedger)
    }

    /// Grows with each change. Store the changed ledger only if the stored one still has the revision that was read.
    pub const fn rev(&self) -> u64 {
        self.rev
    }

    /// All slots, ordered by host.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot of a host.
    pub fn slot(&self, host: &GatewayId) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.host == *host)
    }

    /// Who is written off, ordered by time.
    pub fn written_off(&self) -> &[WriteOff] {
        &self.written_off
    }

    /// Grants a slot, if enough other hosts serve and not too many are disturbed. `hosts` are all registered ones.
    ///
    /// # Errors
    /// [`GrantRefused`], the first reason that applies.
    pub fn grant(
        &mut self,
        now: Wall,
        host: &GatewayId,
        opening: Interval,
        hosts: &[Host],
        limits: Limits,
    ) -> Result<&Slot, GrantRefused> {
        if self.slot(host).is_some() {
            return Err(GrantRefused::HoldsSlot);
        }
        if !opening.contains(now) {
            return Err(GrantRefused::Closed);
        }
        let seen = |visited: &Visited| visited.host == *host && visited.opening.overlaps(opening);
        if self.visited.iter().any(seen) {
            return Err(GrantRefused::Visited);
        }
        self.check(host, hosts, limits)?;
        let registered = hosts.iter().find(|known| known.id == *host);
        let incarnation = registered.ok_or(GrantRefused::UnknownHost)?.incarnation;
        self.rev += 1;
        self.epoch.0 += 1;
        self.visited.retain(|visited| visited.host != *host && visited.opening.to > now);
        self.visited.push(Visited { host: host.clone(), opening });
        let slot = Slot {
            host: host.clone(),
            incarnation,
            epoch: self.epoch,
            granted: now,
            opening,
            started: None,
            verdict: None,
        };
        let position = self.slots.partition_point(|other| other.host < slot.host);
        self.slots.insert(position, slot);
        self.slots.get(position).ok_or(GrantRefused::UnknownHost)
    }

    /// Lets the drain of a granted slot start, if the grant would still be given: another host may have died since.
    ///
    /// # Errors
    /// [`StartRefused`]; on [`StartRefused::Grant`] the slot is to be handed back.
    pub fn start(
        &mut self,
        now: Wall,
        host: &GatewayId,
        epoch: SlotEpoch,
        hosts: &[Host],
        limits: Limits,
    ) -> Result<(), StartRefused> {
        let slot = self.held(host, epoch, Some(false))?;
        if !slot.opening.contains(now) {
            return Err(GrantRefused::Closed.into());
        }
        self.check(host, hosts, limits)?;
        self.held_mut(host, epoch, Some(false))?.started = Some(now);
        self.rev += 1;
        Ok(())
    }

    /// Gives back a slot whose drain never started; the host may be visited in the same opening.
    ///
    /// # Errors
    /// [`SlotMismatch`] if there is no such slot or the drain has started.
    pub fn hand_back(&mut self, host: &GatewayId, epoch: SlotEpoch) -> Result<(), SlotMismatch> {
        self.held(host, epoch, Some(false))?;
        self.remove(host);
        self.visited.retain(|visited| visited.host != *host);
        Ok(())
    }

    /// Notes how a drain ended. A later verdict replaces an earlier one: a quiesced gateway can still be aborted.
    /// A gateway that comes back after a crash in its drain concludes it as aborted.
    ///
    /// # Errors
    /// [`ConcludeRefused`] if it is not this slot, or the evidence contradicts the verdict.
    pub fn conclude(
        &mut self,
        host: &GatewayId,
        epoch: SlotEpoch,
        verdict: Verdict,
    ) -> Result<(), ConcludeRefused> {
        let slot = self.held_mut(host, epoch, Some(true))?;
        if verdict.outcome == Outcome::Quiesced && !verdict.evidence.is_empty() {
            return Err(ConcludeRefused::NotEmpty(verdict.evidence));
        }
        slot.verdict = Some(verdict);
        self.rev += 1;
        Ok(())
    }

    /// Releases a slot on evidence: the drain has a verdict, and the host serves again, in the life that held the
    /// slot or a later one.
    ///
    /// # Errors
    /// [`ReleaseRefused`], by what is missing.
    pub fn release(&mut self, host: &Host, epoch: SlotEpoch) -> Result<Slot, ReleaseRefused> {
        let slot = self.held(&host.id, epoch, Some(true))?;
        if slot.verdict.is_none() {
            return Err(ReleaseRefused::NoVerdict);
        }
        if host.state != HostState::Serving || host.incarnation < slot.incarnation {
            return Err(ReleaseRefused::NotServing);
        }
        let slot = slot.clone();
        self.remove(&host.id);
        Ok(slot)
    }

    /// Gives a slot up for lost, in somebody's name. The host counts as down until it comes back in a new life.
    ///
    /// # Errors
    /// [`SlotMismatch`] if there is no such slot.
    pub fn write_off(
        &mut self,
        now: Wall,
        host: &GatewayId,
        epoch: SlotEpoch,
        actor: &str,
        reason: &str,
    ) -> Result<(), SlotMismatch> {
        let write_off = WriteOff {
            host: host.clone(),
            incarnation: self.held(host, epoch, None)?.incarnation,
            epoch,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            at: now,
        };
        self.remove(host);
        // One per host, so that the list is never longer than the fleet.
        self.written_off.retain(|other| other.host != *host);
        self.written_off.push(write_off);
        Ok(())
    }

    /// The law: with `host` disturbed, enough others serve and not too many slots are held.
    pub(crate) fn check(
        &self,
        host: &GatewayId,
        hosts: &[Host],
        limits: Limits,
    ) -> Result<(), GrantRefused> {
        let mut own = hosts.iter().filter(|known| known.id == *host).peekable();
        own.peek().ok_or(GrantRefused::UnknownHost)?;
        if !own.all(|known| self.is_up(known)) {
            return Err(GrantRefused::NotServing);
        }
        let others = hosts.iter().filter(|known| known.id != *host);
        let mut up: Vec<&GatewayId> = others
            .filter(|known| self.is_up(known) && self.slot(&known.id).is_none())
            .map(|known| &known.id)
            .collect();
        // A host that is listed twice does not serve twice.
        up.sort_unstable();
        up.dedup();
        let (serving, min_available) = (up.len(), limits.min_available);
        if serving < min_available {
            return Err(GrantRefused::MinAvailable { serving, min_available });
        }
        let slots = self.slots.iter().filter(|slot| slot.host != *host).count();
        let max_concurrent = limits.max_concurrent;
        if slots >= max_concurrent {
            return Err(GrantRefused::MaxConcurrent { slots, max_concurrent });
        }
        Ok(())
    }

    fn is_up(&self, host: &Host) -> bool {
        let lost = |w: &WriteOff| w.host == host.id && host.incarnation <= w.incarnation;
        host.state == HostState::Serving && !self.written_off.iter().any(lost)
    }

    fn held(
        &self,
        host: &GatewayId,
        epoch: SlotEpoch,
        started: Option<bool>,
    ) -> Result<&Slot, SlotMismatch> {
        let slot = self.slot(host).ok_or(SlotMismatch::NoSlot)?;
        if slot.epoch != epoch {
            return Err(SlotMismatch::OtherEpoch { held: slot.epoch });
        }
        match started {
            Some(wanted) if wanted != slot.started.is_some() => {
                Err(SlotMismatch::Started { started: !wanted })
            }
            Some(_) | None => Ok(slot),
        }
    }

    fn held_mut(
        &mut self,
        host: &GatewayId,
        epoch: SlotEpoch,
        started: Option<bool>,
    ) -> Result<&mut Slot, SlotMismatch> {
        self.held(host, epoch, started)?;
        self.slots.iter_mut().find(|slot| slot.host == *host).ok_or(SlotMismatch::NoSlot)
    }

    fn remove(&mut self, host: &GatewayId) {
        self.rev += 1;
        self.slots.retain(|slot| slot.host != *host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const OPENING: Interval = Interval { from: Wall(1_000), to: Wall(10_000) };
    const LIMITS: Limits = Limits { min_available: 2, max_concurrent: 1 };

    fn id(n: usize) -> GatewayId {
        GatewayId::new(&format!("gw-{n}")).unwrap()
    }

    fn host(n: usize, state: HostState) -> Host {
        Host { id: id(n), incarnation: Incarnation(1), state }
    }

    fn fleet(states: &[HostState]) -> Vec<Host> {
        states.iter().enumerate().map(|(n, state)| host(n, *state)).collect()
    }

    fn verdict(outcome: Outcome, connections: u64) -> Verdict {
        let evidence = Counts { connections, ..Counts::default() };
        let elapsed = Duration::from_millis(1_500);
        Verdict { outcome, evidence, clients: 3, moved: 3, departed: 0, elapsed }
    }

    use HostState::{Draining, Lost, Quiesced, Serving, Suspect};

    #[test]
    fn silent_dead_and_disturbed_hosts_all_count_as_down() {
        for down in [Suspect, Lost, Draining, Quiesced] {
            let hosts = fleet(&[Serving, Serving, down]);
            let mut ledger = Ledger::default();
            let refused = ledger.grant(Wall(1_000), &id(0), OPENING, &hosts, LIMITS);
            let few = GrantRefused::MinAvailable { serving: 1, min_available: 2 };
            assert_eq!(refused.unwrap_err(), few);
        }
        let hosts = fleet(&[Serving; 4]);
        let mut ledger = Ledger::default();
        ledger.grant(Wall(1_000), &id(0), OPENING, &hosts, LIMITS).unwrap();
        assert_eq!(
            ledger.grant(Wall(1_000), &id(1), OPENING, &hosts, LIMITS).unwrap_err(),
            GrantRefused::MaxConcurrent { slots: 1, max_concurrent: 1 }
        );
        let wider = Limits { min_available: 3, max_concurrent: 2 };
        assert_eq!(
            ledger.grant(Wall(1_000), &id(1), OPENING, &hosts, wider).unwrap_err(),
            GrantRefused::MinAvailable { serving: 2, min_available: 3 }
        );
    }

    #[test]
    fn a_host_listed_twice_does_not_serve_twice() {
        let mut hosts = fleet(&[Serving, Serving]);
        hosts.push(host(1, Serving));
        let mut ledger = Ledger::default();
        let refused = ledger.grant(Wall(1_000), &id(0), OPENING, &hosts, LIMITS);
        assert!(matches!(refused, Err(GrantRefused::MinAvailable { serving: 1, .. })));
    }

    #[test]
    fn a_grant_is_checked_again_when_the_drain_starts() {
        let mut ledger = Ledger::default();
        let epoch = ledger
            .grant(Wall(1_000), &id(0), OPENING, &fleet(&[Serving; 3]), LIMITS)
            .unwrap()
            .epoch;
        let died = fleet(&[Serving, Serving, Lost]);
        assert!(matches!(
            ledger.start(Wall(1_100), &id(0), epoch, &died, LIMITS),
            Err(StartRefused::Grant(GrantRefused::MinAvailable { .. }))
        ));
        ledger.hand_back(&id(0), epoch).unwrap();
        let again = ledger.grant(Wall(1_200), &id(0), OPENING, &fleet(&[Serving; 3]), LIMITS);
        let epoch = again.unwrap().epoch;
        assert_eq!(
            ledger.start(Wall(10_000), &id(0), epoch, &fleet(&[Serving; 3]), LIMITS),
            Err(StartRefused::Grant(GrantRefused::Closed))
        );
        ledger.start(Wall(1_300), &id(0), epoch, &fleet(&[Serving; 3]), LIMITS).unwrap();
        assert_eq!(ledger.hand_back(&id(0), epoch), Err(SlotMismatch::Started { started: true }));
    }

    #[test]
    fn a_slot_is_released_on_evidence_only_and_once() {
        let hosts = fleet(&[Serving; 3]);
        let mut ledger = Ledger::default();
        let epoch = ledger.grant(Wall(1_000), &id(0), OPENING, &hosts, LIMITS).unwrap().epoch;
        let serving = host(0, Serving);
        let not_started = SlotMismatch::Started { started: false };
        assert_eq!(ledger.release(&serving, epoch), Err(ReleaseRefused::Slot(not_started)));
        ledger.start(Wall(1_000), &id(0), epoch, &hosts, LIMITS).unwrap();
        assert_eq!(ledger.release(&serving, epoch), Err(ReleaseRefused::NoVerdict));
        let lie = ledger.conclude(&id(0), epoch, verdict(Outcome::Quiesced, 1));
        assert!(matches!(lie, Err(ConcludeRefused::NotEmpty(_))));
        ledger.conclude(&id(0), epoch, verdict(Outcome::Quiesced, 0)).unwrap();
        assert_eq!(ledger.release(&host(0, Quiesced), epoch), Err(ReleaseRefused::NotServing));
        let older = Host { incarnation: Incarnation(0), ..serving.clone() };
        assert_eq!(ledger.release(&older, epoch), Err(ReleaseRefused::NotServing));
        let other = SlotMismatch::OtherEpoch { held: epoch };
        assert_eq!(ledger.release(&serving, SlotEpoch(9)), Err(ReleaseRefused::Slot(other)));
        assert_eq!(ledger.release(&serving, epoch).unwrap().epoch, epoch);
        let gone = ReleaseRefused::Slot(SlotMismatch::NoSlot);
        assert_eq!(ledger.release(&serving, epoch), Err(gone));
        let twice = ledger.grant(Wall(2_000), &id(0), OPENING, &hosts, LIMITS);
        assert_eq!(twice.unwrap_err(), GrantRefused::Visited);
        let tomorrow = Interval { from: Wall(20_000), to: Wall(30_000) };
        assert!(ledger.grant(Wall(20_000), &id(0), tomorrow, &hosts, LIMITS).is_ok());
    }

    #[test]
    fn a_written_off_host_is_down_until_it_returns_in_a_new_life() {
        let hosts = fleet(&[Serving; 4]);
        let mut ledger = Ledger::default();
        let epoch = ledger.grant(Wall(1_000), &id(0), OPENING, &hosts, LIMITS).unwrap().epoch;
        ledger.write_off(Wall(2_000), &id(0), epoch, "alice", "disk died").unwrap();
        assert_eq!(ledger.written_off()[0].actor, "alice");
        let three = Limits { min_available: 3, max_concurrent: 1 };
        let refused = ledger.grant(Wall(2_000), &id(1), OPENING, &hosts, three);
        let few = GrantRefused::MinAvailable { serving: 2, min_available: 3 };
        assert_eq!(refused.unwrap_err(), few);
        let mut returned = hosts;
        returned[0].incarnation = Incarnation(2);
        assert!(ledger.grant(Wall(2_000), &id(1), OPENING, &returned, three).is_ok());
    }

    #[test]
    fn bytes_hold_everything_and_damage_is_told() {
        let hosts = fleet(&[Serving; 4]);
        let two = Limits { min_available: 1, max_concurrent: 2 };
        let mut ledger = Ledger::default();
        for n in [1, 0] {
            let epoch = ledger.grant(Wall(1_000), &id(n), OPENING, &hosts, two).unwrap().epoch;
            ledger.start(Wall(1_001), &id(n), epoch, &hosts, two).unwrap();
            ledger.conclude(&id(n), epoch, verdict(Outcome::Aborted, 7)).unwrap();
        }
        let one = ledger.slot(&id(1)).unwrap().epoch;
        ledger.write_off(Wall(1_002), &id(1), one, "bob", "gone").unwrap();
        assert_eq!(ledger.rev(), 7);
        assert_eq!(Ledger::decode(&ledger.encode().unwrap()).unwrap(), ledger);
        for bad in ["", "{}", "{\"rev\":1}", "[]"] {
            assert!(Ledger::decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[derive(Debug, Clone)]
    enum Op {
        State(usize, HostState),
        Grant(usize),
        Start(usize),
        Conclude(usize),
        Release(usize),
        HandBack(usize),
        WriteOff(usize),
        Wait(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let host = 0_usize..5;
        let state = prop::sample::select(vec![Serving, Serving, Draining, Quiesced, Suspect, Lost]);
        prop_oneof![
            (host.clone(), state).prop_map(|(n, state)| Op::State(n, state)),
            host.clone().prop_map(Op::Grant),
            host.clone().prop_map(Op::Start),
            host.clone().prop_map(Op::Conclude),
            host.clone().prop_map(Op::Release),
            host.clone().prop_map(Op::HandBack),
            host.prop_map(Op::WriteOff),
            (0_u64..3_000).prop_map(Op::Wait),
        ]
    }

    proptest! {
        #[test]
        fn no_drain_ever_starts_below_min_available_or_above_max_concurrent(
            min_available in 0_usize..5,
            max_concurrent in 0_usize..4,
            ops in prop::collection::vec(op(), 1..120),
        ) {
            let limits = Limits { min_available, max_concurrent };
            let mut hosts = fleet(&[Serving; 5]);
            let mut ledger = Ledger::default();
            let mut now = Wall(1_000);
            for op in ops {
                let before = ledger.clone();
                let epoch = |n: usize| before.slot(&id(n)).map_or(SlotEpoch(0), |slot| slot.epoch);
                let changed = match op {
                    Op::State(n, state) => {
                        hosts[n].state = state;
                        false
                    }
                    Op::Wait(ms) => {
                        now = now.after(Duration::from_millis(ms));
                        false
                    }
                    Op::Grant(n) => {
                        let opening = Interval {
                            from: Wall(now.0 / 2_000 * 2_000),
                            to: Wall(now.0 / 2_000 * 2_000 + 1_900),
                        };
                        ledger.grant(now, &id(n), opening, &hosts, limits).is_ok()
                    }
                    Op::Start(n) => {
                        let ok = ledger.start(now, &id(n), epoch(n), &hosts, limits).is_ok();
                        if ok {
                            let others = hosts.iter().filter(|h| {
                                h.id != id(n) && h.state == Serving && before.slot(&h.id).is_none()
                            });
                            prop_assert!(others.count() >= min_available);
                        }
                        ok
                    }
                    Op::Conclude(n) => {
                        ledger.conclude(&id(n), epoch(n), verdict(Outcome::Quiesced, 0)).is_ok()
                    }
                    Op::Release(n) => {
                        let ok = ledger.release(&hosts[n], epoch(n)).is_ok();
                        prop_assert!(!ok || before.slot(&id(n)).unwrap().verdict.is_some());
                        ok
                    }
                    Op::HandBack(n) => ledger.hand_back(&id(n), epoch(n)).is_ok(),
                    Op::WriteOff(n) => {
                        ledger.write_off(now, &id(n), epoch(n), "alice", "gone").is_ok()
                    }
                };
                prop_assert!(ledger.slots().len() <= max_concurrent);
                prop_assert!(ledger.slots().is_sorted_by(|a, b| a.host < b.host));
                prop_assert_eq!(ledger.rev() - before.rev(), u64::from(changed));
                prop_assert!(changed || ledger == before);
                prop_assert_eq!(Ledger::decode(&ledger.encode().unwrap()).unwrap(), ledger.clone());
            }
        }
    }
}
