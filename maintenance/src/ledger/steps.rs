//! The steps of a slot, from the grant to the release. Each checks what it needs, happens, and answers what
//! happened.

use std::time::Duration;

use protocol::{GatewayId, Incarnation, Wall};

use super::change::Change;
use super::law::Stage;
use super::refused::{
    ConcludeRefused, FailRefused, GrantRefused, ReleaseRefused, SlotMismatch, StartRefused,
    VerifyRefused, WriteOffRefused,
};
use super::rules::{Grant, GrantRules, OnWindowEnd, Seen};
use super::slot::{Slot, SlotClass, SlotEpoch, Visited, WriteOff};
use super::table::Ledger;
use crate::calendar::Interval;
use crate::fleet::{Host, HostState, Load, Term};
use crate::verdict::{Outcome, Verdict};

impl Ledger {
    /// Grants a slot, if everything speaks for it.
    ///
    /// # Errors
    /// [`GrantRefused`], the first reason that applies.
    pub fn grant(
        &mut self,
        grant: &Grant<'_>,
        seen: &Seen<'_>,
        rules: &GrantRules,
    ) -> Result<Change, GrantRefused> {
        let Grant { host, opening, .. } = *grant;
        if grant.term < self.term {
            return Err(GrantRefused::OldTerm { current: self.term });
        }
        if self.slot(host).is_some() {
            return Err(GrantRefused::HoldsSlot);
        }
        in_time(seen.now, opening, grant.remaining.saturating_add(rules.margin))?;
        let met = |last: &Visited| last.host == *host && last.opening.overlaps(opening);
        if grant.once && self.visited.iter().any(met) {
            return Err(GrantRefused::Visited);
        }
        self.check(Stage::Begin, grant.class, host, seen, rules)?;
        let own = seen.hosts.iter().find(|known| known.id == *host);
        let own = own.ok_or(GrantRefused::UnknownHost)?;
        if own.incarnation != grant.offered {
            return Err(GrantRefused::OtherLife);
        }
        let answer = seen.answers.and_then(|answers| answers.get(host));
        let slot = Slot {
            term: grant.term,
            visit: grant.visit.clone(),
            asked: grant.asked.clone(),
            load: answer.map_or_else(Load::default, |answer| answer.load),
            rate: rules.pace(answer).filter(|_| !rules.hides_pace),
            fleet_rate: rules.fleet_rate.filter(|_| !rules.hides_pace),
            scopes: rules.failures.iter().map(|budget| budget.scope.clone()).collect(),
            ..self.next_slot(own, grant.class, seen.now, opening)
        };
        Ok(self.take(Change::Granted { slot: Box::new(slot), once: grant.once }))
    }

    /// Lets the drain of a granted slot start, if the grant would still be given: another host may have died since. A drain
    /// that ended with the life of its host starts again in the next one, if nothing was crossed.
    ///
    /// # Errors
    /// [`StartRefused`]; on [`StartRefused::Grant`] the slot is to be handed back.
    pub fn start(
        &mut self,
        host: &GatewayId,
        epoch: SlotEpoch,
        remaining: Duration,
        seen: &Seen<'_>,
        rules: &GrantRules,
    ) -> Result<Change, StartRefused> {
        let slot = self.held(host, epoch, None)?;
        let seen_in = seen.hosts.iter().find(|known| known.id == *host).map(|own| own.incarnation);
        let reborn = seen_in.is_some_and(|life| life > slot.incarnation) && slot.crossed.is_none();
        if slot.started.is_some() && !reborn {
            return Err(SlotMismatch::Started { started: true }.into());
        }
        still_in_time(seen.now, slot, remaining.saturating_add(rules.margin), rules)?;
        let again = slot.started.is_some();
        let same_life =
            |known: &Host| known.id == *host && (again || known.incarnation == slot.incarnation);
        self.check(Stage::Begin, slot.class, host, seen, rules)?;
        if !seen.hosts.iter().any(same_life) {
            return Err(GrantRefused::OtherLife.into());
        }
        Ok(self.take(Change::Started { host: host.clone(), epoch, at: seen.now }))
    }

    /// Lets a step be taken that cannot be taken back, if the grant would still be given. Asked before each such
    /// step.
    ///
    /// # Errors
    /// [`StartRefused`]; what has been done so far is to be undone, or left as it is if it cannot be.
    pub fn cross(
        &mut self,
        host: &GatewayId,
        epoch: SlotEpoch,
        remaining: Duration,
        seen: &Seen<'_>,
        rules: &GrantRules,
    ) -> Result<Change, StartRefused> {
        let slot = self.held(host, epoch, Some(true))?;
        let quiesced = slot.verdict.is_some_and(|v| v.outcome == Outcome::Quiesced);
        // Somebody may have brought it back since: the verdict is of the past.
        let open = seen.hosts.iter().any(|known| known.id == *host && takes_clients(known.state));
        if slot.class == SlotClass::Drain && (!quiesced || open) {
            return Err(StartRefused::NotQuiesced);
        }
        let needed = match rules.on_window_end {
            OnWindowEnd::Undrain => remaining.saturating_add(rules.margin),
            // The last start that was safe was heeded at the grant and at the start.
            OnWindowEnd::FinishIfPastPonr => Duration::ZERO,
        };
        still_in_time(seen.now, slot, needed, rules)?;
        let known = |known: &Host| known.id == *host && known.incarnation >= slot.incarnation;
        // A spent budget lets nothing new begin; what is past the point of no return is finished.
        let begun = GrantRules { failures: Vec::new(), ..rules.clone() };
        let rules = if slot.crossed.is_some() { &begun } else { rules };
        self.check(Stage::Cross, slot.class, host, seen, rules)?;
        if !seen.hosts.iter().any(known) {
            return Err(GrantRefused::OtherLife.into());
        }
        Ok(self.take(Change::Crossed { host: host.clone(), epoch, at: seen.now }))
    }

    /// Gives back a slot whose drain never started; the host may be visited in the same opening.
    ///
    /// # Errors
    /// [`SlotMismatch`] if there is no such slot or the drain has started.
    pub fn hand_back(
        &mut self,
        host: &GatewayId,
        epoch: SlotEpoch,
    ) -> Result<Change, SlotMismatch> {
        self.held(host, epoch, Some(false))?;
        Ok(self.take(Change::HandedBack { host: host.clone(), epoch }))
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
    ) -> Result<Change, ConcludeRefused> {
        self.held(host, epoch, Some(true))?;
        if verdict.outcome == Outcome::Quiesced && !verdict.evidence.is_empty() {
            return Err(ConcludeRefused::NotEmpty(verdict.evidence));
        }
        Ok(self.take(Change::Concluded { host: host.clone(), epoch, verdict }))
    }

    /// Notes that a host has passed its checks after the work on it.
    ///
    /// # Errors
    /// [`VerifyRefused`] if it is not this slot, or an older life was checked.
    pub fn verify(
        &mut self,
        now: Wall,
        host: &GatewayId,
        epoch: SlotEpoch,
        incarnation: Incarnation,
    ) -> Result<Change, VerifyRefused> {
        let slot = self.held(host, epoch, Some(true))?;
        if incarnation < slot.incarnation {
            return Err(VerifyRefused::OtherLife);
        }
        Ok(self.take(Change::Verified { host: host.clone(), epoch, incarnation, at: now }))
    }

    /// Notes that a visit failed, against its budget, once. The slot stays.
    ///
    /// # Errors
    /// [`FailRefused`] if it is not this slot, or noted already.
    pub fn fail(
        &mut self,
        now: Wall,
        host: &GatewayId,
        epoch: SlotEpoch,
    ) -> Result<Change, FailRefused> {
        let slot = self.held(host, epoch, None)?;
        if slot.failed.is_some() {
            return Err(FailRefused::Noted);
        }
        Ok(self.take(Change::Failed { host: host.clone(), epoch, at: now }))
    }

    /// Releases a slot on evidence: the host serves again, in the life that held the slot or a later one; its drain
    /// has a verdict, if it was one; and this life of it has passed its checks if it was worked on.
    ///
    /// # Errors
    /// [`ReleaseRefused`], by what is missing.
    pub fn release(&mut self, host: &Host, epoch: SlotEpoch) -> Result<Change, ReleaseRefused> {
        let slot = self.held(&host.id, epoch, Some(true))?;
        if slot.class == SlotClass::Drain && slot.verdict.is_none() {
            return Err(ReleaseRefused::NoVerdict);
        }
        let checked = slot.verified_life == Some(host.incarnation)
            || match slot.class {
                SlotClass::Drain => slot.crossed.is_none(),
                SlotClass::InPlace => false,
            };
        if !checked {
            return Err(ReleaseRefused::NotVerified);
        }
        if host.state != HostState::Serving || host.incarnation < slot.incarnation {
            return Err(ReleaseRefused::NotServing);
        }
        Ok(self.take(Change::Released { host: host.id.clone(), epoch }))
    }

    /// Gives a host up for lost, with the slot of `epoch` if it holds one, in somebody's name. It is retired, and
    /// no longer counted, until it comes back in a life after the one that was last heard of.
    ///
    /// # Errors
    /// [`WriteOffRefused`] if it is not this slot, if it serves without one, or nobody says why.
    pub fn write_off(
        &mut self,
        now: Wall,
        host: &Host,
        epoch: Option<SlotEpoch>,
        actor: &str,
        reason: &str,
    ) -> Result<Change, WriteOffRefused> {
        if actor.trim().is_empty() || reason.trim().is_empty() {
            return Err(WriteOffRefused::Nameless);
        }
        let held = self.slot(&host.id);
        let incarnation = match (held, epoch) {
            (Some(slot), None) => {
                return Err(SlotMismatch::OtherEpoch { held: slot.epoch }.into());
            }
            (None, None) if host.state == HostState::Serving => {
                return Err(WriteOffRefused::Serving);
            }
            (None, None) => host.incarnation,
            (_, Some(epoch)) => self.held(&host.id, epoch, None)?.incarnation.max(host.incarnation),
        };
        Ok(self.take(Change::WrittenOff(WriteOff {
            host: host.id.clone(),
            incarnation,
            epoch,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            at: now,
        })))
    }

    fn next_slot(&self, own: &Host, class: SlotClass, now: Wall, opening: Interval) -> Slot {
        Slot {
            host: own.id.clone(),
            incarnation: own.incarnation,
            epoch: SlotEpoch(self.epoch.0 + 1),
            term: Term::default(),
            visit: None,
            asked: None,
            class,
            labels: own.labels.clone(),
            load: Load::default(),
            rate: None,
            fleet_rate: None,
            scopes: Vec::new(),
            granted: now,
            opening,
            started: None,
            crossed: None,
            verdict: None,
            verified: None,
            verified_life: None,
            failed: None,
        }
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
}

/// Whether a host in this state has clients, or takes them.
const fn takes_clients(state: HostState) -> bool {
    match state {
        HostState::Serving
        | HostState::Announced
        | HostState::Draining
        | HostState::Warming { .. } => true,
        HostState::Joining
        | HostState::Quiesced
        | HostState::InMaintenance
        | HostState::Suspect
        | HostState::Lost
        | HostState::Retired => false,
    }
}

/// The same for a slot, in what is left of its opening.
fn still_in_time(
    now: Wall,
    slot: &Slot,
    needed: Duration,
    rules: &GrantRules,
) -> Result<(), GrantRefused> {
    let opening = rules.allowed.cut(slot.opening).ok_or(GrantRefused::Closed)?;
    in_time(now, opening, needed)
}

/// Whether so much time is left before the window ends, and it is open.
fn in_time(now: Wall, opening: Interval, needed: Duration) -> Result<(), GrantRefused> {
    if !opening.contains(now) {
        return Err(GrantRefused::Closed);
    }
    if now.after(needed) <= opening.to {
        return Ok(());
    }
    let needed_ms = u64::try_from(needed.as_millis()).unwrap_or(u64::MAX);
    Err(GrantRefused::TooLate { last_safe_start: Wall(opening.to.0.saturating_sub(needed_ms)) })
}
